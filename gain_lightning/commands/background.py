"""``gain background``: how far a run's decisions depend on the ground that objects lie on."""

import textwrap
from pathlib import Path
from typing import Any

from gain_lightning.commands.common import VerbParser, add_threads, at_least, prepare_torch
from gain_lightning.runs.background import VERSIONS
from gain_lightning.runs.folder import require_checkpoints

DESCRIPTION = """\
Measure how far runs depend on what lies around an object, without an unbiased set: objects are cut out along
their masks, or their boxes, and shown
  as they are, and alone on plain grey
  on a ground of their own class, and on a ground of another class, both from other pictures
  removed: the ground alone, the place of the object filled from its surroundings
  pasted back on that ground, the control: it may cost 2 points
The background gap is the share that is recognised on grounds of the own class less that on grounds of other
classes (Xiao et al., ICLR 2021). Writes RUN/background.json and, object by object, RUN/background.csv, which
`gain compare` reads.
Grounds are those of training pictures by default, for there a class has the grounds that the network has seen
it on, even where the test set is not biased.
"""
# Classes whose own gap is printed.
_CLASSES_SHOWN = 8
# Columns of a terminal, and of the names of the versions.
_WIDTH, _NAMES = 80, 30


def parser() -> VerbParser:
    """The options of ``gain background``."""
    options = VerbParser("background", DESCRIPTION)
    options.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    options.add_argument("--data", help="where the data lie (default: as in the run)")
    options.add_argument("--split", help="pictures of the objects (default: the first test set)")
    options.add_argument(
        "--grounds", default="train", help="pictures of the grounds they are put on (default: %(default)s)"
    )
    options.add_argument(
        "--images",
        type=at_least(1),
        default=1000,
        help="so many pictures with objects (default: %(default)s)",
    )
    options.add_argument(
        "--seed", type=at_least(0), default=0, help="draws pictures and grounds (default: %(default)s)"
    )
    options.add_argument(
        "--pictures",
        type=at_least(0),
        default=0,
        metavar="N",
        help="draw the versions of N objects into RUN/background.png (default: none)",
    )
    options.add_argument("--device", help="default: cuda where there is one, else cpu")
    add_threads(options)
    return options


def main(argv: list[str]) -> int:
    """Run ``gain background``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: If there is no such folder, or it has no checkpoint.
        ValueError: If a run is no classifier's, or its data have no marks.
    """
    args = parser().parse_args(argv)
    for run in args.runs:
        require_checkpoints(run)

    # It imports torch, so it comes after all that can be refused without it.
    prepare_torch()
    from gain_lightning.methods.background import BackgroundOptions, check_background, draw_examples
    from gain_lightning.methods.threads import choose_threads

    print(choose_threads(args.threads))
    options = BackgroundOptions(
        args.data, args.split, args.grounds, args.images, args.seed, args.pictures, args.device
    )
    for run in args.runs:
        measured = check_background(run, options)
        print(_table(str(run), measured.result))
        if measured.examples:
            draw_examples(measured, run / "background.png")
            print(f"  pictures: {run / 'background.png'}")
    return 0


def _table(run: str, result: dict[str, Any]) -> str:
    """Write a result, 80 columns wide."""
    what = (
        f"{result['num_objects']} objects in {result['num_images']} images of {result['split']}, on "
        f"{result['num_grounds']} grounds of {result['grounds']}"
    )
    left = [
        f"{count} {why}"
        for count, why in (
            (result["too_large"], "cover too much of their picture"),
            (result["without_ground"], "have no ground of another picture"),
        )
        if count
    ]
    lines = [f"{run}:", *_wrapped(what + (f"; left out: {', '.join(left)}" if left else ""))]
    lines.append(f"  {'object':{_NAMES}}{'recognised, %':>14}{'95 % interval':>18}")
    for key, name in VERSIONS.items():
        lines.append(_row(name, result["versions"][key]))
    lines.append(_row("background gap, points", result["gap"], sign="+"))
    if result["chance"] is not None:
        lines.append(f"  {'removed, by chance':{_NAMES}}{100 * result['chance']:14.1f}")
    lines += _of_classes(result["classes"])
    lines += _wrapped(_judgement(result))
    lines += _wrapped(result["population"])
    return "\n".join(lines)


def _row(name: str, entry: dict[str, Any], sign: str = "") -> str:
    ends = entry["interval"]
    interval = "none" if ends is None else " to ".join(f"{100 * end:{sign}.1f}" for end in ends)
    return f"  {name:{_NAMES}}{100 * entry['mean']:{sign}14.1f}{interval:>18}"


def _of_classes(classes: dict[str, Any]) -> list[str]:
    """List the gaps of the classes, largest first; nothing where there is one class."""
    if len(classes) < 2:
        return []
    order = sorted(classes, key=lambda name: -classes[name]["gap"]["mean"])
    shown = [f"{name} {100 * classes[name]['gap']['mean']:+.1f}" for name in order[:_CLASSES_SHOWN]]
    more = f", and {len(order) - len(shown)} classes more" if len(order) > len(shown) else ""
    return _wrapped(f"gap by class: {', '.join(shown)}{more}")


def _judgement(result: dict[str, Any]) -> str:
    cost = f"pasting back costs {100 * result['control_cost']:.1f} points"
    if not result["trusted"]:
        return (
            f"NOT TO BE TRUSTED: {cost}, expected at most 2: pasting itself changes decisions, and these numbers "
            "with them"
        )
    return f"{cost}, at most 2: the numbers can be trusted"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH - 2, initial_indent="  ", subsequent_indent="    ")
