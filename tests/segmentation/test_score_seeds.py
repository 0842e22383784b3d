"""``gain seeds score``: how cues, masks and maps are judged."""

import json
import shutil

import numpy as np
import pytest
import torch
from fake_coco import SQUARE, an_object, make_coco
from fake_folder import SIZE
from PIL import Image

from gain_lightning.cli import main
from gain_lightning.constants import VOID
from gain_lightning.datasets.readers.voc import CLASSES
from gain_lightning.segmentation.score_seeds import score_seeds

# Scores ---------------------------------------------------------------------------------------------------


def test_scores_by_hand(tmp_path, capsys):
    """One image, 2 x 2 cues over a mask of 4 x 4: cells are judged by the pixel at their centre."""
    mask = np.zeros((4, 4), np.uint8)
    mask[:2] = 1
    mask[2:, 2:] = VOID
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / "x.png")
    np.savez(tmp_path / "cues.npz", x=np.array([[1, VOID], [1, 0]], np.uint8))
    arguments = ["seeds", "score", str(tmp_path / "cues.npz"), "--masks", str(tmp_path / "masks")]
    assert main([*arguments, "--json", str(tmp_path / "s.json")]) == 0
    result = json.loads((tmp_path / "s.json").read_text())
    # the cell under void is left out; cell (0, 0) is right, (0, 1) has no cue, (1, 0) is wrong
    assert result["classes"]["class 1"] == {"precision": 0.5, "recall": 0.5, "iou": 0.333333, "coverage": 0.5}
    assert result["classes"]["background"] == {"precision": None, "recall": 0.0, "iou": 0.0, "coverage": 1.0}
    assert "mean of 1 class " in capsys.readouterr().out


def test_maps_of_others_are_scored_at_every_threshold(tmp_path):
    """Tensors as others save them; at 0.2 the strongest class wins, elsewhere is background."""
    mask = np.array([[0, 1, 1, 2]], np.uint8)
    (tmp_path / "masks").mkdir()
    (tmp_path / "maps").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / "x.png")
    maps = torch.tensor([[[0.1, 0.5, 0.9, 0.6]], [[0.0, 0.4, 0.1, 0.3]]])
    np.save(
        tmp_path / "maps" / "x.npy", {"keys": torch.tensor([0, 1]), "cam": maps, "high_res": maps.numpy()}
    )
    result = score_seeds(tmp_path / "maps", tmp_path / "masks", ["cat", "dog"])
    # at 0.2: background 1/1, cat 2/3, dog 0/1; at 0.05 pixel 0 is a cat too
    at = result["thresholds"]
    assert at["0.2"]["miou"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert at["0.05"]["miou"] == pytest.approx((0 + 2 / 4 + 0) / 3)
    # nothing is called a dog, so only the cats have a precision
    assert (at["0.2"]["precision"], at["0.2"]["recall"]) == pytest.approx((2 / 3, 1 / 2), abs=1e-6)


def test_annotations_of_another_tool_take_the_place_of_masks(tmp_path):
    """Their classes have an order of their own, cat and dog, and void pixels count nowhere."""
    crowd = {"size": list(SIZE), "counts": [1140, 60]}
    objects = [an_object(0, 7, SQUARE), an_object(0, 7, crowd, iscrowd=1), an_object(1, 0, SQUARE)]
    file = make_coco(tmp_path / "set", objects)
    (tmp_path / "found").mkdir()
    for name, index in (("p0", 1), ("p1", 2), ("p2", 1)):
        cue = np.full(SIZE, 0, np.uint8)
        cue[4:13, 3:8] = index
        cue[:, -2:] = index
        Image.fromarray(cue).save(tmp_path / "found" / f"{name}.png")
    result = score_seeds(tmp_path / "found", file, ["dog", "cat"])
    assert (result["num_images"], result["num_without_mask"]) == (2, 1)
    # half of each square is found; 60 further pixels are void for the dog and wrong for the cat
    assert result["classes"]["dog"]["iou"] == pytest.approx(45 / 90)
    assert result["classes"]["cat"]["iou"] == pytest.approx(45 / 150)
    assert main(["seeds", "score", str(tmp_path / "found"), "--masks", str(file)]) == 0
    with pytest.raises(ValueError, match="class 'cat', expected one of dog"):
        score_seeds(tmp_path / "found", file, ["dog"])


def test_a_background_that_is_asked_for_counts_once(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.array([[0, 1, 1, 0]], np.uint8)).save(tmp_path / "masks" / "x.png")
    np.save(tmp_path / "maps" / "x.npy", {"keys": np.array([0]), "high_res": np.array([[[0.0, 1, 0, 0]]])})
    result = score_seeds(tmp_path / "maps", tmp_path / "masks", ["cat"], ["background", "cat"])
    assert result["thresholds"]["0.2"]["miou"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_what_does_not_fit_is_named(tmp_path, capsys):
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "masks" / "x.png")
    score = ["seeds", "score", str(tmp_path / "c"), "--masks", str(tmp_path / "masks")]
    assert main(score) == 1
    assert "no cues here" in capsys.readouterr().err
    (tmp_path / "c").mkdir()
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(tmp_path / "c" / "x.png")
    assert main(score) == 1
    assert "(5, 4) pixels, expected (4, 4)" in capsys.readouterr().err
    (tmp_path / "c" / "x.png").rename(tmp_path / "c" / "y.png")
    assert main(score) == 1
    assert f"no image has both a cue and a mask: expected masks such as {tmp_path / 'masks' / 'y.png'}" in (
        capsys.readouterr().err
    )
    maps = np.zeros((1, 4, 4), np.float32)
    (tmp_path / "c" / "z").mkdir()
    np.save(tmp_path / "c" / "z" / "x.npy", {"keys": np.array([0]), "high_res": maps})
    assert main(score) == 1
    assert (
        f"no map has a mask: expected such as {tmp_path / 'masks' / 'z' / 'x.png'}" in capsys.readouterr().err
    )


def test_the_mean_leaves_out_the_background_alone(tmp_path):
    """Neither cue nor mask shows any."""
    np.savez(tmp_path / "c.npz", x=np.ones((2, 2), np.uint8))
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.ones((4, 4), np.uint8)).save(tmp_path / "masks" / "x.png")
    result = score_seeds(tmp_path / "c.npz", tmp_path / "masks")
    assert (result["mean_over"], result["mean"]["iou"]) == (["class 1"], 1)


def test_published_cues_give_their_known_scores():
    """Precision 0.771 at recall 0.282 over eight classes, background 0.929 and 0.139: measured apart from this code."""
    import os
    from pathlib import Path

    if "GAIN_VOC_ROOT" not in os.environ:
        pytest.skip("GAIN_VOC_ROOT names no VOC")
    root = Path(os.environ["GAIN_VOC_ROOT"])
    if not (root / "sec_cues.npz").is_file():
        pytest.skip("no published cues beside the images")
    masks = next(root.rglob("SegmentationClassAug"))
    names = ["cat", "dog", "horse", "cow", "sheep", "person", "chair", "sofa"]
    result = score_seeds(root / "sec_cues.npz", masks, list(CLASSES), names)
    assert result["mean"]["precision"] == pytest.approx(0.771, abs=5e-4)
    assert result["mean"]["recall"] == pytest.approx(0.282, abs=5e-4)
    assert result["classes"]["background"]["precision"] == pytest.approx(0.929, abs=5e-4)
    assert result["classes"]["background"]["recall"] == pytest.approx(0.139, abs=5e-4)


# A user's slips ---------------------------------------------------------------------------------------------


def test_the_classes_are_judged_at_the_threshold_of_the_chosen_mean(tmp_path, capsys):
    """Cats are best cut at 0.5, dogs at 0.05: the table, its mean and the best are of the classes asked for."""
    mask = np.array([[0, 0, 1, 1, 2, 2, 2, 2]], np.uint8)
    (tmp_path / "masks").mkdir()
    (tmp_path / "maps").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / "x.png")
    maps = np.zeros((2, 1, 8), np.float32)
    maps[0, 0, :4] = [0.5, 0.5, 0.9, 0.9]
    maps[1, 0, 4:] = 0.1
    np.save(tmp_path / "maps" / "x.npy", {"keys": np.array([0, 1]), "cam": maps, "high_res": maps})
    (tmp_path / "names.txt").write_text("cat\ndog")  # no newline behind the last
    options = ["--masks", str(tmp_path / "masks"), "--class_names", str(tmp_path / "names.txt")]
    score = ["seeds", "score", str(tmp_path / "maps"), *options, "--json", str(tmp_path / "s.json")]
    for mean_over, threshold, iou in [("cat", 0.5, 1), ("dog", 0.05, 1)]:
        assert main([*score, "--mean_over", mean_over]) == 0
        result = json.loads((tmp_path / "s.json").read_text())
        assert (result["threshold"], result["mean"]["iou"]) == (threshold, iou)
        assert f"percent of maps cut at {threshold}" in capsys.readouterr().out


def scored_maps(folder, keys, *, mask, names=("cat", "dog", "cow"), maps=None):
    """Scores of one image's maps in a row of pixels, each as strong."""
    (folder / "masks").mkdir(exist_ok=True)
    (folder / "maps").mkdir(exist_ok=True)
    Image.fromarray(np.array([mask], np.uint8)).save(folder / "masks" / "x.png")
    maps = np.ones((len(keys), 1, len(mask)), np.float32) if maps is None else maps
    np.save(folder / "maps" / "x.npy", {"keys": np.array(keys), "high_res": maps})
    return score_seeds(folder / "maps", folder / "masks", list(names))


def test_maps_that_count_classes_from_1_are_refused(tmp_path):
    """And a class that there is not is named with its file."""
    assert scored_maps(tmp_path, [0], mask=[1, 1])["mean"]["iou"] == 1
    assert scored_maps(tmp_path, [0, 1], mask=[1, 1])["mean"]["recall"] == 1  # a dog that is not there
    with pytest.raises(
        ValueError, match="counted from 1, 1 keys of 1 images name a class of the mask, counted from 0 0:"
    ):
        scored_maps(tmp_path, [1], mask=[1, 1])
    with pytest.raises(ValueError, match="counted from 1, 2 keys of 1 images"):
        scored_maps(tmp_path, [1, 2], mask=[1, 2])  # neighbours, so that one of them fits counted from 0 too
    with pytest.raises(ValueError, match=r"x\.npy: has key 3, expected 0 to 2"):
        scored_maps(tmp_path, [3], mask=[1, 1])
    with pytest.raises(ValueError, match=r"x\.png: shows class 4, but there are 3"):
        scored_maps(tmp_path, [2], mask=[4, 4])


def test_maps_that_are_not_finite_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"x\.npy: .* 2 values that are not finite"):
        scored_maps(tmp_path, [0], mask=[1, 1], maps=np.full((1, 1, 2), np.nan, np.float32))


def test_maps_that_are_not_scaled_and_keys_that_are_no_indices_are_named(tmp_path):
    """At thresholds between 0 and 1 every pixel of them would be a class."""
    maps = np.array([[[20.0, 80.0]]], np.float32)
    with pytest.raises(
        ValueError, match=r"x\.npy: .* from 0 to 80, expected 0 to 1: each divided by its maximum"
    ):
        scored_maps(tmp_path, [0], mask=[1, 1], maps=maps)
    with pytest.raises(ValueError, match=r"x\.npy: .* from -20 to 0, expected 0 to 1"):
        scored_maps(tmp_path, [0], mask=[1, 1], maps=-maps / 4)
    with pytest.raises(ValueError, match=r"x\.npy: .*keys are \[0\.9\], expected whole numbers"):
        scored_maps(tmp_path, [0.9], mask=[1, 1])
    assert scored_maps(tmp_path, [0.0], mask=[1, 1], maps=maps / 80 * 1.0005)["mean"]["iou"] == 1


def test_every_threshold_is_judged_by_the_same_classes(tmp_path):
    """A dog that is not there is called so below 0.3 alone: that costs the cat, and leaves the mean its classes."""
    maps = np.array([[[1.0, 0.4, 0.0, 0.0]], [[0.0, 0.0, 0.3, 0.0]]], np.float32)
    result = scored_maps(tmp_path, [0, 1], mask=[1, 1, 1, 0], maps=maps)
    assert result["mean_over"] == ["cat"]
    # background: 1 right, then 1 of 2 claimed, then 1 of 3
    at = {threshold: values["miou"] for threshold, values in result["thresholds"].items()}
    assert at["0.25"] == pytest.approx((1 + 2 / 3) / 2)
    assert at["0.3"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert at["0.4"] == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert result["threshold"] < 0.3
    assert result["classes"]["dog"]["precision"] == 0


@pytest.mark.parametrize(
    ("names", "wrong"), [("background\ncat\ndog", "background"), ("cat\ndog\ncat", "cat")]
)
def test_names_that_would_shift_the_classes_are_refused(tmp_path, capsys, names, wrong):
    (tmp_path / "names.txt").write_text(names)
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.array([[1, 2]], np.uint8)).save(tmp_path / "masks" / "x.png")
    np.savez(tmp_path / "c.npz", x=np.array([[1, 2]], np.uint8))
    score = ["seeds", "score", str(tmp_path / "c.npz"), "--masks", str(tmp_path / "masks")]
    assert main([*score, "--class_names", str(tmp_path / "names.txt")]) == 1
    assert f"names.txt: '{wrong}', expected every class from 1 on once, and no background" in (
        capsys.readouterr().err
    )


def test_a_class_asked_for_twice_counts_once(tmp_path):
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.array([[1, 1, 2, 2]], np.uint8)).save(tmp_path / "masks" / "x.png")
    np.savez(tmp_path / "c.npz", x=np.array([[1, 1, 2, VOID]], np.uint8))
    result = score_seeds(tmp_path / "c.npz", tmp_path / "masks", ["cat", "dog"], ["cat", "cat", "dog"])
    assert (result["mean_over"], result["mean"]["recall"]) == (["cat", "dog"], 0.75)


def test_masks_of_nothing_are_named(tmp_path):
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.full((2, 2), VOID, np.uint8)).save(tmp_path / "masks" / "x.png")
    np.savez(tmp_path / "c.npz", x=np.ones((2, 2), np.uint8))
    with pytest.raises(ValueError, match="show no class that the mean could run over"):
        score_seeds(tmp_path / "c.npz", tmp_path / "masks")


def test_a_map_beside_the_folder_of_maps_is_no_map_of_it(tmp_path):
    """`DIR/maps` is what is judged where there is one."""
    np.save(tmp_path / "y.npy", np.zeros(3))
    scored_maps(tmp_path, [0], mask=[1, 1])
    assert score_seeds(tmp_path, tmp_path / "masks", ["cat"])["num_images"] == 1


@pytest.mark.parametrize("hidden", ["._x", ".ipynb_checkpoints/x", "__MACOSX/x"])
def test_hidden_files_are_neither_maps_nor_pseudo_masks(tmp_path, hidden):
    expected = scored_maps(tmp_path, [0], mask=[1, 1], names=["cat"])
    for name in (f"maps/{hidden}.npy", f"masks/{hidden}.png", f"found/{hidden}.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert score_seeds(tmp_path / "maps", tmp_path / "masks", ["cat"]) == expected
    (visible,) = (path for path in (tmp_path / "masks").glob("*.png") if not path.name.startswith("."))
    shutil.copy(visible, tmp_path / "found" / visible.name)
    result = score_seeds(tmp_path / "found", tmp_path / "masks", ["cat"])
    assert (result["num_images"], result["num_without_mask"]) == (1, 0)


def test_a_folder_of_seeds_may_be_called_anything(run, made, tmp_path, capsys):
    shutil.copytree(made, tmp_path / "maps")
    masks = run.parent / "VOCdevkit" / "VOC2012" / "SegmentationClassAug"
    score = ["seeds", "score", str(tmp_path / "maps"), "--masks", str(masks)]
    assert main(score) == 0
    assert "class " not in capsys.readouterr().out.replace("classes", "")


def test_the_mean_counts_the_classes_that_occur(tmp_path, capsys):
    """And says which of those asked for do not; an unknown one is told the known ones, not all numbers."""
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.array([[1, 2]], np.uint8)).save(tmp_path / "masks" / "x.png")
    np.savez(tmp_path / "c.npz", x=np.array([[1, 2]], np.uint8))
    (tmp_path / "names.txt").write_text("cat\ndog\ncow\n")
    score = ["seeds", "score", str(tmp_path / "c.npz"), "--masks", str(tmp_path / "masks")]
    named = [*score, "--class_names", str(tmp_path / "names.txt")]
    assert main([*named, "--mean_over", "cat", "dog", "cow"]) == 0
    printed = capsys.readouterr().out
    assert "mean of 2 classes" in printed
    assert "not in it, as no mask shows them: cow" in printed
    assert all(len(line) <= 80 for line in printed.splitlines())
    assert main([*named, "--mean_over", "cow"]) == 1
    assert "show no class that the mean could run over" in capsys.readouterr().err
    assert main([*score, "--mean_over", "cat"]) == 1
    expected = "--mean_over cat: expected names among background, class 1, class 2\n"
    assert capsys.readouterr().err.endswith(expected)


def test_pseudo_masks_of_gain_seeds_know_their_classes(run, made, capsys):
    masks = run.parent / "VOCdevkit" / "VOC2012" / "SegmentationClassAug"
    assert main(["seeds", "score", str(made / "masks"), "--masks", str(masks)]) == 0
    assert "class " not in capsys.readouterr().out.replace("classes", "")


def test_images_without_a_mask_are_counted(tmp_path, capsys):
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.ones((4, 4), np.uint8)).save(tmp_path / "masks" / "x.png")
    cue = np.ones((2, 2), np.uint8)
    np.savez(tmp_path / "c.npz", x=cue, y=cue, z=cue)
    score = ["seeds", "score", str(tmp_path / "c.npz"), "--masks"]
    assert main([*score, str(tmp_path / "masks")]) == 0
    assert "1 images, percent; 2 without a mask left out" in capsys.readouterr().out
    assert main([*score, str(tmp_path / "mask")]) == 1
    assert "mask: no such folder, expected masks NAME.png" in capsys.readouterr().err


def test_seeds_that_are_not_finished_are_not_scored(run, made, tmp_path, capsys):
    """Nor are the maps of a part of the images taken for all."""
    shutil.copytree(made, tmp_path / "part")
    (tmp_path / "part" / "cues.npz").unlink()
    provenance = json.loads((made / "provenance.json").read_text())
    (tmp_path / "part" / "provenance.json").write_text(json.dumps({**provenance, "state": "running"}))
    score = ["seeds", "score", str(tmp_path / "part"), "--masks"]
    assert main([*score, str(run.parent / "VOCdevkit" / "VOC2012" / "SegmentationClassAug")]) == 1
    assert "its seeds are not finished" in capsys.readouterr().err


def test_the_archive_of_cues_alone_knows_its_classes_too(run, made, capsys):
    masks = run.parent / "VOCdevkit" / "VOC2012" / "SegmentationClassAug"
    assert main(["seeds", "score", str(made / "cues.npz"), "--masks", str(masks)]) == 0
    assert "class " not in capsys.readouterr().out.replace("classes", "")
