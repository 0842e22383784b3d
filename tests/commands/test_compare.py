import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gain_lightning.cli import main


def test_command_writes_three_files_and_a_table(make_study, tmp_path, capsys):
    paths, out = make_study(seeds=(0, 1)), tmp_path / "out"

    assert main(["compare", str(tmp_path / "runs" / "*"), "--out", str(out)]) == 0

    assert sorted(path.name for path in out.iterdir()) == [
        *("figures", "report.html", "summary.json", "table.csv", "table.tex")
    ]
    names = ("accuracy_against_attention", "train_loss", "train_loss_am", "train_loss_cl", "val_mean_ap")
    assert {path.name for path in (out / "figures").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    }
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines()[:-1])) <= 80
    assert text.splitlines()[-1] == f"Report: {out / 'report.html'}"
    assert "Grad-CAM -> GAIN_ext" in text
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == ["groups", "differences", "scored_set"]
    assert summary["scored_set"] == "test"
    assert [set(group) for group in summary["groups"]] == 3 * [{"name", "runs", "metrics"}]
    assert sorted(path for group in summary["groups"] for path in group["runs"]) == sorted(paths)
    assert set(summary["differences"][0]) == {"metric", "a", "b", "delta", "ci95", "over"}
    over = {row["metric"]: row["over"] for row in summary["differences"]}
    assert (over["test/energy"], over["test/seed_miou"]) == (
        "seeds and images",
        None,
    )  # seeds that differ by the same
    energies = [
        json.loads(Path(path, "summary.json").read_text())["metrics"]["test/energy"] for path in paths
    ]
    stat = summary["groups"][0]["metrics"]["test/energy"]
    mean, std = np.mean(energies[::3]), np.std(energies[::3], ddof=1)
    assert stat == {"mean": pytest.approx(mean), "std": pytest.approx(std), "n": 2}
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert {"group": "gradcam", "metric": "test/energy", **{k: str(v) for k, v in stat.items()}} in rows


def test_command_gives_the_same_files_twice_and_passes_over_its_own_folder(make_run, tmp_path, capsys):
    make_run("a", maps=False)
    out = tmp_path / "runs" / "compare"
    argv = [str(tmp_path / "runs" / "*"), "--out", str(out)]

    assert main(["compare", *argv]) == 0
    first = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main(["compare", *argv]) == 0

    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_without_the_letters_is_no_failure(make_run, tmp_path, encoding):
    paths = [make_run(f"essai_\u00e9\u03c9_{seed}", seed=seed) for seed in (0, 1)]  # \u03c9 is not in cp1252
    command = [sys.executable, "-m", "gain_lightning", "compare", *paths, "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}

    result = subprocess.run(command, env=environment, capture_output=True, cwd=Path(__file__).parents[3])

    assert result.returncode == 0, result.stderr
    assert b"standard deviation over runs" in result.stdout
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize("how", ["| head -c 1 > HEAD", ">&-"])
def test_a_reader_that_is_gone_is_no_failure(make_run, tmp_path, how):
    path, out = make_run("a", maps=False), tmp_path / "out"
    command = f"{sys.executable} -m gain_lightning compare {path} --out {out} {how}".replace(
        "HEAD", str(tmp_path / "h")
    )

    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, cwd=Path(__file__).parents[3]
    )

    assert (result.returncode, result.stderr) == (0, b"")
    assert (out / "report.html").is_file()


def test_command_refuses_incomparable_runs(make_run, tmp_path, capsys):
    paths = [make_run("a", "gradcam"), make_run("b", "gain", config={"model.backbone": "resnet50"})]

    assert main(["compare", *paths, "--out", str(tmp_path / "out")]) == 1
    assert "resnet50" in capsys.readouterr().err
    assert main(["compare", *paths, "--out", str(tmp_path / "out"), "--allow", "model.backbone"]) == 0
    assert "Allowed to differ: model.backbone" in (tmp_path / "out" / "report.html").read_text()


def test_command_says_when_it_cannot_write(make_run, tmp_path, capsys):
    (tmp_path / "file").write_text("")

    assert main(["compare", make_run("a"), "--out", str(tmp_path / "file")]) == 1
    assert "gain compare: error: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["per_image.csv", "metrics.csv", "maps.npz"])
def test_command_names_a_foreign_file(make_study, tmp_path, capsys, name):
    paths = make_study(seeds=(0,))
    Path(paths[0], name).write_bytes(b"\x00\xffnot what it should be,\n1,2,3\n")

    assert main(["compare", *paths, "--out", str(tmp_path / "out")]) == 1
    assert name in capsys.readouterr().err


def test_comparison_imports_no_torch(make_run, tmp_path):
    path = make_run("a")
    program = (
        "import sys; from gain_lightning.cli import main; "
        f"assert main(['compare', {path!r}, '--out', {str(tmp_path / 'out')!r}]) == 0; "
        "assert 'torch' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
