"""A sweep is begun from its file, or joined where it lies."""

from pathlib import Path

from gain_lightning.studies.sweeps.file import read_sweep_path
from gain_lightning.studies.sweeps.parameter import SweepError
from gain_lightning.studies.sweeps.sweep import STUDY, Sweep
from gain_lightning.support.files import write_atomically
from gain_lightning.support.optuna_storage import is_database


def begin_sweep(path: Path, folder: Path | None = None, storage: str | None = None) -> Sweep:
    """Begin the sweep of a file, or go on with it.

    Args:
        path: The sweep file.
        folder: For the file's copy and the trials' run folders; None takes ``runs/<name of the file>``.
        storage: URL of a database; None keeps a journal in the folder.

    Raises:
        SweepError: If the file is unfit, or the folder holds another sweep.
    """
    file = read_sweep_path(path)
    folder = folder or Path("runs") / path.stem
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / "sweep.yaml"
    if not copy.is_file():
        write_atomically(copy, file.text)
    if storage is None:
        return Sweep(str(folder / "journal.log"), folder, STUDY, file=file)
    return Sweep(storage, folder, folder.name, file=file)


def join_sweep(place: str, name: str | None = None, folder: Path | None = None) -> Sweep:
    """Join a sweep that has begun.

    Args:
        place: Its folder, or the URL of its database.
        name: Of the sweep in a database.
        folder: For the trials' run folders, with a database; None takes ``runs/<name>``.

    Raises:
        SweepError: If there is no such sweep.
    """
    if is_database(place):
        if not name:
            raise SweepError(f"{place}: holds many sweeps, expected the name of one")
        return Sweep(place, folder or Path("runs") / name, name)
    if not (Path(place) / "journal.log").is_file():
        raise SweepError(f"{place}: holds no journal.log, expected the folder of a sweep, or a database URL")
    return Sweep(str(Path(place) / "journal.log"), Path(place))
