"""Measure where the time of a training goes: steps, waiting for pictures, validation with its records, and the rest.

    python benchmarks/overhead.py --config experiments/shapes/gradcam.yaml --trainer.max_epochs 4 --json overhead.json

All options but ``--json`` are those of ``gain fit``. Wall-clock time is measured, so that loaders that are too slow
show; run it on a machine that does nothing else.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from gain_lightning.training import experiment


class Clock(pl.Callback):
    """A callback that adds up seconds; the wait for a batch lasts from the end of the batch before to its own start."""

    def __init__(self) -> None:
        self.seconds = {"steps": 0.0, "waiting for pictures": 0.0, "validation": 0.0}
        self.total = self.began = self.waited_since = 0.0

    def on_fit_start(self, *_: Any) -> None:
        self.total = -time.perf_counter()

    def on_train_epoch_start(self, *_: Any) -> None:
        self.waited_since = time.perf_counter()

    def on_train_batch_start(self, *_: Any) -> None:
        self.began = time.perf_counter()
        self.seconds["waiting for pictures"] += self.began - self.waited_since

    def on_train_batch_end(self, *_: Any) -> None:
        self.waited_since = time.perf_counter()
        self.seconds["steps"] += self.waited_since - self.began

    def on_validation_start(self, *_: Any) -> None:
        self.began = time.perf_counter()

    def on_validation_end(self, *_: Any) -> None:
        self.seconds["validation"] += time.perf_counter() - self.began

    def on_fit_end(self, *_: Any) -> None:
        self.total += time.perf_counter()

    def shares(self) -> dict[str, float]:
        """Return the shares of the training's time."""
        found = {name: seconds / self.total for name, seconds in self.seconds.items()}
        return {**found, "rest": 1 - sum(found.values()), "seconds": self.total}


def measure(words: list[str]) -> dict[str, float]:
    """Train in a folder that is removed, and return the shares of the time.

    Args:
        words: Options of ``gain fit``.
    """
    clock = Clock()

    class WithClock(experiment.ExperimentCLI):
        def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
            trainer = super().instantiate_trainer(**kwargs)
            trainer.callbacks.insert(0, clock)
            return trainer

    with tempfile.TemporaryDirectory() as folder:
        plain = ("--test_after_fit=false", "--trainer.logger=false", "--trainer.enable_progress_bar=false")
        experiment.ExperimentCLI = WithClock
        experiment.run_experiment(["fit", *words, *plain, f"--run_dir={folder}/run"])
    return clock.shares()


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--json", type=Path)
    args, words = parser.parse_known_args()
    sys.argv = sys.argv[:1]
    result = measure(words)
    for name, value in result.items():
        print(f"{name:<22}{value:6.1f} s" if name == "seconds" else f"{name:<22}{value:7.1%}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
