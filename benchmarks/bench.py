"""Run every benchmark (``make bench``) and write ``results/<machine>.json`` and the tables of ``docs/cost.md``.

On a CPU batches are small, so that a run stays under ten minutes. For figures to quote, run the scripts alone.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
COST = HERE.parent / "docs" / "cost.md"
PICTURE = HERE.parent / "docs" / "pictures" / "cost.svg"
BACKBONES = ("vgg16", "resnet50", "lite0")
LABELS = (1, 1.5, 3)
SHOWN = ("first_order", "second_order", "gain_ext", "gain_ext_second_order", "per_class_loop")
LABELS_OF = {"gain_ext": "GAIN_ext", "gain_ext_second_order": "GAIN_ext, second order"}


def machine() -> str:
    """Return a name of this machine, on which the figures depend, for a file."""
    if torch.cuda.is_available():
        return re.sub(r"\W+", "-", torch.cuda.get_device_name()).lower()
    return f"{platform.machine()}-{os.cpu_count()}-cores"


def run() -> dict:
    """Run the benchmarks, each of which prints its figures, and return all results."""
    cuda = torch.cuda.is_available()
    batch = "32" if cuda else "4"
    results: dict = {
        "machine": machine(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "commit": _commit(),
        "step": {},
    }
    for backbone in BACKBONES:
        for labels in LABELS:
            options = ["--backbone", backbone, "--labels", str(labels), "--batch", batch, "--rounds", "1"]
            options += [] if cuda or labels == 1.5 else ["--no_memory"]
            results["step"][f"{backbone}, {labels:g}"] = script("step.py", *options)
    results["maps_batch"] = 32 if cuda else 4
    results["maps"] = script("maps.py", "--backbone", "resnet50", "--batch", str(results["maps_batch"]))
    results["startup"] = script("startup.py", "--rounds", "1")
    results["overhead"] = {"shapes": overhead("experiments/shapes/gradcam.yaml", "--trainer.max_epochs=3")}
    if os.environ.get("GAIN_VOC_ROOT"):
        root = os.environ["GAIN_VOC_ROOT"]
        results["data"] = script("data.py", "--root", root, "--rounds", "3")
        results["seeds"] = script("seeds.py", "--data", root, "--rounds", "1")
        results["crf"] = script("crf.py", "--root", root, "--rounds", "1")
        tenth = [f"--trainer.limit_{kind}_batches=0.1" for kind in ("train", "val")]
        own = [f"--data.root={root}", "--trainer.max_epochs=1", "--model.warmup=0", *tenth]
        results["overhead"]["VOC"] = overhead("experiments/voc12/lite0_subset/gain_ext.yaml", *own)
    return results


def overhead(config: str, *options: str) -> dict:
    """Return the shares of a training's time."""
    return script("overhead.py", f"--config={HERE.parent / config}", *options)


def script(name: str, *options: str) -> dict:
    """Run a benchmark in a process of its own, with its output shown, and return its result."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        subprocess.run([sys.executable, str(HERE / name), *options, "--json", str(file)], check=True)
        return json.loads(file.read_text())


def _commit() -> str:
    return subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
    ).stdout.strip()


def table(results: dict) -> str:
    """Return the steps' ratios to a plain step, and the ratios of others' time for maps to ours, as Markdown."""
    lines = [
        f"Machine {results['machine']}; torch {results['versions']['torch']}; "
        f"commit {results['commit']}; 224 px, float32.",
        "",
        "| backbone, labels | "
        + " | ".join(name.replace("_", " ") for name in SHOWN)
        + " | limit (with masks) |",
        "|---|" + "---|" * (len(SHOWN) + 1),
    ]
    for name, rows in results["step"].items():
        ratios = " | ".join(f"{rows[variant]['ratio_to_plain']:.2f}" for variant in SHOWN)
        limit = f"{rows['first_order']['limit']:.2f} ({rows['gain_ext']['limit']:.2f})"
        lines.append(f"| {name} | {ratios} | {limit} |")
    lines += [
        "",
        "Peak memory in MiB, 1.5 labels:",
        "",
        "| backbone | plain | " + " | ".join(name.replace("_", " ") for name in SHOWN) + " |",
    ]
    lines.append("|---|" + "---|" * (len(SHOWN) + 1))
    for backbone in BACKBONES:
        rows = results["step"][f"{backbone}, 1.5"]
        lines.append(
            f"| {backbone} | "
            + " | ".join(f"{rows[variant]['peak_mib']:.0f}" for variant in ("plain", *SHOWN))
            + " |"
        )
    lines += ["", f"Maps, resnet50, {results['maps_batch']} images, ours in one call:", ""]
    for name, row in results["maps"].items():
        others = [
            f"{row[f'{other} / ours']:.1f} times as long by {other}" for other in ("grad-cam", "captum")
        ]
        lines.append(f"- {name}: {' and '.join(others)}")
    lines += ["", "Shares of a training's time:", ""]
    for name, shares in results["overhead"].items():
        parts = [f"{what} {share:.1%}" for what, share in shares.items() if what != "seconds"]
        lines.append(f"- {name}: {', '.join(parts)}")
    return "\n".join(lines)


def picture(results: dict) -> None:
    """Draw bars of every variant's ratio at 1.5 labels, with the limits."""
    fig, axes = plt.subplots(1, len(BACKBONES), figsize=(9, 3.2), sharey=True, layout="constrained")
    for ax, backbone in zip(axes, BACKBONES, strict=True):
        rows = results["step"][f"{backbone}, 1.5"]
        names = [LABELS_OF.get(name, name.replace("_", " ")) for name in SHOWN]
        ax.barh(names, [rows[name]["ratio_to_plain"] for name in SHOWN], color="#4477aa")
        for row, name in enumerate(SHOWN):
            ax.plot([rows[name]["limit"]] * 2, [row - 0.4, row + 0.4], color="black", linewidth=2)
        ax.set_title(backbone, fontsize=10)
        ax.invert_yaxis()
        ax.spines[["top", "right"]].set_visible(False)
    fig.supxlabel("plain steps; the black line is the limit", fontsize=10)
    fig.savefig(PICTURE)


def main() -> None:
    """Measure and write."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    results = run()
    file = HERE / "results" / f"{results['machine']}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n")
    text = COST.read_text()
    start, end = "<!-- made by make bench -->\n", "<!-- end -->"
    before, after = text.split(start)[0], text.split(end)[1]
    COST.write_text(f"{before}{start}{table(results)}\n{end}{after}")
    picture(results)
    print(f"{file} and {COST}")


if __name__ == "__main__":
    main()
