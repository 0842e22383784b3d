"""BatchNorm that is synchronised: the network stays the same, in its training and after it."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from several_processes import run_two
from torch import nn

from gain_lightning.backbones import build_backbone
from gain_lightning.backbones.batch_norm import batch_norm_layers, frozen_batch_norm
from gain_lightning.datasets import ShapesDataModule
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.layer_sync import SyncedBatchNorm, SyncEveryBatchNorm, check_layer_sync

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests" / "helpers"
FUSED = ["lite0", "timm/mobilenetv3_small_050", "timm/efficientvit_b0", "timm/hgnetv2_b0"]


def build(name):
    """With statistics and weights that no layer has from the start."""
    if name not in ("tiny_cnn", "resnet18"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    backbone = build_backbone(name, 3)
    for layer in batch_norm_layers(backbone):
        layer.running_mean.normal_(0, 0.1)
        layer.running_var.uniform_(0.5, 2)
        nn.init.uniform_(layer.weight, 0.5, 1)
    return backbone


@pytest.mark.parametrize("name", [*FUSED, "resnet18", "tiny_cnn"])
def test_network_answers_the_same_before_in_and_after(generator, name):
    backbone, plugin = build(name), SyncEveryBatchNorm()
    pictures = torch.randn(2, 3, 64, 64, generator=generator)
    kinds = [type(layer) for layer in backbone.modules()]
    tensors = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    modes = [layer.training for layer in batch_norm_layers(backbone)]
    with torch.no_grad():
        expected = backbone.eval()(pictures)
        backbone.train()

        assert plugin.apply(backbone) is backbone
        layers = batch_norm_layers(backbone)
        assert [type(layer) for layer in layers] == [SyncedBatchNorm] * len(modes)
        assert [layer.training for layer in layers] == modes
        assert list(backbone.state_dict()) == list(tensors)
        torch.testing.assert_close(backbone.eval()(pictures), expected, rtol=1e-6, atol=1e-6)
        backbone.train()
        assert [layer.training for layer in layers] == modes

        assert plugin.revert(backbone) is backbone
        assert [type(layer) for layer in backbone.modules()] == kinds
        assert [layer.training for layer in batch_norm_layers(backbone)] == modes
        assert torch.equal(backbone.eval()(pictures), expected)
    for key, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, tensors[key]), key


@pytest.mark.parametrize("name", ["lite0", "tiny_cnn"])
def test_statistics_and_weights_that_training_moved_stay(generator, name):
    """As without the conversion: in one process there is nothing to wait for."""
    plain, synced = build(name), build(name)
    plugin = SyncEveryBatchNorm()
    plugin.apply(synced)
    pictures = torch.randn(4, 3, 64, 64, generator=generator)
    for backbone in (plain, synced):
        optimizer = torch.optim.SGD(backbone.parameters(), lr=0.01)
        backbone(pictures).square().sum().backward()
        optimizer.step()
    plugin.revert(synced)
    moved = build(name).state_dict()
    for key, tensor in plain.state_dict().items():
        torch.testing.assert_close(synced.state_dict()[key], tensor)
        assert not torch.equal(tensor, moved[key]) or tensor.ndim == 1, key
    assert any(
        "running_mean" in key and not torch.equal(plain.state_dict()[key], moved[key]) for key in moved
    )


def test_synchronised_layers_are_found_and_frozen(generator):
    backbone = build("lite0")
    num_layers = len(batch_norm_layers(backbone))
    SyncEveryBatchNorm().apply(backbone)
    layers = batch_norm_layers(backbone)
    assert len(layers) == num_layers == 49
    known = [layer.running_mean.clone() for layer in layers]
    with frozen_batch_norm(backbone):
        assert not any(layer.training for layer in layers)
        backbone(torch.randn(2, 3, 64, 64, generator=generator))
    assert all(layer.training for layer in layers)
    assert all(torch.equal(layer.running_mean, mean) for layer, mean in zip(layers, known, strict=True))


def test_layer_that_two_modules_share_stays_one():
    layer = nn.BatchNorm2d(4)
    net = nn.Sequential(nn.Sequential(layer), nn.Sequential(layer), nn.SyncBatchNorm(4))
    other = net[2]
    plugin = SyncEveryBatchNorm()
    plugin.apply(net)
    assert isinstance(net[0][0], SyncedBatchNorm)
    assert net[0][0] is net[1][0]
    assert net[2] is other  # was one already
    plugin.revert(net)
    assert net[0][0] is net[1][0] is layer
    assert net[2] is other


class Doubled(nn.BatchNorm2d):
    def forward(self, features):
        return 2 * super().forward(features)


def test_layer_that_computes_something_else_is_refused():
    with pytest.raises(
        ValueError, match=r"sync_batchnorm cannot synchronise a Doubled.*freeze_batch_norm true"
    ):
        SyncEveryBatchNorm().apply(nn.Sequential(Doubled(3)))


def fake_trainer(plugin, device):
    return SimpleNamespace(strategy=SimpleNamespace(_layer_sync=plugin, root_device=torch.device(device)))


def test_lightning_s_own_plugin_is_refused_where_it_would_lose_activations():
    lossy, ours = TorchSyncBatchNorm(), SyncEveryBatchNorm()
    fused, plain = build("lite0"), build("tiny_cnn")
    with pytest.raises(ValueError, match=r"loses the activations.*SyncEveryBatchNorm"):
        check_layer_sync(fake_trainer(lossy, "cuda"), fused)
    for plugin, model in [(lossy, plain), (ours, fused), (None, fused)]:
        check_layer_sync(fake_trainer(plugin, "cuda"), model)
    check_layer_sync(fake_trainer(None, "cpu"), fused)


def test_training_on_a_cpu_is_refused_in_words(tmp_path):
    """torch has no such layer there; found before anything is trained, by Trainer and command alike."""
    data = ShapesDataModule(num_train=4, num_val=2, num_test=2, num_biased=2)
    trainer = pl.Trainer(
        accelerator="cpu",
        strategy="ddp",
        devices=2,
        sync_batchnorm=True,
        plugins=[SyncEveryBatchNorm()],
        inference_mode=False,
        logger=False,
        default_root_dir=tmp_path,
    )
    model = GAIN(list(data.class_names), 96)
    model.trainer = trainer
    trainer.datamodule = data
    with pytest.raises(ValueError, match=r"on GPUs alone.*on a CPU; expected trainer.sync_batchnorm false"):
        model.setup("fit")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes saved."""
    pytest.importorskip("timm")
    return run_two(HELPERS / "synced_processes.py", tmp_path_factory.mktemp("two"))


@pytest.mark.slow
def test_two_processes_train_and_test_the_same_network(two):
    for rank in two:
        expected = rank["before"]["logits"]
        assert torch.isfinite(expected).all()
        torch.testing.assert_close(rank["training"]["logits"], expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(rank["test"]["logits"], expected, rtol=0, atol=1e-6)
        assert [rank[when]["layers"] for when in ("before", "training", "test")] == [
            ["BatchNormAct2d"],
            ["SyncedBatchNorm"],
            ["BatchNormAct2d"],
        ]
