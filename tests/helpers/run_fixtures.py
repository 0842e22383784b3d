"""Fixtures that write the folders of made-up finished runs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from fake_runs import CLASSES, SETS, SKILL, curve_rows, image_rows, map_arrays, slow_metrics, write_csv


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., str]:
    """Write the folder of a finished run, and return its path."""

    def make(
        name: str,
        method: str = "gain",
        seed: int = 0,
        config: dict | None = None,
        summary: dict | None = None,
        metrics: dict | None = None,
        sets: dict[str, int] = SETS,
        maps: bool = True,
    ) -> str:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        rows = image_rows(method, seed, sets)
        write_csv(folder / "per_image.csv", rows)
        write_csv(folder / "metrics.csv", curve_rows(method, seed))
        scores = slow_metrics(rows, CLASSES, "boat")
        scores |= {
            "test/seed_miou": 0.3 + 0.1 * SKILL.get(method, 0) + 0.01 * seed,
            "test/seed_threshold_best": 0.25,
        }
        content = {
            "state": "finished",
            "method": method,
            "seed": seed,
            "accuracy_class": "boat",
            "git_commit": "abc",
        }
        content |= {"device": "cpu", "wall_time_s": 3725.4, "versions": {"torch": "2.9"}}
        content |= {"metrics": {**scores, **(metrics or {})}, **(summary or {})}
        (folder / "summary.json").write_text(json.dumps(content))
        nested = {
            "seed_everything": seed,
            "run_dir": str(folder),
            "trainer": {"max_epochs": 5, "logger": {"init_args": {"save_dir": str(folder)}}},
            "model": {"backbone": "tiny_cnn", "output_stride": None, "am_weight": float(method != "gradcam")},
            "data": {"class_path": "ShapesDataModule", "init_args": {"image_size": 96, "mask_budget": 10}},
        }
        for key, value in (config or {}).items():
            place = nested
            *outer, last = key.split(".")
            for part in outer:
                place = place[part]
            place[last] = value
        (folder / "config.yaml").write_text(yaml.safe_dump(nested))
        if maps:
            np.savez(folder / "maps.npz", **map_arrays(seed))
        return str(folder)

    return make


@pytest.fixture
def make_study(make_run: Callable[..., str]) -> Callable[..., list[str]]:
    """Write three methods' runs of some seeds."""
    return lambda seeds=(0, 1): [
        make_run(f"{method}_{seed}", method, seed) for seed in seeds for method in SKILL
    ]
