"""Small runs of rivals on shapes whose bias is not full, as the command makes them."""

import json

from small_run import EXPERIMENTS

from gain_lightning.cli import main

SMALL = [
    *("--data.bias=0.5", "--data.num_train=96", "--data.num_val=40", "--data.num_test=24"),
    *("--data.num_biased=8", "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false"),
    *("--trainer.enable_model_summary=false", "--trainer.logger=false", "--trainer.accelerator=cpu"),
]


def fit(folder, *options, config="gradcam"):
    """Train, and return the run's summary."""
    path = EXPERIMENTS / "shapes" / f"{config}.yaml"
    assert main(["fit", f"--config={path}", *SMALL, f"--run_dir={folder}", *options]) == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["state"] == "finished"
    return summary


def refused(folder, *options, capsys, config="gradcam"):
    """Return the line with which a training is refused."""
    path = EXPERIMENTS / "shapes" / f"{config}.yaml"
    capsys.readouterr()
    assert main(["fit", f"--config={path}", *SMALL, f"--run_dir={folder}", *options]) == 1
    return capsys.readouterr().err.strip().splitlines()[-1]
