"""What a network says of images: entropy, features under maps and masks, and maps in other views."""

import numpy as np
import pytest
import torch
from dots import dots, make_dot_detector
from scipy.stats import entropy
from torch import nn

from gain_lightning.attention import label_pairs
from gain_lightning.datasets.shapes import Shapes
from gain_lightning.methods.advice.look import _disagreement, look, shared
from gain_lightning.methods.gain import GAIN

CLASSES = ["boat", "car", "sun", "tree", "water"]


@pytest.fixture(scope="module")
def images():
    return Shapes("boat", "train", range(6))


def make(task="multi_label", **settings):
    torch.manual_seed(0)
    model = GAIN(CLASSES, 96, task=task, **settings).eval()
    with torch.no_grad():
        model.backbone.classifier.weight.mul_(20)
    return model


def test_fields_are_those_of_the_network(images):
    """By loops over images and pairs, whatever the batches are."""
    model = make()
    found = look(model, images, [4, 0, 5, 2], batch_size=3)
    pair = 0
    for number, row in enumerate([4, 0, 5, 2]):
        sample = images[row]
        image = model.backbone.normalize(sample["image"][None])
        features = model.backbone.features(image)
        logits, maps, _ = model.attend(image, sample["label"][None])
        feature = features[0].mean((1, 2)).detach()
        np.testing.assert_allclose(found.feature[number], feature / feature.norm(), atol=1e-5)
        for attention, class_idx in zip(maps, sample["label"].nonzero().flatten().tolist(), strict=True):
            assert (found.image[pair], found.class_idx[pair]) == (number, class_idx)
            score = float(logits[0, class_idx].sigmoid())
            assert found.score[pair] == pytest.approx(score, abs=1e-5)
            assert found.uncertainty[pair] == pytest.approx(entropy([score, 1 - score], base=2), abs=1e-4)
            assert found.strength[pair] == pytest.approx(float(attention.max()), rel=1e-4, abs=1e-7)
            weight = attention if attention.max() > 1e-8 else torch.ones_like(attention)
            mean = (features[0] * weight).sum((1, 2)).detach()
            np.testing.assert_allclose(found.attended[pair], mean / mean.norm(), atol=1e-4)
            pair += 1
    assert pair == len(found.image)


def test_exclusive_classes_share_one_entropy(images):
    model = make("single_label")
    found = look(model, images, range(3))
    for pair, row in enumerate(found.image):
        logits = model(model.backbone.normalize(images[int(row)]["image"][None]))[0]
        expected = entropy(logits.softmax(0).detach().numpy(), base=len(CLASSES))
        assert found.uncertainty[pair] == pytest.approx(expected, abs=1e-4)


def test_marks_teach_the_features_below_them(images):
    """A mask of one cell's pixels takes that cell's features; pairs without a mask are left out."""
    model = make()

    class Marked:
        def __getitem__(self, row):
            sample = dict(images[row])
            mask = torch.zeros(1, 96, 96, dtype=torch.uint8)
            # cell (3, 5) of the tiny CNN is centred on pixel (24, 40) and reaches 4 pixels to each side
            mask[0, 21:28, 37:44] = 1
            return {**sample, "mask": mask, "mask_class": torch.tensor([4])}

    found = look(model, Marked(), [1, 3], by_mask=True)
    assert found.class_idx.tolist() == [4, 4]
    for number, row in enumerate([1, 3]):
        features = model.backbone.features(model.backbone.normalize(images[row]["image"][None]))
        cell = features[0, :, 3, 5].detach()
        np.testing.assert_allclose(found.attended[number], cell / cell.norm(), atol=1e-4)


def test_maps_that_move_with_the_picture_agree_and_others_do_not():
    """A dot's map is where the dot is in every view; a map that stays where it was shares nothing when mirrored."""
    model = GAIN(["dot"], 96).eval()
    make_dot_detector(model.backbone.features)
    nn.init.constant_(model.backbone.classifier.weight, 1.0)
    nn.init.zeros_(model.backbone.classifier.bias)
    image, label = dots([(40.0, 24.0), (64.0, 70.0)], (96, 96), 12), torch.ones(2, 1)
    _, maps, pairs = model.attend(image, label)
    score = torch.full((2,), 1e6)  # whatever is left is nothing
    honest = _disagreement(model, image, label, maps, pairs, score)
    assert (honest < 0.12).all()

    attend = model.attend
    model.attend = lambda view, label: (None, attend(image, label)[1], pairs)
    stubborn = _disagreement(model, image, label, maps, pairs, score)
    assert (stubborn > honest + 0.25).all()


def test_what_is_left_on_the_erased_image_counts_a_third():
    """A network that sees the same everywhere keeps its whole score; its even map agrees with itself in any view."""
    model = GAIN(["any"], 32).eval()
    nn.init.zeros_(model.backbone.classifier.weight)
    nn.init.constant_(model.backbone.classifier.bias, 2.0)
    image, label = torch.rand(1, 3, 32, 32), torch.ones(1, 1)
    maps, pairs = torch.ones(1, 1, 4, 4), label_pairs(label)
    model.attend = lambda view, label: (None, maps, pairs)
    score = model.scores(torch.tensor([[2.0]]))[:, 0]
    assert float(_disagreement(model, image, label, maps, pairs, score)) == pytest.approx(1 / 3, abs=1e-5)


def test_maps_that_stay_zero_do_not_change():
    zero = torch.zeros(1, 1, 2, 2)
    assert (shared(zero, zero).tolist(), shared(zero, zero + 1).tolist()) == ([1], [0])
