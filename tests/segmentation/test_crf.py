"""The dense CRF against slow loops from the paper, and against pydensecrf2."""

import math
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gain_lightning.segmentation import crf
from gain_lightning.segmentation.crf import Kernels, dense_crf

SMALL = Kernels(gaussian_width=1.5, bilateral_width=4.0, bilateral_colour=30.0, iterations=3)


@pytest.fixture
def scene(generator):
    """Two images of 6 x 5 pixels with 4 classes."""
    log_probs = torch.randn(2, 4, 6, 5, generator=generator).log_softmax(1)
    image = torch.randint(0, 256, (2, 6, 5, 3), generator=generator, dtype=torch.uint8)
    return log_probs, image


def slow_mean_field(log_probs, image, kernels: Kernels) -> np.ndarray:
    """One image, pixel by pixel."""
    num_classes, height, width = log_probs.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]

    def kernel(a, b, place_width, colour_width):
        value = (
            sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) * kernels.shrink**2 / (2 * place_width**2)
        )
        if colour_width:
            value += sum((float(p) - float(q)) ** 2 for p, q in zip(image[a], image[b], strict=True)) / (
                2 * colour_width**2
            )
        return math.exp(-value)

    matrices = []
    for weight, place_width, colour_width in (
        (kernels.gaussian_weight, kernels.gaussian_width, None),
        (kernels.bilateral_weight, kernels.bilateral_width, kernels.bilateral_colour),
    ):
        matrix = np.array([[kernel(a, b, place_width, colour_width) for b in pixels] for a in pixels])
        scale = 1 / np.sqrt(matrix.sum(1))
        matrices.append(weight * scale[:, None] * matrix * scale[None])
    unary = np.array([[log_probs[c][pixel] for c in range(num_classes)] for pixel in pixels], np.float64)

    def softmax(values):
        powers = np.exp(values - values.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    marginals = softmax(unary)
    for _ in range(kernels.iterations):
        marginals = softmax(unary + sum(matrix @ marginals for matrix in matrices))
    return marginals.T.reshape(num_classes, height, width)


@pytest.mark.parametrize("shrink", [1.0, 3.0])
def test_mean_field_equals_the_loops(scene, shrink):
    log_probs, image = scene
    kernels = Kernels(
        gaussian_width=1.5, bilateral_width=4.0, bilateral_colour=30.0, iterations=3, shrink=shrink
    )
    got = dense_crf(log_probs, image, kernels)
    for n in range(2):
        np.testing.assert_allclose(
            got[n], slow_mean_field(log_probs[n].numpy(), image[n].numpy(), kernels), atol=1e-5
        )


def test_rows_at_a_time_give_the_same(scene, monkeypatch):
    whole = dense_crf(*scene, SMALL)
    monkeypatch.setattr(crf, "_KEPT_BYTES", 4 * 30 * 7)  # 7 of the 30 rows
    torch.testing.assert_close(dense_crf(*scene, SMALL), whole)


def test_only_present_classes_are_inferred(scene):
    """As if the others had never been there."""
    log_probs, image = scene
    present = torch.tensor([[True, False, True, False], [True, True, True, True]])
    got = dense_crf(log_probs, image, SMALL, present=present)
    alone = dense_crf(log_probs[:1, [0, 2]], image[:1], SMALL)
    torch.testing.assert_close(got[0, [0, 2]], alone[0])
    assert not got[0, [1, 3]].any()
    torch.testing.assert_close(got[1:], dense_crf(log_probs[1:], image[1:], SMALL))


def test_marginals_sum_to_one_and_are_finite_where_a_class_is_impossible(scene):
    log_probs, image = scene
    log_probs = log_probs.clone()
    log_probs[0, 1] = -math.inf
    got = dense_crf(log_probs, image, SMALL)
    assert got.isfinite().all()
    torch.testing.assert_close(got.sum(1), torch.ones(2, 6, 5))
    assert got[0, 1].max() < 1e-6


def test_one_colour_smooths_and_no_iteration_changes_nothing(scene):
    log_probs, image = scene
    torch.testing.assert_close(dense_crf(log_probs, image, Kernels(iterations=0)), log_probs.softmax(1))
    plain = dense_crf(log_probs, torch.zeros_like(image), Kernels())
    assert plain.flatten(2).std(2).max() < log_probs.exp().flatten(2).std(2).max()


def test_one_pixel_is_its_own_neighbour():
    log_probs = torch.tensor([0.7, 0.3]).log().view(1, 2, 1, 1)
    image = torch.zeros(1, 1, 1, 3, dtype=torch.uint8)
    q = torch.tensor([0.7, 0.3])
    for _ in range(2):
        q = (torch.tensor([0.7, 0.3]).log() + 13 * q).softmax(0)
    torch.testing.assert_close(dense_crf(log_probs, image, Kernels(iterations=2)).flatten(), q)


def real_scenes(count):
    """Real images at 41 x 41, and noisy scores of their blurred masks."""
    if "GAIN_VOC_ROOT" not in os.environ:
        pytest.skip("GAIN_VOC_ROOT names no VOC")
    masks = next(Path(os.environ["GAIN_VOC_ROOT"]).rglob("SegmentationClassAug"))
    rng = np.random.default_rng(0)
    scores, pictures = [], []
    for path in sorted(masks.glob("*.png"))[:: 3576 // count][:count]:
        mask = np.array(Image.open(path).resize((41, 41), Image.NEAREST))
        shown = torch.nn.functional.one_hot(torch.from_numpy(np.where(mask == 255, 0, mask)).long(), 21)
        blurred = torch.nn.functional.avg_pool2d(shown.permute(2, 0, 1).float()[None], 9, 1, 4)[0]
        scores.append(4 * blurred + torch.from_numpy(rng.normal(0, 0.5, (21, 41, 41))).float())
        picture = Image.open(masks.parent / "JPEGImages" / f"{path.stem}.jpg").convert("RGB")
        pictures.append(torch.from_numpy(np.array(picture.resize((41, 41), Image.BILINEAR))))
    return torch.stack(scores).log_softmax(1), torch.stack(pictures)


def test_exact_and_lattice_agree_on_real_images():
    """As in SEC's training: 41 x 41, widths divided by 12."""
    pytest.importorskip("pydensecrf")
    log_probs, image = real_scenes(20)
    kernels = Kernels(shrink=12)
    exact = dense_crf(log_probs, image, kernels)
    lattice = dense_crf(log_probs, image, kernels, backend="pydensecrf2")
    assert (exact - lattice).abs().mean() < 0.002
    assert (exact.argmax(1) == lattice.argmax(1)).float().mean() > 0.99


def test_worker_processes_give_the_same(scene):
    pytest.importorskip("pydensecrf")
    alone = dense_crf(*scene, SMALL, backend="pydensecrf2")
    assert torch.equal(dense_crf(*scene, SMALL, backend="pydensecrf2", num_workers=2), alone)


def test_the_fallback_says_so_once(scene, monkeypatch):
    monkeypatch.setattr(crf, "find_spec", lambda name: None)
    monkeypatch.setattr(crf, "_told", set())
    with pytest.warns(UserWarning, match=r"pip install 'gain_lightning\[crf\]'"):
        first = dense_crf(*scene, SMALL, backend="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(dense_crf(*scene, SMALL, backend="auto"), first)


def test_what_does_not_fit_is_named(scene):
    log_probs, image = scene
    with pytest.raises(ValueError, match="backend is 'cpu', expected one of auto, torch, pydensecrf2"):
        dense_crf(log_probs, image, backend="cpu")
    with pytest.raises(TypeError, match=r"image is torch.float32, expected torch.uint8"):
        dense_crf(log_probs, image.float())
    with pytest.raises(ValueError, match=r"image is \(2, 5, 6, 3\), expected"):
        dense_crf(log_probs, image.transpose(1, 2))
    with pytest.raises(ValueError, match=r"present is \(2, 3\), expected \(2, 4\)"):
        dense_crf(log_probs, image, present=torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="image 1 has no class to infer"):
        dense_crf(log_probs, image, present=torch.tensor([[True] * 4, [False] * 4]))
    with pytest.raises(ValueError, match="holds nan"):
        dense_crf(log_probs * math.nan, image)
    with pytest.raises(ValueError, match="shrink is 0"):
        Kernels(shrink=0)
