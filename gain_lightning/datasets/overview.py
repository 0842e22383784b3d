"""An overview of a data set: its contents in words, and some of its samples as a grid."""

import difflib
from pathlib import Path

import numpy as np

from gain_lightning.datasets.contents import Contents
from gain_lightning.datasets.groups import grouped
from gain_lightning.datasets.images import read_image
from gain_lightning.datasets.listing import Listing
from gain_lightning.datasets.readers import FOLDER_MODULE, reader_of
from gain_lightning.datasets.readers.annotations import Asked
from gain_lightning.datasets.val_draw import ValDraw, with_val
from gain_lightning.support.names import look_of

# Names that people give to pictures without an object.
NO_PLACE = {"normal", "good", "none", "background", "healthy", "negative"}


def read_data(root: Path, asked: Asked = Asked()) -> Contents:  # noqa: B008, immutable
    """Read a folder of any layout, or annotations of another tool, as a training with the default settings would.

    Args:
        root: The folder, or a file of annotations.
        asked: What a person says of annotations besides.

    Returns:
        The pictures of every split, all that is wrong, and all that may not be meant.

    Raises:
        FileNotFoundError: If no reader finds pictures there.
        ValueError: If a table lacks a column.
    """
    reader = reader_of(root, asked=asked)
    contents = reader.read(root)
    if reader.module != FOLDER_MODULE:
        notes = (
            label_notes(contents.listings) + mark_notes(contents.listings) + place_notes(contents.listings)
        )
        return contents._replace(notes=notes + contents.notes)
    contents = with_val(grouped(contents), ValDraw())
    listings = contents.listings
    absent = [name for name in ("train", "val") if name not in listings]
    missing = [contents.missing(name) for name in absent if len(absent) == 1]
    notes = label_notes(listings) + split_notes(listings) + mark_notes(listings) + place_notes(listings)
    notes += [*contents.changes, *contents.notes]
    return contents._replace(problems=contents.problems + missing, notes=notes)


def summary_text(root: Path, listings: dict[str, Listing]) -> str:
    """Count pictures by class and split, and those with masks or boxes, and write the counts as a table."""
    total = sum(map(len, listings.values()))
    if not total:
        return f"{root}: no picture"
    labels = np.concatenate([listing.labels for listing in listings.values()])
    per_picture = (labels > 0).sum(1)
    kind = (
        "single-label"
        if (per_picture == 1).all()
        else f"multi-label, {per_picture.mean():.2f} labels a picture"
    )
    if _are_amounts(listings):
        kind = f"amounts from {labels.min():g} to {labels.max():g}, mean {labels.mean():.3g}"
    class_names = next(iter(listings.values())).class_names
    rows = [["class", *listings]]
    rows += [
        [name, *(str(int((listing.labels[:, idx] > 0).sum())) for listing in listings.values())]
        for idx, name in enumerate(class_names)
    ]
    rows.append(
        ["no class", *(str(int((listing.labels.sum(1) == 0).sum())) for listing in listings.values())]
    )
    rows.append(["pictures", *(str(len(listing)) for listing in listings.values())])
    rows.append(["with masks", *(str(int(listing.is_drawn.sum())) for listing in listings.values())])
    rows.append(["with boxes", *(str(len(np.unique(listing.box_row))) for listing in listings.values())])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
    return "\n".join([f"{root}: {total} pictures, {len(class_names)} classes, {kind}", *lines])


def _are_amounts(listings: dict[str, Listing]) -> bool:
    return any((listing.labels > 1).any() or (listing.labels % 1 > 0).any() for listing in listings.values())


def label_notes(listings: dict[str, Listing]) -> list[str]:
    """Note what labels say of a training, which is no problem but may not be meant."""
    if not sum(map(len, listings.values())):
        return []
    notes = []
    if _are_amounts(listings):
        notes.append("labels are amounts: train with --model.task regression")
    elif (np.concatenate([listing.labels.sum(1) for listing in listings.values()]) == 1).all():
        notes.append("one label each: train with --model.task single_label")
    names = list(next(iter(listings.values())).class_names)
    if "train" in listings:
        counts = listings["train"].labels.sum(0)
        notes += [f"class {names[idx]!r} has no training picture" for idx in np.flatnonzero(counts == 0)]
    for idx, name in enumerate(names):
        near = difflib.get_close_matches(name.lower(), [other.lower() for other in names[:idx]], cutoff=0.66)
        if near and (name.lower() in near or sorted(near[0]) == sorted(name.lower())):
            other = next(other for other in names if other.lower() == near[0])
            notes.append(f"classes {other!r} and {name!r} are two: is one a slip?")
    return notes


def split_notes(listings: dict[str, Listing]) -> list[str]:
    """Note what the names of splits say of a training on a folder of pictures."""
    if not sum(map(len, listings.values())):
        return []
    notes = []
    further = [name for name in listings if name not in ("train", "val", "test")]
    if further:
        score = "error" if _are_amounts(listings) else "accuracy"
        notes.append(f"further test sets, scored by their {score} alone: {', '.join(map(repr, further))}")
    if not {"train", "val"} & set(listings):
        notes.append("neither split 'train' nor 'val': of use as one of --data.test_folders alone")
    elif "test" not in listings:
        notes.append("no test split: test scores will be those of val")
    return notes


def mark_notes(listings: dict[str, Listing]) -> list[str]:
    """Note what masks and boxes say of a training, and what judges its maps."""
    num_masks = sum(int(listing.is_drawn.sum()) for listing in listings.values())
    num_boxes = sum(len(np.unique(listing.box_row)) for listing in listings.values())
    notes = []
    if num_masks and num_boxes:
        notes.append("a run is supervised by masks or by boxes: --data.supervision mask, or box")
    elif num_boxes:
        notes.append("boxes alone: train with --data.supervision box")
    # "val" is drawn from pictures without a split
    judged = ((name or "val", listing) for name, listing in listings.items() if name != "train")
    boxed = [name for name, listing in judged if listing.has_boxes_alone]
    if boxed:
        names = ", ".join(map(repr, boxed))
        notes.append(f"boxes judge the maps of {names}, by scores with names of their own")
    return notes


def place_notes(listings: dict[str, Listing]) -> list[str]:
    """Note a class that by its name has no place in a picture, if nobody drew it while others are drawn."""
    if not sum(map(len, listings.values())):
        return []
    marked = [(listing.has_pixels | listing.has_box).any(0) for listing in listings.values()]
    is_marked = np.logical_or.reduce(marked)
    names = next(iter(listings.values())).class_names
    found = [
        name for name, drawn in zip(names, is_marked, strict=True) if look_of(name) in NO_PLACE and not drawn
    ]
    if not found or not is_marked.any():
        return []
    listed = f"[{', '.join(found)}]"
    return [
        f"nothing is drawn of {', '.join(found)}: --data.no_object_classes {listed} gives such a class no maps"
    ]


def draw_samples(listings: list[Listing], out: Path, count: int, seed: int) -> tuple[int, list[str]]:
    """Draw a grid of pictures with labels, masks and boxes; those that cannot be read are left out.

    Args:
        listings: The pictures to choose from; those with masks or boxes come first.
        out: The PNG file that is written.
        count: The largest number of pictures.
        seed: The seed of the choice.

    Returns:
        The number of pictures drawn, and a line for each name of a class that no font of this machine can show.

    Raises:
        ValueError: If there is no readable picture.
    """
    from gain_lightning.drawing.encoding import save_png
    from gain_lightning.drawing.samples import Tile, sample_grid
    from gain_lightning.drawing.text import can_show

    names = listings[0].class_names if listings else ()
    shown = [name if can_show(name) else f"class {number}" for number, name in enumerate(names, start=1)]
    tiles = []
    for listing, row in _chosen(listings, count, seed):
        size = tuple(int(side) for side in listing.size[row])
        labels = [
            (idx, shown[idx] + (f" {amount:g}" if amount != 1 else ""))
            for idx, amount in enumerate(listing.labels[row].tolist())
            if amount
        ]
        try:
            image, mask = read_image(listing.image_path(row)), listing.mask(row, size)
        except (OSError, ValueError):
            # `gain data check` names it
            continue
        name = str(listing.ids[row])
        tiles.append(Tile(image, name, labels or [(-1, "no class")], mask, listing.boxes(row)))
    if not tiles:
        raise ValueError("no picture could be read; `gain data check` says why")
    out.parent.mkdir(parents=True, exist_ok=True)
    save_png(out, sample_grid(tiles, shown))
    pairs = zip(shown, names, strict=True)
    return len(tiles), [
        f"{told} is {name}: no font of this machine has its letters" for told, name in pairs if told != name
    ]


def _chosen(listings: list[Listing], count: int, seed: int) -> list[tuple[Listing, int]]:
    """Choose pictures, each by its listing and row: half of them marked, where there are so many of both kinds."""
    places = [(listing, row) for listing in listings for row in np.flatnonzero(listing.size.all(1)).tolist()]
    is_marked = [listing.is_drawn | listing.has_box.any(1) for listing in listings]
    kept = [marked[listing.size.all(1)] for marked, listing in zip(is_marked, listings, strict=True)]
    marked = np.concatenate([np.zeros(0, bool), *kept])
    order = np.random.default_rng(seed).permutation(len(places))
    first, others = order[marked[order]], order[~marked[order]]
    half = max(count // 2, count - len(others))
    return [places[number] for number in [*first[:half], *others, *first[half:]][:count]]
