"""``gain seeds score``: how good localisation cues, activation maps or pseudo-masks are."""

from pathlib import Path

from gain_lightning.commands.common import VerbParser, prepare_torch
from gain_lightning.support.files import write_json

DESCRIPTION = """\
Score cues against masks. CUES is one of
  FILE.npz   image name -> (h, w) cues: 0 background, 1..C class, 255 none (SEC's published ones are 41 x 41)
  FILE.pickle  localization_cues.pickle of SEC's authors, with their input_list.txt beside it
  DIR        of gain seeds; or of maps NAME.npy with {keys, cam, high_res}; or of pseudo-masks NAME.png
Masks are sampled at the centres of the cues' cells; maps and pseudo-masks are judged at full size.
"""


def parser() -> VerbParser:
    """The options of ``gain seeds score``."""
    options = VerbParser("seeds score", DESCRIPTION)
    options.add_argument("cues", type=Path, metavar="CUES", help="what is scored")
    options.add_argument(
        "--masks",
        type=Path,
        required=True,
        help="folder of masks, NAME.png of class indices, or another tool's annotations, such as COCO's JSON",
    )
    options.add_argument(
        "--images",
        type=Path,
        help="folder of the pictures that annotations name (default: near the annotations)",
    )
    options.add_argument(
        "--class_names", help="file with a class a line, or voc (default: those of gain seeds, else numbers)"
    )
    options.add_argument(
        "--mean_over", nargs="+", help="classes that the mean runs over (default: all that occur)"
    )
    options.add_argument("--json", type=Path, help="write the scores to this file too")
    return options


def main(argv: list[str]) -> int:
    """Run ``gain seeds score``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: If there are no cues or no masks.
        ValueError: If cues and masks do not fit each other; it names the image.
    """
    args = parser().parse_args(argv)

    # It imports torch, so it comes after all that the parser refuses.
    prepare_torch()
    from gain_lightning.segmentation.score_seeds import class_names, score_seeds, table

    names = class_names(args.class_names, args.cues)
    result = score_seeds(args.cues, args.masks, names, args.mean_over, args.images)
    print(table(result))
    if args.json:
        write_json(args.json, result)
    return 0
