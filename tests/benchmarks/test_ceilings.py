"""``benchmarks/ceilings.py``: linear classifiers on features of all, of the cells and of the pixels inside marks."""

import numpy as np
import torch
from benchmark_scripts import load
from PIL import Image
from torch import nn

from gain_lightning.backbones import Backbone

SCRIPT = load("ceilings")
SIDE = 32


class Blocks(Backbone):
    """Colours averaged over blocks of 8 pixels: a cell sees its own block alone."""

    def __init__(self):
        classifier = nn.Linear(3, 2)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), classifier)
        super().__init__(nn.AvgPool2d(8), head, classifier)


def make_birds(root):
    """Red or green birds in the upper left quarter, on blue or black; in training red is on blue and green on black."""
    rows, boxes = ["filename,classes,split,place"], ["filename,class,xmin,ymin,xmax,ymax"]
    (root / "images").mkdir(parents=True)
    for split in ("train", "val", "test"):
        for number in range(24):
            kind, place = number % 2, number % 2 if split == "train" else (number // 2) % 2
            picture = np.zeros((SIDE, SIDE, 3), np.uint8)
            picture[..., 2] = 250 * place
            picture[:8, :8] = [(200, 0, 0), (0, 200, 0)][kind]
            name = f"{split}{number}.png"
            Image.fromarray(picture).save(root / "images" / name)
            bird, ground = ("red", "green")[kind], ("black", "blue")[place]
            rows.append(f"{name},{bird},{split},{ground}")
            boxes.append(f"{name},{bird},0,0,8,8")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    (root / "boxes.csv").write_text("\n".join(boxes) + "\n")


def test_what_marks_can_do_is_known_of_a_made_network(tmp_path, monkeypatch, capsys):
    """A colour of the whole ground outweighs a small bird; within the mark, by cells or by pixels, the bird decides."""
    make_birds(tmp_path)
    monkeypatch.setattr(SCRIPT, "build_backbone", lambda *_, **__: Blocks())
    SCRIPT.main([str(tmp_path), "--group_by", "place", "--supervision", "box", "--image_size", str(SIDE)])
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["features", "green+black", "green+blue", "red+black", "red+blue", "worst", "mean"]
    worst = {line[0]: float(line[-2]) for line in lines[2:]}
    assert list(worst) == ["all", "cells inside", "pixels inside", "all, balanced"]
    assert worst["cells inside"] == worst["pixels inside"] == worst["all, balanced"] == 100
    assert worst["all"] < 100


def test_every_group_counts_alike():
    weight = SCRIPT.balanced(np.array([0, 0, 0, 1]))
    torch.testing.assert_close(weight.double(), torch.tensor([1 / 3, 1 / 3, 1 / 3, 1.0]).double())
