"""DeepLab-LargeFOV (Chen et al., ICLR 2015), the network that SEC trains: any backbone, then a wide dilated head."""

from typing import cast

import torch
from torch import nn

from gain_lightning.backbones import Backbone, build_backbone, map_shape

# The dilation of the head times the stride of the map, as published, in widths of the image.
FIELD = 12 * 8 / 321
# The widths of the head's two hidden layers.
WIDTHS = {"vgg16": 1024}
OTHER_WIDTH = 256
# The side of an image that is large enough for any backbone's map.
_SIDE = 128


def build_largefov(
    name: str,
    num_classes: int,
    *,
    weights: str = "none",
    output_stride: int | None = None,
    image_size: int = 321,
) -> Backbone:
    """Build the network, which gives a score map with one channel a class, and the background first.

    With ``vgg16`` it is the published one, for 321 x 321 pixels and a map of 41 x 41. Its pools have 3 pixels, the
    last two no stride, and conv5 is dilated by 2. A 3 x 3 convolution dilated by 12 and a 1 x 1 convolution follow,
    each of 1024 channels and with dropout. If the backbone's weights have the fully connected layers of VGG, the two
    convolutions start from every 4th of their units and every 3rd of fc6's pixels, as in the authors' reduced model.

    Args:
        name: A backbone, see :func:`gain_lightning.backbones.build_backbone`.
        num_classes: C, without the background.
        weights: Weights of the backbone: ``none``, ``default``, or a path.
        output_stride: Pixels per cell of the map; vgg16 has 8.
        image_size: Side of the training images in pixels. The head's dilation follows it, so that smaller pictures
            are seen with the published field of view relative to their size.

    Returns:
        A backbone whose ``head`` gives scores ``(N, 1 + C, h, w)``. Their cells lie where those of ``features`` do,
        because the head has neither stride nor uneven padding.

    Raises:
        ValueError: If :func:`gain_lightning.backbones.build_backbone` refuses the arguments, or the stride of vgg16
            is not 8.

    Example:
        >>> net = build_largefov("tiny_cnn", 5)
        >>> net(torch.zeros(2, 3, 96, 96)).shape
        torch.Size([2, 6, 12, 12])
    """
    if name == "vgg16":
        if output_stride not in (None, 8):
            raise ValueError(f"output_stride is {output_stride}, but the map of vgg16 is at stride 8 here")
        base = build_backbone(name, num_classes, weights=weights)
        before = [nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)]
        _make_dense(cast("nn.Sequential", base.features))
    else:
        base = build_backbone(name, num_classes, weights=weights, output_stride=output_stride)
        before = []
    _, channels, height, _ = map_shape(base.features, _SIDE)
    width = WIDTHS.get(name, OTHER_WIDTH)
    dilation = max(round(FIELD * image_size / round(_SIDE / height)), 1)
    fc6 = nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation)
    fc7 = nn.Conv2d(width, width, 1)
    fc8 = nn.Conv2d(width, 1 + num_classes, 1)
    nn.init.normal_(fc8.weight, std=0.01)
    nn.init.zeros_(fc8.get_parameter("bias"))
    if name == "vgg16" and weights != "none":
        _decimate(cast("nn.Sequential", base.head), fc6, fc7)
    head = nn.Sequential(*before, fc6, nn.ReLU(), nn.Dropout(0.5), fc7, nn.ReLU(), nn.Dropout(0.5), fc8)
    normalization = tuple(statistic.flatten().tolist() for statistic in (base.mean, base.std))
    return Backbone(base.features, head, fc8, normalization, memory_format=base.memory_format).lay_out()


def _make_dense(features: nn.Sequential) -> None:
    """Give VGG16 DeepLab's pools of 3 pixels, the fourth and fifth without stride, and dilate conv5."""
    num_pools = 0
    for place, layer in enumerate(features):
        if isinstance(layer, nn.MaxPool2d):
            num_pools += 1
            features[place] = (
                nn.MaxPool2d(3, 2, 1, ceil_mode=True) if num_pools < 4 else nn.MaxPool2d(3, 1, 1)
            )
        elif isinstance(layer, nn.Conv2d) and num_pools == 4:
            layer.dilation = layer.padding = (2, 2)


def _decimate(head: nn.Sequential, fc6: nn.Conv2d, fc7: nn.Conv2d) -> None:
    """Start the two layers from a part of VGG's fully connected ones."""
    first, second = [layer for layer in head if isinstance(layer, nn.Linear)][:2]
    with torch.no_grad():
        fc6.weight.copy_(first.weight.view(4096, 512, 7, 7)[::4, :, ::3, ::3])
        fc6.get_parameter("bias").copy_(first.bias[::4])
        fc7.weight.copy_(second.weight[::4, ::4, None, None])
        fc7.get_parameter("bias").copy_(second.bias[::4])
