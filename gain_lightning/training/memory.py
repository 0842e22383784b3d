"""Settings of the C library and of oneDNN that keep a training on a CPU fast and its memory bounded."""

import ctypes
import os
import sys
from typing import Any

from pytorch_lightning import Callback, Trainer
from torch import nn

# Constants of <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_CACHE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
# A step of EfficientNet-Lite0 has 187 kernels for 49 convolutions, a step of the tiny CNN 22 for 4.
_KERNELS_PER_CONVOLUTION = 6


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next step's tensors instead of handing it back.

    On a CPU every step frees and asks for the same large tensors. By default glibc returns them to the system, which
    has to clear each page anew; this takes a quarter of a VGG16 step of GAIN (docs/cost.md). With the setting the
    process holds its peak.

    Returns:
        True if it could be set, which only glibc allows.
    """
    mallopt = _of_glibc("mallopt")
    return bool(mallopt and mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


class ReturnFreedMemory(Callback):
    """Hands back, at the end of every epoch, the memory that :func:`keep_freed_memory` keeps.

    The heap grows to the need of the step with the most erased images, and a little further from time to time when
    free pieces lie badly. Loaders that start at the end of an epoch, as those of validation do, also keep a copy of
    the process's memory. Clearing the pages anew costs the next step as much as :func:`keep_freed_memory` saves it.
    """

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Hand the memory back after an epoch's last batch."""
        trim = _of_glibc("malloc_trim")
        # on_train_epoch_end comes too late: validation has started its loaders by then.
        if trim and trainer.is_last_batch:
            trim(0)


def keep_few_kernels(model: nn.Module) -> None:
    """Bound the number of convolution kernels that oneDNN compiles and keeps to the need of one number of images.

    S_am has another number of erased images in most steps, and oneDNN's own bound of 1024 kernels fills up over
    hours: with Lite0 by 500 MiB in 30 steps. Every kernel that stays also lies between the tensors of later steps
    and splits their space (docs/cost.md). A bound that the user has set stays.

    Args:
        model: The model to train. No convolution may have run on a CPU before, for oneDNN reads the bound once.
    """
    count = sum(isinstance(layer, nn.Conv2d) for layer in model.modules())
    os.environ.setdefault(_CACHE, str(_KERNELS_PER_CONVOLUTION * count))


def _of_glibc(name: str) -> Any:
    """Return a function that glibc alone has, or None."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
