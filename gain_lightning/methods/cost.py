"""The cost of a training step, foretold before training starts: images that pass the network, and memory."""

from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.func import functional_call

from gain_lightning.backbones.dry_run import meta_weights, weights_dtype
from gain_lightning.methods.base import Method
from gain_lightning.methods.gain_settings import num_guided
from gain_lightning.methods.trainer import data_of

# Planes of H x W numbers that S_am keeps for a pair beside those of the network: three of the erased image, one of
# its attention map and one of its soft mask.
PAIR_PLANES = 5


class Cost(NamedTuple):
    """Cost of one training step on one device, once guidance is in force.

    Attributes:
        num_weak, num_masked: Numbers of images of the two streams.
        num_erased: Number of S_am's images, one or two for each (image, class) pair; a mean over batches in which it
            runs.
        fixed_bytes: Bytes of weights, their gradients and the optimizer's state.
        image_bytes: Bytes that one image leaves in memory for the backward pass, in the weights' type and without
            checkpointing.
        pair_bytes: Bytes that an erased image leaves besides, see :data:`PAIR_PLANES`.
        am_every: S_am runs in every so many steps.
        ext_every: The masked stream runs in every so many steps.
        erased_share: Cost of an erased image relative to one of the weak stream: 1, or 2/3 if S_am's loss reaches
            the maps alone, since then a backward pass leaves out the weights' gradients.
        num_views: Number of enlarged views, which pass forward alone.
        view_area: Number of pixels of a view relative to an image of the weak stream.
        erased_area: Number of pixels of an erased image relative to one of the weak stream.
        guided_share: Share of the training in which guidance is in force; before, a step is a plain one.
        dtype: Type of the weights.
        saving: Settings that lower the memory by an unknown amount: checkpointed features, a backward pass without
            the weights' gradients, mixed precision.
    """

    num_weak: int
    num_masked: int
    num_erased: float
    fixed_bytes: int
    image_bytes: int
    pair_bytes: int = 0
    am_every: int = 1
    ext_every: int = 1
    erased_share: float = 1.0
    erased_area: float = 1.0
    num_views: int = 0
    view_area: float = 1.0
    guided_share: float = 1.0
    dtype: str = "float32"
    saving: str = ""

    @property
    def plain_steps(self) -> float:
        """Mean cost of a guided step, in steps of a plain classifier on the weak stream."""
        erased = self.erased_share * self.erased_area * self.num_erased / self.am_every
        # A pass forward is a third of a step.
        viewed = self.num_views * self.view_area / 3
        return (self.num_weak + self.num_masked / self.ext_every + erased + viewed) / self.num_weak

    @property
    def whole_plain_steps(self) -> float:
        """Mean cost of a step over the whole training, the warm-up included, in plain steps."""
        return 1 + self.guided_share * (self.plain_steps - 1)

    @property
    def peak_bytes(self) -> float:
        """Bytes of the weights and of every image; the buffers of convolutions are not counted."""
        images = (self.num_weak + self.num_masked + self.erased_area * self.num_erased) * self.image_bytes
        return self.fixed_bytes + images + self.num_erased * self.pair_bytes

    def __str__(self) -> str:
        streams = [f"{self.num_weak} weak"]
        streams += [f"{self.num_masked} masked{_every(self.ext_every)}"] * (self.num_masked > 0)
        area = f" of {self.erased_area:.0%} of the pixels" if self.erased_area != 1 else ""
        streams += [f"{self.num_erased:.1f} erased{area}{_every(self.am_every)}"] * (self.num_erased > 0)
        area = f"{self.view_area:.0%} of the pixels"
        streams += [f"{self.num_views} enlarged to {area}"] * (self.num_views > 0)
        is_late = self.guided_share < 1 and self.plain_steps > 1
        mean = f" once guided, {self.whole_plain_steps:.2f} x over the whole training" if is_late else ""
        memory = f"at least {self.peak_bytes / 2**30:.1f} GiB in {self.dtype}"
        if self.saving:
            memory = (
                f"less, by {self.saving}, than the {self.peak_bytes / 2**30:.1f} GiB of {self.dtype} without"
            )
        return (
            f"A step: {' + '.join(streams)} images, {self.plain_steps:.2f} x a plain step{mean}. "
            f"Memory {memory}, buffers of convolutions not counted: "
            f"{self.fixed_bytes / 2**20:.0f} MiB for weights, gradients "
            f"and optimizer, {self.image_bytes / 2**20:.0f} MiB an image"
        )


def _every(steps: int) -> str:
    return f" (every {steps} steps)" if steps > 1 else ""


def num_picture_sets(settings: Any) -> int:
    """Return how many pictures S_am makes of each pair: an erased one, one of the attended pixels alone, or both.

    Args:
        settings: The model's settings.
    """
    return bool(settings.am_weight or settings.kept_weight) + bool(settings.sufficiency_weight)


def expected_cost(
    module: Method,
    labels: Tensor,
    batch_size: int,
    masked_batch_size: int,
    optimizer: torch.optim.Optimizer,
    precision: str = "32-true",
) -> Cost:
    """Foresee a step's cost without taking one.

    Args:
        module: A :class:`gain_lightning.GAIN`.
        labels: Labels of the training images, ``(n, C)``, 0 where a class is absent, or class indices ``(n,)``.
        batch_size: Images of the weak stream in a step on one device.
        masked_batch_size: Images of the masked stream in a step on one device; 0 without that stream.
        optimizer: The optimizer, whose state is counted. Adam's kind, Adadelta and Rprop keep two numbers a weight
            (AMSGrad three); momentum, Adagrad, ASGD and RMSprop keep one each; other optimizers count 0.
        precision: The Trainer's precision.

    Returns:
        The cost with guidance in force.
    """
    hparams = module.hparams
    per_image = torch.ones(len(labels)) if labels.ndim == 1 else (labels > 0).sum(1).float()
    if hparams.max_classes_per_image:
        per_image = per_image.clamp(max=hparams.max_classes_per_image)
    sets, guided = num_picture_sets(hparams), num_guided(batch_size, hparams.guided_share)
    is_mined, is_supervised = sets > 0, hparams.ext_weight > 0 and masked_batch_size > 0
    weights = list(module.backbone.parameters())
    learned = sum(parameter.nbytes for parameter in weights if parameter.requires_grad)
    plane = hparams.image_size**2 * weights[0].element_size()
    is_partial = is_mined and (hparams.am_gradient == "maps" or hparams.judge != "shared")
    saving = ["checkpointed features"] * hparams.checkpoint_features
    saving += ["a judge that does not learn"] * is_partial + [precision] * ("mixed" in precision)
    return Cost(
        num_weak=batch_size,
        num_masked=masked_batch_size if is_supervised else 0,
        num_erased=sets * guided * float(per_image.mean()),
        fixed_bytes=sum(parameter.nbytes for parameter in weights) + learned * (1 + _kept(optimizer)),
        image_bytes=saved_bytes(module.backbone, hparams.image_size),
        pair_bytes=PAIR_PLANES * plane,
        am_every=hparams.am_every,
        ext_every=hparams.ext_every,
        erased_share=2 / 3 if is_partial else 1.0,
        erased_area=hparams.am_size**2,
        num_views=guided if hparams.view_weight else 0,
        view_area=hparams.view_scale**2,
        guided_share=1 - hparams.warmup,
        dtype=str(weights[0].dtype).removeprefix("torch."),
        saving=" and ".join(saving),
    )


def _kept(optimizer: torch.optim.Optimizer) -> int:
    """Return how many numbers the optimizer keeps for every weight."""
    defaults = optimizer.defaults
    if "betas" in defaults:
        return 2 + bool(defaults.get("amsgrad"))
    if isinstance(optimizer, torch.optim.Adadelta | torch.optim.Rprop):
        return 2
    kept = int(defaults.get("momentum", 0) > 0) + bool(defaults.get("centered"))
    return kept + isinstance(optimizer, torch.optim.Adagrad | torch.optim.ASGD | torch.optim.RMSprop)


def saved_bytes(backbone: nn.Module, image_size: int) -> int:
    """Count the bytes that one image's forward pass keeps for the backward pass, without computing anything.

    Args:
        backbone: A :class:`gain_lightning.Backbone`.
        image_size: Height and width, pixels.

    Example:
        The pass keeps the image and the output of the ReLU.

        >>> saved_bytes(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()), 10)
        4400
    """
    weights = meta_weights(backbone)
    known = {tensor.untyped_storage()._cdata for tensor in weights.values()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    image = torch.empty(1, 3, image_size, image_size, dtype=weights_dtype(weights), device="meta")
    image = image.contiguous(memory_format=torch.channels_last)
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    # Tensors that the network makes are on the meta device too, where nothing can be compiled.
    with torch.enable_grad(), hooks, torch.device("meta"), torch.compiler.set_stance("force_eager"):
        functional_call(backbone, weights, (image,))
    return sum(tensor.untyped_storage().nbytes() for storage, tensor in kept.items() if storage not in known)


class CostForecast(pl.Callback):
    """Says before the first step what a step will cost in images and memory."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Method) -> None:
        """Print the cost of a step."""
        data = data_of(trainer)
        labels = torch.as_tensor(data.train_set.labels)
        masked_batch_size = data.masked_batch_size if data.masked_set is not None else 0
        try:
            cost = expected_cost(
                pl_module,
                labels,
                data.batch_size,
                masked_batch_size,
                trainer.optimizers[0],
                str(trainer.precision),
            )
        # The network needs values where only shapes are known.
        except RuntimeError as error:
            rank_zero_warn(f"the cost of a step cannot be foreseen for this network: {error}")
            return
        if trainer.is_global_zero:
            print(cost)
