import json
from pathlib import Path

import numpy as np
import pytest
from fake_runs import CLASSES, map_arrays

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.maps import read_maps
from gain_lightning.runs.read import find_runs, flatten, read_run
from gain_lightning.runs.tables import read_curves, read_images, read_pixels
from gain_lightning.studies.comparison.bootstrap import Judging, image_scores


def test_read_run_says_what_its_files_say(make_run):
    path = make_run("a", "gain_ext", seed=3, metrics={"test/energy": float("nan"), "val/mean_ap": 0.5})

    run = read_run(path)

    assert (run.path, run.method, run.seed) == (path, "gain_ext", 3)
    assert run.config["data.image_size"] == 96
    assert run.config["model.output_stride"] is None
    assert run.metrics["val/mean_ap"] == 0.5
    assert "test/energy" not in run.metrics  # nan is no score


@pytest.mark.parametrize(
    ("summary", "reason"),
    [
        ({"state": "running"}, "state is 'running', expected 'finished'"),
        ({"state": None}, "state is None"),
        ({"metrics": {"val/mean_ap": 0.5}}, "no test metrics"),
        ({"metrics": {"test/mean_ap": None}}, "no test metrics"),
        ({"metrics": [1]}, r"summary\.json: not a run's summary, its metrics are a list"),
        ({"method": ["gain"]}, "method is"),
    ],
)
def test_read_run_refuses_an_unfinished_run(make_run, summary, reason):
    path = make_run("a", summary=summary)

    with pytest.raises(RunError, match=reason) as error:
        read_run(path)

    assert path in str(error.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("summary.json", "{"),
        ("summary.json", "[]"),
        ("summary.json", "\xff"),
        ("summary.json", "[" * 100_000),
        ("config.yaml", "a: [1"),
        ("config.yaml", "!!python/object:os.system {}"),
        ("config.yaml", "just text"),
        ("config.yaml", "a: &x {b: *x}"),
    ],
)
def test_read_run_names_an_unreadable_file(make_run, name, text):
    path = make_run("a")
    Path(path, name).write_text(text, encoding="latin-1")

    with pytest.raises(RunError, match=name):
        read_run(path)


@pytest.mark.parametrize("name", ["summary.json", "config.yaml"])
def test_read_run_names_a_missing_file(make_run, name):
    path = make_run("a")
    Path(path, name).unlink()

    with pytest.raises(RunError, match=f"has no {name}"):
        read_run(path)


def test_read_run_cleans_names_for_terminals(make_run):
    assert read_run(make_run("a", summary={"method": "\x1b[31m\ud800x"})).method == "?[31m?x"


def test_find_runs_expands_globs_once(make_run, tmp_path):
    first, second = make_run("a"), make_run("b")

    assert find_runs([second, str(tmp_path / "runs" / "*")]) == [second, first]
    assert find_runs(["not/there"]) == ["not/there"]  # reading it says what is wrong


def test_find_runs_refuses_an_empty_glob(tmp_path):
    with pytest.raises(RunError, match="matches no folder"):
        find_runs([str(tmp_path / "x*")])


def test_flatten_drops_init_args_and_keeps_lists():
    nested = {
        "trainer": {"logger": [{"a": 1}], "max_epochs": 2},
        "data": {"class_path": "X", "init_args": {"n": {}}},
    }

    assert flatten(nested) == {
        "trainer.logger": [{"a": 1}],
        "trainer.max_epochs": 2,
        "data.class_path": "X",
        "data.n": {},
    }


def test_read_images_puts_rows_in_their_place(tmp_path):
    (tmp_path / "per_image.csv").write_text(
        "set,id,class,present,score,energy,pointing,iou\n"
        "test,b,boat,1,0.9,0.5,1,0.3\n"
        "test,b,car,0,0.2,,,\n"
        "test,a,boat,0,0.1,,,\n"
        'test,a,car,1,0.8,,,\n"odd, set",a,boat,1,0.5,,,\n'
    )

    tables = read_images(str(tmp_path))

    assert list(tables) == ["test", "odd, set"]
    table = tables["test"]
    assert (table.ids, table.class_names) == (["a", "b"], ["boat", "car"])
    assert table.present.tolist() == [[False, True], [True, False]]
    assert table.score.tolist() == [[0.1, 0.8], [0.9, 0.2]]
    np.testing.assert_array_equal(table.of_pairs["energy"], [[np.nan, np.nan], [0.5, np.nan]])
    np.testing.assert_array_equal(table.of_pairs["pointing"], [[np.nan, np.nan], [1.0, np.nan]])


@pytest.mark.parametrize(("kind", "expected"), [("logit", 0.75), ("none", 5 / 12)])
def test_images_are_ranked_by_logits_where_probabilities_round(tmp_path, kind, expected):
    """Runs of before have no logits: there the three that round to 1 are one step, 1/2 * 1/3 + 1/2 * 2/4."""
    rows = [("a", 1, "1", "25"), ("b", 0, "1", "20"), ("c", 0, "1", "18"), ("d", 1, "0.0474258736", "-3")]
    (tmp_path / "per_image.csv").write_text(
        f"set,id,class,present,score,{kind},energy,pointing\n"
        + "".join(f"test,{name},boat,{present},{score},{logit},,\n" for name, present, score, logit in rows)
    )
    table = read_images(str(tmp_path))["test"]
    assert image_scores(table, np.ones((1, 4)), Judging())["test/mean_ap"].tolist() == pytest.approx(
        [expected]
    )


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("test,a,boat,2,0.9,,", "row 1: present is '2'"),
        ("test,a,boat,1,,,", "score ''"),
        ("test,a,boat,1,many,,", "'many' is no number"),
        ("test,a,boat,1", "4 cells, expected 7"),
        ("test,a,boat,1,0.9,,\ntest,a,boat,1,0.9,,", "comes twice"),
        ("test,a,boat,1,0.9,,\ntest,b,car,1,0.9,,", "2 rows, expected 2 images x 2 classes"),
    ],
)
def test_read_images_names_a_malformed_row(tmp_path, rows, reason):
    (tmp_path / "per_image.csv").write_text(f"set,id,class,present,score,energy,pointing\n{rows}\n")

    with pytest.raises(RunError, match=reason):
        read_images(str(tmp_path))


def test_read_images_names_a_missing_column(tmp_path):
    (tmp_path / "per_image.csv").write_text("set,id\ntest,a\n")

    with pytest.raises(RunError, match="no column 'class'"):
        read_images(str(tmp_path))


def test_read_images_without_a_file_is_empty(tmp_path):
    assert read_images(str(tmp_path)) == {}


def test_read_curves_skips_empty_cells(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,train/loss,val/mean_ap\n0,4,1.5,\n0,9,,0.25\n,9,1.25,\n"
    )

    curves = read_curves(str(tmp_path))

    assert list(curves) == ["train/loss", "val/mean_ap"]
    np.testing.assert_array_equal(curves["train/loss"], [[0, 4, 1.5], [np.nan, 9, 1.25]])
    np.testing.assert_array_equal(curves["val/mean_ap"], [[0, 9, 0.25]])


def test_read_maps_reads_arrays(tmp_path):
    arrays = map_arrays()
    np.savez(tmp_path / "maps.npz", **arrays)

    maps = read_maps(str(tmp_path))

    np.testing.assert_array_equal(maps.map, arrays["map"].astype(np.float32))
    assert maps.class_names.tolist() == CLASSES


@pytest.mark.parametrize(
    "change",
    [
        {"mask": np.zeros((3, 9, 9), np.uint8)},
        {"pair_image": np.array([0, 1, 3])},
        {"pair_class": np.array([0, -1, 0])},
        {"image": np.zeros((3, 24, 24, 3))},
        {"pair_image": np.array([0.0, 1.0, 2.0])},
        {"map": np.zeros(3)},
        {"ids": np.array([{}, None, "a"], dtype=object)},  # would have to be unpickled
    ],
)
def test_read_maps_refuses_arrays_that_do_not_fit(tmp_path, change):
    np.savez(tmp_path / "maps.npz", **{**map_arrays(), **change})

    with pytest.raises(RunError, match=r"maps\.npz: unreadable"):
        read_maps(str(tmp_path))


def test_read_maps_refuses_half_a_file(tmp_path):
    np.savez(tmp_path / "maps.npz", **map_arrays())
    content = (tmp_path / "maps.npz").read_bytes()
    (tmp_path / "maps.npz").write_bytes(content[: len(content) // 2])

    with pytest.raises(RunError, match=r"maps\.npz: unreadable"):
        read_maps(str(tmp_path))


def test_summary_with_a_huge_integer_is_no_traceback(make_run):
    path = make_run("a")
    text = json.loads(Path(path, "summary.json").read_text())
    text["metrics"] = {"test/mean_ap": 10**400, "test/energy": 0.5}
    Path(path, "summary.json").write_text(json.dumps(text))

    assert read_run(path).metrics == {"test/energy": 0.5}


def test_read_maps_refuses_a_single_array(tmp_path):
    np.save(tmp_path / "maps.npy", np.zeros(3))
    (tmp_path / "maps.npy").rename(tmp_path / "maps.npz")

    with pytest.raises(RunError, match=r"maps\.npz: unreadable"):
        read_maps(str(tmp_path))


@pytest.mark.parametrize(("column", "expected"), [(("set,", "val,"), "val"), (("", ""), "test")])
def test_pixels_of_a_segmentation_say_of_which_set_they_are(tmp_path, column, expected):
    """VOC scores on val; runs of earlier versions do not say it."""
    head, cell = column
    (tmp_path / "per_image.csv").write_text(f"{head}id,class,true,found,right\n{cell}a,background,4,4,3\n")

    table = read_pixels(str(tmp_path))

    assert (table.set_name, table.ids, table.pixels["miou"].tolist()) == (
        expected,
        ["a"],
        [[[4]], [[4]], [[3]]],
    )
