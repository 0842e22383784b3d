"""What large pictures cost, whole and in tiles: CPU time and memory of a training step and of a map, on one thread.

    python benchmarks/tiles.py --backbone resnet18 --image_size 896 --tile_size 224

Each row is a process of its own. Times are the shortest of the rounds, memory is the peak above that of the process
with its network, and both stand as multiples of the first row: a picture that is shrunk to one tile.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

from gain_lightning.methods.gain import GAIN

# name: whether the picture is large, in tiles, and its features checkpointed
ROWS = {
    "shrunk to one tile": (False, False, False),
    "whole": (True, False, False),
    "whole, checkpointed": (True, False, True),
    "tiles": (True, True, False),
    "tiles, checkpointed": (True, True, True),
}


def peak() -> float:
    """Return the peak memory of this process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Measure one row, a training step or a map."""
    is_large, is_tiled, is_checkpointed = ROWS[options.row]
    torch.set_num_threads(1)
    side = options.image_size if is_large else options.tile_size
    model = GAIN(
        ["a", "b"], side, backbone=options.backbone, tile_size=options.tile_size if is_tiled else None,
        freeze_batch_norm=True, checkpoint_features=is_checkpointed,
    ).train(options.what == "step")  # fmt: skip
    image, label = torch.randn(options.batch, 3, side, side), torch.eye(2)[:1].repeat(options.batch, 1)
    mask = {"mask": torch.zeros(0, side, side), "mask_image": torch.zeros(0), "mask_class": torch.zeros(0)}
    before, times = peak(), []
    for _ in range(options.rounds):
        began = time.process_time()
        if options.what == "step":
            model.losses({"image": image, "label": label, **mask}, None, 0.0)["loss"].backward()
        else:
            model.attend(image, label)
        times.append(time.process_time() - began)
    return {"seconds": min(times), "MiB": peak() - before}


def main(argv: list[str] | None = None) -> None:
    """Print the table, or as a process of its own one row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--image_size", type=int, default=896)
    parser.add_argument("--tile_size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--row", choices=list(ROWS), help=argparse.SUPPRESS)
    parser.add_argument("--what", choices=("step", "map"), help=argparse.SUPPRESS)
    words = sys.argv[1:] if argv is None else argv
    options = parser.parse_args(words)
    if options.row:
        print(json.dumps(measure(options)))
        return
    first: dict[str, dict[str, float]] = {}
    for row in ROWS:
        line = f"{row:22}"
        for what in ("step", "map"):
            command = [sys.executable, __file__, *words, "--row", row, "--what", what]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            start = first.setdefault(what, found)
            line += "".join(
                f"  {what} {value:.3g} {key} ({value / start[key]:.1f})" for key, value in found.items()
            )
        print(line, flush=True)


if __name__ == "__main__":
    main()
