"""Dense CRF: mean field of a fully connected CRF (Krähenbühl & Koltun, NIPS 2011) over pixels and their colours."""

import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context

import torch
from torch import Tensor

from gain_lightning.segmentation.crf.kernels import Kernels
from gain_lightning.segmentation.crf.lattice import lattice_crf

BACKENDS = ("auto", "torch", "pydensecrf2")
# The part of an image's bilateral kernel that is held in memory; a larger kernel is computed anew in every iteration.
_KERNEL_BYTES = 2**28
# The least logarithm of a kernel: smaller values are next to nothing, and denormal numbers are slow.
_LOWEST_KERNEL = -60.0
# The least log probability, relative to the likeliest class: more than neighbours outweigh.
_LOWEST = -100.0
# Backends that the user has been warned about.
_warned: set[str] = set()


def dense_crf(
    log_probs: Tensor,
    image: Tensor,
    kernels: Kernels = Kernels(),  # noqa: B008, frozen
    *,
    present: Tensor | None = None,
    backend: str = "torch",
    num_workers: int = 0,
) -> Tensor:
    """Marginal probabilities of every pixel's class, by mean field (Krähenbühl & Koltun, NIPS 2011).

    ``q = softmax(log p + sum over kernels of weight D^-1/2 K D^-1/2 q)``, from ``q = p`` on; D holds the sums of K's
    rows, and a pixel is its own neighbour too: all as in pydensecrf. Labels cost alike (Potts). With the defaults, as
    SEC has it (Kolesnikov & Lampert, ECCV 2016) at test time; in its training with ``Kernels(shrink=12)``.

    Args:
        log_probs: Log-probabilities of the classes, background included, shape ``(N, C, H, W)``. A class of minus
            infinity cannot be; no gradient passes.
        image: Pictures of that size, shape ``(N, H, W, 3)`` uint8.
        kernels: Widths, weights and the number of iterations.
        present: Classes to infer, shape ``(N, C)`` bool; the others get probability 0. None infers all.
        backend: ``torch`` computes every pair of pixels, on any device, in float32 also under autocast: exact, and
            made for maps of some 41 x 41; its time grows with the square of the pixels, its memory does not.
            ``pydensecrf2`` (extra ``crf``) approximates by a lattice on the CPU, for whole pictures. ``auto`` takes it
            where it is installed.
        num_workers: Processes that ``pydensecrf2`` shares the images out to; 0 stays in this one. They are spawned for
            each call, so a script that asks for them needs ``if __name__ == "__main__"``.

    Returns:
        Probabilities, shape ``(N, C, H, W)`` float32, that sum to 1 over classes; on the device of ``log_probs``.

    Raises:
        ValueError: If shapes do not fit, ``log_probs`` holds nan or infinity, an image has no class, ``backend`` is
            unknown or ``num_workers`` negative.
        TypeError: If ``image`` is not uint8 or ``present`` not bool.
        ImportError: If ``backend`` is not installed.

    Example:
        >>> log_probs = torch.tensor([[0.6, 0.4], [0.4, 0.6]]).log().view(1, 2, 1, 2)
        >>> image = torch.zeros(1, 1, 2, 3, dtype=torch.uint8)  # two pixels of one colour
        >>> dense_crf(log_probs, image)[0, 0, 0]  # each pulls the other to its side
        tensor([0.6042, 0.3958])
    """
    _check(log_probs, image, present, backend, num_workers)
    log_probs = log_probs.detach().float()
    marginals = torch.zeros_like(log_probs)
    chosen = [slice(None) if present is None else present[n] for n in range(len(log_probs))]
    parts = [bounded(log_probs[n, chosen[n]]) for n in range(len(log_probs))]
    if resolve_backend(backend) == "torch":
        with torch.autocast(log_probs.device.type, enabled=False):
            for n, part in enumerate(parts):
                marginals[n, chosen[n]] = _mean_field(part, image[n], kernels)
        return marginals
    for n, part in enumerate(_lattice_marginals(parts, image, kernels, num_workers)):
        marginals[n, chosen[n]] = part.to(marginals.device)
    return marginals


def _lattice_marginals(
    parts: list[Tensor], image: Tensor, kernels: Kernels, num_workers: int
) -> list[Tensor]:
    """The marginals of every image by the lattice, on the CPU, shared out to processes if there are several."""
    solve = partial(lattice_crf, kernels=kernels)
    arrays = [part.cpu().numpy() for part in parts], [picture.cpu().numpy() for picture in image]
    if num_workers and len(parts) > 1:
        with ProcessPoolExecutor(min(num_workers, len(parts)), get_context("spawn")) as pool:
            solved = list(pool.map(solve, *arrays))
    else:
        solved = list(map(solve, *arrays))
    return [torch.from_numpy(values) for values in solved]


def _check(log_probs: Tensor, image: Tensor, present: Tensor | None, backend: str, num_workers: int) -> None:
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}")
    if num_workers < 0:
        raise ValueError(f"num_workers is {num_workers}, expected at least 0")
    if image.dtype != torch.uint8:
        raise TypeError(f"image is {image.dtype}, expected torch.uint8")
    if log_probs.ndim != 4 or image.shape != (len(log_probs), *log_probs.shape[2:], 3):
        raise ValueError(
            f"image is {tuple(image.shape)}, expected (N, H, W, 3) of log_probs {tuple(log_probs.shape)}"
        )
    if present is not None and present.dtype != torch.bool:
        raise TypeError(f"present is {present.dtype}, expected torch.bool")
    if present is not None and present.shape != log_probs.shape[:2]:
        raise ValueError(f"present is {tuple(present.shape)}, expected {tuple(log_probs.shape[:2])}")
    if present is not None and not present.any(1).all():
        raise ValueError(f"image {int((~present.any(1)).nonzero()[0])} has no class to infer")
    if not (log_probs < float("inf")).all():
        raise ValueError("log_probs holds nan or infinity, expected logarithms of probabilities")


def bounded(log_probs: Tensor) -> Tensor:
    """Log probabilities relative to the likeliest class, which is all that counts, and finite."""
    log_probs = log_probs.clamp_min(-1e6)
    return (log_probs - log_probs.amax(0)).clamp_min(_LOWEST)


def resolve_backend(backend: str) -> str:
    """The backend to use; a warning says once that it is the slow one."""
    if backend != "auto":
        return backend
    if find_spec("pydensecrf") is not None:
        return "pydensecrf2"
    if backend not in _warned:
        _warned.add(backend)
        warnings.warn(
            "the dense CRF runs in torch, which on a CPU takes an hour for one picture of 500 x 375: pip install "
            "'gain_lightning[crf]' (uv pip install, where uv made the environment), or leave it out by "
            "--model.test_crf false or --no_crf",
            stacklevel=3,
        )
    return "torch"


def _mean_field(log_probs: Tensor, image: Tensor, kernels: Kernels) -> Tensor:
    """Infer one image by exact mean field: ``(C, H, W)`` and ``(H, W, 3)`` give ``(C, H, W)``."""
    gaussian = [
        _normalised(_exponents(side, kernels.gaussian_width / kernels.shrink, log_probs.device).exp())
        for side in image.shape[:2]
    ]
    bilateral = _Bilateral(image.to(log_probs.device), kernels)
    probability = log_probs.softmax(0)
    for _ in range(kernels.iterations):
        # exp(-dy^2 - dx^2) = exp(-dy^2) exp(-dx^2): the Gaussian kernel, its normalisation too, is a product.
        near = gaussian[0] @ probability @ gaussian[1]
        alike = bilateral.of(probability.flatten(1)).view_as(near)
        messages = kernels.gaussian_weight * near + kernels.bilateral_weight * alike
        probability = (log_probs + messages).softmax(0)
    return probability


def _exponents(side: int, width: float, device: torch.device) -> Tensor:
    """Logarithms of a Gaussian between the pixels of a line, ``(side, side)``."""
    place = torch.arange(side, device=device, dtype=torch.float32)
    return (place - place[:, None]).square_().mul_(-0.5 / width**2)


def _normalised(kernel: Tensor) -> Tensor:
    """``D^-1/2 K D^-1/2`` of a kernel K."""
    scale = kernel.sum(1).rsqrt()
    return scale[:, None] * kernel * scale


class _Bilateral:
    """The normalised bilateral kernel of an image, as one matrix if it is small enough, else row by row.

    Args:
        image: Shape ``(H, W, 3)`` uint8.
        kernels: Widths.
    """

    def __init__(self, image: Tensor, kernels: Kernels) -> None:
        self.height, self.width = image.shape[:2]
        self.pixels = self.height * self.width
        self.colour = image.flatten(0, 1).float()  # (pixels, 3)
        self.lengths = self.colour.square().sum(1)
        self.colour_factor = -0.5 / kernels.bilateral_colour**2
        width = kernels.bilateral_width / kernels.shrink
        self.lines = [_exponents(side, width, image.device) for side in (self.height, self.width)]
        # Rows of the kernel that are computed at a time.
        self.step = max(_KERNEL_BYTES // (4 * self.pixels), 1)
        self.kept = self._rows(0) if self.step >= self.pixels else None
        self.scale = self._product(self.colour.new_ones(1, self.pixels)).rsqrt()

    def of(self, values: Tensor) -> Tensor:
        """Multiply ``(C, pixels)`` by ``D^-1/2 K D^-1/2``."""
        return self.scale * self._product(self.scale * values)

    def _product(self, values: Tensor) -> Tensor:
        """Multiply ``(C, pixels)`` by K."""
        if self.kept is not None:
            return values @ self.kept
        return torch.cat([values @ self._rows(start).T for start in range(0, self.pixels, self.step)], 1)

    def _rows(self, start: int) -> Tensor:
        """The rows of K from pixel ``start`` on, ``self.step`` of them at most."""
        pixel = torch.arange(start, min(start + self.step, self.pixels), device=self.colour.device)
        rows = self.lengths + self.lengths[pixel, None]
        # Whole numbers below 2^24, so square distances without rounding.
        rows.addmm_(self.colour[pixel], self.colour.T, alpha=-2).mul_(self.colour_factor)
        grid = rows.view(-1, self.height, self.width)
        grid.add_(self.lines[0][pixel // self.width, :, None])
        grid.add_(self.lines[1][pixel % self.width, None, :])
        return rows.clamp_min_(_LOWEST_KERNEL).exp_()
