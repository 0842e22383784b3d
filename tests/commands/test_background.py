import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from gain_lightning.cli import main
from gain_lightning.methods.gain import GAIN
from gain_lightning.runs.background import VERSIONS

WORDS = ["--split", "val", "--device", "cpu"]


def measured(run):
    with (run / "background.csv").open(newline="") as file:
        return json.loads((run / "background.json").read_text()), list(csv.DictReader(file))


def test_command_writes_what_it_prints(run, capsys):
    capsys.readouterr()
    assert main(["background", str(run), *WORDS, "--pictures", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    result, rows = measured(run)
    assert (result["split"], result["grounds"]) == ("val", "train")
    assert result["num_objects"] == len(rows) > 0
    assert {row["class"] for row in rows} == {"boat"}  # the one whose accuracy these data ask for
    for key, title in VERSIONS.items():
        share = np.mean([row[key] == "1" for row in rows])
        assert result["versions"][key]["mean"] == pytest.approx(share, abs=1e-6)
        (line,) = (line for line in printed if line.startswith(f"  {title:30}"))
        assert float(line.removeprefix(f"  {title}").split()[0]) == pytest.approx(100 * share, abs=0.051)
    gap = np.mean([int(row["own_ground"]) - int(row["other_ground"]) for row in rows])
    assert result["gap"]["mean"] == pytest.approx(gap, abs=1e-6)
    assert any(line.split()[:3] == ["background", "gap,", "points"] for line in printed)
    assert (
        max(map(len, printed[2:-1])) <= 80
    )  # after the threads and the run's path, before that of the pictures
    with Image.open(run / "background.png") as sheet:
        assert sheet.width > 6 * 200
        assert sheet.height > 2 * 200


def test_the_same_seed_gives_the_same_files_and_compare_reads_them(run, tmp_path, capsys):
    assert main(["background", str(run), *WORDS]) == 0
    first = [(run / name).read_bytes() for name in ("background.json", "background.csv")]
    assert main(["background", str(run), *WORDS]) == 0
    assert [(run / name).read_bytes() for name in ("background.json", "background.csv")] == first
    assert main(["background", str(run), *WORDS, "--seed", "1"]) == 0
    assert (run / "background.csv").read_bytes() != first[1]
    capsys.readouterr()
    assert main(["compare", str(run), "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    result, _ = measured(run)
    (line,) = (line for line in text.splitlines() if line.startswith("background gap"))
    assert line.split()[-1] == f"{100 * result['gap']['mean']:.1f}"
    assert "objects of val on grounds of train" in " ".join(text.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "night"], "there is no split 'night', expected one of train, val, test"),
        (["--grounds", "night"], "there is no split 'night', expected one of train, val, test"),
        (["--data", "there"], "names ShapesDataModule, which lies in no folder"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(run, words, message, capsys):
    capsys.readouterr()
    assert main(["background", str(run), "--device", "cpu", *words]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert error[0].startswith("gain background: error: ")
    assert message in error[0]
    assert not (run / "background.json").exists()


def test_amounts_are_refused(run, capsys):
    model = GAIN(["boat", "buoy"], 96, task="regression")
    content = {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "global_step": 10**6,
    }
    for path in (run / "checkpoints").glob("*.ckpt"):
        torch.save(content, path)
    assert main(["background", str(run), "--device", "cpu"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.endswith(
        "its task is regression, which recognises no class; expected multi_label or single_label"
    )
