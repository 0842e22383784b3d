"""Build a backbone by its name."""

import os
from collections.abc import Sequence

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import nn

from gain_lightning.backbones import timm_models, torchvision_models
from gain_lightning.backbones.base import HALF, Backbone, Builder, map_shape, names_of_part, unknown_words
from gain_lightning.backbones.dilation import split_dilated
from gain_lightning.backbones.head import batch_norm_run_by, refuse_mixing_head
from gain_lightning.backbones.pointwise import skip_pixels
from gain_lightning.backbones.tiles import TiledFeatures, TiledHead
from gain_lightning.backbones.timm_models import check_timm_name, timm_model
from gain_lightning.backbones.weights import Weights, read_weights, say_last_layer

FORMATS = {"auto": None, "channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def _tiny_cnn(num_classes: int, weights: Weights, output_stride: int | None) -> Backbone:
    """Build four convolutions and GAP, whose map is at stride 8: a network for made data on a CPU.

    There are no pretrained weights of it.
    """
    problems = []
    if weights.default:
        problems.append(
            f"weights is {weights.source!r}, expected 'none' or a path: it has no pretrained weights"
        )
    if output_stride not in (None, 8):
        problems.append(f"output_stride is {output_stride}, expected null: its map is at stride 8")
    if problems:
        raise ValueError("backbone 'tiny_cnn': " + "; ".join(problems))
    layers: list[nn.Module] = []
    for inputs, outputs, stride in [(3, 16, 2), (16, 32, 2), (32, 48, 1), (48, 96, 2)]:
        conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
    classifier = nn.Linear(96, num_classes)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), classifier)
    backbone = Backbone(nn.Sequential(*layers), head, classifier, HALF)
    weights.fill(backbone, names_of_part(backbone, classifier))
    return backbone


# Every backbone that has a name of its own; each file of models has its own table.
BUILDERS: dict[str, Builder] = {
    "tiny_cnn": _tiny_cnn,
    **torchvision_models.BUILDERS,
    **timm_models.BUILDERS,
}


def build_backbone(
    name: str,
    num_classes: int,
    *,
    weights: str = "none",
    output_stride: int | None = None,
    class_names: Sequence[str] | None = None,
    memory_format: str = "auto",
) -> Backbone:
    """Build a backbone by name.

    Args:
        name: A key of ``BUILDERS``, or ``timm/<model>`` for any convolutional model of timm.
        num_classes: C, the number of outputs of the last layer.
        weights: ``none`` (random), ``default`` (the library's pretrained weights; they are downloaded, or come
            with the package of lite0), or the path of a state dict or of a run's checkpoint.
        output_stride: Input pixels per map cell; null keeps the model's own. ResNets take 8, 16 and 32 (strides
            become dilation), timm models the strides that they support.
        class_names: Names of the C outputs. With names, the last layer is new unless ``weights`` come from a run
            of the same classes in the same order, and one printed line says which. Without names, the last layer
            is taken over where its size fits.
        memory_format: The layout of images and weights in memory: ``channels_last``, ``contiguous``, or ``auto``,
            which takes the faster of the two. Results are equal to rounding.

    Returns:
        The backbone, in training mode but for :attr:`Backbone.frozen`.

    Raises:
        ValueError: If the name is unknown, the stride is not supported, the weights do not fit, the features are
            no maps, or the head mixes the images of a batch.
        FileNotFoundError: If ``weights`` is neither a keyword nor a file.
        ImportError: If the extra that a backbone needs is not installed.

    Example:
        >>> backbone = build_backbone("tiny_cnn", 5)
        >>> backbone.features(torch.zeros(2, 3, 96, 96)).shape, backbone(torch.zeros(2, 3, 96, 96)).shape
        (torch.Size([2, 96, 12, 12]), torch.Size([2, 5]))
    """
    if name.startswith("timm/"):
        check_timm_name(name.removeprefix("timm/"))
        builder = timm_model(name.removeprefix("timm/"))
    elif name in BUILDERS:
        builder = BUILDERS[name]
    else:
        raise ValueError(unknown_words("backbone", name, [*BUILDERS, "timm/<model>"]))
    found = read_weights(weights, class_names)
    backbone = builder(num_classes, found if found.of_run is None else Weights(weights), output_stride)
    if found.of_run is not None:
        found.fill(backbone, names_of_part(backbone, backbone.classifier))
    if class_names is not None:
        say_last_layer(found, class_names)
    split_dilated(backbone)
    skip_pixels(backbone)
    _check_maps(backbone, name)
    if memory_format not in FORMATS:
        raise ValueError(f"memory_format is {memory_format!r}, expected one of {', '.join(FORMATS)}")
    backbone.memory_format = FORMATS[memory_format] or fastest_format(name)
    return backbone.lay_out()


def in_tiles(backbone: Backbone, side: int | None) -> Backbone:
    """Make a backbone see large pictures in tiles, see :mod:`gain_lightning.backbones.tiles`.

    Args:
        backbone: It is changed; its weights keep their names.
        side: Height and width of a tile, pixels; None leaves the backbone as it is.

    Returns:
        The backbone.

    Raises:
        ValueError: If the cells of a tile do not fill it, so that the maps of two tiles would not go on evenly.

    Example:
        >>> backbone = in_tiles(build_backbone("tiny_cnn", 5), 96)
        >>> image = torch.zeros(1, 3, 192, 288)
        >>> backbone.features(image).shape, backbone(image).shape
        (torch.Size([1, 96, 24, 36]), torch.Size([1, 5]))
    """
    if side is None:
        return backbone
    cells, (rows, columns) = backbone.cells((side, side)), map_shape(backbone.features, side)[2:]
    if (cells.step_y * rows, cells.step_x * columns) != (side, side):
        raise ValueError(
            f"model.tile_size is {side}, expected a multiple of the {cells.step_y:g} pixels of a cell of the map"
        )
    backbone.features = TiledFeatures(backbone.features, side)
    backbone.head = TiledHead(backbone.head, (rows, columns))
    return backbone


def fastest_format(name: str) -> torch.memory_format:
    """Return the memory format in which a step of a backbone takes less time on this machine.

    That is channels_last for all but VGG on a CPU without AVX-512. There VGG takes 1.4 to 1.6 times as long in
    channels_last, since oneDNN has no kernel for wide layers in this format. Other networks need at most 1.02
    times as long (docs/cost.md).

    Args:
        name: Name of the backbone.
    """
    is_wide = name.removeprefix("timm/").startswith("vgg")
    return torch.contiguous_format if is_wide and not _has_avx512() else torch.channels_last


def _has_avx512() -> bool:
    """Return True if convolutions may use AVX-512, which the user can forbid to oneDNN, or if a GPU does them."""
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    capability = torch.backends.cpu.get_cpu_capability()
    return torch.cuda.is_available() or (
        capability.startswith("AVX512") and not allowed.startswith(("SSE", "AVX2"))
    )


def _check_maps(backbone: Backbone, name: str) -> None:
    """Refuse a backbone without maps, or one that mixes the images of a batch, before anything is trained."""
    side = backbone.image_size
    try:
        shape = map_shape(backbone.features, side)
    except TypeError as error:
        raise ValueError(f"backbone {name!r} has no maps: {error}") from error
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(
            f"backbone {name!r} gives features of shape {tuple(shape)} for {side} x {side} pixels, expected a "
            "convolutional map (N, K, h, w): token models have no Grad-CAM here"
        )
    with torch.random.fork_rng(devices=[]):
        features = torch.randn(2, *shape[1:])
        backbone.frozen = batch_norm_run_by(backbone.head, features, owner=backbone)
        refuse_mixing_head(backbone.train().head, features, name=name)
    if backbone.frozen:
        rank_zero_info(
            f"backbone {name!r}: BatchNorm in the head ({', '.join(backbone.frozen)}) always uses its running "
            "statistics, for those of a batch would mix its images"
        )
