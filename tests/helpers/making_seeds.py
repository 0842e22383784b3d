"""Run ``gain seeds`` as its tests call it."""

from gain_lightning.cli import main


def seeds(run, out, *options):
    return main(["seeds", str(run), "--out", str(out), "--device", "cpu", *options])
