"""``gain reproduce section4``: from image labels to the paper's segmentation tables."""

import argparse
import re
from pathlib import Path

from gain_lightning.commands.common import VerbParser, at_least
from gain_lightning.segmentation.section4 import FULL, METHOD_OF_CONFIG, SUBSET, plan_runs, write_tables

DESCRIPTION = """\
Section 4 of the paper: for every method and seed, train a classifier, turn its
attention into cues, train SEC on them, and score that on VOC's val without and
with a dense CRF. Each stage is a command of `gain`, printed as it begins; what
is done is skipped, what was interrupted goes on. Writes, into --out:
  METHOD-SEED/{classifier,seeds,sec}, METHOD-SEED/seeds.json, METHOD-SEED/log.txt
  METHOD-SEED/made_of.json    what they come of; other configs, images or cues
                              are refused there
  table.txt, table.csv    all scores of --out, beside the paper's
"""


def parser() -> VerbParser:
    """The options of ``gain reproduce``."""
    options = VerbParser("reproduce", DESCRIPTION)
    options.add_argument("what", choices=["section4"], help="the part of the paper")
    options.add_argument("--root", default="VOCdevkit", help="where VOC 2012 lies (default: VOCdevkit)")
    options.add_argument("--subset", action="store_true", help="the small configs for a CPU, lite0_subset/")
    options.add_argument(
        "--methods",
        nargs="+",
        type=_method,
        help="gradcam, gain, gain_ext_N with N masks "
        f"(default: {' '.join(FULL)}; with --subset {' '.join(SUBSET)})",
    )
    options.add_argument(
        "--seeds", type=at_least(0), nargs="+", default=[0], help="seeds of the runs (default: 0)"
    )
    options.add_argument("--cues", type=Path, help="train SEC on these published cues too, as method sec")
    options.add_argument(
        "--out", type=Path, help="folder of all (default: runs/section4, with --subset runs/section4_subset)"
    )
    options.add_argument(
        "--experiments",
        type=Path,
        default=Path("experiments"),
        help="folder of the configs (default: %(default)s)",
    )
    return options


def _method(name: str) -> str:
    """The type of ``--methods``."""
    if not re.fullmatch(METHOD_OF_CONFIG, name):
        raise argparse.ArgumentTypeError(f"is {name!r}, expected gradcam, gain or gain_ext_N with N masks")
    return name


def main(argv: list[str]) -> int:
    """Run ``gain reproduce``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: If the data, the experiments' configs or a file of cues is missing.
        ValueError: If a folder holds what was made of other configs, images or cues.
        RuntimeError: If a stage fails; it names the log.
    """
    args = parser().parse_args(argv)
    out = args.out or Path("runs/section4_subset" if args.subset else "runs/section4")
    runs = plan_runs(
        out,
        root=args.root,
        experiments=args.experiments,
        methods=args.methods or (SUBSET if args.subset else FULL),
        seeds=args.seeds,
        is_subset=args.subset,
        cues=args.cues,
    )
    for run in runs:
        run.run()
        table = write_tables(out, run)
    print(table)
    return 0
