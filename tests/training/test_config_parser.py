"""A whole number of an option or a config stays whole, and a fraction a fraction."""

import json
import typing
from typing import Optional, Union

import pytest
import torch
import yaml
from small_run import CONFIG, EXPERIMENTS

from gain_lightning.cli import main
from gain_lightning.commands.fit import keys_of
from gain_lightning.training import experiment
from gain_lightning.training.config_parser import method_of, whole_numbers_first

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
def test_a_config_in_epochs_is_told_in_shares_and_says_how(parse, tmp_path):
    config = tmp_path / "old.yaml"
    old = {"am_weight": 1, "warmup_epochs": 3, "ramp_epochs": 1.5}
    trainer = {"max_epochs": 12, "logger": False}
    config.write_text(yaml.safe_dump({"model": old, "data": "ShapesDataModule", "trainer": trainer}))
    with pytest.warns(UserWarning, match="a share of the training") as told:
        model = parse("--config", str(config), "--trainer.max_epochs=2").model
    assert (model.warmup, model.ramp) == (0.25, 0.125)
    said = [str(warning.message) for warning in told]
    assert said.count(
        "model.warmup_epochs 3 of trainer.max_epochs 12 is written model.warmup: 0.25 now, a share of the training"
    )
    assert any("model.ramp: 0.125" in line for line in said)


def test_epochs_of_a_training_in_steps_are_refused(tmp_path, capsys):
    config = tmp_path / "old.yaml"
    config.write_text(
        "model: {warmup_epochs: 3}\ndata: {class_path: ShapesDataModule}\ntrainer: {max_steps: 9}\n"
    )
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(config)])
    assert "'model.warmup_epochs'; did you mean 'model.warmup'?" in capsys.readouterr().err


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


# Type, default where it is not the same everywhere, and the first words of the help, as a user reads them.
STREAMS = {
    "batch_size": ("int", None, "Images of the weak stream a step and rank."),
    "masked_batch_size": ("int", None, "Images of the masked stream a step and rank."),
    "mask_budget": (
        "Union[int, float, dict[str, Union[int, float]], str]",
        "0",
        "Training images that carry pixels",
    ),
    "mask_seed": ("Optional[int]", "null", "Seed of that draw"),
    "supervision": ("str", "mask", "What the masked stream shows"),
    "box_dilation": ("float", "1.0", "Factor on the sides of those boxes"),
    "other_boxes": ("str", "unknown", "What a box says of another class"),
    "num_workers": ("int", None, "Loader processes"),
}
DEFAULTS = {  # batch_size, masked_batch_size, num_workers
    "FolderDataModule": ("16", "4", "2"),
    "VOC12DataModule": ("16", "4", "2"),
    "ShapesDataModule": ("32", "8", "0"),
}


@pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")
@pytest.mark.parametrize("module", DEFAULTS)
def test_help_of_a_data_module_lists_the_arguments_that_all_share(module, capsys):
    with pytest.raises(SystemExit) as end:
        experiment._run_cli(["fit", f"--data.help={module}"])
    assert end.value.code == 0
    own = dict(zip(("batch_size", "masked_batch_size", "num_workers"), DEFAULTS[module], strict=True))
    listed = {}
    for part in capsys.readouterr().out.split("\n  --data.")[1:]:
        name, _, text = part.partition(" ")
        listed[name] = " ".join(text.split())
    for name, (kind, default, words) in STREAMS.items():
        assert f"(type: {kind}, default: {default or own[name]})" in listed[name]
        assert words in listed[name]


@pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")
@pytest.mark.parametrize("module", DEFAULTS)
def test_arguments_that_all_data_modules_share_are_kept_with_their_defaults(parse, module, tmp_path):
    """``config.yaml`` is written from this, and a run that resumes compares it."""
    root = [] if module == "ShapesDataModule" else [f"--data.root={tmp_path}"]
    given = parse(f"--data={module}", *root)["data"]["init_args"]
    own = dict(zip(("batch_size", "masked_batch_size", "num_workers"), DEFAULTS[module], strict=True))
    defaults = {name: default or own[name] for name, (_, default, _) in STREAMS.items()}
    assert {name: "null" if given[name] is None else str(given[name]) for name in STREAMS} == defaults


@pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")
@pytest.mark.parametrize("module", DEFAULTS)
@pytest.mark.parametrize("words", [["--data.other_box=no"], ["--data.init_args.other_box=no"]])
def test_a_slip_in_a_shared_argument_names_the_nearest(module, words, capsys):
    with pytest.raises(SystemExit):
        experiment._run_cli(["fit", f"--data={module}", *words])
    error = capsys.readouterr().err
    assert "did you mean" in error
    assert "other_boxes" in error


def test_what_is_refused_before_torch_knows_the_shared_arguments():
    assert set(STREAMS) <= set(keys_of("data"))
    assert "streams" not in keys_of("data")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.sigmaa=0.3"], "unknown key 'model.sigmaa'; did you mean 'model.sigma'?"),
        (["--data.num_trian=3"], "did you mean 'num_train'?"),
        (["--trainer.max_epoch=3"], "did you mean 'trainer.max_epochs'?"),
        (["--mask_budget=4"], "unknown key 'mask_budget'; did you mean 'data.mask_budget'?"),
        (["--model.sigma=abc"], "model.sigma is 'abc', expected float"),
        (["--config=no.yaml"], "no.yaml"),
    ],
)
def test_unknown_option_exits_with_the_nearest_name(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", *CONFIG, *arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) <= 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("am_weight", "am_wieght", "did you mean 'model.am_weight'?"),
        ("mask_budget", "mask_buget", "did you mean 'mask_budget'?"),
        ("ShapesDataModule", "ShapeDataModule", "did you mean 'ShapesDataModule'?"),
        ("\nmodel:", "\nmodle:", "unknown key 'modle"),
    ],
)
def test_unknown_key_in_a_file_exits_with_the_nearest_name(old, new, message, tmp_path, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text((EXPERIMENTS / "shapes" / "gain_ext.yaml").read_text().replace(old, new))
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(path)])
    assert message in capsys.readouterr().err


def test_data_without_a_class_says_so(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--data.num_train=5"])
    assert "data.class_path" in capsys.readouterr().err


def test_what_is_trained_follows_from_the_data(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("data: {class_path: gain_lightning.segmentation.cue_data.CueDataModule}")
    assert method_of(["fit", "--config", str(path)]) == "SEC"
    assert method_of(["fit", f"--config={path}", "--model.lr", "3"]) == "SEC"
    assert method_of(["fit", "--config", str(path), "--data", "ShapesDataModule"]) == "GAIN"
    assert method_of(["fit", "--config", str(tmp_path / "none.yaml")]) == "GAIN"


@pytest.mark.parametrize(
    ("given", "meant"),
    [("root", "images.root"), ("cue", "cues"), ("image.root", "images.root"), ("btch_size", "batch_size")],
)
def test_unknown_key_of_data_with_cues_names_the_nearest(tmp_path, capsys, given, meant):
    path = tmp_path / "c.yaml"
    images = {"class_path": "VOC12DataModule", "init_args": {"root": "r"}}
    data = {"class_path": "CueDataModule", "init_args": {"cues": "c.npz", "images": images}}
    path.write_text(json.dumps({"model": {"backbone": "tiny_cnn"}, "data": data}))
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(path), f"--data.{given}=x"])
    assert f"unknown key 'data.{given}'; did you mean 'data.{meant}'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cues", "options", "message"),
    [
        ("c.npz", ["--data.batch_size=abc"], "data.batch_size is 'abc', expected int"),
        (["a"], [], "data.cues is \"['a']\", expected str"),
        ("c.npz", ["--data.images.class_path=ShapesDataModul"], "did you mean 'ShapesDataModule'?"),
    ],
)
def test_unfit_value_of_data_with_cues_is_named(tmp_path, capsys, cues, options, message):
    path = tmp_path / "c.yaml"
    images = {"class_path": "ShapesDataModule"}
    data = {"class_path": "CueDataModule", "init_args": {"cues": cues, "images": images}}
    path.write_text(json.dumps({"model": {"backbone": "tiny_cnn"}, "data": data}))
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(path), *options])
    assert message in capsys.readouterr().err
