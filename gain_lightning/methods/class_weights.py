"""The setting ``model.class_weights``: how much each class counts in L_cl."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gain_lightning.support.names import places_of

ClassWeights = str | list[float] | dict[str, float] | None


def class_weights_of(setting: ClassWeights, class_names: Sequence[str]) -> Tensor | None:
    """Return the weights ``(C,)`` of the classes that a setting asks for; None where it asks for none.

    Args:
        setting: ``balanced``, whose weights are 1 until the training labels are known; a number for each class; or
            numbers by class, where the others have 1.
        class_names: The names of the C classes.

    Raises:
        ValueError: If it is something else, or a weight is not a positive number.

    Example:
        >>> class_weights_of({"boat": 4}, ["boat", "car"])
        tensor([4., 1.])
    """
    if setting is None:
        return None
    if setting == "balanced":
        return torch.ones(len(class_names))
    if isinstance(setting, Mapping):
        places = places_of(setting, class_names, "model.class_weights")
        given = dict(zip(places, setting.values(), strict=True))
        numbers = [given.get(place, 1.0) for place in range(len(class_names))]
    else:
        numbers = [] if isinstance(setting, str) else list(setting)
    if len(numbers) != len(class_names):
        raise ValueError(
            f"model.class_weights is {setting!r}, expected null, balanced, a number for each of the "
            f"{len(class_names)} classes, or numbers by class"
        )
    if wrong := [number for number in numbers if not 0 < number < math.inf]:
        raise ValueError(f"model.class_weights has {wrong[0]}, expected positive numbers")
    return torch.tensor(numbers, dtype=torch.float32)
