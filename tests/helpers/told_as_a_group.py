"""Train in children of this process whose whole group gets a SIGTERM at a moment, and print what became of each.

Usage: ``python told_as_a_group.py FOLDER``. Forked children need not import torch again.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

import gain_lightning.training.experiment
from gain_lightning.cli import main
from gain_lightning.datasets import ShapesDataModule
from gain_lightning.training.resume import ExactResume

SIZES = {"num_train": 16, "num_val": 8, "num_test": 8, "num_biased": 4}
SMALL = [
    *("--model.backbone=tiny_cnn", "--trainer.max_epochs=2", "--trainer.accelerator=cpu"),
    *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
    "--trainer.logger=false",
]


class Told(ExactResume):
    """A callback that once lets a process of another group signal all of this group, the loader's workers too."""

    moment, is_sent = "", False

    def _send(self, moment):
        if moment == self.moment and not self.is_sent:
            Told.is_sent = True
            command = ["kill", "-s", "TERM", "--", f"-{os.getpgid(0)}"]
            subprocess.run(command, start_new_session=True, check=True)
            # A worker that heeded the signal would be gone by now.
            time.sleep(0.5)

    def on_before_backward(self, trainer, pl_module, loss):
        self._send(f"step {trainer.global_step}")

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self._send("validation")

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self._send("test")


def run(words, moment=""):
    """Run ``gain`` in a session of its own; return its status and whether any process is left ten seconds later."""
    child = os.fork()
    if child == 0:
        os.setsid()
        Told.moment = moment
        try:
            status = main(words)
        except SystemExit as stopped:
            status = stopped.code
        sys.stdout.flush()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for _ in range(100):
        try:
            os.killpg(child, 0)
        except ProcessLookupError:
            return status, False
        time.sleep(0.1)
    return status, True


def steps(folder):
    """Return the steps trained, as the newest checkpoint says; None without one."""
    path = folder / "checkpoints" / "last.ckpt"
    return torch.load(path, weights_only=True)["global_step"] if path.is_file() else None


def main_script(folder):
    """Print a line of JSON a case: name, status, if processes are left, steps saved, outcome of going on, steps."""
    gain_lightning.training.experiment.ExactResume = Told
    torch.set_num_threads(1)
    data = ShapesDataModule(**SIZES)
    labels = data.image_set().labels
    cues = {f"train_{n:05d}": np.full((8, 8), 1 + label.argmax(), np.uint8) for n, label in enumerate(labels)}
    np.savez(folder / "cues.npz", **cues)
    shapes = ["--data=ShapesDataModule", *(f"--data.{key}={value}" for key, value in SIZES.items())]
    sec = ["--data=CueDataModule", "--data.images=ShapesDataModule", f"--data.cues={folder / 'cues.npz'}"]
    sec += [f"--data.images.{key}={value}" for key, value in SIZES.items()]
    kinds = {
        "gain": [*shapes, "--data.masked_batch_size=2", "--data.mask_budget=5", "--model.ext_weight=10"],
        "sec": sec,
    }
    for kind, moment in (
        *(("gain", "step 1"), ("gain", "validation"), ("gain", "test")),
        *(("sec", "step 1"), ("sec", "validation"), ("sec", "test")),
    ):
        name = f"{kind}, {moment}"
        words = [*kinds[kind], *SMALL, "--data.batch_size=4", "--data.num_workers=2"]
        words = ["fit", *words, f"--run_dir={folder / name}"]
        status, is_left = run(words, moment)
        saved = steps(folder / name)
        again = run([*words, "--ckpt_path=last"]) if saved is not None else (None, None)
        print(json.dumps([name, status, is_left, saved, *again, steps(folder / name)]), flush=True)


if __name__ == "__main__":
    main_script(Path(sys.argv[1]))
