"""A callback that counts the attention maps of a training that are zero everywhere."""

from typing import Any, Protocol

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

# A larger share of an epoch's maps that are zero everywhere brings a warning.
MOST_ZERO = 0.5


class Counts(Protocol):
    """A method that counts the maps of its last step that were zero everywhere, and all of them."""

    zero_maps: tuple[Tensor | int, int]


class ZeroMaps(pl.Callback):
    """Logs the share of an epoch's maps that are zero everywhere, and warns of many: such a map guides nothing."""

    def __init__(self) -> None:
        self.num_zero: Tensor | int = 0
        self.num_maps = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Counts, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step's maps without waiting for the device."""
        num_zero, num_maps = pl_module.zero_maps
        self.num_zero, self.num_maps = self.num_zero + num_zero, self.num_maps + num_maps
        pl_module.zero_maps = (0, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the share in the maps of this process."""
        if self.num_maps:
            share = float(self.num_zero) / self.num_maps
            pl_module.log("train/zero_maps", share, rank_zero_only=True, logger=False)
            # The share must be written before the checkpoint that counts this epoch as done.
            for logger in trainer.loggers:
                logger.log_metrics(
                    {"train/zero_maps": share, "epoch": trainer.current_epoch}, step=trainer.global_step - 1
                )
                logger.save()
            if share > MOST_ZERO:
                rank_zero_warn(
                    f"{int(self.num_zero)} of {self.num_maps} attention maps of epoch {trainer.current_epoch} were "
                    f"zero everywhere ({share:.0%}): guidance does not reach these images. A longer "
                    "model.warmup, or smaller weights, may help"
                )
        self.num_zero, self.num_maps = 0, 0

    def state_dict(self) -> dict[str, int]:
        """Return the counts of an epoch that is not over."""
        return {"num_zero": int(self.num_zero), "num_maps": self.num_maps}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on counting from the counts of a checkpoint."""
        self.num_zero, self.num_maps = state_dict["num_zero"], state_dict["num_maps"]
