"""Run ``gain predict`` as its tests call it."""

import torch

from gain_lightning.cli import main
from gain_lightning.methods.gain import GAIN

CLASSES = ["red thing", "green/thing", "blue"]


def predict(pictures, checkpoint, out, *more):
    return main(
        [
            "predict",
            f"--images={pictures}",
            f"--ckpt_path={checkpoint}",
            f"--out={out}",
            "--accelerator=cpu",
            *more,
        ]
    )


def saved_with(classes, path):
    model = GAIN(classes, 32)
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    return path
