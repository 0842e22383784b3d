"""Note operations for which a step waits for a GPU: those whose result's size or value the CPU has to know.

The names are those of torch's operators that synchronise with a CUDA device.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = {"nonzero", "_local_scalar_dense", "masked_select", "bincount", "_unique2", "equal", "is_nonzero"}


class Waits(TorchDispatchMode):
    """A dispatch mode that notes operators that wait."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in WAITING or by_mask:
            self.names.append(name)
        return function(*args, **(kwargs or {}))
