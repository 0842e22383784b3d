"""The one command ``gain``. Only the verb that runs imports what it needs."""

import difflib
import os
import sys
import warnings
from pathlib import Path

from gain_lightning.support.console import forgiving_output

HELP = """\
usage: gain VERB [options]        (gain VERB --help lists a verb's options)

  fit       train one run:       gain fit --config experiments/shapes/gain_ext.yaml
            resume it:           gain fit --config RUN/config.yaml --ckpt_path last
  validate  score the val set:   gain validate --config RUN/config.yaml --ckpt_path last
  test      score the test sets: gain test --config RUN/config.yaml --ckpt_path last
  predict   maps of pictures:    gain predict --images DIR --ckpt_path FILE --out DIR
  check-maps  are they honest?   gain check-maps RUN
  seeds     of a segmentation:   gain seeds RUN --out DIR
            judge any cues:      gain seeds score DIR --masks DIR
  reproduce the paper's section 4: gain reproduce section4 --root VOCdevkit
  runs      list them:           gain runs runs/
  compare   report on runs:      gain compare RUN... --out DIR
  sweep     many runs:           gain sweep FILE --workers 2
            join from elsewhere: gain sweep worker SWEEP
  data      look at a data set:  gain data check DIR
            draw some of it:     gain data show DIR --out grid.png

Any key of a config is an option too: --model.sigma 0.4 --trainer.max_epochs 20
GAIN_DEBUG=1 shows the whole traceback of an error.
"""
VERBS = (
    "fit",
    "validate",
    "test",
    "predict",
    "check-maps",
    "seeds",
    "reproduce",
    "runs",
    "compare",
    "sweep",
    "data",
)


def main(argv: list[str] | None = None) -> int:
    """Run a verb.

    Args:
        argv: The words after ``gain``; None takes the command line.

    Returns:
        Exit status: 0 done, 1 failed, 2 not understood, 130 stopped by Ctrl-C (trainings
            and tests by Lightning, with 1).
    """
    with forgiving_output():
        return _main(sys.argv[1:] if argv is None else argv)


def _main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if argv else 2
    if argv[0] == "--version":
        from gain_lightning import __version__

        print(f"gain_lightning {__version__}")
        return 0
    if argv[0] not in VERBS:
        near = difflib.get_close_matches(argv[0], VERBS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(VERBS)}"
        print(f"gain: error: unknown verb {argv[0]!r}; {hint}", file=sys.stderr)
        return 2
    try:
        return _run(argv)
    except KeyboardInterrupt:
        is_kept = argv[0] in ("seeds", "reproduce") and argv[1:2] != ["score"]
        goes_on = "; the same command goes on where it was" if is_kept else ""
        print(f"gain {argv[0]}: stopped{goes_on}", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("GAIN_DEBUG"):
            raise
        print(f"gain {argv[0]}: error: {_rank()}{_said(error)}", file=sys.stderr)
        return 1


def _said(error: Exception) -> str:
    """An error in words; that of a loader's worker without the worker's traceback, that of a path with what it is."""
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes | os.PathLike):
        path = Path(os.fsdecode(error.filename))
        blocking = next((part for part in (path, *path.parents) if part.is_file()), None)
        if isinstance(error, FileExistsError | NotADirectoryError) and blocking is not None:
            return f"{blocking} is a file, expected a folder"
        if isinstance(error, IsADirectoryError):
            return f"{path} is a folder, expected a file"
    text = str(error) or type(error).__name__
    if "\nOriginal Traceback (most recent call last):\n" not in text:
        return text
    lines = text.splitlines()
    frame = max(number for number, line in enumerate(lines) if line.startswith('  File "'))
    raised = next(number for number, line in enumerate(lines) if number > frame and line[:1].strip())
    name, _, words = "\n".join(lines[raised:]).partition(": ")
    return words or name


def _rank() -> str:
    """Whose error it is, where there are several processes."""
    torch = sys.modules.get("torch")
    several = torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()
    return f"rank {torch.distributed.get_rank()}: " if several else ""


def _prepare_torch() -> None:
    """Before it is imported; and hide warnings that a user of this command cannot act on, each for its reason."""
    from gain_lightning.support.threads import let_waiting_threads_sleep

    let_waiting_threads_sleep()
    for message in (
        ".*does not have many workers.*",  # shapes live in memory
        ".*LightningCLI's args parameter.*",  # main() has them from there
        ".*overridden `on_.*_batch_transfer`.*",  # on purpose: see GAIN
        ".*LeafSpec.*deprecated.*",  # between torch and Lightning
        ".*No positive samples found in target.*",  # classes that no image shows are left out
        ".*number of training batches .* smaller than the logging interval.*",  # RunRecord sees to it
        ".*recommended to use .*sync_dist=True.*",  # torchmetrics has gathered the ranks' scores
    ):
        warnings.filterwarnings("ignore", message=message)


def _run(argv: list[str]) -> int:
    if argv[0] == "compare":
        from gain_lightning.commands.compare import compare_main

        return compare_main(argv[1:])
    if argv[0] == "runs":
        from gain_lightning.commands.runs import runs_main

        return runs_main(argv[1:])
    if argv[0] == "sweep":
        from gain_lightning.commands.sweep import sweep_main

        return sweep_main(argv[1:])
    if argv[0] == "reproduce":
        from gain_lightning.commands.reproduce import reproduce_main

        return reproduce_main(argv[1:])
    if argv[0] == "data":
        from gain_lightning.commands.data import data_main

        return data_main(argv[1:])
    _prepare_torch()
    if argv[0] == "predict":
        from gain_lightning.commands.predict import predict_main

        return predict_main(argv[1:])
    if argv[0] == "check-maps":
        from gain_lightning.commands.check_maps import check_maps_main

        return check_maps_main(argv[1:])
    if argv[0] == "seeds":
        from gain_lightning.commands.seeds import seeds_main

        return seeds_main(argv[1:])
    from gain_lightning.commands.fit import fit_main

    return fit_main(argv)
