"""A sweep on W&B's own server: it gets the file as it is, and agents run the trials that it plans."""

import subprocess
import sys
from pathlib import Path

import yaml

from gain_lightning.studies.sweeps.parameter import SweepError
from gain_lightning.support.files import read_text
from gain_lightning.support.wandb_session import log_in


def run_on_wandb(path: Path, num_agents: int) -> int:
    """Create the sweep and run agents until it has ended.

    Args:
        path: The sweep file; W&B's server says what it does not understand.
        num_agents: The number of processes of ``wandb agent``.

    Returns:
        Exit status: 1 if an agent failed, else 0.

    Raises:
        SweepError: If there is no file, no key or no network.
        ValueError: If the server refuses the key.
    """
    import wandb

    if not path.is_file():
        raise SweepError(f"{path}: no such file")
    text = read_text(path)
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SweepError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(tree, dict):
        raise SweepError(f"{path}: expected keys and values, such as method and parameters")
    if reason := log_in():
        raise SweepError(f"--engine wandb needs the server, and {reason}; --engine local needs none")
    try:
        sweep_id = wandb.sweep(tree, entity=tree.get("entity"), project=tree.get("project"))
    except Exception as error:
        # wandb raises errors of many kinds, some with a long text.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SweepError(f"W&B did not take the sweep: {reason}") from error
    name = "/".join(part for part in (tree.get("entity"), tree.get("project"), sweep_id) if part)
    agents = [subprocess.Popen([sys.executable, "-m", "wandb", "agent", name]) for _ in range(num_agents)]
    return int(any([agent.wait() for agent in agents]))
