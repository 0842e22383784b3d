"""``metrics.csv`` of a run while it trains; a resumed run continues it."""

from pathlib import Path
from typing import cast

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from gain_lightning.runs.curves import curve_columns, drop_curves, set_columns


class MetricsFile(CSVLogger):
    """A logger of Lightning's ``metrics.csv``, directly in the run folder; a resumed run continues the file.

    Args:
        run_dir: The run folder.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__(run_dir, name="", version="", flush_logs_every_n_steps=1)

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer, which is made at first use."""
        if self._experiment is None:
            self._experiment = _ContinuedWriter(log_dir=self.log_dir)
        return cast("ExperimentWriter", self._experiment)

    def drop_from(self, step: int) -> None:
        """Forget the rows of ``step`` and later, since a run that resumes there logs them again."""
        drop_curves(Path(self.log_dir), step)

    def begin_anew(self) -> None:
        """Forget all rows, which come from a run that never got through an epoch."""
        self._experiment = None
        drop_curves(Path(self.log_dir))


class _ContinuedWriter(ExperimentWriter):
    """A writer that goes on with the rows it finds, which Lightning's deletes; a kill leaves its rows."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        set_columns(Path(self.log_dir), fieldnames)

    def _check_log_dir_exists(self) -> None:
        self.metrics_keys = curve_columns(Path(self.log_dir))
