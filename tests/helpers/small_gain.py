"""Make GAIN on the tiny CNN, for batches of tensors and for shapes, and look at its state and modes."""

import pytorch_lightning as pl
import torch
from torch import nn

from gain_lightning.datasets.shapes import ShapesDataModule
from gain_lightning.datasets.shapes.boat import CLASSES
from gain_lightning.methods.gain import GAIN

SIDE = 32
# The tiny CNN has three convolutions of stride 2, and each cell is centred on its first pixel.
CELLS = (0, 0, 8, 8)
NAMES = ["a", "b", "c"]


def make_gain(net=None, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = GAIN(class_names=NAMES, image_size=SIDE, **settings)
    if net is not None:
        module.backbone = net
    return module


def state_of(module):
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def same_state(module, state):
    return all(torch.equal(tensor, state[key]) for key, tensor in module.state_dict().items())


def modes_of(module):
    return [layer.training for layer in module.modules()]


def batch_norms(module):
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


def make_trainer(folder, **settings):
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **{"inference_mode": False, **settings},
    )


def make_shapes(**settings):
    sizes = {"num_train": 8, "num_val": 6, "num_test": 6, "num_biased": 4}
    return ShapesDataModule(**{**sizes, "batch_size": 4, "masked_batch_size": 2, **settings})


def make_shapes_gain(**settings):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return GAIN(class_names=list(CLASSES), image_size=96, **settings)
