"""``gain check-maps``: whether a run's maps speak of its network."""

from pathlib import Path

from gain_lightning.commands.common import add_threads, verb_parser
from gain_lightning.runs.errors import RunError
from gain_lightning.runs.folder import checkpoint_files
from gain_lightning.runs.maps import read_maps
from gain_lightning.support.threads import choose_threads

DESCRIPTION = """\
Check the maps of runs on the test images that each keeps in maps.npz, and write RUN/map_checks.json:
  deletion    mean probability (or amount) of a class while its pixels go, brightest of the map first: low is good
  insertion   the same while they come back: high is good
  random weights  rank correlation of maps with those of random weights: near 0 is good, near 1 the map
              does not depend on what the network has learnt
  displacement    how far maps lie beside those of the mirrored images, and beside the masks
The attention map stands beside a Gaussian at the image's centre, pixels in random order, and the class's mask.
Pixels are replaced by the mean colour, which training erases with, by a blur, by their neighbours, and by noise:
what holds for one of them alone is no property of the map.
"""


def check_maps_main(argv: list[str]) -> int:
    """Run ``gain check-maps``.

    Args:
        argv: The words after ``check-maps``.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: If there is no such folder, or it has no checkpoint.
        RunError: If a run has no maps.
    """
    parser = verb_parser("check-maps", DESCRIPTION)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--seed", type=int, default=0, help="draws random weights, orders and noise (default: %(default)s)"
    )
    parser.add_argument("--draws", type=int, default=3, help="of noise (default: %(default)s)")
    add_threads(parser)
    args = parser.parse_args(argv)
    if args.draws < 1:
        raise ValueError(f"--draws is {args.draws}, expected at least 1")
    for run in args.runs:
        if not Path(run).is_dir():
            raise FileNotFoundError(f"{run}: no such folder")
        maps = read_maps(run)
        if maps is None or not len(maps.pair_image):
            raise RunError(f"{run}: has no maps.npz with maps, expected the folder of a tested run")
        if not checkpoint_files(Path(run) / "checkpoints"):
            raise FileNotFoundError(f"{run}: has no checkpoint in checkpoints/, expected the folder of a run")

    from gain_lightning.methods.map_checks import check_run  # after all that can be refused: it imports torch

    print(choose_threads(args.threads))
    for run in args.runs:
        print(check_run(Path(run), args.seed, args.draws))
    return 0
