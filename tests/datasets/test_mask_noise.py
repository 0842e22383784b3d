"""Imperfect marks, against morphology of scipy, counts and directions by hand."""

import numpy as np
import pytest
from fake_folder import make_folder
from scipy import ndimage

from gain_lightning.constants import NO, VOID, YES
from gain_lightning.datasets.class_masks import ClassMasks
from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.mask_noise import (
    Annotator,
    MaskNoise,
    cut,
    fill_box,
    grow,
    mark_objects,
    shift,
    void_band,
    wrong_classes,
)
from gain_lightning.datasets.sample import Draw
from gain_lightning.datasets.shapes import ShapesDataModule


def blob(seed=0, side=40):
    """A body with bays and an island, away from the picture's edge."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 3)
    body = noise > np.quantile(noise, 0.7)
    body[:9], body[-9:], body[:, :9], body[:, -9:] = False, False, False, False
    return body


def disk(radius):
    reach = int(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return y**2 + x**2 <= radius**2


@pytest.mark.parametrize("radius", [1, 1.5, 2, 3.7, 5])
@pytest.mark.parametrize("seed", range(3))
def test_growing_is_dilation_and_erosion_by_a_disk(seed, radius):
    body = blob(seed)
    assert np.array_equal(grow(body, radius), ndimage.binary_dilation(body, disk(radius)))
    eroded = ndimage.binary_erosion(body, disk(radius), border_value=1)
    innermost = ndimage.distance_transform_edt(body)
    expected = eroded if eroded.any() else innermost == innermost.max()
    assert np.array_equal(grow(body, -radius), expected)


def test_growing_stops_at_the_picture_and_never_takes_the_last_pixel():
    body = np.zeros((5, 5), bool)
    body[:, :3] = True  # its left, upper and lower edges are the picture's
    assert grow(body, -1).tolist() == [[True, True, False, False, False]] * 5
    assert grow(body, 1).tolist() == [[True, True, True, True, False]] * 5
    point = np.zeros((5, 5), bool)
    point[2, 2] = True
    assert np.array_equal(grow(point, -3), point)
    assert grow(np.ones((3, 3), bool), -2).all()
    assert np.array_equal(grow(body, 0.0), body)


@pytest.mark.parametrize("share", [0, 0.1, 1 / 3, 0.5, 0.99])
def test_cutting_takes_the_share_that_lies_farthest(share):
    body = blob()
    y, x = np.nonzero(body)
    for angle in np.linspace(0, 6, 5):
        left = cut(body, share, angle)
        assert left.sum() == len(x) - int(share * len(x))
        assert not (left & ~body).any()
        along = np.cos(angle) * x + np.sin(angle) * y
        is_left = left[y, x]
        if not is_left.all():
            assert along[is_left].max() <= along[~is_left].min()


def test_a_pixel_is_never_cut_off():
    point = np.zeros((3, 3), bool)
    point[1, 2] = True
    assert np.array_equal(cut(point, 0.9, 1.0), point)


@pytest.mark.parametrize(
    ("angle", "rows", "columns"), [(0, 0, 7), (np.pi / 2, 7, 0), (np.pi, 0, -7), (np.pi / 4, 5, 5)]
)
def test_shifting_moves_by_whole_pixels(angle, rows, columns):
    body = blob()
    assert np.array_equal(shift(body, 7, angle), ndimage.shift(body, (rows, columns), order=0))


def test_what_leaves_the_picture_is_lost_unless_it_is_all():
    body = np.zeros((4, 6), bool)
    body[1, 3:5] = True
    assert np.argwhere(shift(body, 2, 0.0)).tolist() == [[1, 5]]
    assert np.array_equal(shift(body, 3, 0.0), body)


def test_a_box_is_that_of_scipy():
    body = blob()
    expected = np.zeros_like(body)
    expected[ndimage.find_objects(body.astype(int))[0]] = True
    assert np.array_equal(fill_box(body), expected)


@pytest.mark.parametrize("pixels", [1, 2, 4])
def test_a_void_band_lies_on_both_sides_of_borders_of_known_pixels(pixels):
    mask = np.where(blob(), YES, NO).astype(np.uint8)
    mask[:, :3] = VOID
    mask[9:14, 20:] = VOID  # over a part of the body
    near = [ndimage.distance_transform_edt(mask != value) <= pixels for value in (NO, YES)]
    is_void = np.where(mask == YES, near[0], near[1]) | (mask == VOID)
    assert np.array_equal(void_band(mask, pixels), np.where(is_void, VOID, mask))
    assert np.array_equal(void_band(mask, 0), mask)


@pytest.mark.parametrize("value", [NO, YES, VOID])
def test_a_mask_without_a_border_has_no_band(value):
    mask = np.full((4, 4), value, np.uint8)
    assert np.array_equal(void_band(mask, 2), mask)


def test_wrong_names_are_those_of_others():
    rng = np.random.default_rng(0)
    alone = {int(wrong_classes(np.array([2]), 4, rng)[0]) for _ in range(100)}
    assert alone == {0, 1, 3}
    assert wrong_classes(np.array([1, 3]), 5, rng).tolist() == [3, 1]
    assert wrong_classes(np.array([0]), 1, rng).tolist() == [0]
    assert wrong_classes(np.zeros(0, np.int64), 3, rng).tolist() == []


def test_each_object_is_marked_by_its_own_size():
    mask = np.full((60, 60), NO, np.uint8)
    mask[5:9, 5:9] = YES  # of size 4
    mask[20:40, 20:40] = YES  # of size 20
    mask[50:, :] = VOID
    grown = mark_objects(mask, MaskNoise(grow=0.25), np.random.default_rng(0))
    small, large = (np.zeros((60, 60), bool) for _ in range(2))
    small[5:9, 5:9], large[20:40, 20:40] = True, True
    body = ndimage.binary_dilation(small, disk(1)) | ndimage.binary_dilation(large, disk(5))
    assert np.array_equal(grown, np.where(body, YES, mask))
    missing = mark_objects(mask, MaskNoise(missing=0.25), np.random.default_rng(0))
    assert ((missing == YES) & small).sum() == 12
    assert ((missing == YES) & large).sum() == 300
    assert np.array_equal(missing == VOID, mask == VOID)
    shifted = mark_objects(mask, MaskNoise(shift=0.5), np.random.default_rng(0)) == YES
    places = ndimage.center_of_mass(shifted, ndimage.label(shifted)[0], [1, 2])
    assert np.hypot(*(np.array(places[0]) - 6.5)) == pytest.approx(2, abs=0.71)
    assert np.hypot(*(np.array(places[1]) - 29.5)) == pytest.approx(10, abs=0.71)
    assert np.array_equal(mark_objects(mask, MaskNoise(), np.random.default_rng(0)), mask)


def test_a_mask_that_only_says_where_its_class_is_not_stays():
    mask = np.array([[NO, VOID, NO]], np.uint8)
    noise = MaskNoise(grow=1, shift=1, missing=0.5, as_boxes=True)
    assert np.array_equal(mark_objects(mask, noise, np.random.default_rng(0)), mask)


def masks_of(*bodies):
    return ClassMasks(
        np.arange(len(bodies)), np.stack([np.where(b, YES, NO).astype(np.uint8) for b in bodies])
    )


def test_an_annotator_marks_an_image_the_same_every_time_and_others_otherwise():
    masks, noise = masks_of(blob(0), blob(1)), MaskNoise(shift=0.3, missing=0.3)
    one = Annotator(noise, 0, 2, seed=0)
    assert np.array_equal(one(masks, "a").mask, Annotator(noise, 0, 2, seed=0)(masks, "a").mask)
    others = one(masks, "b"), Annotator(noise, 0, 2, seed=1)(masks, "a")
    assert all((one(masks, "a").mask != other.mask).any() for other in others)


def test_wrong_classes_come_as_often_as_asked():
    annotator = Annotator(MaskNoise(wrong_class=0.3), 0, 2, seed=0)
    masks = masks_of(blob(0), blob(1))
    marked = [annotator(masks, f"{number}.jpg") for number in range(400)]
    assert np.mean([one.class_idx.tolist() == [1, 0] for one in marked]) == pytest.approx(0.3, abs=0.07)
    assert all(np.array_equal(one.mask, masks.mask) for one in marked)


def test_a_band_lies_round_the_marks_that_were_made():
    masks, noise = masks_of(blob()), MaskNoise(grow=-0.1)
    plain, banded = (Annotator(noise, width, 1, seed=0)(masks, "a").mask[0] for width in (0, 2))
    assert np.array_equal(banded, void_band(plain, 2))
    none = ClassMasks(np.zeros(0, np.int64), np.zeros((0, 4, 4), np.uint8))
    assert Annotator(noise, 2, 3, seed=0)(none, "a").mask.shape == (0, 4, 4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"grow": -1.5}, "data.mask_noise.grow is -1.5, expected a number from -1 to 1"),
        ({"shift": -0.1}, "data.mask_noise.shift is -0.1, expected a number from 0 to 1"),
        ({"missing": 1}, "data.mask_noise.missing is 1, expected a share below 1"),
        ({"wrong_class": 2}, "data.mask_noise.wrong_class is 2"),
    ],
)
def test_numbers_out_of_range_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        MaskNoise(**options)


def test_a_negative_band_is_refused():
    with pytest.raises(ValueError, match=r"data\.void_border is -1, expected 0 or more pixels"):
        ShapesDataModule(void_border=-1)


def shapes(**options):
    module = ShapesDataModule(
        num_train=40, num_val=4, num_test=4, num_biased=4, mask_budget=20, mask_seed=3, **options
    )
    for stage in ("fit", "test"):
        module.setup(stage)
    return module


def equal(one, other):
    return all(np.array_equal(one[name], other[name]) for name in ("image", "mask", "mask_class", "label"))


@pytest.mark.parametrize(
    "options", [{"mask_noise": MaskNoise(grow=0.2)}, {"void_border": 2}], ids=lambda o: next(iter(o))
)
def test_noise_reaches_the_masks_that_guide_and_no_others(options):
    clean, noisy = shapes(select_on="masked"), shapes(select_on="masked", **options)
    assert clean.masked_ids == noisy.masked_ids
    for row in range(len(clean.masked_set)):
        one, other = clean.masked_set[row], noisy.masked_set[row]
        assert one["id"] == other["id"]
        assert (one["mask"] != other["mask"]).any()
        assert np.array_equal(one["image"], other["image"])
        assert equal(other, noisy.masked_set[Draw(row, 7)])
    for name in ("select_set", "val_set", "train_set"):
        pairs = zip(getattr(clean, name), getattr(noisy, name), strict=True)
        assert all(equal(one, other) for one, other in pairs)
    for name, images in clean.test_sets.items():
        assert all(equal(one, other) for one, other in zip(images, noisy.test_sets[name], strict=True))


def test_noise_of_a_folder_is_that_of_its_annotator(tmp_path):
    root = make_folder(tmp_path)

    def masked(**options):
        module = FolderDataModule(root=str(root), image_size=32, mask_budget=1.0, mask_seed=3, **options)
        module.setup("fit")
        return module

    noise = MaskNoise(grow=0.3)
    clean, noisy = masked(), masked(mask_noise=noise, void_border=1)
    annotator = Annotator(noise, 1, len(clean.class_names), 3)
    assert len(clean.masked_set)
    for row, name in enumerate(clean.masked_set.ids):

        def masks_of(module, row=row):
            return module.masked_set._masks(row, module.masked_set._frame(row))

        assert equal(clean.train_set[row], noisy.train_set[row])
        masks = annotator(masks_of(clean), str(name))
        assert np.array_equal(masks_of(noisy).mask, masks.mask)
        assert (masks.mask != masks_of(clean).mask).any()
    for one, other in zip(clean.val_set, noisy.val_set, strict=True):
        assert equal(one, other)
