"""The files of made-up finished runs, and slow oracles of their metrics."""

import csv
from pathlib import Path

import numpy as np

CLASSES = ["boat", "car", "cow"]
SETS = {"test": 40, "boat_without_water": 20, "water_without_boat": 30}
SKILL = {"gradcam": 0.0, "gain": 0.5, "gain_ext": 1.0}
VOID = 255
COLUMNS = ("set", "id", "class", "present", "score", "energy", "pointing", "iou")


def slow_average_precision(score: list[float], present: list[bool]) -> float:
    """Return the average precision by its definition: precision and recall at every threshold, one after another."""
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        chosen = [p for s, p in zip(score, present, strict=True) if s >= threshold]
        recall = sum(chosen) / sum(present)
        area += (recall - recall_before) * sum(chosen) / len(chosen)
        recall_before = recall
    return area


def slow_metrics(rows: list[dict[str, str]], names: list[str], accuracy_class: str) -> dict[str, float]:
    """Return test metrics from the rows of a per_image.csv, by plain loops."""
    main = [row for row in rows if row["set"] == "test"]
    precisions, pointings = [], []
    for name in names:
        of_class = [row for row in main if row["class"] == name]
        score = [float(row["score"]) for row in of_class]
        present = [row["present"] == "1" for row in of_class]
        precisions.append(slow_average_precision(score, present))
        hits = [float(row["pointing"]) for row in of_class if row["pointing"]]
        pointings.append(sum(hits) / len(hits))
    energies = [float(row["energy"]) for row in main if row["energy"]]
    metrics = {
        "test/mean_ap": sum(precisions) / len(precisions),
        "test/energy": sum(energies) / len(energies),
        "test/pointing": sum(pointings) / len(pointings),
    }
    accuracies = []
    for name in dict.fromkeys(row["set"] for row in rows if row["set"] != "test"):
        of_class = [row for row in rows if row["set"] == name and row["class"] == accuracy_class]
        right = [(float(row["score"]) > 0.5) == (row["present"] == "1") for row in of_class]
        accuracies.append(sum(right) / len(right))
        metrics[f"test/{name}"] = accuracies[-1]
    return {**metrics, "test/biased_accuracy": sum(accuracies) / len(accuracies)}


def image_rows(method: str, seed: int, sets: dict[str, int]) -> list[dict[str, str]]:
    """Return rows of a per_image.csv; the images are equal for all runs, and scores are better with more skill."""
    rows, skill = [], SKILL.get(method, 0.0)
    noise = np.random.default_rng((len(method), seed))
    for set_index, (set_name, count) in enumerate(sets.items()):
        labels = np.random.default_rng(set_index).random((count, len(CLASSES))) < 0.5
        for image, label in enumerate(labels):
            for name, present in zip(CLASSES, label, strict=True):
                score = 1 / (1 + np.exp(-noise.normal((1.5 + skill) * (2 * present - 1), 1.5)))
                energy = np.clip(noise.normal(0.3 + 0.3 * skill, 0.15), 0, 1)
                judged = present and set_name == "test"
                cells = (f"{energy:.4f}", str(int(energy > 0.4)), f"{energy:.4f}") if judged else ("", "", "")
                start = (set_name, f"{set_name}_{image:04}", name, str(int(present)), f"{score:.5f}")
                rows.append(dict(zip(COLUMNS, start + cells, strict=True)))
    return rows


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def curve_rows(method: str, seed: int, epochs: int = 5) -> list[dict[str, str]]:
    """Return rows of a metrics.csv as Lightning's CSVLogger writes it, with many empty cells."""
    rng = np.random.default_rng(seed)
    rows = []
    for epoch in range(epochs):
        for step in range(2):
            row = {
                "epoch": epoch,
                "step": 2 * epoch + step,
                "train/loss_cl": 1 / (1 + epoch) + 0.1 * rng.random(),
            }
            rows.append(
                {**row, "train/loss": row["train/loss_cl"] + 0.1, "train/guidance": 1.0, "val/mean_ap": ""}
            )
            if method != "gradcam":
                rows[-1]["train/loss_am"] = 0.5 / (1 + epoch)
        mean_ap = 0.9 - 0.3 / (1 + epoch) + 0.02 * rng.random()
        rows.append({"epoch": epoch, "step": 2 * epoch + 1, "val/mean_ap": mean_ap})
    return [{key: str(value) for key, value in row.items()} for row in rows]


def map_arrays(
    seed: int = 0, size: int = 24, ids: tuple[str, ...] = ("a", "b", "c")
) -> dict[str, np.ndarray]:
    """Return the arrays of a maps.npz with one pair of each image."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((len(ids), size, size), np.uint8)
    mask[:, 4:12, 4:12], mask[:, 4, 4:12] = 1, VOID
    return {
        "ids": np.array(ids),
        "image": np.random.default_rng(0).integers(0, 256, (len(ids), size, size, 3)).astype(np.uint8),
        "mask": mask,
        "pair_image": np.arange(len(ids)),
        "pair_class": np.zeros(len(ids), int),
        "map": rng.random((len(ids), size, size)).astype(np.float16),
        "class_names": np.array(CLASSES),
    }
