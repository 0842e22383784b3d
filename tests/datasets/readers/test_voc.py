"""PASCAL VOC 2012 in its own layout: what is read, and what is wrong with it."""

import shutil

import numpy as np
import pytest
from fake_voc import NAMES, make_voc
from PIL import Image

from gain_lightning.cli import main
from gain_lightning.datasets.image_set import ImageSet
from gain_lightning.datasets.readers.voc import CLASSES, check_voc, find_root, read_annotation, read_voc
from gain_lightning.datasets.voc12 import VOC12DataModule


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


def _problems(root):
    return [str(problem) for problem in check_voc(root)[1]]


def _annotate_all(root, boxes, size=""):
    """Give every picture the same object, at ``boxes`` in turn, four numbers each."""
    for number, path in enumerate(sorted((root / "Annotations").glob("*.xml"))):
        name = NAMES[number % 3]
        box = "".join(
            f"<{key}>{value}</{key}>"
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), boxes[number % len(boxes)], strict=True)
        )
        text = f"<annotation>{size}<object><name>{name}</name><bndbox>{box}</bndbox></object></annotation>"
        path.write_text(text)


def test_relative_boxes_are_a_problem_of_each_file_and_stop_fit(root):
    _annotate_all(root, [(0.21, 0.3, 0.55, 0.82), (0.1, 0.1, 1.0, 1.0), (1, 1, 1, 1)])
    problems = _problems(root)
    relative = [problem for problem in problems if "lies within 0..1: relative? expected pixels" in problem]
    assert len(problems) == len(relative) == 12
    assert f"{root}/Annotations/2012_000000.xml: box (0.21, 0.3, 0.55, 0.82) lies" in relative[0]
    assert "2012_000000 (60 x 48 pixels)" in relative[0]
    with pytest.raises(
        ValueError, match=r"2012_000000\.xml: box \(0\.21, 0\.3, 0\.55, 0\.82\) lies within 0\.\.1"
    ):
        _set_up(root)


def test_a_box_of_the_first_pixel_alone_is_one(root):
    _annotate_all(root, [(1, 1, 1, 1), (1, 1, 30, 30), (4.5, 2.5, 20.5, 30.5)])
    assert _problems(root) == []


def test_boxes_in_percent_are_a_problem(tmp_path):
    """In 640 x 480 pixels, no box of many would lie in the upper left corner alone."""
    root = make_voc(tmp_path, size=(640, 480))
    percent = [(5, 10, 40, 60), (50.5, 40, 99, 95), (20, 2, 60, 30.5), (60, 60, 80, 100)]
    _annotate_all(root, percent)
    (problem, *others) = [problem for problem in _problems(root) if "percent? expected pixels" in problem]
    assert f"{root}/Annotations/2012_0000" in problem
    assert len(others) <= 2  # one a list, and lists share pictures
    for fine in (
        [(32, 48, 256, 288), (320, 192, 634, 456), (128, 10, 384, 145), (384, 288, 512, 480)],  # in pixels
        [(5, 5, 90, 40), (6, 5, 91, 40)],  # a mark in the corner of every picture
    ):
        _annotate_all(root, fine)
        assert _problems(root) == []


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("<width>60</width><height>48</height><depth>1</depth>", None),
        ("<width> 60.0 </width><height>48</height>", None),
        ("", None),
        ("<width>0</width><height>0</height><depth>0</depth>", "0 x 0"),
        ("<width>48</width><height>60</height>", "48 x 60"),
        ("<width>120</width><height>96</height>", "120 x 96"),
        ("<width>60</width>", "60 x nothing"),
        ("<width>sixty</width><height>48</height>", "sixty x 48"),
        ("<width>nan</width><height>48</height>", "nan x 48"),
        ("<width/><height/>", "nothing x nothing"),
    ],
)
def test_a_size_that_contradicts_the_picture_is_a_problem(root, size, words):
    _annotate_all(root, [(1, 1, 40, 40)], f"<size>{size}</size>")
    expected = f"its <size> is {words} pixels, but its picture has 60 x 48"
    problems = _problems(root)
    assert len(problems) == (12 if words else 0)
    assert all(expected in problem for problem in problems)
    assert all(("as EXIF turns it" in problem) == (words == "48 x 60") for problem in problems)
    if words:
        with pytest.raises(ValueError, match=expected):
            _set_up(root)


def _turn_by_exif(root, image_id, orientation=6):
    """The picture is shown 48 wide and 60 high from now on."""
    path = root / "JPEGImages" / f"{image_id}.jpg"
    exif = Image.Exif()
    exif[274] = orientation
    with Image.open(path) as image:
        image.load()
    image.save(path, exif=exif)


def test_marks_of_a_picture_that_exif_turns_are_of_the_turned_frame(root):
    _turn_by_exif(root, "2012_000003")
    _annotate_all(root, [(1, 1, 40, 40)], "<size><width>60</width><height>48</height></size>")
    problems = _problems(root)
    hint = "turned? Marks are of the picture as EXIF turns it, not as it is stored"
    assert sorted(problems) == sorted(
        [
            f"{root}/Annotations/2012_000003.xml: its <size> is 60 x 48 pixels, but its picture has 48 x 60; {hint}",
            f"{root}/SegmentationClass/2012_000003.png: mask of 60 x 48 pixels, but its picture has 48 x 60; {hint}",
            f"{root}/SegmentationClassAug/2012_000003.png: mask of 60 x 48 pixels, but its picture has 48 x 60; {hint}",
        ]
    )
    for kind in ("SegmentationClass", "SegmentationClassAug"):
        path = root / kind / "2012_000003.png"
        with Image.open(path) as mask:
            mask.transpose(Image.Transpose.ROTATE_270).save(path)
    annotation = root / "Annotations" / "2012_000003.xml"
    annotation.write_text(annotation.read_text().replace("60", "?").replace("48", "60").replace("?", "48"))
    assert _problems(root) == []
    sample = open_voc(root, [3])[0]  # a cat, red
    (mask,) = sample["mask"]
    assert sample["image"][0][mask == 1].float().mean() > 180


@pytest.mark.parametrize("damage", ["gone", "PNG", "jpg"])
def test_masks_that_a_list_names_and_that_are_not_there_are_problems(root, damage):
    for image_id in ("2012_000002", "2012_000009"):
        for kind in ("SegmentationClass", "SegmentationClassAug"):
            path = root / kind / f"{image_id}.png"
            path.unlink() if damage == "gone" else path.rename(path.with_suffix(f".{damage}"))
    hint = "" if damage == "gone" else f"; 2012_00000{{}}.{damage} is not read, names of masks end in .png"
    assert _problems(root) == [
        f"{root}/SegmentationClass/2012_000002.png: missing (train.txt:3 lists its image)" + hint.format(2),
        f"{root}/SegmentationClassAug/2012_000002.png: missing (train_aug.txt:3 lists its image)"
        + hint.format(2),
        f"{root}/SegmentationClass/2012_000009.png: missing (val.txt:2 lists its image)" + hint.format(9),
    ]
    with pytest.raises(ValueError, match=r"2012_000009\.png: missing \(val\.txt:2 lists its image\)"):
        _set_up(root)


def test_a_folder_of_masks_that_is_gone_is_one_problem_for_each_list(root):
    shutil.rmtree(root / "SegmentationClass")
    assert _problems(root) == [
        f"{root}/SegmentationClass: no mask here of any of 8 images that have one, as train.txt:1",
        f"{root}/SegmentationClass: no mask here of any of 4 images that have one, as val.txt:1",
    ]


def _save_mask(path, mask, palette=None):
    image = Image.fromarray(mask)
    if palette is not None:
        image = image.convert("P")
        image.putpalette(np.asarray(palette, np.uint8).tobytes())
    image.save(path)


def _voc_colours():
    """VOC's own colours, from its development kit's bit shifts."""
    colours = np.zeros((256, 3), np.uint8)
    for index in range(256):
        rest = index
        for shift in range(7, -1, -1):
            for channel in range(3):
                colours[index, channel] |= (rest >> channel & 1) << shift
            rest >>= 3
    return colours


def test_a_palette_that_a_tool_reordered_is_a_problem(root):
    """The cat of picture 0: its index is 8, and person's is 15."""
    path, colours = root / "SegmentationClass" / "2012_000000.png", _voc_colours()
    with Image.open(path) as image:
        mask = np.array(image)
    swapped = colours.copy()
    swapped[[8, 15]] = colours[[15, 8]]
    shortened = colours[[0, 8, 255]]  # of the colours that occur
    few = np.zeros_like(mask)
    few[mask == 8], few[mask == 255] = 1, 2
    person = np.where(mask == 8, 15, mask).astype(np.uint8)
    for values, palette, words in (
        (mask, swapped, "its index 8 (cat) is painted in VOC's colour of 15 (person)"),
        (person, swapped, "its index 15 (person) is painted in VOC's colour of 8 (cat)"),
        (few, shortened, "its index 1 (aeroplane) is painted in VOC's colour of 8 (cat)"),
        (
            np.where(mask == 255, 1, 0).astype(np.uint8),
            colours[[0, 255]],
            "its index 1 (aeroplane) is painted in VOC's",
        ),
    ):
        _save_mask(path, values, palette)
        assert [words in problem for problem in _problems(root) if "palette was reordered" in problem] == [
            True
        ]
    for values, palette in ((mask, colours), (mask, None), (mask, 255 - swapped), (mask, colours[:, ::-1])):
        _save_mask(path, values, palette)
        assert _problems(root) == []


def test_a_mask_must_show_a_class_of_its_picture(root):
    """Others may be there too: SBD's masks show more than VOC's labels name."""
    path = root / "SegmentationClass" / "2012_000001.png"  # of a dog
    with Image.open(path) as image:
        mask = np.array(image)
    horse, dog = CLASSES.index("horse") + 1, CLASSES.index("dog") + 1
    both = mask.copy()
    both[:5] = horse
    for values, words in (
        (mask, None),
        (both, None),
        (np.where(mask == dog, horse, mask), "shows horse, which the label of 2012_000001 lacks"),
        (np.where(mask == dog, 0, mask), "shows no pixel of a class, but 2012_000001 has a label"),
        (np.where(mask == dog, 255, mask), "shows no pixel of a class, but 2012_000001 has a label"),
    ):
        _save_mask(path, values.astype(np.uint8))
        problems = _problems(root)
        assert len(problems) == (1 if words else 0)
        assert all(f"{path}: {words}" in problem for problem in problems)
    (root / "Annotations" / "2012_000001.xml").unlink()  # nothing is known that a mask could contradict
    assert {problem.split(": ")[1].split(" (")[0] for problem in _problems(root)} == {"missing"}


def test_real_subset_has_no_problem(voc_root):
    assert check_voc(find_root(str(voc_root)))[1] == []
