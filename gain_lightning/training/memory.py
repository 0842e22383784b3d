"""How the process asks for memory."""

import ctypes
import os
import sys
from typing import Any

from pytorch_lightning import Callback, Trainer
from torch import nn

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of <malloc.h>
_CACHE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_KERNELS_PER_CONVOLUTION = 6  # a step of EfficientNet-Lite0 has 187 for its 49, of the tiny CNN 22 for 4


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, for the next step's tensors, instead of handing it back.

    On a CPU every step frees and asks for the same large tensors. glibc returns them to the system, which has to
    clear each page anew: a quarter of a VGG16 step of GAIN (docs/cost.md). The process then holds its peak.

    Returns:
        Whether it could be set: glibc alone has it.
    """
    mallopt = _of_glibc("mallopt")
    return bool(mallopt and mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


class ReturnFreedMemory(Callback):
    """Hands back, at the end of every epoch, what :func:`keep_freed_memory` keeps.

    The heap grows to what the step with the most erased images needed, and where free pieces lie badly a little more
    from time to time. Loaders that start then, as validation's do, also keep a copy of what the process has by then.
    To clear the pages anew costs the next step what :func:`keep_freed_memory` saves it.
    """

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trim = _of_glibc("malloc_trim")
        # on_train_epoch_end comes too late: validation has started its loaders by then
        if trim and trainer.is_last_batch:
            trim(0)


def keep_few_kernels(model: nn.Module) -> None:
    """Bound the convolution kernels that oneDNN compiles and keeps, to what one number of images needs.

    S_am has another number of erased images in most steps, and oneDNN's own bound of 1024 fills up over hours: with
    Lite0 by 500 MiB in 30 steps. Every kernel that stays also lies between the tensors of later steps and splits
    their place (docs/cost.md). A bound that the user has set stays.

    Args:
        model: What will be trained. No convolution may have run on a CPU before, for oneDNN asks once.
    """
    count = sum(isinstance(layer, nn.Conv2d) for layer in model.modules())
    os.environ.setdefault(_CACHE, str(_KERNELS_PER_CONVOLUTION * count))


def _of_glibc(name: str) -> Any:
    """A function that glibc alone has, or None."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
