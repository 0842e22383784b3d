"""Worker processes that outlive a signal to their whole group, so that their parent decides when they end.

``timeout``, ``scancel`` and Ctrl-C signal every process of a job. A training saves and ends in good order only if its
workers go on until it ends them. This module does not import torch, so that such processes start at once.
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

# Only Linux tells who sent a signal.
_CAN_TELL = hasattr(signal, "sigtimedwait")
_HELD = {signal.SIGINT, signal.SIGTERM} if _CAN_TELL else set()


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold signals back while workers start in the block.

    The workers begin with the signals blocked; this thread receives signals that came meanwhile after the block.

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
    """Let a worker, which calls this first, ignore Ctrl-C and end on a SIGTERM only if its parent sent it.

    The worker also ends within a second of its parent's death. Where the system cannot tell who sent a signal
    (macOS), a SIGTERM from anyone still ends it.
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
    """Refuse to start loader workers where they could not hand their tensors over and training would wait for ever.

    They hand tensors over through sockets in the folder for temporary files, and a socket's whole path must fit into
    about 100 bytes.

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
            # The name is as long as those that multiprocessing gives its sockets.
            probe.bind(os.path.join(folder, "listener-" + 8 * "x"))
    except OSError as error:
        raise OSError(
            f"loader workers need sockets in {tempfile.gettempdir()}, and none can be made there ({error}): expected "
            "TMPDIR to be a short path on a local disk, or data.num_workers 0"
        ) from error
