"""``gain reproduce``: published tables, from the first training to the last row, made here and set beside them."""

import argparse
import re
from pathlib import Path

from gain_lightning.commands.common import VerbParser, at_least
from gain_lightning.segmentation import section4
from gain_lightning.studies import waterbirds

DESCRIPTION = """\
Trainings of several methods and seeds, and their table beside the published one.
Each stage is a command of `gain`, printed as it begins; what is done is skipped,
and what was interrupted goes on.

section4    From image labels to the paper's segmentation (section 4): train a
            classifier, turn its attention into cues, train SEC on them, and
            score that on VOC's val without and with a dense CRF. In --out:
  METHOD-SEED/{classifier,seeds,sec}, METHOD-SEED/seeds.json
waterbirds  Bias on photographs: birds on the wrong ground, guided by boxes on a
            few training images (Rao et al., ICCV 2023). In --out:
  METHOD-SEED/              a run, as `gain fit` leaves it
both        METHOD-SEED/log.txt, what the commands said
            METHOD-SEED/made_of.json, what the stages come of; other configs,
            images or cues are refused there
            table.txt, table.csv: all scores of --out
"""
# Options that one of the two has alone.
_OF_ONE = {"subset": "section4", "cues": "section4", "reversed": "waterbirds", "published": "waterbirds"}


def parser() -> VerbParser:
    """The options of ``gain reproduce``."""
    options = VerbParser("reproduce", DESCRIPTION)
    options.add_argument("what", choices=["section4", "waterbirds"], help="the published table")
    options.add_argument("--root", help="where the data lie (default: VOCdevkit, data/waterbirds)")
    options.add_argument(
        "--methods",
        nargs="+",
        help="section4: gradcam, gain, gain_ext_N with N masks (default: "
        f"{' '.join(section4.FULL)}; with --subset {' '.join(section4.SUBSET)}); waterbirds: gradcam, gain, "
        "gain_ext_P, gain_ext_P_l1, gain_ext_P_energy with boxes on P percent, or another of its configs "
        "(default: all with 1, 5 and 10)",
    )
    options.add_argument(
        "--seeds", type=at_least(0), nargs="+", default=[0], help="seeds of the runs (default: 0)"
    )
    options.add_argument(
        "--out", type=Path, help="folder of all (default: runs/ and the name, such as section4_subset)"
    )
    options.add_argument(
        "--experiments",
        type=Path,
        default=Path("experiments"),
        help="folder of the configs (default: %(default)s)",
    )
    options.add_argument(
        "--subset", action="store_true", help="section4: the small configs for a CPU, lite0_subset/"
    )
    options.add_argument(
        "--cues", type=Path, help="section4: train SEC on these published cues too, as method sec"
    )
    options.add_argument(
        "--reversed", action="store_true", help="waterbirds: ask for the ground, outside the boxes"
    )
    options.add_argument("--published", action="store_true", help="waterbirds: the published size, for a GPU")
    return options


def main(argv: list[str]) -> int:
    """Run ``gain reproduce``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: If the data, the experiments' configs or a file of cues is missing.
        ValueError: If a method is unknown, or a folder holds what was made of other configs, images or cues.
        RuntimeError: If a stage fails; it names the log.
    """
    options = parser()
    args = options.parse_args(argv)
    for name, part in _OF_ONE.items():
        if getattr(args, name) and part != args.what:
            options.error(f"--{name} is an option of {part}, got {args.what}")
    table = _section4(args, options) if args.what == "section4" else _waterbirds(args)
    print(table)
    return 0


def _section4(args: argparse.Namespace, options: VerbParser) -> str:
    for name in args.methods or ():
        if not re.fullmatch(section4.METHOD_OF_CONFIG, name):
            options.error(f"--methods is {name!r}, expected gradcam, gain or gain_ext_N with N masks")
    out = args.out or Path("runs/section4_subset" if args.subset else "runs/section4")
    runs = section4.plan_runs(
        out,
        root=args.root or "VOCdevkit",
        experiments=args.experiments,
        methods=args.methods or (section4.SUBSET if args.subset else section4.FULL),
        seeds=args.seeds,
        is_subset=args.subset,
        cues=args.cues,
    )
    for run in runs:
        run.run()
        table = section4.write_tables(out, run)
    return table


def _waterbirds(args: argparse.Namespace) -> str:
    parts = ["waterbirds", *(name for name in ("published", "reversed") if getattr(args, name))]
    out = args.out or Path("runs") / "_".join(parts)
    runs = waterbirds.plan_runs(
        out,
        root=Path(args.root or "data/waterbirds"),
        experiments=args.experiments,
        methods=args.methods or waterbirds.METHODS,
        seeds=args.seeds,
        is_reversed=args.reversed,
        is_published=args.published,
    )
    for run in runs:
        run.run()
        table = waterbirds.write_tables(out, run)
    return table
