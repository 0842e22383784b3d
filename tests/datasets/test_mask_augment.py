"""Pictures made of masked images: what they show, and what their label says."""

import re

import numpy as np
import pytest
import torch

from gain_lightning.datasets.grounds import NEUTRAL, grow
from gain_lightning.datasets.mask_augment import KINDS, MaskAugmented
from gain_lightning.datasets.sample import Draw
from gain_lightning.datasets.shapes import Shapes, ShapesDataModule


class Squares:
    """Images of one colour with a square of another each; masks of some classes."""

    class_names = ("a", "b", "c")
    groups = None
    sizes = np.full((4, 2), 48)
    ids = ("w", "x", "y", "z")
    # of each image: the ground, the object, its corner, its label, and the classes that have a mask
    rows = (
        (10, 210, 4, [1, 0, 0], [0]),
        (60, 160, 14, [0, 1, 0], [1]),
        (110, 250, 24, [1, 1, 0], [1]),  # of a there is no mask: it is part of the ground
        (90, 190, 9, [0, 0, 1], [2]),
    )

    def __init__(self, labels=None):
        self.labels = np.array([row[3] for row in self.rows] if labels is None else labels)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, draw):
        ground, colour, corner, _, marked = self.rows[draw.row if isinstance(draw, Draw) else draw]
        row = draw.row if isinstance(draw, Draw) else draw
        image, mask = (
            torch.full((3, 48, 48), ground, dtype=torch.uint8),
            torch.zeros(1, 48, 48, dtype=torch.uint8),
        )
        image[:, corner : corner + 16, corner : corner + 16] = colour
        mask[:, corner : corner + 16, corner : corner + 16] = 1
        label = torch.as_tensor(self.labels[row]).float()
        mask_class = torch.tensor(marked)
        return {
            "image": image,
            "label": label,
            "mask": mask,
            "mask_class": mask_class,
            "id": self.ids[row],
            "group": 0,
        }


def made(share=1.0, labels=None, draws=400, seed=0):
    images = MaskAugmented(Squares(labels), Squares(labels), share=share, seed=seed)
    return images, [images[Draw(visit % 4, visit)] for visit in range(draws)]


def body_of(row):
    mask, corner = np.zeros((48, 48), bool), Squares.rows[row][2]
    mask[corner : corner + 16, corner : corner + 16] = True
    return mask


def parts(name):
    """The rows of a made picture's object and ground; None where there is no such part."""
    found = re.fullmatch(r"(\w) (without its object|on no ground|on the ground of (\w))", name)
    rows = [None if letter is None else "wxyz".index(letter) for letter in (found[1], found[3])]
    if found[2].startswith("without"):
        return None, rows[0]
    return rows[0], rows[1]


def test_made_pictures_show_an_object_on_another_ground_and_the_label_of_both():
    _, samples = made()
    kinds = {"swapped": 0, "alone": 0, "removed": 0}
    for sample in samples:
        shown, behind = parts(sample["id"])
        kinds["removed" if shown is None else "alone" if behind is None else "swapped"] += 1
        image, label = sample["image"].permute(1, 2, 0).numpy(), np.zeros(3)
        inner = np.zeros((48, 48), bool) if shown is None else ~grow(~body_of(shown), 3)
        outer = np.ones((48, 48), bool) if shown is None else ~grow(body_of(shown), 3)
        if shown is not None:
            label[Squares.rows[shown][4]] = 1
            assert (image[inner] == Squares.rows[shown][1]).all()
        if behind is None:
            assert (image[outer] == NEUTRAL).all()
        else:
            # what has no mask stays behind, and the label says so
            label += np.array(Squares.rows[behind][3]) * (np.arange(3) != Squares.rows[behind][4][0])
            assert (image[outer] == Squares.rows[behind][0]).all()
            assert shown != behind
        assert sample["label"].tolist() == label.clip(max=1).tolist()
        assert len(sample["mask"]) == 0
        assert sample["group"] == -1
    assert min(kinds.values()) > 100


def test_objects_of_a_rare_class_are_drawn_as_often_as_others():
    labels = [[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1]]
    shown = [parts(sample["id"])[0] for sample in made(labels=labels)[1]]
    # Kinds that show an object: 3 of 4 are of class a, and the last is of class c.
    assert np.mean([row == 3 for row in shown if row is not None]) == pytest.approx(0.5, abs=0.08)


def test_an_image_of_one_class_never_loses_it():
    """A softmax has no answer to a picture without a class."""
    labels = [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]
    images, samples = made(labels=labels)
    assert images.kinds == KINDS[:2]
    assert all(sample["label"].sum() == 1 for sample in samples)


def test_a_share_of_the_draws_is_made_and_depends_on_the_seed_and_the_draw_alone():
    _, samples = made(share=0.3, draws=1000)
    names = [sample["id"] for sample in samples]
    assert sum(len(name) > 1 for name in names) == pytest.approx(300, abs=50)
    images, again = made(share=0.3, draws=1000)
    assert [sample["id"] for sample in again] == names
    assert images[Draw(3, 7)]["id"] == names[7]
    assert [sample["id"] for sample in made(share=0.3, draws=1000, seed=1)[1]] != names


def test_an_object_that_fills_the_picture_leaves_the_draw_as_it_is(monkeypatch):
    monkeypatch.setattr("gain_lightning.datasets.mask_augment.leaves_ground", lambda body: False)
    _, samples = made(draws=20)
    assert {sample["id"] for sample in samples} == {"w", "x", "y", "z"}


def test_one_masked_image_lends_its_ground_to_itself():
    images = MaskAugmented(Squares(), Shapes("boat", "train", [0]), share=1.0, seed=0)
    names = [images[Draw(0, visit)]["id"] for visit in range(30)]
    assert len({name.split(" ", 1)[1] for name in names}) == 3


def shapes(**settings):
    data = ShapesDataModule(num_train=40, num_val=2, batch_size=8, masked_batch_size=2, **settings)
    data.setup("fit")
    return data


def test_the_weak_stream_shows_made_pictures():
    data = shapes(mask_budget=5, mask_augment=0.5)
    names = [name for batch, _, _ in data.train_dataloader() for name in batch["weak"]["id"]]
    made_of = {name.split()[0] for name in names if " " in name}
    assert len(names) == 40
    assert 10 <= sum(" " in name for name in names) <= 30
    assert made_of <= set(data.masked_ids)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_augment": 0.2}, "data.mask_augment is 0.2, but no training image carries a mask"),
        ({"mask_augment": 1.5, "mask_budget": 2}, "data.mask_augment is 1.5, expected a share, 0 to 1"),
    ],
)
def test_masks_that_are_not_there_cannot_be_spent(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        shapes(**settings).train_dataloader()
