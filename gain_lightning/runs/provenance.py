"""What a result was made with: the commit of the code."""

import subprocess
from pathlib import Path


def git_commit() -> str | None:
    """Commit of the checkout that the package runs from, with ``+`` if files have changed since; else None."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(here), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # not of a project that merely surrounds us
        return git("describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None
