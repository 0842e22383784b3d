"""The dense CRF on a permutohedral lattice, by pydensecrf2. No torch is imported, so worker processes start at once."""

import numpy as np

from gain_lightning.segmentation.crf.kernels import Kernels


def lattice_crf(log_probs: np.ndarray, image: np.ndarray, *, kernels: Kernels) -> np.ndarray:
    """Return the marginals of one image.

    Args:
        log_probs: Log-probabilities of the classes, shape ``(C, H, W)`` float32.
        image: The picture, shape ``(H, W, 3)`` uint8.
        kernels: The kernels, see :class:`gain_lightning.segmentation.crf.kernels.Kernels`.

    Returns:
        Marginals, shape ``(C, H, W)`` float32.

    Raises:
        ImportError: If pydensecrf2 is not installed.
    """
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError as error:
        raise ImportError("backend 'pydensecrf2' needs: pip install 'gain_lightning[crf]'") from error
    num_classes, height, width = log_probs.shape
    crf = DenseCRF2D(width, height, num_classes)
    crf.setUnaryEnergy(np.ascontiguousarray(-log_probs.reshape(num_classes, -1), np.float32))
    crf.addPairwiseGaussian(sxy=kernels.gaussian_width / kernels.shrink, compat=kernels.gaussian_weight)
    crf.addPairwiseBilateral(
        sxy=kernels.bilateral_width / kernels.shrink,
        srgb=kernels.bilateral_colour,
        rgbim=np.ascontiguousarray(image),
        compat=kernels.bilateral_weight,
    )
    return np.array(crf.inference(kernels.iterations), np.float32).reshape(num_classes, height, width)


def lattice_labels(log_probs: np.ndarray, image: np.ndarray, kernels: Kernels) -> np.ndarray:
    """Return the likeliest class of every pixel, ``(H, W)`` uint8; arguments are those of :func:`lattice_crf`."""
    return lattice_crf(log_probs, image, kernels=kernels).argmax(0).astype(np.uint8)
