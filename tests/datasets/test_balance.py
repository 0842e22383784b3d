"""Which pictures are drawn equally often, and which data cannot be balanced."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from gain_lightning.datasets.balance import balanced_lists, groups_of
from gain_lightning.datasets.shapes import ShapesDataModule

NAMES = ("boat+water", "boat+land", "car+land")


def images(groups, labels=()):
    groups = groups if groups is None else np.array(groups)
    return SimpleNamespace(groups=groups, labels=np.array(labels), ids=list("abcdefgh"))


def test_a_picture_stands_in_the_list_of_each_of_its_classes():
    """Class 2 has none; pictures without a class make a list of their own."""
    labels = [[1, 0, 0], [3, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]]
    lists = balanced_lists("class", images(None, labels), ())
    assert [rows.tolist() for rows in lists] == [[0, 1, 3], [1], [2, 4]]


def test_every_group_makes_a_list():
    lists = balanced_lists("group", images([2, 0, 1, 0]), NAMES)
    assert [rows.tolist() for rows in lists] == [[1, 3], [2], [0]]


@pytest.mark.parametrize(
    ("groups", "names", "message"),
    [
        (
            None,
            (),
            "GroupDRO needs groups, but the data have none: expected a column group in labels.csv, or",
        ),
        (
            [0, -1, -1],
            NAMES,
            "GroupDRO needs the group of every training image, but 2 have none, the first b",
        ),
        (
            [0, 2, 2],
            NAMES,
            "GroupDRO needs training images of every group, but there are none of boat+land: ",
        ),
    ],
)
def test_data_that_cannot_be_balanced_are_refused(groups, names, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        groups_of(images(groups), names, "GroupDRO")


def test_shapes_without_a_minority_cannot_be_balanced_by_group():
    data = ShapesDataModule(num_train=40, num_val=2, balance_by="group")
    data.setup("fit")
    with pytest.raises(
        ValueError, match=r"data\.balance_by group needs .* none of boat\+no water, no boat\+water"
    ):
        data.train_dataloader()


def test_another_balance_is_refused():
    with pytest.raises(ValueError, match=r"data\.balance_by is 'groups', expected null, class or group"):
        ShapesDataModule(balance_by="groups")
