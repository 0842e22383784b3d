"""Dense CRF: mean field of a fully connected CRF (Krähenbühl & Koltun, NIPS 2011) over pixels and their colours."""

import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context

import torch
from torch import Tensor

from gain_lightning.segmentation.crf_kernels import Kernels
from gain_lightning.segmentation.crf_lattice import lattice_crf

BACKENDS = ("auto", "torch", "pydensecrf2")
_KEPT_BYTES = (
    2**28
)  # of an image's kernel matrix; a larger one is computed anew, some rows at a time, in each iteration
_LOWEST = -100.0  # of log probabilities: far below what any neighbour can outweigh
_told: set[str] = set()


def dense_crf(
    log_probs: Tensor,
    image: Tensor,
    kernels: Kernels = Kernels(),  # noqa: B008, frozen
    *,
    present: Tensor | None = None,
    backend: str = "torch",
    num_workers: int = 0,
) -> Tensor:
    """Marginal probabilities of every pixel's class, by mean field.

    ``q = softmax(log p + sum over kernels of weight D^-1/2 K D^-1/2 q)``, from ``q = p`` on; D holds the sums of K's
    rows.

    Args:
        log_probs: Of the classes, background included, shape ``(N, C, H, W)``.
        image: Pictures of that size, shape ``(N, H, W, 3)`` uint8.
        kernels: Widths, weights and the number of iterations.
        present: Classes to infer, shape ``(N, C)`` bool; the others get probability 0. None infers all.
        backend: ``torch`` computes every pair of pixels, on any device: exact, and made for maps of some 41 x 41.
            ``pydensecrf2`` (extra ``crf``) approximates by a lattice on the CPU, for whole pictures. ``auto`` takes it
            where it is installed.
        num_workers: Processes that ``pydensecrf2`` shares the images out to; 0 stays in this one.

    Returns:
        Probabilities, shape ``(N, C, H, W)`` float32, that sum to 1 over classes.

    Raises:
        ValueError: If shapes do not fit, or an image has no class.
        TypeError: If ``image`` is not uint8.
        ImportError: If ``backend`` is not installed.

    Example:
        >>> log_probs = torch.tensor([[0.6, 0.4], [0.4, 0.6]]).log().view(1, 2, 1, 2)
        >>> image = torch.zeros(1, 1, 2, 3, dtype=torch.uint8)  # two pixels of one colour
        >>> dense_crf(log_probs, image)[0, 0, 0]  # each pulls the other to its side
        tensor([0.6042, 0.3958])
    """
    _check(log_probs, image, present, backend)
    log_probs = log_probs.detach().float().clamp_min(_LOWEST)
    marginals = torch.zeros_like(log_probs)
    chosen = [slice(None) if present is None else present[n] for n in range(len(log_probs))]
    parts = [log_probs[n, chosen[n]] for n in range(len(log_probs))]
    if _resolve(backend) == "torch":
        for n, part in enumerate(parts):
            marginals[n, chosen[n]] = _mean_field(part, image[n], kernels)
        return marginals
    solve = partial(lattice_crf, kernels=kernels)
    arrays = [part.cpu().numpy() for part in parts], [picture.cpu().numpy() for picture in image]
    if num_workers and len(parts) > 1:
        with ProcessPoolExecutor(num_workers, get_context("spawn")) as pool:
            solved = list(pool.map(solve, *arrays))
    else:
        solved = list(map(solve, *arrays))
    for n, values in enumerate(solved):
        marginals[n, chosen[n]] = torch.from_numpy(values).to(marginals.device)
    return marginals


def _check(log_probs: Tensor, image: Tensor, present: Tensor | None, backend: str) -> None:
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}")
    if image.dtype != torch.uint8:
        raise TypeError(f"image is {image.dtype}, expected torch.uint8")
    if log_probs.ndim != 4 or image.shape != (len(log_probs), *log_probs.shape[2:], 3):
        raise ValueError(
            f"image is {tuple(image.shape)}, expected (N, H, W, 3) of log_probs {tuple(log_probs.shape)}"
        )
    if present is not None and present.shape != log_probs.shape[:2]:
        raise ValueError(f"present is {tuple(present.shape)}, expected {tuple(log_probs.shape[:2])}")
    if present is not None and not present.any(1).all():
        raise ValueError(f"image {int((~present.any(1)).nonzero()[0])} has no class to infer")
    if torch.isnan(log_probs).any():
        raise ValueError("log_probs holds nan, expected logarithms of probabilities")


def _resolve(backend: str) -> str:
    """The backend to use; says once that it is the slow one."""
    if backend != "auto":
        return backend
    if find_spec("pydensecrf") is not None:
        return "pydensecrf2"
    if backend not in _told:
        _told.add(backend)
        warnings.warn(
            "the dense CRF runs in torch, which is slow on whole pictures: pip install 'gain_lightning[crf]'",
            stacklevel=3,
        )
    return "torch"


def _mean_field(log_probs: Tensor, image: Tensor, kernels: Kernels) -> Tensor:
    """Exact mean field of one image: ``(C, H, W)`` and ``(H, W, 3)`` to ``(C, H, W)``."""
    num_classes, height, width = log_probs.shape
    unary = log_probs.flatten(1).T  # (pixels, C)
    rows, columns = torch.meshgrid(
        torch.arange(height, device=unary.device), torch.arange(width, device=unary.device), indexing="ij"
    )
    place = torch.stack([rows, columns], 2).flatten(0, 1).float()  # (pixels, 2)
    colour = image.to(unary.device).flatten(0, 1).float()  # (pixels, 3)
    kernel = _Kernel(place, colour, kernels)
    probability = unary.softmax(1)
    for _ in range(kernels.iterations):
        probability = (unary + kernel.of(probability)).softmax(1)
    return probability.T.reshape(num_classes, height, width)


class _Kernel:
    """The weighted sum of both normalised kernels, as one matrix if it is small enough, else row by row.

    Args:
        place: Rows and columns, shape ``(pixels, 2)``.
        colour: Shape ``(pixels, 3)``.
        kernels: Widths and weights.
    """

    def __init__(self, place: Tensor, colour: Tensor, kernels: Kernels) -> None:
        self.place, self.colour = place, colour
        self.weights = kernels.gaussian_weight, kernels.bilateral_weight
        widths = kernels.gaussian_width, kernels.bilateral_width
        self.place_factors = [-0.5 * (kernels.shrink / width) ** 2 for width in widths]
        self.colour_factor = -0.5 / kernels.bilateral_colour**2
        self.step = max(_KEPT_BYTES // (4 * len(place)), 1)  # rows at a time
        self.starts = range(0, len(place), self.step)
        sums = [torch.stack([rows.sum(1) for rows in self._rows(start)]) for start in self.starts]
        self.scales = torch.cat(sums, 1).rsqrt()  # (2, pixels)
        self.kept = self._matrix(0) if len(self.starts) == 1 else None

    def of(self, values: Tensor) -> Tensor:
        """The matrix times ``(pixels, C)``."""
        if self.kept is not None:
            return self.kept @ values
        return torch.cat([self._matrix(start) @ values for start in self.starts])

    def _rows(self, start: int) -> tuple[Tensor, Tensor]:
        """Both kernels before normalisation, of some pixels with all."""
        near, factors = _square_distances(self.place, start, self.step), self.place_factors
        gaussian = (near * factors[0]).exp_()
        bilateral = near.mul_(factors[1]).add_(
            _square_distances(self.colour, start, self.step), alpha=self.colour_factor
        )
        return gaussian, bilateral.exp_()

    def _matrix(self, start: int) -> Tensor:
        stop, total = start + self.step, 0.0
        for weight, rows, scale in zip(self.weights, self._rows(start), self.scales, strict=True):
            total = rows.mul_(weight * scale[start:stop, None]).mul_(scale).add_(total)
        return total


def _square_distances(values: Tensor, start: int, count: int) -> Tensor:
    """Of some rows to all; exact, since whole numbers of this size have no rounding in float32."""
    some = values[start : start + count]
    lengths = values.square().sum(1)
    return torch.addmm(lengths + lengths[start : start + count, None], some, values.T, alpha=-2)
