"""``gain reproduce section4``: from image labels to the paper's segmentation tables."""

import argparse
import re
from pathlib import Path

from gain_lightning.datasets.readers.voc import find_root
from gain_lightning.segmentation.section4 import FULL, METHOD_OF_CONFIG, SUBSET, Chain, section4_rows, tables
from gain_lightning.support.files import csv_text, write_atomically

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


def reproduce_main(argv: list[str]) -> int:
    """Run ``gain reproduce``.

    Args:
        argv: The words after ``reproduce``.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: If the data, the experiments' configs or a file of cues is missing.
        ValueError: If a method is unknown, or a folder holds what was made of other configs, images or cues.
        RuntimeError: If a stage fails; it names the log.
    """
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "gain reproduce", description=DESCRIPTION, formatter_class=formatter, allow_abbrev=False
    )
    parser.add_argument("what", choices=["section4"])
    parser.add_argument("--root", default="VOCdevkit", help="where VOC 2012 lies (default: VOCdevkit)")
    parser.add_argument("--subset", action="store_true", help="the small configs for a CPU, lite0_subset/")
    parser.add_argument(
        "--methods",
        nargs="+",
        help="gradcam, gain, gain_ext_N with N masks "
        f"(default: {' '.join(FULL)}; with --subset {' '.join(SUBSET)})",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the runs (default: 0)")
    parser.add_argument("--cues", type=Path, help="train SEC on these published cues too, as method sec")
    parser.add_argument("--out", type=Path, help="default: runs/section4, with --subset runs/section4_subset")
    parser.add_argument("--experiments", type=Path, default=Path("experiments"), help="folder of the configs")
    args = parser.parse_args(argv)
    root = find_root(args.root)
    folder = args.experiments / "voc12"
    if args.subset:
        folder = folder / "lite0_subset"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder, expected the configs of a checkout: start there, or --experiments"
        )
    out = args.out or Path("runs/section4_subset" if args.subset else "runs/section4")
    cues = args.cues / "cues.npz" if args.cues is not None and args.cues.is_dir() else args.cues
    if cues is not None and not cues.is_file():
        raise FileNotFoundError(f"--cues {cues}: no such file")
    methods = list(dict.fromkeys(args.methods or (SUBSET if args.subset else FULL)))
    for name in methods:
        if not re.fullmatch(METHOD_OF_CONFIG, name):
            raise ValueError(f"--methods {name}: expected gradcam, gain or gain_ext_N with N masks")
    if min(args.seeds) < 0:
        raise ValueError(f"--seeds {min(args.seeds)}: expected numbers from 0 on")
    chains = [
        Chain(method, seed, out / f"{method}-{seed}", root, folder, args.subset, cues)
        for seed in dict.fromkeys(args.seeds)
        for method in ([] if cues is None else ["sec"]) + methods
    ]
    for chain in chains:
        chain.run()
        text, cells = tables(section4_rows(out, chain), args.subset)
        write_atomically(out / "table.txt", text + "\n")
        write_atomically(out / "table.csv", csv_text(cells[0], cells[1:]))
    print(text)
    return 0
