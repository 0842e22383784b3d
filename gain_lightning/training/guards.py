"""Callbacks that watch a training: non-finite steps, maps that are zero, and what a step costs."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from gain_lightning.methods.cost import expected_cost

MOST_ZERO = 0.5  # share of an epoch's maps that may be zero everywhere before a warning


class FiniteGuard(pl.Callback):
    """Stops at the first loss or gradient that is not finite, naming the images, before any weight moves.

    It looks once an optimizer step, at losses and gradients together: each look waits for the device.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []  # of the images of a batch
        self.batches: list[tuple[list[str], Tensor]] = []  # since the last optimizer step: images and loss

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: dict, batch_idx: int
    ) -> None:
        """Remember whose step it is."""
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
        if not batches:  # a step that was skipped
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
        if wrong[-1:] == [len(losses) - 1]:  # the terms at hand are the last batch's
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
        """Keep the last good checkpoint from one whose weights are not finite."""
        self._look_at(checkpoint["state_dict"], trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Where no checkpoint was saved, too."""
        self._look_at(pl_module.state_dict(), trainer)

    @staticmethod
    def _look_at(state: Mapping[str, Tensor], trainer: pl.Trainer) -> None:
        for name, tensor in state.items():
            if not torch.isfinite(tensor).all():
                raise FloatingPointError(
                    f"the weights {name} are not finite after step {trainer.global_step}. Checkpoints that "
                    "were saved are good; look at the optimizer's settings"
                )


class ZeroMaps(pl.Callback):
    """Logs which share of an epoch's maps was zero everywhere, and warns of many: such a map guides nothing."""

    def __init__(self) -> None:
        self.num_zero: Tensor | int = 0
        self.num_maps = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count, without waiting for the device."""
        num_zero, num_maps = pl_module.zero_maps
        self.num_zero, self.num_maps = self.num_zero + num_zero, self.num_maps + num_maps
        pl_module.zero_maps = (0, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the share, of this process."""
        if self.num_maps:
            share = float(self.num_zero) / self.num_maps
            pl_module.log("train/zero_maps", share, rank_zero_only=True, logger=False)
            for logger in trainer.loggers:  # before the checkpoint that counts this epoch as done
                logger.log_metrics(
                    {"train/zero_maps": share, "epoch": trainer.current_epoch}, step=trainer.global_step - 1
                )
                logger.save()
            if share > MOST_ZERO:
                rank_zero_warn(
                    f"{int(self.num_zero)} of {self.num_maps} attention maps of epoch {trainer.current_epoch} were "
                    f"zero everywhere ({share:.0%}): guidance does not reach these images. A longer "
                    "model.warmup_epochs, or smaller weights, may help"
                )
        self.num_zero, self.num_maps = 0, 0

    def state_dict(self) -> dict[str, int]:
        """What is counted of an epoch that is not over."""
        return {"num_zero": int(self.num_zero), "num_maps": self.num_maps}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on counting."""
        self.num_zero, self.num_maps = state_dict["num_zero"], state_dict["num_maps"]


class CostForecast(pl.Callback):
    """Says before the first step what a step will cost in images and memory."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print it."""
        data = trainer.datamodule
        labels = torch.as_tensor(data.train_set.labels)
        masked_batch_size = data.masked_batch_size if data.masked_set is not None else 0
        try:
            cost = expected_cost(
                pl_module,
                labels,
                data.batch_size,
                masked_batch_size,
                trainer.optimizers[0],
                str(trainer.precision),
            )
        except RuntimeError as error:  # a network that needs the values, not the shapes
            rank_zero_warn(f"the cost of a step cannot be foreseen for this network: {error}")
            return
        if trainer.is_global_zero:
            print(cost)
