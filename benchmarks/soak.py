"""Train for half an hour and watch the process: memory, open files, shared memory and speed must stay as they are.

    python benchmarks/soak.py --minutes 30 --json soak.json --figure docs/pictures/soak.svg

This trains GAIN_ext on shapes with two loader processes, from `experiments/shapes/gain_ext.yaml` or the given config,
and takes a sample every few seconds. Memory is the sum of what the training process and its loaders have asked for,
where shared memory counts once. The code of libraries is left out, because other processes of the machine share it and
change its part.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

MIB = 2**20


def processes(pid: int) -> list[int]:
    """Return a process and its descendants."""
    found = [pid]
    for parent in found:
        children = Path(f"/proc/{parent}/task/{parent}/children")
        found += [int(child) for child in children.read_text().split()] if children.exists() else []
    return found


def look(pid: int, run: Path) -> dict[str, float]:
    """Return the memory in MiB, the open files, the shared memory in MiB, and the steps taken."""
    memory, files = 0.0, 0
    for process in processes(pid):
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
            asked = [
                line.split()[1]
                for line in rollup.splitlines()
                if line.startswith(("Pss_Anon:", "Pss_Shmem:"))
            ]
            memory += sum(map(int, asked)) / 1024
            files += len(os.listdir(f"/proc/{process}/fd"))
        # A loader may have just ended.
        except OSError:
            continue
    # Shared memory is the machine's, that of other processes included, and entries may vanish meanwhile.
    shared = 0.0
    for entry in Path("/dev/shm").iterdir():
        try:
            shared += entry.stat().st_size / MIB
        except FileNotFoundError:
            continue
    with (run / "metrics.csv").open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row.get("step")]
    return {"memory_mib": memory, "files": files, "shared_mib": shared, "step": max(steps, default=0)}


def watch(config: Path, options: Sequence[str], minutes: float, every: float) -> list[dict[str, float]]:
    """Return samples of a training, each with its time in minutes."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        # Without a warm-up every step is guided, and so all steps cost the same.
        words = ["fit", "--config", str(config), "--run_dir", str(run)]
        words += ["--trainer.max_epochs=1000000", "--model.warmup=0", *options]
        words += ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--data.num_workers=2"]
        with Path(folder, "log.txt").open("w") as log:
            training = subprocess.Popen(
                [sys.executable, "-m", "gain_lightning", *words], stdout=log, stderr=log
            )
            try:
                while not (run / "metrics.csv").is_file() and training.poll() is None:
                    time.sleep(1)
                started, samples = time.monotonic(), []
                while (now := time.monotonic() - started) < 60 * minutes and training.poll() is None:
                    samples.append({"minute": now / 60, **look(training.pid, run)})
                    time.sleep(every)
                failed = training.poll() is not None
            finally:
                training.kill()
                training.wait()
        if failed:
            raise RuntimeError(f"the training ended by itself: {Path(folder, 'log.txt').read_text()[-2000:]}")
    return samples


def summary(samples: Sequence[dict[str, float]], *, warm_up: float = 5, window: float = 5) -> dict[str, Any]:
    """Return the figures of the samples.

    Args:
        samples: The samples of :func:`watch`.
        warm_up: Minutes left out at the beginning, in which caches fill and loaders start.
        window: Minutes at either end whose speeds are compared.

    Returns:
        ``memory_slope`` in MiB a minute (least squares), the range of each figure, the steps a second in the first
        and the last ``window`` (least squares too, since steps are logged by the dozen), and their ratio.
    """
    late = [sample for sample in samples if sample["minute"] >= warm_up]
    minute = np.array([sample["minute"] for sample in late])
    result: dict[str, Any] = {"minutes": float(minute[-1]), "num_samples": len(late)}
    memory = np.array([sample["memory_mib"] for sample in late])
    result["memory_slope"] = float(np.polyfit(minute, memory, 1)[0])
    for key in ("memory_mib", "files", "shared_mib"):
        values = [sample[key] for sample in late]
        result[key] = [min(values), max(values)]
    ends = {"first": minute <= minute[0] + window, "last": minute >= minute[-1] - window}
    step = np.array([sample["step"] for sample in late])
    for name, chosen in ends.items():
        result[f"steps_per_second_{name}"] = float(np.polyfit(60 * minute[chosen], step[chosen], 1)[0])
    result["speed_ratio"] = result["steps_per_second_last"] / result["steps_per_second_first"]
    return result


def draw(samples: Sequence[dict[str, float]], path: Path) -> None:
    """Draw memory, open files and speed over time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    minute, step = (np.array([sample[key] for sample in samples]) for key in ("minute", "step"))
    edges = np.arange(0, minute[-1] + 1e-9, 1.0)
    speed = np.diff(np.interp(edges, minute, step)) / 60
    fig, axes = plt.subplots(3, 1, figsize=(7, 5), sharex=True, layout="constrained")
    for ax, key, label in zip(axes, ("memory_mib", "files"), ("memory, MiB", "open files"), strict=False):
        ax.plot(minute, [sample[key] for sample in samples], linewidth=1)
        ax.set_ylabel(label)
        ax.set_ylim(0)
    axes[2].step(edges[1:], speed, where="pre", linewidth=1)
    axes[2].set_ylabel("steps a second")
    axes[2].set_ylim(0)
    axes[2].set_xlabel("minutes of training")
    fig.savefig(path, metadata={"Date": None})


def main() -> None:
    """Watch, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=Path("experiments/shapes/gain_ext.yaml"))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=5, help="seconds between looks")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    args, options = parser.parse_known_args()
    samples = watch(args.config, options, args.minutes, args.every)
    result = summary(samples, warm_up=args.minutes / 6, window=args.minutes / 6)
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps({**result, "samples": samples}) + "\n")
    if args.figure:
        draw(samples, args.figure)


if __name__ == "__main__":
    main()
