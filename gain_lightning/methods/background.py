"""Measure how far a classifier's decisions depend on the ground: the work of ``gain background``.

Xiao et al. (Noise or Signal, ICLR 2021) call the difference between objects on grounds of their own class and on
grounds of other classes the background gap. It needs no unbiased set: masks or boxes of some pictures suffice.

With many labels every marked (image, class) pair counts: its class is recognised where its probability is above one
half. With a single label it is recognised where it is the likeliest. ``background.json`` holds

- ``split`` and ``grounds``, where objects and grounds are from, ``num_images``, ``num_objects`` and ``num_grounds``;
  and how many objects were left out: ``too_large``, which leave no ground, and ``without_ground``, for which there is
  no other ground;
- ``versions``: for every version the share that was recognised, its ``mean`` and 95 % ``interval``;
- ``gap``, the share on grounds of the objects' classes less that on grounds of other classes, with its interval;
- ``chance``, how often the same classes are said of grounds of pictures that do not show them: where ``removed``
  objects are recognised more often than that, their ground gives them away;
- ``control_cost``, what pasting back costs, and whether it is small enough for all this to be ``trusted``;
- ``classes``: the same for the objects of each class.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gain_lightning.attention import Pairs
from gain_lightning.datasets.compositions import Composed, Compositions, make_grounds
from gain_lightning.datasets.run_data import marked_pictures, open_run_data
from gain_lightning.datasets.sample import PictureSet
from gain_lightning.drawing.encoding import save_png
from gain_lightning.drawing.samples import Tile, sample_grid
from gain_lightning.methods.borders import normalized
from gain_lightning.methods.classifier import Classifier
from gain_lightning.methods.load import load_classifier
from gain_lightning.metrics.resampling import draw_images, mean_interval
from gain_lightning.runs.background import VERSIONS, Objects, write_background
from gain_lightning.runs.checkpoints import tested_checkpoint

# The control may cost so much accuracy; where it costs more, pasting itself changes decisions.
MOST_COST = 0.02
# Objects at a time, each in all versions.
_BATCH = 8


@dataclass(frozen=True)
class BackgroundOptions:
    """The settings of a measurement.

    Attributes:
        data: The folder of the data; None takes the run's.
        split: The pictures whose objects are shown; None takes the first test set.
        grounds: The pictures whose grounds they are shown on.
        images: The number of pictures whose objects are shown at most.
        seed: Seed of all draws.
        num_examples: The number of objects that are kept to look at.
        device: The device of the network; None takes a GPU if there is one.
    """

    data: str | None = None
    split: str | None = None
    grounds: str = "train"
    images: int = 1000
    seed: int = 0
    num_examples: int = 0
    device: str | None = None


class Measured(NamedTuple):
    """The result of :func:`measure`: what ``background.json`` holds, the objects, and examples to look at."""

    result: dict[str, Any]
    objects: Objects
    examples: list[Composed]


def check_background(run: Path, options: BackgroundOptions) -> Measured:
    """Measure a run and write ``background.json`` and ``background.csv``.

    Args:
        run: The run folder, with a checkpoint of a classifier.
        options: The settings.

    Returns:
        The result.

    Raises:
        FileNotFoundError: If the run has no config, or its data are gone.
        ValueError: If the run's task is regression, the data have other classes or no marks, or no object can be
            judged.
    """
    model = load_classifier(tested_checkpoint(run)).eval()
    if model.task.has_amounts:
        raise ValueError(
            f"{run}: its task is {model.task.name}, which recognises no class; expected multi_label or single_label"
        )
    model = model.to(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    data = open_run_data(run, options.data, mask_budget=1.0, select_on=None)
    split, images = marked_pictures(data, options.split)
    _, of_grounds = (split, images) if options.grounds == split else marked_pictures(data, options.grounds)
    if tuple(images.class_names) != tuple(model.hparams.class_names):
        raise ValueError(
            f"{run}: its classes are {model.hparams.class_names}, the data's {images.class_names}"
        )
    classes = model.scored
    if data.accuracy_class is not None:
        classes = [list(images.class_names).index(data.accuracy_class)]
    measured = measure(
        model,
        images,
        of_grounds,
        classes,
        seed=options.seed,
        most=options.images,
        num_examples=options.num_examples,
    )
    result = {"split": split, "grounds": options.grounds, **measured.result}
    write_background(run, result, measured.objects)
    return measured._replace(result=result)


def measure(
    model: Classifier,
    images: PictureSet,
    of_grounds: PictureSet,
    classes: Sequence[int],
    *,
    seed: int = 0,
    most: int = 1000,
    num_examples: int = 0,
) -> Measured:
    """Show objects to a classifier in all versions and count how often it recognises their class.

    Args:
        model: A classifier in evaluation mode.
        images: Marked pictures whose objects are shown.
        of_grounds: Marked pictures whose grounds they are shown on.
        classes: The classes whose objects are shown.
        seed: Seed of all draws.
        most: The number of pictures whose objects are shown at most.
        num_examples: The number of objects that are kept to look at.

    Raises:
        ValueError: If no object can be judged.
    """
    grounds = make_grounds(of_grounds, seed)
    shown = Compositions(images, grounds, classes, seed=seed, most=most)
    seen, examples = _look(model, shown, num_examples)
    if not seen:
        raise ValueError(
            f"no object can be judged: {shown.too_large} leave no ground, {shown.without_ground} have no ground of "
            f"their own and of another class among {len(grounds)}; expected marks of two pictures a class"
        )
    names, class_idx, labels, decided = zip(*seen, strict=True)
    said, of_class = np.stack(decided), np.array(class_idx)
    objects = Objects(list(names), said[np.arange(len(seen)), :, of_class])
    chance = _chance(said[:, list(VERSIONS).index("removed")], np.stack(labels))
    result = {
        "num_images": shown.num_images,
        "num_objects": len(seen),
        "too_large": shown.too_large,
        "without_ground": shown.without_ground,
        "num_grounds": len(grounds),
        "seed": seed,
        "population": "intervals: 95 %, over images drawn like these, of this one network",
        **_summary(objects, chance[of_class], draw_images(_pairs(objects), seed)),
    }
    return Measured(result, objects, examples)


class _Seen(NamedTuple):
    """An object's names, see :class:`Objects`, its class, its picture's label, and what was said, ``(V, C)`` bool."""

    names: tuple[str, ...]
    class_idx: int
    label: np.ndarray
    decided: np.ndarray


def _look(model: Classifier, shown: Compositions, num_examples: int) -> tuple[list[_Seen], list[Composed]]:
    """Show every object to a classifier; the first ones are also returned as they were shown."""
    seen: list[_Seen] = []
    examples: list[Composed] = []
    class_names = shown.images.class_names
    for batch in _batches(tqdm(shown, "objects", leave=False, disable=None)):
        examples += batch[: num_examples - len(examples)]
        for one, decided in zip(batch, _decide(model, batch), strict=True):
            marked = one.marked
            names = (marked.id, str(class_names[marked.class_idx]), one.own, one.other)
            seen.append(_Seen(names, marked.class_idx, marked.label, decided))
    return seen, examples


def _batches(composed: Iterable[Composed]) -> Iterator[list[Composed]]:
    """Yield objects, a few at a time."""
    objects = iter(composed)
    while batch := list(itertools.islice(objects, _BATCH)):
        yield batch


def _decide(model: Classifier, batch: Sequence[Composed]) -> np.ndarray:
    """Return what a classifier says of B objects in V versions, ``(B, V, C)`` bool."""
    pictures = np.stack([one.pictures[version] for one in batch for version in VERSIONS])
    shown = {"image": torch.from_numpy(pictures).permute(0, 3, 1, 2).to(model.device)}
    windows = [one.marked.window for one in batch for _ in VERSIONS]
    if windows[0] is not None:
        shown["window"] = torch.tensor(windows)
    with torch.no_grad():
        score = model.scores(model(normalized(model.backbone, shown)))
    decided: np.ndarray = model.task.decide(score).view(len(batch), len(VERSIONS), -1).cpu().numpy()
    return decided


def _chance(said: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how often each class is said of the grounds of pictures that do not show it, ``(C,)``.

    Args:
        said: What is said of P grounds, ``(P, C)`` bool.
        labels: What their pictures show, ``(P, C)`` bool.

    Returns:
        A share for every class, nan where all pictures show it.

    Example:
        >>> said = np.array([[True, False], [True, False], [False, True]])
        >>> labels = np.array([[True, False], [False, True], [False, True]])
        >>> _chance(said, labels).tolist()
        [0.5, 0.0]
    """
    with np.errstate(invalid="ignore"):
        share: np.ndarray = (said & ~labels).sum(0) / (~labels).sum(0)
    return share


def _pairs(objects: Objects) -> Pairs:
    """Return the objects as pairs of their images, as far as a draw of images needs them."""
    image = torch.from_numpy(objects.image)
    none = torch.zeros_like(image)
    return Pairs(image, none, none, int(image.max()) + 1, 1)


def _summary(objects: Objects, chance: np.ndarray, weight: Tensor) -> dict[str, Any]:
    """Summarise P objects; see :func:`measure`.

    Args:
        objects: The objects.
        chance: How often the class of each is said by chance, ``(P,)``.
        weight: How often each object counts in R draws of images, ``(R, P)``.
    """
    whole = _shares(objects, chance, np.ones(len(objects.names), bool), weight)
    cost = whole["versions"]["as_is"]["mean"] - whole["versions"]["control"]["mean"]
    by_class = {}
    for name in dict.fromkeys(sorted(objects.class_names)):
        of_class = np.array(objects.class_names) == name
        by_class[name] = {
            "num_objects": int(of_class.sum()),
            **_shares(objects, chance, of_class, weight),
        }
    return {
        **whole,
        "control_cost": round(cost, 6),
        "trusted": bool(round(cost, 6) <= MOST_COST),
        "classes": by_class,
    }


def _shares(objects: Objects, chance: np.ndarray, kept: np.ndarray, weight: Tensor) -> dict[str, Any]:
    """Summarise some of the objects, ``kept`` ``(P,)`` bool."""
    weight = weight[:, kept]
    seen = {key: torch.from_numpy(objects.of(key)[kept]).double() for key in VERSIONS}
    known = chance[kept][~np.isnan(chance[kept])]
    return {
        "versions": {key: _mean(values, weight) for key, values in seen.items()},
        "gap": _mean(seen["own_ground"] - seen["other_ground"], weight),
        "chance": round(float(known.mean()), 6) if len(known) else None,
    }


def _mean(values: Tensor, weight: Tensor) -> dict[str, Any]:
    return {"mean": round(float(values.mean()), 6), "interval": mean_interval(values, weight)}


def draw_examples(measured: Measured, path: Path) -> None:
    """Draw the examples of a measurement, a row an object; a tick stands where its class was recognised."""
    rows = zip(measured.examples, measured.objects.names, measured.objects.recognised, strict=False)
    tiles = []
    for one, (_, class_name, *_), row in rows:
        for (key, title), seen in zip(VERSIONS.items(), row, strict=True):
            what = f"{class_name} {title}" if key == "as_is" else title
            tiles.append(Tile(one.pictures[key], labels=[(-1, f"{'✓' if seen else '✗'} {what}")]))
    save_png(path, sample_grid(tiles, columns=len(VERSIONS)))
