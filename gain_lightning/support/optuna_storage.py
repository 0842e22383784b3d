"""The storage of Optuna's study: a journal in the sweep's folder, or a database."""

import os
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock

# The environment variable that tells a trial which study prunes it.
TRIAL_VARIABLE = "GAIN_SWEEP_TRIAL"


def is_database(storage: str) -> bool:
    """Return whether a storage is a database's URL and not a journal file."""
    return "://" in storage


def open_storage(storage: str) -> Any:
    """Open Optuna's storage in a journal file or at a database URL."""
    if not is_database(storage):
        lock = _journal_lock(Path(storage))
        _cut_half_line(Path(storage), lock)
        return JournalStorage(JournalFileBackend(storage, lock_obj=lock))
    try:
        return RDBStorage(storage, engine_kwargs={"pool_pre_ping": True})
    except ImportError as error:
        raise ValueError(f"this database needs a driver: {error}") from error
    # Drivers raise errors of many kinds, and their texts may hold the password.
    except Exception as error:
        raise ValueError(f"{without_password(storage)}: cannot be opened ({type(error).__name__})") from error


def _journal_lock(journal: Path) -> JournalFileSymlinkLock | JournalFileOpenLock:
    """Return Optuna's lock that also holds on old network file systems, or one that needs no symbolic links."""
    probe = journal.with_name(f"symlink.{uuid.uuid4().hex}")
    # A full disk fails here, too; then the lock itself reports it.
    try:
        os.symlink(journal, probe)
    except OSError:
        return JournalFileOpenLock(str(journal))
    probe.unlink()
    return JournalFileSymlinkLock(str(journal))


def _cut_half_line(journal: Path, lock: JournalFileSymlinkLock | JournalFileOpenLock) -> None:
    """Drop a last line without an end, which a full disk or a power cut left; with it the journal could not be read."""
    if not journal.is_file():
        return
    lock.acquire()
    try:
        text = journal.read_bytes()
        if not text.endswith(b"\n"):
            os.truncate(journal, text.rfind(b"\n") + 1)
    finally:
        lock.release()


def without_password(storage: str) -> str:
    """Return a storage as messages show it: a URL without user, password and query."""
    if not is_database(storage):
        return storage
    url = urlsplit(storage)
    _, at, host = url.netloc.rpartition("@")
    return f"{url.scheme}://{'...@' if at else ''}{host}{url.path}"
