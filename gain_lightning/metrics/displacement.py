"""Displacement of maps from their evidence, measured by mirrored images and by masks.

A map is placed where its cells were computed, but a trained network may still gather the evidence of a pixel in
a cell beside it. Axis letters: P (image, class) pairs, H W image, R resamples.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gain_lightning.metrics.resampling import Interval, interval

# Shifts are looked for up to a quarter of a side.
_REACH = 4


class Shift(NamedTuple):
    """The move by which maps fit best, in pixels.

    Attributes:
        dx: Move to the right.
        dy: Move downwards.
        correlation: Mean Pearson correlation after the move.
    """

    dx: float
    dy: float
    correlation: float


def shifted_correlations(
    maps: Tensor, target: Tensor, known: Tensor | None = None, *, most: tuple[int, int]
) -> Tensor:
    """Compute Pearson's correlation of every map with its target for every shift of the map by whole pixels.

    Only pixels where the shifted map and the target overlap count. Fourier transforms compute all shifts at once.

    Args:
        maps: Shape ``(P, H, W)``.
        target: Pictures that the maps should fit, same shape.
        known: True for the pixels of the target that count, same shape, bool; None takes all.
        most: The largest shift downwards and to the right, Y and X, less than H and W.

    Returns:
        Shape ``(P, 2 Y + 1, 2 X + 1)``, float64; the first entry is the largest shift up and to the left. A value
        is 0 where the map or the target is the same at all pixels that count.

    Example:
        The target lies 1 pixel below the map and 2 pixels to its right.

        >>> maps, target = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
        >>> maps[0, 3, 2], target[0, 4, 4] = 1, 1
        >>> shifted_correlations(maps, target, most=(2, 2))[0].round().int().tolist()
        [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    """
    a, b = maps.double(), target.double()
    v = torch.ones_like(b) if known is None else known.double()
    size = tuple(side + shift for side, shift in zip(a.shape[1:], most, strict=True))
    moving = {power: torch.fft.rfft2(a**power, s=size).conj() for power in (0, 1, 2)}
    fixed = {power: torch.fft.rfft2(v * b**power, s=size) for power in (0, 1, 2)}

    def total(power_a: int, power_b: int) -> Tensor:
        """Sum ``a(x - s) ** power_a * b(x) ** power_b`` over known pixels x, for every shift s."""
        sums: Tensor = torch.fft.irfft2(moving[power_a] * fixed[power_b], s=size)
        for axis, shift in enumerate(most, start=1):
            sums = sums.roll(shift, axis).narrow(axis, 0, 2 * shift + 1)
        return sums

    count = total(0, 0).clamp_min(1)
    covariance = total(1, 1) - total(1, 0) * total(0, 1) / count
    spread_a = total(2, 0) - total(1, 0).square() / count
    spread_b = total(0, 2) - total(0, 1).square() / count
    is_flat = (spread_a < 1e-9) | (spread_b < 1e-9)
    return (covariance / (spread_a * spread_b).clamp_min(1e-18).sqrt()).masked_fill(is_flat, 0)


def best_shift(correlations: Tensor) -> Shift | None:
    """Find the shift at which the mean correlation is highest.

    A parabola through the highest value and its neighbours gives the fraction of a pixel.

    Args:
        correlations: The result of :func:`shifted_correlations`.

    Returns:
        The shift; None if no map correlates with its target anywhere.

    Example:
        The true maximum lies between the shifts 0 and 1.

        >>> best_shift(torch.tensor([[[0.0, 0.5, 1.0, 1.0, 0.5]]]))
        Shift(dx=0.5, dy=0.0, correlation=1.0)
    """
    curve = correlations.sum(0) / max(len(correlations), 1)
    if not curve.any():
        return None
    row, column = divmod(int(curve.argmax()), curve.shape[1])
    dy = row - curve.shape[0] // 2 + _vertex(curve[:, column], row)
    dx = column - curve.shape[1] // 2 + _vertex(curve[row], column)
    return Shift(dx, dy, float(curve[row, column]))


def _vertex(values: Tensor, place: int) -> float:
    """Return the distance from the maximum at ``place`` to that of a parabola through it and its neighbours.

    At an end of ``values`` the distance is 0.
    """
    if not 0 < place < len(values) - 1:
        return 0.0
    around: list[float] = values[place - 1 : place + 2].tolist()
    before, here, after = around
    return 0.5 * (before - after) / min(before - 2 * here + after, -1e-12)


def displacements(
    maps: Tensor, mirrored: Tensor, mask: Tensor, known: Tensor, weight: Tensor
) -> dict[str, dict[str, Any] | None]:
    """Measure the displacement of maps from those of the mirrored images, and from masks.

    A network that moves evidence to the right in every image moves it to the left in a mirrored image, seen from
    the image itself. So the mirror shows twice the displacement, whatever the network looks at, but it shows
    nothing up and down. The shift at which masks fit best covers both axes, but it also holds the parts of an
    object that the network prefers, such as heads.

    Args:
        maps: Placed maps, ``(P, H, W)``.
        mirrored: Maps of the mirrored images, mirrored back, same shape.
        mask: True where each pair's class is, same shape, bool; pairs without such a pixel are left out of
            ``mask_shift``.
        known: True where the mask is not void, same shape, bool.
        weight: Times that each pair counts, in R resamples, ``(R, P)``.

    Returns:
        Two entries, in pixels, each with a sentence, ``words``, or None where no pair can be judged.
        ``mirror_shift`` is the distance of the maps to the right of the mirrored ones: ``dx`` and its
        ``interval``. ``mask_shift`` is the move by which the maps fit the masks best: ``dx`` and ``dy``, each with
        an interval, the mean ``correlation`` after the move, and the mean correlation ``unmoved``.
    """
    height, width = maps.shape[1:]
    across = shifted_correlations(mirrored, maps, most=(0, width // _REACH))
    drawn = mask.flatten(1).any(1)
    both = shifted_correlations(
        maps[drawn], mask[drawn], known[drawn], most=(height // _REACH, width // _REACH)
    )
    mirror, fit = best_shift(across), best_shift(both)
    result: dict[str, dict[str, Any] | None] = {"mirror_shift": None, "mask_shift": None}
    if mirror:
        ends = _shift_intervals(across, weight, mirror)[0]
        words = (
            f"maps lie {_pixels(mirror.dx, 'right', 'left')} ({_ends(ends)}) of those of the mirrored images, mirrored "
            "back: the network moves its evidence by half of that"
        )
        result["mirror_shift"] = {"dx": round(mirror.dx, 3), "interval": ends, "words": words}
    if fit:
        right, down = _shift_intervals(both, weight[:, drawn], fit)
        words = (
            f"masks fit maps best that are moved by {_pixels(fit.dx, 'to the right', 'to the left')} ({_ends(right)}) "
            f"and {_pixels(fit.dy, 'down', 'up')} ({_ends(down)})"
        )
        result["mask_shift"] = {
            "dx": round(fit.dx, 3),
            "dx_interval": right,
            "dy": round(fit.dy, 3),
            "dy_interval": down,
            "correlation": round(fit.correlation, 4),
            "unmoved": round(float(both[:, both.shape[1] // 2, both.shape[2] // 2].mean()), 4),
            "words": words,
        }
    return result


def _pixels(shift: float, ahead: str, behind: str) -> str:
    """Say a shift in words.

    Example:
        >>> _pixels(-3.14, "right", "left"), _pixels(0.02, "right", "left")
        ('3.1 px left', '0.0 px right')
    """
    shift = round(shift, 1)
    return f"{abs(shift):.1f} px {behind if shift < 0 else ahead}"


def _ends(ends: Interval) -> str:
    """Say an interval in words.

    Example:
        >>> _ends([-1.26, 3.0]), _ends(None)
        ('95 %: -1.3 to 3.0', 'no interval')
    """
    return f"95 %: {ends[0]:.1f} to {ends[1]:.1f}" if ends else "no interval"


def _shift_intervals(correlations: Tensor, weight: Tensor, best: Shift) -> tuple[Interval, Interval]:
    """Return the 95 % intervals of the shift to the right and of the shift downwards.

    Each is looked for along the line through the best shift.
    """
    row, column = (
        min(max(round(shift) + side // 2, 0), side - 1)
        for shift, side in zip((best.dy, best.dx), correlations.shape[1:], strict=True)
    )
    weight = weight.to(correlations.dtype)
    found = [
        [shift for line in (weight @ lines).unbind() if (shift := best_shift(line.view(1, *shape)))]
        for lines, shape in ((correlations[:, row], (1, -1)), (correlations[:, :, column], (-1, 1)))
    ]
    return interval([shift.dx for shift in found[0]]), interval([shift.dy for shift in found[1]])
