"""Record what two gloo processes see and compute, for ``test_distributed.py``.

Usage: ``python two_processes.py RANK WORLD_SIZE PORT OUT``, once for each rank. This writes ``OUT/RANK.pt``.
"""

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from several_processes import join

from gain_lightning.datasets import ShapesDataModule
from gain_lightning.datasets.sample import collate
from gain_lightning.methods.gain import GAIN

SIZES = {"num_train": 26, "num_val": 4, "num_test": 4, "num_biased": 2}


def make_model() -> GAIN:
    """Return GAIN_ext in float64 with random BatchNorm statistics, which stay, as each process sees only its part."""
    torch.manual_seed(0)
    model = GAIN(
        ["boat", "car", "cow", "bird", "lamp"], 96, am_weight=0.7, ext_weight=3.0, freeze_batch_norm=True
    )
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.2, 0.6)
    return model.double()


def make_batch(case: str) -> dict:
    """Return eight weak and four masked images; by case one of these, both of rank 1, or all but one lack masks."""
    data = ShapesDataModule(**SIZES, mask_budget=1.0)
    data.setup("fit")
    masked = [data.masked_set[index] for index in range(4)]
    # Rank 1 has the odd ones.
    empty = {"uneven": (3,), "none on one rank": (1, 3), "one in all": (1, 2, 3)}
    for index in empty.get(case, ()):
        masked[index] = {
            **masked[index],
            "mask": masked[index]["mask"][:0],
            "mask_class": torch.zeros(0).long(),
        }
    streams = {"weak": [data.train_set[index] for index in range(8)], "masked": masked}
    return {name: collate(samples) for name, samples in streams.items()}


def share(batch: dict, rank: int, num_ranks: int) -> dict:
    """Return this process's images of a stream."""
    of_masks = {"mask", "mask_image", "mask_class"}
    mine = batch["mask_image"] % num_ranks == rank
    return {
        **{key: value[rank::num_ranks] for key, value in batch.items() if key not in of_masks},
        **{key: batch[key][mine] for key in of_masks},
        "mask_image": batch["mask_image"][mine] // num_ranks,
    }


def gradient(model: GAIN, batch: dict) -> torch.Tensor:
    """Return the gradient of the whole loss with respect to all parameters, as one vector."""
    batch = model.on_after_batch_transfer(batch, 0)
    batch = {
        name: {**stream, "image": stream["image"].double(), "label": stream["label"].double()}
        for name, stream in batch.items()
    }
    model.train()
    model.zero_grad()
    model.losses(batch["weak"], batch.get("masked"), 1.0)["loss"].backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


class Record(pl.Callback):
    """A callback that records the ids of every step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, list[str]]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.seen.append({name: list(stream["id"]) for name, stream in batch.items()})


def main(rank: int, world_size: int, port: str, out: Path) -> None:
    join(rank, world_size, port)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world_size)
    gradients = {}
    for case in ("even", "uneven", "none on one rank", "one in all", "no stream on one rank"):
        batch = {name: share(stream, rank, world_size) for name, stream in make_batch(case).items()}
        if case == "no stream on one rank" and rank == 1:
            del batch["masked"]
        value = gradient(make_model(), batch)
        torch.distributed.all_reduce(value)
        gradients[case] = value / world_size
    torch.distributed.destroy_process_group()

    pl.seed_everything(0, verbose=False)
    data = ShapesDataModule(**SIZES, batch_size=4, masked_batch_size=2, mask_budget=7)
    record = Record()
    trainer = pl.Trainer(
        accelerator="cpu", devices=world_size, strategy="ddp", max_epochs=2, inference_mode=False, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[record], default_root_dir=out,
    )  # fmt: skip
    trainer.fit(GAIN(list(data.class_names), 96, am_weight=0.1, ext_weight=1.0), datamodule=data)
    torch.save(
        {"gradients": gradients, "seen": record.seen, "masked_ids": data.masked_ids}, out / f"{rank}.pt"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
