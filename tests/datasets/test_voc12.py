import shutil

import numpy as np
import pytest
from fake_voc import make_voc
from PIL import Image

from gain_lightning.cli import main
from gain_lightning.datasets.image_set import ImageSet
from gain_lightning.datasets.streams import Draw
from gain_lightning.datasets.transforms import Augmentation
from gain_lightning.datasets.voc12 import (
    CLASSES,
    VOC12DataModule,
    check_voc,
    find_root,
    read_annotation,
    read_voc,
)


@pytest.fixture
def root(tmp_path):
    return make_voc(tmp_path)


def open_voc(root, rows=None, augmentation=None, supervision="mask", split="train"):
    listing, problems = read_voc(root, split, "SegmentationClass")
    assert problems == []
    listing = listing if rows is None else listing.take(np.array(rows))
    return ImageSet(listing, image_size=32, augmentation=augmentation, supervision=supervision)


def test_labels_come_from_annotations_not_from_masks(root):
    label, _ = read_annotation(
        root / "Annotations" / "2012_000000.xml"
    )  # its mask shows a cat, its annotation also lists a person
    assert [CLASSES[index] for index in np.flatnonzero(label)] == ["cat", "person"]


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_root_is_found_from_any_of_its_folders(root, below):
    assert find_root(str(root.parent.parent / below)) == root


def test_missing_root_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a folder with JPEGImages/"):
        VOC12DataModule(root=str(tmp_path))


def test_sample_values(root):
    sample = open_voc(root, [1])[0]
    assert sample["image"].shape == (3, 32, 32)
    assert sample["label"].nonzero().flatten().tolist() == [CLASSES.index("dog")]
    assert sample["mask_class"].tolist() == [CLASSES.index("dog")]
    assert set(sample["mask"].unique().tolist()) == {0, 1, 255}
    inside = sample["mask"][0] == 1
    assert sample["image"][1][inside].float().mean() > 180  # green square of image 1
    assert sample["image"][0][inside].float().mean() < 80


def test_augmentation_depends_on_visit_and_index_not_on_the_order_of_calls(root):
    def images(order):
        dataset = open_voc(root, augmentation=Augmentation(), supervision="none")
        return {visit: dataset[Draw(2, visit)]["image"].numpy() for visit in order}

    forward, backward = images(range(8)), images(reversed(range(8)))
    for visit in range(8):
        np.testing.assert_array_equal(forward[visit], backward[visit])
    flips = {forward[visit].tobytes() for visit in range(8)}
    assert len(flips) == 2  # as it is, and flipped


def test_flip_moves_image_and_mask_together(root):
    dataset = open_voc(root, [1], augmentation=Augmentation())
    for visit in range(6):
        sample = dataset[Draw(0, visit)]
        assert sample["mask_class"].tolist() == [CLASSES.index("dog")]
        assert sample["image"][1][sample["mask"][0] == 1].float().mean() > 180


def test_split_lists_and_budget(root):
    data = VOC12DataModule(root=str(root), image_size=32, mask_budget=3, mask_seed=1)
    data.setup("fit")
    assert (len(data.train_set), len(data.masked_set), len(data.val_set)) == (8, 3, 4)
    assert data.train_set[0]["mask"].shape == (0, 32, 32)


def test_budget_larger_than_the_set_is_refused(root):
    data = VOC12DataModule(root=str(root), mask_budget=9)
    with pytest.raises(
        ValueError, match=r"mask_budget asks for 9 images, but there are 8 training images that have pixels"
    ):
        data.setup("fit")


def _set_up(root):
    VOC12DataModule(root=str(root), image_size=32).setup("fit")


def test_missing_image_is_named_before_training(root):
    (root / "JPEGImages" / "2012_000003.jpg").unlink()
    with pytest.raises(ValueError, match=r"2012_000003\.jpg: missing"):
        _set_up(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object><name>unicorn</name></object></annotation>", "unknown class 'unicorn'"),
        ("<annotation><object>", "not an XML annotation"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "declares a document type"),
    ],
)
def test_bad_annotation_names_its_file(root, text, message):
    (root / "Annotations" / "2012_000002.xml").write_text(text)
    with pytest.raises(ValueError, match=rf"2012_000002\.xml: {message}"):
        _set_up(root)


def test_missing_annotation_names_its_file(root):
    (root / "Annotations" / "2012_000002.xml").unlink()
    with pytest.raises(ValueError, match=r"2012_000002\.xml: missing \(train_aug\.txt:3 lists its image\)"):
        _set_up(root)


def test_bad_masks_name_their_file(root):
    def read(mask: Image.Image):
        mask.save(root / "SegmentationClass" / "2012_000001.png")
        return open_voc(root, [1])[0]

    with pytest.raises(
        ValueError, match=r"2012_000001\.png: mask of 10 x 10 pixels, but its picture has 60 x 48"
    ):
        read(Image.fromarray(np.zeros((10, 10), np.uint8)))
    with pytest.raises(ValueError, match=r"2012_000001\.png: class index 21 is out of range"):
        read(Image.fromarray(np.full((48, 60), 21, np.uint8)))


def test_real_subset_has_the_published_counts(voc_root):
    data = VOC12DataModule(root=str(voc_root), image_size=64, mask_budget=0.1)
    data.setup("fit")
    assert (len(data.train_set), len(data.val_set), len(data.masked_ids)) == (3131, 445, 314)
    counts = dict(zip(CLASSES, data.val_set.labels.sum(0).tolist(), strict=True))
    assert {name: counts[name] for name in ("dog", "cat", "person", "aeroplane")} == {
        "dog": 128, "cat": 119, "person": 89, "aeroplane": 0,
    }  # fmt: skip


def test_masks_of_a_split_are_checked_before_training(root):
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(root / "SegmentationClass" / "2012_000009.png")
    with pytest.raises(ValueError, match=r"2012_000009\.png: mask of 10 x 10 pixels"):
        _set_up(root)


def test_folder_without_masks_is_named(root):
    data = VOC12DataModule(root=str(root), image_size=32, mask_budget=2, mask_folder="SegmentatonClass")
    with pytest.raises(FileNotFoundError, match=r"data\.mask_folder: .*SegmentatonClass has no mask"):
        data.setup("fit")


BROKEN = {
    "missing image": (
        lambda root: (root / "JPEGImages" / "2012_000003.jpg").unlink(),
        r"2012_000003\.jpg: missing",
    ),
    "image of text": (
        lambda root: (root / "JPEGImages" / "2012_000003.jpg").write_text("no"),
        r"2012_000003\.jpg: not a readable picture",
    ),
    "list twice": (
        lambda root: _append(root, "2012_000003"),
        r"train_aug\.txt:9: 2012_000003 is a duplicate of line 4",
    ),
    "list leaves": (
        lambda root: _append(root, "../../x"),
        r"train_aug\.txt:9: '\.\./\.\./x' leaves the data folder",
    ),
    "box turned round": (
        lambda root: _annotate(
            root, "<bndbox><xmin>9</xmin><ymin>1</ymin><xmax>2</xmax><ymax>4</ymax></bndbox>"
        ),
        r"2012_000003\.xml: box \(9\.0, 1\.0, 2\.0, 4\.0\) of dog",
    ),
    "box without a side": (
        lambda root: _annotate(root, "<bndbox><xmin>9</xmin></bndbox>"),
        r"2012_000003\.xml: the box of dog is incomplete",
    ),
    "bomb in another encoding": (
        lambda root: (root / "Annotations" / "2012_000003.xml").write_bytes(
            '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb">]><annotation>&b;</annotation>'.encode(
                "utf-16"
            )
        ),
        r"2012_000003\.xml: declares a document type",
    ),
    "foreign file": (
        lambda root: (root / "Annotations" / "2012_000003.xml").write_text(
            '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>'
        ),
        r"2012_000003\.xml: declares a document type",
    ),
}


def _append(root, line):
    with (root / "ImageSets" / "Segmentation" / "train_aug.txt").open("a") as file:
        file.write(f"{line}\n")


def _annotate(root, box):
    text = f"<annotation><object><name>dog</name>{box}</object></annotation>"
    (root / "Annotations" / "2012_000003.xml").write_text(text)


@pytest.mark.parametrize("case", BROKEN)
def test_problem_is_named_by_check_and_stops_fit_with_the_same_words(root, case, capsys):
    damage, message = BROKEN[case]
    assert main(["data", "check", str(root)]) == 0
    capsys.readouterr()
    damage(root)
    assert main(["data", "check", str(root)]) == 1
    printed = capsys.readouterr().out
    with pytest.raises(ValueError, match=message) as stopped:
        _set_up(root)
    assert all(line.strip() in printed for line in str(stopped.value).splitlines()[1:])


def test_boxes_are_those_of_the_annotation(root):
    _annotate(root, "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax></bndbox>")
    _, boxes = read_annotation(root / "Annotations" / "2012_000003.xml")
    assert boxes.corners.tolist() == [[0, 1, 10, 20]]
    data = VOC12DataModule(root=str(root), image_size=48, mask_budget=1, supervision="box")
    data.setup("fit")
    assert data.masked_ids == ["2012_000003"]
    assert data.masked_set[0]["mask_class"].tolist() == [CLASSES.index("dog")]
    share = (data.masked_set[0]["mask"] == 1).float().mean().item()
    assert share == pytest.approx(10 * 19 / (60 * 48), abs=0.01)


def test_test_images_have_no_labels(root):
    (root / "ImageSets" / "Segmentation" / "test.txt").write_text("2012_000001\n2012_000002\n")
    (root / "Annotations" / "2012_000001.xml").unlink()
    data = VOC12DataModule(root=str(root), image_size=32, num_workers=0)
    data.setup("predict")
    (batch,) = data.predict_dataloader()
    assert batch["id"] == ["2012_000001", "2012_000002"]
    assert not batch["label"].any()
    assert batch["mask"].shape == (0, 32, 32)


def test_further_test_sets_are_folders(root, tmp_path):
    folder = tmp_path / "dry"
    (folder / "images").mkdir(parents=True)
    for number in range(2):
        Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(folder / "images" / f"{number}.png")
    (folder / "labels.csv").write_text("filename,classes\n0.png,boat\n1.png,\n")
    data = VOC12DataModule(
        root=str(root), image_size=32, test_folders={"dry": str(folder)}, accuracy_class="boat"
    )
    data.setup("test")
    assert list(data.test_sets) == ["val", "dry"]
    assert data.test_sets["dry"].labels.sum(0).nonzero()[0].tolist() == [CLASSES.index("boat")]


def test_a_box_far_beyond_its_picture_and_a_foreign_document_are_problems(root):
    annotation = root / "Annotations" / "2012_000002.xml"
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>900</xmax><ymax>9</ymax></bndbox>"
    annotation.write_text(f"<annotation><object><name>person</name>{box}</object></annotation>")
    problems = [str(problem) for problem in check_voc(root)[1]]
    assert any("2012_000002.xml: box (" in problem and "reaches beyond" in problem for problem in problems)
    for broken, words in (
        ("<html/>", "holds <html>, expected <annotation>"),
        ("<?xml version='1.0' encoding='foo'?><a/>", "not an XML annotation"),
    ):
        annotation.write_text(broken)
        problems = [str(problem) for problem in check_voc(root)[1]]
        assert any("2012_000002.xml: " + words in problem for problem in problems)


def test_a_folder_without_lists_is_a_problem(root, capsys):
    shutil.rmtree(root / "ImageSets")
    assert main(["data", "check", str(root)]) == 1
    assert "no list train, train_aug, val or test" in capsys.readouterr().out


def test_a_test_folder_named_like_a_score_is_refused(root):
    with pytest.raises(ValueError, match="'accuracy' is the name of a score"):
        VOC12DataModule(root=str(root), test_folders={"accuracy": "x"})
