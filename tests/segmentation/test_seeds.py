"""Cues and pseudo-masks from maps."""

import numpy as np
import pytest
import torch

from gain_lightning.attention import Cells, grad_cam, label_pairs, place_maps, scale_maps
from gain_lightning.constants import VOID
from gain_lightning.datasets.resize import resize_image
from gain_lightning.methods.gain import GAIN
from gain_lightning.segmentation.crf.kernels import Kernels
from gain_lightning.segmentation.seeds import (
    attention_maps,
    crf_regions,
    gradient_saliency,
    low_attention,
    make_cues,
    pseudo_mask,
)

# Maps -----------------------------------------------------------------------------------------------------


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GAIN(["a", "b", "c"], 32).eval()


@pytest.fixture
def batch(generator):
    image = torch.randint(0, 256, (3, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return image, torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]])


def plain_maps(model, image, label):
    features = model.backbone.features(model.backbone.normalize(image))
    return grad_cam(features, model.backbone.head(features), label_pairs(label)).detach()


def test_one_scale_is_grad_cam(model, batch):
    maps, pairs = attention_maps(model, *batch)
    placed = place_maps(plain_maps(model, *batch), (32, 32), Cells(0, 0, 8, 8))
    torch.testing.assert_close(maps, scale_maps(placed))
    assert pairs.image.tolist() == [0, 0, 2]


def test_scales_and_mirrors_are_added_up(model, batch):
    """Against CAM by hand, for the network pools and classifies linearly: four passes, no gradient.

    Each map lies where its picture does, so a mirrored one is drawn before it is turned back.
    """
    image, label = batch
    small = resize_image(image, (16, 16))
    weight = model.backbone.classifier.weight.detach().flatten(1)  # (C, K)
    pairs = label_pairs(label)
    total = torch.zeros(3, 1, 32, 32)
    for seen, cells in ((image, Cells(0, 0, 8, 8)), (small, Cells(0.5, 0.5, 16, 16))):
        for is_mirrored in (False, True):
            features = model.backbone.features(
                model.backbone.normalize(seen.flip(3) if is_mirrored else seen)
            )
            cam = torch.einsum("pkhw,pk->phw", features[pairs.image], weight[pairs.label]).relu().detach()
            placed = place_maps(cam[:, None], (32, 32), cells)
            total += placed.flip(3) if is_mirrored else placed
    maps, _ = attention_maps(model, image, label, scales=(1.0, 0.5), flip=True)
    torch.testing.assert_close(maps, scale_maps(total))


def test_gradient_saliency_is_the_median_of_the_largest_gradient(model, batch):
    image, label = batch
    normalised = model.backbone.normalize(image).requires_grad_()
    (gradient,) = torch.autograd.grad((model(normalised) * label).sum(), normalised)
    largest = gradient.abs().amax(1)
    got = gradient_saliency(model, image, label)
    for y, x in [(1, 1), (5, 9), (30, 30)]:
        window = largest[0, y - 1 : y + 2, x - 1 : x + 2].flatten().sort().values
        assert got[0, y, x].item() == pytest.approx(window[4].item())
    assert not got[1].any()  # an image without a label has no score


# Cues -----------------------------------------------------------------------------------------------------


def slow_cues(maps, classes, background, threshold):
    n, h, w = maps.shape
    size = [sum(maps[i, y, x] > threshold for y, x in np.ndindex(h, w)) for i in range(n)]
    cues = np.full((h, w), VOID)
    for y, x in np.ndindex(h, w):
        found = [i for i in range(n) if maps[i, y, x] > threshold]
        if found:
            cues[y, x] = classes[min(found, key=lambda i: size[i])] + 1
        elif background[y, x]:
            cues[y, x] = 0
    return cues


def test_cues_equal_the_loops():
    rng = np.random.default_rng(0)
    for _ in range(20):
        maps = rng.random((3, 6, 5)) * rng.random((3, 1, 1))
        background = rng.random((6, 5)) < 0.4
        np.testing.assert_array_equal(
            make_cues(maps, [4, 0, 19], background, threshold=0.3),
            slow_cues(maps, [4, 0, 19], background, 0.3),
        )


def test_an_image_without_a_class_has_background_alone():
    background = np.array([[True, False]])
    maps = np.zeros((0, 1, 2))
    assert make_cues(maps, [], background).tolist() == [[0, VOID]]
    assert pseudo_mask(maps, [], background, threshold=0.2).tolist() == [[0, VOID]]


def test_crf_without_iterations_is_the_strongest_above_the_score(generator):
    maps = torch.rand(3, 41, 41, generator=generator).numpy()
    picture = torch.randint(0, 256, (41, 41, 3), generator=generator, dtype=torch.uint8).numpy()
    for score, regions in zip(
        (0.2, 0.7), crf_regions(maps, picture, [0.2, 0.7], Kernels(iterations=0)), strict=True
    ):
        expected = np.where(maps.max(0) > score, maps.argmax(0), -1) == np.arange(3)[:, None, None]
        np.testing.assert_array_equal(regions, expected)


def test_crf_grows_a_region_to_the_edge_of_its_colour_and_no_further():
    picture = np.full((41, 41, 3), 30, np.uint8)
    picture[10:30, 10:30] = 220  # the object
    maps = np.full((1, 41, 41), 0.15)
    maps[0, 14:34, 14:34] = 0.6  # too far down and to the right
    (regions,) = crf_regions(maps, picture, [0.3])
    truth = picture[..., 0] == 220
    iou = (regions[0] & truth).sum() / (regions[0] | truth).sum()
    before = ((maps[0] > 0.3) & truth).sum() / ((maps[0] > 0.3) | truth).sum()
    assert before < 0.5
    assert iou > 0.95


def test_a_map_of_nothing_is_no_background():
    """The class is there; only its map failed."""
    maps = np.array([[[0.0, 1.0]], [[0.0, 0.0]]])
    assert low_attention(maps, 0.05).tolist() == [[False, False]]
    assert low_attention(maps[:1], 0.05).tolist() == [[True, False]]
    assert low_attention(maps[:0], 0.05).tolist() == [[True, True]]
