import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from gain_lightning import VOID
from gain_lightning.datasets.sample import collate, keep_classes, make_sample


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    mask = rng.integers(0, 3, (4, 5), dtype=np.uint8)
    return image, np.array([0, 1, 1], np.uint8), mask


def test_make_sample_puts_channels_first(arrays):
    image, label, mask = arrays
    sample = make_sample(image, label, mask, "x")
    for i, j, channel in np.ndindex(*image.shape):
        assert sample["image"][channel, i, j] == image[i, j, channel]
    assert sample["image"].dtype == torch.uint8
    assert sample["label"].tolist() == [0.0, 1.0, 1.0]
    assert sample["label"].dtype == torch.float32
    assert sample["mask"].tolist() == mask.tolist()
    assert sample["id"] == "x"


def test_make_sample_without_mask_is_all_void(arrays):
    image, label, _ = arrays
    assert make_sample(image, label, None, "x")["mask"].tolist() == [[VOID] * 5] * 4


def test_make_sample_takes_flipped_views(arrays):
    """A flip is a view with a negative stride, which torch cannot hold."""
    image, label, mask = arrays
    sample = make_sample(image[:, ::-1], label, mask[:, ::-1], "x")
    assert sample["image"].permute(1, 2, 0).flip(1).tolist() == image.tolist()
    assert sample["mask"].flip(1).tolist() == mask.tolist()


def test_samples_with_and_without_mask_stack(arrays):
    image, label, mask = arrays
    batch = default_collate([make_sample(image, label, mask, "x"), make_sample(image, label, None, "y")])
    assert batch["image"].shape == (2, 3, 4, 5)
    assert batch["mask"].dtype == torch.uint8
    assert batch["mask"][0].tolist() == mask.tolist()
    assert (batch["mask"][1] == VOID).all()
    assert batch["id"] == ["x", "y"]


def test_keep_classes_turns_the_others_into_background():
    mask = np.array([[0, 1, 2, 3, 255]], np.uint8)
    assert keep_classes(mask, np.array([True, False, True])).tolist() == [[0, 1, 0, 3, 255]]
    assert mask.tolist() == [[0, 1, 2, 3, 255]]


@pytest.mark.parametrize("with_mask", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_collate_equals_the_default(arrays, with_mask, num_workers):
    image, label, mask = arrays
    samples = [
        make_sample(image, label, mask if with_mask[0] else None, "x"),
        make_sample(image[::-1], label, mask if with_mask[1] else None, "y"),
    ]
    (ours,) = DataLoader(samples, batch_size=2, num_workers=num_workers, collate_fn=collate)
    theirs = default_collate(samples)
    assert ours["image"].is_contiguous(memory_format=torch.channels_last)
    for key in ("image", "label", "mask"):
        assert torch.equal(ours[key], theirs[key])
        assert ours[key].dtype == theirs[key].dtype
    assert ours["id"] == theirs["id"]


def test_collate_names_a_picture_of_another_size(arrays):
    image, label, mask = arrays
    with pytest.raises(RuntimeError, match=r"y has shape \(3, 4, 4\), but its batch \(3, 4, 5\)"):
        collate([make_sample(image, label, mask, "x"), make_sample(image[:, :4], label, mask, "y")])
