"""Measure the CPU time until the command answers and until it trains, beside the bare import of its libraries.

python benchmarks/startup.py --json startup.json
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent

GAIN = [sys.executable, "-m", "gain_lightning"]
FIRST_STEP = """
import os
import sys
from gain_lightning.cli import main
from gain_lightning.methods.gain import GAIN
GAIN.training_step = lambda *_: os._exit(3)
main(["fit", "--config=experiments/shapes/gain_ext.yaml", f"--run_dir={sys.argv[1]}", "--trainer.logger=false"])
"""
COMMANDS = {
    "import torch, pytorch_lightning": [
        sys.executable,
        "-c",
        "import os, torch, pytorch_lightning; os._exit(0)",
    ],
    "gain --help": [*GAIN, "--help"],
    "gain compare NONE": [*GAIN, "compare", "none"],
    "gain runs FOLDER": [*GAIN, "runs", "benchmarks"],
    "gain data check NONE": [*GAIN, "data", "check", "none"],
    "gain fit --model.sigmaa": [*GAIN, "fit", "--model.sigmaa=1"],
    "gain fit --config NONE": [*GAIN, "fit", "--config=none.yaml"],
    "gain predict, no checkpoint": [*GAIN, "predict", "--images=.", "--ckpt_path=none", "--out=none"],
    "gain seeds, no run": [*GAIN, "seeds", "none", "--out=none"],
    "gain fit --help": [*GAIN, "fit", "--help"],
    "gain fit, first step": [sys.executable, "-c", FIRST_STEP, f"{tempfile.gettempdir()}/gain_first_step"],
}


def main() -> None:
    """Measure in turns, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(args.rounds + 1):
        for name, command in COMMANDS.items():
            started = os.times()
            ended = subprocess.run(command, check=False, capture_output=True, cwd=HERE.parent, text=True)
            if FIRST_STEP in command and ended.returncode != 3:
                raise RuntimeError(f"{name} ended with {ended.returncode}: {ended.stderr[-500:]}")
            ended = os.times()
            # The first round fills the disk's cache.
            if number:
                user, system = ended.children_user - started.children_user, ended.children_system
                seconds[name].append(user + system - started.children_system)
    result = {name: statistics.median(times) for name, times in seconds.items()}
    result["first step / import"] = result["gain fit, first step"] / result["import torch, pytorch_lightning"]
    for name, value in result.items():
        print(f"{name:<34}{value:6.2f}{'' if '/' in name else ' s'}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
