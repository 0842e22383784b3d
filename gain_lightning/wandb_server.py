"""Whether W&B can be used from here, found out without asking and without waiting."""

import netrc
import os
import socket
import sys
from pathlib import Path
from urllib.parse import SplitResult, urlsplit


def wandb_server() -> SplitResult:
    """Address of the W&B server that is configured."""
    import wandb

    return urlsplit(wandb.Settings().base_url)


def has_key(server: SplitResult) -> bool:
    """Whether there is a key for the server, in ``WANDB_API_KEY`` or in the file of ``wandb login``."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(server.hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def is_reachable(server: SplitResult) -> bool:
    """Whether the server answers within three seconds."""
    port = server.port or (80 if server.scheme == "http" else 443)
    try:
        socket.create_connection((server.hostname, port), timeout=3).close()
    except OSError:
        return False
    return True


def prepare_wandb(folder: Path) -> None:
    """Keep W&B's files in a folder, and log offline without a key or a network: it never asks and never waits.

    Args:
        folder: A run's, or that of a comparison. Made if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "wandb"))
    os.environ.setdefault("WANDB_SILENT", "true")
    if "WANDB_MODE" in os.environ:
        return
    server = wandb_server()
    if not has_key(server):
        os.environ["WANDB_MODE"] = "offline"
    elif not is_reachable(server):
        print(f"W&B: {server.hostname} does not answer; logging offline into {folder}", file=sys.stderr)
        os.environ["WANDB_MODE"] = "offline"
