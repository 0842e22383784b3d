"""Score the same images by one, two and three gloo processes, for ``test_distributed.py``.

Usage: ``python scoring_processes.py OUT``. This writes ``OUT/TASK_PROCESSES.json`` with the scores of a validation
inside a training that changes nothing, of a validation on its own and of a test; beside it lies the test's run folder.
"""

import json
import math
import sys
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch

from gain_lightning.datasets import ShapesDataModule
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.image_record import ImageRecord

# No number but that of the training images is a multiple of 2 or of 3.
SIZES = {"num_train": 12, "num_val": 7, "num_test": 25, "num_biased": 5}
# Each task has a scene whose labels fit it.
TASKS = {"multi_label": "boat", "regression": "count"}


def score(task: str, processes: int, out: Path) -> None:
    """Train at a rate of 0, validate and test by a number of processes."""
    run_dir = out / f"{task}_{processes}"
    run_dir.mkdir()
    pl.seed_everything(0, verbose=False)
    data = ShapesDataModule(**SIZES, scene=TASKS[task], batch_size=4)
    model = GAIN(
        list(data.class_names),
        96,
        task=task,
        freeze_batch_norm=True,
        optimizer=partial(torch.optim.SGD, lr=0.0),
    )
    # This bias makes decisions differ from image to image.
    if task == "multi_label":
        data.setup("test")
        image = torch.stack([sample["image"] for name in data.test_sets for sample in data.test_sets[name]])
        with torch.no_grad():
            model.backbone.classifier.bias -= model.eval()(model.backbone.normalize(image)).median(0).values
    trainer = pl.Trainer(
        accelerator="cpu", devices=processes, strategy="ddp_fork", max_epochs=1, inference_mode=False, logger=False,
        num_sanity_val_steps=0, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[ImageRecord(run_dir)], default_root_dir=run_dir,
    )  # fmt: skip
    scores = {}
    for verb in ("fit", "validate", "test"):
        getattr(trainer, verb)(model, datamodule=data)
        found = {key: float(value) for key, value in trainer.callback_metrics.items() if "train/" not in key}
        scores[verb] = {key: None if math.isnan(value) else value for key, value in found.items()}
    run_dir.with_suffix(".json").write_text(json.dumps(scores))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for task in TASKS:
        for processes in (1, 2, 3):
            score(task, processes, Path(sys.argv[1]))
