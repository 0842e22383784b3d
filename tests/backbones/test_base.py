import copy

import pytest
import torch
from backbone_inputs import image

from gain_lightning.backbones import build_backbone


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
