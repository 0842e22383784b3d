import numpy as np
import pytest
import torch
from fake_voc import make_voc
from torch.utils.data import DataLoader

from gain_lightning.constants import VOID
from gain_lightning.datasets.class_masks import ClassMasks, split_index_mask
from gain_lightning.datasets.image_set import ImageSet
from gain_lightning.datasets.readers.voc import CLASSES, read_voc
from gain_lightning.datasets.resize import resize_image
from gain_lightning.datasets.sample import Draw, collate
from gain_lightning.datasets.streams import StreamSampler
from gain_lightning.datasets.transforms import Augmentation, TrainTransform

STRONG = Augmentation(flip=0.5, scale=(0.5, 2.0), colour=0.4)


@pytest.fixture
def scene():
    """A picture whose red square is class 0 and whose green one is class 1, in opposite corners, and their masks."""
    image = np.full((120, 160, 3), 90, np.uint8)
    mask = np.zeros((120, 160), np.uint8)
    mask[10:40, 10:40], mask[80:110, 120:150] = 1, 2
    image[mask == 1], image[mask == 2] = (250, 0, 0), (0, 250, 0)
    return image, split_index_mask(mask, np.ones(2))


def transformed(scene, label=(1, 1), augmentation=STRONG, count=200, size=64):
    transform = TrainTransform(size, augmentation)
    image, masks = resize_image(scene[0], (size, size)), scene[1].resized((size, size))
    return [transform(image, masks, np.array(label, np.uint8), (0, 0, index))[:3] for index in range(count)]


def of_class(masks, class_idx):
    """Its mask, unknown throughout where there is none."""
    rows = np.flatnonzero(masks.class_idx == class_idx)
    return masks.mask[rows[0]] if len(rows) else np.full(masks.mask.shape[1:], VOID, np.uint8)


def test_image_and_masks_move_together(scene):
    shifts = []
    without_colour = Augmentation(flip=0.5, scale=(0.5, 2.0))
    for image, masks, _ in transformed(scene, augmentation=without_colour):
        red = (image[..., 0] > 170) & (image[..., 1] < 45)  # more than half of it
        green = (image[..., 1] > 170) & (image[..., 0] < 45)
        for colour, class_idx in ((red, 0), (green, 1)):
            mask = of_class(masks, class_idx)
            if (mask == 1).sum() > 50:
                shift = np.argwhere(colour).mean(0) - np.argwhere(mask == 1).mean(0)
                shifts.append(shift)
            else:
                assert (colour & (mask != VOID)).sum() < 80
    assert len(shifts) > 100
    assert np.abs(shifts).max() <= 1.0  # half a pixel, enlarged twice
    assert (
        np.abs(np.mean(shifts, axis=0)).max() < 0.1
    )  # a nearest pixel of the wrong kind shifts by 1.3 on average


def test_label_stays_exactly_where_its_class_does(scene):
    labels = set()
    for _, masks, label in transformed(scene):
        labels.add(tuple(label))
        assert masks.class_idx.tolist() == np.flatnonzero(label).tolist()
        assert (masks.mask == 1).any((1, 2)).all()
    assert labels == {(1, 1), (1, 0), (0, 1)}  # cut away now and then, but never the last


def test_what_is_beside_the_picture_is_void(scene):
    """For every class alike."""
    image, masks, _ = next(item for item in transformed(scene) if (item[1].mask[0] == VOID).sum() > 500)
    beside = image[masks.mask[0] == VOID].reshape(-1, 3)
    assert np.ptp(beside, axis=0).max() == 0  # one plain colour
    assert ((masks.mask == VOID) == (masks.mask[0] == VOID)).all()


def test_nothing_is_cut_off_where_a_place_is_not_known(scene):
    """A label that nobody drew, or no mask at all: the whole picture stays, at most smaller."""
    image, masks = scene
    for _, seen, label in transformed((image, masks.only(np.array([True, False])))):
        assert label.tolist() == [1, 1]
        assert seen.class_idx.tolist() == [0]
        assert (seen.mask[0] == 1).sum() >= 0.2 * (64 * 64) * (masks.mask[0] == 1).mean()
    marked = image.copy()
    marked[:12], marked[-12:], marked[:, :12], marked[:, -12:] = 255, 255, 255, 255  # a frame
    marked = resize_image(marked, (64, 64))
    transform = TrainTransform(64, Augmentation(flip=0, scale=(0.5, 2.0)))
    for index in range(50):
        seen, none, *_ = transform(marked, None, np.array([1, 1], np.uint8), (0, 0, index))
        assert none is None
        white = (seen > 200).all(2)
        rows, columns = np.flatnonzero(white.sum(1) > 15), np.flatnonzero(white.sum(0) > 15)
        assert rows[-1] - rows[0] >= 30  # top and bottom of the frame
        assert columns[-1] - columns[0] >= 30


def test_last_label_is_never_lost(scene):
    image, masks = scene
    alone = masks.only(np.array([False, True]))
    assert all(label.tolist() == [0, 1] for _, _, label in transformed((image, alone), (0, 1)))


def test_masks_that_overlap_move_as_one(scene):
    """Where both classes are, both stay."""
    image, masks = scene
    both = ClassMasks(masks.class_idx, np.stack([masks.mask[0], masks.mask[0] | masks.mask[1]]))
    for _, seen, label in transformed((image, both), count=50):
        if label.all():
            assert ((seen.mask[0] == 1) <= (seen.mask[1] == 1)).all()


def test_a_mask_that_only_says_where_its_class_is_not_goes_along():
    """It shows no place, so nothing is cut off; and it is no class that was lost."""
    image = np.full((120, 160, 3), 90, np.uint8)
    image[30:60, 40:80] = (250, 0, 0)
    masks = ClassMasks(np.array([0]), np.where(image[None, ..., 0] > 200, 0, VOID).astype(np.uint8))
    for seen, moved, label in transformed((image, masks), (1,), Augmentation(flip=0.5, scale=(0.5, 2.0))):
        assert label.tolist() == [1]
        assert moved.class_idx.tolist() == [0]
        assert set(np.unique(moved.mask)) == {0, VOID}
        red = (seen[..., 0] > 170) & (seen[..., 1] < 45)  # more than half of it
        shift = np.argwhere(red).mean(0) - np.argwhere(moved.mask[0] == 0).mean(0)
        assert np.abs(shift).max() < 1.0
    assert set(np.unique(masks.resized((30, 30)).mask)) == {0, VOID}


def test_an_object_too_small_to_be_seen_is_unknown():
    """A class whose last pixel is resized away is not known to be nowhere."""
    index = np.zeros((60, 60), np.uint8)
    index[30:, 30:], index[7, 8] = 1, 2
    masks = split_index_mask(index, np.ones(2))
    assert masks.class_idx.tolist() == [0, 1]
    assert masks.resized((20, 20)).class_idx.tolist() == [0]


def test_outcome_depends_on_its_seed_alone(scene):
    first = transformed(scene, count=20)
    transform = TrainTransform(64, STRONG)
    small = resize_image(scene[0], (64, 64)), scene[1].resized((64, 64))
    for index in reversed(range(20)):
        again = transform(*small, np.array([1, 1], np.uint8), (0, 0, index))[:3]
        ours, theirs = ((image, *masks, label) for image, masks, label in (again, first[index]))
        assert all(np.array_equal(*pair) for pair in zip(ours, theirs, strict=True))
    assert len({image.tobytes() for image, _, _ in first}) == 20


def test_colour_changes_the_picture_and_not_the_mask(scene):
    plain = transformed(scene, augmentation=Augmentation(flip=0), count=10)
    coloured = transformed(scene, augmentation=Augmentation(flip=0, colour=0.4), count=10)
    for (image, masks, _), (other, same, _) in zip(plain, coloured, strict=True):
        assert (image != other).mean() > 0.5
        assert np.array_equal(masks.mask, same.mask)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_augmentation_is_the_same_for_any_number_of_workers_and_after_a_resume(tmp_path, num_workers):
    root = make_voc(tmp_path)
    listing, _ = read_voc(root, "train", "SegmentationClass")
    dataset = ImageSet(listing, image_size=32, augmentation=STRONG)

    def epoch(number):
        sampler = StreamSampler(len(dataset), per_epoch=len(dataset), seed=0)
        sampler.set_epoch(number)  # as Lightning does, after a resume too
        loader = DataLoader(dataset, 4, sampler=sampler, num_workers=num_workers, collate_fn=collate)
        return list(loader), list(sampler)

    batches, draws = epoch(3)
    for sample_idx, draw in enumerate(draws):
        alone = dataset[Draw(*draw)]
        batch, row = batches[sample_idx // 4], sample_idx % 4
        assert batch["id"][row] == alone["id"]
        assert (batch["image"][row] == alone["image"]).all()
        mine = batch["mask_image"] == row
        assert torch.equal(batch["mask"][mine], alone["mask"])
        assert torch.equal(batch["mask_class"][mine], alone["mask_class"])
    other, _ = epoch(4)
    assert any((one["image"] != two["image"]).any() for one, two in zip(batches, other, strict=True))


def test_a_picture_that_is_scaled_down_does_not_alias():
    """Stripes of one pixel at 0.6 of their size: their mean, and no broader stripes."""
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2] = 200
    transform = TrainTransform(64, Augmentation(flip=0, scale=(0.55, 0.65)))
    masks = ClassMasks(np.array([0]), np.zeros((1, 64, 64), np.uint8))
    image, masks, *_ = transform(stripes, masks, np.array([1], np.uint8), (0, 0, 0))
    is_picture = masks.mask[0] == 0
    rows = image[is_picture.any(1)][3:-3]
    inside = rows[:, is_picture.any(0)][..., 0].astype(float)
    assert inside.std() < 40  # by interpolation alone 64
    assert inside.mean() == pytest.approx(100, abs=5)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"flip": 1.5}, "flip"),
        ({"scale": (1.2, 0.8)}, "scale"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"colour": 1.0}, "colour"),
    ],
)
def test_augmentation_out_of_range_is_refused(settings, key):
    with pytest.raises(ValueError, match=f"augmentation.{key} is"):
        Augmentation(**settings)


def test_masked_boat_alone_leaves_other_classes_out(tmp_path):
    """A budget of one class: its mask stays, and nothing is known of the others."""
    root = make_voc(tmp_path)
    listing, _ = read_voc(root, "train", "SegmentationClass")
    kept = np.zeros(listing.labels.shape, bool)
    kept[:, CLASSES.index("dog")] = True
    dataset = ImageSet(listing, image_size=32, kept=kept)
    for index in range(8):
        sample = dataset[index]
        assert sample["mask_class"].tolist() == ([CLASSES.index("dog")] if index % 3 == 1 else [])
        assert set(sample["mask"].unique().tolist()) == ({0, 1, VOID} if index % 3 == 1 else set())
