"""``metrics.csv`` of a run while it trains, continued by a run that is resumed."""

import csv
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import rank_zero_experiment

from gain_lightning.support.files import csv_text, write_atomically


class MetricsFile(CSVLogger):
    """Lightning's ``metrics.csv``, directly in the run folder; a resumed run continues it.

    Args:
        run_dir: The run folder.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__(run_dir, name="", version="", flush_logs_every_n_steps=1)

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer, made at first use."""
        if self._experiment is None:
            self._experiment = _ContinuedWriter(log_dir=self.log_dir)
        return self._experiment

    def drop_from(self, step: int) -> None:
        """Forget rows of ``step`` and later: a run that resumes there logs them again."""
        path = Path(self.experiment.metrics_file_path)
        if not path.is_file():
            return
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            if "step" not in (reader.fieldnames or ["step"]):
                raise ValueError(f"{path}: no column 'step'; got {','.join(reader.fieldnames)}")
            rows = [
                row for row in reader if None not in row.values() and int(row["step"]) < step
            ]  # whole lines
        keys = self.experiment.metrics_keys
        write_atomically(path, csv_text(keys, ([row[key] for key in keys] for row in rows)))

    def begin_anew(self) -> None:
        """Forget all rows, of a run that never got through an epoch."""
        self._experiment = None
        Path(self.log_dir, ExperimentWriter.NAME_METRICS_FILE).unlink(missing_ok=True)


class _ContinuedWriter(ExperimentWriter):
    """Lightning's writer deletes what it finds; this one goes on, and a kill leaves its rows."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        write_atomically(
            path, csv_text(fieldnames, ([row.get(key, "") for key in fieldnames] for row in rows))
        )

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])
