"""Classifiers split in two, ``features | head``, at the layer whose attention is trained.

``features`` ends at the last convolutional map, ``head`` turns that map into logits. Every gradient of
Grad-CAM passes through ``head`` alone.
"""

import difflib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gain_lightning.attention import Cells
from gain_lightning.backbones.batch_norm import named_batch_norm_layers
from gain_lightning.backbones.cell_grid import find_cells
from gain_lightning.backbones.dry_run import run_on_meta
from gain_lightning.backbones.weights import Weights

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Backbone(nn.Module):
    """A classifier split at its attention layer.

    Attributes:
        features: Images ``(N, 3, H, W)`` to maps ``(N, K, h, w)``.
        head: Maps ``(N, K, h, w)`` to logits ``(N, C)``; treats images independently.
        classifier: The last layer of ``head``, new for every task.
        mean, std: Colour statistics that the weights were trained with, on the scale 0 to 1.
        image_size: Side of an image that the network surely takes, pixels.
        memory_format: How images and weights lie in memory, see :func:`fastest_format`.
        frozen: Names of the BatchNorm layers of ``head``. They always use their running statistics, because with
            those of a batch an image's map would depend on the other images.
    """

    classifier: nn.Module
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        classifier: nn.Module,
        normalization: Sequence[Sequence[float]] = IMAGENET,
        *,
        image_size: int = 224,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        super().__init__()
        self.memory_format = memory_format
        self.features = features
        self.head = head
        object.__setattr__(self, "classifier", classifier)  # a second name, not a second submodule
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in normalization)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.image_size = image_size
        self.frozen = tuple(name for name in named_batch_norm_layers(self) if name.startswith("head."))
        self._cells: dict[tuple[int, int], Cells] = {}

    def normalize(self, image: Tensor) -> Tensor:
        """Bring pictures ``(N, 3, H, W)`` uint8 to float32 with the colour statistics of the weights.

        They then lie in memory as ``memory_format`` says.

        Raises:
            TypeError: If ``image`` is not uint8, thus perhaps normalised already.
        """
        if image.dtype != torch.uint8:
            raise TypeError(f"normalize got an image of {image.dtype}, expected torch.uint8")
        image = image.contiguous(memory_format=self.memory_format)
        return (image.to(self.mean.dtype) / 255 - self.mean) / self.std

    def lay_out(self) -> "Backbone":
        """Bring the weights to ``memory_format``, those that have a height and a width."""
        for parameter in self.parameters():
            if parameter.ndim == 4:  # timm has some of five axes
                parameter.data = parameter.data.contiguous(memory_format=self.memory_format)
        return self

    def denormalize(self, image: Tensor) -> Tensor:
        """The picture ``(N, 3, H, W)`` uint8 that ``normalize`` was given."""
        return ((image * self.std + self.mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def cells(self, size: tuple[int, ...]) -> Cells:
        """Where the cells of the map of pictures of ``size`` = (H, W) lie in them; found once for each size.

        Example:
            >>> from gain_lightning.backbones import build_backbone
            >>> build_backbone("tiny_cnn", 5).cells((96, 96))
            Cells(top=0.0, left=0.0, step_y=8.0, step_x=8.0)
        """
        height, width = size
        if (height, width) not in self._cells:
            self._cells[height, width] = find_cells(self.features, (height, width))
        return self._cells[height, width]

    def train(self, mode: bool = True) -> "Backbone":
        """Training mode, but for the BatchNorm layers of the head."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(N, C)`` of normalised images ``(N, 3, H, W)``."""
        logits: Tensor = self.head(self.features(image))
        return logits


# Makes a backbone of the number of classes, the weights and the output stride.
Builder = Callable[[int, Weights, int | None], Backbone]


def map_shape(features: nn.Module, side: int) -> torch.Size:
    """Shape of the map of one square image, ``(1, K, h, w)``, found without computing anything.

    Args:
        features: Of a backbone.
        side: Of the image, pixels.

    Raises:
        TypeError: If they give something else than a tensor.

    Example:
        >>> from gain_lightning.backbones import build_backbone
        >>> map_shape(build_backbone("tiny_cnn", 5).features, 96)
        torch.Size([1, 96, 12, 12])
    """
    maps = run_on_meta(features, (side, side))
    if not isinstance(maps, Tensor):
        raise TypeError(f"features gave a {type(maps).__name__}, expected a tensor")
    return maps.shape


def names_of_part(model: nn.Module, part: nn.Module) -> list[str]:
    """Names that the parameters of a part have in the model."""
    known = {id(parameter) for parameter in part.parameters()}
    return [name for name, parameter in model.named_parameters() if id(parameter) in known]


def unknown_words(kind: str, name: str, known: list[str]) -> str:
    """Say that a name is unknown, and which one was meant, or which ones there are."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known[:20])}"
    return f"unknown {kind} {name!r}; {hint}"


def checkpointed(
    features: nn.Module, image: Tensor, *, again: Callable[[], AbstractContextManager[None]]
) -> Tensor:
    """``features(image)``, keeping only a few maps in between; the backward pass computes the others again.

    Args:
        features: In about as many pieces as the root of its layers; in one, if it is no ``nn.Sequential``.
        image: ``(N, 3, H, W)``.
        again: Makes the context in which a piece is computed a second time.

    Returns:
        Maps ``(N, K, h, w)``.
    """
    layers = list(features) if isinstance(features, nn.Sequential) else [features]
    size = math.isqrt(len(layers))
    pieces: list[list[nn.Module]] = [[]]
    for layer in layers:
        if len(pieces[-1]) >= size and not getattr(layer, "inplace", False):  # which would spoil what is kept
            pieces.append([])
        pieces[-1].append(layer)
    for piece in pieces:
        image = checkpoint(
            nn.Sequential(*piece), image, use_reentrant=False, context_fn=lambda: (nullcontext(), again())
        )
    return image
