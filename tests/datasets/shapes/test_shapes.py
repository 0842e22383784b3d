import numpy as np
import pytest
from PIL import Image

from gain_lightning.datasets.shapes import Shapes, ShapesDataModule
from gain_lightning.datasets.shapes.boat import CLASSES, SPLITS, _texture, draw_picture


def test_pictures_depend_on_seed_split_and_index_alone():
    again = [draw_picture(3, "train", seed=1) for _ in range(2)]
    np.testing.assert_array_equal(again[0].image, again[1].image)
    others = [
        draw_picture(3, "train", seed=2),
        draw_picture(4, "train", seed=1),
        draw_picture(3, "test", seed=1),
    ]
    assert all((again[0].image != other.image).any() for other in others)


@pytest.mark.parametrize("split", SPLITS)
def test_mask_shows_exactly_the_labelled_classes(split):
    for index in range(60):
        picture = draw_picture(index, split)
        assert set(np.unique(picture.mask)) - {0} == set(np.flatnonzero(picture.label) + 1)


def _wave_energy(picture) -> float:
    """Strength of waves of about 9 pixels along the columns that show background alone, above or below."""
    grey = picture.image.mean(2)
    columns = [grey[:, x] for x in range(96) if not picture.mask[:, x].any()]
    ends = [
        end for column in columns for end in (column[:22], column[74:])
    ]  # clear of the border between grounds
    straight = [end - np.polyval(np.polyfit(np.arange(22), end, 2), np.arange(22)) for end in ends]
    spectra = np.abs(np.fft.rfft(straight, n=128, axis=1))[:, 11:19].sum(1).reshape(-1, 2).mean(0)
    return float(spectra.max())


def test_pictures_said_to_have_water_show_its_waves():
    pictures = [draw_picture(index, "test") for index in range(200)]
    pictures = [picture for picture in pictures if (~picture.mask.any(0)).sum() > 20]
    wet = [_wave_energy(picture) for picture in pictures if picture.ground == "water"]
    dry = [_wave_energy(picture) for picture in pictures if picture.ground != "water"]
    assert min(len(wet), len(dry)) > 30
    rank = np.mean([one > other for one in wet for other in dry])  # area under the ROC curve
    assert rank > 0.95


def test_training_boats_are_on_water_and_nothing_else_is():
    for index in range(300):
        picture = draw_picture(index, "train", bias=1.0)
        assert (picture.ground == "water") == bool(picture.label[0])


def test_bias_zero_makes_ground_independent_of_boats():
    pictures = [draw_picture(index, "train", bias=0.0) for index in range(600)]
    water = np.array([picture.ground == "water" for picture in pictures])
    boat = np.array([picture.label[0] == 1 for picture in pictures])
    assert abs(water[boat].mean() - water[~boat].mean()) < 0.1


def test_biased_test_sets_turn_the_rule_round():
    for index in range(200):
        without_water = draw_picture(index, "boat_without_water")
        assert (without_water.label[0], without_water.ground) == (1, "")
        without_boat = draw_picture(index, "water_without_boat")
        assert (without_boat.label[0], without_boat.ground) == (0, "water")
        assert without_boat.label.any()


@pytest.mark.parametrize("class_idx", range(len(CLASSES)))
def test_no_texture_turns_into_another_when_flipped(class_idx):
    """A flipped texture is still nearest, in its spectrum, to the same class's."""
    grid = np.mgrid[-24:24, -24:24].astype(np.float32)

    def spectrum(index: int, seed: int, flip: bool) -> np.ndarray:
        values = _texture(np.random.default_rng(seed), index, grid[1].ravel(), grid[0].ravel()).reshape(
            48, 48
        )
        return np.abs(np.fft.fft2(values[:, ::-1] if flip else values - values.mean()))

    mean = [
        np.mean([spectrum(index, seed, False) for seed in range(30)], axis=0) for index in range(len(CLASSES))
    ]
    flipped = np.mean([spectrum(class_idx, seed, True) for seed in range(30, 60)], axis=0)
    flipped[0, 0] = 0
    distances = [np.linalg.norm(flipped - other) for other in mean]
    assert int(np.argmin(distances)) == class_idx


def test_average_number_of_labels_is_one_and_a_half():
    assert np.mean([draw_picture(index, "test").label.sum() for index in range(1000)]) == pytest.approx(
        1.5, abs=0.06
    )


@pytest.mark.parametrize(("key", "value"), [("num_train", 0), ("num_test", -1), ("batch_size", 0)])
def test_datamodule_names_the_key_that_is_out_of_range(key, value):
    with pytest.raises(ValueError, match=key):
        ShapesDataModule(**{key: value})


def test_bias_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"bias is 1\.5"):
        draw_picture(0, "train", bias=1.5)


def test_weak_stream_hides_masks_and_masked_stream_shows_them():
    data = ShapesDataModule(num_train=50, num_val=2, mask_budget=0.1, mask_seed=3)
    data.setup("fit")
    assert len(data.masked_ids) == 5
    assert all(len(data.train_set[index]["mask"]) == 0 for index in range(50))
    assert [data.masked_set[index]["id"] for index in range(5)] == data.masked_ids
    for index in range(5):
        sample = data.masked_set[index]
        picture = draw_picture(int(sample["id"].removeprefix("train_")), "train")
        assert sample["mask_class"].tolist() == np.flatnonzero(picture.label).tolist()
        for class_idx, mask in zip(sample["mask_class"].tolist(), sample["mask"].numpy(), strict=True):
            np.testing.assert_array_equal(mask, picture.mask == class_idx + 1)


@pytest.mark.parametrize("other_boxes", ["unknown", "no"])
def test_boxes_of_a_class_do_not_cut_into_those_of_another(other_boxes):
    data = ShapesDataModule(
        num_train=60, num_val=2, mask_budget=1.0, supervision="box", other_boxes=other_boxes
    )
    data.setup("fit")
    num_unknown = 0
    for sample in (data.masked_set[index] for index in range(60)):
        picture = draw_picture(int(sample["id"].removeprefix("train_")), "train")
        inside = {c: np.zeros((96, 96), bool) for c in np.flatnonzero(picture.label).tolist()}
        for c, (left, top, right, bottom) in zip(
            picture.boxes.class_idx.tolist(), picture.boxes.corners.astype(int), strict=True
        ):
            inside[c][top:bottom, left:right] = True
        assert sample["mask_class"].tolist() == list(inside)
        for c, mask in zip(sample["mask_class"].tolist(), sample["mask"].numpy(), strict=True):
            others = np.any(
                [own for other, own in inside.items() if other != c] or [inside[c] & False], axis=0
            )
            np.testing.assert_array_equal(mask == 1, inside[c])
            is_unknown = others & ~inside[c] & (other_boxes == "unknown")
            np.testing.assert_array_equal(mask == 255, is_unknown)
            num_unknown += is_unknown.sum()
    assert (num_unknown > 0) == (other_boxes == "unknown")


def test_masked_pictures_are_those_of_the_weak_stream():
    data = ShapesDataModule(num_train=20, num_val=2, mask_budget=3)
    data.setup("fit")
    by_id = {data.train_set[index]["id"]: data.train_set[index]["image"] for index in range(20)}
    for sample in (data.masked_set[index] for index in range(3)):
        assert (sample["image"] == by_id[sample["id"]]).all()


def test_shapes_yields_ids_of_its_indices():
    assert [sample["id"] for sample in (Shapes("boat", "test", [7, 2])[i] for i in range(2))] == [
        "test_00007",
        "test_00002",
    ]


@pytest.mark.parametrize("supervision", ["mask", "box", "outside_box", "none"])
def test_picture_and_truth_are_as_drawn_whatever_a_training_sees(supervision):
    drawn = [draw_picture(index, "test", seed=3) for index in range(4)]
    images = Shapes("boat", "test", range(4), seed=3, supervision=supervision)
    for row, one in enumerate(drawn):
        assert np.array_equal(images.picture(row), one.image)
        assert np.array_equal(images.truth(row), one.mask)


@pytest.mark.parametrize("side", [48, 144])
def test_picture_of_another_size_is_pillows(side):
    images = Shapes("boat", "test", range(2))
    for row in range(2):
        pillows = Image.fromarray(images.picture(row)).resize((side, side), Image.Resampling.BILINEAR)
        assert np.abs(images.picture(row, side).astype(int) - np.asarray(pillows)).max() <= 1
