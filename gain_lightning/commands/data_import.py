"""``gain data import``: write the annotations of another tool as a folder of our own form, or merge them into one."""

from pathlib import Path

from gain_lightning.commands.common import VerbParser
from gain_lightning.commands.data_common import add_annotations, asked_of
from gain_lightning.datasets.check import stop_at
from gain_lightning.datasets.readers import reader_of
from gain_lightning.datasets.readers.folder.writing import write_folder

DESCRIPTION = """\
Write a data set as a folder of our own form (images/, labels.csv, masks/CLASS/, boxes.csv: data/README.md).
DATA is a file or folder of another tool's annotations, such as COCO's JSON, or any data set that gain data check reads.
If --out is such a folder, the marks are merged into it: a class that is marked anew on a picture takes the place of
what was marked, and pictures are looked for in its images/ first. No picture is written twice.
"""


def parser() -> VerbParser:
    """The options of ``gain data import``."""
    options = VerbParser("data import", DESCRIPTION)
    options.add_argument("data", type=Path, metavar="DATA", help="file or folder of annotations")
    add_annotations(options)
    options.add_argument("--out", type=Path, required=True, help="the folder that is written")
    options.add_argument(
        "--pictures",
        choices=("link", "copy"),
        default="link",
        help="how pictures get there (default: %(default)s)",
    )
    return options


def main(argv: list[str]) -> int:
    """Run ``gain data import``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError, ValueError: If there are no annotations or pictures, or something is wrong with them; the
            words are those of ``gain data check``.
    """
    args = parser().parse_args(argv)
    asked = asked_of(args)
    is_merged = (args.out / "images").is_dir()
    if asked.images is None and is_merged:
        asked = asked._replace(images=args.out / "images")
    reader = reader_of(args.data, asked=asked)
    contents = reader.read(args.data)
    stop_at(contents.problems, args.data)
    written = write_folder(contents, args.out, copy=args.pictures == "copy")
    for line in (*contents.notes, *contents.changes, *written.changes):
        print(f"note: {line}")
    print(f"{args.data} is {reader.name}")
    print(
        f"{args.out}: {written.pictures} pictures, {written.new_pictures} of them new; masks of {written.masked} and "
        f"boxes of {written.boxed} written"
    )
    return 0
