"""A whole number of an option or a config stays whole, and a fraction a fraction."""

import json
import typing
from typing import Optional, Union

import pytest
import torch
import yaml

from gain_lightning.cli import main
from gain_lightning.training import experiment
from gain_lightning.training.config_parser import whole_numbers_first

QUIET = ["--trainer.logger=false", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
SMALL = [
    "--data.num_train=16",
    "--data.num_val=8",
    "--data.num_test=8",
    "--data.num_biased=4",
    "--data.batch_size=4",
]
LIMITS = [f"limit_{stage}_batches" for stage in ("train", "val", "test", "predict")]
KEYS = [f"trainer.{key}" for key in (*LIMITS, "val_check_interval", "gradient_clip_val")] + [
    "data.mask_budget"
]


@pytest.fixture
def parse(monkeypatch):
    """What a training is given, before anything is made of it."""

    class ParsedError(Exception):
        pass

    def stop(cli):
        raise ParsedError(cli.config["fit"])

    monkeypatch.setattr(experiment.ExperimentCLI, "before_instantiate_classes", stop)

    def parse(*words):
        with pytest.raises(ParsedError) as parsed:
            experiment._run_cli(["fit", *words])
        return parsed.value.args[0]

    return parse


@pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")
@pytest.mark.parametrize("value", [1, 1.0, 2, 0.5, {"boat": 1}, {"boat": 1.0}], ids=str)
@pytest.mark.parametrize("source", ["options", "config"])
def test_one_is_not_one_point_zero(parse, tmp_path, source, value):
    keys = KEYS[-1:] if isinstance(value, dict) else KEYS
    words = ["--data=ShapesDataModule", *(f"--{key}={json.dumps(value)}" for key in keys)]
    if source == "config":
        tree = {"data": {"class_path": "ShapesDataModule", "init_args": {"mask_budget": value}}}
        tree["trainer"] = {key.partition(".")[2]: value for key in keys[:-1]}
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
        words = ["--config", str(tmp_path / "c.yaml")]
    config = parse(*words)
    given = {**config["trainer"], **config["data"]["init_args"]}
    assert {key: repr(given[key.partition(".")[2]]) for key in keys} == dict.fromkeys(keys, repr(value))


@pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")
def test_arguments_of_a_callback_too(parse):
    for value in (1, 1.0):  # epoch 1, or from the whole of them on
        words = ["--trainer.callbacks+=StochasticWeightAveraging", "--trainer.callbacks.swa_lrs=0.1"]
        config = parse("--data=ShapesDataModule", *words, f"--trainer.callbacks.swa_epoch_start={value}")
        assert repr(config["trainer"]["callbacks"][0].init_args.swa_epoch_start) == repr(value)


def test_the_order_of_a_union():
    # as typing.Union, which keeps one object for all orders of the same types
    for kind in (Union[float, int], Optional[Union[float, int, str]], float | str | int | None):  # noqa: UP007, UP045
        args = typing.get_args(whole_numbers_first(kind))
        assert args.index(int) == args.index(float) - 1
        assert set(args) == set(typing.get_args(kind))
    assert typing.get_args(whole_numbers_first(float | str))[0] is float  # text would take numbers, too
    inner = typing.get_args(typing.get_args(whole_numbers_first(dict[str, list[float | int]] | None))[0])[1]
    assert typing.get_args(typing.get_args(inner)[0]) == (int, float)
    for kind in (int, None, typing.Any, typing.Literal[1.0, 1], typing.Callable[[float], int], list[int]):
        assert whole_numbers_first(kind) is kind


@pytest.mark.parametrize(("given", "steps"), [("1", 1), ("1.0", 4), ("0.5", 2), ("3", 3)])
def test_as_many_batches_are_trained_on(tmp_path, given, steps):
    words = ["fit", "--data=ShapesDataModule", *SMALL, *QUIET, "--model.backbone=tiny_cnn"]
    words += ["--trainer.max_epochs=1", "--test_after_fit=false", f"--run_dir={tmp_path / 'run'}"]
    words += ["--trainer.limit_val_batches=1", "--trainer.limit_train_batches", given]
    assert main(words) == 0
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == steps
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert repr(config["trainer"]["limit_train_batches"]) == given  # the next run does the same
