import numpy as np
import pytest
import torch
from fake_batch import masks_of
from PIL import Image

from gain_lightning.attention import label_pairs, pair_masks
from gain_lightning.methods.image_record import keep_maps
from gain_lightning.methods.panels import log_to_wandb, panel_rows


def _kept():
    label = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    maps = torch.tensor([2.0, 4.0, 0.0]).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    batch = {"id": ["a", "b"], "label": label, **masks_of(torch.full((2, 4, 4), 2), label)}
    pairs = label_pairs(label)
    mask = pair_masks(batch["mask"], batch["mask_image"], batch["mask_class"], pairs)
    outputs = {"maps": maps, "pairs": pairs, "mask": mask}
    return keep_maps(batch, outputs, torch.full((2, 3, 4, 4), 90, dtype=torch.uint8), ["cat", "dog"])


def test_panel_rows_belong_to_their_image_and_are_scaled_one_by_one():
    rows = panel_rows([_kept(), _kept()])
    assert [row["caption"] for row in rows] == ["a: dog", "b: cat", "b: dog"] * 2
    assert [row["image_idx"] for row in rows] == [0, 1, 1, 2, 3, 3]
    assert [row["map"].max() for row in rows] == [1, 1, 0] * 2


def test_wandb_gets_pictures_with_the_step_as_a_field(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb = pytest.importorskip("wandb")
    logged = []

    class Logger:
        class experiment:  # noqa: N801
            log = staticmethod(logged.append)

    run = wandb.init(dir=tmp_path, mode="offline")
    try:
        log_to_wandb(Logger, panel_rows([_kept()]), ["cat", "dog"], step=70)
    finally:
        run.finish()
    assert logged[0]["trainer/global_step"] == 70
    assert [panel._caption for panel in logged[0]["panels"]] == ["a: dog", "b: cat", "b: dog"]
    picture = np.array(Image.open(logged[0]["panels"][0]._path))
    assert picture.shape[:2] == (4, 8)  # image | map
    assert (picture[:, :4, :3] == 90).all()
