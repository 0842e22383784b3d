"""Networks of torchvision as backbones: VGG and ResNet. A new one is a builder here and a row in ``BUILDERS``."""

import torchvision
from torch import nn

from gain_lightning.backbones.base import Backbone, Builder, names_of_part
from gain_lightning.backbones.weights import Weights


def _vgg(name: str) -> Builder:
    def build(num_classes: int, weights: Weights, output_stride: int | None) -> Backbone:
        if output_stride not in (None, 16):
            raise ValueError(
                f"output_stride is {output_stride}, but the map of {name} is always at stride 16"
            )
        vgg = getattr(torchvision.models, name)(weights="DEFAULT" if weights.default else None)
        weights.fill(vgg, names_of_part(vgg, vgg.classifier[-1]))
        classifier = nn.Linear(4096, num_classes)
        # Features end with conv5_3 (vgg19: conv5_4) and its ReLU, as in the paper.
        features = vgg.features[:-1]
        head = nn.Sequential(vgg.features[-1], vgg.avgpool, nn.Flatten(), *vgg.classifier[:-1], classifier)
        return Backbone(features, head, classifier)

    return build


def _resnet(name: str) -> Builder:
    def build(num_classes: int, weights: Weights, output_stride: int | None) -> Backbone:
        resnet = getattr(torchvision.models, name)(weights="DEFAULT" if weights.default else None)
        weights.fill(resnet, names_of_part(resnet, resnet.fc))
        if output_stride not in (None, 32):
            _stride_to_dilation(resnet, name, output_stride)
        classifier = nn.Linear(resnet.fc.in_features, num_classes)
        # Features end with layer4.
        features = nn.Sequential(*list(resnet.children())[:-2])
        return Backbone(features, nn.Sequential(resnet.avgpool, nn.Flatten(), classifier), classifier)

    return build


def _stride_to_dilation(resnet: nn.Module, name: str, output_stride: int) -> None:
    """Give layer4 (for stride 16), or layer3 and layer4 (for stride 8), stride 1; their 3 x 3 convolutions dilate."""
    names = {16: ["layer4"], 8: ["layer3", "layer4"]}.get(output_stride)
    if names is None:
        raise ValueError(f"output_stride is {output_stride}, expected 8, 16 or 32 for {name}")
    dilation = 1
    for stage in names:
        for conv in (
            module for module in resnet.get_submodule(stage).modules() if isinstance(module, nn.Conv2d)
        ):
            strided = conv.stride == (2, 2)
            conv.stride = (1, 1)
            # A convolution that had a stride still sees the map of the stage before.
            if conv.kernel_size == (3, 3):
                rate = dilation if strided else dilation * 2
                conv.dilation = conv.padding = (rate, rate)
        dilation *= 2


BUILDERS: dict[str, Builder] = {
    "vgg16": _vgg("vgg16"),
    "vgg19": _vgg("vgg19"),
    "resnet18": _resnet("resnet18"),
    "resnet34": _resnet("resnet34"),
    "resnet50": _resnet("resnet50"),
    "resnet101": _resnet("resnet101"),
}
