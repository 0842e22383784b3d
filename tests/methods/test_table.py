"""A method comes in by a row of the table alone: checkpoints, options and data modules find it there."""

import gc
import weakref

import pytest
import torch

from gain_lightning import GAIN
from gain_lightning.cli import main
from gain_lightning.commands.fit import keys_of
from gain_lightning.methods.base import Method
from gain_lightning.methods.classifier import Classifier
from gain_lightning.methods.load import load_classifier, load_model, method_class
from gain_lightning.methods.table import METHODS, MethodRow, import_object, method_for
from gain_lightning.training.config_parser import method_of

SETTINGS = {"class_names": ["boat", "car"], "image_size": 32}
SMALL = [
    *("--data=ShapesDataModule", "--data.num_train=8", "--data.num_val=4", "--data.num_test=4"),
    *("--data.num_biased=2", "--data.batch_size=4", "--data.mask_budget=0", "--trainer.max_epochs=1"),
    *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.logger=false"),
    "--trainer.enable_model_summary=false",
]


class Plain(Classifier):
    """A method of its own: the first logit of every image alone."""

    name = "Plain"

    def __init__(
        self,
        class_names: list[str],
        image_size: int,
        backbone: str = "tiny_cnn",
        weights: str = "none",
        output_stride: int | None = None,
        task: str = "multi_label",
        cl_reduction: str = "sum",
        map_method: str = "grad_cam",
        map_score: str = "logit",
        memory_format: str = "auto",
        compile_features: bool = False,
        checkpoint_features: bool = False,
        freeze_batch_norm: bool = False,
        score_classes: list[str] | None = None,
        lr_interval: str = "epoch",
        new_layer_lr_scale: float = 1.0,
        strength: float = 1.0,
    ):
        super().__init__(torch.optim.SGD, None)
        self.save_hyperparameters(logger=False)
        self.build()

    def training_step(self, batch, batch_idx):
        weak = batch["weak"]
        loss = self.hparams.strength * self.task.loss(self(weak["image"]), self.multi_hot(weak["label"]))
        self.log_terms({"loss": loss})
        return loss


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.setitem(METHODS, "Plain", MethodRow(f"{__name__}.Plain"))


@pytest.mark.parametrize("name", METHODS)
def test_every_row_names_a_method_and_the_data_that_it_trains_on(name):
    method, data = METHODS[name].load()
    assert issubclass(method, Method)
    assert method.name == name
    # of the methods that train on the same data, one is taken where none is named
    assert METHODS[method_for(data.__name__)].data == METHODS[name].data


def test_a_data_module_alone_asks_for_the_method_of_the_paper():
    assert [method_for(name) for name in ("TwoStreamDataModule", "CueDataModule")] == ["GAIN", "SEC"]


def test_a_checkpoint_names_its_method():
    checkpoint = {}
    GAIN(**SETTINGS).on_save_checkpoint(checkpoint)
    assert (checkpoint["method"], method_class(checkpoint)) == ("GAIN", GAIN)


def test_a_subclass_is_loaded_as_the_method_that_it_is_of():
    class Own(GAIN):
        pass

    checkpoint = {}
    Own(**SETTINGS).on_save_checkpoint(checkpoint)
    assert method_class(checkpoint) is GAIN


@pytest.mark.parametrize(("setting", "name"), [("am_weight", "GAIN"), ("crf_shrink", "SEC")])
def test_a_checkpoint_of_before_methods_were_named_is_of_the_one_that_takes_its_settings(setting, name):
    checkpoint = {"hyper_parameters": {**SETTINGS, "backbone": "vgg16", setting: 1.0}}
    assert method_class(checkpoint) is import_object(METHODS[name].path)


def test_a_checkpoint_of_no_known_method_is_refused_by_name():
    with pytest.raises(
        ValueError, match="its method is 'RRR', expected one of GAIN, GroupDRO, JTT, DFR, SEC"
    ):
        method_class({"method": "RRR", "hyper_parameters": {}})
    with pytest.raises(ValueError, match="no method of GAIN, GroupDRO, JTT, DFR, SEC takes its settings"):
        method_class({"hyper_parameters": {"no_such_setting": 1}})


def test_a_method_is_chosen_by_its_name_or_by_its_data(tmp_path, plain):
    config = tmp_path / "run.yaml"
    config.write_text("method: Plain\n")
    assert method_of(["fit", f"--config={config}"]) == "Plain"
    assert method_of(["fit", "--config", str(config), "--method", "GAIN"]) == "GAIN"
    assert method_of(["fit", f"--config={config}", "--method=null", "--data=CueDataModule"]) == "SEC"
    assert method_of(["fit", f"-c{config}"]) == method_of(["fit", "--config", "method: Plain"]) == "Plain"
    assert method_of(["fit", f"--config={config}", "--method=~"]) == "GAIN"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method=Plane"], "method is 'Plane', expected one of GAIN, GroupDRO, JTT, DFR, SEC, or null"),
        (
            ["--config", "method: [GAIN]"],
            r"method is \['GAIN'\], expected one of GAIN, GroupDRO, JTT, DFR, SEC, or null",
        ),
        (
            ["--method=SEC", "--data=ShapesDataModule"],
            "method is SEC, but data is ShapesDataModule: expected CueDataModule",
        ),
    ],
)
def test_a_method_that_does_not_fit_is_refused_in_words(words, message):
    with pytest.raises(ValueError, match=message):
        method_of(["fit", *words])


def test_a_model_that_nobody_holds_leaves_memory_at_once():
    model = GAIN(**SETTINGS, task="regression")
    held = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert held() is None
    finally:
        gc.enable()


def test_a_method_of_ones_own_trains_is_tested_loaded_and_maps(tmp_path, plain, capsys):
    run = tmp_path / "run"
    assert main(["fit", "--method=Plain", "--model.strength=0.5", *SMALL, f"--run_dir={run}"]) == 0
    assert "test seed_miou" in capsys.readouterr().out
    model = load_classifier(run / "checkpoints" / "last.ckpt")
    assert (type(model), model.hparams.strength) == (Plain, 0.5)
    assert main(["test", f"--config={run / 'config.yaml'}", "--ckpt_path=last"]) == 0


def test_the_settings_of_every_method_are_known_before_torch_is():
    assert {"am_weight", "ext_loss", "crf_shrink", "seed_weight"} <= set(keys_of("model"))


def test_no_checkpoint_of_a_segmentation_is_a_classifier(tmp_path):
    model = import_object(METHODS["SEC"].path)(**SETTINGS, backbone="tiny_cnn", output_stride=None)
    path = tmp_path / "sec.ckpt"
    torch.save(
        {"method": "SEC", "hyper_parameters": dict(model.hparams), "state_dict": model.state_dict()}, path
    )
    assert type(load_model(path)) is type(model)
    with pytest.raises(ValueError, match="is of a segmentation network"):
        load_classifier(path)
