"""The data of a run, and which of its pictures carry marks."""

import fake_folder
import numpy as np
import pytest
import yaml
from PIL import Image

from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.run_data import marked_pictures, open_run_data
from gain_lightning.datasets.shapes import ShapesDataModule

EVERYTHING = {"mask_budget": 1.0, "select_on": None}


def write_config(run, class_path, **settings):
    run.mkdir(exist_ok=True)
    (run / "config.yaml").write_text(
        yaml.safe_dump({"data": {"class_path": class_path, "init_args": settings}})
    )
    return run


def marks(images):
    return {images.ids[row]: images[row]["mask_class"].tolist() for row in range(len(images))}


@pytest.fixture
def folder(tmp_path):
    """Cats and dogs with boxes of one training picture, and masks of what ``masks`` names."""
    return fake_folder.make_folder(tmp_path / "data")


def test_the_run_is_opened_with_changes_and_at_another_place(tmp_path, folder):
    run = write_config(
        tmp_path / "run", "gain_lightning.datasets.folder.FolderDataModule",
        root="elsewhere", image_size=32, mask_budget=0, augmentation={"flip": 0.5},
    )  # fmt: skip
    data = open_run_data(run, str(folder), **EVERYTHING)
    assert isinstance(data, FolderDataModule)
    assert (str(data.root), data.image_size, data.mask_budget) == (str(folder), 32, 1.0)


def test_marks_are_as_they_are_and_not_as_the_training_changed_them(tmp_path):
    settings = {"num_train": 6, "void_border": 3, "box_dilation": 2.0, "mask_noise": {"dilate": 0.2}}
    run = write_config(tmp_path / "run", "ShapesDataModule", supervision="box", **settings)
    _, images = marked_pictures(open_run_data(run, **EVERYTHING), "train")
    for row in range(len(images)):
        for class_idx, mask in zip(images[row]["mask_class"], images[row]["mask"].numpy(), strict=True):
            np.testing.assert_array_equal(mask == 1, images.truth(row) == int(class_idx) + 1)


def test_shapes_lie_in_no_folder(tmp_path):
    run = write_config(tmp_path / "run", "ShapesDataModule", scene="camera")
    assert isinstance(open_run_data(run), ShapesDataModule)
    with pytest.raises(
        ValueError, match=r"--data there: .*config.yaml names ShapesDataModule, which lies in no"
    ):
        open_run_data(run, "there")


def test_a_config_without_data_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("model: {}\n")
    with pytest.raises(ValueError, match=r"names no data, expected the config\.yaml of a run"):
        open_run_data(tmp_path)


def test_training_pictures_are_all_marked_ones_as_they_are(tmp_path, folder):
    """Whatever the run trained with: its budget, its supervision and its augmentation."""
    data = FolderDataModule(root=str(folder), image_size=32, mask_budget=1.0)
    name, images = marked_pictures(data, "train")
    assert name == "train"
    assert set(marks(images)) == {str(images.ids[row]) for row in range(len(images))}
    for row in range(len(images)):
        np.testing.assert_array_equal(images[row]["image"].permute(1, 2, 0).numpy(), images.picture(row, 32))


def test_boxes_stand_in_where_there_is_no_mask(tmp_path):
    root = tmp_path / "boxed"
    for name in ("a", "b", "c", "d"):
        fake_folder.picture(root / "images" / f"{name}.png")
    (root / "labels.csv").write_text(
        "filename,classes,split\na.png,cat,train\nb.png,dog,val\nc.png,cat,test\nd.png,dog,train\n"
    )
    (root / "boxes.csv").write_text(
        "filename,class,xmin,ymin,xmax,ymax\na.png,cat,0,0,10,20\nb.png,dog,5,5,20,20\nc.png,cat,5,5,20,20\n"
    )
    data = FolderDataModule(root=str(root), image_size=32, mask_budget=1.0)
    classes = list(data.class_names)
    for split, found in (
        ("train", {"a.png": ["cat"]}),
        ("val", {"b.png": ["dog"]}),
        (None, {"c.png": ["cat"]}),
    ):
        name, images = marked_pictures(data, split)
        assert name == (split or "test")
        assert marks(images) == {key: [classes.index(one) for one in names] for key, names in found.items()}
    # the data module's own set is as it was
    assert data.test_sets["test"].supervision == "mask"


def test_a_split_without_marks_or_that_is_none_is_refused(tmp_path):
    root = tmp_path / "bare"
    (root / "images").mkdir(parents=True)
    for name in ("a", "b", "c"):
        Image.new("RGB", (8, 8)).save(root / "images" / f"{name}.png")
    (root / "labels.csv").write_text(
        "filename,classes,split\na.png,cat,train\nb.png,dog,val\nc.png,cat,test\n"
    )
    data = FolderDataModule(root=str(root), image_size=8, mask_budget=1.0)
    for split in ("train", "val", "test"):
        with pytest.raises(ValueError, match=f"no picture of {split} has a mask or a box"):
            marked_pictures(data, split)
    with pytest.raises(ValueError, match="there is no split 'night', expected one of train, val, test"):
        marked_pictures(data, "night")


def test_classes_that_are_grounds_are_refused(folder):
    data = FolderDataModule(root=str(folder), image_size=32, mask_budget=1.0, supervision="outside_box")
    for split in ("train", None):
        with pytest.raises(ValueError, match="the classes are grounds; expected classes of objects"):
            marked_pictures(data, split)


def test_shapes_have_every_split():
    data = ShapesDataModule(num_train=6, num_val=4, num_test=5, num_biased=3, mask_budget=1.0)
    sizes = {"train": 6, "val": 4, None: 5, "water_without_boat": 3}
    for split, size in sizes.items():
        name, images = marked_pictures(data, split)
        assert (name, len(images)) == (split or "test", size)
        assert images[0]["mask"].shape[0] > 0
