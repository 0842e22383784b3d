"""What must hold for any input: of the pure functions on shapes, labels, voids and extreme values, and of the readers.

200 examples a property, the same every time; ``HYPOTHESIS_PROFILE=nightly`` draws 10,000 anew.
"""

import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gain_lightning.attention import (
    EPS,
    Cells,
    erase,
    grad_cam,
    label_pairs,
    place_maps,
    pool_to_cells,
    resize_maps,
    scale_maps,
    soft_mask,
)
from gain_lightning.constants import VOID
from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.losses import (
    SUPERVISION_LOSSES,
    attention_mining_loss,
    attention_supervision_loss,
    classification_loss,
)
from gain_lightning.segmentation.losses import (
    constrain_loss,
    expansion_loss,
    log_probabilities,
    seeding_loss,
)
from gain_lightning.studies.sweeps.file import read_sweep_file
from gain_lightning.studies.sweeps.parameter import SweepError

common = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
settings.register_profile("default", max_examples=200, derandomize=True, **common)
settings.register_profile("nightly", max_examples=10_000, **common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

SIZES = st.integers(1, 5)
SEEDS = st.integers(0, 2**32 - 1)
SCALES = st.sampled_from([0.0, 1e-30, 1e-8, 1e-3, 1.0, 1e3, 1e15, 1e30])


@st.composite
def values(draw, *shape, low=-1.0):
    """Random numbers of any magnitude, some of them 0; equal where a draw says so."""
    generator = torch.Generator().manual_seed(draw(SEEDS))
    tensor = torch.rand(shape, generator=generator) * (1 - low) + low
    tensor = tensor * (torch.rand(shape, generator=generator) < draw(st.sampled_from([0.2, 1.0])))
    return (tensor * 0 + 1 if draw(st.integers(0, 9)) == 0 else tensor) * draw(SCALES)


@st.composite
def labelled(draw):
    """Labels ``(N, C)``, often none or all."""
    size = draw(SIZES), draw(SIZES)
    bits = draw(st.lists(st.booleans(), min_size=size[0] * size[1], max_size=size[0] * size[1]))
    return torch.tensor(bits).view(size).float()


@st.composite
def cells(draw):
    """Cells anywhere, also beside the picture."""
    starts, steps = st.integers(-40, 40), st.integers(1, 80)
    return Cells(draw(starts) / 8, draw(starts) / 8, draw(steps) / 8, draw(steps) / 8)


@given(SIZES, SIZES, SIZES, st.data())
def test_scaled_maps_lie_between_0_and_1(num_maps, height, width, data):
    maps = data.draw(values(num_maps, 1, height, width, low=0.0))
    for scaling in ("max", "minmax"):
        scaled = scale_maps(maps, scaling)
        assert ((scaled >= 0) & (scaled <= 1)).all()
        reach = scaled.amax((1, 2, 3))
        assert (torch.isclose(reach, torch.ones(())) | (maps.amax((1, 2, 3)) <= EPS) | (reach == 0)).all()
        alone = torch.cat([scale_maps(one[None], scaling) for one in maps])
        assert torch.equal(scaled, alone)  # never over the batch
    mask = soft_mask(scale_maps(maps))
    assert ((mask >= 0) & (mask <= 1)).all()


@given(SIZES, st.data())
def test_resized_maps_stay_within_their_extremes(num_maps, data):
    maps = data.draw(values(num_maps, 1, *(data.draw(SIZES) for _ in "hw"), low=0.0))
    size = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    low, high = maps.amin((1, 2, 3)), maps.amax((1, 2, 3))
    slack = 1e-5 * high
    for resized in (
        resize_maps(maps, size),
        place_maps(maps, size, data.draw(cells())),
        pool_to_cells(maps, size, data.draw(cells())),
    ):
        assert resized.shape == (num_maps, 1, *size)
        assert (resized.amin((1, 2, 3)) >= low - slack).all()
        assert (resized.amax((1, 2, 3)) <= high + slack).all()


@given(labelled())
def test_pairs_are_the_labels(label):
    pairs = label_pairs(label)
    again = torch.zeros_like(label)
    again[pairs.image, pairs.label] = 1
    assert torch.equal(again, label)
    assert len(pairs.image) == int(label.sum())


@given(labelled(), st.data())
def test_losses_are_finite_and_not_negative(label, data):
    logits = data.draw(values(*label.shape))
    assert 0 <= float(classification_loss(logits.clamp(-1e15, 1e15), label)) < float("inf")
    amounts = classification_loss(logits.clamp(-1e15, 1e15), label, task="regression")
    assert 0 <= float(amounts) < float("inf")
    pairs = label_pairs(label)
    erased = data.draw(values(len(pairs.image), label.shape[1]))
    mined = attention_mining_loss(erased, pairs)
    assert 0 <= float(mined) <= 1 + 1e-6  # a mean of ones may round up


@given(labelled(), SIZES, SIZES, st.sampled_from(sorted(SUPERVISION_LOSSES)), st.data())
def test_supervision_is_finite_for_any_mask_and_does_not_depend_on_the_order(
    label, height, width, loss, data
):
    """Of yes, no and unknown, or of some of them alone; at the masks' size, or of cells anywhere."""
    pairs = label_pairs(label)
    maps = scale_maps(data.draw(values(len(pairs.image), 1, height, width, low=0.0)))
    generator = torch.Generator().manual_seed(data.draw(SEEDS))
    values_of = data.draw(st.lists(st.sampled_from([0, 1, VOID]), min_size=1, max_size=4))
    size = data.draw(st.sampled_from([(height, width), (height + 2, width + 3)]))
    choice = torch.randint(0, len(values_of), (len(maps), *size), generator=generator)
    mask = torch.tensor(values_of, dtype=torch.uint8)[choice]
    options = {"loss": loss, "cells": data.draw(cells())}
    found = attention_supervision_loss(maps, mask, pairs, **options)
    assert torch.isfinite(found)
    if loss != "cross_entropy":
        assert -1e-6 <= float(found) <= 1 + 1e-6
    order = torch.randperm(len(label), generator=generator)
    moved = label_pairs(label[order])
    place = {pair: p for p, pair in enumerate(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True))}
    images = order[moved.image].tolist()
    turned = [place[pair] for pair in zip(images, moved.label.tolist(), strict=True)]
    other = attention_supervision_loss(maps[turned], mask[turned], moved, **options)
    torch.testing.assert_close(other, found, rtol=1e-4, atol=1e-6)


@given(labelled(), SIZES, st.booleans(), st.data())
def test_maps_are_not_negative_and_follow_their_images(label, side, second_order, data):
    num_images, num_classes = label.shape
    features = data.draw(values(num_images, 3, side, side)).clamp(-1e3, 1e3).requires_grad_()
    weight = data.draw(values(num_classes, 3)).clamp(-1e3, 1e3)

    def maps_of(images, labels):
        part = features[images]
        return grad_cam(
            part, part.mean((2, 3)) @ weight.T, label_pairs(labels), second_order=second_order
        ).detach()

    maps = maps_of(torch.arange(num_images), label)
    assert (maps >= 0).all()
    assert torch.isfinite(maps).all()
    alone = [maps_of(torch.tensor([n]), label[n : n + 1]) for n in range(num_images)]
    torch.testing.assert_close(maps, torch.cat(alone), rtol=1e-4, atol=1e-6)
    if len(maps):
        image = torch.ones(len(maps), 3, side, side)
        erased = erase(image, soft_mask(scale_maps(maps)))
        assert ((erased >= 0) & (erased <= 1)).all()


@given(labelled(), SIZES, SIZES, st.data())
def test_losses_of_sec_are_finite_and_not_negative(label, height, width, data):
    num_images, num_classes = label.shape
    shape = num_images, 1 + num_classes, height, width
    log_probs = log_probabilities(data.draw(values(*shape)).clamp(-1e30, 1e30))
    generator = torch.Generator().manual_seed(data.draw(SEEDS))
    cues = torch.randint(0, num_classes + 2, (num_images, height, width), generator=generator)
    cues[cues > num_classes] = VOID
    smooth = torch.rand(shape, generator=generator)
    smooth = smooth / smooth.sum(1, keepdim=True)
    assert 0 <= float(seeding_loss(log_probs, cues)) < float("inf")
    assert 0 <= float(expansion_loss(log_probs, label)) < float("inf")
    assert torch.isfinite(constrain_loss(log_probs, smooth))


# Readers --------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    (
        *("method: grid", "parameters:", "  x: {values: [1, 2]}", "  x: {min: 0, max: 1}", "metric:"),
        *("  name: a", "  goal: maximize", "command: [a, b]", "program: p.py", "- x", "x: [", "method: {}"),
    )
)


@given(st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=8).map("\n".join)))
def test_a_sweep_file_is_read_or_refused(text):
    try:
        file = read_sweep_file(text, where="sweep.yaml")
    except SweepError:
        return
    assert file.parameters


LINES = st.sampled_from(
    (
        *(
            "filename,classes",
            "filename,classes,split",
            "a.png,cat,train",
            "a.png,cat;dog,val",
            "b.png,,test",
        ),
        *("../a.png,cat", "a.png", ",,,", '"a.png,cat', "a.png,cat,train,more", "a.png,cat=3", "\x00"),
    )
)


@given(
    st.one_of(
        st.binary(max_size=200), st.lists(LINES, max_size=8).map(lambda lines: "\r\n".join(lines).encode())
    )
)
def test_a_label_file_is_read_or_its_problems_are_listed(tmp_path, content):
    (tmp_path / "images").mkdir(exist_ok=True)
    (tmp_path / "labels.csv").write_bytes(content)
    try:
        found = read_folder(tmp_path)
    except ValueError:
        return
    assert found.problems or not len(found.listing.ids)


@pytest.mark.parametrize("loss", sorted(SUPERVISION_LOSSES))
def test_every_rival_is_known_here(loss):
    """A new one joins the properties above."""
    assert loss in {"l2", "l1", "energy", "rrr", "cross_entropy"}
