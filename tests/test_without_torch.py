"""Who looks at runs needs no torch: neither the modules that read, draw and compare them, nor the verbs."""

import subprocess
import sys

import pytest

# In a process of its own, for here torch is long imported: a module that is None cannot be imported.
BLOCK = """
import importlib, pkgutil, sys
for name in ("torch", "torchvision", "torchmetrics", "pytorch_lightning", "lightning_fabric"):
    sys.modules[name] = None
"""
IMPORT_ALL = """
import gain_lightning.constants, gain_lightning.scores
for room in ("support", "runs", "drawing", "studies"):
    package = importlib.import_module(f"gain_lightning.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name != "gain_lightning.runs.checkpoints":
            importlib.import_module(module.name)
            print(module.name)
"""
RUN = """
from gain_lightning.cli import main
sys.exit(main(sys.argv[1:]))
"""


def without_torch(code, *words):
    """What a process prints that cannot import torch."""
    result = subprocess.run([sys.executable, "-c", BLOCK + code, *words], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_torch_is_blocked():
    result = subprocess.run([sys.executable, "-c", f"{BLOCK}import torch"], capture_output=True, text=True)
    assert "ModuleNotFoundError" in result.stderr


def test_what_reads_draws_and_compares_is_imported_without_torch():
    imported = without_torch(IMPORT_ALL).split()
    assert {"gain_lightning.runs.maps", "gain_lightning.studies.report.report"} < set(imported)
    assert len(imported) > 40


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["--help"], "compare"),
        (["compare", "--help"], "--skip_broken"),
        (["runs", "--help"], "gain runs"),
        (["sweep", "--help"], "gain sweep"),
    ],
)
def test_help_needs_no_torch(words, printed):
    assert printed in without_torch(RUN, *words)


def test_runs_are_listed_and_compared_without_torch(make_run, tmp_path):
    for seed in (0, 1):
        make_run(f"plain-{seed}", "gradcam", seed)
        make_run(f"guided-{seed}", "gain_ext", seed)
    assert "gain_ext" in without_torch(RUN, "runs", str(tmp_path / "runs"))
    out = tmp_path / "report"
    without_torch(RUN, "compare", str(tmp_path / "runs" / "*"), "--out", str(out))
    assert {"summary.json", "report.html", "table.csv"} <= {path.name for path in out.iterdir()}
