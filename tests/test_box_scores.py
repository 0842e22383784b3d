"""A folder with boxes alone, from training to the comparison: boxes judge its maps, under names of their own."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from gain_lightning.cli import main
from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.sample import collate, judged_by
from gain_lightning.runs.images import read_images
from gain_lightning.runs.maps import read_maps
from gain_lightning.runs.read import read_run
from gain_lightning.scores import SCORES, score_of
from gain_lightning.studies.comparison.compare import compare
from gain_lightning.studies.report.report import write_report

SIDE, WIDTH = 40, 60
OF_BOXES = {score.key for score in SCORES if score.truth == "box"}
OF_MASKS = {"seed_miou", "seed_miou_best", "seed_threshold_best", "energy", "pointing"}


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def make_folder(root):
    """Write 24 noisy pictures with a bright square in a box; every sixth has a second box, and one of test has none."""
    (root / "images").mkdir(parents=True)
    labels, boxes = ["filename,classes,split"], ["filename,class,xmin,ymin,xmax,ymax"]
    for number in range(24):
        rng = np.random.default_rng(number)
        picture = rng.integers(0, 90, (SIDE, WIDTH, 3), dtype=np.uint8)
        left, top = int(rng.integers(0, 36)), int(rng.integers(0, 20))
        name, split = ("cat", "dog")[number % 2], ("train", "train", "val", "test")[number // 6]
        picture[top : top + 16, left : left + 20, number % 2] = 255
        Image.fromarray(picture).save(root / "images" / f"{number}.png")
        labels.append(f"{number}.png,{name},{split}")
        if number != 23:
            boxes.append(f"{number}.png,{name},{left},{top},{left + 20},{top + 16}")
        if number % 6 == 0:
            boxes.append(f"{number}.png,{name},0,0,10,8")
    (root / "labels.csv").write_text("\n".join(labels))
    (root / "boxes.csv").write_text("\n".join(boxes))
    return root


WORDS = [
    "--data=FolderDataModule", "--data.image_size=32", "--data.batch_size=4", "--data.num_workers=0",
    "--data.supervision=box", "--data.mask_budget=0.5", "--data.masked_batch_size=2",
    "--model.task=single_label", "--model.am_weight=0", "--trainer.max_epochs=1", "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.logger=false",
]  # fmt: skip


def fit(root, run, *words):
    return main(["fit", *WORDS, f"--data.root={root}", f"--run_dir={run}", *words])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("boxed") / "data")


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "gradcam"
    assert fit(root, run, "--model.ext_weight=0", "--keep=best", "--keep_score=energy_in_box") == 0
    return run


def test_a_set_with_boxes_alone_has_scores_of_boxes_and_none_of_masks(run):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["judged"] == {"pairs": 5, "images": 5, "by": "boxes"}
    assert summary["tested"]["score"] == "val/energy_in_box"
    for split in ("val", "test", "center"):
        found = {
            key.partition("/")[2]: value for key, value in summary["metrics"].items() if key.startswith(split)
        }
        assert set(found) >= OF_BOXES
        assert not OF_MASKS & set(found)
        assert all(found[key] is not None for key in OF_BOXES)
    metrics = summary["metrics"]
    assert metrics["test/box_share"] == metrics["center/box_share"]
    assert metrics["test/max_box_acc"] >= metrics["test/box_accuracy"]
    (header, *_) = (run / "per_class.csv").read_text().splitlines()
    assert "energy_in_box" in header
    assert "energy," not in header


def test_every_image_has_its_values_and_the_scores_are_their_means(run):
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    table = rows_of(run / "per_image.csv")
    columns = ["energy_in_box", "box_share", "pointing_in_box", "box_accuracy", "box_iou"]
    assert list(table[0])[-5:] == columns
    judged = [row for row in table if row["energy_in_box"]]
    assert len(judged) == 5  # one class each; image 23 has no box
    for key in ("energy_in_box", "box_share", "box_accuracy"):
        assert metrics[f"test/{key}"] == pytest.approx(np.mean([float(row[key]) for row in judged]), abs=1e-5)
    assert all((float(row["box_iou"]) >= 0.5) == (row["box_accuracy"] == "1.0") for row in judged)
    assert read_images(run)["test"].truth == "box"


def test_values_are_those_of_the_boxes_at_the_size_of_the_network(root, run):
    """By the kept maps: of the pixels of a picture of 32 x 32 whose box was given in one of 60 x 40."""
    maps, (boxes,) = read_maps(run), [rows_of(root / "boxes.csv")]
    assert (maps.mask == 255).all()
    values = {row["id"]: row for row in rows_of(run / "per_image.csv") if row["energy_in_box"]}
    for p, name in enumerate(maps.ids[maps.pair_image].tolist()):
        inside = np.zeros((32, 32), bool)
        for row in (row for row in boxes if row["filename"] == name):
            left, top, right, bottom = (
                round(float(row[key]) * 32 / (WIDTH if key[0] == "x" else SIDE))
                for key in ("xmin", "ymin", "xmax", "ymax")
            )
            inside[top:bottom, left:right] = True
        if name == "23.png":
            assert name not in values
            assert (maps.pair_box[p] == 255).all()
            continue
        assert np.array_equal(maps.pair_box[p] == 1, inside)
        assert float(values[name]["box_share"]) == pytest.approx(inside.mean(), abs=1e-5)
        energy = maps.map[p][inside].sum() / max(maps.map[p].sum(), 1e-9)
        assert float(values[name]["energy_in_box"]) == pytest.approx(energy, abs=2e-3)


def test_the_test_prints_what_judged(root, tmp_path, capsys):
    assert fit(root, tmp_path / "run", "--model.ext_weight=1") == 0
    printed = capsys.readouterr().out
    assert "maps are judged on 5 (image, class) pairs of 5 images with boxes" in printed
    assert "energy_in_box" in printed
    assert "seed_miou" not in printed


def test_keep_by_a_score_of_masks_is_refused_with_one_of_boxes(root, tmp_path, capsys):
    assert fit(root, tmp_path / "run", "--keep=best", "--keep_score=energy") != 0
    assert "keep_score names energy, a score of masks, but val is judged by boxes" in capsys.readouterr().err


def test_a_mask_in_the_split_makes_masks_the_judges(root, tmp_path):
    """As today: boxes then judge nothing there, and go on judging the other splits."""
    mixed = shutil.copytree(root, tmp_path / "data")
    (mixed / "classes.txt").write_text("cat\ndog\n")
    (mixed / "masks").mkdir()
    mask = np.zeros((SIDE, WIDTH), np.uint8)
    mask[:10, :10] = 1
    Image.fromarray(mask).save(mixed / "masks" / "18.png")
    data = FolderDataModule(root=str(mixed), image_size=32, num_workers=0)
    data.setup("test")
    assert (judged_by(data.val_set), judged_by(data.test_sets["test"])) == ("box", "mask")
    assert "box" not in data.test_sets["test"][0]
    batch = collate([data.val_set[row] for row in (0, 1)])
    assert batch["box_image"].tolist() == [0, 0, 1]
    assert batch["box_class"].tolist() == [0, 0, 1]
    assert len(batch["mask"]) == 0


def as_of_masks(run, folder):
    """Copy a run as one whose maps masks have judged."""
    shutil.copytree(run, folder)
    summary = json.loads((folder / "summary.json").read_text())
    metrics = {key: value for key, value in summary["metrics"].items() if score_of(key).truth == "mask"}
    summary["metrics"] = {**metrics, "test/energy": 0.4, "test/pointing": 0.6}
    summary["method"] = "gain"
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_runs_of_masks_and_of_boxes_are_not_compared_in_silence(run, tmp_path):
    comparison = compare([read_run(str(run)), read_run(str(as_of_masks(run, tmp_path / "masks")))])
    (note,) = [note for note in comparison.notes if "boxes" in note]
    assert note == (
        f"Masks judge the maps of {tmp_path / 'masks'}, and boxes those of {run}: no score of maps is compared between "
        "them."
    )
    assert {"test/energy", "test/energy_in_box"} <= set(comparison.metrics)
    assert not {row.metric.partition("/")[2] for row in comparison.differences} & (OF_BOXES | OF_MASKS)


def test_runs_of_boxes_are_compared_with_intervals_over_images_and_reported(run, tmp_path):
    other = tmp_path / "gain"
    shutil.copytree(run, other)
    summary = json.loads((other / "summary.json").read_text())
    (other / "summary.json").write_text(json.dumps({**summary, "method": "gain"}))
    table = rows_of(other / "per_image.csv")
    shifts = iter([0.1, 0.05, 0.2, 0.0, 0.15])
    for row in table:
        if row["energy_in_box"]:
            row["energy_in_box"] = str(float(row["energy_in_box"]) + next(shifts))
    with (other / "per_image.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    summary["metrics"]["test/energy_in_box"] += 0.1
    (other / "summary.json").write_text(json.dumps({**summary, "method": "gain"}))
    comparison = compare([read_run(str(run)), read_run(str(other))])
    (row,) = [row for row in comparison.differences if row.metric == "test/energy_in_box"]
    assert row.delta == pytest.approx(0.1)
    assert row.over == "images"
    assert not any("intervals over images" in note for note in comparison.notes)
    assert not any(row.metric == "test/box_share" for row in comparison.differences)
    write_report(comparison, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "pairs with boxes" in page
    assert "Boxes of cat" in page
    assert "in its box" in page
