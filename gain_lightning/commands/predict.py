"""``gain predict``: what a checkpoint says of a folder of pictures, and where a classifier looks."""

import argparse
from pathlib import Path

from gain_lightning.commands.common import VerbParser, add_export, add_threads, at_least, prepare_torch, share
from gain_lightning.datasets.pictures import find_pictures, refuse_used
from gain_lightning.support.walk import group_unread

DESCRIPTION = """\
Of a classifier: classify every picture below --images and map the attention of its classes. Writes, for a/b.jpg:
  OUT/a/b_CLASS.npy   the map at the picture's size, (H, W) float32, divided by its maximum
  OUT/a/b_CLASS.png   the map over the picture
and OUT/predictions.csv: every class's probability (or amount), whether it was mapped, the map's maximum before scaling,
and the probability's logit, which still tells pictures apart where probabilities round to 0 or 1.

Of a segmentation network (SEC): OUT/a/b.png, the class of every pixel in VOC's palette, after a dense CRF.
"""


def parser() -> VerbParser:
    """The options of ``gain predict``; those of one kind of network are None unless given."""
    options = VerbParser("predict", DESCRIPTION)
    options.add_argument("--images", required=True, type=Path, help="folder of pictures; its folders too")
    options.add_argument("--ckpt_path", required=True, type=Path, help="checkpoint of a run")
    options.add_argument("--out", required=True, type=Path, help="folder for the maps")
    options.add_argument("--list", type=Path, help="file of names, one a line: these pictures alone")
    options.add_argument(
        "--batch_size", type=at_least(1), default=8, help="pictures at a time (default: %(default)s)"
    )
    options.add_argument(
        "--accelerator", default="auto", help="as of Lightning's Trainer (default: %(default)s)"
    )
    add_export(options, "what is found")
    add_threads(options)
    group = options.add_argument_group("options of a classifier")
    group.add_argument(
        "--classes", nargs="+", help="classes to map (default: those found, else the likeliest)"
    )
    group.add_argument(
        "--threshold", type=float, help="probability (or amount) from which a class is found (default: 0.5)"
    )
    group.add_argument(
        "--mark_threshold",
        type=share,
        help="of --export: share of a map's maximum above which a pixel is marked (default: 0.2)",
    )
    group = options.add_argument_group("options of a segmentation network")
    group.add_argument("--no_crf", action="store_true", default=None, help="the bare scores")
    group.add_argument("--crf_workers", type=at_least(0), help="processes (default: one a free core)")
    group.add_argument(
        "--voc_submission",
        action="store_true",
        default=None,
        help="pack OUT/results.tgz as VOC 2012's server takes it (comp6)",
    )
    # The spelling of older versions.
    group.add_argument(
        "--voc-submission", dest="voc_submission", action="store_true", default=None, help=argparse.SUPPRESS
    )
    return options


def main(argv: list[str]) -> int:
    """Run ``gain predict``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: If the folder or the checkpoint is missing.
        FileExistsError: If ``--out`` holds what an earlier call wrote.
        ValueError: If the checkpoint is unfit, or, once all others are mapped, if pictures are unreadable.
    """
    args = parser().parse_args(argv)
    if not args.ckpt_path.is_file():
        raise FileNotFoundError(f"--ckpt_path {args.ckpt_path}: no such file")
    pictures = find_pictures(args.images, args.out, args.list)
    refuse_used(args.out)
    for kind in group_unread(pictures.unread):
        print(f"not read: {kind}, the first {kind.first}")

    # It imports torch, so it comes after all that can be refused without it.
    prepare_torch()
    from gain_lightning.methods.predict import predict
    from gain_lightning.methods.threads import choose_threads

    print(choose_threads(args.threads))
    options = {
        name: getattr(args, name)
        for name in ("classes", "threshold", "mark_threshold", "no_crf", "crf_workers", "voc_submission")
    }
    predict(
        args.ckpt_path,
        args.images,
        args.out,
        pictures.paths,
        options,
        batch_size=args.batch_size,
        accelerator=args.accelerator,
        export=args.export,
    )
    return 0
