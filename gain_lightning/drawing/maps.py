"""Draw attention maps over their pictures, and masks in colour."""

import matplotlib
import numpy as np

from gain_lightning.drawing.palette import voc_palette

# It is perceptually uniform, and dark where the network does not look.
COLOURMAP = "inferno"


def overlay(image: np.ndarray, attention: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Blend an attention map in colour with its image.

    Args:
        image: Picture, ``(H, W, 3)`` uint8.
        attention: Map in [0, 1], ``(H, W)``.
        alpha: Share of the map's colour.

    Returns:
        Picture, ``(H, W, 3)`` uint8.

    Raises:
        ValueError: If the map has another size than the image.
    """
    if image.shape != (*attention.shape, 3):
        raise ValueError(
            f"image has shape {image.shape} and map {attention.shape}, expected (H, W, 3) and (H, W)"
        )
    colour = 255 * matplotlib.colormaps[COLOURMAP](np.clip(attention.astype(np.float32), 0, 1))[..., :3]
    return np.rint((1 - alpha) * image + alpha * colour).astype(np.uint8)


def grey(image: np.ndarray) -> np.ndarray:
    """Return the picture without colour, ``(H, W, 3)`` uint8, so that an overlay's colours show the map alone."""
    return np.repeat(np.rint(image @ (0.299, 0.587, 0.114))[..., None], 3, 2).astype(np.uint8)


def colour_mask(mask: np.ndarray) -> np.ndarray:
    """Paint class indices in the palette of PASCAL VOC, void in pale yellow.

    Args:
        mask: Class indices, ``(H, W)`` integers: 0 background, 1..C classes, 255 void.

    Returns:
        Picture, ``(H, W, 3)`` uint8.

    Example:
        >>> colour_mask(np.array([[0, 1, 255]], np.uint8)).tolist()
        [[[0, 0, 0], [128, 0, 0], [224, 224, 192]]]
    """
    picture: np.ndarray = voc_palette()[mask]
    return picture


def colour_bar(width: int = 256, height: int = 12) -> np.ndarray:
    """Draw the colours of 0 (left) to 1 (right), ``(height, width, 3)`` uint8."""
    black = np.zeros((height, width, 3), np.uint8)
    return overlay(black, np.broadcast_to(np.linspace(0, 1, width), (height, width)), alpha=1.0)
