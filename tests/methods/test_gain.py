import copy
import functools
import math
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import reference
import torch
import torch.nn.functional as F
from fake_batch import masks_of, oracle_masks
from torch import nn

from gain_lightning.attention import (
    CAMS,
    Cells,
    erase,
    grad_cam,
    label_pairs,
    place_maps,
    sample_labels,
    scale_maps,
    soft_mask,
)
from gain_lightning.backbones import Backbone
from gain_lightning.backbones.batch_norm import frozen_batch_norm
from gain_lightning.constants import VOID
from gain_lightning.datasets.shapes import ShapesDataModule
from gain_lightning.datasets.shapes.boat import CLASSES, draw_picture
from gain_lightning.losses import attention_mining_loss
from gain_lightning.methods import gain_settings
from gain_lightning.methods.gain import GAIN, Step

SIDE = 32
CELLS = (0, 0, 8, 8)  # of the tiny CNN: three convolutions of stride 2, each cell centred on its first pixel
NAMES = ["a", "b", "c"]


def make_gain(net=None, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = GAIN(class_names=NAMES, image_size=SIDE, **settings)
    if net is not None:
        module.backbone = net
    return module


@pytest.fixture
def batches(generator):
    """A weak and a masked batch, images normalised, with none, one and two labels an image."""

    def make(label, masked):
        label = torch.tensor(label)
        mask = torch.full((len(label), SIDE, SIDE), VOID, dtype=torch.uint8)
        if masked:
            for n, row in enumerate(label):
                names = torch.tensor([0, 0, VOID, *(row.nonzero().flatten() + 1).tolist()], dtype=torch.uint8)
                mask[n] = names[torch.randint(len(names), (8, 8), generator=generator)].repeat(4, 4)
        image = torch.randn(len(label), 3, SIDE, SIDE, generator=generator)
        return {
            "image": image,
            "label": label.float(),
            **masks_of(mask, label),
            "id": [str(n) for n in range(len(label))],
        }

    return make([[1, 0, 0], [0, 0, 0], [0, 1, 1]], masked=False), make([[0, 1, 0], [1, 1, 0]], masked=True)


def state_of(module):
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def same_state(module, state):
    return all(torch.equal(tensor, state[key]) for key, tensor in module.state_dict().items())


def modes_of(module):
    return [layer.training for layer in module.modules()]


def batch_norms(module):
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


def make_trainer(folder, **settings):
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **{"inference_mode": False, **settings},
    )


def make_shapes(**settings):
    sizes = {"num_train": 8, "num_val": 6, "num_test": 6, "num_biased": 4}
    return ShapesDataModule(**{**sizes, "batch_size": 4, "masked_batch_size": 2, **settings})


def make_shapes_gain(**settings):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return GAIN(class_names=list(CLASSES), image_size=96, **settings)


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
    assert torch.equal(terms["loss"], loss)
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


class SmoothNet(Backbone):
    """Two smooth convolutions and a head, linear or with a hidden layer, in float64."""

    def __init__(self, hidden):
        features = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.Softplus(), nn.Conv2d(4, 5, 3, padding=1), nn.Softplus()
        )
        classifier = nn.Linear(6 if hidden else 5, 3)
        layers = [nn.Linear(5, 6), nn.Tanh()] if hidden else []
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers, classifier)
        super().__init__(features, head, classifier)
        self.double()

    def channel_weights(self, features, label):
        """d s_c / d f, averaged over the map, by hand; ``(P, 5)``."""
        out = []
        for n, c in reference.pairs(label):
            if len(self.head) == 3:
                gradient = self.head[2].weight[c]
            else:
                hidden = self.head[3](self.head[2](features[n].mean((1, 2))))
                gradient = (self.head[4].weight[c] * (1 - hidden**2)) @ self.head[2].weight
            out.append(gradient / features[n, 0].numel())
        return torch.stack(out)


@functools.cache
def drawn(num_pixels, num_cells, start, step):
    """What each pixel of a square picture takes of each cell of its map, by the oracle, one cell after another."""
    cells = torch.eye(num_cells**2, dtype=torch.double).view(-1, num_cells, num_cells).numpy()
    placed = [reference.place(cell, num_pixels, num_pixels, start, start, step, step) for cell in cells]
    return torch.from_numpy(np.stack(placed)).flatten(1).T


def composed_loss(net, batch, name, held=None):
    """L_am or L_e written out for ``net``; with ``held``, the channel weights are these numbers."""
    image, label, masks = batch["image"], batch["label"], oracle_masks(batch)
    drawing = drawn(11, 5, start=1, step=2)  # a convolution of kernel 3 and stride 2 without padding
    features = net.features(image)
    weights = net.channel_weights(features, label) if held is None else held
    total, count = 0.0, {n: int(row.sum()) for n, row in enumerate(label)}
    for (n, c), weight, mask in zip(reference.pairs(label), weights, masks, strict=True):
        attention = (weight[:, None, None] * features[n]).sum(0).relu()
        assert attention.max() > 1e-3
        attention = attention / attention.max()
        large = (drawing @ attention.flatten()).view(1, 11, 11)
        if name == "loss_am":
            erased = image[n] * (1 - torch.sigmoid(10 * (large - 0.5)))
            value = torch.sigmoid(net(erased[None])[0, c])
        else:
            valid = torch.from_numpy(mask != VOID)
            value = ((large[0] - torch.from_numpy(mask == 1).double())[valid] ** 2).mean()
        total = total + value / count[n] / len(image)
    return total


def central_differences(net, function, step=1e-5):
    out = []
    with torch.no_grad():
        for parameter in net.parameters():
            flat, gradient = parameter.view(-1), torch.zeros(parameter.numel(), dtype=torch.double)
            for index in range(len(flat)):
                kept = flat[index].item()
                flat[index] = kept + step
                up = function()
                flat[index] = kept - step
                gradient[index] = (up - function()) / (2 * step)
                flat[index] = kept
            out.append(gradient.view_as(parameter))
    return torch.cat([gradient.flatten() for gradient in out])


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


def test_frozen_batch_norm_touches_no_other_layer():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5), nn.BatchNorm1d(2).eval(), nn.SyncBatchNorm(2))
    with frozen_batch_norm(model):
        assert [layer.training for layer in model] == [False, True, False, False]
    assert [layer.training for layer in model] == [True, True, False, True]


def test_freeze_batch_norm_keeps_the_statistics_through_training_mode(batches):
    module = make_gain(am_weight=1, ext_weight=1, freeze_batch_norm=True)
    assert module.eval().train() is module
    assert [layer for layer in module.backbone.modules() if not layer.training] == batch_norms(module)
    assert batch_norms(module)
    buffers = [buffer.clone() for buffer in module.backbone.buffers()]
    module.losses(*batches, 1.0)["loss"].backward()
    assert all(torch.equal(*tensors) for tensors in zip(buffers, module.backbone.buffers(), strict=True))
    assert not any(layer.training for layer in module.eval().modules())


# Schedule and optimizer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("warmup", "ramp", "epoch", "share"),
    [
        (0, 0, 0, 1),
        (2, 0, 0, 0),
        (2, 0, 1.99, 0),
        (2, 0, 2, 1),
        (2, 4, 1.99, 0),
        (2, 4, 2, 0),
        (2, 4, 3, 0.25),
        (2, 4, 4.5, 0.625),
        (2, 4, 6, 1),
        (2, 4, 60, 1),
        (0, 0.5, 0.25, 0.5),
    ],
)
def test_guidance_waits_then_rises(warmup, ramp, epoch, share):
    assert make_gain(warmup_epochs=warmup, ramp_epochs=ramp).guidance(epoch) == pytest.approx(share)


def parameter_groups(module):
    configured = module.configure_optimizers()
    return (configured["optimizer"] if isinstance(configured, dict) else configured).param_groups


@pytest.mark.parametrize("backbone", ["tiny_cnn", "lite0"])
def test_new_layer_has_its_own_learning_rate(backbone):
    if backbone == "lite0":
        pytest.importorskip("timm")
    module = make_gain(
        backbone=backbone, new_layer_lr_scale=10, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1)
    )
    old, new = parameter_groups(module)
    assert (old["lr"], new["lr"]) == (0.1, 1.0)
    assert {id(parameter) for parameter in new["params"]} == {
        id(p) for p in module.backbone.classifier.parameters()
    }
    every = [id(parameter) for parameter in [*old["params"], *new["params"]]]
    assert len(every) == len(set(every))
    assert set(every) == {id(parameter) for parameter in module.parameters()}


def test_scheduler_keeps_the_ratio_of_the_learning_rates():
    module = make_gain(
        new_layer_lr_scale=10,
        lr_interval="step",
        optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1),
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5),
    )
    configured = module.configure_optimizers()
    assert configured["lr_scheduler"]["interval"] == "step"
    configured["optimizer"].step()
    configured["lr_scheduler"]["scheduler"].step()
    assert [group["lr"] for group in configured["optimizer"].param_groups] == [0.05, 0.5]


def test_optimizer_is_adamw_at_one_rate_by_default():
    configured = make_gain().configure_optimizers()
    assert type(configured) is torch.optim.AdamW
    assert len({group["lr"] for group in configured.param_groups}) == 1


# Settings -------------------------------------------------------------------------------------------------


def test_cross_entropy_of_an_unbounded_map_is_refused():
    with pytest.raises(ValueError, match="cross_entropy takes a map for probabilities"):
        GAIN(["a"], 32, ext_loss="cross_entropy", scaling="none")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", "ranking"),
        ("scaling", "sum"),
        ("am_score", "max"),
        ("ext_resolution", "pixel"),
        ("ext_loss", "dice"),
        ("ext_reduction", "none"),
        ("lr_interval", "batch"),
        ("am_weight", -1.0),
        ("am_weight", math.nan),
        ("ext_weight", -0.1),
        ("ext_weight", math.inf),
        ("warmup_epochs", -1),
        ("ramp_epochs", -0.5),
        ("omega", 0.0),
        ("omega", -1.0),
        ("omega", math.nan),
        ("new_layer_lr_scale", 0.0),
        ("new_layer_lr_scale", math.inf),
        ("score_classes", ["a", "zebra"]),
        ("output_stride", 16),
        ("backbone", "tiny_cn"),
        ("sigma", math.nan),
        ("sigma", math.inf),
    ],
)
def test_bad_setting_is_refused_by_its_key(key, value):
    with pytest.raises(ValueError, match=rf"\b{key}\b|unknown {key}") as error:
        make_gain(**{key: value})
    wrong = "zebra" if key == "score_classes" else str(value)
    assert wrong in str(error.value)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("task", ["multi_label", "single_label"]),
        ("scaling", ["max", "minmax", "none"]),
        ("am_score", ["probability", "logit"]),
        ("ext_resolution", ["image", "map"]),
        ("ext_loss", ["l2", "l1", "energy", "rrr", "cross_entropy"]),
        ("ext_reduction", ["mean", "sum"]),
        ("lr_interval", ["epoch", "step"]),
    ],
)
def test_message_of_a_bad_choice_lists_the_good_ones(key, values):
    with pytest.raises(ValueError, match=rf"model\.{key} is 'wrong'") as error:
        make_gain(**{key: "wrong"})
    assert all(value in str(error.value) for value in values)


def test_hyperparameters_hold_every_setting_but_the_callables():
    hparams = make_gain(am_weight=0.5, sigma=0.3).hparams
    assert hparams["am_weight"] == 0.5
    assert hparams["sigma"] == 0.3
    assert hparams["class_names"] == NAMES
    assert not {"optimizer", "lr_scheduler"} & set(hparams)


# Input ----------------------------------------------------------------------------------------------------


def test_batch_is_normalised_once_on_arrival(generator):
    module = make_gain()

    def picture_batch(num_images):
        picture = torch.randint(0, 256, (num_images, 3, 4, 4), dtype=torch.uint8, generator=generator)
        return {
            "image": picture,
            "label": torch.ones(num_images, 3),
            "mask": torch.ones(num_images, 4, 4, dtype=torch.uint8),
            "mask_image": torch.arange(num_images),
            "mask_class": torch.zeros(num_images, dtype=torch.long),
            "id": ["x"],
        }

    batch = {"weak": picture_batch(2), "masked": picture_batch(1)}
    kept = copy.deepcopy(batch)
    out = module.on_after_batch_transfer(batch, 0)
    assert list(out) == ["weak", "masked"]
    for name, stream in out.items():
        expected = (kept[name]["image"].double() / 255 - 0.5) / 0.5  # statistics of the tiny CNN
        torch.testing.assert_close(stream["image"].double(), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(batch[name]["image"], kept[name]["image"])
        assert stream["label"] is batch[name]["label"]
        assert stream["mask"] is batch[name]["mask"]
        torch.testing.assert_close(module.on_after_batch_transfer(batch[name], 0)["image"], stream["image"])
    with pytest.raises(TypeError, match="uint8"):
        module.on_after_batch_transfer(out, 0)


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
    module = make_shapes_gain(am_weight=1, ext_weight=10, warmup_epochs=1, ramp_epochs=1)
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


def test_fit_refuses_gain_ext_without_masks(tmp_path):
    trainer = make_trainer(tmp_path, max_epochs=1)
    with pytest.raises(ValueError, match=r"model.ext_weight is 10.*data.mask_budget > 0"):
        trainer.fit(make_shapes_gain(ext_weight=10), datamodule=make_shapes(mask_budget=0))


def test_fit_refuses_gain_ext_on_a_loader_without_masks(tmp_path, batches):
    """Without a data module too: GAIN_ext would silently be GAIN."""
    weak = {**batches[0], "image": torch.zeros(3, 3, SIDE, SIDE, dtype=torch.uint8)}
    loader = torch.utils.data.DataLoader([{"weak": weak}], batch_size=None)
    trainer = make_trainer(tmp_path, max_steps=1)
    with pytest.raises(ValueError, match="ext_weight"):
        trainer.fit(make_gain(ext_weight=10), loader)


def test_validation_changes_nothing(tmp_path):
    module = make_shapes_gain(am_weight=1, second_order=True)
    batch_norms(module)[0].eval()
    state, modes = state_of(module.backbone), modes_of(module.backbone)
    make_trainer(tmp_path).validate(module, datamodule=make_shapes(), verbose=False)
    assert same_state(module.backbone, state)
    assert modes_of(module.backbone) == modes
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_validation_under_inference_mode_says_what_to_do(tmp_path):
    trainer = make_trainer(tmp_path, inference_mode=True)
    with pytest.raises(RuntimeError, match=r"Trainer\(inference_mode=False\)"):
        trainer.validate(make_shapes_gain(), datamodule=make_shapes(), verbose=False)


def test_attend_gives_the_maps_of_grad_cam(tiny_backbone, batches):
    """Under no_grad, as in validation, and with several labels."""
    module = make_gain(tiny_backbone).eval()
    image, label = batches[0]["image"], batches[0]["label"]
    features = tiny_backbone.features(image)
    logits = tiny_backbone.head(features)
    expected = grad_cam(features, logits, label_pairs(label))
    with torch.no_grad():
        ours, maps, pairs = module.attend(image, label)
    assert not ours.requires_grad
    assert not maps.requires_grad
    assert torch.equal(ours, logits)
    torch.testing.assert_close(maps, expected)
    assert list(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)) == reference.pairs(
        label.numpy()
    )


@pytest.fixture(scope="module")
def trained_shapes():
    """A classifier of a few steps, so that scores differ from those of a random one."""
    module = make_shapes_gain()
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    pictures = [draw_picture(index, "test", seed=1) for index in range(24)]
    image = torch.stack([torch.from_numpy(picture.image).permute(2, 0, 1) for picture in pictures])
    label = torch.stack([torch.from_numpy(picture.label) for picture in pictures]).float()
    for _ in range(6):
        optimizer.zero_grad()
        F.multilabel_soft_margin_loss(module(module.backbone.normalize(image)), label).backward()
        optimizer.step()
    return module


def oracle_outputs(module, split, count, seed=0):
    """Probabilities, labels, masks of all pairs and their placed raw maps of a split, by hand."""
    pictures = [draw_picture(index, split, seed=seed) for index in range(count)]
    image = torch.stack([torch.from_numpy(picture.image).permute(2, 0, 1) for picture in pictures]).double()
    backbone = copy.deepcopy(module.backbone).double().eval()
    with torch.no_grad():
        features = backbone.features(image / 127.5 - 1)
        probability = backbone.head(features).sigmoid().numpy()
    label = np.stack([picture.label for picture in pictures])
    weight = backbone.classifier.weight.detach() / features[0, 0].numel()
    maps = [(weight[c][:, None, None] * features[n]).sum(0).relu() for n, c in reference.pairs(label)]
    maps = [reference.place(attention.numpy(), 96, 96, *CELLS) for attention in maps]
    return (
        probability,
        label,
        reference.split_index_masks([picture.mask for picture in pictures], label),
        maps,
    )


def test_attend_builds_no_graph_of_the_features(tiny_backbone, batches, monkeypatch):
    """Its memory is that of validation, also where the caller has gradients switched on."""
    module = make_gain(tiny_backbone).eval()
    seen = []
    monkeypatch.setattr(
        tiny_backbone.features[-1], "forward", lambda x: seen.append(x.requires_grad) or x.relu()
    )
    module.attend(batches[0]["image"], batches[0]["label"])
    assert seen == [False]


def scores_of_test(folder, module, **settings):
    trainer = make_trainer(folder)
    trainer.test(module, datamodule=make_shapes(**settings), verbose=False)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


def mean_pointing(maps, masks, label, classes=range(5)):
    """Mean over classes of the means over their pairs whose mask shows them."""
    hits = {c: [] for c in classes}
    for (_, c), attention, mask in zip(reference.pairs(label), maps, masks, strict=True):
        if c in hits and (mask == 1).any():
            hits[c].append(reference.pointing(attention, mask))
    return np.mean([np.mean(values) for values in hits.values() if values])


def test_test_scores_equal_the_oracles(tmp_path, trained_shapes):
    """Of the first test set, in batches that do not divide it, by every metric; of the others on boats."""
    module = trained_shapes
    scores = scores_of_test(tmp_path, module, data_seed=1)

    probability, label, mask, maps = oracle_outputs(module, "test", 6, seed=1)
    assert label.any(0).all()
    per_class = [reference.average_precision(probability[:, c], label[:, c]) for c in range(5)]
    assert scores["test/mean_ap"] == pytest.approx(np.mean(per_class), rel=1e-5)
    energies = [
        reference.energy(attention, own)
        for attention, own in zip(maps, mask, strict=True)
        if (own == 1).any()
    ]
    assert scores["test/energy"] == pytest.approx(np.mean(energies), rel=1e-4)
    assert scores["test/pointing"] == pytest.approx(mean_pointing(maps, mask, label), rel=1e-5)
    scaled = [reference.scale(attention, "max") for attention in maps]
    miou = np.nanmean(reference.seed_iou(scaled, mask, label, 0.2))
    assert scores["test/seed_miou"] == pytest.approx(miou, rel=1e-3)
    assert scores["test/seed_miou_best"] >= scores["test/seed_miou"]
    at_best = reference.seed_iou(scaled, mask, label, scores["test/seed_threshold_best"])
    assert scores["test/seed_miou_best"] == pytest.approx(np.nanmean(at_best), rel=1e-3)

    num_zero = sum(attention.max() <= 1e-8 for attention in maps)
    assert scores["test/zero_maps"] == pytest.approx(num_zero / len(maps))

    accuracies = []
    for split in ("boat_without_water", "water_without_boat"):
        probability, label, _, _ = oracle_outputs(module, split, 4, seed=1)
        accuracies.append(np.mean((probability[:, 0] > 0.5) == label[:, 0]))
        assert scores[f"test/{split}"] == pytest.approx(accuracies[-1])
    assert scores["test/biased_accuracy"] == pytest.approx(np.mean(accuracies))


def test_share_of_zero_maps(tmp_path):
    """Those of a class whose weights are all negative are zero, for features are not."""
    module = make_shapes_gain()
    with torch.no_grad():
        module.backbone.classifier.weight.abs_()[0].neg_()
    scores = scores_of_test(tmp_path, module, data_seed=1)
    _, label, _, _ = oracle_outputs(module, "test", 6, seed=1)
    assert scores["test/zero_maps"] == pytest.approx(label[:, 0].sum() / label.sum())
    assert 0 < scores["test/zero_maps"] < 1


@pytest.mark.filterwarnings("ignore:No positive samples found in target:UserWarning")
def test_mean_ap_passes_over_a_class_that_no_image_shows(tmp_path, trained_shapes):
    """As the seeds' mIoU does: it has no average precision, not one of 0."""
    probability, label, _, _ = oracle_outputs(trained_shapes, "test", 6)
    present = label.any(0)
    assert 0 < present.sum() < 5
    per_class = [reference.average_precision(probability[:, c], label[:, c]) for c in present.nonzero()[0]]
    assert scores_of_test(tmp_path, trained_shapes)["test/mean_ap"] == pytest.approx(
        np.mean(per_class), rel=1e-5
    )


def test_scores_of_one_test_do_not_enter_the_next(tmp_path, trained_shapes):
    first, second = (scores_of_test(tmp_path, trained_shapes) for _ in range(2))
    assert len(first) == 16
    assert first == second


def test_score_classes_restrict_every_mean(tmp_path, trained_shapes):
    """Of what is decided and of maps; those of class car are turned to zero, and no score may know of it."""
    module = make_shapes_gain(score_classes=["cow", "boat"])
    module.backbone = copy.deepcopy(trained_shapes.backbone)
    weight = module.backbone.classifier.weight.data
    weight[1] = -weight[1].abs()
    weight[2] = -weight[2].abs()  # cow
    (scores,) = make_trainer(tmp_path).validate(module, datamodule=make_shapes(), verbose=False)
    probability, label, mask, maps = oracle_outputs(module, "val", 6)
    per_class = [reference.average_precision(probability[:, c], label[:, c]) for c in (0, 2)]
    assert scores["val/mean_ap"] == pytest.approx(np.mean(per_class), rel=1e-5)
    ious = reference.seed_iou([reference.scale(attention, "max") for attention in maps], mask, label, 0.2)
    assert scores["val/seed_miou"] == pytest.approx(np.nanmean([ious[0], ious[1], ious[3]]), rel=1e-3)
    mine = [p for p, (_, c) in enumerate(reference.pairs(label)) if c in (0, 2)]
    assert 0 < len(mine) < len(maps)
    energies = [reference.energy(maps[p], mask[p]) for p in mine]
    assert scores["val/energy"] == pytest.approx(np.mean(energies), rel=1e-4)
    assert scores["val/pointing"] == pytest.approx(mean_pointing(maps, mask, label, (0, 2)), rel=1e-5)
    zero = [maps[p].max() <= 1e-8 for p in range(len(maps))]
    assert scores["val/zero_maps"] == pytest.approx(np.mean([zero[p] for p in mine]))
    assert 0 < np.mean([zero[p] for p in mine]) != np.mean(zero)
    shown = [p for p in mine if (mask[p] == 1).any()]
    images = {reference.pairs(label)[p][0] for p in shown}
    assert module.judged["val"] == {"pairs": len(shown), "images": len(images)}
    others = {n for n, _ in reference.pairs(label)}
    assert len(images) < len(others)  # some image shows car alone


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


class Prepared(pl.LightningDataModule):
    """Batches as they are given."""

    def __init__(self, batches):
        super().__init__()
        self.batches, self.masked_set = batches, batches

    def train_dataloader(self):
        return torch.utils.data.DataLoader(self.batches, batch_size=None)


@pytest.mark.parametrize("name", ["l2", "energy"])
@pytest.mark.parametrize("resolution", ["image", "map"])
def test_batches_that_are_accumulated_take_the_step_of_all_their_images(
    tmp_path, generator, name, resolution
):
    """Also where they have 2 and 1 supervised images, with 3 and 1 supervised pairs: every image weighs the same."""
    label = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1]]).float()
    index = (
        torch.tensor([0, 0, 1, 2, VOID], dtype=torch.uint8)[torch.randint(5, (4, 8, 8), generator=generator)]
        .repeat_interleave(4, 1)
        .repeat_interleave(4, 2)
    )
    index[1][index[1] == 1], index[2][index[2] == 2], index[3] = 0, 0, VOID
    masks = masks_of(index, label)
    image = torch.randint(0, 256, (2, 4, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)

    def batch(rows):
        mine = torch.isin(masks["mask_image"], torch.tensor(rows))
        own = {key: value[mine] for key, value in masks.items()}
        own["mask_image"] = own["mask_image"] - rows[0]
        ids = [str(row) for row in rows]
        weak = {"image": image[0, rows], "label": label[rows], "id": ids}
        return {"weak": weak, "masked": {"image": image[1, rows], "label": label[rows], **own, "id": ids}}

    assert [len(batch(rows)["masked"]["mask"]) for rows in ([0, 1], [2, 3])] == [3, 1]
    weights = []
    for batches in ([batch([0, 1, 2, 3])], [batch([0, 1]), batch([2, 3])]):
        module = make_gain(
            am_weight=0.7, ext_weight=5.0, freeze_batch_norm=True, ext_loss=name, ext_resolution=resolution,
            optimizer=lambda groups: torch.optim.SGD(groups, lr=0.5),
        ).double()  # fmt: skip
        start = state_of(module.backbone)
        trainer = make_trainer(
            tmp_path, max_steps=1, accumulate_grad_batches=len(batches), precision="64-true"
        )
        trainer.fit(module, datamodule=Prepared(batches))
        assert trainer.global_step == 1
        weights.append(state_of(module.backbone))
        moved = [key for key in start if not torch.equal(start[key], weights[-1][key])]
        assert moved == [key for key, _ in module.backbone.named_parameters()]
    for key, whole in weights[0].items():
        torch.testing.assert_close(weights[1][key], whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("epochs", [1, 2])
def test_an_epochs_last_step_of_fewer_batches_is_their_mean_too(tmp_path, batches, epochs):
    """Five batches, two a step: the fifth moves the weights as it does alone."""
    weak, masked = batches
    image = (weak["image"] * 50 + 128).clamp(0, 255).to(torch.uint8)
    stream = {**weak, "image": image}
    rows = [[0, 1], [2, 0], [1, 2], [0, 2], [2, 1]]
    empty = {key: masked[key][:0] for key in ("mask", "mask_image", "mask_class")}

    def batch(rows):
        own = {key: stream[key][rows] for key in ("image", "label")}
        return {"weak": {**own, **empty, "id": [str(row) for row in rows]}}

    whole = [batch(rows[0] + rows[1]), batch(rows[2] + rows[3]), batch(rows[4])]
    weights = []
    for prepared, every in ((whole, 1), ([batch(part) for part in rows], 2)):
        module = make_gain(
            am_weight=0.7, freeze_batch_norm=True, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.5)
        ).double()
        trainer = make_trainer(
            tmp_path, max_epochs=epochs, accumulate_grad_batches=every, precision="64-true"
        )
        trainer.fit(module, datamodule=Prepared(prepared))
        assert trainer.global_step == 3 * epochs
        weights.append(state_of(module.backbone))
    for key, expected in weights[0].items():
        torch.testing.assert_close(weights[1][key], expected, rtol=1e-9, atol=1e-12)


def test_freeze_batch_norm_holds_in_a_fit(tmp_path):
    """Lightning does not call ``train()`` before a fit, so the module must be built in the right mode."""
    data = ShapesDataModule(num_train=8, num_val=2, num_test=2, num_biased=2, batch_size=4)
    model = GAIN(list(data.class_names), data.image_size, freeze_batch_norm=True)
    before = {key: value.clone() for key, value in model.named_buffers() if "running" in key}
    assert before
    trainer = make_trainer(tmp_path, max_epochs=2)
    trainer.fit(model, datamodule=data)
    assert all(torch.equal(before[key], value) for key, value in model.named_buffers() if key in before)


def test_margin_needs_a_single_label():
    with pytest.raises(
        ValueError, match=r"model\.map_score margin compares classes: expected model\.task single"
    ):
        make_gain(map_score="margin")


def test_single_label_training_on_several_labels_stops_before_the_first_step(tmp_path):
    data = ShapesDataModule(num_train=40, num_val=2, batch_size=4)
    module = make_shapes_gain(task="single_label")
    trainer = pl.Trainer(
        accelerator="cpu", inference_mode=False, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"single_label, but \d+ images of training do not have exactly one label, the first"
    ):
        trainer.fit(module, datamodule=data)
    assert trainer.global_step == 0


@pytest.mark.parametrize(
    "limit", [{"max_epochs": 2}, {"max_epochs": -1, "max_steps": 3}, {"max_epochs": 9, "max_steps": 3}]
)
def test_a_warm_up_as_long_as_the_training_warns(tmp_path, limit):
    module = make_shapes_gain(am_weight=1.0, warmup_epochs=2)
    trainer = make_trainer(tmp_path, limit_train_batches=2, limit_val_batches=0, **limit)
    message = r"guidance never begins: model.warmup_epochs is 2 and the training has \d batches, 2 an epoch"
    with pytest.warns(UserWarning, match=message):
        trainer.fit(module, datamodule=make_shapes(mask_budget=0))


@pytest.mark.parametrize("warmup", [0, 2])
@pytest.mark.parametrize("every", [1, 3, 4, 5, 8, 11, 16])
@pytest.mark.parametrize(
    "limit", [{"max_epochs": 3}, {"max_epochs": 3, "max_steps": 5}, {"max_epochs": None, "max_steps": 3}]
)
def test_a_training_in_which_mining_has_no_turn_warns(every, warmup, limit, recwarn):
    """The oracle asks every batch."""
    module = make_gain(am_weight=1.0, am_every=every, warmup_epochs=warmup)
    batches = limit.get("max_steps", 6) * 2 if "max_steps" in limit else 12
    guided = [n for n in range(batches) if module.guidance(n / 4) > 0]
    mined = [n for n in guided if (n + 1) % every == 0]
    module._trainer = SimpleNamespace(
        **{"max_steps": -1, **limit}, num_training_batches=4, accumulate_grad_batches=2
    )
    module.on_train_start()
    told = " ".join(str(warning.message) for warning in recwarn)
    assert ("guidance never begins" in told) == (not guided)
    assert ("S_am will never run" in told) == bool(guided and not mined)


def test_frozen_features_can_be_guided(batches):
    """Their head learns still, from second-order maps too."""
    module = make_gain(am_weight=1.0)
    module.backbone.features.requires_grad_(False)
    module.losses(*batches, 1.0)["loss"].backward()
    assert all(parameter.grad is not None for parameter in module.backbone.head.parameters())


def test_a_network_all_in_bfloat16_takes_guided_steps(batches):
    module = make_gain(am_weight=1.0, ext_weight=1.0).to(torch.bfloat16)
    weak, masked = ({**stream, "image": stream["image"].to(torch.bfloat16)} for stream in batches)
    terms = module.losses(weak, masked, 1.0)
    terms["loss"].backward()
    assert all(term.isfinite() for term in terms.values())


# Levers of cost -------------------------------------------------------------------------------------------


def step_of(module, batches, seed=0):
    """Losses, gradients and statistics of one step of GAIN_ext in float64."""
    weak, masked = ({**batch, "image": batch["image"].double()} for batch in batches)
    module.double().zero_grad()
    torch.manual_seed(seed)  # of dropout
    terms = module.losses(weak, masked, 1.0)
    terms["loss"].backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    return terms, gradients, dict(module.named_buffers())


def vgg_like():
    """In-place ReLUs, some of which a cut between pieces could split from their convolution, and dropout."""
    convolutions = [nn.Conv2d(inputs, 8, 3, padding=1) for inputs in (3, 8, 8, 8, 8)]
    layers = [layer for conv in convolutions for layer in (conv, nn.ReLU(inplace=True))]
    last = nn.Linear(8 * 16, len(NAMES))
    head = nn.Sequential(
        nn.AdaptiveMaxPool2d(4),
        nn.Flatten(),
        nn.Linear(8 * 16, 8 * 16),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        last,
    )
    return Backbone(nn.Sequential(*layers), head, last)


@pytest.mark.parametrize(
    ("backbone", "frozen", "second_order"),
    [
        *(
            (name, frozen, order)
            for name in ("tiny_cnn", "resnet18")
            for frozen in (0, 1)
            for order in (0, 1)
        ),
        ("lite0", 0, 1),
        ("in_place", 0, 1),
    ],
)
def test_checkpointed_features_change_no_result(batches, backbone, frozen, second_order):
    """Nor dropout's draws, nor BatchNorm's statistics, which see each picture once."""
    settings = {
        "backbone": "tiny_cnn" if backbone == "in_place" else backbone,
        "am_weight": 1.0,
        "ext_weight": 10.0,
        "second_order": bool(second_order),
        "freeze_batch_norm": bool(frozen),
    }
    if backbone == "lite0":
        pytest.importorskip("timm")
    net = vgg_like() if backbone == "in_place" else None
    plain = make_gain(net, **settings)
    lever = make_gain(copy.deepcopy(net), **settings, checkpoint_features=True)
    lever.load_state_dict(plain.state_dict())
    for ours, theirs in zip(step_of(lever, batches), step_of(plain, batches), strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, rtol=1e-9, atol=1e-12, msg=key)
    assert modes_of(lever) == modes_of(plain)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_features_change_no_result(batches):
    settings = {"am_weight": 1.0, "ext_weight": 10.0, "second_order": True}
    plain = make_gain(**settings)
    lever = make_gain(**settings, compile_features=True)
    lever.load_state_dict(plain.state_dict())
    for ours, theirs in zip(step_of(lever, batches), step_of(plain, batches), strict=True):
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, rtol=1e-9, atol=1e-12, msg=key)


def test_checkpointed_features_keep_less(batches):
    """Bytes that the graph holds for the backward pass."""

    def held(module):
        sizes = {}

        def pack(tensor):
            sizes[tensor.untyped_storage()._cdata] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            module.losses(*batches, 1.0)
        return sum(tensor.untyped_storage().nbytes() for tensor in sizes.values())

    parameters = 4 * sum(p.numel() for p in make_gain(backbone="resnet18").parameters())
    keep, again = (
        held(make_gain(backbone="resnet18", am_weight=1.0, ext_weight=1.0, checkpoint_features=value))
        for value in (False, True)
    )
    assert again - parameters < 0.5 * (keep - parameters)


def test_a_few_classes_an_image_estimate_the_mining_loss_without_bias(generator):
    """The mean over every choice of one class is Eq. 5 over all of them."""
    module = make_gain(am_weight=1.0).eval()
    image = torch.randn(1, 3, SIDE, SIDE, generator=generator)
    weak = {"image": image, "id": ["x"]}
    whole = module.losses({**weak, "label": torch.ones(1, 3)}, None, 1.0)["loss_am"]
    parts = [
        module.mining_term(
            Step(image, None, None, row[None], label_pairs(row[None]), None, 1.0),
            maps_of_one(module, image, row),
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


def test_sampled_labels_are_uniform_and_seeded():
    label = torch.tensor([[1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]])
    counts = torch.zeros(3, 4)
    for seed in range(3000):
        drawn = sample_labels(label, 2, torch.Generator().manual_seed(seed))
        assert (drawn <= label).all()
        assert drawn.sum(1).tolist() == [2, 1, 0]
        counts += drawn
    share = counts / 3000
    torch.testing.assert_close(share[0, [0, 2, 3]], torch.full((3,), 2 / 3), atol=0.04, rtol=0)
    first, again = (sample_labels(label, 1, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, again)


def test_mining_every_few_batches_counts_them_over_epochs(tmp_path):
    """Epochs of 2 batches: counted within each, every third batch would never come."""
    module, seen = make_shapes_gain(am_weight=0.5, am_every=3), []
    true_losses = module.losses

    def record(weak, masked, guidance, *, run_mining):
        seen.append(run_mining)
        return true_losses(weak, masked, guidance, run_mining=run_mining)

    module.losses = record
    make_trainer(tmp_path, max_epochs=6, num_sanity_val_steps=0, limit_val_batches=0).fit(
        module, datamodule=make_shapes(mask_budget=0)
    )
    assert seen == [False, False, True] * 4


def test_mining_every_second_batch_doubles_its_weight(tmp_path):
    module = make_shapes_gain(am_weight=0.5, am_every=2)
    seen = []
    true_losses = module.losses

    def record(weak, masked, guidance, *, run_mining):
        terms = true_losses(weak, masked, guidance, run_mining=run_mining)
        seen.append((run_mining, {key: term.detach() for key, term in terms.items()}))
        return terms

    module.losses = record
    make_trainer(tmp_path, max_epochs=2, num_sanity_val_steps=0, limit_val_batches=0).fit(
        module, datamodule=make_shapes(mask_budget=0)
    )
    assert [mine for mine, _ in seen] == [False, True] * 2
    for mine, terms in seen:
        assert ("loss_am" in terms) == mine
        am = terms.get("loss_am", torch.zeros(()))
        torch.testing.assert_close(terms["loss"], terms["loss_cl"] + 2 * 0.5 * am)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"am_every": 0}, "am_every is 0, expected at least 1"),
        ({"max_classes_per_image": 0}, "max_classes_per_image is 0, expected at least 1"),
        ({"compile_features": True, "checkpoint_features": True}, "exclude each other"),
    ],
)
def test_levers_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_gain(**settings)


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


COMPILED = """
import torch
from gain_lightning.methods.gain import GAIN

options = []
torch.nn.Module.compile = lambda self, **given: options.append(given)
features = GAIN(["a"], 64, backbone="lite0", output_stride=16, compile_features=True).backbone.features
features = torch.compile(features, backend="aot_eager", **options[0])  # what comes after takes minutes on a CPU
for num_images in (2, 3, 5):
    features(torch.rand(num_images, 3, 64, 64)).sum().backward()
"""


@pytest.mark.slow
def test_compiled_features_of_lite0_come_to_an_end():
    """Had the size of the images been a symbol too, torch.compile would not have ended in minutes."""
    process = subprocess.run([sys.executable, "-c", COMPILED], check=False, timeout=600)
    assert process.returncode == 0


@pytest.mark.parametrize(("task", "size"), [("single_label", 3), ("multi_label", 3), ("multi_label", 1)])
def test_log_odds_are_the_probabilities_logits_and_differ_where_these_round(task, size):
    module = GAIN([f"class {index}" for index in range(size)], 96, task=task)
    logits = torch.tensor([[1.0, -2.0, 0.5], [60.0, 0.0, 1.0], [50.0, 0.0, 1.0], [-150.0, 90.0, 0.0]])[
        :, :size
    ]
    score, log_odds = module.scores(logits), module.log_odds(logits)
    expected = torch.special.logit(
        logits.double().softmax(1) if task == "single_label" else logits.double().sigmoid()
    )
    is_inside = (score > 1e-30) & (score < 0.9)
    torch.testing.assert_close(log_odds[is_inside].double(), expected[is_inside], rtol=1e-5, atol=1e-5)
    assert score[1, 0] == score[2, 0] == 1
    assert log_odds[1, 0] - log_odds[2, 0] == 10


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


def test_the_map_method_is_a_row_of_the_table(batches, monkeypatch):
    monkeypatch.setitem(
        CAMS, "ones", lambda features, score, pairs, *, second_order: 1 + 0 * grad_cam(features, score, pairs)
    )
    monkeypatch.setitem(gain_settings.CHOICES, "map_method", tuple(CAMS))
    module = GAIN(NAMES, SIDE, map_method="ones")
    weak = batches[0]
    assert (module.attend(weak["image"], module.multi_hot(weak["label"]))[1] == 1).all()
    with pytest.raises(ValueError, match="model.map_method is 'lrp', expected one of grad_cam, ones"):
        GAIN(NAMES, SIDE, map_method="lrp")
