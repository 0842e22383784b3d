import json

import numpy as np
import pytest
import torch
from fake_voc import make_voc

from gain_lightning.constants import VOID
from gain_lightning.datasets import ShapesDataModule, VOC12DataModule
from gain_lightning.segmentation.cue_data import CueDataModule, FullSize


def test_cues_stand_beside_the_images_they_are_of(tmp_path):
    data = ShapesDataModule(num_train=6, num_val=2, num_test=3)
    labels = data.image_set().labels
    cues = {f"train_{n:05d}": np.full((5, 5), n % 2 * (1 + labels[n].argmax()), np.uint8) for n in range(6)}
    np.savez(tmp_path / "cues.npz", **cues)
    module = CueDataModule(cues=str(tmp_path), images=data, batch_size=4, num_workers=0)
    module.setup("fit")
    seen = {}
    for batch in module.train_dataloader():
        for image_id, cue, image in zip(batch["id"], batch["cues"], batch["image"], strict=True):
            seen[image_id] = int(cue[0, 0])
            index = int(image_id[-5:])
            assert torch.equal(image, data.image_set()[index]["image"])
    assert seen == {name: int(cue[0, 0]) for name, cue in cues.items()}


def test_whole_masks_have_the_size_of_their_files(tmp_path):
    data = VOC12DataModule(root=str(make_voc(tmp_path)), image_size=32, num_workers=0)
    data.setup("test")
    sample = FullSize(data.test_sets["val"])[1]
    assert sample["image"].shape == (1, 3, 32, 32)
    assert sample["picture"].shape == (48, 60, 3)
    assert sample["mask"].shape == (48, 60)
    assert (sample["mask"] == VOID).any()


def test_images_without_cues_are_named(tmp_path):
    np.savez(tmp_path / "c.npz", train_00001=np.zeros((2, 2), np.uint8))
    images = ShapesDataModule(num_train=3)
    module = CueDataModule(cues=str(tmp_path / "c.npz"), images=images)
    with pytest.raises(ValueError, match=r"2 of 3 training images have no cues, the first train_00000"):
        module.setup("fit")


def test_cues_of_another_class_list_are_refused(tmp_path):
    """By what gain seeds says of them, and of others' cues by the images' labels: here every class is off by one."""
    data = ShapesDataModule(num_train=6)
    labels = data.image_set().labels
    cues = {f"train_{n:05d}": np.full((5, 5), 1 + labels[n].argmax(), np.uint8) for n in range(6)}
    np.savez(tmp_path / "cues.npz", **cues)
    other = [*data.class_names[1:], data.class_names[0]]
    (tmp_path / "provenance.json").write_text(json.dumps({"class_names": other}))
    with pytest.raises(
        ValueError, match=f"of the classes {other[0]}, .*, expected those of the images, {other[-1]}"
    ):
        CueDataModule(cues=str(tmp_path), images=data).setup("fit")
    (tmp_path / "provenance.json").unlink()
    CueDataModule(cues=str(tmp_path), images=data).setup("fit")
    np.savez(tmp_path / "cues.npz", **{name: cue % len(data.class_names) + 1 for name, cue in cues.items()})
    with pytest.raises(
        ValueError, match=r"image train_00000 has a cue of class \d, expected classes of its label"
    ):
        CueDataModule(cues=str(tmp_path), images=data).setup("fit")
