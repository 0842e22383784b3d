"""``gain predict``: what a checkpoint says of a folder of pictures, and where a classifier looks."""

from pathlib import Path

from gain_lightning.commands.common import add_threads, verb_parser
from gain_lightning.datasets.pictures import find_pictures
from gain_lightning.support.walk import group_unread

DESCRIPTION = """\
Of a classifier: classify every picture below --images and map the attention of its classes. Writes, for a/b.jpg:
  OUT/a/b_CLASS.npy   the map at the picture's size, (H, W) float32, divided by its maximum
  OUT/a/b_CLASS.png   the map over the picture
and OUT/predictions.csv: every class's probability (or amount), whether it was mapped, the map's maximum before scaling,
and the probability's logit, which still tells pictures apart where probabilities round to 0 or 1.

Of a segmentation network (SEC): OUT/a/b.png, the class of every pixel in VOC's palette, after a dense CRF.
"""


def predict_main(argv: list[str]) -> int:
    """Run ``gain predict``.

    Args:
        argv: The words after ``predict``.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: If the folder or the checkpoint is missing.
        FileExistsError: If ``--out`` holds what an earlier call wrote.
        ValueError: If the checkpoint is unfit, or, once all others are mapped, if pictures are unreadable.
    """
    parser = verb_parser("predict", DESCRIPTION)
    parser.add_argument("--images", required=True, type=Path, help="folder of pictures; its folders too")
    parser.add_argument("--ckpt_path", required=True, type=Path, help="checkpoint of a run")
    parser.add_argument("--out", required=True, type=Path, help="folder for the maps")
    parser.add_argument("--list", type=Path, help="file of names, one a line: these pictures alone")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--accelerator", default="auto", help="as of Lightning's Trainer")
    add_threads(parser)
    group = parser.add_argument_group("of a classifier")
    group.add_argument(
        "--classes", nargs="+", help="classes to map (default: those found, else the likeliest)"
    )
    group.add_argument(
        "--threshold", type=float, help="probability (or amount) from which a class is found (default: 0.5)"
    )
    group = parser.add_argument_group("of a segmentation network")
    group.add_argument("--no_crf", action="store_true", default=None, help="the bare scores")
    group.add_argument("--crf_workers", type=int, help="processes (default: one a free core)")
    group.add_argument(
        "--voc_submission",
        "--voc-submission",
        action="store_true",
        default=None,
        help="pack OUT/results.tgz as VOC 2012's server takes it (comp6)",
    )
    args = parser.parse_args(argv)

    if not args.ckpt_path.is_file():
        raise FileNotFoundError(f"--ckpt_path {args.ckpt_path}: no such file")
    if args.crf_workers is not None and args.crf_workers < 0:
        raise ValueError(f"--crf_workers is {args.crf_workers}, expected at least 0")
    pictures = find_pictures(args.images, args.out, args.list)
    refuse_used(args.out)
    for kind in group_unread(pictures.unread):
        print(f"not read: {kind}, the first {kind.first}")

    # After all that can be refused, for these import torch.
    from gain_lightning.methods.predict import predict
    from gain_lightning.support.threads import choose_threads

    print(choose_threads(args.threads))
    options = {
        name: getattr(args, name)
        for name in ("classes", "threshold", "no_crf", "crf_workers", "voc_submission")
    }
    predict(
        args.ckpt_path,
        args.images,
        args.out,
        pictures.paths,
        options,
        batch_size=args.batch_size,
        accelerator=args.accelerator,
    )
    return 0


def refuse_used(out: Path) -> None:
    """Refuse a folder that holds the maps of an earlier call: those of this one would stand beside them."""
    if (out / "predictions.csv").exists():
        raise FileExistsError(
            f"--out {out}: holds predictions.csv of an earlier call, expected a new folder: the maps would mix"
        )
