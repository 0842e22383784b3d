import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fake_runs import VOID, map_arrays, write_csv

from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison.compare import compare
from gain_lightning.studies.comparison.groups import Comparison, Difference, Group, Stat
from gain_lightning.studies.report.report import reading, write_report


class Page(HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def report(tmp_path):
    def write(paths, **kwargs) -> str:
        write_report(compare([read_run(path) for path in paths], **kwargs), tmp_path / "report.html")
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return write


def two_groups(*differences: Difference) -> Comparison:
    stats = {"test/energy": Stat(0.3, None, 1)}
    return Comparison([Group("gradcam", [], stats), Group("gain", [], stats)], list(differences), [])


def test_report_needs_no_other_file(report, make_study):
    text = report(make_study())

    page = Page(text)
    assert "http:" not in text
    assert "https:" not in text
    sources = [
        value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "srcset", "href")
    ]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object")] == ["script"]
    assert "url(" not in text
    assert "@import" not in text
    (policy,) = (
        attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    script = re.search("<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def test_report_escapes_names(report, make_run, tmp_path):
    hostile = '<script>alert("x")</script>'
    path = make_run(
        "<img onerror=1>",
        summary={"method": hostile, "git_commit": hostile, "device": hostile, "versions": {hostile: hostile}},
        metrics={f"test/{hostile}": 0.5, "test/$x_$": 0.5},
    )
    other = make_run("b", "gain", config={"model.am_weight": hostile, f"model.{hostile}": 1})
    for run in (path, other):
        arrays = {
            **map_arrays(),
            "ids": np.array([hostile, "b", "c"]),
            "class_names": np.array([hostile, "x", "y"]),
        }
        np.savez(Path(run, "maps.npz"), **arrays)
        lines = Path(run, "metrics.csv").read_text().replace("val/mean_ap", '"val/<script>$"')
        Path(run, "metrics.csv").write_text(lines)

    text = report([path, other])

    assert [tag for tag, _ in Page(text).tags].count("script") == 1
    assert "<img onerror" not in text
    assert "&lt;script&gt;" in text
    assert hostile in Page(text).text


def test_report_is_accessible(report, make_study):
    page = Page(report(make_study()))

    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert images
    assert all(attrs.get("alt") for attrs in images)
    count = [tag for tag, _ in page.tags]
    assert count.count("caption") == count.count("table") == 5
    assert ("html", {"lang": "en"}) in page.tags


def test_report_shows_scores_in_percent_with_the_best_in_bold(report, make_run):
    values = {"gradcam": (0.3, 0.5), "gain": (0.5, 0.7)}
    paths = [
        make_run(f"{name}{seed}", name, seed, metrics={"test/seed_miou": value})
        for name, pair in values.items()
        for seed, value in enumerate(pair)
    ]

    text = report(paths)

    assert "<td>40.0 ± 14.1</td>" in text
    assert "<strong>60.0 ± 14.1</strong>" in text
    assert "+20.0</td>\n<td>\N{EN DASH}</td>" in text  # both seeds differ by the same: no interval over seeds


def test_report_shows_what_the_centre_of_the_image_scores(report, make_run):
    metrics = {"center/energy": 0.25, "center/seed_miou": 0.125, "test/seed_threshold_best": 0.3}

    text = report([make_run("a", "gradcam", metrics=metrics), make_run("b", "gain", metrics=metrics)])

    (row,) = re.findall(r"centre of the image</th>(.*?)</tr>", text, re.DOTALL)
    cells = re.findall(r"<td>([^<]*)</td>", row)
    columns = re.findall(r'<th scope="col">([^<]*)</th>', text)
    found = {name.strip("\u00a0\u2191"): cell for name, cell in zip(columns, cells, strict=False)}
    assert (found["energy"], found["seed mIoU"], found["mAP"]) == ("25.0", "12.5", "-")


def test_report_shows_every_image_through_every_method(report, make_study):
    paths = make_study(seeds=(0, 1))
    np.savez(Path(paths[0], "maps.npz"), **map_arrays(ids=("c", "b")))  # gradcam's first seed lacks image a

    text = report(paths)

    assert re.findall(r"<strong>boat</strong> in <code>(\w)</code>", text) == ["c", "b"]
    captions = re.findall(r"<figcaption>([^<]+)</figcaption></figure>", text)
    assert captions == 2 * ["image", "ground truth", "Grad-CAM", "GAIN", "GAIN_ext"]


def test_pictures_show_the_worst_and_the_best_change_first(report, make_run):
    ids = [f"test_{n:04}" for n in range(5)]
    shares = {"gradcam": [0.5, 0.5, 0.5, 0.5, 0.5], "gain": [0.6, 0.1, 0.9, 0.4, 0.5]}
    paths = []
    for method, values in shares.items():
        path = make_run(method, method)
        rows = [
            {
                **{"set": "test", "id": image_id, "class": "boat", "present": 1, "score": 0.5},
                **{"energy": value, "pointing": 1, "iou": 0.5},
            }
            for image_id, value in zip(ids, values, strict=True)
        ]
        write_csv(Path(path, "per_image.csv"), rows)
        np.savez(Path(path, "maps.npz"), **map_arrays(ids=tuple(ids)))
        paths.append(path)

    text = report(paths)

    found = re.findall(r"in <code>test_000(\d)</code>. Grad-CAM to GAIN: (\S+) points on the object", text)
    assert found == [
        ("1", "\N{MINUS SIGN}40.0"),
        ("2", "+40.0"),
        ("3", "\N{MINUS SIGN}10.0"),
        ("0", "+10.0"),
        ("4", "0.0"),
    ]
    assert "<figcaption>GAIN, 10 %</figcaption>" in text
    assert (
        "Maps are judged on 5 (image, class) pairs with masks, in 5 of 5 images of test." in Page(text).text
    )


def test_pictures_without_a_mask_and_maps_of_zeros_are_said(report, make_run):
    path = make_run("a")
    arrays = map_arrays()
    arrays["mask"][0], arrays["map"][1] = VOID, 0
    np.savez(Path(path, "maps.npz"), **arrays)

    text = report([path])

    assert text.count('<div class="none">No mask of boat</div>') == 1
    assert text.count("<figcaption>GAIN, all zero</figcaption>") == 1


def test_equal_best_scores_are_all_bold(report, make_run):
    paths = [make_run(name, name, metrics={"test/seed_miou": 0.51234}) for name in ("gradcam", "gain")]

    assert report(paths).count("<strong>51.2</strong>") == 2


def test_report_goes_without_maps_and_curves(report, make_run):
    path = make_run("a", maps=False)
    Path(path, "metrics.csv").unlink()

    text = Page(report([path])).text

    assert f"No maps.npz in {path}." in text
    assert "No run holds a metrics.csv with curves." in text


def test_report_draws_each_validation_metric_and_loss(report, make_study):
    text = report(make_study())

    alts = re.findall(r'width="400" height="270" alt="([^"]+)"', text)
    titles = [alt.partition(" against ")[0] for alt in alts]
    assert titles == [
        *("seed mIoU (test, %)", "mAP (validation, %)", "L (training)", "L_cl (training)", "L_am (training)")
    ]
    assert "Grad-CAM" not in alts[-1]  # it has no such term


def test_curves_end_at_the_mean_over_seeds(report, make_run):
    paths = [make_run(str(seed), seed=seed) for seed in (0, 1)]
    for path, last in zip(paths, (0.5, 0.75), strict=True):
        Path(path, "metrics.csv").write_text(f"epoch,step,val/mean_ap\n0,9,0.1\n1,19,{last}\n")

    assert "GAIN ends at 62.5" in report(paths)


def test_long_curves_keep_their_last_point(report, make_run):
    path = make_run("a")
    rows = [f"0,{step},{9.0 if step == 999 else 1.0}" for step in range(1000)]
    Path(path, "metrics.csv").write_text("\n".join(["epoch,step,train/loss", *rows]) + "\n")

    assert "L (training) against step: GAIN ends at 9" in report([path])


def test_report_of_a_diverged_run_is_written(report, make_run):
    path = make_run("a")
    Path(path, "metrics.csv").write_text("epoch,step,train/loss\n0,9,inf\n1,19,nan\n2,29,1.5\n")

    assert "L (training) against epoch: GAIN ends at 1.5" in report([path])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (("test/mean_ap", 0.1, (0.05, 0.2), "seeds and images"), "classifies better (mAP +10.0 points)"),
        (
            ("test/mean_ap", -0.1, (-0.2, -0.05), "seeds and images"),
            "classifies worse (mAP \N{MINUS SIGN}10.0 points)",
        ),
        (
            ("test/mean_ap", 0.01, (-0.01, 0.02), "seeds and images"),
            "shows no clear change in mAP (+1.0 points)",
        ),
        (
            ("test/accuracy", -0.25, (-0.5, -0.08), "seeds and images"),
            "decides right less often (accuracy \N{MINUS SIGN}25.0 points)",
        ),
        (
            ("test/pointing", -0.2, (-0.3, -0.1), "seeds and images"),
            "is clearly worse in pointing (\N{MINUS SIGN}20.0 points)",
        ),
        (("test/night_mae", 2.0, (1.0, 3.0), "seeds and images"), "is clearly worse in night mae (+2.00)"),
        (("test/pointing", 0.2, (0.1, 0.3), "seeds and images"), "is clearly worse in no score"),
        (("test/mean_ap", 0.01, None, ""), "changes mAP by +1.0 points, without an interval"),
        (
            ("test/seed_miou", 0.1, (0.05, 0.2), "seeds"),
            "outlines the objects better by its maps (seed mIoU +10.0 points on these very images)",
        ),
        (
            ("test/seed_miou_best", -0.1, (-0.2, -0.05), "seeds"),
            "is clearly worse in best seed mIoU (\N{MINUS SIGN}10.0 points on these very images)",
        ),
    ],
)
def test_reading_claims_no_more_than_the_interval(row, expected):
    metric, delta, ci95, over = row

    (sentence, *_) = reading(two_groups(Difference(metric, "gradcam", "gain", delta, ci95, over)))

    assert sentence == f"Against Grad-CAM, GAIN {expected}."


def test_reading_of_one_seed_is_about_two_networks():
    row = Difference("test/mean_ap", "gradcam", "gain", 0.1, (0.05, 0.2), "images")

    (sentence, *_) = reading(two_groups(row))

    assert sentence == (
        "Against the one network of Grad-CAM, the one network of GAIN classifies better (mAP +10.0 points): this is "
        "about these two networks and not about the methods."
    )


def test_best_thresholds_are_said_to_be_chosen_on_what_they_score(report, make_run):
    text = " ".join(Page(report([make_run("a", metrics={"test/seed_miou_best": 0.5})])).text.split())

    assert text.count("chosen on the very images it is scored on") == 2  # of the score and of the threshold


def test_share_of_zero_maps_is_shown_where_there_are_any(report, make_run):
    paths = [
        make_run(name, name, metrics={"test/zero_maps": share})
        for name, share in (("gradcam", 0.0), ("gain", 0.0625))
    ]
    other = make_run("gain_1", "gain", seed=1, metrics={"test/zero_maps": 0.0})

    page = report(paths)

    assert ">zero maps</th>" in page
    assert "<td>6.2</td>" in page
    assert "zero maps" not in report([paths[0], other])


def test_reading_says_that_one_run_each_is_little(make_run):
    runs = [read_run(make_run(name, name)) for name in ("gradcam", "gain")]

    assert reading(compare(runs))[-1] == "One run each: how far another seed would differ is not known."


def test_reading_of_one_method_compares_nothing():
    assert "nothing to compare" in reading(Comparison([Group("gain", [], {})], [], []))[0]
