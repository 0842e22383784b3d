import pytest
import torch
import torchvision
from backbone_inputs import image, save
from torch import nn

from gain_lightning.backbones import build_backbone


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
