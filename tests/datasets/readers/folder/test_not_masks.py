"""Masks that say where a class is not: ``masks/not CLASS/``."""

import numpy as np
import pytest
import torch
from PIL import Image

from gain_lightning.attention import label_pairs, pair_masks
from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.datasets.sample import collate
from gain_lightning.losses import attention_supervision_loss

SIDE = 32


def save(path, rows: slice, value: int = 255) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[rows] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


@pytest.fixture
def root(tmp_path):
    """Six pictures of cats, two of them without a cat in their upper half, one of these with its cat drawn too."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for n in range(6):
        picture = rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "images" / f"{n}.png")
    lines = [f"{n}.png,cat,{'train' if n < 4 else 'val'}" for n in range(6)]
    (tmp_path / "labels.csv").write_text("filename,classes,split\n" + "\n".join(lines) + "\n")
    save(tmp_path / "masks" / "not cat" / "0.png", slice(0, 16))
    save(tmp_path / "masks" / "not cat" / "1.png", slice(0, 16), 1)
    save(tmp_path / "masks" / "cat" / "1.png", slice(20, 24))
    return tmp_path


def masked_set(root, budget=1.0):
    data = FolderDataModule(root=str(root), image_size=SIDE, num_workers=0, batch_size=2, mask_budget=budget)
    data.setup("fit")
    return data.masked_set


def test_they_are_read_beside_masks_of_the_class(root):
    assert read_folder(root).problems == []
    alone, both = (masked_set(root)[index]["mask"][0] for index in (0, 1))
    expected = torch.full((2, SIDE, SIDE), 255, dtype=torch.uint8)
    expected[:, :16] = 0
    expected[1, 20:24] = 1
    assert torch.equal(torch.stack([alone, both]), expected)
    assert len(masked_set(root)) == 2


@pytest.mark.parametrize("loss", ["l2", "l1", "energy", "rrr"])
def test_they_push_attention_away(root, loss):
    batch = collate([masked_set(root)[0]])
    pairs = label_pairs(batch["label"])
    mask = pair_masks(batch["mask"], batch["mask_image"], batch["mask_class"], pairs)
    maps = torch.full((1, 1, SIDE, SIDE), 0.5, requires_grad=True)
    attention_supervision_loss(maps, mask, pairs, loss=loss).backward()
    assert (maps.grad[0, 0, :16] > 0).all()
    assert (maps.grad[0, 0, 16:] <= 0).all()


def test_what_contradicts_is_a_problem(root):
    save(root / "masks" / "cat" / "0.png", slice(15, 18))
    save(root / "masks" / "not cat" / "2.png", slice(0, 0))
    save(root / "masks" / "not dog" / "3.png", slice(0, 1))
    problems = [str(problem) for problem in read_folder(root).problems]
    assert len(problems) == 3
    assert any("not cat/0.png: marks 32 pixels that" in text for text in problems)
    assert any("not cat/2.png: marks no pixel, expected where cat is not" in text for text in problems)
    assert any("unknown class 'not dog'" in text for text in problems)


def test_a_box_smaller_than_a_pixel_of_the_network_keeps_one(tmp_path):
    (tmp_path / "images").mkdir()
    for n in range(4):
        Image.fromarray(np.zeros((320, 320, 3), np.uint8)).save(tmp_path / "images" / f"{n}.png")
    (tmp_path / "labels.csv").write_text(
        "filename,classes,split\n"
        + "".join(f"{n}.png,cat,{'val' if n == 3 else 'train'}\n" for n in range(4))
    )
    (tmp_path / "boxes.csv").write_text("filename,class,xmin,ymin,xmax,ymax\n1.png,cat,101,203,103,205\n")
    data = FolderDataModule(
        root=str(tmp_path), image_size=SIDE, num_workers=0, batch_size=2, mask_budget=1, supervision="box"
    )
    data.setup("fit")
    mask = data.masked_set[0]["mask"][0]
    assert (mask == 1).nonzero().tolist() == [[20, 10]]


def test_a_class_whose_name_begins_with_not_has_masks_of_its_own(tmp_path):
    (tmp_path / "images").mkdir()
    for n, name in enumerate(["cat", "not cat", "cat", "not cat"]):
        Image.fromarray(np.full((SIDE, SIDE, 3), n, np.uint8)).save(tmp_path / "images" / f"{n}.png")
        save(tmp_path / "masks" / name / f"{n}.png", slice(0, 3))
    rows = ["0.png,cat,train", "1.png,not cat,train", "2.png,cat,val", "3.png,not cat,val"]
    (tmp_path / "labels.csv").write_text("filename,classes,split\n" + "\n".join(rows) + "\n")
    contents = read_folder(tmp_path)
    assert contents.problems == []
    assert contents.listing.has_not is None
    assert contents.listing.has_mask.tolist() == [[True, False], [False, True]] * 2
