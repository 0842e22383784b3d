"""``gain seeds``: localisation cues, maps and pseudo-masks of a run's images, from its attention."""

import argparse
from pathlib import Path

from gain_lightning.commands.common import add_threads, verb_parser
from gain_lightning.runs.folder import checkpoint_files
from gain_lightning.segmentation import BACKGROUND_SHARE, THRESHOLD
from gain_lightning.support.threads import choose_threads

DESCRIPTION = """\
Map every image of a run's training set and turn the maps into seeds of a segmentation. Writes into --out
  cues.npz, cues/NAME.png    41 x 41: 0 background, 1..C class, 255 no cue
  localization_cues.pickle   the same as SEC's own trainers read it, with input_list.txt
  maps/NAME.npy              {keys, cam, high_res}: maps as others exchange them
  masks/NAME.png             pseudo-masks at the image's size, 255 where unsure
  pictures/NAME.png          of the first images: image, truth, cues, pseudo-mask
  provenance.json            where all this comes from
The same command goes on after an interrupt. `gain seeds score OUT --masks DIR` judges the result.
"""
_BACKGROUND_VALUES = {"attention": 0.05, "gradient": BACKGROUND_SHARE, "saliency": 0.06}


def seeds_main(argv: list[str]) -> int:
    """Run ``gain seeds`` or ``gain seeds score``.

    Args:
        argv: The words after ``seeds``.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError, ValueError: If the run, its data or a saliency map is missing or unfit.
    """
    if argv[:1] == ["score"]:
        from gain_lightning.commands.score_seeds import score_seeds_main

        return score_seeds_main(argv[1:])
    parser = verb_parser("seeds", DESCRIPTION)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--out", type=Path, required=True, help="folder for the seeds")
    parser.add_argument("--data", help="where the data lie (default: as in the run)")
    parser.add_argument("--split", help="which images (default: the run's training images)")
    parser.add_argument(
        "--scales",
        type=float,
        nargs="+",
        default=[1.0],
        help="sizes to look at, times the run's (default: 1)",
    )
    parser.add_argument("--flip", action="store_true", help="add the maps of mirrored images")
    parser.add_argument(
        "--threshold", type=float, default=THRESHOLD, help="share of a map's maximum (default: %(default)s)"
    )
    parser.add_argument(
        "--background",
        choices=_BACKGROUND_VALUES,
        default="attention",
        help="where no class is attended to; or the least gradient of the scores, as SEC; or low in saliency maps",
    )
    parser.add_argument(
        "--background_value",
        type=float,
        help="attention below this share of the maximum (0.05), this share of the pixels (0.1), "
        "saliency below this share of 255 (0.06)",
    )
    parser.add_argument("--saliency", type=Path, help="folder of saliency maps NAME.png, 0 to 255")
    parser.add_argument(
        "--crf",
        action="store_true",
        help="a dense CRF at 41 x 41, as SEC trains with, makes regions of the maps before both thresholds",
    )
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--device", help="default: cuda where there is one, else cpu")
    add_threads(parser)
    args = parser.parse_args(argv)
    _check(args)

    from gain_lightning.segmentation.export_seeds import (
        export_seeds,  # after all that can be refused: it imports torch
    )

    print(choose_threads(args.threads))
    export_seeds(args)
    return 0


def _check(args: argparse.Namespace) -> None:
    if (args.background == "saliency") != (args.saliency is not None):
        raise ValueError("--background saliency and --saliency DIR belong together: expected both or none")
    if args.background_value is None:
        args.background_value = _BACKGROUND_VALUES[args.background]
    for name in ("threshold", "background_value"):
        if not 0 <= getattr(args, name) <= 1:
            raise ValueError(f"--{name} is {getattr(args, name)}, expected a share between 0 and 1")
    if not all(0 < scale < float("inf") for scale in args.scales):
        raise ValueError(f"--scales are {args.scales}, expected positive factors")
    if args.batch_size < 1:
        raise ValueError(f"--batch_size is {args.batch_size}, expected at least 1")
    if not checkpoint_files(args.run / "checkpoints"):
        raise FileNotFoundError(
            f"{args.run}: has no checkpoint in checkpoints/, expected the folder of a run"
        )
