"""Turn attention maps into localisation cues, the seeds that SEC grows (section 4.1 of the paper).

Axis letters: N images, P (image, class) pairs, n classes of one image, h w map.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from gain_lightning.attention import Pairs, even_cells, place_maps, scale_maps
from gain_lightning.constants import VOID
from gain_lightning.datasets.resize import frame_of, resize_image
from gain_lightning.methods.borders import clear_cells, inside_of, normalized
from gain_lightning.methods.classifier import Classifier
from gain_lightning.segmentation import BACKGROUND_SHARE, THRESHOLD
from gain_lightning.segmentation.crf.dense import dense_crf
from gain_lightning.segmentation.crf.kernels import Kernels
from gain_lightning.segmentation.cue_files import check_num_classes

# The side of SEC's score map for an image of 321 pixels.
CUE_SIZE = 41
# The floor of a probability before the CRF.
CRF_FLOOR = 1e-5


def attention_maps(
    model: Classifier, image: Tensor, label: Tensor, *, scales: Sequence[float] = (1.0,), flip: bool = False
) -> tuple[Tensor, Pairs]:
    """Return :func:`summed_maps` of pictures that are resized here, such as generated ones without a file.

    Args:
        model: The classifier, in evaluation mode.
        image: Pictures, shape ``(N, 3, H, W)`` uint8.
        label: 1 for every class to map, shape ``(N, C)``.
        scales: Factors on the pictures' size.
        flip: Whether the maps of the mirrored pictures are added.

    Returns:
        Maps in [0, 1], ``(P, 1, H, W)``, and their pairs.
    """
    seen = [image if scale == 1 else resize_pictures(image, scale) for scale in scales]
    return summed_maps(model, seen, label, size=tuple(image.shape[2:]), flip=flip)


def summed_maps(
    model: Classifier,
    pictures: Sequence[Tensor],
    label: Tensor,
    *,
    size: tuple[int, ...],
    flip: bool = False,
    windows: Sequence[Tensor | None] | None = None,
) -> tuple[Tensor, Pairs]:
    """Return the sum of the attention maps of images at several sizes, and mirrored; each sum has maximum 1.

    Grad-CAM weighs a channel by the mean of its gradient over the map's cells, so maps with more cells have smaller
    values. Therefore each map is multiplied by its number of cells before the sum. The weights are then sums of
    gradients, and for a network that pools and classifies linearly the maps are those of CAM (Zhou et al., CVPR 2016),
    equally strong at every size.

    Args:
        model: The classifier, in evaluation mode.
        pictures: The same N pictures at every size, each ``(N, 3, h, w)`` uint8.
        label: 1 for every class to map, shape ``(N, C)``.
        size: Height and width of the sum.
        flip: Whether the maps of the mirrored pictures are added.
        windows: What images show of their pictures at every size, each ``(N, 4)``; None without borders.

    Returns:
        Maps in [0, 1], ``(P, 1, *size)``, and their pairs.
    """
    total, pairs = None, None
    for seen, window in zip(pictures, windows or [None] * len(pictures), strict=True):
        for is_mirrored in (False, True)[: 1 + flip]:
            # a border is as wide on the left as on the right
            shown = shown_with(seen.flip(3) if is_mirrored else seen, window)
            _, maps, pairs = model.attend(normalized(model.backbone, shown), label)
            maps = clear_cells(maps, pairs, inside_of(shown), model.backbone.cells(seen.shape[2:]))
            cells = model.backbone.cells(seen.shape[2:]).relative_to(even_cells(size, seen.shape[2:]))
            maps = place_maps(maps * (maps.shape[2] * maps.shape[3]), size, cells)
            maps = maps.flip(3) if is_mirrored else maps
            total = maps if total is None else total + maps
    if total is None or pairs is None:
        raise ValueError("pictures: got none, expected the images at one size or more")
    return scale_maps(total), pairs


def resize_pictures(image: Tensor, scale: float) -> Tensor:
    """Return pictures ``(N, 3, H, W)`` uint8 at ``scale`` times their size, with the filter that files get."""
    height, width = (max(round(scale * side), 1) for side in image.shape[2:])
    return resize_image(image, (height, width))


def shown_with(image: Tensor, window: Tensor | None) -> dict[str, Tensor]:
    """Return pictures as a batch, with their windows where they have borders."""
    return {"image": image} if window is None else {"image": image, "window": window}


def windows_of(sizes: Sequence[tuple[int, ...]], side: int, resize: str) -> Tensor | None:
    """Return what squares of ``side`` pixels show of pictures of these sizes, ``(N, 4)``; None without borders."""
    if resize != "letterbox":
        return None
    return torch.tensor([frame_of(size, side, resize).window for size in sizes])


def cut_picture(values: Tensor, size: tuple[int, ...], resize: str) -> Tensor:
    """Cut a picture out of the square that a network saw of it.

    Args:
        values: Values of the square's pixels, ``(..., S, S)``.
        size: Height and width of the picture itself.
        resize: What became of its aspect.

    Returns:
        The values of the whole picture, ``(..., h, w)``; 0 where the square does not show it.
    """
    frame = frame_of(size, values.shape[-1], resize)
    if frame.is_whole:
        return values
    planes = values.reshape(-1, frame.side, frame.side).permute(1, 2, 0).cpu().numpy()
    picture = torch.from_numpy(frame.cut(planes, 0)).permute(2, 0, 1)
    return picture.reshape(*values.shape[:-2], frame.height, frame.width)


def gradient_saliency(
    model: Classifier, image: Tensor, label: Tensor, window: Tensor | None = None
) -> Tensor:
    """Return how much each pixel moves the scores of an image's classes (Simonyan et al., 2014).

    SEC finds background this way.

    Args:
        model: The classifier, in evaluation mode.
        image: Pictures, shape ``(N, 3, H, W)`` uint8.
        label: 1 for every class, shape ``(N, C)``.
        window: What the images show of their pictures, ``(N, 4)``; None without borders.

    Returns:
        The largest absolute gradient over the colours, then the median over 3 x 3 pixels, ``(N, H, W)``.
    """
    with torch.enable_grad():
        normalised = normalized(model.backbone, shown_with(image, window)).requires_grad_()
        score = (model(normalised) * label).sum()
        (gradient,) = torch.autograd.grad(score, normalised)
    saliency = gradient.abs().amax(1, keepdim=True)
    around = torch.nn.functional.unfold(torch.nn.functional.pad(saliency, (1, 1, 1, 1), mode="replicate"), 3)
    return around.median(1).values.view(len(image), *image.shape[2:])


def low_attention(maps: np.ndarray, threshold: float) -> np.ndarray:
    """Return the background as the pixels where every map is below ``threshold``.

    If a map is 0 throughout, no pixel is background: the class is in the image, and its map does not say where.

    Args:
        maps: Maps of the image's n classes, in [0, 1], shape ``(n, h, w)``.
        threshold: Share of a map's maximum.

    Returns:
        The background, ``(h, w)`` bool.

    Example:
        >>> low_attention(np.array([[[0.0, 1.0]]]), 0.05).tolist()
        [[True, False]]
    """
    return np.logical_and((maps < threshold).all(0), maps.any((1, 2)).all())


def crf_regions(
    maps: np.ndarray,
    picture: np.ndarray,
    scores: Sequence[float | np.ndarray],
    kernels: Kernels = Kernels(shrink=12),  # noqa: B008, frozen
) -> list[np.ndarray]:
    """Return the classes' regions that a dense CRF makes of their maps beside a score of the background.

    The probability of a class is its map's value and that of the background its score, each divided by their sum. So
    a map above the score is a class as without a CRF, but neighbours and pixels of like colours decide together. The
    regions of a high score are surely a class, and pixels outside the regions of a low score are surely background
    (Ahn et al., *IRN*, CVPR 2019).

    Args:
        maps: Maps of the image's n classes, in [0, 1], shape ``(n, h, w)``.
        picture: The picture, shape ``(h, w, 3)`` uint8.
        scores: Scores of the background, each a share of a map's maximum, the same everywhere or ``(h, w)``.
        kernels: Kernels of the CRF; by default those that SEC trains with, for 41 x 41.

    Returns:
        The classes' regions for every score, which do not overlap, ``(n, h, w)`` bool.

    Example:
        >>> maps = np.array([[[0.9, 0.9, 0.1, 0.0]]])
        >>> picture = np.array([[[255] * 3, [255] * 3, [0] * 3, [0] * 3]], np.uint8)  # two white, two black pixels
        >>> crf_regions(maps, picture, [0.2])[0].tolist()
        [[[True, True, False, False]]]
    """
    log_probs = []
    for score in scores:
        background = np.broadcast_to(np.maximum(score, CRF_FLOOR), (1, *maps.shape[1:]))
        values = np.concatenate([background, maps])
        log_probs.append(np.log(values / values.sum(0) + CRF_FLOOR))
    pictures = torch.from_numpy(np.stack([picture] * len(scores)))
    marginals = dense_crf(torch.from_numpy(np.stack(log_probs)), pictures, kernels)
    # The winner 0 is the background.
    winner = marginals.argmax(1).numpy()
    return [winner[index] == np.arange(1, 1 + len(maps))[:, None, None] for index in range(len(scores))]


def cue_picture(image: Tensor) -> np.ndarray:
    """Return a picture ``(3, H, W)`` uint8 at the cues' size, ``(41, 41, 3)``, as :func:`crf_regions` takes it."""
    return resize_image(image[None], (CUE_SIZE, CUE_SIZE))[0].permute(1, 2, 0).cpu().numpy()


def resized_values(values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return values ``(h, w)`` at another size, float32; means of areas if it is smaller."""
    is_smaller = size[0] < values.shape[0]
    filtering = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
    return cv2.resize(values.astype(np.float32), size[::-1], interpolation=filtering)


def enlarged(regions: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return regions ``(n, h, w)`` bool at another size: a pixel belongs to what most of its surroundings do."""
    return np.array([resized_values(region, size) > 0.5 for region in regions], bool).reshape(
        len(regions), *size
    )


def least_salient(saliency: np.ndarray, share: float = BACKGROUND_SHARE) -> np.ndarray:
    """Return the background as the ``share`` of pixels with the least saliency.

    Args:
        saliency: Saliency, shape ``(h, w)``.
        share: A number between 0 and 1.

    Returns:
        The background, ``(h, w)`` bool.

    Example:
        >>> least_salient(np.array([[0.3, 0.1], [0.9, 0.5]]), 0.25).tolist()
        [[False, True], [False, False]]
    """
    count = round(share * saliency.size)
    chosen = np.zeros(saliency.size, bool)
    chosen[np.argsort(saliency, axis=None, kind="stable")[:count]] = True
    return chosen.reshape(saliency.shape)


def make_cues(
    maps: np.ndarray, classes: Sequence[int], background: np.ndarray, *, threshold: float = THRESHOLD
) -> np.ndarray:
    """Return the cues of one image: each class where its map exceeds the threshold, elsewhere background or no cue.

    Where classes meet, the one of the smaller region wins, as in SEC.

    Args:
        maps: Maps of the image's n classes, in [0, 1], shape ``(n, h, w)``.
        classes: The indices of the classes, from 0.
        background: The background, shape ``(h, w)`` bool.
        threshold: Share of a map's maximum.

    Returns:
        Cues, ``(h, w)`` uint8: 0 background, c + 1 class c, 255 no cue.

    Raises:
        ValueError: If an index exceeds 253, because 255 means that there is no cue.

    Example:
        >>> maps = np.array([[[0.9, 0.9, 0.1, 0.0]], [[0.0, 0.5, 0.1, 0.0]]])
        >>> make_cues(maps, [7, 11], maps.max(0) < 0.05).tolist()
        [[8, 12, 255, 0]]
    """
    check_num_classes("classes", max(classes, default=0) + 1)
    cues = np.where(background, 0, VOID).astype(np.uint8)
    regions = maps > threshold
    for index in np.argsort(-regions.sum((1, 2)), kind="stable"):
        cues[regions[index]] = classes[index] + 1
    return cues


def pseudo_mask(
    maps: np.ndarray, classes: Sequence[int], background: np.ndarray, *, threshold: float
) -> np.ndarray:
    """Return a mask to train on: the class of the strongest map above the threshold, else background, else 255.

    Args:
        maps: Maps of the image's n classes, in [0, 1], shape ``(n, H, W)``.
        classes: The indices of the classes, from 0.
        background: The background, shape ``(H, W)`` bool.
        threshold: Share of a map's maximum.

    Returns:
        Class indices, ``(H, W)`` uint8.

    Raises:
        ValueError: If an index exceeds 253.

    Example:
        >>> maps = np.array([[[0.9, 0.6, 0.1, 0.0]], [[0.0, 0.5, 0.1, 0.0]]])
        >>> pseudo_mask(maps, [7, 11], maps.max(0) < 0.05, threshold=0.2).tolist()
        [[8, 8, 255, 0]]
    """
    check_num_classes("classes", max(classes, default=0) + 1)
    mask = np.where(background, 0, VOID).astype(np.uint8)
    if len(maps):
        found = maps.max(0) > threshold
        mask[found] = (np.asarray(classes, np.uint8) + 1)[maps.argmax(0)][found]
    return mask
