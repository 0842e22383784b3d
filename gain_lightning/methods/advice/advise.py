"""Say which images of a run are worth marking: the work of ``gain next``."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from gain_lightning.datasets.image_set import ImageSet
from gain_lightning.datasets.mask_budget import listed_ids
from gain_lightning.datasets.run_data import open_run_data
from gain_lightning.datasets.sample import PictureSet
from gain_lightning.datasets.streams import TwoStreamDataModule
from gain_lightning.methods.advice import DEFAULT, MARK_THRESHOLD, POLICIES, STRATA
from gain_lightning.methods.advice.choose import Choice, choose
from gain_lightning.methods.advice.look import Seen, look
from gain_lightning.methods.advice.values import VALUES
from gain_lightning.methods.advice.write import Advised, refuse_used, write_advice
from gain_lightning.methods.classifier import Classifier
from gain_lightning.methods.load import load_classifier
from gain_lightning.runs.checkpoints import tested_checkpoint
from gain_lightning.runs.masked import masked_list
from gain_lightning.runs.provenance import git_commit
from gain_lightning.support.names import composed


@dataclass(frozen=True)
class AdviceOptions:
    """The settings by which images are chosen.

    Attributes:
        count: The number of images to mark.
        policy: A key of :data:`~gain_lightning.methods.advice.POLICIES`.
        stratify: What is taken equally often, of :data:`~gain_lightning.methods.advice.STRATA`; None takes what the
            policy does.
        data: The folder of the data; None takes the run's.
        simulated: Whether marks that the run was not trained with count as not drawn yet.
        exclude: Mask lists of images that are not to be chosen.
        candidates: The number of images that are looked at, drawn by the seed; None looks at all.
        seed: Seed of all draws.
        threshold: The share of a map's maximum above which a pixel is marked in advance.
        export: The formats in which the chosen images are written, keys of
            :data:`~gain_lightning.datasets.writers.WRITERS`.
        batch_size: The number of images at a time.
        device: The device of the network; None takes a GPU if there is one.
    """

    count: int = 20
    policy: str = DEFAULT
    stratify: Sequence[str] | None = None
    data: str | None = None
    simulated: bool = False
    exclude: Sequence[Path] = ()
    candidates: int | None = None
    seed: int = 0
    threshold: float = MARK_THRESHOLD
    export: Sequence[str] = ()
    batch_size: int = 16
    device: str | None = None


class _Candidates(NamedTuple):
    """The training images of a run, and which of them may be chosen.

    Attributes:
        images: All training images with their labels.
        rows: Those that may be chosen.
        marked_rows: Those that are marked already.
        marked: The latter with their masks, if there are any.
    """

    images: PictureSet
    rows: np.ndarray
    marked_rows: np.ndarray
    marked: PictureSet | None


def advise(run: Path, out: Path, options: AdviceOptions) -> list[Advised]:
    """Choose images and write all that ``gain next --help`` lists.

    Args:
        run: The run folder, with a checkpoint of a classifier.
        out: The folder to write to.
        options: The settings.

    Returns:
        What was chosen, in its order.

    Raises:
        FileNotFoundError: If the run has no config, or its data are gone.
        FileExistsError: If ``out`` holds an earlier choice.
        ValueError: If the data have other classes, too few images are left, or the policy cannot judge them.
    """
    refuse_used(out)
    checkpoint = tested_checkpoint(run)
    model = load_classifier(checkpoint).eval()
    model = model.to(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    data, found = find_candidates(model, run, options)
    pool = look(
        model,
        found.images,
        found.rows,
        with_views=options.policy == "disagreement",
        batch_size=options.batch_size,
    )
    marked = _look_at_marked(model, found, options)
    advised = _choose(found, pool, marked, data.group_names, options)
    settings = {
        "run": run.resolve().name,
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        **{key: getattr(options, key) for key in ("count", "policy", "seed", "candidates", "simulated")},
        "strata": list(_strata(options, data.group_names)),
        "num_candidates": len(found.rows),
        "num_marked": len(found.marked_rows),
        "git_commit": git_commit(),
    }
    write_advice(
        model, found.images, advised, out, settings, masked_list(run), options.threshold, options.export
    )
    return advised


def find_candidates(
    model: Classifier, run: Path, options: AdviceOptions
) -> tuple[TwoStreamDataModule, _Candidates]:
    """Find the training images of a run that have a label with a place, and no mark.

    Where marks are simulated, those that are chosen must have a mask in the data.
    """
    data = _open(run, options, 1.0)
    images, marked, known = data.image_set(), data.masked_set, set(map(composed, data.masked_ids))
    names = np.array([composed(str(image_id)) for image_id in images.ids], dtype=str)
    if tuple(images.class_names) != tuple(model.hparams.class_names):
        raise ValueError(
            f"{run}: its classes are {model.hparams.class_names}, the data's {images.class_names}"
        )
    can_be_marked = np.ones(len(names), bool)
    if options.simulated:
        can_be_marked = np.isin(names, list(known))
        own = masked_list(run)
        of_run = None if own is None else _open(run, options, str(own))
        marked = None if of_run is None else of_run.masked_set
        known = set() if of_run is None else set(map(composed, of_run.masked_ids))
    # pictures are looked at as they are
    if isinstance(marked, ImageSet):
        marked.train_transform = None
    barred = known.union(*(map(composed, listed_ids(path)) for path in options.exclude))
    label = model.with_place(torch.as_tensor(images.labels)).numpy() > 0
    rows = np.flatnonzero(can_be_marked & label.any(1) & ~np.isin(names, list(barred)))
    if not len(rows):
        raise ValueError(
            f"{run}: all {len(names)} training images have marks, are excluded or show no class; expected some without "
            "marks, or --simulated to take marks that the run was not trained with as not drawn yet"
        )
    if options.candidates is not None:
        rows = np.sort(np.random.default_rng(options.seed).permutation(rows)[: options.candidates])
    return data, _Candidates(images, rows, np.flatnonzero(np.isin(names, list(known))), marked)


def _open(run: Path, options: AdviceOptions, budget: Any) -> TwoStreamDataModule:
    """Open a run's data with the masks of a budget."""
    data = open_run_data(run, options.data, mask_budget=budget, select_on=None)
    data.setup("fit")
    return data


def _look_at_marked(model: Classifier, found: _Candidates, options: AdviceOptions) -> Seen | None:
    """Look at what is marked, if the policy asks for it."""
    if found.marked is None or options.policy not in ("spread", "unlike_marked"):
        return None
    rows = np.arange(len(found.marked))
    return look(model, found.marked, rows, by_mask=True, batch_size=options.batch_size)


def _strata(options: AdviceOptions, group_names: Sequence[str]) -> tuple[str, ...]:
    """Return what is taken equally often, as far as the data have it."""
    default = STRATA if POLICIES[options.policy].is_stratified else ()
    asked = default if options.stratify is None else tuple(options.stratify)
    return tuple(name for name in asked if name != "group" or group_names)


def _choose(
    found: _Candidates, pool: Seen, marked: Seen | None, group_names: Sequence[str], options: AdviceOptions
) -> list[Advised]:
    """Choose among the candidates by the policy."""
    strata = _strata(options, group_names)
    groups = found.images.groups
    keys = _keys(found.rows[pool.image], pool.class_idx, groups, strata)
    marked_image, marked_class = np.nonzero(found.images.labels[found.marked_rows] > 0)
    marked_keys = _keys(found.marked_rows[marked_image], marked_class, groups, strata)
    known, number = np.unique(np.concatenate([keys, marked_keys]), axis=0, return_inverse=True)
    number = number.ravel()
    once = np.unique(np.stack([marked_image, number[len(keys) :]]), axis=1)[1]
    value = VALUES[options.policy]
    chosen = choose(
        lambda taken: value(pool, marked, taken, options.seed),
        pool.image,
        number[: len(keys)],
        options.count,
        taken=np.bincount(once, minlength=len(known)),
        seed=options.seed,
    )
    return [
        _advised(place, one, found, pool, group_names, options) for place, one in enumerate(chosen, start=1)
    ]


def _advised(
    place: int,
    one: Choice,
    found: _Candidates,
    pool: Seen,
    group_names: Sequence[str],
    options: AdviceOptions,
) -> Advised:
    """Name an image that was chosen, and say why it was."""
    row, class_idx = int(found.rows[pool.image[one.pair]]), int(pool.class_idx[one.pair])
    number = -1 if found.images.groups is None else int(found.images.groups[row])
    class_name, group = str(found.images.class_names[class_idx]), group_names[number] if number >= 0 else ""
    words = {"class": f" of {class_name}", "group": f" in group {group}" if group else " in no group"}
    of = "".join(words[name] for name in _strata(options, group_names))
    return Advised(
        place,
        row,
        str(found.images.ids[row]),
        class_idx,
        class_name,
        group,
        one.value,
        float(pool.score[one.pair]),
        float(pool.strength[one.pair]),
        POLICIES[options.policy].why.format(value=abs(one.value), count=one.num_left, of=of),
    )


def _keys(
    rows: np.ndarray, class_idx: np.ndarray, groups: np.ndarray | None, strata: Sequence[str]
) -> np.ndarray:
    """Return the class and the group of pairs, -1 where it does not count, ``(P, 2)``."""
    none = np.full(len(rows), -1)
    return np.stack(
        [
            class_idx if "class" in strata else none,
            groups[rows] if "group" in strata and groups is not None else none,
        ],
        1,
    )
