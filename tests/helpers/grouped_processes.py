"""One of two gloo processes that takes steps of GroupDRO on its part of each batch, for ``test_group_dro.py``.

Usage: ``python grouped_processes.py RANK WORLD_SIZE PORT OUT``. This writes ``OUT/RANK.pt`` with the weights of the
groups and the mean of the processes' gradients after each batch.
"""

import sys
from pathlib import Path

import torch
from several_processes import join

from gain_lightning.methods.group_dro import GroupDRO

# In the second batch rank 1 has one group alone, and a group is nowhere.
GROUPS = ([0, 1, 2, 0, 1, 2], [0, 1, 1, 1, 0, 1])


def make_model():
    torch.manual_seed(0)
    settings = {"group_names": ["x", "y", "z"], "group_step": 0.4, "freeze_batch_norm": True}
    return GroupDRO(class_names=["a", "b"], image_size=32, **settings).double()


def steps(rank=0, num_ranks=1):
    """Yield the weights and the gradient of this process after each batch."""
    model, generator = make_model(), torch.Generator().manual_seed(1)
    for groups in GROUPS:
        batch = {
            "image": torch.randn(len(groups), 3, 32, 32, generator=generator, dtype=torch.double),
            "label": torch.randint(2, (len(groups), 2), generator=generator).double(),
            "group": torch.tensor(groups),
            "id": [str(number) for number in range(len(groups))],
        }
        mine = {key: value[rank::num_ranks] for key, value in batch.items()}
        model.zero_grad()
        model.losses(mine, None, 1.0)["loss"].backward()
        yield model.group_weights.clone(), model.backbone.classifier.weight.grad.clone()


def main(rank: int, world_size: int, port: str, out: Path) -> None:
    join(rank, world_size, port)
    torch.distributed.init_process_group("gloo")
    found = []
    for weights, gradient in steps(rank, world_size):
        torch.distributed.all_reduce(gradient)
        found.append((weights, gradient / world_size))
    torch.save(found, out / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
