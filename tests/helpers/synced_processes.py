"""One of two gloo processes that train Lite0 with ``--trainer.sync_batchnorm true``, for ``test_layer_sync.py``.

Usage: ``python synced_processes.py RANK WORLD_SIZE PORT OUT``. This writes ``OUT/RANK.pt`` with the logits of the same
pictures before the training, in it and in its test, and the kinds of BatchNorm layers at these times.

torch and :func:`gain_lightning.methods.layer_sync.check_layer_sync` refuse such layers on a CPU, where training them
is not possible. Both checks are switched off here, because no BatchNorm trains.
"""

import sys
from pathlib import Path

import torch
from several_processes import join
from torch.nn.parallel import DistributedDataParallel

import gain_lightning.training.experiment
from gain_lightning.backbones.batch_norm import batch_norm_layers
from gain_lightning.methods.gain import GAIN

CONFIG = Path(__file__).parents[2] / "experiments/shapes/gradcam.yaml"
SEEN: dict[str, dict] = {}


class Watched(GAIN):
    """A GAIN that notes the network's logits without changing its modes."""

    def note(self, when: str) -> None:
        pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        modes = {module: module.training for module in self.modules()}
        with torch.no_grad():
            logits = self.eval()(pictures)
        for module, mode in modes.items():
            module.training = mode
        layers = sorted({type(layer).__name__ for layer in batch_norm_layers(self.backbone)})
        SEEN[when] = {"logits": logits, "layers": layers}

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit":
            self.note("before")

    def on_train_start(self) -> None:
        super().on_train_start()
        self.note("training")

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self.note("test")


def main(rank: int, world_size: int, port: str, out: Path) -> None:
    join(rank, world_size, port)
    gain_lightning.methods.gain.GAIN = Watched
    gain_lightning.methods.base.check_layer_sync = lambda *_: None
    DistributedDataParallel._passing_sync_batchnorm_handle = lambda *_: None
    options = {
        "--run_dir": out / "run", "--model.backbone": "lite0", "--model.freeze_batch_norm": "true",
        "--model.optimizer": "torch.optim.SGD", "--model.optimizer.lr": "0", 
        "--data.num_train": "4", "--data.num_val": "2", "--data.num_test": "2", "--data.num_biased": "2",
        "--data.batch_size": "2", "--trainer.max_epochs": "1", "--trainer.accelerator": "cpu",
        "--trainer.devices": world_size, "--trainer.strategy": "ddp", "--trainer.sync_batchnorm": "true",
        "--trainer.logger": "false",
    }  # fmt: skip
    gain_lightning.training.experiment.run_experiment(
        ["fit", f"--config={CONFIG}", *(f"{key}={value}" for key, value in options.items())]
    )
    torch.save(SEEN, out / f"{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
