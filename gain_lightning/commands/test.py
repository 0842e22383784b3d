"""``gain test``: score the test sets of a run."""

from gain_lightning.commands.fit import run_verb


def main(argv: list[str]) -> int:
    """Run ``gain test``; see :func:`gain_lightning.commands.fit.run_verb`."""
    return run_verb("test", argv)
