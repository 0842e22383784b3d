"""``summary.json``: what is written is read back, and all who read it agree on which is broken."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from finished_run import assert_refused

from gain_lightning.cli import main
from gain_lightning.runs.errors import RunError
from gain_lightning.runs.folder import refuse_second_run
from gain_lightning.runs.making import is_tested
from gain_lightning.runs.read import read_run, reason_to_pass_over
from gain_lightning.runs.summary import clear_error, read_summary, write_error, write_summary
from gain_lightning.studies.listing import run_row
from gain_lightning.studies.sweeps.sweep import _outcome
from gain_lightning.training.run_record import RunRecord

BROKEN = {
    "empty": b"",
    "half": b'{"state": "finished", "metrics": {"test/mean',
    "brackets without end": b"[" * 100_000,
    "a list": b"[1]",
    "Latin-1": b'{"state": "finished", "device": "\xb5"}',
    "UTF-16": '{"state": "finished"}'.encode("utf-16"),
    "metrics that are null": b'{"state": "finished", "metrics": null}',
    "metrics that are a list": b'{"state": "finished", "metrics": [1]}',
}


def test_what_is_written_is_read_back(tmp_path):
    summary = {"state": "finished", "metrics": {"test/mean_ap": 0.1 + 0.2, "test/energy": None}, "seed": 3}
    write_summary(tmp_path / "run", summary)
    assert read_summary(tmp_path / "run") == summary
    assert read_summary(tmp_path) == {}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["summary.json"]


def test_a_summary_with_a_byte_order_mark_is_none_the_worse(make_run):
    path = Path(make_run("a"), "summary.json")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_run(str(path.parent)).method == "gain"


def test_the_error_of_a_run_is_gone_when_it_begins_again(tmp_path):
    clear_error(tmp_path)
    write_error(tmp_path, "Traceback \udcb5")
    assert (tmp_path / "error.txt").exists()
    clear_error(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture(params=BROKEN)
def broken(request, make_run):
    """The folder of a run whose summary is broken."""
    run = Path(make_run("a"))
    (run / "summary.json").write_bytes(BROKEN[request.param])
    return run


def test_who_needs_a_summary_names_the_broken_one(broken):
    record = RunRecord(broken)
    trainer = SimpleNamespace(datamodule=None)
    for read in (
        lambda: read_summary(broken),
        lambda: read_run(str(broken)),
        lambda: refuse_second_run(broken),
        lambda: record.setup(trainer, None, "test"),
        lambda: is_tested(broken),
    ):
        with pytest.raises(RunError, match=r"/a/summary\.json: not"):
            read()


def test_who_can_do_without_a_summary_goes_on(broken, capsys):
    assert run_row(str(broken), str(broken.parent))[:2] == ["a", "broken summary.json"]
    assert main(["runs", str(broken.parent)]) == 0
    assert "broken summary.json" in capsys.readouterr().out
    assert _outcome(broken) == {}
    assert reason_to_pass_over(str(broken)) == ""


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"metrics": null}', "\xff"])
@pytest.mark.parametrize("words", [[], ["--ckpt_path=last"]], ids=["anew", "resumed"])
def test_a_broken_summary_is_named(run, text, words, capsys):
    (run / "summary.json").write_bytes(text.encode("latin-1"))
    assert_refused(run, words, f"{run / 'summary.json'}: not", capsys)
