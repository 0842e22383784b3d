"""Waterbirds: does guidance with a few boxes free a classifier from its ground? The runs that answer it.

The conventional task asks for the bird, and boxes say where it is. The reversed task asks for the ground, which lies
outside the boxes. Source: Rao et al., *Studying How to Efficiently and Effectively Guide Models with Explanations*,
ICCV 2023.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from gain_lightning.runs.making import Making, config_folder, digest, digest_of_configs, is_tested
from gain_lightning.runs.summary import read_summary
from gain_lightning.studies.waterbirds_table import (
    COLUMNS,
    GROUP_MEAN,
    GROUPS,
    OVERALL,
    WORST,
    Scores,
    tables,
)
from gain_lightning.support.files import csv_text, write_atomically

PERCENTS = (1, 5, 10)
LOSSES = ("l2", "l1", "energy")
# l2 is the paper's loss and needs no name.
METHODS = (
    "gradcam",
    "gain",
    *(f"gain_ext_{percent}{'' if loss == 'l2' else f'_{loss}'}" for percent in PERCENTS for loss in LOSSES),
)
_TABLE, _BOXES = "metadata.csv", "bounding_boxes.txt"
# The name of a config, the percentage of training images with boxes, and the loss that compares maps with them.
_METHOD = re.compile(r"(?P<config>[a-z]\w*?)(_(?P<percent>[1-9]\d?|100)(_(?P<loss>l1|energy))?)?")
# Configs that begin so hold only the keys that change another.
_CHANGE = "with_"


@dataclass(frozen=True)
class WaterbirdsRun:
    """The run of one method with one seed, in its folder.

    Args:
        method: ``gradcam``, ``gain``, ``gain_ext_P`` or ``gain_ext_P_LOSS`` with P percent of boxes; or the name of
            another config, with or without these.
        seed: The seed of the training.
        folder: The folder of the run.
        root: The folder of the pictures.
        configs: The folder of the configs.
        is_reversed: Whether the ground is asked for.
    """

    method: str
    seed: int
    folder: Path
    root: Path
    configs: Path
    is_reversed: bool

    def run(self) -> None:
        """Train and test the run, unless that is done.

        Raises:
            ValueError: If the folder holds what was made of other configs or images.
            RuntimeError: If the training fails; it names the log.
        """
        making = Making(self.folder)
        making.keep(self._origin())
        words = [word for config in self.config_files() for word in ("--config", str(config))]
        making.fit(self.folder, self.seed, *words, f"--data.root={self.root}", *self._budget())

    @property
    def is_finished(self) -> bool:
        """Return whether the run is done with today's configs and images."""
        return Making(self.folder).is_of(self._origin()) and is_tested(self.folder)

    @property
    def scores(self) -> Scores:
        """The scores of a finished run, in the columns of the table; None for those that it lacks."""
        found = read_summary(self.folder)["metrics"]
        keys = [f"group/{'+'.join(reversed(group) if self.is_reversed else group)}" for group in GROUPS]
        keys += [WORST, GROUP_MEAN, OVERALL]
        return {column: found.get(f"test/{key}") for column, key in zip(COLUMNS, keys, strict=True)}

    def config_files(self) -> list[Path]:
        """The config of the method and those that change it, of which the later win."""
        parts = _parts(self.method)
        changes = [parts["loss"], "reversed" if self.is_reversed else None]
        names = [parts["config"], *(f"{_CHANGE}{change}" for change in changes if change)]
        return [self.configs / f"{name}.yaml" for name in names]

    def _budget(self) -> list[str]:
        percent = _parts(self.method)["percent"]
        return [f"--data.mask_budget={int(percent) / 100}"] if percent else []

    def _origin(self) -> dict[str, str]:
        """Digests of what the run is made of, by name."""
        return {
            "images": digest(*((self.root / name).read_bytes() for name in (_TABLE, _BOXES))),
            "configs": digest_of_configs(*self.config_files()),
        }


def _parts(method: str) -> dict[str, str | None]:
    match = _METHOD.fullmatch(method)
    return match.groupdict() if match else {"config": method, "percent": None, "loss": None}


def _is_method(method: str, configs: Path) -> bool:
    parts = _parts(method)
    has_config = method != "gain_ext" and not method.startswith(_CHANGE)
    return has_config and (configs / f"{parts['config']}.yaml").is_file()


def plan_runs(
    out: Path,
    *,
    root: Path,
    experiments: Path,
    methods: Iterable[str] = METHODS,
    seeds: Iterable[int],
    is_reversed: bool = False,
    is_published: bool = False,
) -> list[WaterbirdsRun]:
    """The runs in their order, each checked for what can be known before it begins.

    Args:
        out: Every run has a folder there.
        root: The folder of the pictures, their table and their boxes.
        experiments: The folder of the configs.
        methods: See :class:`WaterbirdsRun`.
        seeds: Every method is trained with each of them.
        is_reversed: Whether the ground is asked for.
        is_published: Whether to take the configs of the published size, for a GPU.

    Returns:
        The runs, seed by seed; none has begun.

    Raises:
        FileNotFoundError: If the data or the configs are not there.
        ValueError: If a method is not known.
    """
    for name in (_TABLE, _BOXES):
        if not (root / name).is_file():
            raise FileNotFoundError(
                f"{root}: no {name} here, expected Waterbirds with CUB's boxes, laid out as data/README.md says"
            )
    configs = config_folder(
        experiments / "waterbirds" / "resnet50" if is_published else experiments / "waterbirds"
    )
    names = list(dict.fromkeys(methods))
    for name in names:
        if not _is_method(name, configs):
            raise ValueError(
                f"--methods is {name!r}, expected gradcam, gain, gain_ext_P, gain_ext_P_l1 or gain_ext_P_energy with "
                f"boxes on P percent, or another config of {configs}"
            )
    return [
        WaterbirdsRun(name, seed, out / f"{name}-{seed}", root, configs, is_reversed)
        for seed in dict.fromkeys(seeds)
        for name in names
    ]


def finished_scores(out: Path, like: WaterbirdsRun) -> dict[str, dict[int, Scores]]:
    """Scores of every finished run below ``out``, by method and seed; other commands may have made them.

    Args:
        out: The folder of the runs.
        like: One of them, with the data and the configs that all must have been made of.
    """
    runs = [
        replace(like, method=match[1], seed=int(match[2]), folder=folder)
        for folder in out.iterdir()
        if (match := re.fullmatch(r"(\w+)-(\d+)", folder.name)) and _is_method(match[1], like.configs)
    ]
    rows: dict[str, dict[int, Scores]] = {}
    for run in sorted(runs, key=lambda run: (_sort_key(run.method), run.seed)):
        if run.is_finished:
            rows.setdefault(run.method, {})[run.seed] = run.scores
    return rows


def _sort_key(method: str) -> tuple[int, str, int, int]:
    """The place of a method in the table: Grad-CAM, GAIN, GAIN_ext by its boxes and its loss, then others."""
    parts = _parts(method)
    config, percent, loss = (parts[name] or "" for name in ("config", "percent", "loss"))
    known = ("gradcam", "gain", "gain_ext")
    place = known.index(config) if config in known else len(known)
    return place, config, int(percent or 0), LOSSES.index(loss or "l2")


def write_tables(out: Path, like: WaterbirdsRun) -> str:
    """Write ``table.txt`` and ``table.csv`` of all finished runs, see :func:`finished_scores`.

    Returns:
        The table as text.
    """
    text, cells = tables(finished_scores(out, like), is_reversed=like.is_reversed)
    write_atomically(out / "table.txt", text + "\n")
    write_atomically(out / "table.csv", csv_text(cells[0], cells[1:]))
    return text
