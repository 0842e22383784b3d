import numpy as np
import torch

from gain_lightning.attention import label_pairs
from gain_lightning.image_record import NUM_KEPT_MAPS, keep_maps, per_image_rows, save_maps


def _batch():
    label = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    mask = torch.tensor([[[1, 1], [0, 255]], [[0, 0], [0, 0]]])
    maps = torch.tensor([[[[4.0, 0.0], [4.0, 9.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])
    outputs = {
        "score": torch.tensor([[0.9, 0.2], [0.1, 0.6]]),
        "maps": maps,
        "pairs": label_pairs(label),
    }
    return {"id": ["x", "y"], "label": label, "mask": mask}, outputs


def test_per_image_rows_by_hand():
    batch, outputs = _batch()
    first, second, third, fourth = per_image_rows("test", batch, outputs, ["cat", "dog"])
    # cat: energy 4 of 4 + 4, void left out; maximum on the cat; seeds above 0.2 * 9 hit one of its two pixels of 3
    assert first == {"set": "test", "id": "x", "class": "cat", "present": 1, "score": "0.899999976",
                     "energy": 0.5, "pointing": 1.0, "iou": round(1 / 3, 6)}  # fmt: skip
    assert second["present"] == 1
    assert second["energy"] == ""  # a dog by its label, but the mask shows none
    assert [row["present"] for row in (third, fourth)] == [0, 0]
    assert fourth["score"] == "0.600000024"  # all digits of float32, so that scores near 1 stay apart


def test_kept_maps_are_renumbered_over_batches(tmp_path):
    batch, outputs = _batch()
    kept = [keep_maps(batch, outputs, torch.zeros(2, 3, 2, 2, dtype=torch.uint8)) for _ in range(20)]
    save_maps(tmp_path / "maps.npz", kept, ["cat", "dog"])
    with np.load(tmp_path / "maps.npz") as maps:
        assert len(maps["ids"]) == NUM_KEPT_MAPS
        assert maps["pair_image"].tolist() == [n // 2 * 2 for n in range(NUM_KEPT_MAPS)]
        np.testing.assert_allclose(maps["map"][2], [[4 / 9, 0], [4 / 9, 1]], atol=1e-3)
        assert maps["map_max"].tolist() == [9, 1] * (NUM_KEPT_MAPS // 2)
