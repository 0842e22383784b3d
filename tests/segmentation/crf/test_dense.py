"""The dense CRF against slow loops from the paper, and against pydensecrf2."""

import math
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from gain_lightning.datasets.readers.voc import find_root
from gain_lightning.segmentation.crf import dense
from gain_lightning.segmentation.crf.dense import Kernels, dense_crf

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


@pytest.mark.parametrize("rows", [1, 7, 30])
def test_rows_at_a_time_give_the_same(scene, monkeypatch, rows):
    whole = dense_crf(*scene, SMALL)
    held = []

    class Watched(dense._Bilateral):
        def _rows(self, start):
            rows = super()._rows(start)
            held.append(rows.shape)
            return rows

    monkeypatch.setattr(dense, "_Bilateral", Watched)
    monkeypatch.setattr(dense, "_KERNEL_BYTES", 4 * 30 * rows + 1)
    torch.testing.assert_close(dense_crf(*scene, SMALL), whole)
    assert max(held) == (rows, 30)
    passes = 1 if rows == 30 else 1 + SMALL.iterations  # a matrix that fits is computed once
    assert sum(shape[0] for shape in held) == 2 * 30 * passes


def test_a_row_that_exceeds_the_limit_goes_alone(scene, monkeypatch):
    whole = dense_crf(*scene, SMALL)
    monkeypatch.setattr(dense, "_KERNEL_BYTES", 1)
    torch.testing.assert_close(dense_crf(*scene, SMALL), whole)


def test_a_batch_equals_its_images_one_by_one(scene):
    log_probs, image = scene
    present = torch.tensor([[True, False, True, True], [True, True, False, False]])
    together = dense_crf(log_probs, image, SMALL, present=present)
    for n in range(2):
        alone = dense_crf(log_probs[n : n + 1], image[n : n + 1], SMALL, present=present[n : n + 1])
        assert torch.equal(together[n : n + 1], alone)


def test_no_image_gives_none():
    image = torch.zeros(0, 6, 5, 3, dtype=torch.uint8)
    assert dense_crf(torch.zeros(0, 4, 6, 5), image).shape == (0, 4, 6, 5)


def test_autocast_and_other_dtypes_change_nothing(scene):
    log_probs, image = scene
    plain = dense_crf(log_probs, image, SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(dense_crf(log_probs, image, SMALL), plain)
    got = dense_crf(log_probs.double().requires_grad_(), image, SMALL)
    assert torch.equal(got, plain)
    assert not got.requires_grad


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


@pytest.mark.parametrize("lower", [300.0, 3e5])
def test_present_classes_that_are_all_unlikely_keep_their_order(scene, lower):
    """A score that was not normalised over them, or a network that is sure of another class."""
    log_probs, image = scene
    log_probs = (4 * log_probs).round()
    present = torch.tensor([[True, True, False, False]] * 2)
    expected = dense_crf(log_probs, image, SMALL, present=present)
    log_probs = log_probs.double()
    log_probs[:, :2] -= lower
    torch.testing.assert_close(dense_crf(log_probs, image, SMALL, present=present), expected)


def test_a_pixel_without_a_possible_class_follows_its_neighbours():
    log_probs = torch.tensor([0.9, 0.1]).log().view(1, 2, 1, 1).repeat(1, 1, 5, 5)
    log_probs[0, :, 2, 2] = -math.inf
    got = dense_crf(log_probs, torch.zeros(1, 5, 5, 3, dtype=torch.uint8))
    assert got[0, 0, 2, 2] > 0.99


def test_an_image_of_one_colour_equals_the_loops(scene):
    log_probs, image = scene[0][:1], torch.full_like(scene[1][:1], 200)
    expected = slow_mean_field(log_probs[0].numpy(), image[0].numpy(), SMALL)
    np.testing.assert_allclose(dense_crf(log_probs, image, SMALL)[0], expected, atol=1e-5)


def test_inputs_stay_as_they_are(scene):
    for backend in ("torch", "auto"):
        log_probs, image = (tensor.clone() for tensor in scene)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dense_crf(log_probs, image, SMALL, backend=backend)
        assert torch.equal(log_probs, scene[0])
        assert torch.equal(image, scene[1])


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


@pytest.mark.parametrize("height_and_width", [(1, 1), (1, 7), (5, 1)])
def test_a_lattice_has_the_pixel_itself_as_a_neighbour_too(generator, height_and_width):
    """Exactly so of one pixel; a line of alike pixels comes close."""
    pytest.importorskip("pydensecrf")
    log_probs = torch.randn(1, 3, *height_and_width, generator=generator).log_softmax(1)
    image = torch.zeros(1, *height_and_width, 3, dtype=torch.uint8)
    kernels = Kernels(gaussian_weight=0.3, bilateral_weight=1.0, iterations=2)
    lattice = dense_crf(log_probs, image, kernels, backend="pydensecrf2")
    atol = 1e-5 if height_and_width == (1, 1) else 0.01
    torch.testing.assert_close(dense_crf(log_probs, image, kernels), lattice, atol=atol, rtol=0)


@pytest.fixture
def drawn_picture(generator):
    """Two areas of unlike colour, noise on both, and scores that are blurred and shifted."""
    area = torch.zeros(1, 41, 41, dtype=torch.long)
    area[:, 10:30, 12:33] = 1
    colours = torch.tensor([[60.0, 90, 120], [180, 140, 70]])
    image = colours[area] + 8 * torch.randn(1, 41, 41, 3, generator=generator)
    shown = torch.nn.functional.one_hot(area.roll((2, 2), (1, 2)), 5).permute(0, 3, 1, 2).float()
    scores = 4 * torch.nn.functional.avg_pool2d(shown, 9, 1, 4)
    scores += 0.5 * torch.randn(1, 5, 41, 41, generator=generator)
    return scores.log_softmax(1), image.round().clamp(0, 255).to(torch.uint8)


def test_exact_and_lattice_agree_on_a_drawn_picture(drawn_picture):
    pytest.importorskip("pydensecrf")
    exact = dense_crf(*drawn_picture, Kernels(shrink=12))
    lattice = dense_crf(*drawn_picture, Kernels(shrink=12), backend="pydensecrf2")
    assert (exact - lattice).abs().mean() < 0.002
    assert (exact.argmax(1) == lattice.argmax(1)).float().mean() > 0.99


@pytest.mark.parametrize(
    "weights",
    [{"gaussian_weight": 3.0, "bilateral_weight": 0.0}, {"gaussian_weight": 0.0, "bilateral_weight": 3.0}],
    ids=["gaussian", "bilateral"],
)
def test_a_lattice_errs_but_not_to_one_side(drawn_picture, weights):
    """So no factor is missing in either kernel: of one message, the best factor between the two is 1."""
    pytest.importorskip("pydensecrf")
    log_probs = drawn_picture[0][:, :2].log_softmax(1)
    messages = []
    for backend in ("torch", "pydensecrf2"):
        kernels = Kernels(shrink=12, iterations=1, **weights)
        odds = dense_crf(log_probs, drawn_picture[1], kernels, backend=backend).double().log().diff(dim=1)
        messages.append((odds - log_probs.diff(dim=1)).flatten())
    exact, lattice = messages
    assert float(exact @ lattice / (exact @ exact)) == pytest.approx(1, abs=0.02)
    assert torch.corrcoef(torch.stack(messages))[0, 1] > 0.98


def real_scenes(root, count):
    """Real images at 41 x 41, and noisy scores of their blurred masks."""
    root = find_root(str(root))
    rng = np.random.default_rng(0)
    paths = sorted((root / "SegmentationClass").glob("*.png"))
    scores, pictures = [], []
    for path in paths[:: max(len(paths) // count, 1)][:count]:
        mask = np.array(Image.open(path).resize((41, 41), Image.NEAREST))
        shown = torch.nn.functional.one_hot(torch.from_numpy(np.where(mask == 255, 0, mask)).long(), 21)
        blurred = torch.nn.functional.avg_pool2d(shown.permute(2, 0, 1).float()[None], 9, 1, 4)[0]
        scores.append(4 * blurred + torch.from_numpy(rng.normal(0, 0.5, (21, 41, 41))).float())
        picture = Image.open(root / "JPEGImages" / f"{path.stem}.jpg").convert("RGB")
        pictures.append(torch.from_numpy(np.array(picture.resize((41, 41), Image.BILINEAR))))
    return torch.stack(scores).log_softmax(1), torch.stack(pictures)


def test_exact_and_lattice_agree_on_real_images(voc_root):
    """As in SEC's training: 41 x 41, widths divided by 12. Of scores that hardly favour any class they agree less."""
    pytest.importorskip("pydensecrf")
    log_probs, image = real_scenes(voc_root, 20)
    kernels = Kernels(shrink=12)
    exact = dense_crf(log_probs, image, kernels)
    lattice = dense_crf(log_probs, image, kernels, backend="pydensecrf2")
    assert (exact - lattice).abs().mean() < 0.002
    assert (exact.argmax(1) == lattice.argmax(1)).float().mean() > 0.99


def test_lattice_infers_only_present_classes(scene):
    pytest.importorskip("pydensecrf")
    log_probs, image = scene
    present = torch.tensor([[True, False, True, False], [False, True, False, False]])
    got = dense_crf(log_probs, image, SMALL, present=present, backend="pydensecrf2")
    alone = dense_crf(log_probs[:1, [0, 2]], image[:1], SMALL, backend="pydensecrf2")
    assert torch.equal(got[0, [0, 2]], alone[0])
    assert not got[~present].any()
    torch.testing.assert_close(got.sum(1), torch.ones(2, 6, 5))


def test_worker_processes_give_the_same(scene):
    pytest.importorskip("pydensecrf")
    alone = dense_crf(*scene, SMALL, backend="pydensecrf2")
    assert torch.equal(dense_crf(*scene, SMALL, backend="pydensecrf2", num_workers=2), alone)


def test_the_fallback_says_so_once(scene, monkeypatch):
    monkeypatch.setattr(dense, "find_spec", lambda name: None)
    monkeypatch.setattr(dense, "_warned", set())
    with pytest.warns(UserWarning, match=r"pip install 'gain_lightning\[crf\]'"):
        first = dense_crf(*scene, SMALL, backend="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(dense_crf(*scene, SMALL, backend="auto"), first)


def test_a_backend_that_is_not_installed_says_what_to_install(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(ImportError, match=r"'pydensecrf2' needs: pip install 'gain_lightning\[crf\]'"):
        dense_crf(*scene, SMALL, backend="pydensecrf2")


def test_what_does_not_fit_is_named(scene):
    log_probs, image = scene
    with pytest.raises(ValueError, match="backend is 'cpu', expected one of auto, torch, pydensecrf2"):
        dense_crf(log_probs, image, backend="cpu")
    with pytest.raises(TypeError, match=r"image is torch.float32, expected torch.uint8"):
        dense_crf(log_probs, image.float())
    with pytest.raises(ValueError, match=r"image is \(2, 5, 6, 3\), expected"):
        dense_crf(log_probs, image.transpose(1, 2))
    with pytest.raises(ValueError, match=r"image is \(2, 3, 6, 5\), expected"):
        dense_crf(log_probs, image.permute(0, 3, 1, 2))
    with pytest.raises(ValueError, match=r"image is \(1, 6, 5, 3\), expected"):
        dense_crf(log_probs, image[:1])
    with pytest.raises(ValueError, match=r"of log_probs \(4, 6, 5\)"):
        dense_crf(log_probs[0], image)
    with pytest.raises(ValueError, match=r"present is \(2, 3\), expected \(2, 4\)"):
        dense_crf(log_probs, image, present=torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="image 1 has no class to infer"):
        dense_crf(log_probs, image, present=torch.tensor([[True] * 4, [False] * 4]))
    with pytest.raises(TypeError, match=r"present is torch\.int64, expected torch\.bool"):
        dense_crf(log_probs, image, present=torch.ones(2, 4, dtype=torch.long))
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="holds nan or infinity"):
            dense_crf(log_probs.masked_fill(log_probs == log_probs.max(), value), image)
    with pytest.raises(ValueError, match="num_workers is -1, expected at least 0"):
        dense_crf(log_probs, image, num_workers=-1)
    with pytest.raises(ValueError, match="shrink is 0"):
        Kernels(shrink=0)
