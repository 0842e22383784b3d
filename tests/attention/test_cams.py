import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from torch import nn

from gain_lightning.attention import cams, grad_cam, input_x_gradient, label_pairs, margins

LABEL = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]])  # 2, 0, 3 and 1 labels


def linear_head(features, weight, bias):
    return F.linear(features.mean((2, 3)), weight, bias)


def random_features(generator, *shape, dtype=torch.double):
    return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()


@pytest.fixture
def mlp_head():
    """A head whose gradient depends on the features, and on their place."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [
            nn.Conv2d(5, 6, 2),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(6 * 2 * 3, 7),
            nn.Softplus(),
            nn.Linear(7, 4),
        ]
        return nn.Sequential(*layers).double()


# Maps of the input ----------------------------------------------------------------------------------------


def test_input_x_gradient_of_a_linear_network_adds_up_to_its_scores(generator):
    """A linear score is the sum of what its pixels add to it, and each pixel adds its value times its weight."""
    image = torch.randn(4, 3, 5, 6, generator=generator, dtype=torch.double).requires_grad_()
    weight = torch.randn(4, 3, 5, 6, generator=generator, dtype=torch.double)
    scores, pairs = torch.einsum("nchw,kchw->nk", image, weight), label_pairs(LABEL)
    maps = input_x_gradient(image, scores, pairs, signed=True)
    expected = [(weight[c] * image[n]).sum(0) for n, c in reference.pairs(LABEL)]
    torch.testing.assert_close(maps[:, 0], torch.stack(expected))
    torch.testing.assert_close(maps.sum((1, 2, 3)), scores[pairs.image, pairs.label])
    torch.testing.assert_close(input_x_gradient(image, scores, pairs), maps.relu())
    assert input_x_gradient(image, scores, label_pairs(torch.zeros(4, 4))).shape == (0, 1, 5, 6)


def test_input_x_gradient_equals_captum(generator, tiny_backbone):
    library = pytest.importorskip("captum.attr")
    tiny_backbone.double().eval()
    image = torch.randn(4, 3, 32, 32, generator=generator, dtype=torch.double).requires_grad_()
    label = LABEL[:, :3]
    maps = input_x_gradient(image, tiny_backbone(image), label_pairs(label), signed=True)
    for ours, (n, c) in zip(maps, reference.pairs(label), strict=True):
        theirs = library.InputXGradient(tiny_backbone).attribute(image[n : n + 1], target=c)
        torch.testing.assert_close(ours, theirs[0].sum(0, keepdim=True))


# Grad-CAM -------------------------------------------------------------------------------------------------


def test_grad_cam_equals_the_analytic_cam_of_gap_and_linear(generator):
    features = random_features(generator, 4, 5, 3, 4)
    weight = torch.randn(4, 5, generator=generator, dtype=torch.double)
    maps = grad_cam(features, linear_head(features, weight, torch.ones(4).double()), label_pairs(LABEL))
    expected = [
        np.maximum(sum(weight[c, k].item() / 12 * features[n, k].detach().numpy() for k in range(5)), 0)
        for n, c in reference.pairs(LABEL)
    ]
    np.testing.assert_allclose(maps.squeeze(1).detach().numpy(), expected, rtol=1e-12, atol=1e-15)
    assert (maps > 0).any(dim=(2, 3)).all()


def test_signed_grad_cam_keeps_evidence_against(generator):
    features = random_features(generator, 4, 5, 3, 4)
    weight = torch.randn(4, 5, generator=generator, dtype=torch.double)
    logits, pairs = linear_head(features, weight, None), label_pairs(LABEL)
    signed = grad_cam(features, logits, pairs, signed=True)
    # A head of GAP and one layer without bias: a map's sum is its logit.
    torch.testing.assert_close(signed.sum((1, 2, 3)), logits[pairs.image, pairs.label])
    assert (signed < 0).any()
    torch.testing.assert_close(signed.relu(), grad_cam(features, logits, pairs))


def test_grad_cam_weights_equal_finite_differences_of_the_logit(generator, mlp_head):
    features = random_features(generator, 4, 5, 3, 4)
    maps = grad_cam(features, mlp_head(features), label_pairs(LABEL))
    step = 1e-5
    for p, (n, c) in enumerate(reference.pairs(LABEL)):
        feature = features[n].detach()
        gradient = np.zeros(feature.shape)
        for place in np.ndindex(*feature.shape):
            shift = torch.zeros_like(feature)
            shift[place] = step
            with torch.no_grad():
                up, down = mlp_head(torch.stack([feature + shift, feature - shift]))[:, c]
            gradient[place] = (up - down) / (2 * step)
        expected = reference.grad_cam(feature.numpy(), gradient)
        np.testing.assert_allclose(maps[p, 0].detach().numpy(), expected, rtol=1e-7, atol=1e-10)


def raw_maps_of_library(monkeypatch, model, layer, image, class_idx):
    """Maps of pytorch_grad_cam for one class an image, before its min-max scaling and resizing."""
    library = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    monkeypatch.setattr("pytorch_grad_cam.base_cam.scale_cam_image", lambda cam, target_size=None: cam)
    with library.GradCAM(model=model, target_layers=[layer]) as cam:
        return cam(image, [targets.ClassifierOutputTarget(c) for c in class_idx])


@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
def test_grad_cam_equals_pytorch_grad_cam(generator, monkeypatch, torchvision_models, name):
    model, backbone = torchvision_models(name)
    image = torch.randn(2, 3, 96, 96, generator=generator)
    layer = model.features[29] if name == "vgg16" else model.layer4
    expected = raw_maps_of_library(monkeypatch, model, layer, image, [1, 3])
    backbone.eval()
    features = backbone.features(image)
    label = torch.tensor([[0, 1, 0, 0, 0], [0, 0, 0, 1, 0]])
    maps = grad_cam(features, backbone.head(features), label_pairs(label)).squeeze(1).detach().numpy()
    assert maps.shape[1:] == ((6, 6) if name == "vgg16" else (3, 3))
    assert expected.max((1, 2)).min() > 0
    for ours, theirs in zip(maps, expected, strict=True):
        np.testing.assert_allclose(ours / theirs.max(), theirs / theirs.max(), atol=1e-5)


def test_grad_cam_follows_the_order_of_images(generator, mlp_head):
    features = random_features(generator, 4, 5, 3, 4)
    maps = grad_cam(features, mlp_head(features), label_pairs(LABEL))
    order = [2, 0, 3, 1]
    shuffled = features[order]
    permuted = grad_cam(shuffled, mlp_head(shuffled), label_pairs(LABEL[order]))
    of_image = {n: maps[label_pairs(LABEL).image == n] for n in range(4)}
    torch.testing.assert_close(permuted, torch.cat([of_image[n] for n in order]), rtol=1e-12, atol=1e-14)


def test_grad_cam_of_a_batch_equals_batches_of_one_in_eval_mode(generator, tiny_backbone):
    tiny_backbone.double().eval()
    image = torch.randn(4, 3, 32, 32, generator=generator, dtype=torch.double)
    label = LABEL[:, :3]

    def maps_of(image, label):
        features = tiny_backbone.features(image)
        return grad_cam(features, tiny_backbone.head(features), label_pairs(label))

    alone = [maps_of(image[n : n + 1], label[n : n + 1]) for n in range(4)]
    assert [len(maps) for maps in alone] == [2, 0, 3, 0]
    torch.testing.assert_close(maps_of(image, label), torch.cat(alone), rtol=1e-10, atol=1e-14)
    assert all((maps > 0).any(dim=(2, 3)).any() for maps in alone if len(maps))


def test_grad_cam_gives_each_label_its_own_map(generator):
    features = random_features(generator, 1, 2, 2, 2)
    weight = torch.eye(2).double()  # class c sees channel c
    maps = grad_cam(features, linear_head(features, weight, None), label_pairs(torch.ones(1, 2)))
    torch.testing.assert_close(maps[:, 0], features[0].relu() / 4)
    assert not torch.allclose(maps[0], maps[1])


def test_grad_cam_without_pairs_is_empty(generator):
    features = random_features(generator, 2, 5, 3, 4, dtype=torch.float)
    logits = linear_head(features, torch.ones(4, 5), None)
    maps = grad_cam(features, logits, label_pairs(torch.zeros(2, 4)))
    assert maps.shape == (0, 1, 3, 4)
    assert maps.dtype == torch.float


@pytest.mark.parametrize("num_labels", [0, 2])
def test_grad_cam_of_bfloat16_features_is_float32(generator, num_labels):
    features = random_features(generator, 1, 8, 3, 3, dtype=torch.float)
    weight = torch.randn(2, 8, generator=generator)
    label = torch.zeros(1, 2)
    label[:, :num_labels] = 1
    expected = grad_cam(features, linear_head(features, weight, None), label_pairs(label))
    half = features.detach().bfloat16().requires_grad_()
    maps = grad_cam(half, linear_head(half, weight.bfloat16(), None), label_pairs(label))
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, expected, rtol=0, atol=0.02)


def test_grad_cam_sums_channels_in_float32_under_autocast():
    """Their sum, 521.015625, is no bfloat16 number; those near it are 520 and 524."""
    features = torch.full((1, 513, 1, 1), 1.0, requires_grad=True)
    weight = torch.full((1, 513), 1 + 2**-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = grad_cam(features, F.linear(features.mean((2, 3)), weight), label_pairs(torch.ones(1, 1)))
    assert maps.dtype == torch.float32
    assert maps.item() == 513 * (1 + 2**-6)


def test_grad_cam_leaves_parameter_grads_alone(generator, tiny_backbone):
    tiny_backbone.eval()
    parameters = list(tiny_backbone.parameters())
    image = torch.randn(2, 3, 32, 32, generator=generator)

    def explain():
        features = tiny_backbone.features(image)
        grad_cam(features, tiny_backbone.head(features), label_pairs(LABEL[:2, :3]), second_order=True)
        return features

    features = explain()
    assert features.grad_fn is not None
    assert all(parameter.grad is None for parameter in parameters)
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 3)
    explain()
    assert all((parameter.grad == 3).all() for parameter in parameters)


@pytest.mark.parametrize(("rows", "passes"), [([0, 1, 2, 3], 2), ([0, 3, 3], 1), ([1, 3], 1), ([1, 1], 0)])
def test_grad_cam_runs_one_backward_pass_for_two_labels_an_image(generator, monkeypatch, rows, passes):
    calls = []
    true_grad = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *args, **kwargs: calls.append(1) or true_grad(*args, **kwargs)
    )
    monkeypatch.setattr(cams, "RANKS_AT_ONCE", 2)
    features = random_features(generator, len(rows), 5, 3, 4)
    weight = torch.randn(4, 5, generator=generator, dtype=torch.double)
    grad_cam(features, linear_head(features, weight, None), label_pairs(LABEL[rows]))
    assert len(calls) == passes


def test_grad_cam_uses_no_gradient_of_the_feature_layers(generator, tiny_backbone):
    """The backward passes stop at the features: their layers may not support a second one."""

    class OneWay(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise AssertionError("backward pass through the features")

    features = OneWay.apply(random_features(generator, 2, 96, 4, 4, dtype=torch.float))
    maps = grad_cam(features, tiny_backbone.head(features), label_pairs(LABEL[:2, :3]), second_order=True)
    assert maps.shape == (2, 1, 4, 4)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_grad_cam_refuses_features_without_graph(generator, tiny_backbone, mode):
    with mode():
        features = tiny_backbone.features(torch.randn(1, 3, 32, 32, generator=generator))
        logits = tiny_backbone.head(features)
        with pytest.raises(RuntimeError, match="enable_grad"):
            grad_cam(features, logits, label_pairs(torch.ones(1, 3)))


@pytest.mark.parametrize("second_order", [False, True])
def test_grad_cam_differentiates_the_weights_only_in_second_order(generator, second_order):
    """With a linear head, dA/dW = f / (h w) where A > 0: there in second order, absent in first."""
    features = random_features(generator, 1, 3, 2, 2)
    weight = torch.randn(1, 3, generator=generator, dtype=torch.double).requires_grad_()
    maps = grad_cam(
        features,
        linear_head(features, weight, None),
        label_pairs(torch.ones(1, 1)),
        second_order=second_order,
    )
    (gradient,) = torch.autograd.grad(maps.sum(), weight, allow_unused=True)
    on = maps[0].detach() > 0
    assert on.any()
    if second_order:
        torch.testing.assert_close(gradient[0], (features[0].detach() * on).sum((1, 2)) / 4)
    else:
        assert gradient is None


# Soft mask and erased image -------------------------------------------------------------------------------


def test_margins_are_log_odds_of_the_softmax():
    logits = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    probability = logits.softmax(1)
    torch.testing.assert_close(margins(logits), (probability / (1 - probability)).log())


def test_map_of_a_margin_shows_evidence_against_the_other_class():
    """One channel speaks for class 0, one only against class 1: the logit's map shows the first alone."""
    features = torch.zeros(1, 2, 1, 2)
    features[0, 0, 0, 0], features[0, 1, 0, 1] = 1.0, 1.0
    features.requires_grad_()
    weight = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    logits = features.mean((2, 3)) @ weight.T
    pairs = label_pairs(torch.tensor([[1, 0]]))
    of_logit, of_margin = (
        grad_cam(features, score, pairs).flatten().tolist() for score in (logits, margins(logits))
    )
    assert of_logit == [0.5, 0.0]
    assert of_margin == [0.5, 0.5]
