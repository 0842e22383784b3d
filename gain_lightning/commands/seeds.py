"""``gain seeds``: localisation cues, maps and pseudo-masks of a run's images, from its attention."""

from pathlib import Path

from gain_lightning.commands.common import VerbParser, add_threads, at_least, factor, prepare_torch, share
from gain_lightning.runs.folder import require_checkpoints
from gain_lightning.segmentation import BACKGROUND_SHARE, THRESHOLD

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
# By kind of background, the value that stands where none is given.
_BACKGROUND_VALUES = {"attention": 0.05, "gradient": BACKGROUND_SHARE, "saliency": 0.06}


def parser() -> VerbParser:
    """The options of ``gain seeds``."""
    options = VerbParser("seeds", DESCRIPTION)
    options.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    options.add_argument("--out", type=Path, required=True, help="folder for the seeds")
    options.add_argument("--data", help="where the data lie (default: as in the run)")
    options.add_argument("--split", help="which images (default: the run's training images)")
    options.add_argument(
        "--scales",
        type=factor,
        nargs="+",
        default=[1.0],
        help="sizes to look at, times the run's (default: 1)",
    )
    options.add_argument("--flip", action="store_true", help="add the maps of mirrored images")
    options.add_argument(
        "--threshold", type=share, default=THRESHOLD, help="share of a map's maximum (default: %(default)s)"
    )
    options.add_argument(
        "--background",
        choices=_BACKGROUND_VALUES,
        default="attention",
        help="where no class is attended to; or the least gradient of the scores, as SEC; or low in saliency maps",
    )
    options.add_argument(
        "--background_value",
        type=share,
        help="attention below this share of the maximum (0.05), this share of the pixels (0.1), "
        "saliency below this share of 255 (0.06)",
    )
    options.add_argument("--saliency", type=Path, help="folder of saliency maps NAME.png, 0 to 255")
    options.add_argument(
        "--crf",
        action="store_true",
        help="a dense CRF at 41 x 41, as SEC trains with, makes regions of the maps before both thresholds",
    )
    options.add_argument(
        "--batch_size", type=at_least(1), default=16, help="images at a time (default: %(default)s)"
    )
    options.add_argument("--device", help="default: cuda where there is one, else cpu")
    add_threads(options)
    return options


def main(argv: list[str]) -> int:
    """Run ``gain seeds``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError, ValueError: If the run, its data or a saliency map is missing or unfit.
    """
    options = parser()
    args = options.parse_args(argv)
    if (args.background == "saliency") != (args.saliency is not None):
        options.error("--background saliency and --saliency DIR belong together: expected both or none")
    if args.background_value is None:
        args.background_value = _BACKGROUND_VALUES[args.background]
    require_checkpoints(args.run)

    # It imports torch, so it comes after all that can be refused without it.
    prepare_torch()
    from gain_lightning.methods.threads import choose_threads
    from gain_lightning.segmentation.export_seeds import SeedOptions, export_seeds

    threads = vars(args).pop("threads")
    print(choose_threads(threads))
    export_seeds(SeedOptions(**vars(args)))
    return 0
