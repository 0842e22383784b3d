"""Score localisation cues, activation maps or pseudo-masks, wherever they come from.

Everything is counted in pixels by class index, ``(4, 255)``: see :func:`_count`. Scores are made of the counts.
"""

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gain_lightning.constants import VOID
from gain_lightning.metrics import THRESHOLDS
from gain_lightning.segmentation.cue_files import SUFFIXES, check_num_classes, read_cues, read_exchanged_maps
from gain_lightning.segmentation.provenance import read_provenance
from gain_lightning.segmentation.true_masks import TrueMasks, open_masks, read_indices
from gain_lightning.support.files import read_text
from gain_lightning.support.names import written_as
from gain_lightning.support.walk import files_below

VOC_NAMES = "voc"


def class_names(given: str | None, cues: Path) -> list[str] | None:
    """The names of the classes from 1 on.

    Args:
        given: A file with a name a line, ``voc``, or None for the names that ``gain seeds`` left with its cues.
        cues: The cues, maps or masks to score.

    Returns:
        The names; None if there are none.

    Raises:
        ValueError: If the file names a class twice, or the background.
    """
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
    """The ``provenance.json`` of ``gain seeds``, in the folder or beside its maps, masks or files; empty without."""
    folders = [cues] if cues.is_dir() else []
    if not cues.is_dir() or cues.name in ("maps", "masks"):
        folders.append(cues.parent)
    return next((found for folder in folders if (found := read_provenance(folder))), {})


def score_seeds(
    cues: Path,
    masks: Path,
    names: list[str] | None = None,
    mean_over: list[str] | None = None,
    images: Path | None = None,
) -> dict[str, Any]:
    """Score cues, maps or pseudo-masks.

    Args:
        cues: The file or folder, see ``gain seeds score --help``.
        masks: The folder of masks, ``NAME.png``; or a file or folder of another tool's annotations.
        names: The names of classes 1, 2, ...; None takes those of annotations, else their numbers.
        mean_over: The names of the classes that the mean runs over, as far as a mask shows them; None takes all.
        images: The folder of the pictures that annotations name.

    Returns:
        Numbers and names by these keys:

        - ``num_images`` that were judged, and ``num_without_mask`` that could not be.
        - ``classes``: by name, ``background`` first, ``precision``, ``recall``, ``iou`` and ``coverage``, the share of
          the class's pixels that carry any cue. A score with nothing to divide by is None.
        - ``mean``: the mean of each score over the classes ``mean_over``. A precision that is None does not enter it.
        - ``not_shown``: the classes of ``mean_over`` that no mask shows.
        - With maps, ``thresholds``: by threshold, the mean IoU with background, and the means, of maps cut there.
        - With maps alone, ``threshold``: that of the best mean IoU, at which ``classes`` and ``mean`` are taken.

    Raises:
        FileNotFoundError: If there are no cues or no masks.
        ValueError: If a cue and its mask do not fit, which names the image; if the seeds are not finished; if maps
            count their classes from 1; or if there are more than 254 names.
    """
    _check(cues, names)
    true_masks = open_masks(masks, names, images)
    names = true_masks.class_names if names is None else names
    counts, by_threshold, num_images, num_missing = _judge(
        cues, true_masks, VOID - 1 if names is None else len(names)
    )
    totals = np.sum([counts] if counts is not None else list(by_threshold.values()), axis=0)
    is_true, is_shown = totals[2] > 0, totals[1] + totals[2] > 0
    labels = ["background", *(names or _numbered(is_shown))]
    asked = _indices_of(mean_over, labels)
    # They are the same at every threshold: pixels called a class that no mask shows cost the other classes.
    chosen = [index for index in asked if is_true[index]]
    if not chosen:
        what = "show no class that the mean could run over"
        raise ValueError(f"{masks}: its masks of the images of {cues} {what}")
    with_background = sorted({0, *chosen} if is_true[0] else chosen)
    result: dict[str, Any] = {"num_images": num_images, "num_without_mask": num_missing}
    if counts is None:
        result["threshold"] = max(by_threshold, key=lambda cut: _miou(by_threshold[cut], with_background))
        counts = by_threshold[result["threshold"]]
    result |= _named_scores(counts, labels, chosen, np.flatnonzero(is_shown))
    result["not_shown"] = [labels[index] for index in asked if mean_over and not is_true[index]]
    if by_threshold:
        result["thresholds"] = {
            str(cut): {"miou": _miou(count, with_background), **_mean(_scores(count), chosen)}
            for cut, count in by_threshold.items()
        }
    return result


def _named_scores(
    counts: np.ndarray, labels: list[str], chosen: list[int], shown: np.ndarray
) -> dict[str, Any]:
    """The scores of the classes that occur, by name, and their mean over the chosen ones."""
    scores = _scores(counts)
    return {
        "classes": {
            labels[index]: {key: _rounded(values[index]) for key, values in scores.items()} for index in shown
        },
        "mean": _mean(scores, chosen),
        "mean_over": [labels[index] for index in chosen],
    }


def _check(cues: Path, names: list[str] | None) -> None:
    """Refuse seeds that are not finished and too many names."""
    if cues.is_dir() and _provenance(cues).get("state", "finished") != "finished":
        raise ValueError(f"{cues}: its seeds are not finished: the same gain seeds goes on")
    check_num_classes("--class_names", len(names or []))


def _numbered(is_shown: np.ndarray) -> list[str]:
    """Names for classes that have none, up to the highest that a cue or a mask shows."""
    return [f"class {index}" for index in range(1, np.flatnonzero(is_shown).max(initial=0) + 1)]


def _indices_of(names: list[str] | None, labels: list[str]) -> list[int]:
    """The indices of the classes that the mean is asked for; all but the background if no name is given."""
    if not names:
        return list(range(1, len(labels)))
    names = [written_as(name, labels) for name in names]
    if unknown := [name for name in names if name not in labels]:
        raise ValueError(f"--mean_over {unknown[0]}: expected names among {', '.join(labels)}")
    return sorted({labels.index(name) for name in names})


def table(result: dict[str, Any]) -> str:
    """The scores of :func:`score_seeds` as text, in percent, at most 80 columns wide."""

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
        mious = {float(key): value["miou"] for key, value in result["thresholds"].items()}
        best = max(mious, key=mious.__getitem__)
        lines.append(
            f"maps: mIoU with background {100 * mious[0.2]:.1f} at threshold 0.2, "
            f"best {100 * mious[best]:.1f} at {best:g}"
        )
    return "\n".join(lines)


def _judge(
    cues: Path, masks: TrueMasks, num_classes: int
) -> tuple[np.ndarray | None, dict[float, np.ndarray], int, int]:
    """Count the pixels of all images.

    Returns:
        Counts of cues or pseudo-masks, None of maps alone; counts of maps at every threshold, empty without maps; the
        number of images with a mask, and of those without.
    """
    by_threshold: dict[float, np.ndarray] = {}
    counts, num_images, num_missing = None, 0, 0
    root = cues / "maps" if (cues / "maps").is_dir() else cues
    maps = [path for path in files_below(root) if path.suffix == ".npy"] if cues.is_dir() else []
    if cues.suffix in SUFFIXES or (cues / "cues.npz").is_file():
        counts, num_images, num_missing = _count(_cue_pairs(cues, masks, num_classes))
    elif not maps:
        counts, num_images, num_missing = _count(_mask_pairs(cues, masks, num_classes))
    if maps:
        by_threshold, num_mapped, num_unmapped = _count_maps(maps, root, masks, num_classes)
        if counts is None:
            num_images, num_missing = num_mapped, num_unmapped
    return counts, by_threshold, num_images, num_missing


def _cue_pairs(
    cues: Path, masks: TrueMasks, num_classes: int
) -> Iterator[tuple[np.ndarray, np.ndarray] | Path]:
    """Yield cues and the mask at their cells' centres; for an image without a mask, the path where it should lie."""
    for name, cue in read_cues(cues / "cues.npz" if cues.is_dir() else cues, num_classes).items():
        mask = masks.find(name, num_classes)
        if isinstance(mask, Path):
            yield mask
            continue
        rows, columns = (
            (2 * np.arange(n) + 1) * side // (2 * n) for n, side in zip(cue.shape, mask.shape, strict=True)
        )
        yield cue, mask[rows][:, columns]


def _mask_pairs(
    folder: Path, masks: TrueMasks, num_classes: int
) -> Iterator[tuple[np.ndarray, np.ndarray] | Path]:
    """Yield pseudo-masks and masks; for an image without a mask, the path where it should lie."""
    paths = [path for path in files_below(folder) if path.suffix == ".png"] if folder.is_dir() else []
    if not paths:
        raise FileNotFoundError(
            f"{folder}: no cues here, expected cues.npz, maps *.npy or pseudo-masks *.png"
        )
    for path in paths:
        mask = masks.find(path.relative_to(folder).with_suffix("").as_posix(), num_classes)
        if isinstance(mask, Path):
            yield mask
            continue
        found = read_indices(path, num_classes)
        if found.shape != mask.shape:
            raise ValueError(f"{path}: {found.shape} pixels, expected {mask.shape} of its mask")
        yield found, mask


def _count(pairs: Iterable[tuple[np.ndarray, np.ndarray] | Path]) -> tuple[np.ndarray, int, int]:
    """Count the pixels of pairs of cues and masks.

    Returns:
        Pixels of every class index: correct, predicted, true, and true where a cue lies, ``(4, 255)``; the number of
        images with a mask, and of those without.
    """
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
    """The counts of one image, as :func:`_count` has them."""
    valid = mask != VOID
    cue, mask = cue[valid], mask[valid]
    pixels = (mask[cue == mask], cue[cue != VOID], mask, mask[cue != VOID])
    return np.stack([np.bincount(classes, minlength=VOID)[:VOID] for classes in pixels])


def _scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of every class index, ``(255,)`` each; nan where there is nothing to divide by."""
    correct, predicted, true, covered = counts
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "precision": correct / predicted,
            "recall": correct / true,
            "iou": correct / (predicted + true - correct),
            "coverage": covered / true,
        }


def _count_maps(
    paths: list[Path], root: Path, masks: TrueMasks, num_classes: int
) -> tuple[dict[float, np.ndarray], int, int]:
    """Count the pixels of maps at every threshold: a pixel is its strongest class if above it, else background.

    Returns:
        Counts by threshold, as :func:`_count` has them; the number of images with a mask, and of those without.
    """
    counts = {threshold: np.zeros((4, VOID), np.int64) for threshold in THRESHOLDS}
    num_images, num_from_0, num_from_1, missing = 0, 0, 0, root
    for path in paths:
        mask = masks.find(path.relative_to(root).with_suffix("").as_posix(), num_classes)
        if isinstance(mask, Path):
            missing = mask if missing == root else missing
            continue
        keys, maps = read_exchanged_maps(path)
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
        num_from_0 += int(np.isin(keys + 1, seen).sum())
        num_from_1 += int(np.isin(keys, seen).sum())
    if not num_images:
        raise FileNotFoundError(f"{root}: no map has a mask: expected such as {missing}")
    if num_from_1 > num_from_0:
        raise ValueError(
            f"{root}: counted from 1, {num_from_1} keys of {num_images} images name a class of the mask, "
            f"counted from 0 {num_from_0}: expected keys from 0, background uncounted"
        )
    return counts, num_images, len(paths) - num_images


def _miou(counts: np.ndarray, chosen: list[int]) -> float:
    """The mean IoU of the chosen class indices."""
    return float(_scores(counts)["iou"][chosen].mean())


def _mean(scores: dict[str, np.ndarray], chosen: list[int]) -> dict[str, float | None]:
    """The mean of each score over the chosen class indices that have it; None if none has."""
    return {
        key: None if np.isnan(values[chosen]).all() else _rounded(np.nanmean(values[chosen]))
        for key, values in scores.items()
    }


def _rounded(value: float) -> float | None:
    """A score as it is written to a file: None for nan."""
    return None if np.isnan(value) else round(float(value), 6)
