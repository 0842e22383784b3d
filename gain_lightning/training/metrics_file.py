"""``metrics.csv`` of a run while it trains, continued by a run that is resumed."""

from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import rank_zero_experiment

from gain_lightning.runs.curves import curve_columns, drop_curves, set_columns


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
        drop_curves(Path(self.log_dir), step)

    def begin_anew(self) -> None:
        """Forget all rows, of a run that never got through an epoch."""
        self._experiment = None
        drop_curves(Path(self.log_dir))


class _ContinuedWriter(ExperimentWriter):
    """Lightning's writer deletes what it finds; this one goes on, and a kill leaves its rows."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        set_columns(Path(self.log_dir), fieldnames)

    def _check_log_dir_exists(self) -> None:
        self.metrics_keys = curve_columns(Path(self.log_dir))
