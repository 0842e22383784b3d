"""``per_image.csv`` of a classifier: what batches write is read back; parts of several processes; what is refused."""

import csv
import itertools

import numpy as np
import pytest

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.images import ImageFile, ImageRows, join_parts, parts_of, read_images
from gain_lightning.studies.comparison.bootstrap import DecisionRule, image_scores

CLASSES = ["boat", "car"]


def _batch(set_name, ids, score, column="logit"):
    """The first image shows both classes, of which the car alone has a mask; the others show none."""
    values = {
        "energy": np.float32([0.1, 2 / 3]),
        "pointing": np.float32([0, 1]),
        "iou": np.float32([0.9, 0.1]),
    }
    pairs = np.array([0, 0]), np.array([0, 1]), np.array([False, True])
    present = np.zeros(np.shape(score), bool)
    present[0] = True
    return ImageRows(
        set_name, ids, present, np.float32(score), (column, np.float32(score) * 3), *pairs, values
    )


def test_what_batches_write_is_read_back(tmp_path):
    with ImageFile(tmp_path / "per_image.csv") as table:
        table.add(_batch("test", ["b, c", "a"], [[0.9, 0.2], [0.1, 1 / 3]]), CLASSES)
        table.add(_batch("test", ["d"], [[0.5, 0.5]]), CLASSES)
        table.add(_batch("odd, set", ["a"], [[0, 1]]), CLASSES)
    tables = read_images(tmp_path)
    assert list(tables) == ["test", "odd, set"]
    table = tables["test"]
    assert (table.ids, table.class_names) == (["a", "b, c", "d"], CLASSES)
    assert table.present.tolist() == [[False, False], [True, True], [True, True]]
    # all digits of float32
    np.testing.assert_array_equal(np.float32(table.score), np.float32([[0.1, 1 / 3], [0.9, 0.2], [0.5, 0.5]]))
    np.testing.assert_array_equal(np.float32(table.logit), np.float32(table.score) * 3)
    np.testing.assert_array_equal(
        table.of_pairs["energy"], [[np.nan] * 2, [np.nan, 0.666667], [np.nan, 0.666667]]
    )
    np.testing.assert_array_equal(table.of_pairs["pointing"], [[np.nan] * 2, [np.nan, 1], [np.nan, 1]])
    assert np.isnan(table.amount).all()


def test_amounts_are_read_back_without_logits(tmp_path):
    with ImageFile(tmp_path / "per_image.csv") as table:
        table.add(_batch("test", ["a"], [[2.5, 0]], column="amount"), CLASSES)
    table = read_images(tmp_path)["test"]
    assert table.amount.tolist() == [[7.5, 0]]
    assert table.logit is None


def test_one_process_writes_the_table_itself(tmp_path):
    assert parts_of(tmp_path, 1) == [tmp_path / "per_image.csv"]
    assert [path.name for path in parts_of(tmp_path, 2)] == [
        "per_image.csv.rank0.part",
        "per_image.csv.rank1.part",
    ]


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
    assert image_scores(table, np.ones((1, 4)), DecisionRule())["test/mean_ap"].tolist() == pytest.approx(
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


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_parts_are_joined_in_the_order_of_one_process(tmp_path, processes):
    """Sets of other lengths, names with commas and line breaks, and sets whose names begin alike."""
    lengths = {"test": 11, "test, 2": 5, "a": 6}
    rows = [
        [name, f"{name}\n{index}", class_name, str(index)]
        for name, length in lengths.items()
        for index, class_name in itertools.product(range(length), ["cat", "dog"])
    ]
    parts = [tmp_path / f"per_image.csv.rank{rank}.part" for rank in range(processes)]
    header = ["set", "id", "class", "score"]
    for rank, part in enumerate(parts):
        with part.open("w", newline="") as file:
            csv.writer(file).writerows([header, *(row for row in rows if int(row[3]) % processes == rank)])
    join_parts(parts, tmp_path / "per_image.csv")
    with (tmp_path / "per_image.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [header, *rows]
    assert [path.name for path in tmp_path.iterdir()] == ["per_image.csv"]


def test_a_part_that_is_missing_is_named(tmp_path):
    (tmp_path / "rank0").write_text("set,id\n")
    (tmp_path / "per_image.csv").write_text("old")
    with pytest.raises(
        FileNotFoundError, match="rank1: no such file, expected a run folder that all processes share"
    ):
        join_parts([tmp_path / "rank0", tmp_path / "rank1"], tmp_path / "per_image.csv")
    assert (tmp_path / "per_image.csv").read_text() == "old"
