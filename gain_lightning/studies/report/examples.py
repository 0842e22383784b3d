"""The same test images through every method, in rows of image, ground truth, and one map a method."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gain_lightning.constants import YES
from gain_lightning.drawing.encoding import data_uri, shrink
from gain_lightning.drawing.maps import colour_mask, grey, overlay
from gain_lightning.runs.images import ImageTable
from gain_lightning.runs.maps import Maps, read_maps
from gain_lightning.runs.read import Run
from gain_lightning.studies.comparison.groups import Group, method_title
from gain_lightning.studies.comparison.tables import points
from gain_lightning.support.masks import class_to_index_mask

NUM_ROWS = 12
# The share of a map that rows are ordered by, and where that share lies; the first that a method has.
_ENERGIES = {"energy": "on the object", "energy_in_box": "in its box"}
_SIDE = 224  # longest side of a picture, pixels

Pair = tuple[str, str]  # image id, class name


class Tile(NamedTuple):
    """One picture of a row: its caption, its description in words, and its data URI ("" where there is none)."""

    caption: str
    alt: str
    uri: str


class Row(NamedTuple):
    """An image and one of its classes; ``change`` says how the last method's map differs from the first's."""

    image_id: str
    class_name: str
    change: str
    tiles: list[Tile]


def first_runs(groups: Sequence[Group]) -> list[Run]:
    """Return the run of every group that its pictures come from, which is the one with the lowest seed."""
    return [min(group.runs, key=lambda run: (run.seed is None, run.seed or 0)) for group in groups]


def example_rows(
    groups: Sequence[Group], tables: Mapping[str, ImageTable | None]
) -> tuple[list[Row], list[str]]:
    """Return rows for the (image, class) pairs of which every method's first run keeps maps.

    Pairs are ordered by the change in the share of the map on its object from the first method to the last: the
    worst, the best, the second worst, and so on. Without such scores they keep the order of the test set.

    Args:
        groups: The methods.
        tables: The scores of each first run on the test set, by the run's path; None for a run without them.

    Returns:
        At most ``NUM_ROWS`` rows, and the paths of runs without maps.

    Raises:
        RunError: If a run's maps are unreadable.
    """
    runs = first_runs(groups)
    maps = [read_maps(run.path) for run in runs]
    # One score for all methods, since a share of masks and one of boxes are no change of each other.
    score = next((key for key in _ENERGIES for run in runs if _energies(tables.get(run.path), key)), "energy")
    kept = [
        (method_title(group.name), m, _pairs(m), _energies(tables.get(run.path), score))
        for group, run, m in zip(groups, runs, maps, strict=True)
        if m is not None
    ]
    missing = [run.path for run, m in zip(runs, maps, strict=True) if m is None]
    if not kept:
        return [], missing
    common = [pair for pair in kept[0][2] if all(pair in places for _, _, places, _ in kept)]
    (first_name, first, places, before), (last_name, _, _, after) = kept[0], kept[-1]
    changes = {pair: after[pair] - before[pair] for pair in common if pair in before and pair in after}
    rows = []
    for pair in _worst_and_best(common, changes)[:NUM_ROWS]:
        image_id, class_name = pair
        image = first.image[first.pair_image[places[pair]]]
        tiles = [
            Tile("image", f"Image {image_id}", data_uri(shrink(image, _SIDE), lossy=True)),
            _truth(first, places[pair], class_name),
        ]
        tiles += [_map_tile(name, m, at[pair], pair, energies, score) for name, m, at, energies in kept]
        change = ""
        if pair in changes and len(kept) > 1:
            change = f"{first_name} to {last_name}: {points(changes[pair])} points {_ENERGIES[score]}"
        rows.append(Row(image_id, class_name, change, tiles))
    return rows, missing


def _worst_and_best(pairs: Sequence[Pair], changes: Mapping[Pair, float]) -> list[Pair]:
    """Return the pairs in turns from both ends of their order by change; pairs without a change come last.

    Example:
        >>> _worst_and_best("abcde", {"a": 0.1, "b": -0.2, "c": 0.3, "d": 0.0})
        ['b', 'c', 'd', 'a', 'e']
    """
    ordered = sorted((pair for pair in pairs if pair in changes), key=changes.__getitem__)
    turns = [ordered[i // 2] if i % 2 == 0 else ordered[-1 - i // 2] for i in range(len(ordered))]
    return turns + [pair for pair in pairs if pair not in changes]


def _truth(maps: Maps, place: int, class_name: str) -> Tile:
    """Return the picture of a pair's mask, or of its filled boxes where they judge, in the colour of the class."""
    what, truths = ("Mask", maps.pair_mask) if maps.pair_box is None else ("Boxes", maps.pair_box)
    if not (truths[place] == YES).any():
        return Tile("ground truth", f"No {what.lower()} of {class_name}", "")
    coloured = colour_mask(class_to_index_mask(truths[place], maps.pair_class[place]))
    return Tile("ground truth", f"{what} of {class_name}", data_uri(shrink(coloured, _SIDE, smooth=False)))


def _map_tile(
    name: str, maps: Maps, place: int, pair: Pair, energies: Mapping[Pair, float], score: str
) -> Tile:
    attention = maps.map[place].astype(np.float32).clip(0)
    highest = float(attention.max(initial=0))
    picture = overlay(grey(maps.image[maps.pair_image[place]]), attention / (highest or 1))
    caption, alt = name, f"Attention of {name} for {pair[1]}"
    if not highest:
        caption, alt = f"{name}, all zero", f"{alt}: zero everywhere"
    elif pair in energies:
        share = f"{100 * energies[pair]:.0f} %"
        caption, alt = f"{name}, {share}", f"{alt}: {share} {_ENERGIES[score]}"
    return Tile(caption, alt, data_uri(shrink(picture, _SIDE), lossy=True))


def _pairs(maps: Maps) -> dict[Pair, int]:
    """Return the index of each pair's map."""
    pairs = zip(maps.ids[maps.pair_image], maps.class_names[maps.pair_class], strict=True)
    return {(str(image_id), str(class_name)): index for index, (image_id, class_name) in enumerate(pairs)}


def _energies(table: ImageTable | None, score: str) -> dict[Pair, float]:
    """Return the share of each judged pair's map that lies on its object, or in its box."""
    if table is None or score not in table.of_pairs:
        return {}
    energy = table.of_pairs[score]
    judged = np.argwhere(~np.isnan(energy)).tolist()
    return {(table.ids[n], table.class_names[c]): float(energy[n, c]) for n, c in judged}
