from pathlib import Path

import pytest
import yaml
from sec_runs import sec_run

from gain_lightning.cli import main


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
