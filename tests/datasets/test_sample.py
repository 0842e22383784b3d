import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from gain_lightning.datasets.class_masks import ClassMasks
from gain_lightning.datasets.sample import collate, make_sample


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    masks = ClassMasks(np.array([2, 1]), rng.integers(0, 2, (2, 4, 5), dtype=np.uint8))
    return image, np.array([0, 1, 1], np.uint8), masks


def test_make_sample_puts_channels_first(arrays):
    image, label, masks = arrays
    sample = make_sample(image, label, masks, "x")
    for i, j, channel in np.ndindex(*image.shape):
        assert sample["image"][channel, i, j] == image[i, j, channel]
    assert sample["image"].dtype == torch.uint8
    assert sample["label"].tolist() == [0.0, 1.0, 1.0]
    assert sample["label"].dtype == torch.float32
    assert sample["mask"].tolist() == masks.mask.tolist()
    assert sample["mask"].dtype == torch.uint8
    assert sample["mask_class"].tolist() == [2, 1]
    assert sample["id"] == "x"


def test_make_sample_without_masks_has_none(arrays):
    image, label, _ = arrays
    sample = make_sample(image, label, None, "x")
    assert sample["mask"].shape == (0, 4, 5)
    assert sample["mask_class"].shape == (0,)
    assert (sample["mask"].dtype, sample["mask_class"].dtype) == (torch.uint8, torch.int64)


def test_make_sample_takes_flipped_views(arrays):
    """A flip is a view with a negative stride, which torch cannot hold."""
    image, label, masks = arrays
    sample = make_sample(image[:, ::-1], label, masks._replace(mask=masks.mask[:, :, ::-1]), "x")
    assert sample["image"].permute(1, 2, 0).flip(1).tolist() == image.tolist()
    assert sample["mask"].flip(2).tolist() == masks.mask.tolist()


@pytest.mark.parametrize("with_masks", [(1, 1), (1, 0), (0, 1), (0, 0)])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_collate_stacks_pictures_and_lists_the_masks_of_all(arrays, with_masks, num_workers):
    image, label, masks = arrays
    images = [image, image[::-1]]
    samples = [
        make_sample(one, label, masks if has_masks else None, name)
        for one, has_masks, name in zip(images, with_masks, "xy", strict=True)
    ]
    (batch,) = DataLoader(samples, batch_size=2, num_workers=num_workers, collate_fn=collate)
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    for one, picture in zip(batch["image"], images, strict=True):
        assert one.permute(1, 2, 0).tolist() == picture.tolist()
    assert batch["label"].tolist() == [label.tolist()] * 2
    assert batch["id"] == ["x", "y"]
    rows = [n for n in range(2) if with_masks[n] for _ in masks.class_idx]
    assert batch["mask_image"].tolist() == rows
    assert batch["mask_class"].tolist() == [2, 1] * sum(with_masks)
    assert batch["mask"].shape == (len(rows), 4, 5)
    assert batch["mask"].tolist() == masks.mask.tolist() * sum(with_masks)
    types = [batch[key].dtype for key in ("image", "label", "mask", "mask_image", "mask_class")]
    assert types == [torch.uint8, torch.float32, torch.uint8, torch.int64, torch.int64]


def test_collate_names_a_picture_of_another_size(arrays):
    image, label, masks = arrays
    with pytest.raises(RuntimeError, match=r"y has shape \(3, 4, 4\), but its batch \(3, 4, 5\)"):
        collate([make_sample(image, label, masks, "x"), make_sample(image[:, :4], label, masks, "y")])
