"""What guidance by views asks for: draw maps of a run, the targets that other views give, and maps of a guided run.

    python benchmarks/views.py runs/shapes/gradcam runs/shapes/gain --images 4 --out views.png

A row shows one class of one test image: the image, the first run's map, the target that its network would get
(``methods/views.py``), and the second run's map.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from gain_lightning.attention import scale_maps
from gain_lightning.datasets.sample import collate
from gain_lightning.drawing.encoding import save_png
from gain_lightning.drawing.maps import overlay
from gain_lightning.drawing.text import write_caption
from gain_lightning.methods.load import load_classifier
from gain_lightning.methods.views import PIXELS, view_targets
from gain_lightning.segmentation.run_images import run_images

CAPTIONS = ("image", "map without guidance", "target of its views", "map with guidance")
SIDE = 160  # pixels of a picture in the figure


def maps_of(run: Path, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scaled maps of a run ``(P, 1, H, W)`` and the targets of its views ``(P, 1, H / 4, W / 4)``."""
    model = load_classifier(run / "checkpoints" / "last.ckpt").eval()
    normalised = model.backbone.normalize(image)
    _, maps, pairs = model.attend(normalised, label)
    maps = model.place(scale_maps(maps), image.shape[2:])
    small = F.avg_pool2d(maps, PIXELS)
    with torch.no_grad():
        return maps, view_targets(model, model.backbone, normalised, pairs, small)


def figure(pictures: list[list[np.ndarray]]) -> np.ndarray:
    """Return the rows of pictures as one, with captions above."""
    head, gap = 20, 6
    width = len(CAPTIONS) * (SIDE + gap) - gap
    canvas = Image.new("RGB", (width, head + len(pictures) * (SIDE + gap) - gap), "white")
    for column, caption in enumerate(CAPTIONS):
        write_caption(ImageDraw.Draw(canvas), (column * (SIDE + gap), 2), caption, SIDE)
        for row, drawn in enumerate(pictures):
            picture = Image.fromarray(drawn[column]).resize((SIDE, SIDE))
            canvas.paste(picture, (column * (SIDE + gap), head + row * (SIDE + gap)))
    return np.asarray(canvas)


def main(argv: list[str] | None = None) -> None:
    """Draw the figure that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "plain", type=Path, metavar="RUN", help="run without guidance, whose network makes targets"
    )
    parser.add_argument("guided", type=Path, metavar="GUIDED", help="run on the same data with guidance")
    parser.add_argument("--images", type=int, nargs="+", default=[0, 1, 2, 3], help="rows of the test set")
    parser.add_argument("--split", default="test", help="list of images (default: test)")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    options = parser.parse_args(argv)
    images = run_images(options.plain, None, options.split)
    batch = collate([images[row] for row in options.images])
    image = batch["image"]
    # The first class of each image alone.
    label = (batch["label"].cumsum(1) == 1).float() * batch["label"]
    plain, target = maps_of(options.plain, image, label)
    guided, _ = maps_of(options.guided, image, label)
    target = F.interpolate(target, size=image.shape[2:], mode="bilinear")
    rows = []
    for row, picture in enumerate(image.permute(0, 2, 3, 1).numpy()):
        drawn = [overlay(picture, maps[row, 0].detach().numpy()) for maps in (plain, target, guided)]
        rows.append([picture, *drawn])
    save_png(options.out, figure(rows))


if __name__ == "__main__":
    main()
