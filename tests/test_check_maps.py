import json
import shutil

import numpy as np
import pytest
import torch

from gain_lightning.check_maps import check_maps
from gain_lightning.checkpoints import load_classifier
from gain_lightning.cli import main
from gain_lightning.studies.runs import read_maps


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A short run with its maps."""
    folder = tmp_path_factory.mktemp("run") / "run"
    options = [
        "--data.num_train=96", "--data.num_val=8", "--data.num_test=12", "--data.num_biased=4",
        "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false", "--trainer.logger=false",
    ]  # fmt: skip
    status = main(["fit", "--config", "experiments/shapes/gradcam.yaml", *options, f"--run_dir={folder}"])
    assert status == 0
    return folder


def test_command_writes_what_it_prints(run_dir, capsys):
    assert main(["check-maps", str(run_dir)]) == 0
    printed = capsys.readouterr().out
    result = json.loads((run_dir / "map_checks.json").read_text())
    assert result["num_pairs"] == len(read_maps(run_dir).pair_image)
    for name, key in [("attention map", "attention"), ("centre", "center"), ("mask", "mask")]:
        (line,) = [line for line in printed.splitlines() if line.strip().startswith(name)]
        assert [float(cell) for cell in line.split()[-2:]] == pytest.approx(
            [result["deletion"][key], result["insertion"][key]], abs=5e-4
        )
    assert max(map(len, printed.splitlines()[1:])) <= 80


def test_same_seed_gives_the_same_checks_and_leaves_the_global_draw_alone(run_dir):
    model, maps = load_classifier(run_dir / "checkpoints" / "last.ckpt").eval(), read_maps(run_dir)
    state = torch.get_rng_state()
    assert check_maps(model, maps, 1) == check_maps(model, maps, 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_maps_of_random_weights_correlate_with_themselves_alone(run_dir, monkeypatch):
    """Were random weights not random, the correlation would be 1."""
    model, maps = load_classifier(run_dir / "checkpoints" / "last.ckpt").eval(), read_maps(run_dir)
    assert check_maps(model, maps, 0)["rank_correlation"]["all"] < 0.9
    monkeypatch.setattr("gain_lightning.check_maps.with_random_weights", lambda module, part=None: module)
    assert check_maps(model, maps, 0)["rank_correlation"] == pytest.approx(
        {"classifier": 1, "all": 1}, abs=1e-5
    )


def test_without_masks_the_mask_has_no_score(run_dir):
    model, maps = load_classifier(run_dir / "checkpoints" / "last.ckpt").eval(), read_maps(run_dir)
    result = check_maps(model, maps._replace(mask=np.full_like(maps.mask, 255)), 0)
    assert result["deletion"]["mask"] is None
    assert result["deletion"]["attention"] is not None


def test_maps_of_other_classes_are_named(run_dir, tmp_path, capsys):
    shutil.copytree(run_dir, tmp_path / "other")
    with np.load(run_dir / "maps.npz") as maps:
        np.savez(tmp_path / "other" / "maps.npz", **{**maps, "class_names": maps["class_names"][::-1]})
    assert main(["check-maps", str(tmp_path / "other")]) == 1
    assert "maps.npz is of the classes " in capsys.readouterr().err


def test_zero_maps_are_counted(run_dir, capsys):
    """Those of a class whose weights are all negative, for features are not."""
    model, maps = load_classifier(run_dir / "checkpoints" / "last.ckpt").eval(), read_maps(run_dir)
    with torch.no_grad():
        model.backbone.classifier.weight.abs_()[0].neg_()
    assert check_maps(model, maps, 0)["num_zero"] == (maps.pair_class == 0).sum() > 0


def test_run_without_maps_is_named(run_dir, tmp_path, capsys):
    assert main(["check-maps", str(tmp_path / "nowhere")]) == 1
    assert "nowhere: no such folder" in capsys.readouterr().err
    shutil.copytree(run_dir, tmp_path / "bare", ignore=shutil.ignore_patterns("maps.npz"))
    assert main(["check-maps", str(tmp_path / "bare")]) == 1
    assert "bare: has no maps.npz with maps" in capsys.readouterr().err
