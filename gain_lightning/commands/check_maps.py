"""``gain check-maps``: whether a run's maps speak of its network."""

from pathlib import Path

from gain_lightning.commands.common import VerbParser, add_threads, at_least, prepare_torch
from gain_lightning.runs.folder import require_checkpoints
from gain_lightning.runs.maps import require_maps

DESCRIPTION = """\
Check the maps of runs on the test images that each keeps in maps.npz, and write RUN/map_checks.json:
  deletion    mean probability (or amount) of a class while its pixels go, brightest of the map first: low is good
  insertion   the same while they come back: high is good
  random weights  rank correlation of maps with those of random weights: near 0 is good, near 1 the map
              does not depend on what the network has learnt
  displacement    how far maps lie beside those of the mirrored images, and beside the masks
  second opinion  energy in masks and IoU of attributions that no loss trained: occlusion, input gradients,
              integrated gradients; a network whose occlusion denies what its map claims is flagged
The attention map stands beside a Gaussian at the image's centre, pixels in random order, and the class's mask.
Pixels are replaced by the mean colour, which training erases with, by a blur, by their neighbours, and by noise:
what holds for one of them alone is no property of the map.
"""


def parser() -> VerbParser:
    """The options of ``gain check-maps``."""
    options = VerbParser("check-maps", DESCRIPTION)
    options.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    options.add_argument(
        "--seed", type=int, default=0, help="draws random weights, orders and noise (default: %(default)s)"
    )
    options.add_argument(
        "--draws", type=at_least(1), default=3, help="draws of the noise (default: %(default)s)"
    )
    options.add_argument(
        "--second_opinion",
        type=at_least(0),
        default=16,
        metavar="N",
        help="images of the second opinion, drawn by the seed; 0 leaves it out (default: %(default)s)",
    )
    add_threads(options)
    return options


def main(argv: list[str]) -> int:
    """Run ``gain check-maps``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: If there is no such folder, or it has no checkpoint.
        RunError: If a run has no maps.
    """
    args = parser().parse_args(argv)
    for run in args.runs:
        require_maps(run)
        require_checkpoints(run)

    # It imports torch, so it comes after all that can be refused without it.
    prepare_torch()
    from gain_lightning.methods.map_checks import check_run
    from gain_lightning.methods.threads import choose_threads

    print(choose_threads(args.threads))
    for run in args.runs:
        print(check_run(run, args.seed, args.draws, args.second_opinion))
    return 0
