"""Objects and the grounds that they lie on: taken apart along a mask or a box, and put together anew.

A picture of a boat on water tells the two apart for nobody. A boat on a road, and water without a boat, do (Xiao et
al., Noise or Signal: The Role of Image Backgrounds in Object Recognition, ICLR 2021, whose "mixed-rand", "only-FG" and
"only-BG" pictures these are). All functions take and return arrays, and change none that they are given.
"""

import cv2
import numpy as np

from gain_lightning.constants import NEUTRAL
from gain_lightning.datasets.resize import Window, resize_image, slices_of

# An object that covers more of a picture leaves too little ground to fill its place with.
MOST_COVERED = 0.8
# Each pixel of the hole is made of known ones that lie at most so far away, pixels.
_RADIUS = 2
# Width of the seam in which an object passes over into its new ground, as a Gaussian's standard deviation, pixels.
_SEAM = 0.7


def leaves_ground(body: np.ndarray) -> bool:
    """Tell whether a picture shows an object and enough ground beside it, :data:`MOST_COVERED`.

    Args:
        body: The pixels of the object, ``(H, W)`` bool.

    Example:
        >>> leaves_ground(np.array([[True, False]])), leaves_ground(np.array([[True, True]]))
        (True, False)
    """
    return bool(0 < body.mean() <= MOST_COVERED)


def inpaint_object(picture: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Remove an object: its pixels are filled from its surroundings, by OpenCV's ``INPAINT_NS``.

    A rim of a 64th of the picture's longer side, at least 2 pixels, goes with it: a mask's edge seldom lies exactly on
    the object's, and what stays of an object would name it.

    Args:
        picture: The picture, ``(H, W, 3)`` uint8.
        body: The pixels of the object, or of its box, ``(H, W)`` bool.

    Returns:
        The ground without the object, ``(H, W, 3)`` uint8.

    Raises:
        ValueError: If the object and its rim leave no pixel to fill from.

    Source:
        Bertalmio et al., Navier-Stokes, Fluid Dynamics, and Image and Video Inpainting, CVPR 2001. OpenCV's other
        way, by Telea, is as good to look at, but makes a plain ground uneven.

    Example:
        >>> picture, body = np.full((64, 64, 3), 50, np.uint8), np.zeros((64, 64), bool)
        >>> body[20:40, 20:40] = True
        >>> picture[body] = 200
        >>> int(inpaint_object(picture, body).max())
        50
    """
    hole = grow(body, max(2, round(max(body.shape) / 64)))
    if hole.all():
        raise ValueError(f"the object covers the whole picture of {body.shape[1]} x {body.shape[0]} pixels")
    return cv2.inpaint(np.ascontiguousarray(picture), hole.astype(np.uint8), _RADIUS, cv2.INPAINT_NS)


def paste_object(picture: np.ndarray, body: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Put an object on another ground, at its own place and size.

    The edge is softened over about two pixels, so that no sharp outline gives the cut away.

    Args:
        picture: The picture that shows the object, ``(H, W, 3)`` uint8.
        body: The pixels of the object, or of its box, ``(H, W)`` bool.
        ground: A picture of the same size, ``(H, W, 3)`` uint8.

    Returns:
        The object on the ground, ``(H, W, 3)`` uint8.

    Raises:
        ValueError: If the sizes differ.

    Example:
        >>> picture, ground = np.full((9, 9, 3), 200, np.uint8), np.full((9, 9, 3), 50, np.uint8)
        >>> body = np.zeros((9, 9), bool)
        >>> body[:, 4:] = True
        >>> paste_object(picture, body, ground)[0, :, 0].tolist()
        [50, 50, 51, 82, 168, 199, 200, 200, 200]
    """
    if not picture.shape[:2] == body.shape == ground.shape[:2]:
        shapes = f"picture {picture.shape}, body {body.shape} and ground {ground.shape}"
        raise ValueError(f"{shapes} differ in size, expected the same height and width")
    share = cv2.GaussianBlur(body.astype(np.float32), (0, 0), _SEAM)[..., None]
    return np.rint(share * picture + (1 - share) * ground).astype(np.uint8)


def fit_ground(ground: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Bring a ground ``(H, W, 3)`` to the size (h, w) of the picture whose object it takes, if it has another."""
    return ground if ground.shape[:2] == size else resize_image(ground, (size[0], size[1]))


def with_border(picture: np.ndarray, window: Window, size: tuple[int, ...]) -> np.ndarray:
    """Put a picture into the window of an image of ``size`` = (H, W), with a border of the mean colour.

    Args:
        picture: ``(h, w, 3)`` uint8.
        window: Where it lies, ``(xmin, ymin, xmax, ymax)``; None returns it as it is.
        size: Height and width of the image, pixels.
    """
    if window is None:
        return picture
    image = np.full((*size, 3), NEUTRAL, np.uint8)
    image[slices_of(window)] = picture
    return image


def object_alone(picture: np.ndarray, body: np.ndarray, fill: tuple[int, int, int] = NEUTRAL) -> np.ndarray:
    """Show an object on one plain colour, as :func:`paste_object` does on a ground.

    Args:
        picture: The picture, ``(H, W, 3)`` uint8.
        body: The pixels of the object, or of its box, ``(H, W)`` bool.
        fill: The colour, RGB.

    Returns:
        The object alone, ``(H, W, 3)`` uint8.
    """
    return paste_object(picture, body, np.full_like(picture, fill))


def grow(body: np.ndarray, pixels: int) -> np.ndarray:
    """Widen a body by so many pixels on all sides, corners rounded, ``(H, W)`` bool.

    Example:
        >>> grow(np.array([[False, False, True, False, False, False]]), 1).tolist()
        [[False, True, True, True, False, False]]
    """
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(body.astype(np.uint8), disc).astype(bool)
