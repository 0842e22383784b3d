import pytest
import torch

from gain_lightning.backbones import FORMATS, build_backbone, fastest_format


@pytest.mark.parametrize(
    ("name", "output_stride"), [("tiny_cnn", 16), ("vgg16", 8), ("resnet18", 4), ("resnet18", 0)]
)
def test_output_stride_that_a_backbone_lacks_is_refused(name, output_stride):
    with pytest.raises(ValueError, match=f"output_stride is {output_stride}"):
        build_backbone(name, 3, output_stride=output_stride)


def test_backbone_is_built_in_training_mode():
    pytest.importorskip("timm")
    for name in ("tiny_cnn", "resnet18", "lite0"):
        assert all(module.training for module in build_backbone(name, 3).modules())


@pytest.mark.parametrize(
    ("name", "near"), [("resnet5", "resnet50"), ("vgg_16", "vgg16"), ("tinycnn", "tiny_cnn")]
)
def test_unknown_backbone_suggests_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"unknown backbone '{name}'; did you mean '{near}'"):
        build_backbone(name, 3)


def test_unknown_backbone_like_no_other_lists_all():
    with pytest.raises(ValueError, match=r"known: tiny_cnn, vgg16, .*timm/<model>"):
        build_backbone("qqqqq", 3)


def test_weights_of_five_axes_stay_as_they_are():
    """channels_last is for four."""
    pytest.importorskip("timm")
    backbone = build_backbone("timm/lambda_resnet26t", 3)
    assert {parameter.ndim for parameter in backbone.parameters()} == {1, 2, 4, 5}
    convolutions = [parameter for parameter in backbone.parameters() if parameter.ndim == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in convolutions)


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
