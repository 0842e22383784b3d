"""Borders of pictures that keep their aspect: no loss on maps, no score and no check sees them."""

import numpy as np
import pytest
import torch
from faking import CELL, NETWORKS
from odd_pictures import SCENES, make_odd_folder, scene
from small_gain import NAMES, SIDE, make_gain, make_trainer

from gain_lightning.attention import even_cells, label_pairs, place_maps, soft_mask
from gain_lightning.constants import VOID
from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.image_set import ImageSet
from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.datasets.resize import frame_of
from gain_lightning.losses import SUPERVISION_LOSSES
from gain_lightning.methods import predict as predicting
from gain_lightning.methods import terms
from gain_lightning.methods.advice.look import look
from gain_lightning.methods.advice.write import maps_of
from gain_lightning.methods.borders import inside_of, normalized
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.scoring import pair_values
from gain_lightning.methods.views import view_terms

WINDOWS = [(0, 8, 32, 24), (4, 0, 28, 32), (0, 0, 32, 32)]


def make_batch(generator, windows=WINDOWS):
    image = torch.randint(0, 256, (len(windows), 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    mask = torch.full((len(windows), SIDE, SIDE), VOID, dtype=torch.uint8)
    for row, (xmin, ymin, xmax, ymax) in enumerate(windows):
        mask[row, ymin:ymax, xmin:xmax] = 0
        mask[row, 12:18, 10:20] = 1
    return {
        "image": image,
        "window": torch.tensor(windows),
        "label": torch.eye(3)[: len(windows)],
        "mask": mask,
        "mask_image": torch.arange(len(windows)),
        "mask_class": torch.arange(len(windows)),
        "id": [str(row) for row in range(len(windows))],
        "group": torch.full((len(windows),), -1),
    }


def beside(windows=WINDOWS):
    """Where the borders are, by loops, ``(N, H, W)`` bool."""
    border = np.ones((len(windows), SIDE, SIDE), bool)
    for row, (xmin, ymin, xmax, ymax) in enumerate(windows):
        border[row, ymin:ymax, xmin:xmax] = False
    return torch.from_numpy(border)


@pytest.mark.parametrize("net", [None, NETWORKS["object"]])
def test_borders_are_what_erased_pixels_are(generator, net):
    """Exactly 0 after the normalisation, whatever statistics the weights were trained with, and whatever was there."""
    model, batch = make_gain(net and net()), make_batch(generator)
    image = normalized(model.backbone, batch)
    assert (image.abs().amax(1)[beside()] == 0).all()
    inside = ~beside()
    plain = model.backbone.normalize(batch["image"])
    torch.testing.assert_close(image.movedim(1, 3)[inside], plain.movedim(1, 3)[inside])
    del batch["window"]
    assert inside_of(batch) is None
    assert torch.equal(normalized(model.backbone, batch), plain)


def looking_at_borders(model, step, maps):
    """Return maps that are brightest in the borders, as :meth:`GAIN.explain` would clear them."""
    cam, model.cam = model.cam, lambda *args, **how: maps
    cleared = model.explain(step)
    model.cam = cam
    return cleared


def take_step(model, batch, masked=None, **settings):
    seen = {**batch, "image": normalized(model.backbone, batch)}
    masked = masked and {**masked, "image": normalized(model.backbone, masked)}
    weights = {"loss_am": 1.0, "loss_area": 1.0, "loss_ext": 1.0}
    return model.forward_streams(seen, masked, weights, 1.0)


def test_nothing_is_erased_in_a_border_and_none_is_paid_for(generator, monkeypatch):
    """The map is as bright in the border as on the object; eight rows of 32 lie above and below the first picture."""
    model = make_gain(
        NETWORKS["object"](), am_weight=1.0, area_weight=1.0, sufficiency_weight=1.0, am_fill="blur"
    )
    step = take_step(model, make_batch(generator))
    maps = torch.ones(3, 1, SIDE // CELL, SIDE // CELL)
    cleared = looking_at_borders(model, step, maps)
    border_cells = torch.nn.functional.avg_pool2d(beside().float(), CELL) == 1
    assert torch.equal(cleared[:, 0] == 0, border_cells)
    shown = []
    monkeypatch.setattr(
        terms, "judged", lambda model, judge, pictures: shown.extend(pictures) or [torch.zeros(3, 3)] * 2
    )
    wanted = ("loss_am", "loss_area", "loss_sufficiency")
    found = terms.mining_terms(model, None, step, cleared, wanted)
    for picture in shown:
        assert torch.equal(picture.movedim(1, 3)[beside()], step.image.movedim(1, 3)[beside()])
    # the maps are 1 all over their pictures, but for what the cleared cells draw over their edges
    whole = soft_mask(torch.ones(1, 1, 1, 1)).item()
    assert 0.9 * whole < found["loss_area"].item() <= whole + 1e-6


@pytest.mark.parametrize("resolution", ["image", "map"])
@pytest.mark.parametrize("sign", ["positive", "both"])
@pytest.mark.parametrize("loss", SUPERVISION_LOSSES)
def test_borders_do_not_count_in_the_loss_on_masks(generator, loss, sign, resolution):
    model = make_gain(
        NETWORKS["object"](), ext_weight=1.0, ext_loss=loss, map_sign=sign, ext_resolution=resolution
    )
    batch = make_batch(generator)
    step = take_step(model, batch, model.pairs_of("masked", batch))
    num_pairs = len(step.pairs.image)
    maps = torch.rand(num_pairs, 1, SIDE // CELL, SIDE // CELL, generator=generator)
    border_cells = (torch.nn.functional.avg_pool2d(beside().float(), CELL) == 1).repeat(2, 1, 1)
    border_cells = border_cells[step.pairs.image].unsqueeze(1)
    values = []
    for brightness in (0.0, 50.0):
        changed = torch.where(border_cells, brightness, maps)
        cleared = looking_at_borders(model, step, changed)
        values.append(terms.supervision_terms(model, step, cleared, ["loss_ext"])["loss_ext"])
    assert values[0] == values[1] > 0


def test_a_mask_that_only_says_no_does_not_take_a_border_for_the_object(generator):
    """``energy`` takes the unknown for the object, but not beside the picture."""
    model = make_gain(NETWORKS["object"](), ext_weight=1.0, ext_loss="energy")
    batch = make_batch(generator, WINDOWS[:1])
    batch["mask"][batch["mask"] == 1] = 0
    batch["mask"][:, 20:24] = VOID
    step = take_step(model, batch, model.pairs_of("masked", batch))
    maps = torch.rand(2, 1, SIDE // CELL, SIDE // CELL, generator=generator)
    cleared = looking_at_borders(model, step, maps)
    got = terms.supervision_terms(model, step, cleared, ["loss_ext"])["loss_ext"]
    cells = even_cells((SIDE // CELL, SIDE // CELL), (SIDE, SIDE))
    drawn = place_maps(cleared[1:] / cleared[1:].max(), (SIDE, SIDE), cells)[0, 0]
    drawn = drawn.masked_fill(beside(WINDOWS[:1])[0], 0)
    assert got.item() == pytest.approx(1 - (drawn[20:24].sum() / drawn.sum()).item(), rel=1e-5)


def test_views_agree_in_borders_without_cost(generator):
    model = make_gain(NETWORKS["object"](), view_weight=1.0)
    step = take_step(model, make_batch(generator))
    step = step._replace(weak_pairs=label_pairs(torch.eye(3)))
    maps = torch.rand(3, 1, SIDE // CELL, SIDE // CELL, generator=generator)
    values = []
    for brightness in (0.0, 50.0):
        border_cells = (torch.nn.functional.avg_pool2d(beside().float(), CELL) == 1).unsqueeze(1)
        cleared = looking_at_borders(model, step, torch.where(border_cells, brightness, maps))
        values.append(view_terms(model, None, step, cleared, ["loss_view"])["loss_view"])
    assert values[0] == values[1]


def test_borders_are_never_scored(generator):
    """The maps that scores see are those of the pictures alone, cut out by hand, up to the scale of each."""
    model, batch = make_gain().eval(), make_batch(generator)
    with torch.no_grad():
        seen = {**batch, "image": normalized(model.backbone, batch)}
    outputs = model._score(seen, None)
    assert (outputs["maps"][:, 0][beside()] == 0).all()
    raw = model.place(model.attend(seen["image"], seen["label"])[1], (SIDE, SIDE))
    values = pair_values(outputs["maps"], outputs["mask"])
    for row, (xmin, ymin, xmax, ymax) in enumerate(WINDOWS):
        window = (slice(row, row + 1), slice(None), slice(ymin, ymax), slice(xmin, xmax))
        alone = pair_values(raw[window], batch["mask"][row : row + 1, ymin:ymax, xmin:xmax])
        for key, value in alone.items():
            torch.testing.assert_close(values[key][row : row + 1], value)


# Maps of pictures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("resize", ["squash", "letterbox", "crop"])
def test_maps_come_back_at_the_size_and_place_of_their_picture(tmp_path, monkeypatch, resize):
    """A network that sees red: the map's peak lies in the red box, and its mean place within a cell of the centre."""
    root = make_odd_folder(tmp_path / "odd", ("test",))
    model = make_gain(NETWORKS["object"](), resize=resize).eval()
    monkeypatch.setattr(predicting, "load_model", lambda path: model)
    paths = [root / "images" / f"test_box_{name}" for name in SCENES]
    out = tmp_path / "out"
    out.mkdir()
    predicting.predict("x", root / "images", out, paths, {"classes": NAMES[:1]}, accelerator="cpu")
    for name in SCENES:
        _, body = scene(name)
        attention = np.load(out / f"test_box_{name.removesuffix('.png')}_{NAMES[0]}.npy")
        assert attention.shape == body.shape
        frame = frame_of(body.shape, SIDE, resize)
        cell = CELL * np.array([body.shape[0] / frame.height, body.shape[1] / frame.width])
        if resize == "crop" and name in ("wide.png", "tall.png"):
            # the mark was not seen, and nothing is said of what was cut
            middle = np.zeros_like(body)
            short, skip = min(body.shape), (max(body.shape) - min(body.shape)) // 2
            middle[(slice(skip, skip + short), slice(None))[:: 1 if name == "tall.png" else -1]] = True
            assert (attention[~middle] == 0).mean() > 0.95
            continue
        peak = np.unravel_index(attention.argmax(), body.shape)
        assert body[peak]
        mass = np.array(
            [
                np.average(np.arange(side), weights=attention.sum(1 - axis))
                for axis, side in enumerate(body.shape)
            ]
        )
        centre = np.array([rows.mean() for rows in np.nonzero(body)])
        assert (np.abs(mass - centre) < 0.5 * cell).all()


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
def test_advice_maps_the_picture_and_not_its_border(tmp_path, resize):
    root = make_odd_folder(tmp_path / "odd", ("train",))
    images = ImageSet(read_folder(root).listing, image_size=SIDE, resize=resize)
    model = make_gain(NETWORKS["object"](), resize=resize).eval()
    for row in range(len(SCENES)):
        picture, maps = maps_of(model, images, row)
        body = scene(str(images.ids[row]).removeprefix("train_box_"))[1]
        assert picture.shape[:2] == body.shape
        assert body[np.unravel_index(maps[0].argmax(), body.shape)]
    seen = look(model, images, range(len(SCENES)), with_views=True)
    # the network's maps are mirrored with their picture, so that nothing disagrees but the erased image
    assert (seen.disagreement < 1 / 3 + 0.2).all()


def test_a_model_and_data_that_differ_are_refused(tmp_path):
    root = make_odd_folder(tmp_path / "odd")
    data = FolderDataModule(root=str(root), image_size=32, resize="letterbox", batch_size=4, num_workers=0)
    model = GAIN(class_names=list(data.class_names), image_size=32)
    with pytest.raises(
        ValueError, match="resize is letterbox of the data and squash of GAIN: expected the same"
    ):
        make_trainer(tmp_path).validate(model, data, verbose=False)
    with pytest.raises(ValueError, match=r"model\.resize is 'pad', expected one of squash, letterbox, crop"):
        make_gain(resize="pad")
