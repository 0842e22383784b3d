"""Masks spent as augmentation: the weak stream also shows objects on other grounds, and grounds without an object.

This is what masks buy without a loss on attention, and so the first rival of L_e: the pictures that break a bias are
made of the masked images themselves. :mod:`gain_lightning.datasets.grounds` cuts and pastes.
"""

import numpy as np
from torch.utils.data import Dataset

from gain_lightning.constants import YES
from gain_lightning.datasets.balance import balanced_lists
from gain_lightning.datasets.grounds import (
    fit_ground,
    inpaint_object,
    leaves_ground,
    object_alone,
    paste_object,
    with_border,
)
from gain_lightning.datasets.resize import slices_of
from gain_lightning.datasets.sample import Draw, PictureSet, Sample, make_sample, window_of

# The object on the ground of another masked image, on one plain colour, and its own ground without it.
KINDS = ("swapped", "alone", "removed")


class MaskAugmented(Dataset):
    """The training images, of which a share of the draws is replaced by a picture made of masked images.

    Each kind of :data:`KINDS` is drawn equally often, and so is each class among the objects: else the made
    pictures would teach, beside what the ground does not say, that most objects are of the common class. Where
    every training image has exactly one class, as for a single label, none is ``removed``: such a picture would
    have no class. A made picture has the label of what it shows: the masked classes of the object's image, and
    those of the ground's image that have no mask and therefore stay. What is drawn depends on the seed, the image
    and its visit alone. A draw whose object covers nothing, or nearly the whole picture, stays as it is.

    Args:
        images: The training images.
        masked: The masked ones, with their masks.
        share: Share of the draws that is replaced, 0 to 1.
        seed: The seed of all draws.
    """

    def __init__(self, images: PictureSet, masked: PictureSet, *, share: float, seed: int) -> None:
        self.images = images
        self.masked = masked
        self.share = share
        self.seed = seed
        labels = np.asarray(images.labels)
        self.has_amounts = bool(labels.max(initial=0) > 1)
        has_one_each = bool(((labels > 0).sum(1) == 1).all())
        self.kinds = KINDS[:2] if has_one_each else KINDS
        self.rows_of_classes = balanced_lists("class", masked, ())
        self.ids, self.labels, self.groups = images.ids, images.labels, images.groups
        self.class_names, self.sizes = images.class_names, images.sizes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: int | Draw) -> Sample:
        index, visit = draw if isinstance(draw, Draw) else (draw, 0)
        # the image's own variations are seeded by the first three
        rng = np.random.default_rng((self.seed, visit, index, 1))
        made = self._make(rng) if rng.random() < self.share else None
        return self.images[draw] if made is None else made

    def picture(self, row: int, side: int | None = None) -> np.ndarray:
        """Return a training image as it is, see :class:`~gain_lightning.datasets.sample.PictureSet`."""
        return self.images.picture(row, side)

    def truth(self, row: int) -> np.ndarray:
        """Return the mask of a training image as it is."""
        return self.images.truth(row)

    def _make(self, rng: np.random.Generator) -> Sample | None:
        """Make a picture of masked images; None if these show no object with a ground beside it."""
        kind = self.kinds[rng.integers(len(self.kinds))]
        row = int(rng.choice(self.rows_of_classes[rng.integers(len(self.rows_of_classes))]))
        shown = _Taken(self._draw(row, rng))
        if not leaves_ground(shown.body):
            return None
        if kind == "removed":
            ground = inpaint_object(shown.picture, shown.body)
            return shown.changed(ground, shown.rest, f"{shown.id} without its object")
        if kind == "alone":
            alone = object_alone(shown.picture, shown.body)
            return shown.changed(alone, shown.label - shown.rest, f"{shown.id} on no ground")
        # any masked image but the object's own
        other = (row + 1 + int(rng.integers(max(len(self.masked) - 1, 1)))) % len(self.masked)
        behind = _Taken(self._draw(other, rng))
        if not leaves_ground(behind.body):
            return None
        ground = fit_ground(inpaint_object(behind.picture, behind.body), shown.body.shape)
        picture = paste_object(shown.picture, shown.body, ground)
        label = shown.label - shown.rest + behind.rest
        label = label if self.has_amounts else label.clip(max=1)
        return shown.changed(picture, label, f"{shown.id} on the ground of {behind.id}")

    def _draw(self, row: int, rng: np.random.Generator) -> Sample:
        return self.masked[Draw(row, int(rng.integers(2**31)))]


class _Taken:
    """A masked image taken apart; of one with borders, the part that shows the picture.

    Args:
        sample: The image with its masks.

    Attributes:
        picture: ``(H, W, 3)`` uint8.
        window: Where it lies in its image, ``(xmin, ymin, xmax, ymax)``; None without borders.
        body: The pixels of all masked classes, ``(H, W)`` bool.
        label: The image's label, ``(C,)``.
        rest: The label once the masked classes are gone, ``(C,)``.
        id: The image's name.
    """

    def __init__(self, sample: Sample) -> None:
        image = sample["image"].permute(1, 2, 0).numpy()
        self.window = window_of(sample)
        self.size = image.shape[:2]
        rows, columns = slices_of(self.window)
        self.picture = image[rows, columns]
        is_class = sample["mask"].numpy()[:, rows, columns] == YES
        self.body = is_class.any(0)
        self.label = sample["label"].numpy()
        self.rest = self.label.copy()
        self.rest[sample["mask_class"].numpy()[is_class.any((1, 2))]] = 0
        self.id = sample["id"]

    def changed(self, picture: np.ndarray, label: np.ndarray, name: str) -> Sample:
        """Return a sample of another picture in the place of this one."""
        image = with_border(picture, self.window, self.size)
        return make_sample(image, label, None, name, window=self.window)
