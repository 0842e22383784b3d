"""Classifiers split in two, ``features | head``, at the layer whose attention is trained.

``features`` ends at the last convolutional map, and ``head`` turns that map into logits. Every gradient of
Grad-CAM passes through ``head`` alone.
"""

import difflib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gain_lightning.attention import Cells
from gain_lightning.backbones.batch_norm import named_batch_norm_layers
from gain_lightning.backbones.cell_grid import find_cells
from gain_lightning.backbones.dry_run import run_on_meta
from gain_lightning.backbones.tiles import TiledFeatures
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
        image_size: Side of an image that the network is known to take, pixels.
        memory_format: The layout of images and weights in memory, see :func:`fastest_format`.
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
        # The classifier gets a second name here, but is no second submodule.
        object.__setattr__(self, "classifier", classifier)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in normalization)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.image_size = image_size
        self.frozen = tuple(name for name in named_batch_norm_layers(self) if name.startswith("head."))
        self._cells: dict[tuple[int, int], Cells] = {}

    def normalize(self, image: Tensor) -> Tensor:
        """Bring pictures ``(N, 3, H, W)`` uint8 to float32 with the colour statistics of the weights.

        The result lies in memory as ``memory_format`` says.

        Raises:
            TypeError: If ``image`` is not uint8, and so may be normalised already.
        """
        if image.dtype != torch.uint8:
            raise TypeError(f"normalize got an image of {image.dtype}, expected torch.uint8")
        image = image.contiguous(memory_format=self.memory_format)
        return (image.to(self.mean.dtype) / 255 - self.mean) / self.std

    def lay_out(self) -> "Backbone":
        """Bring the weights that have a height and a width to ``memory_format``."""
        for parameter in self.parameters():
            # timm has weights of five axes, which no memory format fits.
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=self.memory_format)
        return self

    def denormalize(self, image: Tensor) -> Tensor:
        """Return the pictures ``(N, 3, H, W)`` uint8 that ``normalize`` was given."""
        return ((image * self.std + self.mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def cells(self, size: tuple[int, ...]) -> Cells:
        """Find where the cells of a map lie in pictures of ``size`` = (H, W); the answer is kept for each size.

        Example:
            >>> from gain_lightning.backbones import build_backbone
            >>> build_backbone("tiny_cnn", 5).cells((96, 96))
            Cells(top=0.0, left=0.0, step_y=8.0, step_x=8.0)
        """
        height, width = size
        if (height, width) not in self._cells:
            features: nn.Module = self.features
            seen = height, width
            if isinstance(features, TiledFeatures):
                # the map of a tile goes on in that of the next
                seen = features.seen(seen)
                features = features.whole
            self._cells[height, width] = find_cells(features, seen)
        return self._cells[height, width]

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode of all layers but the BatchNorm layers of the head, which stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits ``(N, C)`` of normalised images ``(N, 3, H, W)``."""
        logits: Tensor = self.head(self.features(image))
        return logits


# A builder takes the number of classes, the weights and the output stride, and makes a backbone.
Builder = Callable[[int, Weights, int | None], Backbone]


def map_shape(features: nn.Module, side: int) -> torch.Size:
    """Find the shape of the map of one square image, ``(1, K, h, w)``, without computing anything.

    Args:
        features: The features of a backbone.
        side: Side of the image, pixels.

    Raises:
        TypeError: If ``features`` give something else than a tensor.

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
    """Return the names that the parameters of a part have in the model."""
    known = {id(parameter) for parameter in part.parameters()}
    return [name for name, parameter in model.named_parameters() if id(parameter) in known]


def unknown_words(kind: str, name: str, known: list[str]) -> str:
    """Say that a name is unknown, and which one was meant, or which ones there are."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known[:20])}"
    return f"unknown {kind} {name!r}; {hint}"


def checkpointed(
    features: nn.Module, image: Tensor, *, recompute_in: Callable[[], AbstractContextManager[None]]
) -> Tensor:
    """Compute ``features(image)`` and keep only a few maps in between; the backward pass recomputes the others.

    Args:
        features: Layers to compute. An ``nn.Sequential`` is cut into about as many pieces as the square root of
            its number of layers; any other module is one piece.
        image: Shape ``(N, 3, H, W)``.
        recompute_in: Makes the context in which a piece is computed a second time.

    Returns:
        Maps ``(N, K, h, w)``.
    """
    if isinstance(features, TiledFeatures):
        of_tile = partial(checkpointed, features.whole, recompute_in=recompute_in)
        return features.run(of_tile, image, one_by_one=True)
    layers = list(features) if isinstance(features, nn.Sequential) else [features]
    size = math.isqrt(len(layers))
    pieces: list[list[nn.Module]] = [[]]
    for layer in layers:
        # A layer that works in place must not begin a piece: it would overwrite the map that is kept.
        if len(pieces[-1]) >= size and not getattr(layer, "inplace", False):
            pieces.append([])
        pieces[-1].append(layer)
    for piece in pieces:
        image = checkpoint(
            nn.Sequential(*piece),
            image,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), recompute_in()),
        )
    return image
