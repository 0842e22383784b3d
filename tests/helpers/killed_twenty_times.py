"""Train in children of this process, once whole and once killed twenty times.

Usage: ``python killed_twenty_times.py FOLDER`` and the words of ``gain``. Forked children need not import torch again.
"""

import os
import random
import signal
import sys
from pathlib import Path

import torch

import gain_lightning.training.experiment
from gain_lightning.cli import main
from gain_lightning.runs.checkpoints import newest_checkpoint
from gain_lightning.training.resume import ExactResume

STEPS = 6  # an epoch


class Killed(ExactResume):
    """A callback that dies in a step after its backward pass, or in a validation."""

    place, at = "", -1

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if (self.place, self.at) == ("step", trainer.global_step):
            os.kill(os.getpid(), signal.SIGKILL)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        if self.place == "validation" and trainer.global_step > self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def die_at_save(number):
    """Replace the call that brings a file to the disk, so that the number-th call ends the process."""
    real, calls = os.fsync, iter(range(number, -1, -1))

    def fsync(file):
        if next(calls) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        real(file)

    os.fsync = fsync


def die_after_saving():
    """Replace the call that renames a file, so that the process dies as soon as last.ckpt is the new one."""
    real = os.replace

    def replace(source, target):
        real(source, target)
        if Path(target).name == "last.ckpt":
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace


def train(words, place="", at=-1):
    """Train in a child and return its exit code."""
    child = os.fork()
    if child == 0:
        Killed.place, Killed.at = place, at
        if place == "saving":
            die_at_save(at)
        if place == "saved":
            die_after_saving()
        os._exit(main(words))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main_script(folder, words):
    """Train once whole and once killed twenty times; an assertion fails if a kill did not happen."""
    gain_lightning.training.experiment.ExactResume = Killed
    torch.set_num_threads(1)
    assert train([*words, f"--run_dir={folder / 'whole'}"]) == 0
    words = [*words, f"--run_dir={folder / 'killed'}"]
    checkpoints = folder / "killed" / "checkpoints"
    draw = random.Random(0)
    for kill in range(20):
        newest = newest_checkpoint(checkpoints)
        saved = torch.load(newest, weights_only=True)["global_step"] if newest.is_file() else 0
        resume = ["--ckpt_path=last"] if newest.is_file() else []
        if kill == 0:
            place, at = "saved", 0
        # Every second kill lies one epoch further, so that all twenty find a training that has not ended.
        elif kill % 2:
            place, at = "step", saved + STEPS + draw.randrange(STEPS)
        else:
            place = draw.choice(["step", "step", "validation", "saving"])
            at = {"step": saved + draw.randrange(STEPS), "validation": saved, "saving": draw.randrange(2)}[
                place
            ]
        status = train([*words, *resume], place, at)
        print(kill, place, at, status, flush=True)
        assert status == -signal.SIGKILL
    assert train([*words, "--ckpt_path=last"]) == 0


if __name__ == "__main__":
    main_script(Path(sys.argv[1]), sys.argv[2:])
