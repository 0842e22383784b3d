"""The splits of what a reader found."""

from pathlib import Path

import numpy as np
import pytest

from gain_lightning.datasets.contents import Contents, by_split
from gain_lightning.datasets.listing import Listing, empty_boxes


def pictures(num: int) -> Listing:
    return Listing(
        root=Path("root"),
        class_names=("cat",),
        ids=np.array([f"p{n}" for n in range(num)]),
        labels=np.ones((num, 1), np.uint8),
        image_pattern="{id}.png",
        mask_pattern="{id}.png",
        has_mask=np.zeros((num, 1), bool),
        is_drawn=np.zeros(num, bool),
        **empty_boxes(),
        size=np.ones((num, 2), int),
    )


def contents(splits: list[str]) -> Contents:
    return Contents(by_split(pictures(len(splits)), np.array(splits)), [], [], Path("labels.csv"))


def test_splits_come_in_the_order_of_their_use_and_keep_that_of_their_pictures():
    listings = contents(["night", "test", "val", "day", "train", "val", "train"]).listings
    assert {name: listing.ids.tolist() for name, listing in listings.items()} == {
        "train": ["p4", "p6"],
        "val": ["p2", "p5"],
        "test": ["p1"],
        "day": ["p3"],
        "night": ["p0"],
    }
    assert list(listings) == ["train", "val", "test", "day", "night"]


def test_a_split_without_a_picture_is_an_error_that_names_the_others():
    with pytest.raises(ValueError, match=r"^labels.csv: no picture of split 'val', only of night, train$"):
        contents(["train", "night"]).of("val")
