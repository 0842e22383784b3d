"""Section 4 of the paper: from image labels to its segmentation tables, one stage after another.

A stage is a command of ``gain``; ``runs/making.py`` runs them and keeps results of other configs, images or cues apart.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from gain_lightning.datasets.readers.voc import find_root
from gain_lightning.runs.making import Making, config_folder, digest, digest_of_configs, is_tested
from gain_lightning.runs.summary import read_summary
from gain_lightning.segmentation.provenance import read_provenance
from gain_lightning.support.files import csv_text, read_json, write_atomically
from gain_lightning.support.yaml_files import read_config

FULL = ("gradcam", "gain", "gain_ext_200", "gain_ext_1464")
SUBSET = ("gradcam", "gain", "gain_ext_63", "gain_ext_313")
# Table 1 (val, with CRF), and Table 3 for GAIN_ext. "gradcam" is the paper's SEC, whose cues come of no guidance.
PAPER = {
    "gradcam": 50.7,
    "gain": 55.3,
    "gain_ext_200": 58.3,
    "gain_ext_400": 59.4,
    "gain_ext_900": 60.2,
    "gain_ext_1464": 60.5,
}
METHOD_OF_CONFIG = r"gradcam|gain|gain_ext_[1-9]\d*"
FULL_VIEWS = ["--scales", "0.5", "1", "1.5", "2", "--flip"]
TABLE_SCORES = ("mean AP", "seed mIoU", "cue precision", "cue recall", "mIoU", "mIoU CRF")


@dataclass
class Section4Run:
    """The stages of one method with one seed: classifier, seeds, their score, SEC.

    Args:
        method: ``gradcam``, ``gain``, ``gain_ext_N``, or ``sec`` for published cues.
        seed: The seed of the trainings.
        folder: Everything is written there.
        root: The folder ``VOC2012``.
        configs: The folder of the configs.
        is_subset: Whether these are the small configs for a CPU.
        cues: The file of published cues, if there is one.
    """

    method: str
    seed: int
    folder: Path
    root: Path
    configs: Path
    is_subset: bool
    cues: Path | None

    def run(self) -> None:
        """Do the stages that are not done yet.

        Raises:
            ValueError: If the folder holds what was made of other configs, images or cues.
            RuntimeError: If a stage fails; it names the log.
        """
        classifier, seeds, sec = (self.folder / name for name in ("classifier", "seeds", "sec"))
        published = self.method == "sec"
        making = Making(self.folder)
        making.keep(self._origin())
        if not published:
            making.fit(classifier, self.seed, *self._classifier_words())
            making.keep({"classifier": digest((classifier / "checkpoints" / "last.ckpt").read_bytes())})
            if read_provenance(seeds).get("state") != "finished":
                views = ["--scales", "1.5", "--flip", "--crf"] if self.is_subset else FULL_VIEWS
                making.do("seeds", str(classifier), "--out", str(seeds), *views)
        cues = self.cues if published and self.cues is not None else seeds
        score = self.folder / "seeds.json"
        making.keep({"cues": digest((cues if published else cues / "cues.npz").read_bytes())})
        if not score.is_file():
            masks = ["--masks", str(self.root / "SegmentationClassAug"), "--json", str(score)]
            making.do("seeds", "score", str(cues), "--class_names", "voc", *self._mean_over(), *masks)
        words = [*self._sec_words(), f"--data.cues={cues}"]
        if self.is_subset and not published:
            # A few epochs are too short to start from ImageNet, as SEC does.
            words.append(f"--model.weights={classifier / 'checkpoints' / 'last.ckpt'}")
        making.fit(sec, self.seed, *words)

    @property
    def is_finished(self) -> bool:
        """Return whether every stage is done with today's configs and images."""
        is_of_now = Making(self.folder).is_of(self._origin())
        return is_of_now and (self.folder / "seeds.json").is_file() and is_tested(self.folder / "sec")

    @property
    def scores(self) -> dict[str, float | None]:
        """The scores of a finished run by :data:`TABLE_SCORES`; None for those that it lacks."""
        first = read_summary(self.folder / "classifier").get("metrics", {})
        last = read_summary(self.folder / "sec")["metrics"]
        cue = read_json(self.folder / "seeds.json")["mean"]
        values = (
            first.get("test/mean_ap"),
            first.get("test/seed_miou_best"),
            cue["precision"],
            cue["recall"],
            last["test/miou"],
            last.get("test/miou_crf"),
        )
        return dict(zip(TABLE_SCORES, values, strict=True))

    def _origin(self) -> dict[str, str]:
        """Hashes of what the first stage is made of, by name."""
        lists = [self.root / "ImageSets" / "Segmentation" / f"{name}.txt" for name in ("train_aug", "val")]
        return {
            "images": digest(*(path.read_bytes() for path in lists)),
            "configs": digest_of_configs(*self._configs()),
        }

    def _configs(self) -> list[Path]:
        """The config of the classifier, unless cues are published, and that of SEC."""
        name, _, budget = self.method.rpartition("_")
        classifier = self.configs / f"{name if budget.isdigit() else self.method}.yaml"
        sec = self.configs / ("sec.yaml" if self.is_subset else "sec_cues.yaml")
        return [sec] if self.method == "sec" else [classifier, sec]

    def _classifier_words(self) -> list[str]:
        budget = self.method.rpartition("_")[2]
        return [
            *("--config", str(self._configs()[0]), f"--data.root={self.root}"),
            f"--data.mask_budget={budget if budget.isdigit() else 0}",
        ]

    def _sec_words(self) -> list[str]:
        return ["--config", str(self._configs()[-1]), f"--data.images.root={self.root}"]

    def _mean_over(self) -> list[str]:
        """The option for the classes that the config of SEC takes the mean over."""
        names = read_config(self._configs()[-1])["model"].get("score_classes")
        return ["--mean_over", *names] if names else []


def plan_runs(
    out: Path,
    *,
    root: str,
    experiments: Path,
    methods: Iterable[str],
    seeds: Iterable[int],
    is_subset: bool = False,
    cues: Path | None = None,
) -> list[Section4Run]:
    """The runs of section 4 in their order, each checked for what can be known before it begins.

    Args:
        out: Every run has a folder there.
        root: The folder of VOC 2012.
        experiments: The folder of the configs.
        methods: ``gradcam``, ``gain`` and ``gain_ext_N``.
        seeds: Every method is trained with each of them.
        is_subset: Whether to take the small configs for a CPU.
        cues: A file of published cues, or its folder; SEC is trained on them too.

    Returns:
        The runs, seed by seed; none has begun.

    Raises:
        FileNotFoundError: If the data, the configs or the cues are not there.
    """
    voc_root = find_root(root)
    configs = config_folder(experiments / "voc12" / "lite0_subset" if is_subset else experiments / "voc12")
    if cues is not None and cues.is_dir():
        cues = cues / "cues.npz"
    if cues is not None and not cues.is_file():
        raise FileNotFoundError(f"--cues {cues}: no such file")
    names = dict.fromkeys([] if cues is None else ["sec"]) | dict.fromkeys(methods)
    return [
        Section4Run(name, seed, out / f"{name}-{seed}", voc_root, configs, is_subset, cues)
        for seed in dict.fromkeys(seeds)
        for name in names
    ]


def finished_scores(out: Path, like: Section4Run) -> dict[str, list[dict[str, float | None]]]:
    """Scores of every finished run below ``out``, by method; other commands may have made them.

    Args:
        out: The folder of the runs.
        like: One of them, with the data and the configs that all must have been made of.
    """
    runs = [
        replace(like, method=match[1], seed=int(match[2]), folder=folder)
        for folder in out.iterdir()
        if (match := re.fullmatch(rf"(sec|{METHOD_OF_CONFIG})-(\d+)", folder.name))
    ]
    rows: dict[str, list[dict[str, float | None]]] = {}
    for run in sorted(runs, key=lambda run: (*_sort_key(run.method), run.seed)):
        if run.is_finished:
            rows.setdefault(run.method, []).append(run.scores)
    return rows


def _sort_key(method: str) -> tuple[int, int]:
    """The place of a method in the table: published cues, Grad-CAM, GAIN, then GAIN_ext by its number of masks."""
    budget = method.rpartition("_")[2]
    return (3, int(budget)) if budget.isdigit() else (("sec", "gradcam", "gain").index(method), 0)


def write_tables(out: Path, like: Section4Run) -> str:
    """Write ``table.txt`` and ``table.csv`` of all finished runs, see :func:`finished_scores`.

    Returns:
        The table as text.
    """
    text, cells = tables(finished_scores(out, like), like.is_subset)
    write_atomically(out / "table.txt", text + "\n")
    write_atomically(out / "table.csv", csv_text(cells[0], cells[1:]))
    return text


def tables(rows: Mapping[str, list[dict[str, float | None]]], is_subset: bool) -> tuple[str, list[list[Any]]]:
    """Scores as text and as cells.

    Args:
        rows: The scores of every run, by method.
        is_subset: Whether the data are a subset, for which the paper has no numbers.

    Returns:
        Text of at most 80 columns, and the rows of a CSV, its header first.
    """
    paper = [] if is_subset else ["paper"]
    heads = (
        ["", "mean", "seed", "cue", "cue", "SEC", "SEC", *paper],
        ["", "AP", "mIoU", "prec.", "recall", "mIoU", "+CRF", *([""] * len(paper))],
    )
    lines = [f"{head[0]:18}" + "".join(f"{cell:>8}" for cell in head[1:]) for head in heads]
    cells: list[list[Any]] = [["method", "runs", *TABLE_SCORES, "paper's mIoU CRF"]]
    for method, scores in rows.items():
        values = [_mean_of(scores, column) for column in TABLE_SCORES]
        shown = ["-" if value is None else f"{100 * value:.1f}" for value in values]
        theirs = PAPER.get(method)
        shown += ["-" if theirs is None else f"{theirs:.1f}"] * len(paper)
        lines.append(f"{method:18}" + "".join(f"{cell:>8}" for cell in shown))
        cells.append([method, len(scores), *values, "" if is_subset or theirs is None else theirs / 100])
        if len(scores) > 1:
            spread = [_spread_of(scores, column) for column in TABLE_SCORES]
            marks = ["-" if value is None else f"±{100 * value:.1f}" for value in spread]
            lines.append(f"  {len(scores)} seeds".ljust(18) + "".join(f"{cell:>8}" for cell in marks))
    num_classes = 8 if is_subset else 20
    lines.append(f"percent; mIoU on val, {num_classes} classes and background; cues on training images")
    if is_subset:
        lines.append("of the subset: no number here compares with the paper's")
    return "\n".join(lines), cells


def _known(scores: list[dict[str, float | None]], column: str) -> list[float]:
    return [value for score in scores if (value := score[column]) is not None]


def _mean_of(scores: list[dict[str, float | None]], column: str) -> float | None:
    known = _known(scores, column)
    return mean(known) if known else None


def _spread_of(scores: list[dict[str, float | None]], column: str) -> float | None:
    known = _known(scores, column)
    return stdev(known) if len(known) > 1 else None
