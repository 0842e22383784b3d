"""How good localisation cues, activation maps or pseudo-masks are, wherever they come from."""

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gain_lightning.constants import VOID
from gain_lightning.datasets.images import read_mask
from gain_lightning.metrics import THRESHOLDS
from gain_lightning.segmentation.cue_files import SUFFIXES, check_num_classes, read_cues, read_maps
from gain_lightning.support.files import read_json, read_text
from gain_lightning.support.names import written_as
from gain_lightning.support.walk import files_below

VOC_NAMES = "voc"


def class_names(given: str | None, cues: Path) -> list[str] | None:
    """Names of the classes from 1 on; None where nobody says them."""
    if given == VOC_NAMES:
        from gain_lightning.datasets.readers.voc import CLASSES

        return list(CLASSES)
    if given is not None:
        names = [line.strip() for line in read_text(Path(given)).splitlines() if line.strip()]
        if wrong := [name for place, name in enumerate(names) if name in ("background", *names[:place])]:
            raise ValueError(
                f"--class_names {given}: {wrong[0]!r}, expected every class from 1 on once, and no background"
            )
        return names
    return _provenance(cues).get("class_names")


def _provenance(cues: Path) -> dict[str, Any]:
    """What ``gain seeds`` says of its folder, of the maps and masks there or of a file; nothing of others' cues."""
    folders = [cues] if cues.is_dir() else []
    if not cues.is_dir() or cues.name in ("maps", "masks"):
        folders.append(cues.parent)
    return next((said for folder in folders if (said := read_json(folder / "provenance.json"))), {})


def score_seeds(
    cues: Path, masks: Path, names: list[str] | None = None, mean_over: list[str] | None = None
) -> dict[str, Any]:
    """Score cues, maps or pseudo-masks.

    Args:
        cues: See :data:`DESCRIPTION`.
        masks: Folder of masks, ``NAME.png``.
        names: Of classes 1, 2, ...; None calls them by their number.
        mean_over: Names of the classes that the mean runs over, as far as a mask shows them; None takes all classes.

    Returns:
        ``num_images`` judged, and ``num_without_mask``, which were not; ``classes``, by name ``precision``, ``recall``,
        ``iou`` and ``coverage`` (the share of the class's pixels that carry any cue), ``background`` first, null where
        there is nothing to divide by; ``mean`` of the classes in ``mean_over`` (of the precision without those that
        nothing is called), and those asked for that no mask shows, ``not_shown``; and with maps ``thresholds``, at
        each the mean IoU (background included), precision and recall of maps cut there. Of maps without cues the
        classes are judged at ``threshold``, that of the best mean IoU.

    Raises:
        FileNotFoundError: If there are no cues or no masks.
        ValueError: If a cue and its mask do not fit, it names the image; if the seeds are not finished; or if maps
            count their classes from 1; or if there are more than 254 names.
    """
    if not masks.is_dir():
        raise FileNotFoundError(f"--masks {masks}: no such folder, expected masks NAME.png")
    if cues.is_dir() and _provenance(cues).get("state", "finished") != "finished":
        raise ValueError(f"{cues}: its seeds are not finished: the same gain seeds goes on")
    check_num_classes("--class_names", len(names or []))
    counts, sweep, num_images, num_missing = _judge(cues, masks, VOID - 1 if names is None else len(names))
    totals = sum([counts] if counts is not None else sweep.values())
    is_true, is_shown = totals[2] > 0, totals[1] + totals[2] > 0
    num_classes = np.flatnonzero(is_shown).max(initial=0) if names is None else len(names)
    labels = ["background", *(names or [f"class {index}" for index in range(1, num_classes + 1)])]
    mean_over = mean_over and [written_as(name, labels) for name in mean_over]
    unknown = [name for name in mean_over or [] if name not in labels]
    if unknown:
        raise ValueError(f"--mean_over {unknown[0]}: expected names among {', '.join(labels)}")
    asked = sorted({labels.index(name) for name in mean_over}) if mean_over else range(1, len(labels))
    # the same ones at every threshold: what is called a class that no mask shows costs the others
    chosen = [index for index in asked if is_true[index]]
    if not chosen:
        raise ValueError(
            f"{masks}: its masks of the images of {cues} show no class that the mean could run over"
        )
    with_background = sorted({0, *chosen} if is_true[0] else chosen)
    result: dict[str, Any] = {"num_images": num_images, "num_without_mask": num_missing}
    if counts is None:
        result["threshold"] = max(sweep, key=lambda threshold: _miou(sweep[threshold], with_background))
        counts = sweep[result["threshold"]]
    scores = _scores(counts)
    result |= {
        "classes": {
            labels[index]: {key: _plain(values[index]) for key, values in scores.items()}
            for index in np.flatnonzero(is_shown)
        },
        "mean": _mean(scores, chosen),
        "mean_over": [labels[index] for index in chosen],
        "not_shown": [labels[index] for index in asked if mean_over and not is_true[index]],
    }
    if sweep:
        result["thresholds"] = {
            str(threshold): {"miou": _miou(count, with_background), **_mean(_scores(count), chosen)}
            for threshold, count in sweep.items()
        }
    return result


def table(result: dict[str, Any]) -> str:
    """The scores as text, in percent, at most 80 columns wide."""

    def row(name: str, scores: dict[str, float | None]) -> str:
        cells = ("-" if value is None else f"{100 * value:.1f}" for value in scores.values())
        return f"{name[:24]:24}" + "".join(f"{cell:>11}" for cell in cells)

    cut = f" of maps cut at {result['threshold']:g}" if "threshold" in result else ""
    left_out = result["num_without_mask"]
    lines = [
        f"{result['num_images']} images, percent{cut}{f'; {left_out} without a mask left out' if left_out else ''}",
        f"{'':24}" + "".join(f"{key:>11}" for key in result["mean"]),
    ]
    lines += [row(name, scores) for name, scores in result["classes"].items()]
    num_classes = len(result["mean_over"])
    lines.append(row(f"mean of {num_classes} class{'es' * (num_classes > 1)}", result["mean"]))
    if result["not_shown"]:
        lines += textwrap.wrap(f"not in it, as no mask shows them: {', '.join(result['not_shown'])}", 80)
    if "thresholds" in result:
        sweep = {float(key): value["miou"] for key, value in result["thresholds"].items()}
        best = max(sweep, key=lambda threshold: sweep[threshold])
        lines.append(
            f"maps: mIoU with background {100 * sweep[0.2]:.1f} at threshold 0.2, "
            f"best {100 * sweep[best]:.1f} at {best:g}"
        )
    return "\n".join(lines)


def _judge(
    cues: Path, masks: Path, num_classes: int
) -> tuple[np.ndarray | None, dict[float, np.ndarray], int, int]:
    """Counts of cues or pseudo-masks, counts of maps at every threshold; images with a mask, and without."""
    sweep: dict[float, np.ndarray] = {}
    counts, num_images, num_missing = None, 0, 0
    root = cues / "maps" if (cues / "maps").is_dir() else cues
    maps = [path for path in files_below(root) if path.suffix == ".npy"] if cues.is_dir() else []
    if cues.suffix in SUFFIXES or (cues / "cues.npz").is_file():
        counts, num_images, num_missing = _count(_cue_pairs(cues, masks, num_classes))
    elif not maps:
        counts, num_images, num_missing = _count(_mask_pairs(cues, masks, num_classes))
    if maps:
        sweep, num_mapped, num_unmapped = _sweep(maps, root, masks, num_classes)
        if counts is None:
            num_images, num_missing = num_mapped, num_unmapped
    return counts, sweep, num_images, num_missing


def _cue_pairs(cues: Path, masks: Path, num_classes: int) -> Iterator[tuple[np.ndarray, np.ndarray] | Path]:
    """Cues and the masks at their cells' centres; of an image without a mask where that should lie."""
    for name, cue in read_cues(cues / "cues.npz" if cues.is_dir() else cues, num_classes).items():
        path = masks / f"{name}.png"
        if not path.is_file():
            yield path
            continue
        mask = _indices(path, num_classes)
        rows, columns = (
            (2 * np.arange(n) + 1) * side // (2 * n) for n, side in zip(cue.shape, mask.shape, strict=True)
        )
        yield cue, mask[rows][:, columns]


def _mask_pairs(
    folder: Path, masks: Path, num_classes: int
) -> Iterator[tuple[np.ndarray, np.ndarray] | Path]:
    """Pseudo-masks and masks; of an image without a mask where that should lie."""
    paths = [path for path in files_below(folder) if path.suffix == ".png"] if folder.is_dir() else []
    if not paths:
        raise FileNotFoundError(
            f"{folder}: no cues here, expected cues.npz, maps *.npy or pseudo-masks *.png"
        )
    for path in paths:
        of_mask = masks / path.relative_to(folder)
        if not of_mask.is_file():
            yield of_mask
            continue
        found, mask = _indices(path, num_classes), _indices(of_mask, num_classes)
        if found.shape != mask.shape:
            raise ValueError(f"{path}: {found.shape} pixels, expected {mask.shape} of its mask")
        yield found, mask


def _indices(path: Path, num_classes: int) -> np.ndarray:
    """A mask, ``(H, W)`` uint8, of classes that there are."""
    mask = read_mask(path)
    highest = int(mask[mask != VOID].max(initial=0))
    if highest > num_classes:
        raise ValueError(f"{path}: shows class {highest}, but there are {num_classes}")
    return mask


def _count(pairs: Iterable[tuple[np.ndarray, np.ndarray] | Path]) -> tuple[np.ndarray, int, int]:
    """Pixels right, claimed, true, true under any cue, of every index ``(4, 255)``; images with a mask, and without."""
    counts, num_images, missing = np.zeros((4, VOID), np.int64), 0, []
    for pair in pairs:
        if isinstance(pair, Path):
            missing.append(pair)
            continue
        counts += _confusion(*pair)
        num_images += 1
    if not num_images:
        raise FileNotFoundError(f"no image has both a cue and a mask: expected masks such as {missing[0]}")
    return counts, num_images, len(missing)


def _confusion(cue: np.ndarray, mask: np.ndarray) -> np.ndarray:
    valid = mask != VOID
    cue, mask = cue[valid], mask[valid]
    claims = (mask[cue == mask], cue[cue != VOID], mask, mask[cue != VOID])
    return np.stack([np.bincount(claim, minlength=VOID)[:VOID] for claim in claims])


def _scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    right, claimed, true, covered = counts
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "precision": right / claimed,
            "recall": right / true,
            "iou": right / (claimed + true - right),
            "coverage": covered / true,
        }


def _sweep(
    paths: list[Path], root: Path, masks: Path, num_classes: int
) -> tuple[dict[float, np.ndarray], int, int]:
    """Counts at every threshold, of the strongest class above it, else background; images with a mask, and without."""
    counts = {threshold: np.zeros((4, VOID), np.int64) for threshold in THRESHOLDS}
    num_images, num_from_0, num_from_1 = 0, 0, 0
    for path in paths:
        of_mask = masks / path.relative_to(root).with_suffix(".png")
        if not of_mask.is_file():
            continue
        mask = _indices(of_mask, num_classes)
        keys, maps = read_maps(path)
        if keys.max(initial=0) >= num_classes:
            raise ValueError(
                f"{path}: has key {keys.max()}, expected 0 to {num_classes - 1}, background uncounted"
            )
        if maps.shape[1:] != mask.shape:
            raise ValueError(f"{path}: maps of {maps.shape[1:]} pixels, expected {mask.shape} of its mask")
        strongest = maps.max(0) if len(maps) else np.zeros(mask.shape)
        classes = (keys + 1)[maps.argmax(0)] if len(maps) else np.zeros(mask.shape, np.int64)
        for threshold, count in counts.items():
            count += _confusion(np.where(strongest > threshold, classes, 0), mask)
        num_images += 1
        seen = np.unique(mask[(mask != 0) & (mask != VOID)])
        num_from_0 += np.isin(keys + 1, seen).sum()
        num_from_1 += np.isin(keys, seen).sum()
    if not num_images:
        raise FileNotFoundError(
            f"{root}: no map has a mask: expected such as {masks / paths[0].relative_to(root).with_suffix('.png')}"
        )
    if num_from_1 > num_from_0:
        raise ValueError(
            f"{root}: counted from 1, {num_from_1} keys of {num_images} images name a class of the mask, "
            f"counted from 0 {num_from_0}: expected keys from 0, background uncounted"
        )
    return counts, num_images, len(paths) - num_images


def _miou(counts: np.ndarray, chosen: list[int]) -> float:
    return float(_scores(counts)["iou"][chosen].mean())


def _mean(scores: dict[str, np.ndarray], chosen: list[int]) -> dict[str, float | None]:
    return {
        key: None if np.isnan(values[chosen]).all() else _plain(np.nanmean(values[chosen]))
        for key, values in scores.items()
    }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
