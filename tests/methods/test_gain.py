import copy

import numpy as np
import pytest
import pytorch_lightning as pl
import reference
import torch
import torch.nn.functional as F
from fake_batch import masks_of, oracle_masks
from small_gain import (
    CELLS,
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
from smooth_net import SmoothNet, central_differences, composed_loss, signed_loss
from torch import nn
from waits import Waits

from gain_lightning.attention import Cells, erase, grad_cam, label_pairs, place_maps, scale_maps, soft_mask
from gain_lightning.constants import VOID
from gain_lightning.datasets.shapes.boat import draw_picture
from gain_lightning.losses import attention_mining_loss
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.gain_settings import SELF_WEIGHTS
from gain_lightning.methods.step import Step
from gain_lightning.methods.terms import mining_terms

# The three methods ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["multi_label", "single_label"])
def test_gain_without_weights_is_a_plain_classifier(batches, task):
    """Loss, gradients, BatchNorm statistics and the parameters after the step, to the bit."""
    weak, masked = batches
    weak["label"][1:] = torch.tensor([[0, 1, 0], [0, 0, 1]])
    module = make_gain(task=task, cl_reduction="mean")
    plain = copy.deepcopy(module.backbone)
    configured = module.configure_optimizers()
    optimizer = torch.optim.AdamW(plain.parameters())

    logits = plain(weak["image"])
    if task == "multi_label":
        loss = F.multilabel_soft_margin_loss(logits, weak["label"])
    else:
        loss = F.cross_entropy(logits, weak["label"].argmax(1))
    loss.backward()
    terms = module.losses(weak, masked, 1.0)
    terms["loss"].backward()

    assert sorted(terms) == ["loss", "loss_cl"]
    # The gradient is the same to the bit; torch adds the images' losses up in another order.
    torch.testing.assert_close(terms["loss"], loss)
    for ours, theirs in zip(module.backbone.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)
    optimizer.step()
    configured.step()
    assert same_state(module.backbone, plain.state_dict())


@pytest.mark.parametrize(("am_weight", "ext_weight"), [(1, 0), (0, 10), (1, 10)])
def test_every_method_takes_the_plain_step_in_the_warm_up(batches, am_weight, ext_weight):
    weak, masked = batches
    plain, module = make_gain(), make_gain(am_weight=am_weight, ext_weight=ext_weight)
    for gain, streams in ((plain, (weak, None)), (module, (weak, masked))):
        terms = gain.losses(*streams, 0.0)
        assert sorted(terms) == ["loss", "loss_cl"]
        terms["loss"].backward()
    assert same_state(module.backbone, plain.backbone.state_dict())
    for ours, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def oracle_terms(backbone, weak, masked, *, train, **settings):
    """Every term of the loss by the slow oracles, for a head of GAP and one linear layer."""
    settings = {"sigma": 0.5, "omega": 10.0, "scaling": "max", "score": "probability", **settings}
    backbone = copy.deepcopy(backbone).double().train(train)
    streams = [weak] if masked is None else [weak, masked]
    image = torch.cat([stream["image"] for stream in streams]).double()
    label = torch.cat([stream["label"] for stream in streams]).numpy()
    num_weak = len(weak["image"])
    with torch.no_grad():
        features = backbone.features(image).numpy()
        logits = backbone.head(torch.from_numpy(features)).numpy()
    weight = backbone.classifier.weight.detach().numpy()
    maps = []
    for n, c in reference.pairs(label):
        gradient = np.broadcast_to(weight[c][:, None, None] / features[n, 0].size, features[n].shape)
        maps.append(reference.scale(reference.grad_cam(features[n], gradient), settings["scaling"]))
    erased = []
    for (n, _), attention in zip(reference.pairs(label), maps, strict=True):
        if n < num_weak:
            large = reference.place(attention, SIDE, SIDE, *CELLS)
            mask = reference.soft_mask(large, settings["sigma"], settings["omega"])
            erased.append(image[n].numpy() - mask * image[n].numpy())
    return label, num_weak, maps, logits, np.stack(erased)


def erased_logits_of(module, weak, erased):
    """By the weights and the running statistics as they are after the first pass."""
    with torch.no_grad():
        return copy.deepcopy(module.backbone).double().eval()(torch.from_numpy(erased)).numpy()


@pytest.mark.parametrize(
    ("scaling", "score", "resolution", "reduction", "guidance", "name"),
    [
        ("max", "probability", "image", "mean", 1.0, "l2"),
        ("minmax", "logit", "map", "sum", 0.5, "l2"),
        ("none", "probability", "map", "mean", 1.0, "l2"),
        ("max", "probability", "image", "mean", 1.0, "energy"),
    ],
)
def test_losses_equal_the_oracle(
    tiny_backbone, batches, scaling, score, resolution, reduction, guidance, name
):
    weak, masked = batches
    module = make_gain(
        copy.deepcopy(tiny_backbone),
        am_weight=0.7,
        ext_weight=3.0,
        scaling=scaling,
        am_score=score,
        ext_resolution=resolution,
        ext_reduction=reduction,
        ext_loss=name,
        sigma=0.4,
        omega=8.0,
    )
    oracle = oracle_terms(tiny_backbone, weak, masked, train=True, scaling=scaling, sigma=0.4, omega=8.0)
    label, num_weak, maps, logits, erased = oracle
    terms = {name: term.item() for name, term in module.losses(weak, masked, guidance).items()}

    weak_label = label[:num_weak]
    loss_cl = reference.classification_loss(logits[:num_weak], weak_label, "multi_label")
    erased_logits = erased_logits_of(module, weak, erased)
    loss_am = reference.mining_loss(erased_logits, weak_label, score, "multi_label")
    masked_maps = maps[len(erased) :]
    if resolution == "image":
        masked_maps = [reference.place(attention, SIDE, SIDE, *CELLS) for attention in masked_maps]
    cells = None if resolution == "image" else CELLS
    loss_ext = reference.supervision_loss(
        masked_maps, oracle_masks(masked), label[num_weak:], reduction, name, cells
    )
    assert terms["loss_cl"] == pytest.approx(loss_cl, rel=1e-4)
    assert terms["loss_am"] == pytest.approx(loss_am, rel=1e-4)
    assert terms["loss_ext"] == pytest.approx(loss_ext, rel=1e-3)
    total = loss_cl + guidance * (0.7 * loss_am + 3.0 * loss_ext)
    assert terms["loss"] == pytest.approx(total, rel=1e-3)


@pytest.mark.parametrize(("am_weight", "ext_weight"), [(0.5, 0), (0, 4.0), (0.5, 4.0)])
@pytest.mark.parametrize("guidance", [0.25, 1.0])
def test_loss_is_the_sum_of_its_weighted_terms(batches, am_weight, ext_weight, guidance):
    terms = make_gain(am_weight=am_weight, ext_weight=ext_weight).losses(*batches, guidance)
    expected = terms["loss_cl"]
    assert ("loss_am" in terms, "loss_ext" in terms) == (am_weight > 0, ext_weight > 0)
    if am_weight:
        expected = expected + guidance * am_weight * terms["loss_am"]
    if ext_weight:
        expected = expected + guidance * ext_weight * terms["loss_ext"]
    torch.testing.assert_close(terms["loss"], expected)


def test_masked_images_enter_the_supervision_loss_alone(batches):
    """With BatchNorm frozen, the weak stream's terms do not know of the masked stream."""
    weak, masked = batches
    module = make_gain(am_weight=1, ext_weight=1, freeze_batch_norm=True).train()
    without = module.losses(weak, None, 1.0)
    together = module.losses(weak, masked, 1.0)
    assert sorted(without) == ["loss", "loss_am", "loss_cl"]
    for name in ("loss_cl", "loss_am"):
        torch.testing.assert_close(together[name], without[name])
    module.hparams.am_weight = 0
    torch.testing.assert_close(module.losses(weak, masked, 1.0)["loss_ext"], together["loss_ext"])


@pytest.mark.parametrize("resolution", ["image", "map"])
def test_losses_of_images_without_a_label_are_finite(batches, resolution):
    """Neither stream has one: L_am and L_e are 0, and the step is that of L_cl."""
    weak, masked = batches
    weak["label"][:], masked["label"][:] = 0, 0
    module = make_gain(am_weight=1, ext_weight=10, ext_resolution=resolution)
    terms = module.losses(weak, masked, 1.0)
    terms["loss"].backward()
    assert terms["loss_am"] == terms["loss_ext"] == 0
    assert torch.equal(terms["loss"], terms["loss_cl"])
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


def test_class_index_labels_equal_one_hot_labels(batches):
    weak, masked = batches
    indices = torch.tensor([2, 0, 1]), torch.tensor([1, 0])
    terms = []
    for as_index in (True, False):
        module = make_gain(task="single_label", am_weight=1, ext_weight=1)
        labels = indices if as_index else [F.one_hot(index, 3).float() for index in indices]
        streams = [{**stream, "label": label} for stream, label in zip((weak, masked), labels, strict=True)]
        terms.append(module.losses(*streams, 1.0))
    assert sorted(terms[0]) == ["loss", "loss_am", "loss_cl", "loss_ext"]
    assert all(torch.equal(terms[0][name], terms[1][name]) for name in terms[0])


@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("name", ["loss_am", "loss_ext"])
def test_guidance_losses_move_the_feature_layers(batches, name, second_order):
    module = make_gain(am_weight=1, ext_weight=1, second_order=second_order)
    module.losses(*batches, 1.0)[name].backward()
    convolutions = [layer for layer in module.backbone.features.modules() if isinstance(layer, nn.Conv2d)]
    for layer in (convolutions[0], convolutions[-1]):
        assert layer.weight.grad.isfinite().all()
        assert layer.weight.grad.abs().max() > 1e-8
    # L_e reaches a linear head through the channel weights alone.
    grad = module.backbone.classifier.weight.grad
    assert (grad is not None and bool((grad != 0).any())) == (second_order or name == "loss_am")


# The gradient of the whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("name", ["loss_am", "loss_ext"])
def test_gradient_of_the_guidance_losses_equals_finite_differences(generator, name, hidden):
    """Second order: of the whole function. First order: of the function whose channel weights are held."""
    torch.manual_seed(17)  # maps with pixels on and off, none within a step of the kink
    net = SmoothNet(hidden)
    nn.init.normal_(net.classifier.weight)
    label = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.double)
    image = 2 * torch.randn(2, 3, 11, 11, generator=generator, dtype=torch.double)
    mask = torch.tensor([0, 1, 3, VOID])[torch.randint(4, (2, 11, 11), generator=generator)]
    mask[1][mask[1] == 1] = 2
    batch = {"image": image, "label": label, **masks_of(mask, label)}
    with torch.no_grad():
        held = net.channel_weights(net.features(batch["image"]), batch["label"])
    numeric = {
        True: central_differences(net, lambda: composed_loss(net, batch, name)),
        False: central_differences(net, lambda: composed_loss(net, batch, name, held)),
    }
    weak, masked = (
        (batch, None) if name == "loss_am" else ({**batch, "label": torch.zeros(2, 3).double()}, batch)
    )
    settings = {"am_weight": float(name == "loss_am"), "ext_weight": float(name == "loss_ext")}
    for second_order in (True, False):
        module = make_gain(net, second_order=second_order, **settings)
        loss = module.losses(weak, masked, 1.0)[name]
        assert loss.item() == pytest.approx(composed_loss(net, batch, name).item(), rel=1e-6)
        gradients = torch.autograd.grad(loss, list(net.parameters()), materialize_grads=True)
        ours = torch.cat([gradient.flatten() for gradient in gradients])
        torch.testing.assert_close(ours, numeric[second_order], rtol=1e-4, atol=1e-7)
    difference = (numeric[True] - numeric[False]).norm() / numeric[True].norm()
    assert difference > 0.01  # a hundred times the tolerance


@pytest.mark.parametrize("hidden", [False, True])
def test_gradient_of_signed_maps_equals_finite_differences(generator, hidden):
    torch.manual_seed(17)
    net = SmoothNet(hidden)
    nn.init.normal_(net.classifier.weight)
    label = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.double)
    image = 2 * torch.randn(2, 3, 11, 11, generator=generator, dtype=torch.double)
    mask = torch.tensor([0, 0, 1, 3, VOID])[torch.randint(5, (2, 11, 11), generator=generator)]
    mask[1][mask[1] == 1] = 2
    batch = {"image": image, "label": label, **masks_of(mask, label)}
    held = copy.deepcopy(net)
    numeric = central_differences(net, lambda: signed_loss(net, batch, held))
    module = make_gain(net, ext_weight=1.0, map_sign="both")
    weak = {**batch, "label": torch.zeros(2, 3).double()}
    loss = module.losses(weak, batch, 1.0)["loss_ext"]
    assert loss.item() == pytest.approx(signed_loss(net, batch).item(), rel=1e-6)
    gradients = torch.autograd.grad(loss, list(net.parameters()), materialize_grads=True)
    ours = torch.cat([gradient.flatten() for gradient in gradients])
    torch.testing.assert_close(ours, numeric, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("sign", "loss"), [("positive", "l2"), ("both", "energy")])
def test_gradient_of_maps_of_the_input_equals_finite_differences(generator, sign, loss):
    torch.manual_seed(17)
    net = SmoothNet(hidden=True)
    nn.init.normal_(net.classifier.weight)
    label = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.double)
    image = 2 * torch.randn(2, 3, 11, 11, generator=generator, dtype=torch.double)
    mask = torch.tensor([0, 0, 1, 3, VOID])[torch.randint(5, (2, 11, 11), generator=generator)]
    mask[1][mask[1] == 1] = 2
    batch = {"image": image, "label": label, **masks_of(mask, label)}
    module = make_gain(net, ext_weight=1.0, ext_layer="input", ext_loss=loss, map_sign=sign, scaling="none")
    weak = {**batch, "label": torch.zeros(2, 3).double()}

    def shown():
        maps = []
        for n, c in reference.pairs(label):
            pixels = image[n : n + 1].clone().requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(net(pixels)[0, c], pixels)
            attention = (gradient * pixels.detach()).sum(1)
            maps.append(attention if sign == "both" else attention.relu())
        arrays = (torch.cat(maps).numpy(), oracle_masks(batch), label.numpy())
        # The oracle of energy knows no signs.
        return reference.supervision_loss(
            abs(arrays[0]) if loss == "energy" else arrays[0], *arrays[1:], "mean", loss
        )

    terms = module.losses(weak, batch, 1.0)
    if sign == "positive":
        assert terms["loss_ext"].item() == pytest.approx(shown(), rel=1e-9)
        gradients = torch.autograd.grad(terms["loss_ext"], list(net.parameters()), materialize_grads=True)
        ours = torch.cat([gradient.flatten() for gradient in gradients])
        torch.testing.assert_close(ours, central_differences(net, shown), rtol=1e-4, atol=1e-6)
    else:
        absent = terms["loss_ext"].item() - shown()
        assert 0 < absent < 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"compile_features": True}, "compile_features is True"),
        ({"checkpoint_features": True}, "checkpoint_features is True"),
        ({"second_order": False}, "second_order is False"),
        ({"balance": "gradient"}, "balance is gradient"),
    ],
)
def test_maps_of_the_input_refuse_what_has_no_second_gradient(setting, message):
    with pytest.raises(ValueError, match=message):
        make_gain(ext_weight=1.0, ext_layer="input", **setting)


# BatchNorm and modes --------------------------------------------------------------------------------------


def test_mining_pass_leaves_statistics_and_modes_alone(batches):
    weak, _ = batches
    module, plain = make_gain(am_weight=1), make_gain()
    for gain in (module, plain):
        batch_norms(gain)[1].eval()  # as someone may have frozen it
    modes = modes_of(module)
    module.losses(weak, None, 1.0)
    plain.losses(weak, None, 1.0)
    assert modes_of(module) == modes
    assert len(set(modes)) == 2
    for ours, theirs in zip(module.buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, theirs)
    tracked = [layer.num_batches_tracked.item() for layer in batch_norms(module)]
    assert tracked == [1, 0] + [1] * (len(tracked) - 2)


def test_mining_pass_restores_modes_on_an_exception(batches, monkeypatch):
    module = make_gain(am_weight=1)
    module.losses(batches[0], None, 1.0)  # looks where the cells lie, which also runs the network
    modes = modes_of(module)
    seen = []

    first_pass = module.backbone.features.forward

    def fail(image):
        monkeypatch.setattr(module.backbone.features, "forward", fail_again)
        return first_pass(image)

    def fail_again(image):
        seen.extend(layer.training for layer in batch_norms(module))
        raise RuntimeError("out of memory")

    monkeypatch.setattr(module.backbone.features, "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        module.losses(batches[0], None, 1.0)
    assert seen == [False] * len(batch_norms(module))
    assert seen
    assert modes_of(module) == modes


# With a Trainer -------------------------------------------------------------------------------------------


class Watch(pl.Callback):
    """What arrives at the steps, and what is logged after them."""

    def __init__(self):
        self.images, self.guidance, self.logged, self.modes = {}, [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        for stream in batch.values():
            self.images.update(zip(stream["id"], stream["image"], strict=True))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        metrics = trainer.callback_metrics
        self.guidance.append(metrics["train/guidance"].item())
        self.logged.append({name: metrics[f"train/{name}"].item() for name in ("loss", "loss_cl")})
        self.modes.append(modes_of(pl_module.backbone))


def test_fit_trains_by_the_schedule_on_pictures_normalised_once(tmp_path):
    pl.seed_everything(0, verbose=False)
    module = make_shapes_gain(am_weight=1, ext_weight=10, warmup=1 / 3, ramp=1 / 3)
    start = state_of(module.backbone)
    watch = Watch()
    trainer = make_trainer(tmp_path, max_epochs=3, callbacks=[watch])
    trainer.fit(module, datamodule=make_shapes(mask_budget=3))
    assert watch.guidance == [0, 0, 0, 0.5, 1, 1]
    assert [logged["loss"] == logged["loss_cl"] for logged in watch.logged] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    assert all(all(modes) for modes in watch.modes)  # training mode again after validation
    assert len(watch.images) == 8
    for name, image in watch.images.items():
        picture = draw_picture(int(name.removeprefix("train_")), "train").image
        expected = torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1
        torch.testing.assert_close(image, expected, rtol=1e-5, atol=1e-5)
    moved = [key for key, tensor in module.backbone.named_parameters() if not torch.equal(tensor, start[key])]
    assert moved == [key for key, _ in module.backbone.named_parameters()]


def test_grad_accumulates_over_batches(batches):
    """Nothing in a step clears the gradients of the step before."""
    weak, masked = batches
    module = make_gain(am_weight=1, ext_weight=1, freeze_batch_norm=True).train()
    gradients = []
    for _ in range(2):
        module.losses(weak, masked, 1.0)["loss"].backward()
        gradients.append([parameter.grad.clone() for parameter in module.parameters()])
    for once, twice in zip(*gradients, strict=True):
        torch.testing.assert_close(twice, 2 * once)


def test_frozen_features_can_be_guided(batches):
    """Their head learns still, from second-order maps too."""
    module = make_gain(am_weight=1.0)
    module.backbone.features.requires_grad_(False)
    module.losses(*batches, 1.0)["loss"].backward()
    assert all(parameter.grad is not None for parameter in module.backbone.head.parameters())


@pytest.mark.parametrize("judge", ["shared", "average"])
def test_a_network_all_in_bfloat16_takes_guided_steps(batches, judge):
    settings = dict.fromkeys((*SELF_WEIGHTS, "ext_weight"), 1.0)
    module = make_gain(**settings, judge=judge, balance="gradient", am_size=0.5).to(torch.bfloat16)
    weak, masked = ({**stream, "image": stream["image"].to(torch.bfloat16)} for stream in batches)
    terms = module.losses(weak, masked, 1.0)
    terms["loss"].backward()
    assert all(term.isfinite() for term in terms.values())


# Levers of cost -------------------------------------------------------------------------------------------


def test_a_few_classes_an_image_estimate_the_mining_loss_without_bias(generator):
    """The mean over every choice of one class is Eq. 5 over all of them."""
    module = make_gain(am_weight=1.0).eval()
    image = torch.randn(1, 3, SIDE, SIDE, generator=generator)
    weak = {"image": image, "id": ["x"]}
    whole = module.losses({**weak, "label": torch.ones(1, 3)}, None, 1.0)["loss_am"]
    parts = [
        mining_terms(
            module,
            None,
            Step(image, None, None, row[None], label_pairs(row[None]), None, 1.0),
            maps_of_one(module, image, row),
            {"loss_am"},
        )["loss_am"]
        for row in torch.eye(3)
    ]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)
    module.hparams.max_classes_per_image = 1
    drawn = module.losses({**weak, "label": torch.ones(1, 3)}, None, 1.0)["loss_am"]
    assert min(abs(float((drawn - part).detach())) for part in parts) < 1e-6


def maps_of_one(module, image, row):
    features = module.backbone.features(image)
    return grad_cam(features, module.backbone.head(features), label_pairs(row[None]), second_order=True)


def test_mining_every_few_batches_counts_them_over_epochs(tmp_path):
    """Epochs of 2 batches: counted within each, every third batch would never come."""
    seen = fit_and_record(tmp_path, max_epochs=6, am_weight=0.5, am_every=3)
    assert ["loss_am" in terms for terms in seen] == [False, False, True] * 4


def test_mining_every_second_batch_doubles_its_weight(tmp_path):
    seen = fit_and_record(tmp_path, max_epochs=2, am_weight=0.5, am_every=2)
    assert ["loss_am" in terms for terms in seen] == [False, True] * 2
    for terms in seen:
        am = terms.get("loss_am", torch.zeros(()))
        torch.testing.assert_close(terms["loss"], terms["loss_cl"] + 2 * 0.5 * am)


def fit_and_record(folder, max_epochs, **settings):
    """The terms of every step of a training on shapes."""
    module, seen = make_shapes_gain(**settings), []
    true_losses = module.losses

    def record(*args, **options):
        terms = true_losses(*args, **options)
        seen.append({key: term.detach() for key, term in terms.items()})
        return terms

    module.losses = record
    make_trainer(folder, max_epochs=max_epochs, num_sanity_val_steps=0, limit_val_batches=0).fit(
        module, datamodule=make_shapes(mask_budget=0)
    )
    return seen


# What L_am moves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpointed", [False, True])
def test_the_gradient_of_the_maps_alone_is_that_of_a_judge_with_weights_of_its_own(batches, checkpointed):
    """The oracle erases by the module's maps and asks a copy of its network."""
    weak, _ = batches
    settings = {"am_weight": 1.0, "second_order": True, "freeze_batch_norm": True}
    module = make_gain(am_gradient="maps", checkpoint_features=checkpointed, **settings).train()
    plain = make_gain(**settings).train()
    judge = copy.deepcopy(plain.backbone).eval()
    terms = module.losses(weak, None, 1.0)
    (terms["loss"] - terms["loss_cl"]).backward()

    features = plain.backbone.features(weak["image"])
    pairs = label_pairs(weak["label"])
    maps = grad_cam(features, plain.backbone.head(features), pairs, second_order=True)
    mask = soft_mask(place_maps(scale_maps(maps), (SIDE, SIDE), Cells(*CELLS)))
    logits = judge(erase(weak["image"][pairs.image], mask))
    attention_mining_loss(logits, pairs).backward()
    for (name, ours), theirs in zip(
        module.backbone.named_parameters(), plain.backbone.parameters(), strict=True
    ):
        assert ours.requires_grad
        torch.testing.assert_close(
            torch.zeros_like(ours) if ours.grad is None else ours.grad,
            torch.zeros_like(ours) if theirs.grad is None else theirs.grad,
            msg=lambda text, name=name: f"{name}: {text}",
        )
    assert any(
        parameter.grad is not None and parameter.grad.any() for parameter in module.backbone.parameters()
    )


def test_the_gradient_of_the_maps_alone_differs_from_all(batches):
    weak, _ = batches

    def gradient(am_gradient):
        module = make_gain(am_weight=1.0, am_gradient=am_gradient, freeze_batch_norm=True).train()
        terms = module.losses(weak, None, 1.0)
        (terms["loss"] - terms["loss_cl"]).backward()
        return module.backbone.classifier.weight.grad, terms["loss_am"].item()

    (ours, our_loss), (theirs, their_loss) = gradient("maps"), gradient("all")
    assert our_loss == their_loss
    assert not torch.allclose(ours, theirs)


class SmoothGAIN(GAIN):
    """A term of one's own: the mean of all maps."""

    def extra_terms(self, step, maps):
        self.seen = step, maps
        return {"loss_own": 0.5 * step.guidance * maps.mean()}


@pytest.mark.parametrize("am_weight", [0.0, 0.7])
def test_a_term_of_ones_own_is_added_as_it_is_and_runs_the_network_once(batches, am_weight):
    module = SmoothGAIN(NAMES, SIDE, am_weight=am_weight, ext_weight=2.0).eval()
    # Where the cells lie is found once, by a run on one picture.
    module.backbone.cells((SIDE, SIDE))
    images = []
    module.backbone.features.register_forward_hook(lambda _, args, out: images.append(len(args[0])))
    weak, masked = batches
    terms = module.losses(weak, masked, 0.5)
    step, maps = module.seen
    num_pairs = [int(module.multi_hot(batch["label"]).sum()) for batch in batches]
    assert len(maps) == sum(num_pairs)
    assert images == [len(weak["image"]) + len(masked["image"])] + [num_pairs[0]] * (am_weight > 0)
    torch.testing.assert_close(terms["loss_own"], 0.25 * maps.mean())
    guided = 0.5 * (am_weight * terms.get("loss_am", 0) + 2.0 * terms["loss_ext"])
    torch.testing.assert_close(terms["loss"], terms["loss_cl"] + guided + terms["loss_own"])
    assert step.guidance == 0.5


def test_a_term_of_ones_own_waits_for_guidance(batches):
    module = SmoothGAIN(NAMES, SIDE, am_weight=1.0)
    assert set(module.losses(*batches, 0.0)) == {"loss", "loss_cl"}
    assert not hasattr(module, "seen")


def test_what_waits_is_noticed():
    values = torch.tensor([1.0, 0.0])
    with Waits() as waits:
        values.nonzero()
        values[values > 0]
        bool(values[0])
        values.long().bincount()
    assert waits.names == ["nonzero", "index", "_local_scalar_dense", "bincount"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"second_order": False},
        {"max_classes_per_image": 1},
        {"am_weight": 0.0},
        {"ext_weight": 0.0},
        {"ext_loss": "energy"},
        {"ext_resolution": "map"},
        {"task": "single_label", "map_score": "margin"},
        {"task": "regression"},
        {"view_weight": 1.0, "guided_share": 0.4},
        {
            "kept_weight": 1.0,
            "area_weight": 1.0,
            "sufficiency_weight": 1.0,
            "judge": "frozen",
            "am_size": 0.5,
        },
    ],
    ids=str,
)
def test_a_step_waits_for_nothing(options):
    module = GAIN(["a", "b", "c"], 32, **{"am_weight": 1.0, "ext_weight": 10.0, **options})
    label = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    if module.hparams.task == "single_label":
        label = torch.eye(3)
    weak = {"image": torch.randn(3, 3, 32, 32), "label": label, "id": list("xyz")}
    masked = {**weak, **masks_of(torch.randint(0, 4, (3, 32, 32), dtype=torch.uint8), label)}
    batch = module.on_before_batch_transfer({"weak": weak, "masked": masked}, 0)  # still on the CPU
    with Waits() as waits:
        module.losses(batch["weak"], batch["masked"], 1.0)["loss"].backward()
    assert waits.names == []
