import json
from pathlib import Path

import pytest

from gain_lightning.cli import main
from gain_lightning.runs.errors import RunError
from gain_lightning.runs.read import find_runs, flatten, read_run


def test_read_run_says_what_its_files_say(make_run):
    path = make_run("a", "gain_ext", seed=3, metrics={"test/energy": float("nan"), "val/mean_ap": 0.5})

    run = read_run(path)

    assert (run.path, run.method, run.seed) == (path, "gain_ext", 3)
    assert run.config["data.image_size"] == 96
    assert run.config["model.output_stride"] is None
    assert run.metrics["val/mean_ap"] == 0.5
    assert "test/energy" not in run.metrics  # nan is no score


@pytest.mark.parametrize(
    ("summary", "reason"),
    [
        ({"state": "running"}, "state is 'running', expected 'finished'"),
        ({"state": None}, "state is None"),
        ({"metrics": {"val/mean_ap": 0.5}}, "no test metrics"),
        ({"metrics": {"test/mean_ap": None}}, "no test metrics"),
        ({"metrics": [1]}, r"summary\.json: not a run's summary, its metrics are a list"),
        ({"method": ["gain"]}, "method is"),
    ],
)
def test_read_run_refuses_an_unfinished_run(make_run, summary, reason):
    path = make_run("a", summary=summary)

    with pytest.raises(RunError, match=reason) as error:
        read_run(path)

    assert path in str(error.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("summary.json", "{"),
        ("summary.json", "[]"),
        ("summary.json", "\xff"),
        ("summary.json", "[" * 100_000),
        ("config.yaml", "a: [1"),
        ("config.yaml", "!!python/object:os.system {}"),
        ("config.yaml", "just text"),
        ("config.yaml", "a: &x {b: *x}"),
    ],
)
def test_read_run_names_an_unreadable_file(make_run, name, text):
    path = make_run("a")
    Path(path, name).write_text(text, encoding="latin-1")

    with pytest.raises(RunError, match=name):
        read_run(path)


@pytest.mark.parametrize("name", ["summary.json", "config.yaml"])
def test_read_run_names_a_missing_file(make_run, name):
    path = make_run("a")
    Path(path, name).unlink()

    with pytest.raises(RunError, match=f"has no {name}"):
        read_run(path)


def test_read_run_cleans_names_for_terminals(make_run):
    assert read_run(make_run("a", summary={"method": "\x1b[31m\ud800x"})).method == "?[31m?x"


def test_find_runs_expands_globs_once(make_run, tmp_path):
    first, second = make_run("a"), make_run("b")

    assert find_runs([second, str(tmp_path / "runs" / "*")]) == [second, first]
    assert find_runs(["not/there"]) == ["not/there"]  # reading it says what is wrong


def test_find_runs_refuses_an_empty_glob(tmp_path):
    with pytest.raises(RunError, match="matches no folder"):
        find_runs([str(tmp_path / "x*")])


def test_flatten_drops_init_args_and_keeps_lists():
    nested = {
        "trainer": {"logger": [{"a": 1}], "max_epochs": 2},
        "data": {"class_path": "X", "init_args": {"n": {}}},
    }

    assert flatten(nested) == {
        "trainer.logger": [{"a": 1}],
        "trainer.max_epochs": 2,
        "data.class_path": "X",
        "data.n": {},
    }


def test_summary_with_a_huge_integer_is_no_traceback(make_run):
    path = make_run("a")
    text = json.loads(Path(path, "summary.json").read_text())
    text["metrics"] = {"test/mean_ap": 10**400, "test/energy": 0.5}
    Path(path, "summary.json").write_text(json.dumps(text))

    assert read_run(path).metrics == {"test/energy": 0.5}


def test_a_run_that_never_guided_is_refused_by_name(make_run, tmp_path, capsys):
    """Its training ended within the warm-up, so it is Grad-CAM under another name."""
    good, never = make_run("a", "gradcam"), make_run("b", "gain_ext", summary={"guided": False})
    base = make_run("c", "gradcam", seed=1, summary={"guided": True})

    assert main(["compare", good, never, base, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert f"{never}: is called gain_ext but was never guided" in error
    assert good not in error
    assert main(["compare", good, never, base, "--out", str(tmp_path / "out"), "--skip-broken"]) == 0
    assert "never guided" in capsys.readouterr().out.replace("\n", " ")
