"""Load benchmarks, which are scripts and no package."""

import importlib.util
from pathlib import Path

SCRIPTS = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))


def load(stem):
    """A benchmark as a module."""
    path = next(path for path in SCRIPTS if path.stem == stem)
    spec = importlib.util.spec_from_file_location(f"benchmark_{stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
