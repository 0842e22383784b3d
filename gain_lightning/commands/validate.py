"""``gain validate``: score the validation set of a run."""

from gain_lightning.commands.fit import run_verb


def main(argv: list[str]) -> int:
    """Run ``gain validate``; see :func:`gain_lightning.commands.fit.run_verb`."""
    return run_verb("validate", argv)
