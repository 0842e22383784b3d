"""Measure the time and memory of a step of each method beside a plain classification step, in one run.

    python benchmarks/step.py --backbone vgg16 --labels 1.5 --json step.json

A plain step is the one that a user would write without this package: torchvision's or timm's own network, contiguous
or in channels_last memory (``user_contiguous``, ``user_channels_last``). Ratios are to the faster of the two. ``plain``
is the plain step of this package.

With N images and P (image, class) pairs GAIN needs a forward and a backward pass for N + P images, so its limit
is (N + P) / N plain steps; GAIN_ext with M masked images has (N + M + P) / N. ``per_class_loop`` works as public
codes do, with batch size 1 and a backward pass of the whole network per class to get a map. On a CPU it runs in a
process of its own without ``keep_freed_memory``, which those codes do not have, and takes turns with the others.
A step is a forward pass, a backward pass and the optimizer's update (SGD with momentum); pictures are random.
``ONEDNN_MAX_CPU_ISA=AVX2`` stands in for a machine without AVX-512.
"""

import argparse
import json
import math
import multiprocessing
import resource
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from pytorch_lightning.utilities import move_data_to_device
from torch import Tensor, nn

from gain_lightning.backbones import FORMATS, build_backbone
from gain_lightning.methods.gain import GAIN
from gain_lightning.training.memory import keep_freed_memory

NUM_CLASSES = 20
USER_FORMATS = {"user_contiguous": torch.contiguous_format, "user_channels_last": torch.channels_last}
VARIANTS = (
    *USER_FORMATS,
    *("plain", "first_order", "second_order", "gain_ext", "gain_ext_second_order", "per_class_loop"),
)


def make_labels(num_images: int, labels: float) -> Tensor:
    """Return labels ``(N, C)`` of 0 and 1 with ``labels`` classes an image on average, as even as possible."""
    counts = [math.floor((index + 1) * labels) - math.floor(index * labels) for index in range(num_images)]
    label = torch.zeros(num_images, NUM_CLASSES)
    for row, count in zip(label, counts, strict=True):
        row[torch.randperm(NUM_CLASSES)[:count]] = 1
    return label


def user_network(name: str) -> nn.Module:
    """Return the network of a backbone as its library has it; ``tiny_cnn`` is of no library."""
    if name == "tiny_cnn":
        return build_backbone(name, NUM_CLASSES)
    if name in torchvision.models.list_models():
        return torchvision.models.get_model(name, num_classes=NUM_CLASSES)
    import timm

    own = "tf_efficientnet_lite0" if name == "lite0" else name.removeprefix("timm/")
    return timm.create_model(own, num_classes=NUM_CLASSES)


class PlainStep:
    """A step of plain classification without this package.

    Args:
        network: The user's network, on its device.
        memory_format: The memory format of images and weights.
        batch: The images ``(N, 3, H, W)``, normalised, and the labels ``(N, C)``.
    """

    def __init__(
        self, network: nn.Module, memory_format: torch.memory_format, batch: tuple[Tensor, Tensor]
    ) -> None:
        self.network = network.train().to(memory_format=memory_format)
        # The other variants have ``freeze_batch_norm``.
        for layer in self.network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        self.image, self.label = batch[0].contiguous(memory_format=memory_format), batch[1]
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=1e-6, momentum=0.9)

    def step(self, autocast: torch.autocast) -> int:
        """Take a step and return its number of images."""
        self.optimizer.zero_grad()
        with autocast:
            logits = self.network(self.image)
        F.multilabel_soft_margin_loss(logits.float(), self.label).backward()
        self.optimizer.step()
        return len(self.image)


class Bench:
    """One network and one batch, on which every variant takes its steps.

    Args:
        args: The command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        # gain fit does so too; here it holds for every variant.
        if args.device == "cpu" and not args.default_malloc:
            keep_freed_memory()
        torch.manual_seed(0)
        self.device = torch.device(args.device)
        self.module = GAIN(
            [f"class {index}" for index in range(NUM_CLASSES)],
            args.image_size,
            backbone=args.backbone,
            am_weight=1.0,
            ext_weight=10.0,
            freeze_batch_norm=True,
            memory_format=args.memory_format,
            compile_features=args.compile,
            checkpoint_features=args.checkpoint,
        ).to(self.device)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=1e-6, momentum=0.9)
        self.precision = args.precision
        weak, masked = (self._batch(size, args) for size in (args.batch, max(args.batch // 4, 1)))
        side = args.image_size
        masked["mask_image"], masked["mask_class"] = masked["label"].nonzero().T
        masked["mask"] = torch.zeros(len(masked["mask_image"]), side, side, dtype=torch.uint8)
        for row, mask in enumerate(masked["mask"]):
            part = row % 6
            mask[part * side // 8 : (part + 2) * side // 8, : side // 2] = 1
        batch = self.module.on_before_batch_transfer({"weak": weak, "masked": masked}, 0)
        batch = self.module.on_after_batch_transfer(move_data_to_device(batch, self.device), 0)
        self.weak, self.masked = batch["weak"], batch["masked"]
        self.of_user = {
            variant: PlainStep(
                user_network(args.backbone).to(self.device), layout, (self.weak["image"], self.weak["label"])
            )
            for variant, layout in USER_FORMATS.items()
        }

    def _batch(self, num_images: int, args: argparse.Namespace) -> dict:
        shape = (num_images, 3, args.image_size, args.image_size)
        image = torch.randint(256, shape, dtype=torch.uint8)
        label = make_labels(num_images, args.labels)
        return {"image": image, "label": label, "id": [str(index) for index in range(num_images)]}

    def step(self, variant: str) -> int:
        """Take a step and return its number of images of the weak stream."""
        if variant == "per_class_loop":
            return self._per_class_loop()
        if variant in self.of_user:
            return self.of_user[variant].step(self._autocast())
        self.module.hparams.second_order = variant in ("second_order", "gain_ext_second_order")
        masked = self.masked if variant.startswith("gain_ext") else None
        self.optimizer.zero_grad()
        with self._autocast():
            loss = self.module.losses(self.weak, masked, 0.0 if variant == "plain" else 1.0)["loss"]
        loss.backward()
        self.optimizer.step()
        return len(self.weak["image"])

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _per_class_loop(self) -> int:
        """Take a step as public codes do: batch size 1, a whole backward pass a class, one map at a time."""
        backbone = self.module.backbone
        num_images = min(2, len(self.weak["image"]))
        for image, label in zip(
            self.weak["image"][:num_images, None], self.weak["label"][:num_images, None], strict=True
        ):
            with self._autocast():
                features = backbone.features(image)
                features.retain_grad()
                logits = backbone.head(features)
            loss = F.multilabel_soft_margin_loss(logits.float(), label)
            for class_idx in label[0].nonzero().flatten().tolist():
                self.optimizer.zero_grad()
                features.grad = None
                logits[0, class_idx].backward(retain_graph=True)
                weight = features.grad.float().mean((2, 3), keepdim=True)
                cam = (weight * features.float()).sum(1, keepdim=True).relu()
                cam = F.interpolate(cam / cam.amax().clamp_min(1e-8), image.shape[2:], mode="bilinear")
                erased = image - torch.sigmoid(10 * (cam - 0.5)) * image
                with self._autocast():
                    erased_logits = backbone(erased)
                loss = loss + erased_logits[0, class_idx].float().sigmoid() / label.sum()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return num_images

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def time(self, variant: str) -> float:
        """Return the seconds an image of one step."""
        self.synchronize()
        started = time.perf_counter()
        num_images = self.step(variant)
        self.synchronize()
        return (time.perf_counter() - started) / num_images


def limits(bench: Bench) -> dict[str, float]:
    """Return the least cost of each variant, in plain steps."""
    num_weak, num_masked = len(bench.weak["image"]), len(bench.masked["image"])
    mining = 1 + float(bench.weak["label"].sum()) / num_weak
    guided = mining + num_masked / num_weak
    plain = dict.fromkeys(("plain", *USER_FORMATS), 1.0)
    supervised = dict.fromkeys(("gain_ext", "gain_ext_second_order"), guided)
    return {variant: (plain | supervised).get(variant, mining) for variant in VARIANTS}


def _loop_settings(args: argparse.Namespace) -> argparse.Namespace:
    """Return the settings of ``per_class_loop``, which hands freed memory back."""
    return argparse.Namespace(**{**vars(args), "default_malloc": not args.loop_keeps_memory})


def _peak_of(variant: str, args: argparse.Namespace) -> float:
    if variant == "per_class_loop":
        args = _loop_settings(args)
    bench = Bench(args)
    # The first step makes the optimizer's own memory.
    bench.step(variant)
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        bench.step(variant)
        return torch.cuda.max_memory_allocated() / 2**20
    bench.step(variant)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def peak_mib(variant: str, args: argparse.Namespace) -> float:
    """Return the peak memory of a process that takes two steps; on a CPU it is all, torch itself included."""
    with multiprocessing.get_context("spawn" if args.device == "cuda" else "fork").Pool(1) as pool:
        return pool.apply(_peak_of, (variant, args))


class Loop:
    """``per_class_loop`` in a process of its own.

    Args:
        args: The command line.
    """

    bench: Bench

    def __init__(self, args: argparse.Namespace) -> None:
        args = _loop_settings(args)
        method = "spawn" if args.device == "cuda" else "fork"
        self.pool = multiprocessing.get_context(method).Pool(1, self._start, (args,))

    @classmethod
    def _start(cls, args: argparse.Namespace) -> None:
        cls.bench = Bench(args)

    @classmethod
    def _time(cls) -> float:
        return cls.bench.time("per_class_loop")

    def time(self) -> float:
        """Return the seconds an image of one step."""
        return self.pool.apply(self._time)


def measure(args: argparse.Namespace) -> dict:
    """Return every variant's medians and ratios; the variants take turns."""
    # per_class_loop passes backward through the features twice, which compiled ones do not allow.
    variants = [variant for variant in VARIANTS if not (args.compile and variant == "per_class_loop")]
    # Peaks come first, since a process that has computed with several threads must not be forked.
    peak = {variant: peak_mib(variant, args) for variant in variants} if args.memory else {}
    loop = Loop(args) if "per_class_loop" in variants else None
    bench = Bench(args)

    def time_of(variant: str) -> float:
        return loop.time() if loop and variant == "per_class_loop" else bench.time(variant)

    for variant in variants:
        time_of(variant)
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    for _ in range(args.rounds):
        for variant in variants:
            seconds[variant].append(time_of(variant))
    limit = limits(bench)
    result = {}
    fastest = min(USER_FORMATS, key=lambda variant: statistics.median(seconds[variant]))
    for variant in variants:
        ratio = statistics.median(
            own / plain for own, plain in zip(seconds[variant], seconds[fastest], strict=True)
        )
        result[variant] = {
            "ms_per_image": 1000 * statistics.median(seconds[variant]),
            "ratio_to_plain": ratio,
            "limit": limit[variant],
            "ratio_to_limit": ratio / limit[variant],
        }
        if args.memory:
            result[variant]["peak_mib"] = peak[variant]
    return result


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="vgg16")
    parser.add_argument("--labels", type=float, default=1.5, help="classes an image")
    parser.add_argument(
        "--batch", type=int, default=8, help="images of the weak stream; a quarter more are masked"
    )
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--memory_format", choices=tuple(FORMATS), default="auto", help="of this package's")
    parser.add_argument("--threads", type=int, help="default: as torch chooses")
    parser.add_argument("--default_malloc", action="store_true", help="on a CPU without keep_freed_memory")
    parser.add_argument("--loop_keeps_memory", action="store_true", help="per_class_loop with it, too")
    parser.add_argument("--compile", action="store_true", help="with compile_features")
    parser.add_argument("--checkpoint", action="store_true", help="with checkpoint_features")
    parser.add_argument("--no_memory", dest="memory", action="store_false")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    result = measure(args)
    print(
        f"{args.backbone}, {args.image_size} px, batch {args.batch}, {args.labels:g} labels an image, {args.device}"
    )
    print(f"{'':<22}{'ms/image':>10}{'to plain':>10}{'limit':>8}{'to limit':>10}{'peak MiB':>10}")
    for variant, row in result.items():
        peak = f"{row['peak_mib']:10.0f}" if args.memory else ""
        print(
            f"{variant:<22}{row['ms_per_image']:>10.1f}{row['ratio_to_plain']:>10.2f}{row['limit']:>8.2f}"
            f"{row['ratio_to_limit']:>10.2f}{peak}"
        )
    if "per_class_loop" in result:
        times = result["per_class_loop"]["ms_per_image"] / result["first_order"]["ms_per_image"]
        print(f"first_order: {times:.2f} times faster an image than per_class_loop")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
