"""How long the command takes to answer, beside the bare import of what it stands on.

python benchmarks/startup.py --json startup.json
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

GAIN = [sys.executable, "-m", "gain_lightning"]
COMMANDS = {
    "import torch, pytorch_lightning": [sys.executable, "-c", "import torch, pytorch_lightning"],
    "gain --help": [*GAIN, "--help"],
    "gain compare --help": [*GAIN, "compare", "--help"],
    "gain fit --help": [*GAIN, "fit", "--help"],
    "gain data --help": [*GAIN, "data", "--help"],
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
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if number:  # the first fills the disk's cache
                seconds[name].append(time.perf_counter() - started)
    result = {name: statistics.median(times) for name, times in seconds.items()}
    result["fit / import"] = result["gain fit --help"] / result["import torch, pytorch_lightning"]
    for name, value in result.items():
        print(f"{name:<34}{value:6.2f}{'' if '/' in name else ' s'}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
