import numpy as np
import pytest
from fake_voc import make_voc
from torch.utils.data import DataLoader

from gain_lightning import VOID
from gain_lightning.datasets.image_set import ImageSet
from gain_lightning.datasets.resize import resize_image, resize_mask
from gain_lightning.datasets.sample import collate
from gain_lightning.datasets.streams import Draw, StreamSampler
from gain_lightning.datasets.transforms import Augmentation, TrainTransform
from gain_lightning.datasets.voc12 import CLASSES, read_voc

STRONG = Augmentation(flip=0.5, scale=(0.5, 2.0), colour=0.4)


@pytest.fixture
def scene():
    """A picture whose red square is class 1 and whose green one is class 2, in opposite corners."""
    image = np.full((120, 160, 3), 90, np.uint8)
    mask = np.zeros((120, 160), np.uint8)
    mask[10:40, 10:40], mask[80:110, 120:150] = 1, 2
    image[mask == 1], image[mask == 2] = (250, 0, 0), (0, 250, 0)
    return image, mask


def transformed(scene, label=(1, 1), augmentation=STRONG, count=200, size=64):
    transform = TrainTransform(size, augmentation)
    image, mask = resize_image(scene[0], (size, size)), resize_mask(scene[1], (size, size))
    return [transform(image, mask, np.array(label, np.uint8), (0, 0, index)) for index in range(count)]


def test_image_and_mask_move_together(scene):
    shifts = []
    without_colour = Augmentation(flip=0.5, scale=(0.5, 2.0))
    for image, mask, _ in transformed(scene, augmentation=without_colour):
        red = (image[..., 0] > 170) & (image[..., 1] < 45)  # more than half of it
        green = (image[..., 1] > 170) & (image[..., 0] < 45)
        for colour, class_idx in ((red, 1), (green, 2)):
            if (mask == class_idx).sum() > 50:
                shift = np.argwhere(colour).mean(0) - np.argwhere(mask == class_idx).mean(0)
                shifts.append(shift)
            else:
                assert (colour & (mask != VOID)).sum() < 80
    assert len(shifts) > 100
    assert np.abs(shifts).max() < 1.0
    assert (
        np.abs(np.mean(shifts, axis=0)).max() < 0.1
    )  # a nearest pixel of the wrong kind shifts by 1.3 on average


def test_label_stays_exactly_where_its_class_does(scene):
    labels = set()
    for _, mask, label in transformed(scene):
        labels.add(tuple(label))
        assert set(np.unique(mask)) - {0, VOID} == {idx + 1 for idx in (0, 1) if label[idx]}
    assert labels == {(1, 1), (1, 0), (0, 1)}  # cut away now and then, but never the last


def test_what_is_beside_the_picture_is_void(scene):
    image, mask, _ = next(item for item in transformed(scene) if (item[1] == VOID).sum() > 500)
    beside = image[mask == VOID].reshape(-1, 3)
    assert np.ptp(beside, axis=0).max() == 0  # one plain colour


def test_nothing_is_cut_off_where_a_place_is_not_known(scene):
    """A label without pixels, or no mask at all: the whole picture stays, at most smaller."""
    image, mask = scene
    for _, seen, label in transformed((image, np.where(mask == 2, 0, mask))):
        assert label.tolist() == [1, 1]
        assert (seen == 1).sum() >= 0.2 * (64 * 64) * (mask == 1).mean()
    marked = image.copy()
    marked[:12], marked[-12:], marked[:, :12], marked[:, -12:] = 255, 255, 255, 255  # a frame
    marked = resize_image(marked, (64, 64))
    transform = TrainTransform(64, Augmentation(flip=0, scale=(0.5, 2.0)))
    for index in range(50):
        seen, none, _ = transform(marked, None, np.array([1, 1], np.uint8), (0, 0, index))
        assert none is None
        white = (seen > 200).all(2)
        rows, columns = np.flatnonzero(white.sum(1) > 15), np.flatnonzero(white.sum(0) > 15)
        assert rows[-1] - rows[0] >= 30  # top and bottom of the frame
        assert columns[-1] - columns[0] >= 30


def test_last_label_is_never_lost(scene):
    image, mask = scene
    assert all(
        label.tolist() == [0, 1] for _, _, label in transformed((image, np.where(mask == 1, 0, mask)), (0, 1))
    )


def test_outcome_depends_on_its_seed_alone(scene):
    first = transformed(scene, count=20)
    transform = TrainTransform(64, STRONG)
    small = resize_image(scene[0], (64, 64)), resize_mask(scene[1], (64, 64))
    for index in reversed(range(20)):
        again = transform(*small, np.array([1, 1], np.uint8), (0, 0, index))
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(again, first[index], strict=True))
    assert len({image.tobytes() for image, _, _ in first}) == 20


def test_colour_changes_the_picture_and_not_the_mask(scene):
    plain = transformed(scene, augmentation=Augmentation(flip=0), count=10)
    coloured = transformed(scene, augmentation=Augmentation(flip=0, colour=0.4), count=10)
    for (image, mask, _), (other, same, _) in zip(plain, coloured, strict=True):
        assert (image != other).mean() > 0.5
        assert np.array_equal(mask, same)


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
        assert (batch["mask"][row] == alone["mask"]).all()
    other, _ = epoch(4)
    assert any((one["image"] != two["image"]).any() for one, two in zip(batches, other, strict=True))


def test_a_picture_that_is_scaled_down_does_not_alias():
    """Stripes of one pixel at 0.6 of their size: their mean, and no broader stripes."""
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2] = 200
    transform = TrainTransform(64, Augmentation(flip=0, scale=(0.55, 0.65)))
    image, mask, _ = transform(stripes, np.zeros((64, 64), np.uint8), np.array([1], np.uint8), (0, 0, 0))
    rows = image[(mask == 0).any(1)][3:-3]
    inside = rows[:, (mask == 0).any(0)][..., 0].astype(float)
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
    """A budget of one class: its pixels stay, those of the others become background."""
    root = make_voc(tmp_path)
    listing, _ = read_voc(root, "train", "SegmentationClass")
    kept = np.zeros(listing.labels.shape, bool)
    kept[:, CLASSES.index("dog")] = True
    dataset = ImageSet(listing, image_size=32, kept=kept)
    values = [set(dataset[index]["mask"].unique().tolist()) - {255} for index in range(8)]
    assert values == [{0} | ({CLASSES.index("dog") + 1} if index % 3 == 1 else set()) for index in range(8)]
