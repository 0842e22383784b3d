"""The background gap, of made networks that read nothing but the ground, the object, or the object's outline."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from gain_lightning.backbones import Backbone
from gain_lightning.datasets.class_masks import stack_masks
from gain_lightning.datasets.grounds import inpaint_object, object_alone, paste_object
from gain_lightning.datasets.sample import make_sample
from gain_lightning.datasets.shapes import Shapes
from gain_lightning.methods.background import measure
from gain_lightning.methods.gain import GAIN
from gain_lightning.runs.background import VERSIONS

SIDE = 48
RED, BLUE = (200, 40, 60), (60, 40, 200)
GREEN, YELLOW, FRAME = (30, 255, 30), (250, 250, 0), (255, 255, 255)


class Squares:
    """Class ``g`` is a green square, always on red; class ``y`` a yellow one, always on blue; the frame is white."""

    class_names = ("g", "y")

    def __init__(self, count, prefix="", *, together=False, large=()):
        self.ids = [f"{prefix}{number}" for number in range(count)]
        self.labels = np.eye(2, dtype=np.uint8)[np.arange(count) % 2]
        if together:
            self.labels[::3] = 1
        self.large = large

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, row):
        rng = np.random.default_rng(row)
        picture = np.empty((SIDE, SIDE, 3), np.uint8)
        picture[:] = RED if row % 2 == 0 else BLUE
        masks = {}
        side = 46 if row in self.large else 12
        for class_idx in np.flatnonzero(self.labels[row]).tolist():
            left = 1 if side == 46 else int(rng.integers(4, 8)) + 22 * class_idx
            top = 1 if side == 46 else int(rng.integers(4, 30))
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[top : top + side, left : left + side] = 1
            picture[mask == 1] = FRAME
            picture[top + 1 : top + side - 1, left + 1 : left + side - 1] = (GREEN, YELLOW)[class_idx]
            masks[class_idx] = mask
        return make_sample(picture, self.labels[row], stack_masks(masks, (SIDE, SIDE)), self.ids[row])


class Reads(Backbone):
    """A network whose two logits are a function of the pictures ``(N, 3, H, W)`` in 0 to 255."""

    def __init__(self, read):
        super().__init__(nn.Identity(), nn.Identity(), nn.Identity())
        self.read = read

    def forward(self, image):
        return self.read(self.denormalize(image).float())


def the_ground(picture):
    """``g`` where the corner is redder than blue."""
    red = picture[:, 0, 0, 0] - picture[:, 2, 0, 0]
    return torch.stack([red, -red], 1)


def the_object(picture):
    """``g`` where something is green, ``y`` where something is yellow."""
    red, green, blue = picture.unbind(1)
    green_there = (green - red - blue).flatten(1).amax(1) - 100
    yellow_there = (torch.minimum(red, green) - blue).flatten(1).amax(1) - 200
    return torch.stack([green_there, yellow_there], 1).clamp_min(0)


def the_outline(picture):
    """``g`` where a pixel of the frame is as white as it was drawn, whatever the class."""
    white = picture.amin(1).flatten(1).amax(1) - 254.5
    return torch.stack([white, -white], 1)


def model_that(read, task="single_label", names=("g", "y")):
    with torch.random.fork_rng():
        model = GAIN(class_names=list(names), image_size=SIDE, task=task)
    model.backbone = Reads(read)
    return model.eval()


def shares(measured):
    return {key: entry["mean"] for key, entry in measured.result["versions"].items()}


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_a_network_that_reads_the_ground_alone(task):
    measured = measure(model_that(the_ground, task), Squares(12), Squares(16, "t"), [0, 1])
    assert shares(measured) == {
        "as_is": 1, "alone": 0.5, "own_ground": 1, "other_ground": 0, "removed": 1, "control": 1,
    }  # fmt: skip
    result = measured.result
    assert result["gap"] == {"mean": 1, "interval": [1, 1]}
    assert result["chance"] == 0
    assert result["trusted"]
    assert result["control_cost"] == 0
    assert {name: entry["gap"]["mean"] for name, entry in result["classes"].items()} == {"g": 1, "y": 1}


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_a_network_that_reads_the_object_alone(task):
    measured = measure(model_that(the_object, task), Squares(12), Squares(16, "t"), [0, 1])
    seen = shares(measured)
    removed = seen.pop("removed")
    assert set(seen.values()) == {1}
    assert measured.result["gap"] == {"mean": 0, "interval": [0, 0]}
    # a single label is always the first class then, which is right for half of the objects
    assert removed == measured.result["chance"] == (0.5 if task == "single_label" else 0)


def test_with_two_objects_only_the_one_in_question_is_moved():
    """The other object stays with its own ground, as all else that is not the object."""
    images = Squares(12, together=True)
    measured = measure(
        model_that(the_object, "multi_label"), images, Squares(12, "t"), [0, 1], num_examples=16
    )
    assert measured.result["num_objects"] == int(images.labels.sum()) > len(images)
    assert measured.result["num_images"] == len(images)
    for one in measured.examples:
        row = images.ids.index(one.marked.id)
        sample = images[row]
        place = sample["mask_class"].tolist().index(one.marked.class_idx)
        picture, body = sample["image"].permute(1, 2, 0).numpy(), sample["mask"][place].numpy() == 1
        np.testing.assert_array_equal(one.pictures["as_is"], picture)
        np.testing.assert_array_equal(one.pictures["removed"], inpaint_object(picture, body))
        np.testing.assert_array_equal(one.pictures["alone"], object_alone(picture, body))
        assert one.own != one.other


def test_every_ground_is_of_another_picture_and_of_the_class_that_it_stands_for():
    images = Squares(14)
    measured = measure(model_that(the_ground), images, images, [0, 1], num_examples=14)
    for (name, class_name, own, other), one in zip(measured.objects.names, measured.examples, strict=True):
        assert own not in (name, other)
        rows = [images.ids.index(ground) for ground in (own, other)]
        class_idx = "gy".index(class_name)
        assert images.labels[rows, class_idx].tolist() == [1, 0]
        for row, version in zip(rows, ("own_ground", "other_ground"), strict=True):
            sample = images[row]
            body = sample["mask"][0].numpy() == 1
            ground = inpaint_object(sample["image"].permute(1, 2, 0).numpy(), body)
            pasted = paste_object(one.marked.picture, one.marked.body, ground)
            np.testing.assert_array_equal(one.pictures[version], pasted)


def test_where_pasting_itself_costs_too_much_no_number_is_trusted():
    result = measure(model_that(the_outline), Squares(12), Squares(16, "t"), [0]).result
    assert result["versions"]["as_is"]["mean"] == 1
    assert result["control_cost"] == 1
    assert not result["trusted"]


def test_draws_depend_on_the_seed_alone_and_more_pictures_contain_the_fewer():
    model, grounds = model_that(the_object), Squares(30, "t")
    names = [
        measure(model, Squares(20), grounds, [0, 1], seed=seed, most=most).objects.names
        for seed, most in ((0, 20), (0, 20), (0, 6), (1, 20))
    ]
    assert names[0] == names[1] == [*names[2], *names[0][6:]]
    assert len(names[2]) == 6
    assert names[3] != names[0]


def test_objects_that_leave_no_ground_are_left_out_and_counted():
    measured = measure(
        model_that(the_object), Squares(12, large=(0, 3)), Squares(16, "t", large=(1,)), [0, 1]
    )
    assert measured.result["too_large"] == 2
    assert measured.result["num_objects"] == 10
    assert measured.result["num_grounds"] == 15
    assert {"0", "3"}.isdisjoint(name for name, *_ in measured.objects.names)


def test_without_a_ground_of_another_class_nothing_can_be_judged():
    images = Squares(8)
    images.labels[:] = [1, 0]
    with pytest.raises(ValueError, match="no object can be judged: 0 leave no ground, 8 have no ground of"):
        measure(model_that(the_object), images, images, [0, 1])


def test_the_interval_draws_images_with_all_of_their_objects():
    """Against a bootstrap by loops: half of the objects are recognised on their own ground alone."""

    def reads(picture):
        # the ground decides, in every other picture by its column
        return the_ground(picture) * (picture[:, 0, 0, :1] > 100)

    measured = measure(model_that(reads, "multi_label"), Squares(40, together=True), Squares(16, "t"), [0, 1])
    deltas = (measured.objects.of("own_ground") * 1.0) - measured.objects.of("other_ground")
    images = [name[0] for name in measured.objects.names]
    by_image = [deltas[[name == image for name in images]] for image in sorted(set(images))]
    rng = np.random.default_rng(5)
    means = []
    for _ in range(2000):
        drawn = [by_image[place] for place in rng.integers(len(by_image), size=len(by_image))]
        means.append(np.concatenate(drawn).mean())
    assert measured.result["gap"]["mean"] == pytest.approx(deltas.mean())
    np.testing.assert_allclose(
        measured.result["gap"]["interval"], np.quantile(means, (0.025, 0.975)), atol=0.03
    )


def test_shapes_whose_ground_tells_the_class():
    """The camera scene: bench is reddish, belt is not; a network that reads the picture's border knows no more."""

    def the_border(picture):
        red = picture[:, 0] - picture[:, 2]
        sides = torch.cat([red[:, :4].flatten(1), red[:, -4:].flatten(1), red[:, :, :4].flatten(1)], 1)
        bench = sides.mean(1) - 25
        return torch.stack([bench, -bench], 1)

    images = Shapes("camera", "val", range(60))
    grounds = Shapes("camera", "train", range(60))
    result = measure(model_that(the_border, names=("a", "b")), images, grounds, [0, 1]).result
    assert result["versions"]["as_is"]["mean"] > 0.95
    assert result["gap"]["mean"] > 0.9
    assert result["versions"]["removed"]["mean"] > 0.95
    assert result["trusted"]


def test_what_is_measured_can_be_written_as_json():
    result = measure(model_that(the_object), Squares(8), Squares(8, "t"), [0, 1]).result
    assert json.loads(json.dumps(result)) == result
    assert list(result["versions"]) == list(VERSIONS)
