"""The seeds of images from a classifier's attention, as ``gain seeds`` makes them of its runs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gain_lightning.attention import resize_maps, scale_maps
from gain_lightning.constants import VOID
from gain_lightning.methods.classifier import Classifier
from gain_lightning.segmentation import BACKGROUND_VALUES, THRESHOLD
from gain_lightning.segmentation.saliency import SaliencyMaps
from gain_lightning.segmentation.seed_folder import ImageSeeds
from gain_lightning.segmentation.seeds import (
    CUE_SIZE,
    crf_regions,
    cue_picture,
    cut_picture,
    enlarged,
    gradient_saliency,
    least_salient,
    low_attention,
    make_cues,
    pseudo_mask,
    resized_values,
    summed_maps,
    windows_of,
)

# A function of an image's maps ``(n, h, w)`` that finds the background, ``(h, w)`` bool.
Background = Callable[[np.ndarray], np.ndarray]


class AttentionSeeds:
    """The source of seeds that are a classifier's attention.

    Args:
        model: The classifier, in evaluation mode.
        flip: Whether the maps of mirrored images are added.
        crf: Whether a dense CRF makes regions of the maps before both thresholds.
        threshold: The share of a map's maximum above which a pixel is a seed; None takes the paper's.
        background: The source of the background: ``attention``, ``gradient`` or ``saliency``; None takes attention.
        background_value: The share below which a pixel is background; None takes the one of the source.
        saliency: The saliency maps of the images, for the background ``saliency``.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        flip: bool,
        crf: bool,
        threshold: float | None = None,
        background: str | None = None,
        background_value: float | None = None,
        saliency: SaliencyMaps | None = None,
    ) -> None:
        self.model, self.flip, self.crf, self.saliency = model, flip, crf, saliency
        self.threshold = THRESHOLD if threshold is None else threshold
        self.background = background or "attention"
        self.background_value = (
            BACKGROUND_VALUES[self.background] if background_value is None else background_value
        )

    def settings(self) -> dict[str, Any]:
        """Return the settings that the provenance of seeds keeps."""
        settings = {key: getattr(self, key) for key in ("threshold", "background", "background_value")}
        return settings if self.saliency is None else {**settings, "saliency_sha256": self.saliency.sha256}

    def of_batch(
        self,
        image: Tensor,
        seen: Sequence[Tensor],
        label: Tensor,
        names: Sequence[str],
        sizes: Sequence[tuple[int, int]],
    ) -> Iterator[ImageSeeds]:
        """Yield the seeds of N images.

        Args:
            image: The images at the run's size, ``(N, 3, H, W)`` uint8.
            seen: The images at every size at which they are looked at, each ``(N, 3, h, w)`` uint8.
            label: 1 for every class, ``(N, C)``.
            names: The images' names.
            sizes: Height and width of each as it is stored.
        """
        size = max(tuple(pictures.shape[2:]) for pictures in [image, *seen])
        resize = self.model.hparams.resize
        windows = [windows_of(sizes, pictures.shape[2], resize) for pictures in [image, *seen]]
        maps, pairs = summed_maps(self.model, seen, label, size=size, flip=self.flip, windows=windows[1:])
        gradient = None
        if self.background == "gradient":
            gradient = gradient_saliency(self.model, image, label, windows[0])
        for n, name in enumerate(names):
            is_of_image = pairs.image == n
            classes = pairs.label[is_of_image].cpu().numpy()
            of_image = None if gradient is None else cut_picture(gradient[n], sizes[n], resize)
            background = self._background(name, sizes[n], of_image)
            shown = cut_picture(image[n], sizes[n], resize)
            seeds = self._of_image(
                cut_picture(maps[is_of_image], sizes[n], resize), classes, sizes[n], background, shown
            )
            yield _where_seen(seeds, cut_picture(torch.ones(size), sizes[n], resize).numpy())

    def _background(self, name: str, size: tuple[int, int], gradient: Tensor | None) -> Background:
        """Return the function that finds the background of an image's maps, at their size."""
        if gradient is not None:
            values = gradient.cpu().numpy()
            return lambda maps: least_salient(resized_values(values, maps.shape[1:]), self.background_value)
        if self.saliency is None:
            return lambda maps: low_attention(maps, self.background_value)
        salient = self.saliency.read(name, size)
        return lambda maps: resized_values(salient, maps.shape[1:]) < self.background_value

    def _of_image(
        self,
        maps: Tensor,
        classes: np.ndarray,
        size: tuple[int, int],
        background: Background,
        image: Tensor,
    ) -> ImageSeeds:
        """Cut the maps of one image at their thresholds."""

        def at(height: int, width: int) -> np.ndarray:
            return scale_maps(resize_maps(maps, (height, width)))[:, 0].cpu().numpy()

        regions, small = at(*size), at(CUE_SIZE, CUE_SIZE)
        exported = {"cam": at(-(-size[0] // 4), -(-size[1] // 4)), "high_res": regions}
        threshold, empty, empty_high_res = self.threshold, background(small), background(regions)
        if self.crf:
            sure, perhaps = crf_regions(small, cue_picture(image), [threshold, self.background_value])
            if self.background == "attention":
                # A map that is 0 throughout does not say where its class is, so no pixel is background then.
                empty = np.logical_and(~perhaps.any(0), small.any((1, 2)).all())
                empty_high_res = enlarged(empty[None], size)[0]
            small, regions, threshold = sure, enlarged(sure, size), 0.5
        return ImageSeeds(
            classes=classes,
            cues=make_cues(small, classes.tolist(), empty, threshold=threshold),
            mask=pseudo_mask(regions, classes.tolist(), empty_high_res, threshold=threshold),
            **exported,
        )


def _where_seen(seeds: ImageSeeds, seen: np.ndarray) -> ImageSeeds:
    """Take back seeds where the network saw nothing of a picture that was cut; ``seen`` is 1 elsewhere, ``(h, w)``."""
    if seen.all():
        return seeds
    cues, mask = (
        np.where(resized_values(seen, indices.shape) > 0.5, indices, VOID).astype(np.uint8)
        for indices in (seeds.cues, seeds.mask)
    )
    return replace(seeds, cues=cues, mask=mask)
