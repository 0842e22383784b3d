"""The seeds of images from the probabilities of a SEC network: cues of a second round.

A network that was trained on cues fills what they left open. It segments its own training images, whose labels are
known, and where it is sure it makes cues that the next network is trained on.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gain_lightning.attention import Cells, even_cells, place_maps
from gain_lightning.segmentation import CONFIDENCE
from gain_lightning.segmentation.losses import log_probabilities
from gain_lightning.segmentation.sec import SEC
from gain_lightning.segmentation.seed_folder import ImageSeeds
from gain_lightning.segmentation.seeds import (
    CUE_SIZE,
    crf_regions,
    cue_picture,
    enlarged,
    make_cues,
    pseudo_mask,
)


class View(NamedTuple):
    """The scores of N images seen at one size, ``(N, 1 + C, h, w)``, their cells on even ones, whether mirrored."""

    scores: Tensor
    cells: Cells
    grid: tuple[int, ...]
    is_mirrored: bool


class SecSeeds:
    """The source of seeds that are the probabilities of a SEC network.

    Classes that an image's label lacks are left out before the softmax, so the probabilities are those of the
    background and the labelled classes. They are of the mean of the scores over all sizes and mirrors.

    Args:
        model: The network, in evaluation mode.
        flip: Whether mirrored images are looked at, too.
        crf: Whether a dense CRF makes regions of the probabilities.
        confidence: The least probability of a cue, at least 0.5, below 1; None takes :data:`CONFIDENCE`. With the CRF
            it is put as odds: what the CRF makes of probabilities where the background counts
            ``confidence / (1 - confidence)`` times as much is surely a class, and what it leaves out where the
            background counts so many times less is surely background.

    Raises:
        ValueError: If the confidence is out of range.
    """

    def __init__(self, model: SEC, *, flip: bool, crf: bool, confidence: float | None = None) -> None:
        self.model, self.flip, self.crf = model, flip, crf
        self.confidence = CONFIDENCE if confidence is None else confidence
        if not 0.5 <= self.confidence < 1:
            raise ValueError(
                f"--confidence is {self.confidence:g}, expected at least 0.5, so that a pixel is one thing, and less "
                "than 1"
            )

    def settings(self) -> dict[str, Any]:
        """Return the settings that the provenance of seeds keeps."""
        return {"confidence": self.confidence}

    def of_batch(
        self,
        image: Tensor,
        seen: Sequence[Tensor],
        label: Tensor,
        names: Sequence[str],
        sizes: Sequence[tuple[int, int]],
    ) -> Iterator[ImageSeeds]:
        """Yield the seeds of N images; see :meth:`AttentionSeeds.of_batch`, whose arguments are the same."""
        views = self._views(seen)
        for n, size in enumerate(sizes):
            classes = np.flatnonzero(label[n].cpu().numpy() > 0)
            small, large = (
                labelled_probabilities(views, n, classes, at) for at in ((CUE_SIZE, CUE_SIZE), size)
            )
            yield self._of_image(small, large, classes, image[n])

    @torch.no_grad()
    def _views(self, seen: Sequence[Tensor]) -> list[View]:
        """Score the images at every size, and mirrored if asked for."""
        views = []
        for pictures in seen:
            grid = tuple(pictures.shape[2:])
            for is_mirrored in (False, True)[: 1 + self.flip]:
                normalised = self.model.backbone.normalize(pictures.flip(3) if is_mirrored else pictures)
                views.append(View(self.model(normalised), self.model.backbone.cells(grid), grid, is_mirrored))
        return views

    def _of_image(
        self, small: np.ndarray, large: np.ndarray, classes: np.ndarray, image: Tensor
    ) -> ImageSeeds:
        """Take what is sure of one image's probabilities ``(1 + n, h, w)`` at both sizes."""
        size = large.shape[1:]
        if self.crf:
            odds = self.confidence / (1 - self.confidence)
            scores = [small[0] * odds, small[0] / odds]
            sure, perhaps = crf_regions(small[1:], cue_picture(image), scores)
            nowhere = np.array([~perhaps.any(0)])
            empty, empty_high_res = nowhere[0], enlarged(nowhere, size)[0]
            regions = enlarged(sure, size)
        else:
            empty, sure = small[0] >= self.confidence, small[1:] >= self.confidence
            empty_high_res, regions = large[0] >= self.confidence, large[1:] >= self.confidence
        return ImageSeeds(
            classes=classes,
            cam=large[1:, ::4, ::4],
            high_res=large[1:],
            cues=make_cues(sure, classes.tolist(), empty, threshold=0.5),
            mask=pseudo_mask(regions, classes.tolist(), empty_high_res, threshold=0.5),
        )


def labelled_probabilities(
    views: Sequence[View], n: int, classes: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Return the probabilities of the background and of an image's classes, by the mean of its views' scores.

    Args:
        views: The views of N images.
        n: The number of the image among them.
        classes: The indices of its classes from 0, ``(n,)``.
        size: Height and width of the probabilities.

    Returns:
        Shape ``(1 + n, *size)`` float32, the background first; their sum is 1 everywhere.
    """
    channels = torch.tensor([0, *(1 + classes).tolist()])
    total = torch.zeros(1, len(channels), *size)
    for view in views:
        cells = view.cells.relative_to(even_cells(size, view.grid))
        placed = place_maps(view.scores[n, channels.to(view.scores.device)][None].float(), size, cells).cpu()
        total += placed.flip(3) if view.is_mirrored else placed
    return log_probabilities(total / len(views)).exp()[0].numpy()
