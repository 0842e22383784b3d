"""Worker processes that outlive a signal to their whole group: what becomes of them is for their parent to decide.

``timeout``, ``scancel`` and Ctrl-C tell every process of a job. A training saves and ends in good order only if its
workers go on until it ends them. Without torch, so that such processes start at once.
"""

import contextlib
import functools
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator

_CAN_TELL = hasattr(signal, "sigtimedwait")  # who sent a signal: Linux
_HELD = {signal.SIGINT, signal.SIGTERM} if _CAN_TELL else set()


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Start workers inside: they are born deaf to signals, and this thread hears what came meanwhile afterwards.

    Example:
        >>> with signals_held():
        ...     signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, []) or not _HELD
        True
    """
    if not _CAN_TELL:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heed_parent_alone() -> None:
    """What a worker calls first: Ctrl-C is no longer its business, a SIGTERM ends it if its parent sent it.

    It ends, too, within a second of its parent's death. Where the system cannot tell who sent a signal (macOS), a
    SIGTERM from anyone still ends it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if _CAN_TELL and parent is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    while parent.is_alive():
        told = signal.sigtimedwait({signal.SIGTERM}, 1.0)
        if told is not None and told.si_pid == parent.pid:
            break
    os._exit(0)


@functools.cache
def refuse_without_sockets() -> None:
    """Refuse to start loader workers where they could not hand their tensors over, and training would wait for ever.

    They do so by sockets in the folder for temporary files, whose whole path must fit into about 100 bytes.

    Raises:
        OSError: If no socket can be made there.
    """
    if not hasattr(socket, "AF_UNIX"):
        return
    try:
        with (
            tempfile.TemporaryDirectory(prefix="pymp-") as folder,
            socket.socket(socket.AF_UNIX) as probe,
        ):
            probe.bind(os.path.join(folder, "listener-" + 8 * "x"))  # as multiprocessing names its own
    except OSError as error:
        raise OSError(
            f"loader workers need sockets in {tempfile.gettempdir()}, and none can be made there ({error}): expected "
            "TMPDIR to be a short path on a local disk, or data.num_workers 0"
        ) from error
