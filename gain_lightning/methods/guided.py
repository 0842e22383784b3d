"""A classifier under guidance: terms on its maps that begin after a warm-up, take turns, and may keep a state."""

import math
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from gain_lightning.attention import label_pairs
from gain_lightning.datasets.sample import Batch, Streams
from gain_lightning.methods.balance import GradientBalance, new_balance
from gain_lightning.methods.base import share_of_step
from gain_lightning.methods.classifier import Classifier
from gain_lightning.methods.gain_preflight import check_before, check_guidance
from gain_lightning.methods.gain_settings import guidance_at, num_guided
from gain_lightning.methods.guard import Guard
from gain_lightning.methods.judge import Judge, new_judge
from gain_lightning.methods.schedules import length_of
from gain_lightning.methods.step import Step


class Guided(Classifier):
    """What Lightning calls while a guided classifier trains; a subclass computes the loss in :meth:`losses`.

    Attributes:
        judge: The network that judges erased images; None is this one.
        balance: What turns shares into weights; None takes weights as they are.
        guard: What lowers guidance where it harms; None never does.
        zero_maps: Number of maps of the last step that were zero everywhere, and number of its maps.
    """

    judge: Judge | None
    balance: GradientBalance | None
    guard: Guard | None
    zero_maps: tuple[Tensor | int, int]

    def build(self) -> None:
        """Make the classifier and what guides it."""
        super().build()
        self.zero_maps = (0, 0)
        self.judge, self.balance = new_judge(self.hparams), new_balance(self.hparams)
        tolerance = self.hparams.guard
        self.guard = None if tolerance is None else Guard(tolerance)

    def losses(
        self, weak: Batch, masked: Batch | None, guidance: float, *, turn: int | None = None
    ) -> dict[str, Tensor]:
        """Compute ``loss`` and its terms; see :meth:`gain_lightning.GAIN.losses`."""
        raise NotImplementedError

    def extra_terms(self, step: Step, maps: Tensor) -> dict[str, Tensor]:
        """Compute terms of your own, which are added to the loss as they are; a subclass overrides this.

        It is called once guidance begins. The network has run already: ``step`` has its features and logits. A second
        pass would cost as much again and move BatchNorm's statistics twice.

        Args:
            step: Result of the network's pass.
            maps: Maps of ``step.pairs`` before scaling, those of the weak stream first, ``(P, 1, h, w)``.

        Returns:
            Scalars by name; each is logged as ``train/<name>``.
        """
        return {}

    def adds_terms(self, guidance: float) -> bool:
        """Return True if a subclass has terms of its own in force."""
        return bool(guidance) and type(self).extra_terms is not Guided.extra_terms

    def classification_term(self, step: Step, weak: Batch) -> Tensor:
        """Compute L_cl over the weak stream; a subclass may weigh its images otherwise.

        Args:
            step: Result of the network's pass.
            weak: Batch of the weak stream, in the order of the step's first images.

        Returns:
            Scalar.
        """
        return self.task.loss(step.logits[: len(step.label)], step.label)

    def pairs_of(self, stream: str, batch: Batch) -> Batch:
        """Return a stream's batch with its pairs.

        Of the weak stream they are those of the first images, as many as the settings ask for, and a random few an
        image if the settings say so. Of the masked stream they are those of all classes if L_e sees evidence of both
        signs.
        """
        if stream == "masked" and self.hparams.map_sign == "both" and "pairs" not in batch:
            every = torch.ones_like(self.multi_hot(batch["label"]))
            return {**batch, "pairs": label_pairs(self.with_place(every))}
        if stream != "weak" or "pairs" in batch:
            return self.with_pairs(batch)
        batch = self.with_pairs(batch, self.hparams.max_classes_per_image)
        pairs = batch["pairs"]
        return {**batch, "pairs": pairs.of_first(num_guided(pairs.num_images, self.hparams.guided_share))}

    def setup(self, stage: str) -> None:
        """Refuse settings and data that would fail once steps are taken."""
        super().setup(stage)
        check_before(self, stage)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """List the pairs of a training batch on the CPU, so that no step waits for a GPU to count them."""
        # Batches of validation, test and predict have no streams.
        if "image" in batch:
            return batch
        return {name: self.pairs_of(name, stream) for name, stream in batch.items()}

    def guidance(self, batch: int, num_batches: float) -> float:
        """Return the share of the weights in force: 0 in the warm-up, then a ramp to 1, or less by the guard.

        Args:
            batch: Number of batches before this one, over all epochs.
            num_batches: Number of batches of the whole training.
        """
        share = guidance_at(batch, num_batches, self.hparams.warmup, self.hparams.ramp)
        return share if self.guard is None else share * self.guard.factor

    def on_train_start(self) -> None:
        """Begin the schedules, and warn if the training will end before guidance, or S_am, has a turn."""
        super().on_train_start()
        check_guidance(self)

    def training_step(self, batch: Streams, batch_idx: int) -> Tensor:
        """Take one step over both streams on the same weights."""
        per_epoch = int(self.trainer.num_training_batches)
        # Guidance and the turns of its terms are counted over all epochs.
        turn = self.current_epoch * per_epoch + batch_idx
        guidance = self.guidance(turn, length_of(self.trainer).batches)
        terms = self.losses(batch["weak"], batch.get("masked"), guidance, turn=turn)
        self.log_terms(terms)
        self.log("train/guidance", guidance)
        if self.balance is not None:
            self.log_dict({f"train/weight_{name}": weight for name, weight in self.balance.weights.items()})
        return terms["loss"] * share_of_step(self.trainer, batch_idx)

    @property
    def guides(self) -> dict[str, Any]:
        """The judge, the balance and the guard by name, where the settings ask for them."""
        names = ("judge", "balance", "guard")
        return {name: part for name in names if (part := getattr(self, name)) is not None}

    def on_validation_end(self) -> None:
        """Show the guard how well held-out images are classified."""
        key = self.val_metrics.key
        found = self.trainer.callback_metrics.get(f"val/{key}")
        if (
            self.guard is None
            or self.trainer.state.fn != "fit"
            or self.trainer.sanity_checking
            or found is None
        ):
            return
        guided = float(self.trainer.callback_metrics.get("train/guidance", 0)) > 0
        score = -float(found) if self.task.has_amounts else float(found)
        if math.isfinite(score) and self.guard.see(score, guided=guided):
            rank_zero_warn(
                f"guidance seems to harm: val/{key} is {abs(score):.3f} after {abs(self.guard.best or 0):.3f}, worse "
                f"by more than model.guard {self.guard.tolerance} in {self.guard.patience} validations; its weights "
                f"are now {self.guard.factor:g} of what the settings say"
            )

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let the judge follow the network."""
        if self.judge is not None:
            self.judge.follow(self.backbone)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the judge and the balance, so that a training that goes on has the same."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["guidance"] = {name: part.state() for name, part in self.guides.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the judge and the balance back."""
        super().on_load_checkpoint(checkpoint)
        kept = checkpoint.get("guidance", {})
        for name in kept.keys() & self.guides.keys():
            self.guides[name].restore(kept[name])
