import pytest
import reference
import torch

from gain_lightning import VOID
from gain_lightning.attention import label_pairs, pair_masks, sample_labels

LABEL = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]])  # 2, 0, 3 and 1 labels


def test_label_pairs_lists_images_then_classes(generator):
    label = (torch.rand(6, 5, generator=generator) < 0.4).float()
    label[2] = 0
    pairs = label_pairs(label)
    where = reference.pairs(label.numpy())
    assert list(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)) == where
    assert pairs.rank.tolist() == [sum(m == n and d < c for m, d in where) for n, c in where]
    assert pairs.num_images == 6


def test_pairs_of_two_batches_are_those_of_one():
    together, whole = label_pairs(LABEL[:3]).followed_by(label_pairs(LABEL[3:])), label_pairs(LABEL)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(together[:3], whole[:3], strict=True))
    assert together[3:] == whole[3:] == (4, 3)
    none = whole.none()
    assert (len(none.image), none.num_images, none.num_ranks) == (0, 4, 0)
    assert none.followed_by(whole).image.tolist() == [n + 4 for n in whole.image.tolist()]


def test_pair_masks_find_the_mask_of_each_pair_by_image_and_class(generator):
    """By loops; unknown throughout where there is none, also a mask of a class that the label lacks."""
    pairs = label_pairs(LABEL)
    mask = torch.randint(0, 2, (4, 3, 2), dtype=torch.uint8, generator=generator)
    of_image, of_class = [3, 0, 2, 2], [3, 2, 0, 3]  # in any order; image 2 has no label 3
    masks = pair_masks(mask, torch.tensor(of_image), torch.tensor(of_class), pairs)
    where = list(zip(of_image, of_class, strict=True))
    assert masks.dtype == torch.uint8
    assert masks.shape == (6, 3, 2)
    found = 0
    for pair, own in zip(reference.pairs(LABEL), masks, strict=True):
        expected = mask[where.index(pair)] if pair in where else torch.full((3, 2), VOID)
        assert torch.equal(own, expected.byte())
        found += pair in where
    assert found == 3


@pytest.mark.parametrize(("num_masks", "label"), [(0, LABEL), (2, torch.zeros(4, 4)), (0, torch.zeros(4, 4))])
def test_pair_masks_take_no_mask_and_no_pair(num_masks, label):
    pairs, places = label_pairs(label), torch.arange(num_masks)
    masks = pair_masks(torch.ones(num_masks, 3, 2, dtype=torch.uint8), places, places, pairs)
    assert masks.shape == (len(pairs.image), 3, 2)
    assert (masks == VOID).all()


def test_sampled_labels_are_uniform_and_seeded():
    label = torch.tensor([[1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]])
    counts = torch.zeros(3, 4)
    for seed in range(3000):
        drawn = sample_labels(label, 2, torch.Generator().manual_seed(seed))
        assert (drawn <= label).all()
        assert drawn.sum(1).tolist() == [2, 1, 0]
        counts += drawn
    share = counts / 3000
    torch.testing.assert_close(share[0, [0, 2, 3]], torch.full((3,), 2 / 3), atol=0.04, rtol=0)
    first, again = (sample_labels(label, 1, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, again)
