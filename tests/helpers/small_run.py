"""The options of small trainings on shapes, and small folders of pictures, as the command takes them."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SMALL = [
    "--data.num_train=64", "--data.num_val=24", "--data.num_test=24", "--data.num_biased=8",
    "--trainer.max_epochs=2", "--model.warmup=0.5", "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false", "--trainer.logger=false", "--trainer.log_every_n_steps=1",
]  # fmt: skip
CONFIG = ["--config", str(EXPERIMENTS / "shapes" / "gain_ext.yaml")]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def make_folder(root: Path, labels: list[str], masks: bool = False) -> Path:
    """Write a folder of small pictures with these labels; with masks, cats (class 1) are the upper left quarter."""
    (root / "images").mkdir(parents=True)
    rows = "".join(f"{number}.png,{label}\n" for number, label in enumerate(labels))
    (root / "labels.csv").write_text("filename,classes\n" + rows)
    for number, label in enumerate(labels):
        Image.fromarray(np.full((40, 60, 3), 20 * number, np.uint8)).save(root / "images" / f"{number}.png")
        if masks and label.startswith("cat"):
            (root / "masks").mkdir(exist_ok=True)
            mask = np.zeros((40, 60), np.uint8)
            mask[:20, :30] = 1
            Image.fromarray(mask).save(root / "masks" / f"{number}.png")
    return root
