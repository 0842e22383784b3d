"""Start and end W&B's sessions without asking and without waiting, offline where W&B cannot be used."""

import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

NO_KEY = "it has no key (wandb login, or WANDB_API_KEY)"


def log_in() -> str | None:
    """Log in with the key of ``WANDB_API_KEY`` or of an earlier ``wandb login``, and never ask for one.

    Returns:
        None if W&B can be used, else the reason why not.

    Raises:
        ValueError: If the server refuses the key.
    """
    import wandb

    # An earlier session has seen another environment.
    wandb.teardown()
    try:
        if not wandb.login(prompt=False, verify=False):
            return NO_KEY
        url = wandb.setup(wandb.Settings(mode="disabled")).settings.base_url
        if not is_reachable(url):
            return f"{urlsplit(url).hostname} does not answer"
        wandb.teardown()
        wandb.login(prompt=False, verify=True)
    except wandb.errors.AuthenticationError as error:
        reason = str(error).rstrip(".")
        raise ValueError(
            f"W&B refuses the key: {reason}. Expected another one (wandb login --relogin), or WANDB_MODE=offline"
        ) from error
    finally:
        # The next session must see the environment as it is by then.
        wandb.teardown()
    return None


def end_wandb(*, failed: bool) -> None:
    """End the run that is being logged, if there is one, since W&B itself does not see whether a process failed."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=int(failed))


def is_reachable(url: str) -> bool:
    """Return whether a server, or the proxy to it, answers within three seconds."""
    server = urlsplit(url)
    proxy = getproxies().get(server.scheme)
    if proxy and server.hostname and not proxy_bypass(server.hostname):
        server = urlsplit(proxy)
    port = server.port or (80 if server.scheme == "http" else 443)
    try:
        socket.create_connection((server.hostname, port), timeout=3).close()
    except OSError:
        return False
    return True


def prepare_wandb(folder: Path) -> None:
    """Keep W&B's files in a folder, and log offline without a key or a network; this never asks and never waits.

    Args:
        folder: The folder of a run or of a comparison. It is made if it does not exist.

    Raises:
        ValueError: If the server refuses the key.
    """
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "wandb"))
    os.environ.setdefault("WANDB_SILENT", "true")
    # An agent of a W&B sweep is online, and it shares its session with this process.
    is_settled = "WANDB_MODE" in os.environ or "WANDB_SWEEP_ID" in os.environ
    reason = None if is_settled else log_in()
    if reason:
        os.environ["WANDB_MODE"] = "offline"
    if reason and reason != NO_KEY:
        print(f"W&B: {reason}; logging offline into {folder}", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
