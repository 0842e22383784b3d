"""A sweep in processes of its own, and what its trials left."""

import csv
import subprocess
import sys
import time
from pathlib import Path


def rows_of(folder):
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def log_of(folder):
    return (folder / "log").read_text().splitlines()


def start(path, out, *options):
    command = [sys.executable, "-m", "gain_lightning", "sweep", *options]
    return subprocess.Popen(
        [*command, str(path), "--out", str(out)] if "worker" not in options else [*command, str(out)],
        stdout=subprocess.DEVNULL,
    )


def wait_for_log(out, num_lines, seconds=60):
    deadline = time.monotonic() + seconds
    while not (out / "log").is_file() or len(log_of(out)) < num_lines:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def trial_processes(out):
    """Process ids of the trials of a sweep, by their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if f"GAIN_TRIAL_DIR={out}/trials".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def every_trial_once(out, num_trials):
    """Each ended exactly once, and the study knows them all."""
    ended = sorted(line.split()[1] for line in log_of(out) if line.startswith("end"))
    assert ended == [f"{number:04d}" for number in range(num_trials)]
    rows = rows_of(out)
    assert [row["state"] for row in rows] == ["done"] * num_trials
    assert [float(row["score"]) for row in rows] == [float(row["x"]) ** 2 for row in rows]
