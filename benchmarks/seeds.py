"""Time the attention maps of a set of images beside plain forward passes over the same images.

    python benchmarks/seeds.py --run RUN --data VOCdevkit --split val --json seeds.json

Both decode the images of a run's data anew. The maps are those of `gain seeds`, by default at one scale, from one pass
through the features and back through the head; `files` is the whole of `gain seeds`, its files included. Without a
run, an untrained EfficientNet-Lite0 at 160 pixels maps the images of VOC in --data, and no files are written.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from gain_lightning.commands.seeds import main as seeds_main
from gain_lightning.datasets.readers.voc import CLASSES
from gain_lightning.datasets.sample import collate
from gain_lightning.datasets.voc12 import VOC12DataModule
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.load import load_classifier
from gain_lightning.segmentation.run_images import run_images
from gain_lightning.segmentation.seeds import attention_maps


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="folder of a run")
    parser.add_argument("--data", help="where the data lie, unless as in the run")
    parser.add_argument("--split", default="val")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0])
    parser.add_argument("--flip", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    if args.run is None:
        model = GAIN(list(CLASSES), 160, backbone="lite0", output_stride=16)
        images = VOC12DataModule(root=args.data, image_size=160).image_set(args.split)
    else:
        model = load_classifier(args.run / "checkpoints" / "last.ckpt")
        images = run_images(args.run, args.data, args.split)
    model = model.eval().to(args.device)
    names = ("forward", "maps") if args.run is None else ("forward", "maps", "files")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    # The variants take turns, because the machine may be shared.
    for _ in range(args.rounds):
        for name, times in seconds.items():
            started = time.perf_counter()
            if name == "files":
                with tempfile.TemporaryDirectory() as folder:
                    options = ["--split", args.split, "--device", args.device, "--out", f"{folder}/seeds"]
                    options += ["--scales", *map(str, args.scales), *(["--flip"] if args.flip else [])]
                    options += ["--data", args.data] if args.data else []
                    seeds_main([str(args.run), *options])
            else:
                run(model, images, args, is_plain=name == "forward")
            times.append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    result = {
        "num_images": len(images),
        "passes": len(args.scales) * (1 + args.flip),
        **{f"seconds_{name}": value for name, value in medians.items()},
        **{f"{name} / forward": medians[name] / medians["forward"] for name in names[1:]},
    }
    ratios = ", ".join(f"{name} {result[f'{name} / forward']:.2f} x" for name in names[1:])
    print(f"{len(images)} images: forward {medians['forward']:.1f} s, {ratios}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def run(
    model: torch.nn.Module, images: torch.utils.data.Dataset, args: argparse.Namespace, *, is_plain: bool
) -> None:
    """Pass once over the images, with or without maps."""
    for batch in DataLoader(images, 16, collate_fn=collate):
        image = batch["image"].to(args.device)
        if is_plain:
            with torch.no_grad():
                model(model.backbone.normalize(image))
        else:
            attention_maps(model, image, batch["label"].to(args.device), scales=args.scales, flip=args.flip)
    if args.device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
