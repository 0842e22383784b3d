"""Stop and resume: a training that is told to stop, or killed, goes on where it was, to the bit."""

import random
import signal
import threading
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from gain_lightning.constants import REQUEUE


class Trainer(pl.Trainer):
    """Lightning's Trainer, but :class:`ExactResume` handles a SIGTERM: Lightning's own way out saves nothing."""

    @property
    def received_sigterm(self) -> bool:
        """Always False, so that Lightning does not stop by itself."""
        return False


class ExactResume(pl.Callback):
    """Keeps random states in checkpoints, and on SIGTERM saves ``last.ckpt`` after the step and ends with 75.

    If the signal comes in an epoch's last step, or while the epoch is validated, the epoch ends first, since its
    checkpoint comes then. All ranks stop after the same step. A training that is killed goes on from its newest
    checkpoint. The test that follows a training ends at once, with 75 too; a test or validation alone ends with 143.

    Args:
        run_dir: The run folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "checkpoints" / "last.ckpt"
        self.stop_requested = False
        self.is_saved = False
        self.has_trained = False
        self._counted_twice = False
        self._random: list[dict[str, Any]] | None = None
        self._earlier: Any = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Listen for SIGTERM; Lightning calls a handler that was set before its own."""
        self.has_trained |= stage == "fit"
        # The signal came in the last epoch's validation, so the test is left for the next time.
        if stage == "test" and self.has_trained and self._agreed(trainer):
            raise SystemExit(REQUEUE)
        if threading.current_thread() is threading.main_thread():
            leave = partial(self._leave, trainer)
            self._earlier = signal.signal(signal.SIGTERM, self._note if stage == "fit" else leave)
            # Lightning's own handler speaks to the other ranks from inside, in the midst of their collectives.
            connector: Any = trainer._signal_connector
            connector._sigterm_notifier_fn = self._note

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the previous SIGTERM handler."""
        if self._earlier is not None:
            signal.signal(signal.SIGTERM, self._earlier)
            self._earlier = None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.stop_requested = True

    def _leave(self, trainer: pl.Trainer, signum: int, frame: FrameType | None) -> None:
        # The launcher holds the ranks that this one started.
        if trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signum)
        raise SystemExit(REQUEUE if self.has_trained else 128 + signum)

    def _agreed(self, trainer: pl.Trainer) -> bool:
        """Return True if any rank was told to stop."""
        if trainer.world_size == 1:
            return self.stop_requested
        return bool(trainer.strategy.reduce_boolean_decision(self.stop_requested, all=False))

    # Random states ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the random states of every rank, in types that a checkpoint without code can hold."""
        states: list[Any] = [random_state()]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            states = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(states, random_state())
        return {"random": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the random states until the next step, which restores them."""
        self._random = state_dict["random"]

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let a training that is counted in steps begin its next epoch; Lightning would end the last one again."""
        loop = checkpoint.get("loops", {}).get("fit_loop")
        if trainer.max_steps == -1 or not loop or not loop["epoch_loop.batch_progress"]["is_last_batch"]:
            return
        for counts in loop["epoch_progress"].values():
            counts["completed"] = counts["processed"]
            counts["ready"] += counts["ready"] == counts["processed"]
        for name in ("epoch_loop.batch_progress", "epoch_loop.scheduler_progress"):
            loop[name]["current"] = dict.fromkeys(loop[name]["current"], 0)
        loop["epoch_loop.batch_progress"]["is_last_batch"] = False
        loop["state_dict"].pop("combined_loader", None)
        self._counted_twice = True

    # Steps ------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop if told to, since the last epoch is saved now."""
        if trainer.global_step and self._agreed(trainer):
            raise SystemExit(REQUEUE)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop if the checkpoint is saved, or go on as if there had been no stop."""
        # The values that the last step logged are written by now.
        if self.is_saved:
            raise SystemExit(REQUEUE)
        # Lightning takes the last step for an interrupted one and counts it twice.
        if self._counted_twice:
            trainer.fit_loop.epoch_loop._batches_that_stepped -= 1
            self._counted_twice = False
        if self._random is not None:
            # With another number of ranks the training goes on with other draws than before.
            if len(self._random) == trainer.world_size:
                set_random_state(self._random[trainer.global_rank])
            self._random = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if told to stop, unless the epoch is about to end or gradients are still being added up."""
        is_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if is_step and not trainer.is_last_batch and self._agreed(trainer):
            trainer.save_checkpoint(self.path)
            self.is_saved = True


def random_state() -> dict[str, Any]:
    """Return the random states of Python, NumPy, torch and its GPUs."""
    # Other people's code may use NumPy's global state.
    state: Any = np.random.get_state()  # noqa: NPY002
    kind, keys, place, has_gauss, gauss = state
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), place, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Set the random states that :func:`random_state` has returned."""
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
