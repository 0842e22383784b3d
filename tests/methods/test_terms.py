"""The terms of S_am beside L_am: what they see, and what they move."""

import pytest
import torch
from small_gain import make_gain
from torch import nn

from gain_lightning.attention import erase, even_cells, label_pairs, place_maps, scale_maps, soft_mask
from gain_lightning.backbones import Backbone
from gain_lightning.losses import area_loss, kept_classes_loss, map_agreement_loss, sufficiency_loss
from gain_lightning.methods.gain_settings import SELF_WEIGHTS
from gain_lightning.methods.judge import JUDGES
from gain_lightning.methods.terms import TERMS
from gain_lightning.methods.views import view_targets


def pieces(module, weak):
    """Maps, masks and pairs of a batch, made step by step."""
    _, maps, pairs = module.attend(weak["image"], weak["label"])
    size = weak["image"].shape[2:]
    attention = place_maps(scale_maps(maps), size, module.backbone.cells(size))
    return soft_mask(attention, sigma=module.hparams.sigma, omega=module.hparams.omega), pairs


def test_every_term_equals_its_parts(batches):
    weights = {"am_weight": 2.0, "kept_weight": 3.0, "area_weight": 5.0, "sufficiency_weight": 7.0}
    module = make_gain(**weights).eval()
    weak = batches[0]
    terms = module.losses(weak, None, 0.5)
    mask, pairs = pieces(module, weak)
    image = weak["image"][pairs.image]
    erased, kept = module(erase(image, mask)), module(image * mask)
    torch.testing.assert_close(terms["loss_area"], area_loss(mask, pairs))
    torch.testing.assert_close(terms["loss_kept"], kept_classes_loss(erased, weak["label"], pairs))
    torch.testing.assert_close(terms["loss_sufficiency"], sufficiency_loss(kept, pairs))
    weighted = sum(weights[TERMS[name].weight] * terms[name] for name in TERMS if name in terms)
    torch.testing.assert_close(terms["loss"], terms["loss_cl"] + 0.5 * weighted)


@pytest.mark.parametrize("weight", SELF_WEIGHTS)
def test_a_term_alone_moves_the_maps(batches, weight):
    """Its gradient reaches the features although the judge learns nothing."""
    module = make_gain(**{weight: 1.0}, judge="frozen").eval()
    assert module.method == "gain"
    terms = module.losses(batches[0], None, 1.0)
    (name,) = terms.keys() - {"loss", "loss_cl"}
    assert TERMS[name].weight == weight
    (gradient,) = torch.autograd.grad(terms[name], [module.backbone.features[0].weight])
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("judge", JUDGES)
def test_views_compare_maps_with_targets_that_have_no_gradient(batches, judge):
    """The loss is that of the maps beside fixed targets, and falls along its gradient."""
    module = make_gain(view_weight=1.0, judge=judge).eval()
    weak, parameter = batches[0], module.backbone.features[0].weight

    def loss():
        return module.losses(weak, None, 1.0)["loss_view"]

    before = loss()
    (gradient,) = torch.autograd.grad(before, [parameter])
    with torch.no_grad():
        parameter -= 1e-3 * gradient / gradient.norm()
    # A judge that moves with the maps moves the targets too.
    assert judge == "shared" or loss() < before


def test_a_share_of_the_images_is_guided(batches):
    """Of three images the first two: each term is that of a batch of these two alone, and L_e is that of all masks."""
    settings = dict.fromkeys((*SELF_WEIGHTS, "ext_weight"), 1.0)
    module = make_gain(**settings, guided_share=0.6).eval()
    weak, masked = batches
    part = module.losses(weak, masked, 1.0)
    module.hparams.guided_share = 1.0
    first = {key: weak[key][:2] for key in ("image", "label", "id")}
    expected = module.losses(first, masked, 1.0)
    for name in TERMS:
        torch.testing.assert_close(part[name], expected[name])
    torch.testing.assert_close(part["loss_cl"], module.losses(weak, None, 0.0)["loss_cl"])


def test_a_target_is_the_soft_mask_of_the_agreed_map(generator):
    """Eq. 4 undone gives a map whose maximum is 1, whatever the threshold."""
    module = make_gain(view_weight=1.0, omega=5.0).eval()
    image, pairs = torch.randn(2, 3, 32, 32, generator=generator), label_pairs(torch.ones(2, 3))
    own = torch.rand(6, 1, 8, 8, generator=generator)
    agreed = []
    for sigma in (0.3, 0.6):
        module.hparams.view_sigma = sigma
        with torch.no_grad():
            target = view_targets(module, module.backbone, image, pairs, own)
        agreed.append(target.logit() / 5 + sigma)
    torch.testing.assert_close(agreed[0], agreed[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(agreed[0].amax((1, 2, 3)), torch.ones(6))


def test_a_map_that_equals_its_target_has_no_loss(generator):
    maps = torch.rand(3, 1, 4, 4, generator=generator)
    pairs = label_pairs(torch.tensor([[1, 1], [0, 0], [0, 1]]))
    assert map_agreement_loss(maps, maps, pairs) == 0
    expected = ((maps[0] ** 2).mean() + (maps[1] ** 2).mean()) / 2 + (maps[2] ** 2).mean()
    torch.testing.assert_close(map_agreement_loss(maps, torch.zeros_like(maps), pairs), expected / 3)


def test_a_judge_sees_smaller_pictures(batches):
    module, seen = make_gain(am_weight=1.0, am_size=0.5, judge="frozen").eval(), []
    module.judge.of(module.backbone).register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[2:]))
    module.losses(batches[0], None, 1.0)
    assert seen == [tuple(side // 2 for side in batches[0]["image"].shape[2:])]


def test_the_masked_stream_runs_every_so_many_batches_with_as_much_more_weight(batches):
    module = make_gain(ext_weight=3.0, ext_every=4).eval()
    terms = module.losses(*batches, 1.0)
    torch.testing.assert_close(terms["loss"], terms["loss_cl"] + 12 * terms["loss_ext"])
    assert "loss_ext" not in module.losses(batches[0], None, 1.0)


def test_a_batch_without_a_pair_gives_zero_in_the_graph(batches):
    weak = {**batches[0], "label": torch.zeros_like(batches[0]["label"])}
    weak.pop("pairs", None)
    module = make_gain(**dict.fromkeys(SELF_WEIGHTS, 1.0))
    terms = module.losses(weak, None, 1.0)
    assert all(float(terms[name].detach()) == 0 for name in TERMS if name != "loss_ext")
    terms["loss"].backward()


class Colours(Backbone):
    """A network whose features are the image's colours, with one layer behind their means."""

    def __init__(self, weight):
        classifier = nn.Linear(3, 3, bias=False)
        classifier.weight.data = torch.tensor(weight)
        features = nn.Identity()
        super().__init__(
            features, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), classifier), classifier
        )

    def cells(self, size):
        return even_cells(size, size)


@pytest.mark.parametrize("loss", ["l2", "l1", "rrr"])
@pytest.mark.parametrize(("sign", "is_freed"), [("positive", False), ("both", True)])
def test_a_bias_of_negative_evidence_alone_is_seen_by_signed_maps(loss, sign, is_freed):
    """Red objects are of class b. Green ground speaks against class a, and for nothing: every map is right without it.

    The first image shows b and not a, so only the map of an absent class tells.
    """
    net = Colours([[0.0, -1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    image = torch.zeros(1, 3, 4, 4)
    image[:, 1] = 1  # green
    image[:, :, :2, :2] = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    mask = image[:, 0].to(torch.uint8)
    masked = {
        "image": image,
        "label": torch.tensor([[0.0, 1.0, 0.0]]),
        "mask": mask,
        "mask_image": torch.tensor([0]),
        "mask_class": torch.tensor([1]),
        "id": ["green"],
    }
    module = make_gain(net, ext_weight=1.0, ext_loss=loss, map_sign=sign)
    weak = {key: masked[key] for key in ("image", "label", "id")}
    rates = torch.optim.SGD(net.parameters(), lr=0.2)
    for _ in range(60):
        rates.zero_grad()
        module.losses(weak, masked, 1.0)["loss_ext"].backward()
        rates.step()
    against = net.classifier.weight[0, 1].item()
    assert (abs(against) < 0.3) == is_freed, against
    assert net.classifier.weight[1, 0] > 0.5
