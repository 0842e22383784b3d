"""Which objects and grounds are drawn; tests/methods/test_background.py looks at the pictures."""

import numpy as np
import pytest

from gain_lightning.datasets import compositions
from gain_lightning.datasets.compositions import (
    Compositions,
    Ground,
    draw_grounds,
    make_grounds,
    marked_objects,
)
from gain_lightning.datasets.shapes import Shapes


@pytest.fixture(scope="module")
def boats():
    return Shapes("boat", "test", range(40))


def test_objects_are_the_marked_pairs_of_the_classes_asked_for(boats):
    for row in range(len(boats)):
        found = marked_objects(boats[row], [0, 2])
        truth = boats.truth(row)
        expected = {c: truth == c + 1 for c in (0, 2) if boats.labels[row, c] and (truth == c + 1).any()}
        assert [one.class_idx for one in found] == list(expected)
        for one in found:
            np.testing.assert_array_equal(one.body, expected[one.class_idx])
            np.testing.assert_array_equal(one.picture, boats.pictures[row].image)
            np.testing.assert_array_equal(one.label, boats.labels[row] > 0)


def test_a_picture_without_masks_has_no_object():
    assert marked_objects(Shapes("boat", "test", range(1), supervision="none")[0], range(5)) == []


def test_as_many_grounds_of_each_class(boats, monkeypatch):
    monkeypatch.setattr(compositions, "MOST_GROUNDS", 20)
    grounds = make_grounds(boats, 0)
    assert [ground.class_idx for ground in grounds] == np.repeat(np.arange(5), 4).tolist()
    assert all(ground.label[ground.class_idx] for ground in grounds)
    assert len({(ground.id, ground.class_idx) for ground in grounds}) == len(grounds)
    assert [ground.id for ground in make_grounds(boats, 1)] != [ground.id for ground in grounds]


def test_grounds_are_drawn_evenly(boats):
    """Each object has its own draw, which no other object changes."""
    grounds = make_grounds(boats, 0)
    marked = marked_objects(boats[3], range(5))[0]
    drawn = [draw_grounds(marked, grounds, seed) for seed in range(400)]
    own, other = ([pair[place].id for pair in drawn] for place in (0, 1))
    has_class = {
        name: bool(label[marked.class_idx]) for name, label in zip(boats.ids, boats.labels, strict=True)
    }
    assert set(own) == {name for name, has in has_class.items() if has} - {marked.id}
    assert set(other) == {name for name, has in has_class.items() if not has}
    assert draw_grounds(marked, grounds, 7)[0] is drawn[7][0]


def test_no_ground_is_none():
    assert draw_grounds(marked_objects(Shapes("boat", "test", range(1))[0], range(5))[0], [], 0) is None


def test_so_many_pictures_are_shown(boats):
    grounds = make_grounds(boats, 0)
    shown = Compositions(boats, grounds, [0], seed=0, most=5)
    ids = [one.marked.id for one in shown]
    assert len(set(ids)) == shown.num_images == 5
    assert (shown.too_large, shown.without_ground) == (0, 0)
    assert all(one.marked.class_idx == 0 for one in shown)


def test_objects_without_a_ground_are_counted(boats):
    only_cars = [ground for ground in make_grounds(boats, 0) if ground.class_idx == 1]
    shown = Compositions(boats, [Ground(*ground) for ground in only_cars], [0], seed=0, most=40)
    assert list(shown) == []
    assert shown.without_ground == int((boats.labels[:, 0] > 0).sum())
