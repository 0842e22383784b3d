"""Attributes of Lightning's Trainer that it has but does not declare."""

from typing import cast

import pytorch_lightning as pl

from gain_lightning.datasets.streams import TwoStreamDataModule


def data_of(trainer: pl.Trainer) -> TwoStreamDataModule:
    """Return the data module that a Trainer runs on."""
    return cast("TwoStreamDataModule", getattr(trainer, "datamodule", None))


def is_trial(trainer: pl.Trainer) -> bool:
    """Return True if a Trainer only tries a few batches (``fast_dev_run``); such a run writes nothing."""
    return bool(getattr(trainer, "fast_dev_run", False))
