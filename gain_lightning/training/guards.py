"""Stop a training at the first loss, gradient or weight that is not finite."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor


class FiniteGuard(pl.Callback):
    """Stops at the first loss or gradient that is not finite, before any weight moves, and names the images.

    It looks at losses and gradients together, once an optimizer step, since each look waits for the device.
    """

    def __init__(self) -> None:
        # Ids of the images of the current batch.
        self.ids: list[str] = []
        # Ids and loss of every batch since the last optimizer step.
        self.batches: list[tuple[list[str], Tensor]] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: dict, batch_idx: int
    ) -> None:
        """Remember the images of the batch."""
        streams = [batch] if "id" in batch else batch.values()
        self.ids = [image_id for stream in streams for image_id in stream["id"]]

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Remember the loss."""
        self.batches.append((self.ids, loss.detach()))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any
    ) -> None:
        """Look at the losses, and at the gradients unless a gradient scaler deals with them."""
        batches, self.batches = self.batches, []
        # A skipped step has no batch.
        if not batches:
            return
        losses = torch.stack([loss for _, loss in batches]).float()
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        norm = losses.new_zeros(())
        if gradients and trainer.precision != "16-mixed":
            norm = torch.nn.utils.get_total_norm(gradients)
        if torch.isfinite(torch.cat([losses, norm.to(losses).reshape(1)])).all():
            return
        wrong = [place for place, loss in enumerate(losses.tolist()) if not math.isfinite(loss)]
        what = f"the loss is {losses[wrong[0]].item()}" if wrong else "a gradient is not finite"
        # The logged terms are those of the last batch.
        if wrong[-1:] == [len(losses) - 1]:
            terms = {
                key: f"{float(value):.4g}" for key, value in trainer.callback_metrics.items() if "loss" in key
            }
            what += f" ({terms})"
        if not wrong and trainer.world_size > 1:
            what += ", though each loss of this process is: another process may say more,"
        ids = [image_id for place in wrong or range(len(batches)) for image_id in batches[place][0]]
        raise FloatingPointError(
            f"{what} at epoch {trainer.current_epoch}, step {trainer.global_step}; the images of this step: "
            f"{', '.join(ids)}. The last good checkpoint is kept; try a lower learning rate or smaller weights"
        )

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to save weights that are not finite, so that the last good checkpoint stays."""
        self._look_at(checkpoint["state_dict"], trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the weights once more, for no checkpoint may have been saved."""
        self._look_at(pl_module.state_dict(), trainer)

    @staticmethod
    def _look_at(state: Mapping[str, Tensor], trainer: pl.Trainer) -> None:
        for name, tensor in state.items():
            if not torch.isfinite(tensor).all():
                raise FloatingPointError(
                    f"the weights {name} are not finite after step {trainer.global_step}. Checkpoints that "
                    "were saved are good; look at the optimizer's settings"
                )
