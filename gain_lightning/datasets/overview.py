"""What a data set holds, in words and as a grid of samples."""

import difflib
from pathlib import Path

import numpy as np

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.images import read_image
from gain_lightning.datasets.listing import Listing
from gain_lightning.datasets.readers.folder import draw_val, read_folder
from gain_lightning.datasets.readers.voc import check_voc, find_root


def read_data(root: Path) -> tuple[dict[str, Listing], list[Problem], list[str]]:
    """The listing of every split of a folder or of VOC, all that is wrong, and what of a folder may not be meant.

    Args:
        root: Of either layout.

    Raises:
        FileNotFoundError: If it is neither.
    """
    try:
        voc_root = find_root(str(root))
    except FileNotFoundError:
        contents = read_folder(root)
        splits = draw_val(contents.splits, 0.2)
        problems = list(contents.problems)
        names = sorted(
            set(splits.tolist()), key=lambda name: ({"train": 0, "val": 1, "test": 2}.get(name, 3), name)
        )
        if (names and "train" in names) or "val" in names:
            problems += [
                Problem(root / "labels.csv", 0, f"no picture of split {name!r}, only of {', '.join(names)}")
                for name in ("train", "val")
                if name not in names
            ]
        listings = {name: contents.listing.take(np.flatnonzero(splits == name)) for name in names}
        return listings, problems, contents.notes
    return *check_voc(voc_root), []


def summary_text(root: Path, listings: dict[str, Listing]) -> str:
    """Counts per class and split as a table of text, and how many pictures carry masks or boxes."""
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


def notes(root: Path, listings: dict[str, Listing]) -> list[str]:
    """What labels, splits, masks and boxes say of a training; no problem, but it may not be meant."""
    found: list[str] = []
    if not sum(map(len, listings.values())):
        return found
    first = next(iter(listings.values()))
    names = list(first.class_names)
    if _are_amounts(listings):
        found.append("labels are amounts: train with --model.task regression")
    elif (np.concatenate([listing.labels.sum(1) for listing in listings.values()]) == 1).all():
        found.append("one label each: train with --model.task single_label")
    if "train" in listings:
        counts = listings["train"].labels.sum(0)
        found += [f"class {names[idx]!r} has no training picture" for idx in np.flatnonzero(counts == 0)]
    for idx, name in enumerate(names):
        near = difflib.get_close_matches(name.lower(), [other.lower() for other in names[:idx]], cutoff=0.66)
        if near and (name.lower() in near or sorted(near[0]) == sorted(name.lower())):
            other = next(other for other in names if other.lower() == near[0])
            found.append(f"classes {other!r} and {name!r} are two: is one a slip?")
    further = [name for name in listings if name not in ("train", "val", "test")]
    is_folder = not further or (root / "labels.csv").is_file()  # VOC's lists have names of their own
    if further and is_folder:
        score = "error" if _are_amounts(listings) else "accuracy"
        found.append(f"further test sets, scored by their {score} alone: {', '.join(map(repr, further))}")
    if is_folder and not {"train", "val"} & set(listings):
        found.append("neither split 'train' nor 'val': of use as one of --data.test_folders alone")
    elif is_folder and "test" not in listings:
        found.append("no test split: test scores will be those of val")
    num_masks = sum(int(listing.is_drawn.sum()) for listing in listings.values())
    num_boxes = sum(len(np.unique(listing.box_row)) for listing in listings.values())
    if num_masks and num_boxes:
        found.append("a run is supervised by masks or by boxes: --data.supervision mask, or box")
    elif num_boxes:
        found.append("boxes alone: train with --data.supervision box; map scores need masks and will be none")
    return found


def draw_samples(listings: list[Listing], out: Path, count: int, seed: int) -> int:
    """Draw a grid of pictures with labels, masks and boxes; those that cannot be read are left out.

    Args:
        listings: Whose pictures to draw from; those with masks or boxes come first.
        out: A PNG file.
        count: How many pictures at most.
        seed: Which.

    Returns:
        How many were drawn.

    Raises:
        ValueError: If there is no readable picture.
    """
    from gain_lightning.drawing.encoding import save_png
    from gain_lightning.drawing.grids import sample_grid

    rng = np.random.default_rng(seed)
    places = [
        (listing, int(row)) for listing in listings for row in range(len(listing)) if listing.size[row].all()
    ]
    order = rng.permutation(len(places))
    supervised = [
        number
        for number in order
        if places[number][0].is_drawn[places[number][1]]
        or len(places[number][0].boxes(places[number][1]).class_idx)
    ]
    others = [number for number in order if number not in set(supervised)]
    half = max(count // 2, count - len(others))
    samples = []
    for number in [*supervised[:half], *others, *supervised[half:]][:count]:
        listing, row = places[number]
        size = tuple(int(side) for side in listing.size[row])
        names = [listing.class_names[idx] for idx in np.flatnonzero(listing.labels[row])]
        caption = f"{listing.ids[row]}: {', '.join(names) or 'no class'}"
        try:
            samples.append(
                (read_image(listing.image_path(row)), listing.mask(row, size), listing.boxes(row), caption)
            )
        except (OSError, ValueError):
            continue  # `gain data check` names it
    if not samples:
        raise ValueError("no picture could be read; `gain data check` says why")
    out.parent.mkdir(parents=True, exist_ok=True)
    save_png(out, sample_grid(samples))
    return len(samples)
