"""The two streams of GAIN_ext: every image with its labels, and the few images that also carry pixels.

A training batch is ``{"weak": Batch}``, or ``{"weak": Batch, "masked": Batch}`` with a mask budget. One epoch is one
pass over the weak stream, or as many batches of it as ``min_steps_per_epoch`` asks for; the masked stream goes on
beside it, over and over.
"""

import os
from collections.abc import Iterator, Sequence, Sized
from typing import Any, NamedTuple, cast

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.seed import pl_worker_init_function
from pytorch_lightning.overrides.distributed import UnrepeatedDistributedSampler
from pytorch_lightning.utilities import rank_zero_warn
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.distributed import DistributedSampler

from gain_lightning.datasets.balance import BALANCES, balanced_lists
from gain_lightning.datasets.mask_augment import MaskAugmented
from gain_lightning.datasets.mask_budget import MaskBudget, draw_mask_budget, hold_out, mask_list_text
from gain_lightning.datasets.mask_noise import Annotator, MaskNoise
from gain_lightning.datasets.sample import Draw, PictureSet, Sample, collate
from gain_lightning.support.names import places_of
from gain_lightning.support.workers import heed_parent_alone, refuse_without_sockets, signals_held

SUPERVISIONS = ("mask", "box", "outside_box")


class StreamSampler(DistributedSampler):
    """An endless shuffled stream over n images, cut into epochs and shared out among the ranks.

    The stream is one seeded permutation after another. Rank r of R takes the elements r, r + R, r + 2R, ... Within a
    permutation ranks share no image, save that it is padded from its start to a multiple of R.

    With ``lists`` the stream gives an element of each list in turn, in an order that is shuffled for every turn, and
    each list is a stream of its own. So all lists come equally often, whatever their lengths: the class-aware
    sampling of Shen et al., *Relay Backpropagation*, ECCV 2016.

    Args:
        size: n, the number of images in the data set.
        per_epoch: Draws per epoch of all ranks together, rounded up to a multiple of the ranks.
        seed: The seed of the permutations.
        rank: The number of this process.
        num_ranks: The number of processes.
        lists: Rows of the data set, each list ``(m,)``; None is one list of all.

    Example:
        >>> sampler = StreamSampler(3, per_epoch=6, seed=0)
        >>> sorted(sampler)
        [Draw(row=0, visit=0), Draw(row=0, visit=1), Draw(row=1, visit=0), \
Draw(row=1, visit=1), Draw(row=2, visit=0), Draw(row=2, visit=1)]
        >>> sampler = StreamSampler(4, per_epoch=6, seed=0, lists=[np.array([0, 1, 2]), np.array([3])])
        >>> sorted(draw.row for draw in sampler)
        [0, 1, 2, 3, 3, 3]
    """

    # This is a DistributedSampler, since Lightning replaces every other kind under DDP and sets its epoch.
    def __init__(
        self,
        size: int,
        *,
        per_epoch: int,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
        lists: Sequence[np.ndarray] | None = None,
    ) -> None:
        # torch asks for its length alone
        images = cast("Dataset[int]", range(size))
        super().__init__(images, num_replicas=num_ranks, rank=rank, seed=seed)
        self.has_lists = lists is not None
        self.lists: list[list[int]] = (
            [list(range(size))] if lists is None else [rows.tolist() for rows in lists]
        )
        self.num_samples = -(-per_epoch // num_ranks)
        self.total_size = self.num_samples * num_ranks
        # a training that resumes has made so many draws of the next epoch
        self.start = 0
        self._orders: dict[int, tuple[int, list[int]]] = {}

    def __iter__(self) -> Iterator[Draw]:
        start, self.start = self.start, 0
        for step in range(start, self.num_samples):
            yield self._draw(self.epoch * self.total_size + step * self.num_replicas + self.rank)

    def _draw(self, position: int) -> Draw:
        """Return the draw at a position of the stream."""
        num_lists = len(self.lists)
        turn, place = divmod(position, num_lists)
        number = self._order(num_lists, turn, num_lists)[place]
        rows = self.lists[number]
        visit, place = divmod(turn, -(-len(rows) // self.num_replicas) * self.num_replicas)
        row = rows[self._order(number, visit, len(rows))[place % len(rows)]]
        # an image may stand in several lists, and several times in one
        return Draw(row, position if self.has_lists else visit)

    def _order(self, number: int, visit: int, size: int) -> list[int]:
        """Return the permutation of a list's ``visit``-th pass; the last one of each list is kept."""
        known = self._orders.get(number)
        if known is None or known[0] != visit:
            order = np.random.default_rng((self.seed, visit, number)).permutation(size).tolist()
            known = self._orders[number] = (visit, order)
        return known[1]


class Loader(DataLoader):
    """A loader whose workers leave Ctrl-C and SIGTERM to the training, which saves before it ends them."""

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers:
            refuse_without_sockets()
        with signals_held():
            return super().__iter__()


def begin_worker(worker_id: int) -> None:
    """Begin the process of a worker: the training stops it, and Lightning's seed of workers is set as elsewhere."""
    heed_parent_alone()
    if int(os.environ.get("PL_SEED_WORKERS", 0)):
        pl_worker_init_function(worker_id)


class StreamLoader(Loader):
    """A loader over a :class:`StreamSampler` that goes on in the middle of an epoch, as Lightning's checkpoints ask.

    Args:
        dataset: See ``DataLoader``.
        batch_size: See ``DataLoader``.
        trainer: The trainer, which counts the batches it has trained on, for workers and Lightning fetch ahead; and
            which knows the epoch.
        options: Further options of ``DataLoader``; ``sampler`` is a :class:`StreamSampler`.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, *, trainer: pl.Trainer | None, **options: Any
    ) -> None:
        super().__init__(dataset, batch_size, **options)
        # Lightning annotates its counters as others than they are
        self.progress: Any = getattr(trainer, "fit_loop", None)
        if self.progress is not None:
            # Lightning sets the epoch too, but only after the workers have begun
            cast("StreamSampler", self.sampler).set_epoch(self.progress.epoch_progress.current.processed)

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the epoch are trained on."""
        return {"num_batches": self.progress.epoch_loop.batch_progress.current.processed, "of": len(self)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Leave the batches that are trained on out of the next pass, unless they are the whole epoch."""
        # with another number of devices an epoch has another number of batches
        length = state.get("of", len(self))
        num_batches = state["num_batches"] % length * len(self) // length
        cast("StreamSampler", self.sampler).start = num_batches * (self.batch_size or 1)


class MaskedRows(NamedTuple):
    """Rows of m training images, ``(m,)``, and the classes whose pixels count there, ``(m, C)`` bool."""

    rows: np.ndarray
    kept: np.ndarray


class TwoStreamDataModule(pl.LightningDataModule):
    """The base of all data modules: it draws the mask budget and makes the loaders.

    A subclass passes its ``**streams`` on to this class. Its ``setup`` sets the data sets, and its ``image_set(split)``
    gives the pictures of a split with their labels alone.

    Args:
        batch_size: Images of the weak stream a step and rank.
        masked_batch_size: Images of the masked stream a step and rank.
        mask_budget: Training images that carry pixels: a count (int), a fraction (float), either of them by
            class (``{boat: 23}``: then only the boats' pixels count), or the path of a mask list.
        mask_seed: Seed of that draw; null takes the run's seed.
        supervision: What the masked stream shows: ``mask``, ``box`` (filled boxes), or ``outside_box``: a class is
            where its boxes are not, as a ground is where the bird is not.
        box_dilation: Factor on the sides of those boxes; 1.2 makes them a fifth longer.
        other_boxes: What a box says of another class where that has none: nothing, ``unknown``; or that it is not
            there, ``no``.
        mask_noise: How the masks that guide differ from what is there, to see what a training bears. Masks of ``val``,
            of tests and of the images that settings are chosen on stay as they are.
        void_border: Pixels of a batch's image on either side of every border of the masks that guide, about which
            they then say nothing.
        select_on: What settings are chosen on beside the validation set: ``masked``, training images whose masks then
            guide nothing; null holds none out. Their scores are logged as ``select/...``.
        select_share: The share of the mask budget that is held out for it, at least ten images or half of fewer than
            twenty; 1 holds all out, as does a training that takes no masks.
        no_object_classes: Names of classes that have no place in a picture, such as ``[normal]``: they are classified,
            and never erased, mapped, supervised or judged by their maps.
        num_workers: Loader processes.
        min_steps_per_epoch: An epoch has so many batches at least, so that a preset trains a small set as long as a
            larger one; the stream then goes on from one pass over the images to the next within the epoch.
        balance_by: The weak stream draws every ``class`` or every ``group`` equally often, in as many steps as before,
            see :mod:`gain_lightning.datasets.balance`; null draws every image once a pass.
        mask_augment: Share of the weak stream's draws that shows a picture made of the masked images instead: an object
            on another ground, or a ground without it, see :mod:`gain_lightning.datasets.mask_augment`.

    Attributes:
        class_names: The names of the C classes, by index.
        group_names: The names of the groups that ``group`` of a sample counts; empty without groups.
        image_size: Height and width of a batch's images, pixels.
        resize: What becomes of the aspect of pictures, see :class:`~gain_lightning.datasets.folder.FolderDataModule`.
        train_set: The data set of the weak stream, its masks hidden.
        masked_set: The data set of the masked stream, or None.
        select_set: The data set of the masked images that settings are chosen on, or None.
        masked_ids: The names of all masked images; ``mask_list`` is the text of their mask list, and ``select_ids``
            names those of them that settings are chosen on.
        val_set: The data set for validation.
        test_sets: The data sets for tests by name; the first is scored by every metric, each further one by its
            accuracy.
        accuracy_class: The class whose presence the further test sets are scored on; None scores the whole label.
        times: How often a pass of the weak stream draws each training image, ``(n,)`` int; None draws each once. A
            method may set it before the training begins.
    """

    class_names: tuple[str, ...]
    group_names: tuple[str, ...] = ()
    image_size: int
    resize: str = "squash"
    train_set: PictureSet
    val_set: PictureSet
    test_sets: dict[str, PictureSet]
    predict_set: PictureSet
    accuracy_class: str | None = None

    def __init__(
        self,
        *,
        batch_size: int = 16,
        masked_batch_size: int = 4,
        mask_budget: MaskBudget = 0,
        mask_seed: int | None = None,
        supervision: str = "mask",
        box_dilation: float = 1.0,
        other_boxes: str = "unknown",
        mask_noise: MaskNoise = MaskNoise(),  # noqa: B008, frozen
        void_border: int = 0,
        select_on: str | None = None,
        select_share: float = 0.2,
        no_object_classes: list[str] | None = None,
        num_workers: int = 2,
        min_steps_per_epoch: int = 1,
        balance_by: str | None = None,
        mask_augment: float = 0.0,
    ) -> None:
        super().__init__()
        if min(batch_size, masked_batch_size) < 1:
            raise ValueError(
                f"batch_size is {batch_size} and masked_batch_size {masked_batch_size}, expected at least 1 each"
            )
        # refused here, for a loader that fails inside the Trainer leaves every loader class of the process patched
        _expect(num_workers >= 0, "num_workers", num_workers, "0 or more")
        _expect(min_steps_per_epoch >= 1, "min_steps_per_epoch", min_steps_per_epoch, "at least 1")
        _expect(supervision in SUPERVISIONS, "supervision", supervision, "mask, box or outside_box")
        _expect(0 < box_dilation < float("inf"), "box_dilation", box_dilation, "a positive factor")
        _expect(other_boxes in ("unknown", "no"), "other_boxes", other_boxes, "unknown or no")
        _expect(void_border >= 0, "void_border", void_border, "0 or more pixels")
        _expect(select_on in (None, "masked"), "select_on", select_on, "null or masked")
        _expect(0 < select_share <= 1, "select_share", select_share, "a share above 0, at most 1")
        _expect(mask_seed is None or mask_seed >= 0, "mask_seed", mask_seed, "null or an integer from 0 on")
        _expect(0 <= mask_augment <= 1, "mask_augment", mask_augment, "a share, 0 to 1")
        _expect(balance_by in (None, *BALANCES), "balance_by", balance_by, f"null, {' or '.join(BALANCES)}")
        self.min_steps_per_epoch = min_steps_per_epoch
        self.batch_size = batch_size
        self.masked_batch_size = masked_batch_size
        self.supervision = supervision
        self.box_dilation = box_dilation
        self.other_boxes = other_boxes
        self.mask_noise = mask_noise
        self.void_border = void_border
        self.mask_budget = mask_budget
        self.select_on = select_on
        self.select_share = select_share
        self.no_object_classes = no_object_classes
        self.mask_seed = run_seed() if mask_seed is None else mask_seed
        self.num_workers = num_workers
        self.balance_by = balance_by
        self.mask_augment = mask_augment
        self.masked_ids: list[str] = []
        self.mask_list = ""
        self.select_ids: list[str] = []
        self.select_set: PictureSet | None = None
        self.masked_set: PictureSet | None = None
        self.times: np.ndarray | None = None

    @property
    def told_groups(self) -> tuple[str, ...]:
        """The name that a method is told of each of ``group_names``; groups of one name are one group to it."""
        return self.group_names

    def image_set(self, split: str | None = None) -> PictureSet:
        """Open the pictures of a split with their labels, without masks; None takes the training images."""
        raise NotImplementedError

    def count_train_groups(self) -> np.ndarray:
        """Count the training images of every group, ``(G,)``."""
        images = self.train_set if hasattr(self, "train_set") else self.image_set()
        groups = np.full(len(images), -1) if images.groups is None else images.groups
        return np.bincount(groups[groups >= 0], minlength=len(self.group_names))

    def draw_masked(
        self, ids: Sequence[str] | np.ndarray, has_pixels: np.ndarray
    ) -> tuple[MaskedRows, MaskedRows]:
        """Draw this run's masked subset and remember it; part of it may be for choosing settings.

        Args:
            ids: The names of the n training images.
            has_pixels: The classes whose pixels (or boxes) are known, ``(n, C)`` bool.

        Returns:
            The images whose masks guide the training, and those whose masks choose its settings.

        Raises:
            ValueError: If settings are to be chosen on masks, and there are too few.
        """
        has_pixels = self._with_place(has_pixels)
        drawn = draw_mask_budget(ids, has_pixels, self.mask_budget, self.mask_seed, self.class_names)
        has_mask: np.ndarray = np.logical_or.reduce(drawn, 1)
        held = np.zeros(len(ids), bool)
        if self.select_on == "masked":
            method = getattr(self.trainer, "lightning_module", None)
            takes_masks = self.mask_augment or getattr(method, "takes_masks", True)
            share = self.select_share if takes_masks else 1
            held = hold_out(ids, has_mask, self.mask_budget, share, self.mask_seed)
        self.masked_ids = [str(ids[row]) for row in np.flatnonzero(has_mask).tolist()]
        self.select_ids = [str(ids[row]) for row in np.flatnonzero(held).tolist()]
        self.mask_list = mask_list_text(ids, drawn, has_pixels, self.class_names, held)
        guiding, choosing = (np.flatnonzero(has_mask & which) for which in (~held, held))
        return MaskedRows(guiding, drawn[guiding]), MaskedRows(choosing, drawn[choosing])

    def annotator(self) -> Annotator | None:
        """Return who marks the images that guide the training; None takes their masks as they are."""
        if self.mask_noise == MaskNoise() and not self.void_border:
            return None
        return Annotator(self.mask_noise, self.void_border, len(self.class_names), self.mask_seed)

    def _with_place(self, has_pixels: np.ndarray) -> np.ndarray:
        """Leave out the pixels of classes that have no place, and say so if there are any."""
        names = self.no_object_classes or []
        places = places_of(names, self.class_names, "data.no_object_classes")
        if num_masks := int(has_pixels[:, places].any(1).sum()):
            rank_zero_warn(
                f"{num_masks} training images have masks of {', '.join(names)}, which have no place by "
                "data.no_object_classes: these masks guide nothing"
            )
        has_pixels = has_pixels.copy()
        has_pixels[:, places] = False
        return has_pixels

    def weak_stream(self) -> tuple[PictureSet, list[np.ndarray] | None]:
        """Return the images of the weak stream, and the lists of their rows that are drawn equally often.

        Raises:
            ValueError: If groups that are to be balanced, or masks that are to be spent as augmentation, are not there.
        """
        lists, images = None, self.train_set
        if self.times is not None:
            lists = [np.repeat(np.arange(len(self.times)), self.times)]
        if self.balance_by is not None:
            lists = balanced_lists(self.balance_by, images, self.told_groups)
        if self.mask_augment and self.masked_set is None:
            raise ValueError(
                f"data.mask_augment is {self.mask_augment}, but no training image carries a mask: expected masks and "
                "data.mask_budget above 0, or data.mask_augment 0"
            )
        if self.mask_augment and self.masked_set is not None:
            images = MaskAugmented(images, self.masked_set, share=self.mask_augment, seed=run_seed())
        return images, lists

    def train_dataloader(self) -> CombinedLoader:
        """Load both streams, ``{"weak": ..., "masked": ...}``; ``masked`` only with a mask budget."""
        ranks = self.trainer.world_size if self.trainer else 1
        size = len(self.train_set)
        if size < self.batch_size * ranks:
            raise ValueError(
                f"batch_size {self.batch_size} x {ranks} ranks is more than the {size} training images"
            )
        weak = draws_per_epoch(size, self.batch_size, ranks, self.min_steps_per_epoch)
        images, lists = self.weak_stream()
        loaders = {"weak": self._stream(images, self.batch_size, per_epoch=weak, lists=lists)}
        if self.masked_set is not None:
            steps = len(loaders["weak"])
            per_epoch = steps * self.masked_batch_size * ranks
            loaders["masked"] = self._stream(self.masked_set, self.masked_batch_size, per_epoch=per_epoch)
        return CombinedLoader(loaders, mode="min_size")

    def _stream(
        self,
        dataset: PictureSet,
        batch_size: int,
        per_epoch: int,
        lists: Sequence[np.ndarray] | None = None,
    ) -> DataLoader:
        ranks = (
            {}
            if self.trainer is None
            else {"rank": self.trainer.global_rank, "num_ranks": self.trainer.world_size}
        )
        sampler = StreamSampler(len(dataset), per_epoch=per_epoch, seed=run_seed(), lists=lists, **ranks)
        return self._loader(dataset, batch_size, sampler=sampler)

    def _loader(self, dataset: PictureSet, batch_size: int, sampler: Sampler | None = None) -> DataLoader:
        images = cast("Dataset[Sample]", dataset)
        options: dict[str, Any] = {
            # the seeds of workers do not depend on the draws of the training
            "generator": torch.Generator().manual_seed(run_seed()),
            "collate_fn": collate,
            "num_workers": self.num_workers,
            "worker_init_fn": begin_worker,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
        }
        if isinstance(sampler, StreamSampler):
            return StreamLoader(images, batch_size, trainer=self.trainer, sampler=sampler, **options)
        return Loader(images, batch_size, sampler=sampler, **options)

    def in_order(self, images: PictureSet) -> DataLoader:
        """Load every picture of a set, in order, in each process."""
        return self._loader(images, self.batch_size)

    def predict_dataloader(self) -> DataLoader:
        """Load the set to predict, in order, where the data have one."""
        return self.in_order(self.predict_set)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """Load the validation set and, if there is one, the set for choosing, in order, each image in one process."""
        if self.select_set is None:
            return self._judged("val", self.val_set)
        return [self._judged("val", self.val_set), self._judged("select", self.select_set)]

    def test_dataloader(self) -> list[DataLoader]:
        """Load every test set, in the order of ``test_sets``, each image in one process."""
        return [self._judged(name, dataset) for name, dataset in self.test_sets.items()]

    def _judged(self, name: str, dataset: PictureSet) -> DataLoader:
        return self._loader(dataset, self.batch_size, share_out(name, dataset, self.trainer))


def _expect(is_fit: bool, name: str, value: Any, expected: str) -> None:
    if not is_fit:
        raise ValueError(f"data.{name} is {value!r}, expected {expected}")


def draws_per_epoch(size: int, batch_size: int, num_ranks: int, min_steps: int) -> int:
    """Return how many images an epoch of all ranks draws: every image once, but at least so many batches a rank.

    Example:
        >>> draws_per_epoch(100, 16, 1, min_steps=1), draws_per_epoch(100, 16, 1, min_steps=60)
        (100, 960)
    """
    rows = -(-size // num_ranks)
    is_long_enough = -(-rows // batch_size) >= min_steps
    return size if is_long_enough else min_steps * batch_size * num_ranks


def run_seed() -> int:
    """Return the seed of this run, as ``seed_everything`` left it; 0 without one."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


def share_out(name: str, dataset: Sized, trainer: pl.Trainer | None) -> UnrepeatedDistributedSampler:
    """Share the images of a set out among the processes: process r of R judges the images r, r + R, r + 2R, ...

    Every image is judged by one process, so that scores count it once. The sampler that Lightning would take instead
    repeats the first images until all processes have equally many.

    Args:
        name: The name of the set, for the error.
        dataset: The set.
        trainer: The trainer, which knows the processes; without one there is one process.

    Raises:
        ValueError: If there are fewer images than processes: a process that judges nothing would never join the
            others where they add up their scores.
    """
    ranks = 1 if trainer is None else trainer.world_size
    if 0 < len(dataset) < ranks:
        raise ValueError(
            f"set {name} has {len(dataset)} images for {ranks} processes, expected at least one a process: "
            f"trainer.devices x trainer.num_nodes of at most {len(dataset)}"
        )
    rank = 0 if trainer is None else trainer.global_rank
    return UnrepeatedDistributedSampler(dataset, num_replicas=ranks, rank=rank, shuffle=False)
