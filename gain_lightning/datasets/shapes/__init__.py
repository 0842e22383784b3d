"""Shapes are made data sets whose bias is known; they need no files and are small enough for a CPU.

There are four scenes: boats that are always on water in training (``boat.py``), a camera whose two orientations
always lie on their own ground (``camera.py``), boats to count, with a buoy for every boat (``count.py``), and boats
and cars that both their ground and a companion give away (``two_shortcuts.py``).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from gain_lightning.datasets.boxes import box_masks, outside
from gain_lightning.datasets.class_masks import ClassMasks, split_index_mask
from gain_lightning.datasets.mask_noise import Annotator
from gain_lightning.datasets.resize import resize_image
from gain_lightning.datasets.sample import Draw, Sample, make_sample
from gain_lightning.datasets.shapes import boat, camera, count, two_shortcuts
from gain_lightning.datasets.shapes.kept import draw_pictures
from gain_lightning.datasets.shapes.picture import SIZE, Picture
from gain_lightning.datasets.streams import TwoStreamDataModule

SCENES = {"boat": boat, "camera": camera, "count": count, "two_shortcuts": two_shortcuts}
TEST_SETS = {
    "boat": ("test", "boat_without_water", "water_without_boat"),
    "camera": ("test", "other_grounds"),
    "count": ("test",),
    "two_shortcuts": ("test",),
}


class Shapes(Dataset):
    """The pictures of a split, drawn once (``kept.py``) and held in memory (37 kB each).

    Args:
        scene: ``boat``, ``camera``, ``count`` or ``two_shortcuts``.
        split: See ``draw_picture`` of the scene.
        indices: The numbers of the pictures, such as ``range(2400)``.
        seed: See ``draw_picture`` of the scene.
        supervision: What the masks hold: ``mask``, ``box`` (filled), or ``none`` (all void).
        box_dilation, other_boxes: See :func:`~gain_lightning.datasets.boxes.box_masks`.
        kept: The classes whose masks or boxes each picture shows, ``(n, C)`` bool; None shows all.
        annotator: Who marks the pictures anew; None takes the masks and boxes as they are.
        options: Further options of ``draw_picture`` of the scene, such as ``bias``.

    Attributes:
        labels: 1 where a class is present, or its amount, ``(n, C)`` uint8.

    Example:
        >>> sample = Shapes("boat", "test", range(3))[2]
        >>> sample["image"].shape, sample["mask"].shape, sample["id"]
        (torch.Size([3, 96, 96]), torch.Size([1, 96, 96]), 'test_00002')
    """

    def __init__(
        self,
        scene: str,
        split: str,
        indices: Sequence[int],
        *,
        seed: int = 0,
        supervision: str = "mask",
        box_dilation: float = 1.0,
        other_boxes: str = "unknown",
        kept: np.ndarray | None = None,
        annotator: Annotator | None = None,
        **options: float | str,
    ) -> None:
        self.ids = [f"{split}_{index:05d}" for index in indices]
        self.pictures = draw_pictures(SCENES[scene], split, indices, seed=seed, **options)
        self.labels = np.stack([picture.label for picture in self.pictures])
        self.class_names = SCENES[scene].CLASSES
        has_groups = bool(SCENES[scene].GROUPS)
        self.groups = np.array([picture.group for picture in self.pictures]) if has_groups else None
        self.sizes = np.full((len(self.ids), 2), SIZE)
        self.supervision = supervision
        self.box_dilation = box_dilation
        self.other_boxes = other_boxes
        self.kept = kept
        self.annotator = annotator

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, draw: int | Draw) -> Sample:
        index = draw.row if isinstance(draw, Draw) else draw
        picture = self.pictures[index]
        return make_sample(
            picture.image, picture.label, self._masks(picture, index), self.ids[index], picture.group
        )

    def picture(self, row: int, side: int | None = None) -> np.ndarray:
        """Return a picture as it was drawn, or at ``side`` x ``side`` pixels, ``(H, W, 3)`` uint8."""
        image = self.pictures[row].image
        return image if side is None else resize_image(image, (side, side))

    def truth(self, row: int) -> np.ndarray:
        """Return a picture's mask, 0 background, 1..C class, ``(H, W)`` uint8, whatever ``supervision`` shows."""
        return self.pictures[row].mask

    def _masks(self, picture: Picture, index: int) -> ClassMasks | None:
        if self.supervision == "none":
            return None
        if self.supervision != "mask":
            size, boxes = picture.mask.shape, picture.boxes
            masks = box_masks(boxes, size, dilation=self.box_dilation, other_boxes=self.other_boxes)
        else:
            masks = split_index_mask(picture.mask, picture.label)
        masks = masks if self.kept is None else masks.only(self.kept[index])
        masks = masks if self.annotator is None else self.annotator(masks, self.ids[index])
        return outside(masks) if self.supervision == "outside_box" else masks


class ShapesDataModule(TwoStreamDataModule):
    """Shapes with its biased training set and its test sets.

    Args:
        scene: ``boat``, ``camera``, ``count`` or ``two_shortcuts``.
        num_train: Training pictures.
        num_val: Validation pictures, biased like the training's.
        num_test: Pictures of the first test set: boats and water, or boats and buoys, independent; cameras biased like
            the training's; groups of equal size of ``two_shortcuts``.
        num_biased: Pictures of each further test set, which turns the bias round; ``count`` and ``two_shortcuts`` have
            none.
        bias: Share of the biased pictures that keep the scene's rule.
        companion_bias: Of ``two_shortcuts``: share of them that keep the rule of companions; null takes ``bias``.
        companion_place: Of ``two_shortcuts``: ``beside`` the object; ``on_object``, where masks contain it; or
            it is the object's ``colour``.
        told_shortcuts: Of ``two_shortcuts``: the shortcuts that methods which learn from groups are told of, such as
            ``[ground]``; null tells both. Scores are always of all eight groups.
        data_seed: Seed of the pictures; runs with other seeds see the same pictures.
        batch_size: Images of the weak stream a step and rank.
        masked_batch_size: Images of the masked stream a step and rank.
        num_workers: Loader processes; the pictures are in memory, so 0 is fastest.
        streams: See :class:`~gain_lightning.datasets.streams.TwoStreamDataModule`.

    Raises:
        ValueError: If a number is out of range, or there is no such scene.
    """

    image_size = SIZE

    def __init__(
        self,
        *,
        scene: str = "boat",
        num_train: int = 2400,
        num_val: int = 300,
        num_test: int = 600,
        num_biased: int = 300,
        bias: float = 1.0,
        companion_bias: float | None = None,
        companion_place: str = "beside",
        told_shortcuts: list[str] | None = None,
        data_seed: int = 0,
        batch_size: int = 32,
        masked_batch_size: int = 8,
        num_workers: int = 0,
        **streams: Any,
    ) -> None:
        super().__init__(
            batch_size=batch_size, masked_batch_size=masked_batch_size, num_workers=num_workers, **streams
        )
        if scene not in SCENES:
            raise ValueError(f"data.scene is {scene!r}, expected one of {', '.join(SCENES)}")
        sizes = {"num_train": num_train, "num_val": num_val, "num_test": num_test, "num_biased": num_biased}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} is {size}, expected at least 1")
        self.scene = scene
        self.class_names = SCENES[scene].CLASSES
        self.group_names = SCENES[scene].GROUPS
        self.accuracy_class = "boat" if scene == "boat" else None
        self.sizes = sizes
        self.options: dict[str, Any] = {"bias": bias}
        if scene == "two_shortcuts":
            self.options["companion_bias"] = bias if companion_bias is None else companion_bias
            self.options["companion_place"] = companion_place
        elif companion_bias is not None or companion_place != "beside" or told_shortcuts:
            raise ValueError(
                f"data.scene is {scene!r}, which has no companion and one shortcut, expected two_shortcuts"
            )
        self.told_shortcuts = told_shortcuts
        if told_shortcuts is not None and not set(told_shortcuts) <= set(two_shortcuts.SHORTCUTS):
            expected = f"some of {', '.join(two_shortcuts.SHORTCUTS)}"
            raise ValueError(f"data.told_shortcuts is {told_shortcuts}, expected {expected}")
        self.data_seed = data_seed
        self.made: dict[str, Shapes] = {}

    @property
    def told_groups(self) -> tuple[str, ...]:
        """The names of groups that leave out the shortcuts which methods are not told of."""
        if self.told_shortcuts is None:
            return self.group_names
        return two_shortcuts.told_groups(self.told_shortcuts)

    def _make(self, split: str, num_images: int, supervision: str = "mask") -> Shapes:
        if split not in self.made:
            self.made[split] = Shapes(
                self.scene,
                split,
                range(num_images),
                seed=self.data_seed,
                **self.options,
                supervision=supervision,
            )
        return self.made[split]

    def _masked(self, rows: np.ndarray, kept: np.ndarray, annotator: Annotator | None) -> Shapes | None:
        """Make the training pictures of these rows with masks; None if there is none."""
        if not len(rows):
            return None
        return Shapes(
            self.scene,
            "train",
            rows.tolist(),
            seed=self.data_seed,
            **self.options,
            supervision=self.supervision,
            box_dilation=self.box_dilation,
            other_boxes=self.other_boxes,
            kept=kept,
            annotator=annotator,
        )

    def image_set(self, split: str | None = None) -> Shapes:
        """Make the pictures of a split (None: train) with their labels, without masks."""
        split = split or "train"
        sizes = {"train": "num_train", "val": "num_val", TEST_SETS[self.scene][0]: "num_test"}
        if split not in (*sizes, *TEST_SETS[self.scene]):
            raise ValueError(
                f"split is {split!r}, expected one of train, val, {', '.join(TEST_SETS[self.scene])}"
            )
        num_images = self.sizes[sizes.get(split, "num_biased")]
        return Shapes(
            self.scene, split, range(num_images), seed=self.data_seed, **self.options, supervision="none"
        )

    def setup(self, stage: str) -> None:
        """Make the pictures that ``stage`` needs."""
        if stage == "fit":
            self.train_set = self._make("train", self.sizes["num_train"], supervision="none")
            guiding, choosing = self.draw_masked(self.train_set.ids, self.train_set.labels > 0)
            self.masked_set = self._masked(*guiding, self.annotator())
            self.select_set = self._masked(*choosing, None)
        if stage in ("fit", "validate"):
            self.val_set = self._make("val", self.sizes["num_val"])
        if stage == "test":
            first, *others = TEST_SETS[self.scene]
            self.test_sets = {first: self._make(first, self.sizes["num_test"])}
            self.test_sets |= {name: self._make(name, self.sizes["num_biased"]) for name in others}
