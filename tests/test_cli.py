import argparse
import importlib
import os
import re
import subprocess
import sys
import time

import pytest

from gain_lightning import __version__, cli
from gain_lightning.cli import VERBS, main
from gain_lightning.commands.fit import refuse_early


def gain(*words: str, **env: str) -> subprocess.CompletedProcess:
    """Run ``gain`` as a user does, in a process of its own."""
    environment = {**os.environ, "WANDB_MODE": "disabled", **env}
    command = [sys.executable, "-m", "gain_lightning", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def test_help_lists_every_verb_in_under_a_second():
    started = time.perf_counter()
    result = gain("--help")
    assert time.perf_counter() - started < 1
    assert result.returncode == 0
    assert all(f"\n  {verb.name} " in result.stdout for verb in VERBS)
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_no_verb_prints_the_help_and_fails(capsys):
    assert main([]) == 2
    assert "usage: gain VERB" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gain_lightning {__version__}\n"


def test_unknown_verb_names_the_nearest(capsys):
    assert main(["trian"]) == 2
    assert "unknown verb 'trian'" in capsys.readouterr().err
    assert main(["fitt"]) == 2
    assert "did you mean 'fit'?" in capsys.readouterr().err


def test_error_is_one_line_without_traceback(capsys, tmp_path):
    assert main(["predict", "--images", str(tmp_path), "--ckpt_path", "no.ckpt", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "gain predict: error: --ckpt_path no.ckpt: no such file\n"


@pytest.mark.parametrize(
    ("words", "goes_on"),
    [("compare", False), ("seeds RUN", True), ("seeds score", False), ("reproduce", True)],
)
def test_ctrl_c_is_one_line_without_traceback(capsys, monkeypatch, words, goes_on):
    def stop(verb, argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", stop)
    assert main(words.split()) == 130
    more = "; the same command goes on where it was" if goes_on else ""
    assert capsys.readouterr().err == f"gain {words.removesuffix(' RUN')}: stopped{more}\n"


def test_ctrl_c_that_lightning_catches_ends_like_any_other(capsys, monkeypatch):
    def stop(verb, argv):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    monkeypatch.setattr(cli, "_run", stop)
    assert main(["fit"]) == 130
    assert capsys.readouterr().err == "gain fit: stopped\n"


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    monkeypatch.setenv("GAIN_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        main(["predict", "--images", str(tmp_path), "--ckpt_path", "no.ckpt", "--out", str(tmp_path)])


def test_codes_in_a_name_do_not_reach_the_terminal(capsys, tmp_path):
    assert main(["runs", str(tmp_path / "a\x1b[2Jb")]) == 1
    assert capsys.readouterr().err == f"gain runs: error: {tmp_path / 'a?[2Jb'}: no such folder\n"


def test_exit_status_reaches_the_shell(tmp_path):
    arguments = ["--images", str(tmp_path), "--ckpt_path", "no.ckpt", "--out", str(tmp_path)]
    assert gain("predict", *arguments).returncode == 1
    assert gain("trian").returncode == 2


def test_a_group_of_verbs_answers_for_them(capsys):
    assert main(["data", "--help"]) == 0
    assert "gain data check DIR" in capsys.readouterr().out
    assert main(["data"]) == 2
    assert "expected one of data check, data show, data import" in capsys.readouterr().err
    assert main(["data", "chek"]) == 2
    assert "did you mean 'data check'?" in capsys.readouterr().err


NAMES = [verb.name for verb in VERBS]
TRAININGS = ("fit", "validate", "test")


@pytest.mark.parametrize("name", NAMES)
def test_every_verb_refuses_an_option_that_it_does_not_know(name, capsys):
    for option in ("--no_such_option", "--no_such_option=3"):
        with pytest.raises(SystemExit, match="2"):
            main([*name.split(), option])
        error = capsys.readouterr().err
        assert error.startswith(f"gain {name}: error: unknown ")
        assert "no_such_option" in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_verb_refuses_an_option_that_is_cut_short(name, capsys):
    """Every option but those whose beginning is an option too."""
    options = ["--seed_everything", "--run_dir"] if name in TRAININGS else options_of(name)
    for option in options:
        if option[:-1] not in ("-", *options):
            with pytest.raises(SystemExit, match="2"):
                main([*name.split(), option[:-1], "1"])
            assert f"did you mean '{option.removeprefix('--')}'?" in capsys.readouterr().err.replace(
                "'--", "'"
            )


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TRAININGS])
def test_options_are_words_joined_by_underscores(name):
    assert [option for option in options_of(name) if not re.fullmatch("--[a-z]+(_[a-z]+)*", option)] == []


def options_of(name: str) -> list[str]:
    """The long options that a verb's help shows."""
    (verb,) = [verb for verb in VERBS if verb.name == name]
    parser = importlib.import_module(f"gain_lightning.commands.{verb.module}").parser()
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    return [option for action in shown for option in action.option_strings if option.startswith("--")]


@pytest.mark.parametrize(
    ("words", "old", "new"),
    [("compare a", "--skip-broken", "skip_broken"), ("predict", "--voc-submission", "voc_submission")],
)
def test_spellings_of_older_versions_are_still_taken(words, old, new, capsys):
    verb, *others = words.split()
    parser = importlib.import_module(f"gain_lightning.commands.{verb}").parser()
    others += ["--images=a", "--ckpt_path=b", "--out=c"] if verb == "predict" else []
    assert getattr(parser.parse_args([*others, old]), new) is True
    assert old not in parser.format_help()


def test_help_of_every_verb_is_there_at_once_and_without_torch():
    """All helps one after the other, but those of trainings: less than a second of a processor, without the start."""
    code = (
        "import sys, time; sys.modules['torch'] = None\n"
        "from gain_lightning.cli import VERBS, main\n"
        "started = time.process_time()\n"
        "for verb in VERBS:\n"
        f"    if verb.name in {TRAININGS}: continue\n"
        "    try: main([*verb.name.split(), '--help'])\n"
        "    except SystemExit as stop: assert stop.code == 0, verb\n"
        "assert time.process_time() - started < 1, time.process_time() - started\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for name in NAMES:
        assert (f"usage: gain {name} " in result.stdout) == (name not in TRAININGS)
    assert max(map(len, result.stdout.splitlines())) <= 120


def test_help_of_a_training_is_that_of_its_verb(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["validate", "--help"])
    assert capsys.readouterr().out.startswith("usage: gain [options] validate ")


WITHOUT_TORCH = {  # words, and a part of what is said
    "help": (["--help"], "usage: gain VERB"),
    "an option of the model": (["fit", "--model.sigmaa=3"], "did you mean 'model.sigma'?"),
    "seeds score": (["seeds", "score", "none"], "missing: --masks"),
    "sweep worker": (["sweep", "worker", "none"], "none: holds no journal.log"),
    "an option of the trainer": (["fit", "--trainer.max_epoch", "3"], "did you mean 'trainer.max_epochs'?"),
    "an option without its group": (["fit", "--mask_budget=3"], "did you mean 'data.mask_budget'?"),
    "a config": (["fit", "--config=none.yaml"], "--config none.yaml: no such file"),
    "a checkpoint": (["test", "--ckpt_path=none.ckpt"], "none.ckpt does not exist"),
    "a run folder in use": (["fit", "--run_dir={used}"], "already holds a run"),
    "data check": (["data", "check", "{empty}"], "no folder of pictures here"),
    "runs": (["runs", "{used}"], "finished"),
    "compare": (["compare", "{empty}/none"], "none: no such folder"),
    "predict's checkpoint": (
        ["predict", "--images=.", "--ckpt_path=no", "--out=o"],
        "--ckpt_path no: no such file",
    ),
    "predict's folder in use": (
        ["predict", "--images={pictures}", "--ckpt_path={used}/summary.json", "--out={used}"],
        "holds predictions.csv of an earlier call",
    ),
    "check-maps": (["check-maps", "none"], "none: no such folder"),
    "background": (["background", "none"], "none: has no checkpoint"),
    "seeds": (["seeds", "none", "--out=o"], "none: has no checkpoint"),
    "sweep": (["sweep", "none.yaml"], "none.yaml"),
    "reproduce": (["reproduce", "section4", "--root=none"], "no VOC 2012 here"),
}


@pytest.mark.parametrize("case", WITHOUT_TORCH)
def test_an_answer_that_needs_no_torch_does_not_wait_for_it(case, tmp_path):
    """In a process of its own, to which torch is not there at all."""
    used, empty, pictures = (tmp_path / name for name in ("used", "empty", "pictures"))
    for folder in (used, empty, pictures):
        folder.mkdir()
    (used / "summary.json").write_text('{"state": "finished", "method": "gain", "metrics": {}}')
    (used / "predictions.csv").write_text("")
    (pictures / "a.png").write_text("")
    words, said = WITHOUT_TORCH[case]
    words = [word.format(used=used, empty=empty, pictures=pictures) for word in words]
    code = "import sys; sys.modules['torch'] = None; from gain_lightning.cli import main; sys.exit(main(sys.argv[1:]))"
    result = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert said in result.stdout + result.stderr


def test_what_the_parser_takes_is_not_refused_early(tmp_path):
    """A config as text, one that says which checkpoint to go on from, and questions about a folder in use."""
    used, resumes = tmp_path / "used", tmp_path / "resumes.yaml"
    used.mkdir()
    (used / "summary.json").write_text('{"state": "finished"}')
    resumes.write_text("ckpt_path: last\n")
    run = ["fit", f"--run_dir={used}"]
    with pytest.raises(FileExistsError, match="already holds a run"):
        refuse_early(run)
    for more in (
        [f"--config={resumes}"],
        ["--config", "ckpt_path: last"],
        [f"-c{resumes}"],
        ["--help"],
        ["--print_config"],
        ["--print_config=skip_null"],
    ):
        refuse_early([*run, *more])
    for config in ("{}", "null", "a: 1"):
        refuse_early(["fit", "--config", config])
    with pytest.raises(SystemExit):
        refuse_early(["fit", "--config", "a" * 300])
