"""What a terminal shows while a sweep goes on."""

from datetime import datetime, timedelta

import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from gain_lightning.studies.sweeps.file import read_sweep_file
from gain_lightning.studies.sweeps.table import run_progress, sweep_table

SWEEP = """
method: grid
metric: {name: test/score, goal: maximize}
parameters:
  config: {values: [experiments/shapes/gradcam.yaml, experiments/shapes/gain.yaml, other/gain_ext.yaml]}
command: [gain, fit, "${args}"]
"""


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "trials" / "0001"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("trainer: {max_epochs: 14}\n")
    return folder


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "starts"),
        (",0.1,\n", "starts"),
        ("0,0.1,9\n,0.1,\n6,0.1,99\n", "epoch 7 of 14"),
        ("13,0.1,9\n14,0.1,\n", "is tested"),
        ("6,0.1,9\nx", "starts"),  # a line in the middle of being written
    ],
)
def test_progress_of_a_run_is_its_epoch(run_dir, rows, said):
    (run_dir / "metrics.csv").write_text("epoch,train/loss,step\n" + rows)
    assert run_progress(run_dir) == said


def test_progress_of_a_run_without_files(tmp_path):
    assert run_progress(tmp_path) == "starts"


def test_table_shows_how_far_running_trials_are(run_dir):
    (run_dir / "metrics.csv").write_text("epoch\n6\n")
    file = read_sweep_file(SWEEP, where="sweep.yaml")
    (parameter,) = file.parameters
    values = parameter.values
    start = datetime(2026, 1, 1)

    def trial(number, state, value=None):
        finished = start + timedelta(seconds=100) if state == TrialState.COMPLETE else None
        distribution = CategoricalDistribution(tuple(range(len(values))))
        return FrozenTrial(
            number=number,
            state=state,
            value=value,
            datetime_start=start,
            datetime_complete=finished,
            params={"config": values.index(values[number])},
            distributions={"config": distribution},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=number,
        )

    trials = [trial(0, TrialState.COMPLETE, 0.25), trial(1, TrialState.RUNNING), trial(2, TrialState.RUNNING)]
    assert sweep_table(file, trials, 120.0, 2, run_dir.parent.parent).splitlines() == [
        "3 trials: 1 done, 2 running; 2 min gone, about 50 s left",
        "  0001  epoch 7 of 14   config=gain",
        "  0002  starts          config=gain_ext",
        "best test/score:",
        "  0000  0.25        config=gradcam",
    ]
