"""Run ``gain`` for ``test_distributed.py``, where the rank in DIES dies in its fourth step, by a kill or an error."""

import os
import signal
import sys
import time
from pathlib import Path

import gain_lightning.training.experiment
from gain_lightning.cli import main
from gain_lightning.training.resume import ExactResume


class Dies(ExactResume):
    """A callback that dies and writes down the time of its death."""

    def on_before_backward(self, trainer, pl_module, loss):
        rank, how = os.environ["DIES"].split()
        if (trainer.global_step, trainer.global_rank) == (3, int(rank)):
            Path(os.environ["DIED_AT"]).write_text(str(time.time()))
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the disk of this node is gone")


if __name__ == "__main__":
    gain_lightning.training.experiment.ExactResume = Dies
    sys.exit(main(sys.argv[1:]))
