"""From the files of a data set to L_e and to the scores of maps: what each class's mask says, and what nobody drew."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from fake_folder import picture
from fake_voc import make_voc
from PIL import Image

from gain_lightning.attention import label_pairs, pair_masks, scale_maps
from gain_lightning.constants import VOID
from gain_lightning.datasets import FolderDataModule, VOC12DataModule
from gain_lightning.datasets.image_set import ImageSet
from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.datasets.readers.voc import read_voc
from gain_lightning.datasets.sample import collate
from gain_lightning.losses import SUPERVISION_LOSSES, attention_supervision_loss
from gain_lightning.methods.gain import GAIN
from gain_lightning.metrics import SeedIoU

SIDE = 32
BOAT, PERSON = (
    (2, 6, 26, 30),
    (20, 10, 30, 18),
)  # (left, top, right, bottom); the smaller juts out of the larger
WITHIN = (8, 10, 14, 18)


def body(left, top, right, bottom) -> np.ndarray:
    """A filled box, ``(H, W)`` bool."""
    inside = np.zeros((SIDE, SIDE), bool)
    inside[top:bottom, left:right] = True
    return inside


def write_mask(path, values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def make_folder(root, labels="boat;person", boxes=(), masks=()):
    """Three pictures, of which the first two have these labels and are for training and for validation.

    Args:
        boxes: Class and corners of each, of both.
        masks: Path below ``masks/``, without suffix, and values ``(H, W)`` of each, of both.
    """
    for name in "abc":
        picture(root / "images" / f"{name}.png", ord(name), (SIDE, SIDE))
    lines = [f"a.png,{labels},train", f"b.png,{labels},val", f"c.png,{labels.split(';')[0]},train"]
    (root / "labels.csv").write_text("\n".join(["filename,classes,split", *lines]))
    rows = [f"{name}.png,{kind},{','.join(map(str, box))}" for name in "ab" for kind, box in boxes]
    if rows:
        (root / "boxes.csv").write_text("\n".join(["filename,class,xmin,ymin,xmax,ymax", *rows]))
    for folder, values in masks:
        for name in "ab":
            write_mask(root / "masks" / folder / f"{name}.png", values)
    return root


def make_boxes_of_voc(folder, boxes):
    """A VOC folder whose first training image has these boxes, in VOC's pixels, which begin at 1."""
    root = make_voc(folder, size=(SIDE, SIDE), num_train=3, num_val=2)
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for name, (left, top, right, bottom) in boxes
    )
    (root / "Annotations" / "2012_000000.xml").write_text(f"<annotation>{objects}</annotation>")
    return root


def masked_batch(data):
    """Its one masked image, and the mask of every pair."""
    data.setup("fit")
    assert len(data.masked_set) == 1
    data.masked_set.train_transform = None  # no flip
    batch = collate([data.masked_set[0]])
    pairs = label_pairs(batch["label"])
    return pairs, pair_masks(batch["mask"], batch["mask_image"], batch["mask_class"], pairs)


def loss_of(bodies, masks, pairs, loss) -> float:
    maps = torch.from_numpy(np.stack(bodies)).double()[:, None]
    return float(attention_supervision_loss(maps, masks, pairs, loss=loss))


# Boxes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["folder", "VOC"])
@pytest.mark.parametrize("small", [WITHIN, PERSON], ids=["within", "juts out"])
@pytest.mark.parametrize("budget", [1, {"boat": 1}], ids=["all", "boat alone"])
@pytest.mark.parametrize("other_boxes", ["unknown", "no"])
def test_a_box_has_no_hole_where_a_smaller_one_lies(tmp_path, layout, small, budget, other_boxes):
    """L_e of the perfect maps is 0, whatever the loss; it was 0.36 for a person within a boat."""
    boxes = [("boat", BOAT), ("person", small)]
    options = {"image_size": SIDE, "mask_budget": budget, "supervision": "box", "other_boxes": other_boxes}
    if layout == "VOC":
        data = VOC12DataModule(root=str(make_boxes_of_voc(tmp_path, boxes)), batch_size=2, **options)
    else:
        data = FolderDataModule(root=str(make_folder(tmp_path, boxes=boxes)), batch_size=2, **options)
    pairs, masks = masked_batch(data)
    assert [data.class_names[c] for c in pairs.label.tolist()] == ["boat", "person"]
    boat, person = body(*BOAT), body(*small)
    for loss in SUPERVISION_LOSSES:
        assert loss_of([boat, person], masks, pairs, loss) == 0
    beside = np.where(person & ~boat, VOID if other_boxes == "unknown" else 0, boat)
    np.testing.assert_array_equal(masks[0], beside)
    if budget == 1:
        beside = np.where(boat & ~person, VOID if other_boxes == "unknown" else 0, person)
        np.testing.assert_array_equal(masks[1], beside)
    else:  # of persons nothing is known then
        assert (masks[1] == VOID).all()
    # and the losses do see a map that is wrong
    assert loss_of([~boat, ~person], masks, pairs, "l2") == 1
    assert loss_of([boat & ~person, person], masks, pairs, "l1") > 0


# Masks of each class --------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1, {"boat": 1}, {"person": 1}], ids=str)
def test_masks_of_classes_that_overlap_keep_both(tmp_path, budget):
    boat, person = body(*BOAT), body(*PERSON)
    assert (boat & person).any()
    root = make_folder(tmp_path, masks=[("boat", boat), ("person", 200 * person)])
    data = FolderDataModule(root=str(root), image_size=SIDE, mask_budget=budget, batch_size=2)
    pairs, masks = masked_batch(data)
    for name, true, mask in zip(("boat", "person"), (boat, person), masks, strict=True):
        known = budget == 1 or name in budget
        np.testing.assert_array_equal(mask, true if known else np.full((SIDE, SIDE), VOID))
    for loss in SUPERVISION_LOSSES:
        assert loss_of([boat, person], masks, pairs, loss) == 0


# Only where a class is not --------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "VOC"])
def negative_only(request, tmp_path):
    """A picture whose index mask is 0 where its one class is not, and void elsewhere."""
    values = np.where(body(*BOAT), 0, VOID)
    if request.param == "folder":
        root = make_folder(tmp_path, labels="boat", masks=[("", values)])
        listing = read_folder(root).listing
        row = listing.ids.tolist().index("a.png")
    else:
        root = make_voc(tmp_path, size=(SIDE, SIDE))
        write_mask(root / "SegmentationClass" / "2012_000001.png", values)
        listing, _ = read_voc(root, "train", "SegmentationClass")
        row = listing.ids.tolist().index("2012_000001")
    sample = ImageSet(listing, image_size=SIDE)[row]
    batch = collate([sample])
    assert batch["label"].sum() == 1
    pairs = label_pairs(batch["label"])
    return pairs, pair_masks(batch["mask"], batch["mask_image"], batch["mask_class"], pairs)


def test_a_negative_only_mask_is_read_as_it_is(negative_only):
    _, masks = negative_only
    np.testing.assert_array_equal(masks[0], np.where(body(*BOAT), 0, VOID))


@pytest.mark.parametrize("loss", SUPERVISION_LOSSES)
def test_a_negative_only_mask_pushes_attention_out(negative_only, generator, loss):
    """Down the gradient, the share of attention on what it marks falls by half; cross_entropy's is 0 by definition."""
    pairs, masks = negative_only
    marked = torch.from_numpy(body(*BOAT))
    cells = torch.randn(1, 1, SIDE, SIDE, generator=generator, requires_grad=True)

    def share():
        maps = scale_maps(cells.sigmoid())
        return maps, (maps[0, 0][marked].sum() / maps.sum()).item()

    before, optimizer = share()[1], torch.optim.Adam([cells], lr=0.1)
    for step in range(30):
        optimizer.zero_grad()
        value = attention_supervision_loss(share()[0], masks, pairs, loss=loss)
        value.backward()
        if step == 0 and loss != "cross_entropy":
            assert value.item() > 0.1  # was 0
            assert (cells.grad[0, 0][marked] > 0).float().mean() > 0.9
        optimizer.step()
    if loss == "cross_entropy":
        assert share()[1] == before
    else:
        assert share()[1] < before / 2


# What nobody drew -----------------------------------------------------------------------------------------

CAT, DOG = body(2, 2, 12, 12), body(18, 18, 30, 28)
UNDRAWN = {
    "masks of each class": [("cat", CAT)],
    "index mask without the dog": [("", CAT)],  # cat is class 1
    "index mask without the cat": [("", 2 * DOG)],
}


@pytest.mark.parametrize("masks", UNDRAWN.values(), ids=UNDRAWN)
def test_perfect_maps_score_1_though_one_of_two_classes_was_not_drawn(tmp_path, masks):
    """Seed mIoU was 0.33: the undrawn class's seeds counted as wrong, and on what was taken for background."""
    root = make_folder(tmp_path, labels="cat;dog", masks=masks)
    data = FolderDataModule(root=str(root), image_size=SIDE, batch_size=2, num_workers=0)
    data.setup("fit")
    batch = collate([data.val_set[0]])
    pairs = label_pairs(batch["label"])
    mask = pair_masks(batch["mask"], batch["mask_image"], batch["mask_class"], pairs)
    maps = torch.from_numpy(np.stack([CAT, DOG])).float()[:, None]
    metric = SeedIoU(2)
    metric.update(maps, mask, pairs)
    scores = metric.compute()
    assert scores["miou"].tolist() == [1.0] * 19
    drawn = (mask == 1).flatten(1).any(1)
    assert drawn.sum() == 1
    assert scores["iou"][:, 1:][:, drawn].tolist() == [[1.0]] * 19
    assert scores["iou"][:, 1:][:, ~drawn].isnan().all()
    assert scores["iou"][:, 0].isnan().all()  # background may be a dog
    metric.update(maps.flip(0), mask, pairs)  # and it is not 1 whatever the maps are
    assert scores["miou"].tolist() != metric.compute()["miou"].tolist()


@pytest.mark.parametrize("masks", UNDRAWN.values(), ids=UNDRAWN)
def test_a_validation_by_perfect_maps_gives_1_for_every_score(tmp_path, monkeypatch, masks):
    """Through the loader, the module and its metrics."""
    root = make_folder(tmp_path, labels="cat;dog", masks=masks)
    data = FolderDataModule(root=str(root), image_size=SIDE, batch_size=2, num_workers=0)
    module = GAIN(["cat", "dog"], SIDE)
    maps = torch.from_numpy(np.stack([CAT, DOG])).float()[:, None]

    def attend(image, label):
        return module(image), maps, label_pairs(label)

    monkeypatch.setattr(module, "attend", attend)
    monkeypatch.setattr(module, "place", lambda maps, size: maps)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        inference_mode=False,
        default_root_dir=tmp_path,
    )
    (scores,) = trainer.validate(module, datamodule=data, verbose=False)
    for name in ("seed_miou", "seed_miou_best", "energy", "pointing"):
        assert scores[f"val/{name}"] == 1, name


def test_an_undrawn_class_is_no_background_to_look_at(tmp_path):
    """In pictures, and where segmentations are scored: what is not the cat may be the dog."""
    root = make_folder(tmp_path, labels="cat;dog", masks=[("cat", CAT)])
    listing, _, problems, _ = read_folder(root)
    assert not problems
    index = listing.mask(0, (SIDE, SIDE))
    np.testing.assert_array_equal(index, np.where(CAT, 1 + listing.class_names.index("cat"), VOID))
