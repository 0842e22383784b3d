"""Seeds: cues and pseudo-masks from maps, their files, and how they are judged."""

import hashlib
import json
import pickle
import pickletools
import shutil
import warnings

import numpy as np
import pytest
import torch
from fake_voc import NAMES, make_voc
from PIL import Image

from gain_lightning.attention import Cells, grad_cam, label_pairs, place_maps, scale_maps
from gain_lightning.backbones import Backbone
from gain_lightning.cli import main
from gain_lightning.constants import VOID
from gain_lightning.datasets.readers.voc import CLASSES
from gain_lightning.datasets.resize import resize_image
from gain_lightning.datasets.shapes import Shapes
from gain_lightning.datasets.shapes.boat import draw_picture
from gain_lightning.datasets.voc12 import VOC12DataModule
from gain_lightning.drawing.encoding import save_indexed
from gain_lightning.drawing.strips import read_strip
from gain_lightning.methods.gain import GAIN
from gain_lightning.segmentation.crf.kernels import Kernels
from gain_lightning.segmentation.cue_files import read_cues, read_exchanged_maps, write_cues
from gain_lightning.segmentation.export_seeds import _draw
from gain_lightning.segmentation.score_seeds import score_seeds
from gain_lightning.segmentation.seeds import (
    attention_maps,
    crf_regions,
    gradient_saliency,
    low_attention,
    make_cues,
    pseudo_mask,
)

# Maps -----------------------------------------------------------------------------------------------------


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GAIN(["a", "b", "c"], 32).eval()


@pytest.fixture
def batch(generator):
    image = torch.randint(0, 256, (3, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return image, torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]])


def plain_maps(model, image, label):
    features = model.backbone.features(model.backbone.normalize(image))
    return grad_cam(features, model.backbone.head(features), label_pairs(label)).detach()


def test_cues_are_the_same_in_both_layouts(made):
    cues, sec = read_cues(made / "cues.npz"), read_cues(made / "localization_cues.pickle")
    assert cues.keys() == sec.keys()
    for name, cue in cues.items():
        np.testing.assert_array_equal(cue, sec[name])


def test_published_cues_are_read_by_their_list(tmp_path):
    """As SEC's authors have them: paths with a slash and an ending, classes, y and x in float."""
    content = {"3_labels": np.array([2]), "3_cues": np.array([[2.0, 0.0], [1, 40], [5, 0]]).astype(np.int64)}
    (tmp_path / "c.pickle").write_bytes(pickle.dumps(content, protocol=2))
    (tmp_path / "input_list.txt").write_text("/2007_000032.jpg 3\n")
    (cue,) = read_cues(tmp_path / "c.pickle", 20).values()
    assert (cue[1, 5], cue[40, 0], (cue != VOID).sum()) == (2, 0, 2)
    (tmp_path / "input_list.txt").write_text("/2007_000032.jpg 4\n")
    with pytest.raises(ValueError, match=r"c\.pickle: not SEC's cues of .*KeyError: '4_cues'"):
        read_cues(tmp_path / "c.pickle", 20)
    (tmp_path / "input_list.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected the images of c\.pickle"):
        read_cues(tmp_path / "c.pickle", 20)


@pytest.mark.parametrize("cue", [(257, 1, 1), (-1, 1, 1), (2, -1, 1), (2, 1, 41), (255, 1, 1)])
def test_cues_off_the_grid_or_of_no_class_are_refused(tmp_path, cue):
    content = {"3_cues": np.array([[value] for value in cue], np.int64)}
    (tmp_path / "c.pickle").write_bytes(pickle.dumps(content, protocol=2))
    (tmp_path / "input_list.txt").write_text("/2007_000032.jpg 3\n")
    with pytest.raises(ValueError, match=r"c\.pickle: not SEC's cues"):
        read_cues(tmp_path / "c.pickle")


@pytest.mark.parametrize("kind", ["cut", "empty", "text", "objects", "one array"])
def test_archives_of_other_things_are_named(tmp_path, kind):
    path = tmp_path / "c.npz"
    np.savez(path, x=np.zeros((41, 41), np.uint8) if kind != "objects" else np.array([{}, None]))
    data = {"cut": path.read_bytes()[:200], "empty": b"", "text": b"cues"}.get(kind, path.read_bytes())
    path.write_bytes(data)
    if kind == "one array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"c\.npz: not an \.npz archive of plain arrays"):
        read_cues(path)


def test_cues_that_hold_code_do_not_run_it(tmp_path):
    (tmp_path / "c.pickle").write_bytes(
        b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR."
    )
    (tmp_path / "input_list.txt").write_text("a 0\n")
    with pytest.raises(ValueError, match="neither array nor tensor"):
        read_cues(tmp_path / "c.pickle")
    assert not (tmp_path / "ran").exists()


def test_one_scale_is_grad_cam(model, batch):
    maps, pairs = attention_maps(model, *batch)
    placed = place_maps(plain_maps(model, *batch), (32, 32), Cells(0, 0, 8, 8))
    torch.testing.assert_close(maps, scale_maps(placed))
    assert pairs.image.tolist() == [0, 0, 2]


def test_scales_and_mirrors_are_added_up(model, batch):
    """Against CAM by hand, for the network pools and classifies linearly: four passes, no gradient.

    Each map lies where its picture does, so a mirrored one is drawn before it is turned back.
    """
    image, label = batch
    small = resize_image(image, (16, 16))
    weight = model.backbone.classifier.weight.detach().flatten(1)  # (C, K)
    pairs = label_pairs(label)
    total = torch.zeros(3, 1, 32, 32)
    for seen, cells in ((image, Cells(0, 0, 8, 8)), (small, Cells(0.5, 0.5, 16, 16))):
        for is_mirrored in (False, True):
            features = model.backbone.features(
                model.backbone.normalize(seen.flip(3) if is_mirrored else seen)
            )
            cam = torch.einsum("pkhw,pk->phw", features[pairs.image], weight[pairs.label]).relu().detach()
            placed = place_maps(cam[:, None], (32, 32), cells)
            total += placed.flip(3) if is_mirrored else placed
    maps, _ = attention_maps(model, image, label, scales=(1.0, 0.5), flip=True)
    torch.testing.assert_close(maps, scale_maps(total))


def test_gradient_saliency_is_the_median_of_the_largest_gradient(model, batch):
    image, label = batch
    normalised = model.backbone.normalize(image).requires_grad_()
    (gradient,) = torch.autograd.grad((model(normalised) * label).sum(), normalised)
    largest = gradient.abs().amax(1)
    got = gradient_saliency(model, image, label)
    for y, x in [(1, 1), (5, 9), (30, 30)]:
        window = largest[0, y - 1 : y + 2, x - 1 : x + 2].flatten().sort().values
        assert got[0, y, x].item() == pytest.approx(window[4].item())
    assert not got[1].any()  # an image without a label has no score


# Cues -----------------------------------------------------------------------------------------------------


def slow_cues(maps, classes, background, threshold):
    n, h, w = maps.shape
    size = [sum(maps[i, y, x] > threshold for y, x in np.ndindex(h, w)) for i in range(n)]
    cues = np.full((h, w), VOID)
    for y, x in np.ndindex(h, w):
        found = [i for i in range(n) if maps[i, y, x] > threshold]
        if found:
            cues[y, x] = classes[min(found, key=lambda i: size[i])] + 1
        elif background[y, x]:
            cues[y, x] = 0
    return cues


def test_cues_equal_the_loops():
    rng = np.random.default_rng(0)
    for _ in range(20):
        maps = rng.random((3, 6, 5)) * rng.random((3, 1, 1))
        background = rng.random((6, 5)) < 0.4
        np.testing.assert_array_equal(
            make_cues(maps, [4, 0, 19], background, threshold=0.3),
            slow_cues(maps, [4, 0, 19], background, 0.3),
        )


def test_an_image_without_a_class_has_background_alone():
    background = np.array([[True, False]])
    maps = np.zeros((0, 1, 2))
    assert make_cues(maps, [], background).tolist() == [[0, VOID]]
    assert pseudo_mask(maps, [], background, threshold=0.2).tolist() == [[0, VOID]]


def test_crf_without_iterations_is_the_strongest_above_the_score(generator):
    maps = torch.rand(3, 41, 41, generator=generator).numpy()
    picture = torch.randint(0, 256, (41, 41, 3), generator=generator, dtype=torch.uint8).numpy()
    for score, regions in zip(
        (0.2, 0.7), crf_regions(maps, picture, [0.2, 0.7], Kernels(iterations=0)), strict=True
    ):
        expected = np.where(maps.max(0) > score, maps.argmax(0), -1) == np.arange(3)[:, None, None]
        np.testing.assert_array_equal(regions, expected)


def test_crf_grows_a_region_to_the_edge_of_its_colour_and_no_further():
    picture = np.full((41, 41, 3), 30, np.uint8)
    picture[10:30, 10:30] = 220  # the object
    maps = np.full((1, 41, 41), 0.15)
    maps[0, 14:34, 14:34] = 0.6  # too far down and to the right
    (regions,) = crf_regions(maps, picture, [0.3])
    truth = picture[..., 0] == 220
    iou = (regions[0] & truth).sum() / (regions[0] | truth).sum()
    before = ((maps[0] > 0.3) & truth).sum() / ((maps[0] > 0.3) | truth).sum()
    assert before < 0.5
    assert iou > 0.95


def test_a_map_of_nothing_is_no_background():
    """The class is there; only its map failed."""
    maps = np.array([[[0.0, 1.0]], [[0.0, 0.0]]])
    assert low_attention(maps, 0.05).tolist() == [[False, False]]
    assert low_attention(maps[:1], 0.05).tolist() == [[True, False]]
    assert low_attention(maps[:0], 0.05).tolist() == [[True, True]]


# The command ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on made VOC images."""
    folder = tmp_path_factory.mktemp("run")
    make_voc(folder)
    arguments = [
        *(
            "fit",
            "--data=VOC12DataModule",
            f"--data.root={folder}",
            "--data.image_size=32",
            "--data.batch_size=4",
        ),
        *("--data.num_workers=0", "--trainer.max_epochs=1", "--trainer.accelerator=cpu"),
        *("--test_after_fit=false", f"--run_dir={folder / 'run'}"),
    ]
    assert main(arguments) == 0
    return folder / "run"


def seeds(run, out, *options):
    return main(["seeds", str(run), "--out", str(out), "--device", "cpu", *options])


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("seeds") / "made"
    assert seeds(run, out) == 0
    return out


def test_checkpoints_of_another_name_and_place_are_found(run, tmp_path):
    """As a ``ModelCheckpoint`` of the config writes them."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "checkpoints" / "best").mkdir()
    (copy / "checkpoints" / "last.ckpt").rename(copy / "checkpoints" / "best" / "own.ckpt")
    for path in (copy / "checkpoints").glob("*.ckpt"):
        path.unlink()
    assert seeds(copy, tmp_path / "out") == 0
    digest = hashlib.sha256((run / "checkpoints" / "last.ckpt").read_bytes()).hexdigest()
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["checkpoint_sha256"] == digest


def test_every_image_has_its_files(run, made):
    """Eight images of 60 x 48 pixels; maps, masks, cues and SEC's pickle say the same."""
    provenance = json.loads((made / "provenance.json").read_text())
    assert (provenance["state"], provenance["num_images"], provenance["threshold"]) == ("finished", 8, 0.2)
    assert provenance["class_names"] == list(CLASSES)
    ids = [line.split()[0] for line in (made / "input_list.txt").read_text().splitlines()]
    cues = np.load(made / "cues.npz")
    sec = pickle.loads((made / "localization_cues.pickle").read_bytes())
    assert sorted(cues.files) == sorted(ids)
    for row, name in enumerate(ids):
        classes, maps = read_exchanged_maps(made / "maps" / f"{name}.npy")
        assert maps.shape == (len(classes), 48, 60)
        present = {CLASSES.index(NAMES[row % 3])} | ({CLASSES.index("person")} if row % 4 == 0 else set())
        assert set(classes.tolist()) == present
        assert all(highest == pytest.approx(1.0) or highest == 0 for highest in maps.max((1, 2)).tolist())
        mask = np.array(Image.open(made / "masks" / f"{name}.png"))
        assert mask.shape == (48, 60)
        assert set(np.unique(mask)) <= {0, VOID, *(index + 1 for index in present)}
        assert sec[f"{row}_labels"].tolist() == sorted(index + 1 for index in present)
        again = np.full((41, 41), VOID)
        values, y, x = sec[f"{row}_cues"]
        again[y, x] = values
        np.testing.assert_array_equal(again, cues[name])


def test_pictures_show_the_truth_of_made_pictures_too(tmp_path):
    empty = np.full((96, 96), VOID, np.uint8)
    for kind in ("masks", "cues"):
        save_indexed(tmp_path / kind / "a.png", empty)
    images = Shapes("boat", "test", range(2), supervision="none")
    _draw(tmp_path, "a", images, 1)
    strip = read_strip(tmp_path / "pictures" / "a.png")
    drawn = draw_picture(1, "test")
    assert np.array_equal(strip["image"], drawn.image)
    is_black = (strip["ground truth"] == 0).all(2)  # the colour of the background
    assert np.array_equal(is_black, drawn.mask == 0)


def test_numpy_1_and_python_2_find_what_the_pickles_name(made):
    """Numpy 2 moved its functions to numpy._core, where numpy 1 has none."""
    for path in [made / "localization_cues.pickle", *sorted((made / "maps").glob("*.npy"))]:
        content = path.read_bytes()
        if path.suffix == ".npy":
            content = content[content.index(b"\n") + 1 :]  # behind the header
        assert content[:2] == (b"\x80\x02" if path.suffix == ".pickle" else b"\x80\x03")
        named = {arg for opcode, arg, _ in pickletools.genops(content) if opcode.name == "GLOBAL"}
        assert "numpy.core.multiarray _reconstruct" in named
        assert not any("_core" in name for name in named)
        assert not [op for op, *_ in pickletools.genops(content) if op.name == "STACK_GLOBAL"]


def test_maps_are_read_as_others_read_them(made):
    path = made / "maps" / "2012_000000.npy"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = np.load(path, allow_pickle=True).item()
    keys, high_res = read_exchanged_maps(path)
    np.testing.assert_array_equal(content["keys"], keys)
    np.testing.assert_array_equal(content["high_res"], high_res)
    assert content["cam"].shape == (len(keys), 12, 15)


@pytest.mark.parametrize("names", [["file", "allow_pickle"], ["my cat 1", "img.1", "img.2"], ["cats/1"]])
def test_images_may_be_called_anything(tmp_path, names):
    cues = {name: np.full((41, 41), row, np.uint8) for row, name in enumerate(names)}
    write_cues(tmp_path, cues, np.eye(3)[: len(names)])
    for file in ("cues.npz", "localization_cues.pickle"):
        found = read_cues(tmp_path / file)
        assert list(found) == names
        for name, cue in cues.items():
            np.testing.assert_array_equal(found[name], cue)
    assert not list(tmp_path.glob("part*"))


def test_two_images_of_one_name_in_a_list_are_refused(tmp_path):
    write_cues(tmp_path, {"a": np.zeros((41, 41), np.uint8), "b": np.zeros((41, 41), np.uint8)}, np.eye(2))
    (tmp_path / "input_list.txt").write_text("a.jpg 0\na.png 1\n")
    with pytest.raises(ValueError, match="two images are called a"):
        read_cues(tmp_path / "localization_cues.pickle")


def test_cues_of_other_types_are_taken_or_named(tmp_path):
    np.savez(tmp_path / "c.npz", x=np.array([[0, 3], [255, 1]]))
    assert read_cues(tmp_path / "c.npz")["x"].dtype == np.uint8
    for value, message in [(256, "has values 0 to 256"), (-1, "has values -1 to 0"), (0.5, "is float64")]:
        np.savez(tmp_path / "c.npz", x=np.array([[0, value]]))
        with pytest.raises(ValueError, match=message):
            read_cues(tmp_path / "c.npz")


def test_a_scale_above_1_sees_the_pixels_of_the_file(run, tmp_path, monkeypatch):
    """Not the picture of scale 1 blown up; and gradients stay those of scale 1."""
    seen = []
    plain = Backbone.normalize
    monkeypatch.setattr(Backbone, "normalize", lambda self, image: seen.append(image) or plain(self, image))
    assert seeds(run, tmp_path / "o", "--scales", "2", "1", "--background", "gradient") == 0
    assert [tuple(image.shape[2:]) for image in seen] == [(64, 64), (32, 32), (32, 32)]
    large = VOC12DataModule(root=str(run.parent), image_size=64).image_set()
    plain_size = VOC12DataModule(root=str(run.parent), image_size=32).image_set()
    for n in range(len(seen[0])):
        assert torch.equal(seen[0][n], large[n]["image"])
        assert torch.equal(seen[1][n], plain_size[n]["image"])  # what training and test see
        assert torch.equal(seen[2][n], plain_size[n]["image"])


def test_an_interrupted_export_goes_on_where_it_stopped(run, made, tmp_path, capsys):
    """What is there is not made again, and the end is the same."""
    part = tmp_path / "part"
    shutil.copytree(made, part)
    names = sorted(path.stem for path in (part / "cues").glob("*.png"))
    for name in names[5:]:
        (part / "cues" / f"{name}.png").unlink()
        (part / "maps" / f"{name}.npy").write_bytes(b"half")
    (part / "cues.npz").unlink()
    kept = (part / "maps" / f"{names[0]}.npy").stat().st_mtime_ns
    capsys.readouterr()
    assert seeds(run, part) == 0
    assert "5 of 8 images are done already" in capsys.readouterr().out
    assert (part / "maps" / f"{names[0]}.npy").stat().st_mtime_ns == kept
    before, after = np.load(made / "cues.npz"), np.load(part / "cues.npz")
    for name in names:
        np.testing.assert_array_equal(before[name], after[name])
    assert not list(part.rglob("*.part"))


def test_seeds_of_other_options_are_not_mixed(run, made, capsys):
    assert seeds(run, made, "--threshold", "0.3") == 1
    assert "holds seeds of threshold 0.2, expected 0.3" in capsys.readouterr().err


def test_seeds_of_other_labels_are_not_mixed(run, made, tmp_path, capsys):
    """A label that was put right after the seeds were made."""
    voc = tmp_path / "VOCdevkit"
    shutil.copytree(run.parent / "VOCdevkit", voc)
    path = voc / "VOC2012" / "Annotations" / "2012_000000.xml"
    path.write_text("<annotation><object><name>sheep</name><difficult>0</difficult></object></annotation>")
    assert seeds(run, made, "--data", str(voc)) == 1
    assert "holds seeds of labels_sha256" in capsys.readouterr().err


def test_a_folder_of_other_things_is_refused(run, tmp_path, capsys):
    """The masks of a data set have the names that pseudo-masks would have."""
    (tmp_path / "data" / "masks").mkdir(parents=True)
    mask = tmp_path / "data" / "masks" / "2012_000000.png"
    mask.write_bytes(b"by hand")
    for out in (tmp_path / "data", run):
        assert seeds(run, out) == 1
        assert f"--out {out}: holds other things than seeds, expected a new or" in capsys.readouterr().err
    (tmp_path / "data" / "provenance.json").write_text("{}")
    assert seeds(run, tmp_path / "data") == 1
    assert mask.read_bytes() == b"by hand"
    assert seeds(run, mask) == 1
    assert f"--out {mask}: is a file, expected a folder" in capsys.readouterr().err


def test_a_folder_that_holds_no_seed_yet_takes_other_options(run, tmp_path, monkeypatch):
    out = tmp_path / "o"
    with monkeypatch.context() as patch:
        patch.setattr("gain_lightning.segmentation.export_seeds.summed_maps", lambda *_, **__: 1 / 0)
        assert seeds(run, out, "--threshold", "0.4") == 1
    (out / ".hidden").touch()
    (out / "provenance.json.1.part").touch()
    assert seeds(run, out, "--threshold", "0.3") == 0
    assert json.loads((out / "provenance.json").read_text())["threshold"] == 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "test"], "split is 'test'"),
        (["--data", "nowhere"], "no VOC 2012 here"),
    ],
)
def test_data_that_are_not_there_are_named(run, tmp_path, capsys, options, message):
    import re

    assert seeds(run, tmp_path / "o", *options) == 1
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch_size", "0"], "--batch_size is 0, expected at least 1"),
        (["--background", "saliency"], "belong together"),
        (["--threshold", "1.5"], "--threshold is 1.5, expected a share"),
        (["--background_value", "nan"], "--background_value is nan, expected a share"),
        (["--scales", "1", "0"], "--scales is 0.0, expected a positive factor"),
    ],
)
def test_values_that_cannot_be_are_refused(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit, match="2"):
        seeds(tmp_path / "run", tmp_path / "o", *options)
    error = capsys.readouterr().err
    assert error.startswith("gain seeds: error: ")
    assert message in error


def test_background_by_gradient_and_by_saliency_maps(run, tmp_path, capsys):
    """A tenth of the pixels of least gradient; and where a saliency map is dark."""
    assert seeds(run, tmp_path / "gradient", "--background", "gradient", "--threshold", "1") == 0
    cues = np.load(tmp_path / "gradient" / "cues.npz")
    for name in cues.files:
        assert (cues[name] == 0).sum() == round(0.1 * 41 * 41)
    (tmp_path / "saliency").mkdir()
    arguments = ("--background", "saliency", "--saliency", str(tmp_path / "saliency"), "--threshold", "1")
    assert seeds(run, tmp_path / "salient", *arguments) == 1
    assert "8 of 8 images have no saliency map, the first 2012_000000" in capsys.readouterr().err
    assert not (tmp_path / "salient").exists()
    dark = np.full((48, 60), 255, np.uint8)
    dark[:, :30] = 0
    for name in cues.files:
        Image.fromarray(dark).save(tmp_path / "saliency" / f"{name}.png")
    assert seeds(run, tmp_path / "salient", *arguments) == 0
    cue = np.load(tmp_path / "salient" / "cues.npz")["2012_000000"]
    assert (cue[:, :20] == 0).all()
    assert (cue[:, 21:] == VOID).all()
    Image.fromarray(255 - dark).save(tmp_path / "saliency" / "2012_000003.png")  # other maps, the same folder
    assert seeds(run, tmp_path / "salient", *arguments) == 1
    assert "holds seeds of saliency_sha256" in capsys.readouterr().err


def test_crf_makes_the_regions_of_cues_and_masks(run, made, tmp_path):
    """Of the maps as they are exported, and of the pictures; they stand in no file of their own."""
    assert main(["seeds", str(run), "--out", str(tmp_path / "crf"), "--crf", "--threshold", "0.3"]) == 0
    assert json.loads((tmp_path / "crf" / "provenance.json").read_text())["crf"] is True
    cues = read_cues(tmp_path / "crf" / "cues.npz")
    assert cues.keys() == read_cues(made / "cues.npz").keys()
    for name, cue in cues.items():
        keys, high_res = read_exchanged_maps(tmp_path / "crf" / "maps" / f"{name}.npy")
        np.testing.assert_array_equal(high_res, read_exchanged_maps(made / "maps" / f"{name}.npy")[1])
        mask = np.array(Image.open(tmp_path / "crf" / "masks" / f"{name}.png"))
        assert mask.shape == high_res.shape[1:]
        assert set(np.unique(cue)) <= {0, VOID, *(keys + 1)}
        # the same at the cells' centres, but at edges
        rows, columns = ((2 * np.arange(41) + 1) * side // 82 for side in mask.shape)
        assert (mask[rows][:, columns] == cue).mean() > 0.9


def test_labels_without_a_cue_are_listed(run, tmp_path, capsys):
    assert seeds(run, tmp_path / "o", "--threshold", "1") == 0
    without = json.loads((tmp_path / "o" / "provenance.json").read_text())["without_cue"]
    assert without[0] == ["2012_000000", "cat", "person"]
    assert "8 images have no cue of a labelled class: 2012_000000 (cat, person);" in capsys.readouterr().out


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


def test_a_background_that_is_asked_for_counts_once(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.array([[0, 1, 1, 0]], np.uint8)).save(tmp_path / "masks" / "x.png")
    np.save(tmp_path / "maps" / "x.npy", {"keys": np.array([0]), "high_res": np.array([[[0.0, 1, 0, 0]]])})
    result = score_seeds(tmp_path / "maps", tmp_path / "masks", ["cat"], ["background", "cat"])
    assert result["thresholds"]["0.2"]["miou"] == pytest.approx((2 / 3 + 1 / 2) / 2)


class Harmful:
    def __reduce__(self):
        return (__import__("os").system, ("echo harmful",))


def test_a_file_of_maps_cannot_run_code(tmp_path, capfd):
    np.save(tmp_path / "x.npy", {"keys": np.array([0]), "high_res": Harmful()})
    with pytest.raises(ValueError, match="neither array nor tensor"):
        read_exchanged_maps(tmp_path / "x.npy")
    assert "harmful" not in capfd.readouterr().out


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


def test_more_classes_than_indices_are_refused_by_name(tmp_path):
    """Index 254 would be 255, no cue, in a file, and 255 would be 0, the background."""
    maps = np.ones((1, 2, 2))
    assert make_cues(maps, [253], maps[0] < 0).tolist() == [[254, 254], [254, 254]]
    for make in (make_cues, pseudo_mask):
        for class_idx in (254, 255, 999):
            with pytest.raises(ValueError, match=rf"{class_idx + 1} classes, but .* hold at most 254"):
                make(maps, [class_idx], maps[0] < 0, threshold=0.2)
    np.savez(tmp_path / "cues.npz", a=np.zeros((2, 2), np.uint8))
    assert read_cues(tmp_path / "cues.npz", 254).keys() == {"a"}
    with pytest.raises(ValueError, match=r"cues\.npz: 255 classes, but .* hold at most 254"):
        read_cues(tmp_path / "cues.npz", 255)
    with pytest.raises(ValueError, match="--class_names: 300 classes"):
        score_seeds(tmp_path / "cues.npz", tmp_path, [f"class {index}" for index in range(300)])
