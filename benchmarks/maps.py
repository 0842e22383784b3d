"""Time Grad-CAM maps of many classes beside pytorch-grad-cam and captum, on the same network and pictures.

    python benchmarks/maps.py --backbone resnet50 --json maps.json

In one call the libraries make one map an image, for one class of each image, by a pass through the whole network and
back. For images with several classes they are called for every image's first, second, ... class. Ours passes once
through the network, and back through its head alone. First the maps must agree, in float64, to 1e-5 of their maximum.
The extra ``test`` is needed (grad-cam).
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from gain_lightning.attention import Pairs, grad_cam, label_pairs
from gain_lightning.backbones import Backbone, build_backbone

NUM_CLASSES = 20


def ours(backbone: Backbone, image: Tensor, label: Tensor) -> Tensor:
    """Return the maps of all pairs, ``(P, h, w)``, by this package."""
    with torch.no_grad():
        features = backbone.features(image)
    features.requires_grad_()
    return grad_cam(features, backbone.head(features), label_pairs(label)).squeeze(1).detach()


def _by_ranks(pairs: Pairs, make: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the maps of all pairs; ``make(images, classes)`` is called for each image's first, second, ... class."""
    maps = None
    for rank in range(pairs.num_ranks):
        chosen = (pairs.rank == rank).nonzero().flatten()
        result = make(pairs.image[chosen], pairs.label[chosen])
        if maps is None:
            maps = result.new_zeros(len(pairs.label), *result.shape[1:])
        maps[chosen] = result
    return maps


def with_grad_cam(backbone: Backbone, image: Tensor, label: Tensor) -> Tensor:
    """Return the same maps by pytorch-grad-cam."""
    with _RawGradCAM(model=backbone, target_layers=[backbone.features]) as cam:

        def make(images: Tensor, classes: Tensor) -> Tensor:
            targets = [ClassifierOutputTarget(class_idx) for class_idx in classes.tolist()]
            return torch.from_numpy(cam(image[images], targets))

        return _by_ranks(label_pairs(label), make)


class _RawGradCAM(GradCAM):
    """A GradCAM whose maps are neither scaled nor resized, as ours are not either."""

    def compute_cam_per_layer(
        self, input_tensor: Tensor, targets: list, eigen_smooth: bool
    ) -> list[np.ndarray]:
        activations = self.activations_and_grads.activations[0].cpu().data.numpy()
        gradients = self.activations_and_grads.gradients[0].cpu().data.numpy()
        layer = self.target_layers[0]
        cam = self.get_cam_image(input_tensor, layer, targets, activations, gradients, eigen_smooth)
        return [np.maximum(cam, 0)[:, None]]

    def aggregate_multi_layers(self, cam_per_target_layer: list[np.ndarray]) -> np.ndarray:
        return cam_per_target_layer[0][:, 0]


def with_captum(backbone: Backbone, image: Tensor, label: Tensor) -> Tensor:
    """Return the same maps by captum."""
    cam = LayerGradCam(backbone, backbone.features)

    def make(images: Tensor, classes: Tensor) -> Tensor:
        return cam.attribute(image[images], target=classes, relu_attributions=True).detach()[:, 0]

    return _by_ranks(label_pairs(label), make)


METHODS: dict[str, Callable] = {"ours": ours, "grad-cam": with_grad_cam, "captum": with_captum}


def differences(backbone: Backbone, image: Tensor, label: Tensor) -> dict[str, float]:
    """Return how far the others' maps lie from ours, as a share of each map's maximum."""
    backbone, image = copy.deepcopy(backbone).double(), image.double()
    expected = ours(backbone, image, label)
    scale = expected.amax((1, 2), keepdim=True).clamp_min(1e-8)
    result = {}
    for name in ("grad-cam", "captum"):
        maps = METHODS[name](backbone, image, label)
        result[f"difference_{name}"] = float(((maps - expected).abs() / scale).max())
        if not result[f"difference_{name}"] < 1e-5:
            raise SystemExit(f"maps of {name} differ from ours by {result[f'difference_{name}']:.2g}")
    return result


def measure(backbone: Backbone, image: Tensor, label: Tensor, rounds: int) -> dict[str, float]:
    """Return the median seconds of each method, which take turns, and the differences on the first pictures."""
    result = differences(backbone, image[:4], label[:4])
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    for number in range(rounds + 1):
        for name, method in METHODS.items():
            started = time.perf_counter()
            method(backbone, image, label)
            if number:
                seconds[name].append(time.perf_counter() - started)
    result.update({f"seconds_{name}": statistics.median(times) for name, times in seconds.items()})
    for name in ("grad-cam", "captum"):
        result[f"{name} / ours"] = result[f"seconds_{name}"] / result["seconds_ours"]
    return result


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    backbone = build_backbone(args.backbone, NUM_CLASSES).eval().to(args.device)
    shape = (args.batch, 3, args.image_size, args.image_size)
    image = backbone.normalize(torch.randint(256, shape, dtype=torch.uint8, device=args.device))
    one = F.one_hot(torch.arange(args.batch) % NUM_CLASSES, NUM_CLASSES).to(args.device)
    results = {
        "one class an image": measure(backbone, image, one, args.rounds),
        f"{NUM_CLASSES} classes an image": measure(backbone, image, torch.ones_like(one), args.rounds),
    }
    for name, row in results.items():
        print(
            f"{args.backbone}, {args.batch} images, {name}: ours {row['seconds_ours']:.2f} s, "
            f"grad-cam {row['grad-cam / ours']:.1f} x, captum {row['captum / ours']:.1f} x"
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
