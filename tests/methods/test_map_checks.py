import argparse
import json
import shutil

import numpy as np
import pytest
import torch

from gain_lightning.attention import label_pairs
from gain_lightning.cli import main
from gain_lightning.methods.load import load_classifier
from gain_lightning.methods.map_checks import check_maps
from gain_lightning.metrics.faithfulness import FILLS
from gain_lightning.metrics.resampling import draw_images, mean_interval
from gain_lightning.runs.maps import Maps, read_maps


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


@pytest.fixture(scope="module")
def checks(run_dir):
    model, maps = load_classifier(run_dir / "checkpoints" / "last.ckpt").eval(), read_maps(run_dir)
    return check_maps(model, maps, 0)


def test_command_writes_what_it_prints(run_dir, capsys):
    assert main(["check-maps", str(run_dir), "--draws", "1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    result = json.loads((run_dir / "map_checks.json").read_text())
    assert result["num_pairs"] == len(read_maps(run_dir).pair_image)
    assert result["num_images"] == len(read_maps(run_dir).image)
    assert any(result["population"] in line for line in printed)
    for fill in FILLS:
        rows = [line for line in printed if line.strip().startswith(FILLS[fill].title)]
        for score, row in zip(("deletion", "insertion"), rows, strict=True):
            cells = row.removeprefix(f"  {FILLS[fill].title:12}").split()
            assert len(cells) == 8
            entries = result["fills"][fill][score].values()
            assert [float(cell) for cell in cells[::2]] == [round(entry["mean"], 2) for entry in entries]
            for text, entry in zip(cells[1::2], entries, strict=True):
                low, high = text.rstrip("*").split("-")
                assert [float(low), float(high)] == [round(end, 2) for end in entry["interval"]]
                assert text.endswith("*") == (np.prod(np.sign(entry["attention_less"])) > 0)
    assert max(map(len, printed[2:])) <= 80  # after the threads, and the run's path
    words = " ".join(" ".join(printed).split())
    opinion = result["second_opinion"]
    (row,) = [line for line in printed if line.startswith("  integrated gradients")]
    shown = [round(opinion[score]["integrated"]["mean"], 2) for score in ("energy", "iou")]
    assert [float(cell) for cell in row.removeprefix("  integrated gradients").split()[::2]] == shown
    assert opinion["words"] in words
    assert result["mirror_shift"]["words"] in words
    assert result["mask_shift"]["words"] in words


def test_only_scored_classes_are_checked(run_dir):
    """As every score of a run: the same as of a run that kept the maps of that class alone."""
    path, maps = run_dir / "checkpoints" / "last.ckpt", read_maps(run_dir)
    all_classes, one_class = (load_classifier(path).eval() for _ in range(2))
    one_class.scored = [2]
    mine = maps.pair_class == 2
    assert 0 < mine.sum() < len(mine)
    alone = maps._replace(
        **{name: getattr(maps, name)[mine] for name in ("pair_image", "pair_class", "pair_mask", "map")}
    )
    assert check_maps(one_class, maps, 0, num_draws=1) == check_maps(all_classes, alone, 0, num_draws=1)


def test_files_keep_what_former_versions_wrote(run_dir, checks):
    """Deletion by the mean colour and insertion into a blur, each by map, as numbers."""
    for score, fill in (("deletion", "mean"), ("insertion", "blur")):
        expected = {name: entry["mean"] for name, entry in checks["fills"][fill][score].items()}
        assert checks[score] == expected
        assert list(expected) == ["attention", "center", "random", "mask"]
    assert {"num_pairs", "num_zero", "seed", "rank_correlation"} <= set(checks)


def test_intervals_are_over_images_and_shrink_with_their_number(checks):
    entry = checks["fills"]["mean"]["deletion"]
    for name in ("attention", "center", "random", "mask"):
        low, high = entry[name]["interval"]
        assert low < entry[name]["mean"] < high
    assert entry["attention"]["attention_less"] == [0, 0]


def test_a_bootstrap_of_a_mean_is_as_wide_as_theory_says():
    """One pair an image: the standard error of a mean; two equal ones: as if there were one."""
    values = torch.randn(200, generator=torch.Generator().manual_seed(0))
    single = mean_interval(values, draw_images(label_pairs(torch.ones(200, 1)), 0))
    double = mean_interval(values.repeat_interleave(2), draw_images(label_pairs(torch.ones(200, 2)), 0))
    expected = 2 * 1.96 * values.std() / 200**0.5
    assert np.ptp(single) == pytest.approx(expected.item(), rel=0.08)
    assert double == pytest.approx(single, abs=1e-5)


class Sees(torch.nn.Module):
    """A network that says how red an image's reddest part is, and maps it some pixels beside where it is."""

    def __init__(self, dx, dy):
        super().__init__()
        self.dx, self.dy = dx, dy
        self.backbone = torch.nn.Module()
        self.backbone.classifier = torch.nn.Linear(1, 1)
        self.backbone.normalize = lambda image: image.float() / 255
        self.hparams = argparse.Namespace(class_names=["red"])
        self.scored = [0]

    def forward(self, image):
        return torch.nn.functional.avg_pool2d(image[:, :1], 5, 1, 2).amax((2, 3))

    def attend(self, image, label):
        red = torch.nn.functional.avg_pool2d(image[:, :1], 5, 1, 2)
        return self(image), red.roll((self.dy, self.dx), (2, 3)), label_pairs(label)

    def scores(self, logits):
        return logits

    def place(self, maps, size):
        assert maps.shape[2:] == size
        return maps


@pytest.mark.usefixtures("few_steps")
def test_checkpoints_of_another_name_and_place_are_found(run_dir, tmp_path):
    """As a ``ModelCheckpoint`` of the config writes them."""
    for name in ("maps.npz", "summary.json", "config.yaml"):
        shutil.copy(run_dir / name, tmp_path / name)
    (tmp_path / "checkpoints" / "best").mkdir(parents=True)
    shutil.copy(run_dir / "checkpoints" / "last.ckpt", tmp_path / "checkpoints" / "best" / "own.ckpt")
    assert main(["check-maps", str(tmp_path), "--draws=1"]) == 0
    assert (tmp_path / "map_checks.json").is_file()


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (5, 0), (-3, 2)])
def test_evidence_that_a_network_moves_is_found_in_pixels(dx, dy):
    rng = np.random.default_rng(0)
    image, mask = np.zeros((8, 48, 64, 3), np.uint8), np.zeros((8, 48, 64), np.uint8)
    for number in range(8):
        top, left = rng.integers(12, 26), rng.integers(16, 36)
        mask[number, top : top + rng.integers(6, 12), left : left + rng.integers(6, 12)] = 1
    image[..., 0] = 255 * mask
    pair = np.arange(8)
    maps = Maps(
        ids=pair.astype(str), image=image, mask=mask, pair_image=pair, pair_class=0 * pair,
        pair_mask=mask, map=mask.astype(np.float32), class_names=np.array(["red"]),
    )  # fmt: skip
    result = check_maps(Sees(dx, dy), maps, 0)
    assert result["mirror_shift"]["dx"] == pytest.approx(2 * dx, abs=0.2)
    found = result["mask_shift"]
    assert (found["dx"], found["dy"]) == pytest.approx((-dx, -dy), abs=0.3)
    assert found["correlation"] > 0.9
    assert json.loads(json.dumps(result)) == result


@pytest.fixture
def few_steps(monkeypatch):
    """Shorter curves, where a test is not about them."""
    monkeypatch.setattr("gain_lightning.methods.map_checks._STEPS", 2)


@pytest.mark.usefixtures("few_steps")
def test_same_seed_gives_the_same_checks_and_leaves_the_global_draw_alone(run_dir):
    model, maps = load_classifier(run_dir / "checkpoints" / "last.ckpt").eval(), read_maps(run_dir)
    state = torch.get_rng_state()
    assert check_maps(model, maps, 1) == check_maps(model, maps, 1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("few_steps")
def test_maps_of_random_weights_correlate_with_themselves_alone(run_dir, monkeypatch):
    """Were random weights not random, the correlation would be 1."""
    model, maps = load_classifier(run_dir / "checkpoints" / "last.ckpt").eval(), read_maps(run_dir)
    assert check_maps(model, maps, 0)["rank_correlation"]["all"] < 0.9
    monkeypatch.setattr(
        "gain_lightning.methods.map_checks.with_random_weights", lambda module, part=None: module
    )
    assert check_maps(model, maps, 0)["rank_correlation"] == pytest.approx(
        {"classifier": 1, "all": 1}, abs=1e-5
    )


@pytest.mark.usefixtures("few_steps")
def test_without_masks_the_mask_has_no_score(run_dir):
    model, maps = load_classifier(run_dir / "checkpoints" / "last.ckpt").eval(), read_maps(run_dir)
    result = check_maps(model, maps._replace(pair_mask=np.full_like(maps.pair_mask, 255)), 0)
    assert result["deletion"]["mask"] is None
    assert result["fills"]["noise"]["insertion"]["mask"] == {
        "mean": None,
        "interval": None,
        "attention_less": None,
    }
    assert result["mask_shift"] is None
    assert result["deletion"]["attention"] is not None


def test_maps_of_other_classes_are_named(run_dir, tmp_path, capsys):
    shutil.copytree(run_dir, tmp_path / "other")
    with np.load(run_dir / "maps.npz") as maps:
        np.savez(tmp_path / "other" / "maps.npz", **{**maps, "class_names": maps["class_names"][::-1]})
    assert main(["check-maps", str(tmp_path / "other")]) == 1
    assert "maps.npz is of the classes " in capsys.readouterr().err


@pytest.mark.usefixtures("few_steps")
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
