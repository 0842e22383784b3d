"""The data module of one's own pictures."""

import pytest
from fake_folder import NFC, NFD, mask, picture

from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.methods.gain import GAIN
from gain_lightning.training.experiment import run_experiment


def test_splits_become_train_val_and_test_sets(folder):
    data = FolderDataModule(root=str(folder), image_size=32, num_workers=0, batch_size=2)
    data.setup("fit")
    assert data.train_set.ids.tolist() == ["p0.jpg", "p1.jpg", "p2.jpg"]
    assert data.val_set.ids.tolist() == ["p3.jpg"]
    assert {name: one.ids.tolist() for name, one in data.test_sets.items()} == {
        "test": ["p4.jpg"],
        "night": ["p5.jpg"],
    }
    sample = data.val_set[0]
    assert sample["image"].shape == (3, 32, 32)
    assert sample["mask_class"].tolist() == [0]
    assert set(sample["mask"].unique().tolist()) == {0, 1, 255}


def test_without_a_test_split_the_main_scores_are_those_of_val(folder):
    (folder / "labels.csv").write_text((folder / "labels.csv").read_text().replace(",test", ",day"))
    data = FolderDataModule(root=str(folder), image_size=32, num_workers=0, batch_size=2)
    data.setup("test")
    assert {name: one.ids.tolist() for name, one in data.test_sets.items()} == {
        "val": ["p3.jpg"],
        "day": ["p4.jpg"],
        "night": ["p5.jpg"],
    }


def test_masked_stream_takes_masks_or_boxes(folder):
    for supervision, ids, classes in (("mask", ["p0.jpg"], [1]), ("box", ["p1.jpg"], [0, 1])):
        data = FolderDataModule(root=str(folder), image_size=32, mask_budget=1.0, supervision=supervision)
        data.setup("fit")
        assert data.masked_ids == ids
        assert data.masked_set[0]["mask_class"].tolist() == classes
        for own in data.masked_set[0]["mask"]:
            assert {0, 1} <= set(own.unique().tolist())


def test_boxes_that_overlap_are_whole_and_dilation_widens(folder):
    def share(dilation):
        data = FolderDataModule(
            root=str(folder), image_size=40, mask_budget=1, supervision="box", box_dilation=dilation
        )
        data.setup("fit")
        return [(mask == 1).float().mean().item() for mask in data.masked_set[0]["mask"]]

    assert share(1.0) == pytest.approx([200 / 1200, 35 * 25 / 1200], abs=0.03)
    # sides 1.4 times as long, where the picture ends: of 10 x 20 at the corner 12 x 24 stay, of 35 x 25 all to the ends
    assert share(1.4) == pytest.approx([12 * 24 / 1200, 40 * 30 / 1200], abs=0.03)


def test_class_folders_without_tables(tmp_path):
    root = tmp_path / "two"
    for number in range(10):
        picture(root / "images" / ("good", "bad")[number % 2] / f"{number}.png", number)
    data = FolderDataModule(root=str(root), image_size=32, batch_size=2)
    data.setup("fit")
    assert data.class_names == ("bad", "good")
    assert (len(data.train_set), len(data.val_set), list(data.test_sets)) == (8, 2, ["val"])
    rows = zip(data.train_set.ids.tolist(), data.train_set.labels, strict=True)
    assert all(label.tolist() == [int(name[:3] == "bad"), int(name[:3] == "goo")] for name, label in rows)
    again = FolderDataModule(root=str(root), image_size=32)
    again.setup("test")
    assert again.val_set.ids.tolist() == data.val_set.ids.tolist()


def test_a_budget_of_a_class_draws_masks_that_show_it(folder):
    """A label alone does not say that somebody drew its pixels."""
    mask(folder / "masks" / "p1.png", {2: (0, 0)})  # labelled dog and cat, drawn is the cat
    data = FolderDataModule(
        root=str(folder), image_size=32, mask_budget={"cat": 2}, batch_size=3, num_workers=0
    )
    data.setup("fit")
    assert sorted(data.masked_ids) == ["p0.jpg", "p1.jpg"]
    data = FolderDataModule(
        root=str(folder), image_size=32, mask_budget={"dog": 1}, batch_size=3, num_workers=0
    )
    with pytest.raises(ValueError, match="dog"):
        data.setup("fit")


def test_single_label_looks_at_every_set(tmp_path):
    root = tmp_path / "own"
    for number in range(6):
        picture(root / "images" / f"{number}.jpg", number)
    rows = "0.jpg,a,train\n1.jpg,b,train\n2.jpg,a,val\n3.jpg,a;b,val\n4.jpg,a,test\n5.jpg,,test\n"
    (root / "labels.csv").write_text("filename,classes,split\n" + rows)
    arguments = [
        "--data=FolderDataModule",
        f"--data.root={root}",
        "--data.image_size=32",
        "--data.batch_size=2",
    ]
    arguments += ["--data.num_workers=0", "--model.task=single_label", "--trainer.logger=false"]
    with pytest.raises(
        ValueError, match=r"1 images of validation do not have exactly one label, the first 3\.jpg"
    ):
        run_experiment(["fit", *arguments, f"--run_dir={tmp_path / 'run'}"])


def test_picture_damaged_after_the_start_is_named(folder):
    data = FolderDataModule(root=str(folder), image_size=32, num_workers=0, batch_size=3)
    data.setup("fit")
    (folder / "images" / "p1.jpg").write_bytes(b"gone")
    with pytest.raises(ValueError, match=r"p1\.jpg: not a readable picture"):
        next(iter(data.train_dataloader()))


def test_settings_name_classes_in_any_unicode_form(tmp_path):
    for number in range(6):
        picture(tmp_path / "images" / f"{number}.png", number)
        mask(tmp_path / "masks" / f"{number}.png", {1: (0, 0)})
    rows = "".join(f"{number}.png,{NFC},{'val' if number > 3 else 'train'}\n" for number in range(6))
    (tmp_path / "labels.csv").write_text("filename,classes,split\n" + rows)
    (tmp_path / "list.txt").write_text(f"2.png\t{NFD}\n")
    for budget, drawn in (({NFD: 2}, 2), (str(tmp_path / "list.txt"), 1)):
        data = FolderDataModule(root=str(tmp_path), accuracy_class=NFD, mask_budget=budget, image_size=8)
        data.setup("fit")
        assert (data.accuracy_class, len(data.masked_set)) == (NFC, drawn)
    assert GAIN([NFC, "cat"], 32, score_classes=[NFD]).scored == [0]
