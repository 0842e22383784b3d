"""Every score once: the table is complete, everything reads it, and a new row is all that a new score needs."""

import ast
import csv
import html
import json
import re
import typing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gain_lightning import metrics, scores
from gain_lightning.attention import label_pairs
from gain_lightning.cli import main
from gain_lightning.methods.scoring import MapScores, SetScores
from gain_lightning.metrics import boxes as box_metrics
from gain_lightning.metrics import maps as map_metrics
from gain_lightning.runs.background import VERSIONS, Objects, weighted_scores
from gain_lightning.runs.images import ImageTable
from gain_lightning.runs.pixels import PixelTable
from gain_lightning.runs.read import read_run
from gain_lightning.scores import SCORES, Score, in_order, is_reserved, score_of
from gain_lightning.studies.comparison.bootstrap import DecisionRule, resampled_miou, resampled_scores
from gain_lightning.studies.comparison.compare import compare
from gain_lightning.studies.comparison.groups import Comparison, Difference, Group
from gain_lightning.studies.comparison.resampled_groups import resampled_groups
from gain_lightning.studies.report.report import reading

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gain_lightning"
# section 4's table has the columns of the paper's
TABLES_OF_THEIR_OWN = ("scores.py", "section4.py")
SMALL = [
    "--data.num_train=32", "--data.num_val=8", "--data.num_test=12", "--data.num_biased=4", "--data.num_workers=0",
    "--trainer.max_epochs=1", "--model.warmup=0", "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.logger=false",
]  # fmt: skip
SPILL = Score(
    "spill",
    "spilled share",
    "Share of a map's sum that lies beside its object, mean over pairs.",
    better="lower",
    over="pairs",
    measure="spill_beside_mask",
    rises="spills more beside the objects",
    falls="spills less beside the objects",
)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("score", SCORES, ids=lambda score: score.key)
def test_every_row_is_complete(score):
    assert score.key.isidentifier()
    assert score.name.strip()
    assert score.meaning.endswith(".")
    for name, kind in typing.get_type_hints(Score).items():
        if typing.get_origin(kind) is typing.Literal:
            assert getattr(score, name) in typing.get_args(kind)
    assert bool(score.rises) == bool(score.falls)
    if score.rises:
        assert score.better != "neither"
    if score.measure:
        assert score.over == "pairs"
        assert callable(getattr({"mask": map_metrics, "box": box_metrics}[score.truth], score.measure))


def test_no_two_rows_are_called_the_same():
    for values in (
        [score.key for score in SCORES],
        [score.name for score in SCORES],
        [score.listed for score in SCORES if score.listed],
        [score.column or score.key for score in SCORES],
    ):
        assert len(set(values)) == len(values)


@pytest.mark.parametrize(("is_regression", "first"), [(False, "mean_ap"), (True, "mae")])
@pytest.mark.parametrize("truth", ["mask", "box"])
def test_what_a_set_is_scored_by_has_a_row_each_in_the_order_of_the_tables(is_regression, first, truth):
    label = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    pairs = label_pairs(label)
    maps, mask = torch.rand(3, 1, 4, 4), torch.ones(3, 4, 4, dtype=torch.long)
    corners = torch.tensor([[0.0, 0.0, 3.0, 2.0]]).expand(3, 4)
    boxes = metrics.PairBoxes(corners, torch.arange(3), 3) if truth == "box" else None
    set_scores, map_scores = SetScores(2, [0, 1], is_regression=is_regression), MapScores(2, [0, 1])
    answer = torch.rand(2, 2)
    set_scores.update(answer, label, maps, mask, pairs, boxes)
    map_scores.update_maps(maps, mask, pairs, boxes)
    whole, of_maps = set_scores.compute(), map_scores.compute()
    keys = [score.key for score in SCORES]
    assert list(whole.scores) == [first, *of_maps.scores, "zero_maps"] == in_order(whole.scores)
    assert set(whole.scores) <= set(keys)
    known = {score.column or score.key for score in SCORES} | {"num_images", "num_judged"}
    assert set(whole.per_class) <= known
    assert {score_of(key).truth for key in of_maps.scores} == {truth}
    assert set(set_scores.keys()) >= {key for key in whole.scores if score_of(key).better != "neither"}
    set_scores.reset()
    set_scores.update(answer, label, maps, mask, pairs, boxes)
    assert set_scores.compute() == whole


@pytest.mark.parametrize("name", ["gain_ext", "sec", "sweep/trials/0000"])
def test_every_metric_of_a_run_has_a_row_or_is_of_a_further_test_set(name):
    folder = ROOT / "tests" / "old_runs" / name
    further = {row.get("set") for row in rows(folder / "per_image.csv")}
    keys = {score.key for score in SCORES}
    for metric in json.loads((folder / "summary.json").read_text())["metrics"]:
        split, _, key = metric.partition("/")
        assert split == "train" or key in keys | further, metric


def test_per_image_csv_gives_what_is_over_images_and_pairs_and_no_more():
    ids = [f"{number:02}" for number in range(30)]
    values = np.random.default_rng(0).random((30, 2))
    of_pairs = {score.key: values for score in scores.pair_scores()}
    table = ImageTable(ids, ["boat", "car"], values > 0.5, values, values, of_pairs)
    (of_classifier,) = resampled_scores([{"test": table, "night": table}], DecisionRule(), 3)
    grouped = table._replace(groups=np.array(["sea", "land"] * 15), amount=np.full((30, 2), np.nan))
    (of_groups,) = resampled_groups([grouped], DecisionRule(), {"sea": 3, "land": 1}, 3)
    pixels = {kind: np.ones((3, 30, 3)) for kind in ("miou", "miou_crf")}
    (of_segmentation,) = resampled_miou([PixelTable(ids, ["background", "boat", "car"], pixels)], None, 3)
    given = {*of_classifier, *of_groups, *of_segmentation} - {"test/night", "test/night_mae"}
    given -= {"test/group/sea", "test/group/land"}
    assert given == {f"test/{score.key}" for score in SCORES if score.over not in ("objects", "set")}


def test_background_csv_gives_what_is_over_objects_and_no_more():
    objects = Objects([("a", "boat", "b", "c")], np.ones((1, len(VERSIONS)), bool))
    given = weighted_scores(objects, np.ones((1, 1)))
    assert set(given) == {f"test/{score.key}" for score in SCORES if score.over == "objects"}


def test_no_other_file_spells_what_a_score_is_called_or_means():
    texts = [text for score in SCORES for text in (score.meaning, score.rises, score.falls, score.by_class)]
    names = {score.name for score in SCORES if score.name != score.key}
    for path in PACKAGE.rglob("*"):
        if path.suffix not in (".py", ".j2", ".js") or path.name in TABLES_OF_THEIR_OWN:
            continue
        source = path.read_text(encoding="utf-8")
        spelled = [text for text in texts if text and f'"{text}' in source]
        if path.suffix == ".py":
            nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
            spelled += [node.value for node in nodes if isinstance(node.value, str) and node.value in names]
        assert not spelled, f"{path.relative_to(ROOT)} spells {spelled}, expected gain_lightning.scores"


def test_the_documents_explain_every_score():
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/segmentation.md")]
    for score in SCORES:
        assert any(f"`{score.key}`" in page for page in pages), score.key


@pytest.mark.parametrize("name", [*(score.key for score in SCORES), "night_mae", "loss", "loss_night"])
def test_a_test_set_is_not_called_like_a_score(name):
    """``miou`` and ``loss_...`` too: the accuracy of such a set would be shown as a segmentation's or a loss."""
    assert is_reserved(name)


@pytest.mark.parametrize("name", ["night", "lossless", "energy_saving", "mean", "maes"])
def test_other_names_are_free_and_scored_by_their_accuracy(name):
    assert not is_reserved(name)
    score = score_of(f"test/{name}")
    assert (score.unit, score.better, score.name) == ("share", "higher", name.replace("_", " "))


@pytest.fixture
def with_spill(monkeypatch):
    """A new score of maps: one function, and one row."""

    def spill_beside_mask(maps, mask):
        total = maps.flatten(1).sum(1)
        return torch.where(total > 0, 1 - metrics.energy_in_mask(maps, mask), torch.zeros_like(total))

    place = [score.key for score in SCORES].index("pointing") + 1
    monkeypatch.setattr(map_metrics, "spill_beside_mask", spill_beside_mask, raising=False)
    before = list(SCORES)
    SCORES.insert(place, SPILL)
    yield
    SCORES[:] = before


def test_a_new_row_is_all_that_a_new_score_of_maps_needs(with_spill, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("GAIN_RUN_DIR", raising=False)
    config = str(ROOT / "experiments" / "shapes" / "gain_ext.yaml")
    runs = [tmp_path / "gradcam", tmp_path / "gain_ext"]
    weights = (["--model.am_weight=0", "--model.ext_weight=0"], [])
    for run, options in zip(runs, weights, strict=True):
        assert main(["fit", "--config", config, *SMALL, *options, "--run_dir", str(run)]) == 0
    printed = capsys.readouterr().out
    for split in ("test", "center"):
        assert re.search(rf"^ *{split} spill +[\d.]+ %$", printed, re.M), printed

    for run in runs:
        found = json.loads((run / "summary.json").read_text())["metrics"]
        zero = {split: found.get(f"{split}/zero_maps", 0) for split in ("val", "test", "center")}
        for split in ("val", "test", "center"):
            assert 0 <= found[f"{split}/spill"] <= 1
            assert zero[split] or found[f"{split}/spill"] == pytest.approx(1 - found[f"{split}/energy"])
        images = rows(run / "per_image.csv")
        assert list(images[0]) == [
            *("set", "id", "class", "present", "score", "logit", "energy", "pointing", "spill", "iou"),
            "group",
        ]
        mine = [float(row["spill"]) for row in images if row["set"] == "test" and row["spill"]]
        assert found["test/spill"] == pytest.approx(np.mean(mine), abs=1e-5)
        classes = rows(run / "per_class.csv")
        assert list(classes[0])[-2:] == ["pointing", "spill"]
        assert any(row["spill"] for row in classes)

    out = tmp_path / "study"
    assert main(["compare", *map(str, runs), "--out", str(out)]) == 0
    table = capsys.readouterr().out
    assert re.search(r"^spilled share +[\d.]+ +[\d.]+$", table, re.M), table
    assert re.search(r"^  spilled share +[+-]?[\d.]+  \S+ to \S+ +(yes|no) +images$", table, re.M), table
    (row,) = (
        row
        for row in json.loads((out / "summary.json").read_text())["differences"]
        if row["metric"] == "test/spill"
    )
    assert row["over"] == "images"
    assert row["ci95"][0] < row["delta"] < row["ci95"][1]
    page = html.unescape((out / "report.html").read_text())
    assert f"<dt>{SPILL.name}</dt><dd>{SPILL.meaning}</dd>" in page
    assert f'<th scope="col">{SPILL.name}\u00a0↓</th>' in page

    assert is_reserved("spill")
    assert main(["runs", str(tmp_path)]) == 0


def test_runs_of_before_a_score_are_compared_without_it(with_spill, make_run):
    comparison = compare([read_run(make_run(method, method)) for method in ("gradcam", "gain")])
    assert "test/spill" not in comparison.metrics
    assert {row.over for row in comparison.differences if row.metric == "test/energy"} == {"images"}
    assert not any("spill" in note for note in comparison.notes)


@pytest.mark.parametrize(
    ("words", "delta", "expected"),
    [
        (True, -0.1, "GAIN spills less beside the objects (spilled share \N{MINUS SIGN}10.0 points)."),
        (True, 0.1, "GAIN spills more beside the objects (spilled share +10.0 points)."),
        (False, 0.1, "GAIN is clearly worse in spilled share (+10.0 points)."),
        (False, -0.1, "GAIN is clearly worse in no score."),
    ],
)
def test_the_reading_knows_the_words_of_a_score_and_which_way_is_better(
    with_spill, make_run, words, delta, expected
):
    if not words:
        SCORES[SCORES.index(SPILL)] = replace(SPILL, rises="", falls="")
    run = read_run(make_run("a"))
    groups = [Group(name, [run, run], {}) for name in ("gradcam", "gain")]
    clear = sorted((0.5 * delta, 1.5 * delta))
    row = Difference("test/spill", "gradcam", "gain", delta, tuple(clear), "seeds and images")
    assert reading(Comparison(groups, [row], [])) == [f"Against Grad-CAM, {expected}"]


def test_maps_that_are_no_better_than_the_centre_are_named_where_less_is_better(with_spill, make_run):
    of_run = {"test/spill": 0.7, "center/spill": 0.6}
    run = read_run(make_run("a", metrics=of_run))
    (note,) = (note for note in compare([run]).notes if "spilled share" in note)
    assert "spilled share (70.0, the centre 60.0)" in note
    better = read_run(make_run("b", metrics={"test/spill": 0.5, "center/spill": 0.6}))
    assert not any("spilled share" in note for note in compare([better]).notes)
