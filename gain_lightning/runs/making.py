"""A folder is filled by commands of ``gain``, each in a process of its own, one after another.

What is done is skipped, and what was interrupted goes on. The folder notes of what its stages are made, so that results
of other configs or images never mix with them.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from gain_lightning.constants import REQUEUE
from gain_lightning.runs.folder import checkpoint_files
from gain_lightning.runs.summary import read_summary
from gain_lightning.support.files import read_json, write_json
from gain_lightning.support.yaml_files import read_config

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Making:
    """The making of what a folder holds.

    Args:
        folder: The folder; ``log.txt`` there has the output of every command, and ``made_of.json`` what the stages are
            made of.
    """

    folder: Path

    def do(self, *words: str) -> None:
        """Run a command of ``gain`` in a process of its own, and print it.

        Args:
            words: The verb and its options.

        Raises:
            RuntimeError: If the command fails or is told to stop; it names the log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        log, start = self.folder / "log.txt", time.monotonic()
        print(f"gain {' '.join(words)} >> {log}", flush=True)
        with log.open("a") as file:
            status = run_until_saved([sys.executable, "-m", "gain_lightning", *words], file)
        if status == REQUEUE:
            raise RuntimeError(f"{words[0]} of {self.folder} was told to stop; the same command goes on")
        if status:
            last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1:]
            raise RuntimeError(f"{words[0]} of {self.folder} failed ({''.join(last)}); all of it: {log}")
        print(f"  {(time.monotonic() - start) / 60:.1f} min", flush=True)

    def fit(self, run_dir: Path, seed: int, *words: str) -> None:
        """Train and test a run, unless that is done; a training that was interrupted goes on.

        Args:
            run_dir: The folder of the run.
            seed: The seed of the training.
            words: The options of ``gain fit`` besides.

        Raises:
            RuntimeError: If the training fails or is told to stop; it names the log.
        """
        if is_tested(run_dir):
            return
        resume = ["--ckpt_path=last"] if checkpoint_files(run_dir / "checkpoints") else []
        options = ["--seed_everything", str(seed), "--run_dir", str(run_dir), "--trainer.logger=false"]
        self.do("fit", *words, *options, "--trainer.enable_progress_bar=false", *resume)

    def keep(self, made_of: Mapping[str, str]) -> None:
        """Note what the following stages are made of, and refuse a folder where they were made of something else.

        Args:
            made_of: The digest of each thing that they are made of, by its name, see :func:`digest`.

        Raises:
            ValueError: If the folder holds what was made of something else.
        """
        path = self.folder / "made_of.json"
        known = read_json(path)
        for what, now in made_of.items():
            if known.setdefault(what, now) != now:
                raise ValueError(
                    f"{self.folder}: what is here was made of other {what}: expected another --out, or what came of "
                    f"them deleted, {path.name} too"
                )
        write_json(path, known)

    def is_of(self, made_of: Mapping[str, str]) -> bool:
        """Return whether the folder's stages are made of these things, see :meth:`keep`."""
        known = read_json(self.folder / "made_of.json")
        return all(known.get(what) == now for what, now in made_of.items())


def run_until_saved(command: list[str], log: IO[str]) -> int:
    """Run a command. Told to stop, this process asks the command to save and waits for it before it stops itself.

    Args:
        command: The program and its words.
        log: The file that takes all that the command prints.

    Returns:
        The command's exit status.

    Raises:
        KeyboardInterrupt: After Ctrl-C.
        SystemExit: With status 75 after SIGTERM or SIGHUP.
    """
    process, received = None, []

    def stop(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        if process is not None and len(received) == 1:
            process.terminate()

    caught = [signum for signum in _STOPS if signal.getsignal(signum) != signal.SIG_IGN]
    earlier = {signum: signal.signal(signum, stop) for signum in caught}
    try:
        environment = {key: value for key, value in os.environ.items() if key != "GAIN_RUN_DIR"}
        # The command has a session of its own: a terminal's Ctrl-C would reach it at once, and it would not save.
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        if received:
            # The signal came while the command was started.
            process.terminate()
        status = process.wait()
    finally:
        for signum, handler in earlier.items():
            signal.signal(signum, handler)
    if received:
        raise KeyboardInterrupt if received[0] == signal.SIGINT else SystemExit(REQUEUE)
    return status


def is_tested(run_dir: Path) -> bool:
    """Return whether a run is finished and has scores of its test."""
    summary = read_summary(run_dir)
    has_scores = any(name.startswith("test/") for name in summary.get("metrics", {}))
    return summary.get("state") == "finished" and has_scores


def digest(*contents: bytes) -> str:
    """Return the SHA-256 of several contents in their order.

    Example:
        >>> digest(b"a", b"b") == digest(b"ab")
        False
    """
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()


def digest_of_configs(*configs: Path) -> str:
    """Return the SHA-256 of the settings of configs, which their layout and comments do not change."""
    trees = (json.dumps(read_config(config), sort_keys=True, default=str) for config in configs)
    return digest(*(tree.encode() for tree in trees))


def config_folder(folder: Path) -> Path:
    """Return a folder of configs.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder, expected the configs of a checkout: start there, or --experiments"
        )
    return folder
