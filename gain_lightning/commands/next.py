"""``gain next``: which images of a run are worth marking."""

import textwrap
from pathlib import Path

from gain_lightning.commands.common import (
    VerbParser,
    add_export,
    add_threads,
    at_least,
    prepare_torch,
    share,
)
from gain_lightning.methods.advice import DEFAULT, MARK_THRESHOLD, POLICIES, STRATA
from gain_lightning.runs.folder import require_checkpoints

DESCRIPTION = """\
Choose training images that have no mask yet and are worth one, and say why. Writes into --out
  to_mark.txt    their names, one a line
  mask_list.txt  the list that --data.mask_budget takes once they are marked: these, and those that the run had
  next.csv       the class and group that each was chosen for, its value, score, and why
  next.png       each image beside its present map, and why it was chosen
  next.json      how they were chosen
and with --export the images and a file of the tool that they are marked in, where the present map is a mark to begin
from. `gain data import` brings the marks back (docs/annotate.md).

Policies:
"""
_DESCRIPTION = DESCRIPTION + "".join(
    f"  {name:<14} {policy.help}{'' if policy.is_stratified else ', not by class or group'}\n"
    for name, policy in POLICIES.items()
)
_WIDTH = 80


def parser() -> VerbParser:
    """The options of ``gain next``."""
    options = VerbParser("next", _DESCRIPTION)
    options.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    options.add_argument(
        "-n", "--count", type=at_least(1), default=20, help="number of images (default: %(default)s)"
    )
    options.add_argument("--out", type=Path, help="folder for the choice (default: RUN/next)")
    options.add_argument(
        "--policy", choices=list(POLICIES), default=DEFAULT, help="see above (default: %(default)s)"
    )
    options.add_argument(
        "--stratify",
        nargs="*",
        choices=STRATA,
        help="take equally many of each class, each group, or (no word) of neither (default: both, where there are "
        "groups)",
    )
    options.add_argument("--data", help="where the data lie (default: as in the run)")
    options.add_argument(
        "--exclude", nargs="+", type=Path, default=[], metavar="LIST", help="lists of images not to choose"
    )
    options.add_argument(
        "--simulated",
        action="store_true",
        help="masks that the run was not trained with count as not drawn yet: to try policies on marked data",
    )
    options.add_argument(
        "--candidates",
        type=at_least(1),
        metavar="N",
        help="look at N images, drawn by the seed (default: all)",
    )
    options.add_argument("--seed", type=at_least(0), default=0, help="of all draws (default: %(default)s)")
    options.add_argument(
        "--threshold",
        type=share,
        default=MARK_THRESHOLD,
        help="of --export: share of a map's maximum above which a pixel is marked (default: %(default)s)",
    )
    options.add_argument(
        "--batch_size", type=at_least(1), default=16, help="images at a time (default: %(default)s)"
    )
    options.add_argument("--device", help="default: cuda where there is one, else cpu")
    add_export(options, "the images with their present maps as marks")
    add_threads(options)
    return options


def main(argv: list[str]) -> int:
    """Run ``gain next``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: If there is no such folder, or it has no checkpoint.
        FileExistsError: If ``--out`` holds an earlier choice.
        ValueError: If too few images are left, or the policy cannot judge them.
    """
    args = parser().parse_args(argv)
    require_checkpoints(args.run)
    for path in args.exclude:
        if not path.is_file():
            raise FileNotFoundError(f"--exclude {path}: no such file")

    # It imports torch, so it comes after all that can be refused without it.
    prepare_torch()
    from gain_lightning.methods.advice.advise import AdviceOptions, advise
    from gain_lightning.methods.advice.write import GRID, IMAGES, MASK_LIST
    from gain_lightning.methods.threads import choose_threads

    print(choose_threads(args.threads))
    out = args.run / "next" if args.out is None else args.out
    settings = {key: value for key, value in vars(args).items() if key not in ("run", "out", "threads")}
    advised = advise(args.run, out, AdviceOptions(**settings))
    for one in advised:
        print(_wrapped(f"{one.place:>3}. {one.image_id}, {one.class_name}: {one.why}"))
    print(f"{len(advised)} images to mark: {out}, {out / GRID}")
    if args.export:
        print(f"for {', '.join(args.export)}: {out}, pictures in {out / IMAGES}")
    print(f"once they are marked: --data.mask_budget {out / MASK_LIST}")
    return 0


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent=" " * 5)
