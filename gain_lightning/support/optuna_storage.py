"""Where Optuna keeps a study: a journal in the sweep's folder, or a database."""

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
    """Whether it is a URL and not a journal file."""
    return "://" in storage


def open_storage(storage: str) -> Any:
    """Optuna's storage of a journal file or a database URL."""
    if not is_database(storage):
        lock = _journal_lock(Path(storage))
        _cut_half_line(Path(storage), lock)
        return JournalStorage(JournalFileBackend(storage, lock_obj=lock))
    try:
        return RDBStorage(storage, engine_kwargs={"pool_pre_ping": True})
    except ImportError as error:
        raise ValueError(f"this database needs a driver: {error}") from error
    except Exception as error:  # whatever the driver raises, without what it may say of the password
        raise ValueError(f"{without_password(storage)}: cannot be opened ({type(error).__name__})") from error


def _journal_lock(journal: Path) -> JournalFileSymlinkLock | JournalFileOpenLock:
    """Optuna's lock for old network file systems, too; where there are no symbolic links, the one without them."""
    probe = journal.with_name(f"symlink.{uuid.uuid4().hex}")
    try:
        os.symlink(journal, probe)
    except OSError:  # a full disk, too: then the lock itself says so
        return JournalFileOpenLock(str(journal))
    probe.unlink()
    return JournalFileSymlinkLock(str(journal))


def _cut_half_line(journal: Path, lock: JournalFileSymlinkLock | JournalFileOpenLock) -> None:
    """Drop a last line without an end, which a full disk or a power cut left: the journal could not be read."""
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
    """A storage for messages: of a URL, no user, no password, no query."""
    if not is_database(storage):
        return storage
    url = urlsplit(storage)
    _, at, host = url.netloc.rpartition("@")
    return f"{url.scheme}://{'...@' if at else ''}{host}{url.path}"
