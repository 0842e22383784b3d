"""Pictures of SEC runs in a report."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from gain_lightning.cli import main
from gain_lightning.drawing.maps import colour_mask
from gain_lightning.drawing.strips import read_strip, save_strip
from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison.groups import Group
from gain_lightning.studies.report.class_scores import class_scores


@pytest.fixture
def picture(generator):
    return np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)


def test_a_strip_comes_back_as_its_pictures(tmp_path, picture):
    """Under their captions; what is not there is white and not void, which would say that it is unsure."""
    masks = {"ground truth": np.full((6, 8), 255, np.uint8), "cues": np.tri(6, 8, dtype=np.uint8)}
    save_strip(tmp_path / "a" / "s.png", picture, masks)
    strip = read_strip(tmp_path / "a" / "s.png")
    assert list(strip) == ["image", "ground truth", "cues"]
    np.testing.assert_array_equal(strip["image"], picture)
    np.testing.assert_array_equal(strip["cues"], colour_mask(masks["cues"]))
    assert (strip["ground truth"] == 255).all()
    whole = np.asarray(Image.open(tmp_path / "a" / "s.png").convert("RGB"))
    assert whole.shape[1] > 3 * 8  # gaps between them


def test_another_picture_is_no_strip(tmp_path):
    (tmp_path / "s.png").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"s\.png: not a strip"):
        read_strip(tmp_path / "s.png")
    Image.new("RGB", (8, 6)).save(tmp_path / "t.png")
    with pytest.raises(ValueError, match=r"t\.png: not a strip"):
        read_strip(tmp_path / "t.png")


def sec_run(folder, method, seed, picture, *, miou, cues):
    """A finished run of SEC that drew images a, b and one of its own; its seeds drew c."""
    folder.mkdir(parents=True)
    metrics = {"test/miou": miou, "test/miou_crf": miou + 0.05}
    summary = {"state": "finished", "method": method, "seed": seed, "metrics": metrics}
    (folder / "summary.json").write_text(json.dumps(summary))
    config = {
        "model": {"backbone": "tiny_cnn"},
        "data": {"class_path": "CueDataModule", "init_args": {"cues": str(cues)}},
        "seed_everything": seed,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = ["id,class,true,found,right,found_crf,right_crf"]
    for number in range(
        40
    ):  # IoU of all images, and of every one to within some points, other ones for each method
        by = round(200 * miou) * (-1) ** number
        right, more = round(1000 * miou) + by, round(1000 * (miou + 0.05)) + by
        rows += [f"{number},{name},1000,{right},{right},{more},{more}" for name in ("background", "cat")]
    (folder / "per_image.csv").write_text("\n".join(rows))
    of_cow = miou if method == "sec_gradcam" else ""
    classes = f"class,iou,iou_crf\nbackground,{miou},{miou}\ncat,{miou},{1 - miou}\ncow,,{of_cow}\ndog,,\n"
    (folder / "per_class.csv").write_text(classes)
    empty = np.zeros((6, 8), np.uint8)
    for name in ("a", "b", method):
        masks = dict.fromkeys(("ground truth", "segmentation", "with CRF"), empty)
        save_strip(folder / "segmentations" / f"{name}.png", picture, masks)
    masks = dict.fromkeys(("ground truth", "cues", "pseudo-mask"), empty)
    save_strip(cues / "pictures" / "c.png", picture, masks)
    return str(folder)


def test_scores_of_classes_are_means_over_the_runs_of_a_method(tmp_path, picture):
    """By hand: of the CRF, as all have it; a class that no run scored has no row."""
    scored = [("sec_gradcam", 0, 0.4), ("sec_gradcam", 1, 0.2), ("sec_gain", 0, 0.6)]
    runs = [
        sec_run(tmp_path / f"{name}{seed}", name, seed, picture, miou=miou, cues=tmp_path / "cues")
        for name, seed, miou in scored
    ]
    gradcam, gain = [read_run(run) for run in runs[:2]], [read_run(runs[2])]
    found = class_scores([Group("sec_gradcam", gradcam, {}), Group("sec_gain", gain, {})])
    assert found.what == "IoU of the segmentation with CRF"
    assert found.rows == [
        ("background", [("30.0", False), ("60.0", True)]),
        ("cat", [("70.0", True), ("40.0", False)]),
        ("cow", [("30.0", True), ("–", False)]),
    ]
    Path(runs[2], "per_class.csv").write_text("class,iou\ncat,0.5\n")
    assert class_scores([Group("sec_gradcam", gradcam, {}), Group("sec_gain", gain, {})]).what == (
        "IoU of the segmentation"
    )
    Path(runs[2], "per_class.csv").unlink()
    assert class_scores([Group("sec_gradcam", gradcam, {}), Group("sec_gain", gain, {})]) is None


def test_runs_of_sec_compare_with_their_pictures(tmp_path, picture, capsys):
    methods = ["sec_gain_ext_313", "sec_gain_ext_63", "sec_gradcam"]
    runs = [
        sec_run(tmp_path / name, name, 0, picture, miou=miou, cues=tmp_path / f"cues_{name}")
        for name, miou in zip(methods, (0.5, 0.45, 0.4), strict=True)
    ]
    assert main(["compare", *runs, "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    header = next(line for line in text.splitlines() if "SEC: Grad-CAM" in line)
    assert header.split("  ")[-1].strip() == "SEC: GAIN_ext 313"
    assert (
        header.index("SEC: Grad-CAM") < header.index("SEC: GAIN_ext 63") < header.index("SEC: GAIN_ext 313")
    )
    assert "mIoU CRF" in text
    assert "per_image" not in text  # every run has it, and it agrees
    difference = next(
        line for line in text.splitlines() if line.strip().startswith("mIoU CRF") and "to" in line
    )
    delta, low, _, high = difference.split()[2:6]
    assert delta == "+5.0"
    assert 4.5 < float(low) < 5 < float(high) < 5.5
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("SEC: GAIN_ext (63 masks), with CRF") == 2 * 2  # of a and b: caption and text
    assert page.count("SEC: Grad-CAM, pseudo-mask") == 2
    assert "<code>sec_gradcam</code></figcaption>" not in page
    assert "No maps.npz" not in page
    assert "<summary>By class: IoU of the segmentation with CRF</summary>" in page
    assert "segments better with the CRF (mIoU CRF +5.0 points)" in page


def spoilt(table, kind):
    """A ``per_image.csv`` with something wrong in row 3."""
    lines = table.splitlines()
    if kind == "column":
        lines[0] = lines[0].replace("right,", "wrong,", 1)
    lines[3] = {
        "minus": "1,background,-1,1,1,1,1",
        "empty": "1,background,1,,1,1,1",
        "twice": lines[1],
        "missing": "",
    }.get(kind, lines[3])
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("column", "per_image.csv: has no column 'right', expected id, class, true"),
        ("minus", "per_image.csv, row 3: [-1.0, 1.0, 1.0, 1.0, 1.0] pixels, expected numbers of at least 0"),
        ("empty", "per_image.csv, row 3: [1.0, nan, 1.0, 1.0, 1.0] pixels, expected numbers of at least 0"),
        ("twice", "per_image.csv, row 3: '0', 'background' comes twice"),
        ("missing", "per_image.csv: has 79 rows, expected 40 images x 2 classes"),
    ],
)
def test_broken_pixels_are_named(tmp_path, picture, capsys, kind, message):
    run = sec_run(tmp_path / "run", "sec_gain", 0, picture, miou=0.4, cues=tmp_path / "cues")
    path = tmp_path / "run" / "per_image.csv"
    path.write_text(spoilt(path.read_text(), kind))
    assert main(["compare", run, "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err


def test_pixels_of_another_test_give_no_interval(tmp_path, picture, capsys):
    methods = ("sec_gain", "sec_gradcam")
    runs = [sec_run(tmp_path / m, m, 0, picture, miou=0.4, cues=tmp_path / f"cues_{m}") for m in methods]
    path = tmp_path / "sec_gain" / "per_image.csv"
    path.write_text(path.read_text().replace(",480,480,", ",580,580,"))
    assert main(["compare", *runs, "--out", str(tmp_path / "out")]) == 0
    assert "test/miou is 0.4000 in" in capsys.readouterr().out
    path.unlink()
    assert main(["compare", *runs, "--out", str(tmp_path / "out")]) == 0
    assert "No per_image.csv in" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_in_a_strip_is_a_value_error(tmp_path, picture):
    path = tmp_path / "s.png"
    save_strip(path, picture, {"cues": np.tri(6, 8, dtype=np.uint8)})
    whole, refused = path.read_bytes(), []
    for place in range(len(whole)):
        for flipped in (1, 255):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flipped]) + whole[place + 1 :])
            try:
                read_strip(path)  # some damage Pillow does not see
            except ValueError as error:
                refused.append(str(error))
    assert len(refused) > len(whole)  # of twice as many
    assert all(said.startswith(f"{path}: not a strip of pictures") for said in refused)


@pytest.fixture
def two_seeds(tmp_path, picture, capsys):
    """What `gain compare` prints of two runs, each with cues of its own, whose settings may be set."""
    runs = []

    def compare(method="sec_gain", **settings):
        for seed in () if runs else (0, 1):
            cues = tmp_path / f"cues_{seed}"
            runs.append(sec_run(tmp_path / f"{seed}", method, seed, picture, miou=0.4 + seed / 10, cues=cues))
        for seed, run in enumerate(runs):
            config = yaml.safe_load(Path(run, "config.yaml").read_text())
            for key, values in settings.items():
                *place, name = key.split("__")
                node = config
                for part in place:
                    node = node.setdefault(part, {})
                node[name] = values[seed]
            Path(run, "config.yaml").write_text(yaml.safe_dump(config))
        status = main(["compare", *runs, "--out", str(tmp_path / "out")])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        return captured.out

    return compare


def test_cues_and_classifiers_of_runs_are_no_mixed_settings(two_seeds):
    """Of two seeds each has its own; but weights of anything else are another setting."""
    ours = "runs/{}/checkpoints/last.ckpt"
    assert "differ in" not in two_seeds(model__weights=[ours.format(0), ours.format(1)])
    for theirs in ("default", "vgg16_coco.pth"):
        printed = two_seeds(model__weights=[ours.format(0), theirs])
        assert "differ in model.weights (sec_gain)" in printed


def test_published_cues_are_settings(two_seeds):
    assert "differ in data.cues (sec_cues)" in two_seeds("sec_cues")


def test_what_is_free_of_a_classifier_is_free_of_sec(two_seeds):
    printed = two_seeds(
        data__init_args__images=[{"class_path": "A", "init_args": {"num_workers": n}} for n in (0, 1)]
    )
    assert "45.0 ± 7.1" in printed  # of both runs


def test_cues_may_be_named_by_their_file(tmp_path, picture, two_seeds):
    two_seeds(data__init_args__cues=[str(tmp_path / f"cues_{seed}" / "cues.npz") for seed in (0, 1)])
    assert "pseudo-mask" in (tmp_path / "out" / "report.html").read_text()


def test_a_broken_picture_is_named(tmp_path, picture, capsys):
    run = sec_run(tmp_path / "run", "sec_gain", 0, picture, miou=0.4, cues=tmp_path / "cues")
    (tmp_path / "run" / "segmentations" / "a.png").write_bytes(b"no")
    assert main(["compare", run, "--out", str(tmp_path / "out")]) == 1
    assert "a.png: not a strip of pictures" in capsys.readouterr().err
