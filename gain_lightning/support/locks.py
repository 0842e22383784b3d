"""Locks on files: who holds one is alone until it lets go or ends."""

import errno
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What a system says of a lock that another process holds; any other error is a failure.
_TAKEN = (errno.EACCES, errno.EAGAIN)


def take_lock(file: IO[str], *, is_inherited: bool) -> None:
    """Lock an open file at once or not at all; closing it, or the end of who holds it, frees it.

    Args:
        file: The file, open for writing.
        is_inherited: Who holds the lock. If true it is the open file, and with it every child that was given it
            (``flock``): a trial of a sweep is alive as long as its own process, even when the worker that started it
            is dead. If false it is this process alone (``lockf``): a training's data loaders, which may outlive its
            kill, do not keep its folder from the next one.

    Raises:
        BlockingIOError: If another process holds it.
        OSError: If there are no locks in the file's file system, or on this system at all.
    """
    if fcntl is None:
        raise OSError(errno.ENOLCK, "this system has no locks", file.name)
    how = fcntl.LOCK_EX | fcntl.LOCK_NB
    try:
        fcntl.flock(file, how) if is_inherited else fcntl.lockf(file, how)
    except OSError as error:
        if error.errno in _TAKEN:
            raise BlockingIOError(error.errno, error.strerror, file.name) from error
        raise
