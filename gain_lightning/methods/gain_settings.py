"""Checks of the settings of :class:`gain_lightning.GAIN`, and the meaning of its two weights."""

from typing import Any

from gain_lightning.attention import CAMS
from gain_lightning.losses import SUPERVISION_LOSSES, TASKS
from gain_lightning.support.names import written_as

CHOICES = {
    "task": TASKS,
    "scaling": ("max", "minmax", "none"),
    "map_method": tuple(CAMS),
    "map_score": ("logit", "margin"),
    "cl_reduction": ("sum", "mean"),
    "am_score": ("probability", "logit"),
    "am_gradient": ("all", "maps"),
    "ext_resolution": ("image", "map"),
    "ext_loss": SUPERVISION_LOSSES,
    "ext_reduction": ("mean", "sum"),
    "lr_interval": ("epoch", "step"),
}


def check_settings(hparams: Any) -> None:
    """Refuse settings out of range; the error names the key.

    Args:
        hparams: Every argument of :class:`gain_lightning.GAIN` by its name.

    Raises:
        ValueError: If a setting is out of range, names something unknown, or does not go with another setting.
    """
    for key, choices in CHOICES.items():
        if hparams[key] not in choices:
            raise ValueError(f"model.{key} is {hparams[key]!r}, expected one of {', '.join(choices)}")
    if hparams["map_score"] == "margin" and (
        hparams["task"] != "single_label" or len(hparams["class_names"]) < 2
    ):
        raise ValueError(
            "model.map_score margin compares classes: expected model.task single_label, and 2 classes or more"
        )
    if (hparams["ext_loss"], hparams["scaling"]) == ("cross_entropy", "none"):
        raise ValueError(
            "model.ext_loss cross_entropy takes a map for probabilities and model.scaling none does not bound it: "
            "expected scaling max or minmax"
        )
    for key in ("am_weight", "ext_weight", "warmup_epochs", "ramp_epochs"):
        if not 0 <= hparams[key] < float("inf"):
            raise ValueError(f"model.{key} is {hparams[key]}, expected a number of at least 0")
    for key in ("am_every", "max_classes_per_image"):
        if hparams[key] is not None and hparams[key] < 1:
            raise ValueError(f"model.{key} is {hparams[key]}, expected at least 1")
    if hparams["compile_features"] and hparams["checkpoint_features"]:
        raise ValueError(
            "model.compile_features and model.checkpoint_features exclude each other: expected one of them"
        )
    for key in ("omega", "new_layer_lr_scale"):
        if not 0 < hparams[key] < float("inf"):
            raise ValueError(f"model.{key} is {hparams[key]}, expected a positive number")
    if not abs(hparams["sigma"]) < float("inf"):
        raise ValueError(f"model.sigma is {hparams['sigma']}, expected a finite number")
    if hparams["scaling"] != "none" and not 0 <= hparams["sigma"] <= 1:
        raise ValueError(
            f"model.sigma is {hparams['sigma']}, expected 0 to 1: model.scaling {hparams['scaling']} brings maps "
            "to 0 to 1"
        )
    names = hparams.class_names
    unknown = [name for name in hparams.score_classes or [] if written_as(name, names) not in names]
    if unknown:
        raise ValueError(
            f"model.score_classes names {unknown[0]!r}, expected names among {', '.join(hparams.class_names)}"
        )


def guidance_at(epoch: float, warmup_epochs: float, ramp_epochs: float) -> float:
    """Return the share of the weights in force at a (fractional) epoch: 0 in the warm-up, then a ramp to 1.

    Example:
        >>> [guidance_at(epoch, warmup_epochs=2, ramp_epochs=2) for epoch in (1.5, 2, 3, 5)]
        [0.0, 0.0, 0.5, 1.0]
    """
    past = epoch - warmup_epochs
    if past < 0:
        return 0.0
    return min(past / ramp_epochs, 1.0) if ramp_epochs else 1.0


def method_of_weights(am_weight: float, ext_weight: float) -> str:
    """Name the method that the two weights make of :class:`gain_lightning.GAIN`.

    Example:
        >>> method_of_weights(0, 0), method_of_weights(1, 0), method_of_weights(1, 10)
        ('gradcam', 'gain', 'gain_ext')
    """
    return "gain_ext" if ext_weight else "gain" if am_weight else "gradcam"
