import copy
import csv
import json
import shutil
import subprocess
import sys

import fake_folder
import numpy as np
import pytest
import reference
import torch
from small_gain import (
    NAMES,
    SIDE,
    batch_norms,
    make_gain,
    make_shapes,
    make_shapes_gain,
    make_trainer,
    modes_of,
    same_state,
    state_of,
)
from torch import nn

from gain_lightning.attention import CAMS, grad_cam, label_pairs
from gain_lightning.backbones import Backbone
from gain_lightning.cli import main
from gain_lightning.datasets.shapes.boat import CLASSES
from gain_lightning.methods import gain_settings
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.gain_settings import check_settings

# Input ----------------------------------------------------------------------------------------------------


def test_batch_is_normalised_once_on_arrival(generator):
    module = make_gain()

    def picture_batch(num_images):
        picture = torch.randint(0, 256, (num_images, 3, 4, 4), dtype=torch.uint8, generator=generator)
        return {
            "image": picture,
            "label": torch.ones(num_images, 3),
            "mask": torch.ones(num_images, 4, 4, dtype=torch.uint8),
            "mask_image": torch.arange(num_images),
            "mask_class": torch.zeros(num_images, dtype=torch.long),
            "id": ["x"],
        }

    batch = {"weak": picture_batch(2), "masked": picture_batch(1)}
    kept = copy.deepcopy(batch)
    out = module.on_after_batch_transfer(batch, 0)
    assert list(out) == ["weak", "masked"]
    for name, stream in out.items():
        expected = (kept[name]["image"].double() / 255 - 0.5) / 0.5  # statistics of the tiny CNN
        torch.testing.assert_close(stream["image"].double(), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(batch[name]["image"], kept[name]["image"])
        assert stream["label"] is batch[name]["label"]
        assert stream["mask"] is batch[name]["mask"]
        torch.testing.assert_close(module.on_after_batch_transfer(batch[name], 0)["image"], stream["image"])
    with pytest.raises(TypeError, match="uint8"):
        module.on_after_batch_transfer(out, 0)


# With a Trainer -------------------------------------------------------------------------------------------


def test_validation_changes_nothing(tmp_path):
    module = make_shapes_gain(am_weight=1, second_order=True)
    batch_norms(module)[0].eval()
    state, modes = state_of(module.backbone), modes_of(module.backbone)
    make_trainer(tmp_path).validate(module, datamodule=make_shapes(), verbose=False)
    assert same_state(module.backbone, state)
    assert modes_of(module.backbone) == modes
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_validation_under_inference_mode_says_what_to_do(tmp_path):
    trainer = make_trainer(tmp_path, inference_mode=True)
    with pytest.raises(RuntimeError, match=r"Trainer\(inference_mode=False\)"):
        trainer.validate(make_shapes_gain(), datamodule=make_shapes(), verbose=False)


def test_attend_gives_the_maps_of_grad_cam(tiny_backbone, batches):
    """Under no_grad, as in validation, and with several labels."""
    module = make_gain(tiny_backbone).eval()
    image, label = batches[0]["image"], batches[0]["label"]
    features = tiny_backbone.features(image)
    logits = tiny_backbone.head(features)
    expected = grad_cam(features, logits, label_pairs(label))
    with torch.no_grad():
        ours, maps, pairs = module.attend(image, label)
    assert not ours.requires_grad
    assert not maps.requires_grad
    assert torch.equal(ours, logits)
    torch.testing.assert_close(maps, expected)
    assert list(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)) == reference.pairs(
        label.numpy()
    )


def test_attend_builds_no_graph_of_the_features(tiny_backbone, batches, monkeypatch):
    """Its memory is that of validation, also where the caller has gradients switched on."""
    module = make_gain(tiny_backbone).eval()
    seen = []
    monkeypatch.setattr(
        tiny_backbone.features[-1], "forward", lambda x: seen.append(x.requires_grad) or x.relu()
    )
    module.attend(batches[0]["image"], batches[0]["label"])
    assert seen == [False]


# Levers of cost -------------------------------------------------------------------------------------------


def step_of(module, batches, seed=0):
    """Losses, gradients and statistics of one step of GAIN_ext in float64."""
    weak, masked = ({**batch, "image": batch["image"].double()} for batch in batches)
    module.double().zero_grad()
    torch.manual_seed(seed)  # of dropout
    terms = module.losses(weak, masked, 1.0)
    terms["loss"].backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    return terms, gradients, dict(module.named_buffers())


def vgg_like():
    """In-place ReLUs, some of which a cut between pieces could split from their convolution, and dropout."""
    convolutions = [nn.Conv2d(inputs, 8, 3, padding=1) for inputs in (3, 8, 8, 8, 8)]
    layers = [layer for conv in convolutions for layer in (conv, nn.ReLU(inplace=True))]
    last = nn.Linear(8 * 16, len(NAMES))
    head = nn.Sequential(
        nn.AdaptiveMaxPool2d(4),
        nn.Flatten(),
        nn.Linear(8 * 16, 8 * 16),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        last,
    )
    return Backbone(nn.Sequential(*layers), head, last)


@pytest.mark.parametrize(
    ("backbone", "frozen", "second_order"),
    [
        *(
            (name, frozen, order)
            for name in ("tiny_cnn", "resnet18")
            for frozen in (0, 1)
            for order in (0, 1)
        ),
        ("lite0", 0, 1),
        ("in_place", 0, 1),
    ],
)
def test_checkpointed_features_change_no_result(batches, backbone, frozen, second_order):
    """Nor dropout's draws, nor BatchNorm's statistics, which see each picture once."""
    settings = {
        "backbone": "tiny_cnn" if backbone == "in_place" else backbone,
        "am_weight": 1.0,
        "ext_weight": 10.0,
        "second_order": bool(second_order),
        "freeze_batch_norm": bool(frozen),
    }
    if backbone == "lite0":
        pytest.importorskip("timm")
    net = vgg_like() if backbone == "in_place" else None
    plain = make_gain(net, **settings)
    lever = make_gain(copy.deepcopy(net), **settings, checkpoint_features=True)
    lever.load_state_dict(plain.state_dict())
    for ours, theirs in zip(step_of(lever, batches), step_of(plain, batches), strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, rtol=1e-9, atol=1e-12, msg=key)
    assert modes_of(lever) == modes_of(plain)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_features_change_no_result(batches):
    settings = {"am_weight": 1.0, "ext_weight": 10.0, "second_order": True}
    plain = make_gain(**settings)
    lever = make_gain(**settings, compile_features=True)
    lever.load_state_dict(plain.state_dict())
    for ours, theirs in zip(step_of(lever, batches), step_of(plain, batches), strict=True):
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, rtol=1e-9, atol=1e-12, msg=key)


def test_checkpointed_features_keep_less(batches):
    """Bytes that the graph holds for the backward pass."""

    def held(module):
        sizes = {}

        def pack(tensor):
            sizes[tensor.untyped_storage()._cdata] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            module.losses(*batches, 1.0)
        return sum(tensor.untyped_storage().nbytes() for tensor in sizes.values())

    parameters = 4 * sum(p.numel() for p in make_gain(backbone="resnet18").parameters())
    keep, again = (
        held(make_gain(backbone="resnet18", am_weight=1.0, ext_weight=1.0, checkpoint_features=value))
        for value in (False, True)
    )
    assert again - parameters < 0.5 * (keep - parameters)


COMPILED = """
import torch
from gain_lightning.methods.gain import GAIN

options = []
torch.nn.Module.compile = lambda self, **given: options.append(given)
features = GAIN(["a"], 64, backbone="lite0", output_stride=16, compile_features=True).backbone.features
features = torch.compile(features, backend="aot_eager", **options[0])  # what comes after takes minutes on a CPU
for num_images in (2, 3, 5):
    features(torch.rand(num_images, 3, 64, 64)).sum().backward()
"""


@pytest.mark.slow
def test_compiled_features_of_lite0_come_to_an_end():
    """Had the size of the images been a symbol too, torch.compile would not have ended in minutes."""
    process = subprocess.run([sys.executable, "-c", COMPILED], check=False, timeout=600)
    assert process.returncode == 0


def test_the_map_method_is_a_row_of_the_table(batches, monkeypatch):
    monkeypatch.setitem(
        CAMS, "ones", lambda features, score, pairs, *, second_order: 1 + 0 * grad_cam(features, score, pairs)
    )
    monkeypatch.setitem(gain_settings.CHOICES, "map_method", tuple(CAMS))
    module = GAIN(NAMES, SIDE, map_method="ones")
    weak = batches[0]
    assert (module.attend(weak["image"], module.multi_hot(weak["label"]))[1] == 1).all()
    with pytest.raises(ValueError, match=r"model\.map_method is 'lrp', expected one of grad_cam, ones"):
        GAIN(NAMES, SIDE, map_method="lrp")


# Classes without a place ------------------------------------------------------------------------------------


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("weights", [{"am_weight": 1}, {"ext_weight": 1}, {"am_weight": 1, "ext_weight": 1}])
def test_guidance_is_that_of_labels_without_the_class(batches, weights):
    """The oracle's labels lack the class in both streams; its L_cl alone differs."""
    got, expected = make_gain(no_object_classes=["c"], **weights), make_gain(**weights)
    bare = [{**batch, "label": batch["label"] * torch.tensor([1.0, 1.0, 0.0])} for batch in batches]
    whole = got.losses(*batches, 1.0)
    without = expected.losses(*bare, 1.0)
    assert whole.keys() == without.keys()
    for name in whole.keys() - {"loss", "loss_cl"}:
        torch.testing.assert_close(whole[name], without[name])
    torch.testing.assert_close(whole["loss_cl"], make_gain(**weights).losses(*batches, 1.0)["loss_cl"])


def test_single_label_asks_nothing_of_an_image_without_an_object(batches):
    """What is asked of the others stays what is above chance."""
    weak = batches[0]
    model = make_gain(task="single_label", am_weight=1, no_object_classes=["c"]).eval()
    alone = model.losses({**weak, "label": torch.tensor([2, 2, 2])}, None, 1.0)
    assert float(alone["loss_am"]) == 0
    alone["loss"].backward()
    weak = {**weak, "label": torch.tensor([2, 0, 2])}
    crack = {"image": weak["image"][1:2], "label": torch.tensor([0])}
    of_one = make_gain(task="single_label", am_weight=1).eval().losses(crack, None, 1.0)["loss_am"]
    torch.testing.assert_close(3 * model.losses(weak, None, 1.0)["loss_am"], of_one)


def test_no_map_is_computed_of_the_class():
    model = make_gain(no_object_classes=["b"]).eval()
    label = torch.ones(2, 3)
    logits, maps, pairs = model.attend(torch.randn(2, 3, 32, 32), label)
    assert (len(maps), logits.shape) == (4, (2, 3))
    assert pairs.label.tolist() == label_pairs(torch.tensor([[1, 0, 1]] * 2)).label.tolist()
    assert label.all()


def test_a_class_that_is_not_there_is_refused():
    with pytest.raises(
        ValueError, match=r"no_object_classes names 'aa', expected .* a, b, c; did you mean 'a'"
    ):
        make_gain(no_object_classes=["aa"])
    check_settings(make_gain(no_object_classes=NAMES).hparams)


@pytest.mark.parametrize("theirs", [None, ["car"]])
def test_data_and_model_agree(tmp_path, theirs):
    trainer = make_trainer(tmp_path, max_epochs=1)
    module = make_shapes_gain(no_object_classes=["boat"])
    with pytest.raises(ValueError, match=r"of the data and .*boat.* of GAIN: expected the same"):
        trainer.fit(module, datamodule=make_shapes(mask_budget=0, no_object_classes=theirs))


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_pictures_without_an_object_from_training_to_prediction(tmp_path, task):
    """Pictures of cracks and scratches with masks, and normal ones without: all the way through the commands."""
    root, run = tmp_path / "data", tmp_path / "run"
    table = ["filename,classes,split"]
    for number in range(24):
        name, split = (
            ("crack", "normal", "scratch")[number % 3],
            ("train", "train", "val", "test")[number // 6],
        )
        fake_folder.picture(root / "images" / f"{number}.png", number, (40, 40))
        table.append(f"{number}.png,{name},{split}")
        if name != "normal":
            fake_folder.mask(root / "masks" / name / f"{number}.png", {1: (4, 4)}, (40, 40))
    (root / "labels.csv").write_text("\n".join(table))
    words = [
        *("--data=FolderDataModule", f"--data.root={root}", "--data.no_object_classes=[normal]"),
        *(
            "--data.image_size=32",
            "--data.batch_size=4",
            "--data.masked_batch_size=2",
            "--data.num_workers=0",
        ),
        *("--data.mask_budget=1.0", f"--model.task={task}", "--model.am_weight=1", "--model.ext_weight=1"),
        *("--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"),
        *("--trainer.enable_model_summary=false", "--trainer.logger=false"),
    ]
    assert main(["fit", *words, f"--run_dir={run}"]) == 0
    summary = json.loads((run / "summary.json").read_text())
    assert summary["judged"] == {"pairs": 4, "images": 4}
    of_class = {row["class"]: row for row in rows(run / "per_class.csv")}
    assert of_class["normal"]["num_judged"] == "0"
    assert of_class["normal"]["ap"] != ""
    aps = [float(row["ap"]) for row in of_class.values()]
    assert summary["metrics"]["test/mean_ap"] == pytest.approx(np.mean(aps), abs=1e-5)
    normal = [row for row in rows(run / "per_image.csv") if row["class"] == "normal"]
    assert sum(row["present"] == "1" for row in normal) == 2
    assert {row["energy"] for row in normal} == {""}
    with np.load(run / "maps.npz") as maps:
        assert set(maps["class_names"][maps["pair_class"]]) == {"crack", "scratch"}
    last = run / "checkpoints" / "last.ckpt"
    given = ["predict", "--images", str(root / "images"), "--ckpt_path", str(last), "--threshold", "0"]
    assert main([*given, "--out", str(tmp_path / "out")]) == 0
    found = rows(tmp_path / "out" / "predictions.csv")
    assert {row["mapped"] for row in found if row["class"] == "normal"} == {"0"}
    assert {row["mapped"] for row in found if row["class"] != "normal"} == {"1"}
    assert main(["seeds", str(run), "--out", str(tmp_path / "seeds"), "--device=cpu"]) == 0
    with np.load(tmp_path / "seeds" / "cues.npz") as cues:
        kinds = {name: set(np.unique(cue)) for name, cue in cues.items()}
    names = sorted(of_class)
    assert all(names.index("normal") + 1 not in values for values in kinds.values())


def test_predict_maps_no_class_without_a_place(tmp_path, pictures):
    torch.manual_seed(0)
    model = GAIN(list(CLASSES), 32, no_object_classes=["boat"])
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    words = ["predict", "--images", str(pictures), "--ckpt_path", str(path), "--out", str(tmp_path / "out")]
    assert main([*words, "--classes", "boat"]) == 1
    assert main([*words, "--classes", "car"]) == 0
