"""Lock files: the process that holds a lock is alone until it lets go or ends."""

import errno
from typing import IO

# Windows has no fcntl.
try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

# Systems report one of these errors if another process holds the lock; any other error is a failure.
_TAKEN = (errno.EACCES, errno.EAGAIN)


def take_lock(file: IO[str], *, is_inherited: bool) -> None:
    """Lock an open file at once or not at all. The lock ends when the file is closed or its holder ends.

    Args:
        file: The file, open for writing.
        is_inherited: Whether children hold the lock too. If true, the open file holds it, and with it every child
            that was given the file (``flock``): a trial of a sweep is alive as long as its own process, even when the
            worker that started it is dead. If false, this process alone holds it (``lockf``): a training's data
            loaders, which may outlive its kill, do not keep its folder from the next training.

    Raises:
        BlockingIOError: If another process holds the lock.
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
