"""Ellipses and turned boxes of annotation tools become outlines and upright boxes."""

import numpy as np

# An ellipse of so many corners lacks 0.05 % of the area.
_CORNERS = 120
# Sums and products of such numbers are still numbers.
_LARGEST = 1e9


def ellipse(centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0) -> np.ndarray:
    """Return the outline of an ellipse, x, y, x, y, ...

    Args:
        centre: x and y.
        radii: Half of its width and of its height before it is turned.
        degrees: How far it is turned, clockwise.

    Raises:
        ValueError: If a number is none of a picture.

    Example:
        >>> outline = ellipse((10, 20), (4, 2), 90).reshape(-1, 2)
        >>> outline.min(0).round(6).tolist(), outline.max(0).round(6).tolist()
        ([8.0, 16.0], [12.0, 24.0])
    """
    _check(*centre, *radii, degrees)
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    points = np.stack([np.cos(angles), np.sin(angles)], 1) * radii
    return (_turned(points, degrees) + centre).ravel()


def box_around(
    corner: tuple[float, float], sides: tuple[float, float], degrees: float, about: tuple[float, float]
) -> list[float]:
    """Return the smallest upright box around a turned box, ``[xmin, ymin, xmax, ymax]``.

    Args:
        corner: x and y of its upper left corner before it is turned.
        sides: Its width and height.
        degrees: How far it is turned, clockwise.
        about: The point that it is turned about.

    Raises:
        ValueError: If a side is below 0, or a number is none of a picture.

    Example:
        >>> [round(side, 6) for side in box_around((10, 10), (4, 2), 90, about=(10, 10))]
        [8.0, 10.0, 10.0, 14.0]
    """
    _check(*corner, *sides, degrees)
    if min(sides) < 0:
        raise ValueError(f"a box of {sides[0]:g} x {sides[1]:g}, expected sides of at least 0")
    points = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * sides + corner
    points = _turned(points - about, degrees) + about
    return [*points.min(0).tolist(), *points.max(0).tolist()]


def _check(*numbers: float) -> None:
    for number in numbers:
        # a number that is none fails here too
        if not abs(number) <= _LARGEST:
            raise ValueError(f"{number:g}, expected a number of pixels or degrees")


def _turned(points: np.ndarray, degrees: float) -> np.ndarray:
    """Turn points, ``(n, 2)`` x and y, clockwise about the origin, where y points down."""
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])
