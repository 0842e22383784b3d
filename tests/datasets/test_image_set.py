"""Pictures of a listing as a data set."""

import numpy as np
import pytest
from fake_folder import SIZE, make_folder
from fake_voc import make_voc
from odd_pictures import GROUND, OBJECT, SCENES, make_odd_folder
from PIL import Image

from gain_lightning.constants import NEUTRAL, RESIZES, VOID
from gain_lightning.datasets.image_set import ImageSet
from gain_lightning.datasets.images import load_picture
from gain_lightning.datasets.mask_noise import Annotator, MaskNoise
from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.datasets.readers.voc import CLASSES, read_voc
from gain_lightning.datasets.sample import Draw
from gain_lightning.datasets.transforms import Augmentation


@pytest.mark.parametrize("supervision", ["mask", "box", "outside_box", "none"])
def test_picture_and_truth_are_as_stored_whatever_a_training_sees(tmp_path, supervision):
    root = make_folder(tmp_path)
    images = ImageSet(read_folder(root).listing, image_size=16, supervision=supervision)
    for row, name in enumerate(images.ids):
        path = root / "images" / name
        assert np.array_equal(images.picture(row), np.asarray(Image.open(path)))
        assert np.array_equal(images.picture(row, 24), load_picture(path, 24))
    rows = {name: row for row, name in enumerate(images.ids)}
    cat, dog, unmarked = (images.truth(rows[f"p{n}.jpg"]) for n in (0, 3, 1))
    expected = np.zeros(SIZE, np.uint8)
    expected[3:11, 4:12] = 2
    assert np.array_equal(cat, expected)
    expected = np.zeros(SIZE, np.uint8)
    expected[:8, :8], expected[10:18, 10:18] = 1, VOID
    assert np.array_equal(dog, expected)
    assert unmarked.shape == SIZE
    assert (unmarked == VOID).all()


@pytest.fixture
def root(tmp_path):
    return make_voc(tmp_path)


def open_voc(root, rows=None, augmentation=None, supervision="mask", split="train"):
    listing, problems = read_voc(root, split, "SegmentationClass")
    assert problems == []
    listing = listing if rows is None else listing.take(np.array(rows))
    return ImageSet(listing, image_size=32, augmentation=augmentation, supervision=supervision)


def test_sample_values(root):
    sample = open_voc(root, [1])[0]
    assert sample["image"].shape == (3, 32, 32)
    assert sample["label"].nonzero().flatten().tolist() == [CLASSES.index("dog")]
    assert sample["mask_class"].tolist() == [CLASSES.index("dog")]
    assert set(sample["mask"].unique().tolist()) == {0, 1, 255}
    inside = sample["mask"][0] == 1
    assert sample["image"][1][inside].float().mean() > 180  # green square of image 1
    assert sample["image"][0][inside].float().mean() < 80


def test_augmentation_depends_on_visit_and_index_not_on_the_order_of_calls(root):
    def images(order):
        dataset = open_voc(root, augmentation=Augmentation(), supervision="none")
        return {visit: dataset[Draw(2, visit)]["image"].numpy() for visit in order}

    forward, backward = images(range(8)), images(reversed(range(8)))
    for visit in range(8):
        np.testing.assert_array_equal(forward[visit], backward[visit])
    flips = {forward[visit].tobytes() for visit in range(8)}
    assert len(flips) == 2  # as it is, and flipped


def test_flip_moves_image_and_mask_together(root):
    dataset = open_voc(root, [1], augmentation=Augmentation())
    for visit in range(6):
        sample = dataset[Draw(0, visit)]
        assert sample["mask_class"].tolist() == [CLASSES.index("dog")]
        assert sample["image"][1][sample["mask"][0] == 1].float().mean() > 180


# Pictures that keep their aspect --------------------------------------------------------------------------


def open_odd(tmp_path, **settings):
    root = make_odd_folder(tmp_path / "odd", ("train",))
    listing = read_folder(root).listing
    listing = listing.take(np.flatnonzero(listing.labels[:, 0]))
    return ImageSet(listing, image_size=64, **settings)


def row_of(images, row):
    return str(images.ids[row]).removeprefix("train_box_")


def is_near(pixels, colour):
    return (np.abs(pixels.astype(int) - colour) < 60).all(-1)


@pytest.mark.parametrize(
    "augmentation", [None, Augmentation(scale=(0.6, 1.0)), Augmentation(scale=(0.6, 2.0))]
)
def test_a_letterboxed_mask_lies_on_its_object_and_says_nothing_of_the_border(tmp_path, augmentation):
    """The mark is known by its colour, and so are the ground and the border."""
    images = open_odd(tmp_path, resize="letterbox", augmentation=augmentation)
    for row in range(len(images)):
        for visit in range(4):
            sample = images[Draw(row, visit)]
            image, (mask,) = sample["image"].permute(1, 2, 0).numpy(), sample["mask"].numpy()
            red, blue = is_near(image, OBJECT), is_near(image, GROUND)
            assert ((mask == 1) & red).sum() / ((mask == 1) | red).sum() > (
                0.75 if augmentation is None else 0.65
            )
            assert (mask[~is_near(image, NEUTRAL)] != VOID).mean() > 0.9
            xmin, ymin, xmax, ymax = sample["window"].tolist()
            inside = np.zeros((64, 64), bool)
            inside[ymin:ymax, xmin:xmax] = True
            assert (mask[~inside] == VOID).all()
            # what was scaled again has a soft edge
            soft = 0 if augmentation is None else 3
            inside[max(ymin - soft, 0) : ymax + soft, max(xmin - soft, 0) : xmax + soft] = True
            assert (image[~inside] == NEUTRAL).all()
            inside[:] = False
            inside[ymin:ymax, xmin:xmax] = True
            # ringing of a mark's edge aside, the window shows the picture alone
            assert (red | blue)[inside].mean() > 0.75
            if augmentation is None:
                size = SCENES[row_of(images, row)][0]
                aspect = (ymax - ymin) / (xmax - xmin)
                assert aspect == pytest.approx(size[0] / size[1], rel=0.06)


def test_a_crop_fills_the_square_and_loses_the_label_of_no_picture(tmp_path):
    images = open_odd(tmp_path, resize="crop")
    for row in range(len(images)):
        sample = images[row]
        image = sample["image"].permute(1, 2, 0).numpy()
        assert "window" not in sample
        red = is_near(image, OBJECT)
        assert (red | is_near(image, GROUND)).mean() > 0.85
        assert sample["label"].tolist() == [1, 0]
        # the middle of the longest pictures does not reach the mark
        if row_of(images, row) in ("wide.png", "tall.png"):
            assert red.mean() < 0.02
            assert sample["mask"].shape == (0, 64, 64)
        else:
            mask = sample["mask"][0].numpy()
            assert ((mask == 1) & red).sum() / ((mask == 1) | red).sum() > 0.75
            assert not (mask == VOID).any()


@pytest.mark.parametrize("resize", RESIZES)
def test_boxes_go_where_their_picture_goes(tmp_path, resize):
    root = make_odd_folder(tmp_path, ("train",))
    for path in (root / "masks").iterdir():
        path.unlink()
    rows = [f"train_box_{name},box,{b[2]},{b[0]},{b[3]},{b[1]}" for name, (_, b) in SCENES.items()]
    (root / "boxes.csv").write_text("\n".join(["filename,class,xmin,ymin,xmax,ymax", *rows]) + "\n")
    listing = read_folder(root).listing
    listing = listing.take(np.flatnonzero(listing.has_box.any(1)))
    judging = ImageSet(listing, image_size=64, resize=resize)
    guiding = ImageSet(listing, image_size=64, resize=resize, supervision="box")
    assert judging.judged_by == "box"
    for row in range(len(judging)):
        sample = judging[row]
        red = is_near(sample["image"].permute(1, 2, 0).numpy(), OBJECT)
        if resize == "crop" and row_of(judging, row) in ("wide.png", "tall.png"):
            assert not len(sample["box"])
            assert not len(guiding[row]["mask"])
            continue
        ys, xs = np.nonzero(red)
        expected = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert sample["box"][0].tolist() == pytest.approx(expected, abs=1.5)
        filled = guiding[row]["mask"][0].numpy()
        assert ((filled == 1) & red).sum() / ((filled == 1) | red).sum() > 0.75


def test_noise_of_marks_stays_off_the_border(tmp_path):
    noisy = open_odd(tmp_path, resize="letterbox", annotator=Annotator(MaskNoise(grow=1.0), 3, 2, 0))
    for row in range(len(noisy)):
        sample = noisy[row]
        xmin, ymin, xmax, ymax = sample["window"].tolist()
        beside = np.ones((64, 64), bool)
        beside[ymin:ymax, xmin:xmax] = False
        assert (sample["mask"][0].numpy()[beside] == VOID).all()


def test_an_unknown_way_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data\.resize is 'pad', expected one of squash, letterbox, crop"):
        open_odd(tmp_path, resize="pad")
