"""Fixtures that tests of several methods share."""

import numpy as np
import pytest
import torch
from fake_batch import masks_of
from PIL import Image
from predicting import CLASSES
from small_gain import SIDE

from gain_lightning.constants import VOID
from gain_lightning.methods.gain import GAIN


@pytest.fixture
def batches(generator):
    """A weak and a masked batch, images normalised, with none, one and two labels an image."""

    def make(label, masked):
        label = torch.tensor(label)
        mask = torch.full((len(label), SIDE, SIDE), VOID, dtype=torch.uint8)
        if masked:
            for n, row in enumerate(label):
                names = torch.tensor([0, 0, VOID, *(row.nonzero().flatten() + 1).tolist()], dtype=torch.uint8)
                mask[n] = names[torch.randint(len(names), (8, 8), generator=generator)].repeat(4, 4)
        image = torch.randn(len(label), 3, SIDE, SIDE, generator=generator)
        return {
            "image": image,
            "label": label.float(),
            **masks_of(mask, label),
            "id": [str(n) for n in range(len(label))],
        }

    return make([[1, 0, 0], [0, 0, 0], [0, 1, 1]], masked=False), make([[0, 1, 0], [1, 1, 0]], masked=True)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    model = GAIN(CLASSES, 32)
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    return path


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for name, size in [("one.jpg", (40, 30)), ("below/two.PNG", (64, 20)), ("below/grey.png", (32, 32))]:
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(folder / name)
    Image.open(folder / "below" / "grey.png").convert("L").save(folder / "below" / "grey.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder
