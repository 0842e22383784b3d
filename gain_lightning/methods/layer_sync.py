"""``--trainer.sync_batchnorm``: BatchNorm with statistics over the images of all processes."""

import pytorch_lightning as pl
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gain_lightning.backbones.batch_norm import batch_norm_layers


class SyncedBatchNorm(nn.SyncBatchNorm):
    """A synchronised BatchNorm layer, followed by the dropout and the activation that the layer itself ends with.

    timm's BatchNorm2d often ends with a dropout and the network's activation (``BatchNormAct2d``). torch's and
    Lightning's conversions lose both without a word.

    Args:
        layer: The layer that it stands in for; parameters, statistics and names of tensors stay.

    Raises:
        ValueError: If ``layer`` computes more than BatchNorm in another way than timm's.
    """

    replaced: _BatchNorm

    def __init__(self, layer: _BatchNorm) -> None:
        if _is_fused(layer) and [name for name, _ in layer.named_children()] != ["drop", "act"]:
            raise ValueError(
                f"trainer.sync_batchnorm cannot synchronise a {type(layer).__name__}, which computes more than "
                "BatchNorm; expected trainer.sync_batchnorm false, and model.freeze_batch_norm true"
            )
        super().__init__(
            layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats
        )
        _hand_over(layer, self)
        for name, after in layer.named_children() if _is_fused(layer) else ():
            self.add_module(name, after)
        # The replaced layer must not become a submodule of this one.
        object.__setattr__(self, "replaced", layer)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features; the result has the same shape."""
        features = super().forward(features)
        for after in self.children():
            features = after(features)
        return features

    def original(self) -> _BatchNorm:
        """Return the replaced layer in the state that training has left."""
        _hand_over(self, self.replaced)
        return self.replaced


class SyncEveryBatchNorm(TorchSyncBatchNorm):
    """Lightning's plugin for ``Trainer(sync_batchnorm=True)``, but with :class:`SyncedBatchNorm`."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Synchronise every BatchNorm layer of a model, in place."""
        layers = [layer for layer in batch_norm_layers(model) if not isinstance(layer, nn.SyncBatchNorm)]
        return _exchange(model, {layer: SyncedBatchNorm(layer) for layer in layers})

    def revert(self, model: nn.Module) -> nn.Module:
        """Bring back, in place, the layers that :meth:`apply` found."""
        layers = [layer for layer in batch_norm_layers(model) if isinstance(layer, SyncedBatchNorm)]
        return _exchange(model, {layer: layer.original() for layer in layers})


def check_layer_sync(trainer: pl.Trainer, model: nn.Module) -> None:
    """Refuse a Trainer that cannot synchronise BatchNorm, or would lose the activations of fused layers.

    Args:
        trainer: A Trainer whose strategy is not set up yet.
        model: The network that it trains.

    Raises:
        ValueError: If it trains on a CPU, or if it has Lightning's own plugin and the model has fused layers.
    """
    plugin = getattr(trainer.strategy, "_layer_sync", None)
    if plugin is None:
        return
    if trainer.strategy.root_device.type == "cpu":
        raise ValueError(
            "trainer.sync_batchnorm is true, but torch synchronises BatchNorm on GPUs alone, and this training is on "
            "a CPU; expected trainer.sync_batchnorm false, and model.freeze_batch_norm true where batches are small"
        )
    if type(plugin) is TorchSyncBatchNorm and any(_is_fused(layer) for layer in batch_norm_layers(model)):
        raise ValueError(
            "Trainer(sync_batchnorm=True) loses the activations of BatchNorm layers that end with one; expected "
            "plugins=[gain_lightning.methods.layer_sync.SyncEveryBatchNorm()] beside it, the default of the "
            "command gain"
        )


def _is_fused(layer: _BatchNorm) -> bool:
    """Return True if a layer computes more than BatchNorm."""
    return type(layer).forward not in (_BatchNorm.forward, nn.SyncBatchNorm.forward)


def _hand_over(old: _BatchNorm, new: _BatchNorm) -> None:
    """Give the parameters, statistics and mode of a layer to another one."""
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(new, name, getattr(old, name))
    new.train(old.training)


def _exchange(model: nn.Module, others: dict[nn.Module, nn.Module]) -> nn.Module:
    """Replace the layers that are keys of ``others`` by its values, even if several modules share a layer."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child in others:
                setattr(parent, name, others[child])
    return others.get(model, model)
