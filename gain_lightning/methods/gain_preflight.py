"""Checks before GAIN's first step: the Trainer, the labels, the masks, and the beginning of guidance."""

import torch
from pytorch_lightning.utilities import rank_zero_warn

from gain_lightning.datasets.sample import PictureSet
from gain_lightning.datasets.streams import TwoStreamDataModule
from gain_lightning.methods.base import INFERENCE_MODE
from gain_lightning.methods.classifier import Classifier
from gain_lightning.methods.gain_settings import guidance_at, is_self_guided
from gain_lightning.methods.schedules import length_of, no_end
from gain_lightning.methods.terms import TERMS
from gain_lightning.methods.trainer import data_of


def check_before(model: Classifier, stage: str) -> None:
    """Refuse settings and data that would fail, or mean something else, once steps are taken.

    Args:
        model: A classifier with its trainer and its data module.
        stage: ``fit``, ``validate``, ``test`` or ``predict``.

    Raises:
        RuntimeError: If the Trainer runs in inference mode.
        ValueError: If the Trainer, the labels or the masks do not fit the settings.
    """
    if stage != "predict" and model.trainer.validate_loop.inference_mode:
        raise RuntimeError(INFERENCE_MODE)
    if stage == "fit":
        check_trainer(model)
    data = data_of(model.trainer)
    model.task.check_labels(image_sets(data))
    labels = getattr(getattr(data, "train_set", None), "labels", None)
    if stage == "fit" and labels is not None:
        model.task.begin(torch.as_tensor(labels), getattr(data, "augmentation", None))
    if stage == "fit" and isinstance(data, TwoStreamDataModule):
        # what the data cannot give is refused before the loaders are made
        data.weak_stream()
    if stage == "fit" and model.hparams.ext_weight > 0 and getattr(data, "masked_set", None) is None:
        raise ValueError(
            f"model.ext_weight is {model.hparams.ext_weight}, but no training image carries a mask: expected "
            "masks and data.mask_budget > 0, or boxes and data.supervision box, or model.ext_weight 0"
        )


def check_trainer(model: Classifier) -> None:
    """Refuse a Trainer under which maps cannot be differentiated."""
    strategy = type(model.trainer.strategy).__name__
    if any(name in strategy for name in ("FSDP", "DeepSpeed", "ModelParallel")):
        raise ValueError(
            f"trainer.strategy is {strategy}, which shards weights: maps differentiate the head's a second time, "
            "expected ddp"
        )
    is_guided = is_self_guided(model.hparams) or model.hparams.ext_weight
    if str(model.trainer.precision).startswith("16") and model.hparams.second_order and is_guided:
        raise ValueError(
            f"trainer.precision is {model.trainer.precision}: gradients of gradients leave float16's range, "
            "expected bf16-mixed, 32-true, or model.second_order false"
        )


def image_sets(data: TwoStreamDataModule) -> dict[str, PictureSet | None]:
    """Return the sets that a data module has in use, by their purpose."""
    test_sets = getattr(data, "test_sets", None) or {}
    return {
        "training": getattr(data, "train_set", None),
        "validation": getattr(data, "val_set", None),
        **{f"test set {name}": images for name, images in test_sets.items()},
    }


def check_guidance(model: Classifier) -> None:
    """Refuse a warm-up of a training without an end, and warn if one ends before guidance, or S_am, has a turn.

    Args:
        model: A classifier whose Trainer knows the number of batches.

    Raises:
        ValueError: If a share is taken of a training without an end.
    """
    hparams, length = model.hparams, length_of(model.trainer)
    if not length.is_finite:
        if key := next((key for key in ("warmup", "ramp") if hparams[key]), None):
            raise no_end(f"model.{key}", hparams[key])
        return
    total = int(length.batches)

    def is_guided(batch: int) -> bool:
        return guidance_at(batch, total, hparams.warmup, hparams.ramp) > 0

    in_force = {name: term for name, term in TERMS.items() if hparams[term.weight]}
    if in_force and not is_guided(total - 1):
        rank_zero_warn(
            f"guidance never begins: model.warmup is {hparams.warmup} of a training of {total} batches; expected a "
            "longer training or a smaller share"
        )
        return
    for name, term in in_force.items():
        every = term.steps_between(hparams)
        if not is_guided(total // every * every - 1):
            rank_zero_warn(
                f"{name} will never be computed: its turn comes every {every} batches (model.{term.every}), and the "
                f"training has {total}, of which model.warmup takes {round(hparams.warmup * total)}"
            )
