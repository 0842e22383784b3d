"""``gain seeds``: localisation cues, maps and pseudo-masks of a run's images, from its attention."""

from pathlib import Path

from gain_lightning.commands.common import (
    VerbParser,
    add_export,
    add_threads,
    at_least,
    factor,
    prepare_torch,
    share,
)
from gain_lightning.runs.folder import require_checkpoints
from gain_lightning.segmentation import BACKGROUND_VALUES, CONFIDENCE, THRESHOLD

DESCRIPTION = """\
Map every image of a run's training set and turn the maps into seeds of a segmentation. A run of SEC segments the
images, whose labels it knows, and makes cues of a second round where it is sure. Writes into --out
  cues.npz, cues/NAME.png    41 x 41: 0 background, 1..C class, 255 no cue
  localization_cues.pickle   the same as SEC's own trainers read it, with input_list.txt
  maps/NAME.npy              {keys, cam, high_res}: maps as others exchange them; of SEC its probabilities
  masks/NAME.png             pseudo-masks at the image's size, 255 where unsure
  pictures/NAME.png          of the first images: image, truth, cues, pseudo-mask
  provenance.json            where all this comes from
The same command goes on after an interrupt. `gain seeds score OUT --masks DIR` judges the result.
"""


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
    options.add_argument("--flip", action="store_true", help="look at mirrored images, too")
    options.add_argument(
        "--threshold", type=share, help=f"share of a map's maximum; of a classifier (default: {THRESHOLD})"
    )
    options.add_argument(
        "--background",
        choices=BACKGROUND_VALUES,
        help="of a classifier: where no class is attended to; or the least gradient of the scores, as SEC; or low in "
        "saliency maps (default: attention)",
    )
    options.add_argument(
        "--background_value",
        type=share,
        help="attention below this share of the maximum ({attention}), this share of the pixels ({gradient}), "
        "saliency below this share of the highest ({saliency})".format_map(BACKGROUND_VALUES),
    )
    options.add_argument(
        "--saliency",
        type=Path,
        help="folder of saliency maps NAME.png, .jpg or .npy, of any size, 0 to 1, to 255 or to 65535",
    )
    options.add_argument(
        "--confidence",
        type=share,
        help=f"least probability of a cue; of SEC, from 0.5 to below 1 (default: {CONFIDENCE})",
    )
    options.add_argument(
        "--crf",
        action="store_true",
        help="a dense CRF at 41 x 41, as SEC trains with, makes regions before the thresholds",
    )
    options.add_argument(
        "--batch_size", type=at_least(1), default=16, help="images at a time (default: %(default)s)"
    )
    options.add_argument("--device", help="default: cuda where there is one, else cpu")
    add_export(options, "the pseudo-masks")
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
    require_checkpoints(args.run)

    # It imports torch, so it comes after all that can be refused without it.
    prepare_torch()
    from gain_lightning.methods.threads import choose_threads
    from gain_lightning.segmentation.export_seeds import SeedOptions, export_seeds

    threads = vars(args).pop("threads")
    print(choose_threads(threads))
    export_seeds(SeedOptions(**vars(args)))
    return 0
