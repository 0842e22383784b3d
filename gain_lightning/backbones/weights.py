"""Weights of a backbone: read from a file without running its code, and loaded exactly or refused by name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn

# Names of a backbone's tensors in a run's checkpoint begin with this.
_PREFIX = "backbone."


@dataclass
class Weights:
    """The source of a backbone's weights.

    Attributes:
        source: The words of the user, for messages.
        default: If true, the library's own pretrained weights are meant.
        state: A state dict with the names of the library's model, or None.
        of_run: A state dict with the names of our Backbone, from a run's checkpoint, or None.
        class_names: The classes of the last layer of ``of_run``, or None where the file does not say.
        amount_unit: The unit ``(C,)`` of that layer's outputs where it was trained on amounts, or None.
        keep_last: If true, the last layer is taken over too where its size fits.
    """

    source: str
    default: bool = False
    state: dict[str, Tensor] | None = None
    of_run: dict[str, Tensor] | None = None
    class_names: list[str] | None = None
    amount_unit: Tensor | None = None
    keep_last: bool = True

    def fill(self, model: nn.Module, new: Iterable[str]) -> None:
        """Load ``state`` into the library's model, or ``of_run`` into a Backbone; without either, load nothing.

        Args:
            model: The library's model, or a Backbone.
            new: Names of the last layer's tensors, which may be missing or of another size.

        Raises:
            ValueError: If the weights do not fit, see :func:`load_exactly`.
        """
        state = self.state if self.of_run is None else self.of_run
        if state is None:
            return
        new = tuple(new)
        if not self.keep_last:
            state = {name: tensor for name, tensor in state.items() if name not in new}
        load_exactly(model, state, self.source, new=new)


def read_weights(source: str, class_names: Sequence[str] | None = None) -> Weights:
    """Read the weights that a user names.

    A last layer belongs to the classes that it was trained for. It is taken over only from a run of the same
    classes in the same order.

    Args:
        source: ``none``, ``default``, or the path of a state dict or of a run's checkpoint.
        class_names: The classes that the network is built for. None, where only their number is known, takes the
            last layer over where that number is the same.

    Raises:
        FileNotFoundError: If ``source`` is neither a keyword nor a file.
        ValueError: If the file does not hold plain tensors alone.
    """
    keep_last = class_names is None
    if source in ("none", "default"):
        return Weights(source, default=source == "default", keep_last=keep_last)
    path = Path(source).expanduser()
    if path.is_dir():
        raise FileNotFoundError(
            f"model.weights {source!r} is a folder, expected a file: of a run {source}/checkpoints/last.ckpt"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"model.weights {source!r}: no such file, expected 'none', 'default' or a path"
        )
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    # The file is unfit, whatever the reader trips over.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"weights {source}: not a file of plain tensors ({reason})") from error
    if not isinstance(state, dict):
        raise ValueError(f"weights {source}: got a {type(state).__name__}, expected a state dict")
    tensors = state.get("state_dict")
    if not isinstance(tensors, dict):
        return Weights(source, state=state, keep_last=keep_last)
    settings = state.get("hyper_parameters")
    names = settings.get("class_names") if isinstance(settings, dict) else None
    names = None if names is None else list(names)
    return Weights(
        source,
        of_run={
            name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(_PREFIX)
        },
        class_names=names,
        amount_unit=tensors.get("amount_unit"),
        keep_last=class_names is None or names == list(class_names),
    )


def saved_amount_unit(source: str, class_names: Sequence[str]) -> Tensor | None:
    """Return the unit ``(C,)`` of a regression's last layer if :func:`read_weights` takes it over, else None."""
    weights = read_weights(source, class_names)
    return weights.amount_unit if weights.keep_last else None


def say_last_layer(weights: Weights, class_names: Sequence[str]) -> None:
    """Print one line that says whether the last layer of a file is taken over, and why."""
    if weights.state is None and weights.of_run is None:
        return
    if weights.keep_last:
        what = f"taken over too, for it speaks of the same classes: {_listed(class_names)}"
    elif weights.class_names is None:
        what = "new, for the file does not say which classes its own one speaks of"
    else:
        what = f"new, for its own one speaks of {_listed(weights.class_names)}, not of {_listed(class_names)}"
    rank_zero_info(f"weights {weights.source}: the last layer is {what}")


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def load_exactly(module: nn.Module, state: dict[str, Tensor], source: str, new: tuple[str, ...]) -> None:
    """Load ``state``; only the tensors named in ``new`` may be missing or of another shape.

    Raises:
        ValueError: If any other tensor is missing, unexpected or of another shape; the message names them.
    """
    ours = module.state_dict()
    missing = [key for key in ours if key not in state and key not in new]
    unexpected = [key for key in state if key not in ours]
    other = [
        f"{key} {tuple(state[key].shape)}, expected {tuple(ours[key].shape)}"
        for key in ours
        if key in state and key not in new and state[key].shape != ours[key].shape
    ]
    if missing or unexpected or other:
        parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", other)]
        found = "; ".join(
            f"{len(keys)} {what}: {', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}"
            for what, keys in parts
            if keys
        )
        raise ValueError(f"weights {source} do not fit the backbone: {found}")
    fitting = {key: tensor for key, tensor in state.items() if tensor.shape == ours[key].shape}
    module.load_state_dict(fitting, strict=False)
