"""A dot is drawn where it is, whatever draws its map: scores, erased images, masks, seeds, predict and SEC."""

import numpy as np
import pytest
import torch
from dots import centroids, dots, make_dot_detector
from PIL import Image
from torch import nn

from gain_lightning.cli import main
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.step import Step
from gain_lightning.methods.terms import supervision_terms
from gain_lightning.methods.views import PIXELS, view_targets
from gain_lightning.segmentation.sec import SEC
from gain_lightning.segmentation.seeds import attention_maps

SIDE = 96
PLACES = [(40.0, 50.0), (45.5, 41.0), (52.0, 58.5)]


@pytest.fixture
def model():
    """A classifier of one class, whose map is the picture, blurred, drawn every eighth pixel from the first on."""
    model = GAIN(["dot"], SIDE, am_weight=1.0)
    make_dot_detector(model.backbone.features)
    nn.init.constant_(model.backbone.classifier.weight, 1.0)
    nn.init.zeros_(model.backbone.classifier.bias)
    return model.eval()


def pictures(places, size=(SIDE, SIDE), width=9.0) -> torch.Tensor:
    """Bright soft dots on the ground that normalises to 0, uint8."""
    return (127.5 + 100 * 1e4 * dots(places, size, width)).round().to(torch.uint8)


def centres(maps: torch.Tensor) -> torch.Tensor:
    """Where the bright parts of maps lie; the ground, rounded to whole numbers, is not quite 0."""
    return centroids((maps - 0.1 * maps.amax((2, 3), keepdim=True)).relu().detach())


def batch_of(image, model):
    count = len(image)
    return {
        "image": model.backbone.normalize(image),
        "label": torch.ones(count, 1),
        "mask": torch.zeros(0, *image.shape[2:], dtype=torch.uint8),
        "mask_image": torch.zeros(0, dtype=torch.long),
        "mask_class": torch.zeros(0, dtype=torch.long),
    }


def test_scored_maps(model):
    outputs = model._score(batch_of(pictures(PLACES), model), None)
    np.testing.assert_allclose(centres(outputs["maps"]), PLACES, atol=0.5)


def test_erased_images(model, monkeypatch):
    """What S_am takes away lies around the dot."""
    seen = []
    monkeypatch.setattr(
        "gain_lightning.methods.terms.erase", lambda image, mask, fill: seen.append(mask) or image
    )
    batch = batch_of(pictures(PLACES), model)
    model.losses(batch, None, 1.0)
    ground = seen[0].amin((2, 3), keepdim=True)
    np.testing.assert_allclose(centres(seen[0] - ground), PLACES, atol=0.5)


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("scale", [0.75, 1.5])
def test_targets_of_other_views(model, monkeypatch, scale, step):
    """Targets lie where the dot lies in the picture, whether their view is mirrored or not."""
    monkeypatch.setattr(GAIN, "global_step", step)
    model.hparams.view_scale = scale
    image = pictures(PLACES)
    batch = batch_of(image, model)
    _, maps, pairs = model.attend(batch["image"], batch["label"])
    own = nn.functional.avg_pool2d(model.place(maps / maps.amax(), image.shape[2:]), PIXELS)
    targets = view_targets(model, model.backbone, batch["image"], pairs, own)
    at_image = centres(targets) * PIXELS + (PIXELS - 1) / 2
    np.testing.assert_allclose(at_image, PLACES, atol=1.0)


@pytest.mark.parametrize("resolution", ["image", "map"])
def test_masks_fit_the_maps_of_what_they_mask(model, resolution):
    """L_e of the dot's own mask is lower than of the same mask moved by half a cell in any direction."""
    model.hparams.ext_resolution = resolution
    image = pictures([(48.0, 48.0)])
    batch = batch_of(image, model)
    _, maps, pairs = model.attend(batch["image"], batch["label"])
    y, x = torch.meshgrid(*[torch.arange(SIDE)] * 2, indexing="ij")

    def loss(top: int, left: int) -> float:
        mask = (((y - top) ** 2 + (x - left) ** 2) < 14**2).to(torch.uint8)[None]
        zero = torch.zeros(1, dtype=torch.long)
        masked = {**batch, "mask": mask, "mask_image": zero, "mask_class": zero, "pairs": pairs}
        step = Step(image, None, None, batch["label"], pairs.none(), masked, 1.0)
        return float(supervision_terms(model, step, maps, {"loss_ext"})["loss_ext"])

    there = loss(48, 48)
    assert all(there < loss(48 + down, 48 + across) for down, across in [(4, 0), (-4, 0), (0, 4), (0, -4)])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [[1.0], [0.75, 1.0, 1.5]])
def test_seeds(model, scales, flip):
    maps, _ = attention_maps(model, pictures(PLACES), torch.ones(3, 1), scales=scales, flip=flip)
    np.testing.assert_allclose(centres(maps), PLACES, atol=0.5)


def test_predicted_maps_at_the_size_of_their_pictures(model, tmp_path):
    """A picture of 192 x 144 pixels that the network sees at 96 x 96."""
    (tmp_path / "in").mkdir()
    place = (70.0, 101.0)
    picture = pictures([place], (144, 192), 16.0)[0].permute(1, 2, 0).numpy()
    Image.fromarray(picture).save(tmp_path / "in" / "a.png")
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    words = [
        f"--images={tmp_path / 'in'}",
        f"--ckpt_path={path}",
        f"--out={tmp_path / 'out'}",
        "--accelerator=cpu",
    ]
    assert main(["predict", *words]) == 0
    attention = torch.from_numpy(np.load(next((tmp_path / "out").rglob("*.npy"))))
    np.testing.assert_allclose(centres(attention[None, None])[0], place, atol=0.75)


@pytest.mark.parametrize(("backbone", "side"), [("vgg16", 161), ("vgg16", 128), ("tiny_cnn", 96)])
def test_segmentations(backbone, side):
    """SEC's scores, drawn at the size of a picture, have a dot where it is."""
    sec = SEC(["dot"], side, backbone=backbone).eval()
    make_dot_detector(sec.backbone)
    places = [(side * 0.45, side * 0.55), (side * 0.5, side * 0.47)]
    with torch.no_grad():
        scores = sec.segment(dots(places, (side, side), 10.0), (side, side))
        large = sec.segment(dots(places, (side, side), 10.0), (2 * side, 3 * side))
    np.testing.assert_allclose(centroids(scores[:, 1:].relu()), places, atol=0.5)
    expected = [((2 * top + 0.5), (3 * left + 1.0)) for top, left in places]
    np.testing.assert_allclose(centroids(large[:, 1:].relu()), expected, atol=1.5)
