"""Checks of the settings of :class:`gain_lightning.GAIN`, and the meaning of its weights."""

from collections.abc import Mapping
from typing import Any

from gain_lightning.attention import CAMS, FILLS
from gain_lightning.constants import RESIZES
from gain_lightning.losses import SUPERVISION_LOSSES, TASKS
from gain_lightning.methods.balance import BALANCES
from gain_lightning.methods.class_weights import class_weights_of
from gain_lightning.methods.judge import JUDGES
from gain_lightning.methods.terms import TERMS
from gain_lightning.support.names import places_of

CHOICES = {
    "resize": RESIZES,
    "task": TASKS,
    "scaling": ("max", "minmax", "none"),
    "map_method": tuple(CAMS),
    "map_score": ("logit", "margin"),
    "map_sign": ("positive", "both"),
    "cl_reduction": ("sum", "mean"),
    "am_score": ("probability", "logit"),
    "am_gradient": ("all", "maps"),
    "balance": BALANCES,
    "judge": JUDGES,
    "am_fill": tuple(FILLS),
    "ext_resolution": ("image", "map"),
    "ext_loss": SUPERVISION_LOSSES,
    "ext_layer": ("features", "input"),
    "ext_reduction": ("mean", "sum"),
    "lr_interval": ("epoch", "step"),
}


# The weights of the terms that need no mask, of which each makes the method GAIN.
SELF_WEIGHTS = tuple(term.weight for term in TERMS.values() if term.stream == "weak")

# Tasks of the terms that not every task has: an image of one class has no others, and amounts are no decision.
PARTNERS = {"kept_weight": ("multi_label",), "sufficiency_weight": ("multi_label", "single_label")}


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
    if (hparams["map_sign"], hparams["scaling"]) == ("both", "minmax"):
        raise ValueError(
            "model.map_sign both has 0 for no evidence and model.scaling minmax moves it: expected scaling max or none"
        )
    if (hparams["ext_loss"], hparams["scaling"]) == ("cross_entropy", "none"):
        raise ValueError(
            "model.ext_loss cross_entropy takes a map for probabilities and model.scaling none does not bound it: "
            "expected scaling max or minmax"
        )
    for key in (*SELF_WEIGHTS, "ext_weight"):
        if not 0 <= hparams[key] < float("inf"):
            raise ValueError(f"model.{key} is {hparams[key]}, expected a number of at least 0")
    for key in ("warmup", "ramp"):
        if not 0 <= hparams[key] <= 1:
            raise ValueError(f"model.{key} is {hparams[key]}, expected a share of the training, 0 to 1")
    if hparams["guard"] is not None and not hparams["guard"] >= 0:
        raise ValueError(f"model.guard is {hparams['guard']}, expected null or a number of at least 0")
    _check_tiles(hparams)
    _check_input_maps(hparams)
    _check_mining(hparams)
    for key in ("am_every", "ext_every", "max_classes_per_image"):
        if hparams[key] is not None and hparams[key] < 1:
            raise ValueError(f"model.{key} is {hparams[key]}, expected at least 1")
    if hparams["compile_features"] and hparams["checkpoint_features"]:
        raise ValueError(
            "model.compile_features and model.checkpoint_features exclude each other: expected one of them"
        )
    for key in ("omega", "view_scale", "new_layer_lr_scale"):
        if not 0 < hparams[key] < float("inf"):
            raise ValueError(f"model.{key} is {hparams[key]}, expected a positive number")
    if not abs(hparams["sigma"]) < float("inf"):
        raise ValueError(f"model.sigma is {hparams['sigma']}, expected a finite number")
    if hparams["scaling"] != "none" and not 0 <= hparams["sigma"] <= 1:
        raise ValueError(
            f"model.sigma is {hparams['sigma']}, expected 0 to 1: model.scaling {hparams['scaling']} brings maps "
            "to 0 to 1"
        )
    class_weights_of(hparams["class_weights"], hparams["class_names"])
    places_of(hparams["score_classes"] or [], hparams["class_names"], "model.score_classes")
    places_of(hparams["no_object_classes"] or [], hparams["class_names"], "no_object_classes")


def _check_tiles(hparams: Any) -> None:
    """Refuse tiles where one that shows a class does not suffice."""
    side = hparams["tile_size"]
    if side is None:
        return
    if side < 1:
        raise ValueError(f"model.tile_size is {side}, expected null or a number of pixels")
    if hparams["task"] == "regression":
        raise ValueError(
            "model.tile_size takes the tile that shows most, and amounts add up over tiles: expected null with "
            "model.task regression"
        )


def _check_input_maps(hparams: Any) -> None:
    """Refuse what does not go with maps of the input: they need gradients of gradients of the whole network."""
    if hparams["ext_layer"] != "input":
        return
    wanted = {
        "compile_features": False,
        "checkpoint_features": False,
        "second_order": True,
        "balance": "fixed",
    }
    for key, value in wanted.items():
        if hparams[key] != value:
            raise ValueError(
                f"model.{key} is {hparams[key]}, which maps of the input cannot have: expected model.{key} "
                f"{str(value).lower()} with model.ext_layer input"
            )


def _check_mining(hparams: Any) -> None:
    """Refuse settings of S_am's terms that are out of range or say nothing."""
    for key in ("am_size", "guided_share", "judge_momentum"):
        if not 0 < hparams[key] <= 1:
            raise ValueError(f"model.{key} is {hparams[key]}, expected a share above 0 and at most 1")
    if not 0 <= hparams["view_sigma"] <= 1:
        raise ValueError(f"model.view_sigma is {hparams['view_sigma']}, expected 0 to 1")
    if hparams["judge"] != "shared" and hparams["am_gradient"] == "maps":
        raise ValueError(
            f"model.judge {hparams['judge']} is never taught, so model.am_gradient maps says nothing beside it: "
            "expected model.am_gradient all"
        )
    for key in ("kept_weight", "sufficiency_weight"):
        if hparams[key] and hparams["task"] not in PARTNERS[key]:
            raise ValueError(
                f"model.{key} is {hparams[key]}, expected 0 with model.task {hparams['task']}: it is for "
                f"{' and '.join(PARTNERS[key])}"
            )


def guidance_at(batch: int, num_batches: float, warmup: float, ramp: float) -> float:
    """Return the share of the weights in force at a batch: 0 in the warm-up, then a ramp to 1.

    Args:
        batch: Number of batches before this one.
        num_batches: Number of batches of the whole training; it may be infinite if both shares are 0.
        warmup: Share of the training without guidance; it ends at a whole batch, the nearest.
        ramp: Share of the training in which guidance rises.

    Example:
        >>> [guidance_at(batch, 10, warmup=0.2, ramp=0.2) for batch in (1, 2, 3, 5)]
        [0.0, 0.0, 0.5, 1.0]
    """
    past = batch - (round(warmup * num_batches) if warmup else 0)
    if past < 0:
        return 0.0
    return min(past / (ramp * num_batches), 1.0) if ramp else 1.0


def is_self_guided(settings: Mapping[str, Any]) -> bool:
    """Return whether a term that needs no mask has a weight.

    Args:
        settings: The config's ``model``; those of older runs lack some weights.
    """
    return any(settings.get(key) for key in SELF_WEIGHTS)


def num_guided(num_images: int, share: float) -> int:
    """Return how many images of a batch get maps for the terms that need no mask: a share, and at least one.

    Example:
        >>> [num_guided(16, share) for share in (1.0, 0.25, 0.01)]
        [16, 4, 1]
    """
    return max(round(share * num_images), min(num_images, 1))


def method_of_weights(settings: Mapping[str, Any]) -> str:
    """Name the method that the weights make of :class:`gain_lightning.GAIN`.

    Args:
        settings: As of :func:`is_self_guided`.

    Example:
        >>> [method_of_weights({"am_weight": am, "ext_weight": ext}) for am, ext in ((0, 0), (1, 0), (1, 10))]
        ['gradcam', 'gain', 'gain_ext']
    """
    return "gain_ext" if settings["ext_weight"] else "gain" if is_self_guided(settings) else "gradcam"


def method_name(model: Mapping[str, Any], data: Mapping[str, Any], *rivals: str) -> str:
    """Name a method by its guidance and by what it does besides against a bias, joined by ``+``.

    Args:
        model: As of :func:`is_self_guided`.
        data: The arguments of the config's ``data``.
        rivals: What the method itself does besides, such as ``group_dro``.

    Example:
        >>> plain, guided = ({"am_weight": 0, "ext_weight": weight} for weight in (0, 10))
        >>> method_name(plain, {}), method_name(plain, {"balance_by": "group"}), method_name(guided, {}, "dfr")
        ('gradcam', 'resampled', 'gain_ext+dfr')
    """
    balance_by = data.get("balance_by")
    parts = [
        *rivals,
        *(["resampled" if balance_by == "group" else f"resampled_{balance_by}"] if balance_by else []),
        *(["mask_augment"] if data.get("mask_augment") else []),
    ]
    guidance = method_of_weights(model)
    return "+".join(parts if parts and guidance == "gradcam" else [guidance, *parts])
