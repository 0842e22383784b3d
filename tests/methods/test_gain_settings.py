import math

import pytest
from small_gain import NAMES, make_gain

from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.gain_settings import method_name


@pytest.mark.parametrize(
    ("warmup", "ramp", "batch", "share"),
    [
        (0, 0, 0, 1),
        (0.2, 0, 0, 0),
        (0.2, 0, 19, 0),
        (0.2, 0, 20, 1),
        (0.2, 0.4, 19, 0),
        (0.2, 0.4, 20, 0),
        (0.2, 0.4, 30, 0.25),
        (0.2, 0.4, 45, 0.625),
        (0.2, 0.4, 60, 1),
        (0.2, 0.4, 99, 1),
        (0, 0.05, 2, 0.4),
        (1, 0, 99, 0),
    ],
)
def test_guidance_waits_then_rises(warmup, ramp, batch, share):
    assert make_gain(warmup=warmup, ramp=ramp).guidance(batch, 100) == pytest.approx(share)


def test_guidance_of_a_training_without_end_needs_no_end_without_shares():
    assert make_gain().guidance(10**6, math.inf) == 1


def test_cross_entropy_of_an_unbounded_map_is_refused():
    with pytest.raises(ValueError, match="cross_entropy takes a map for probabilities"):
        GAIN(["a"], 32, ext_loss="cross_entropy", scaling="none")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", "ranking"),
        ("scaling", "sum"),
        ("am_score", "max"),
        ("ext_resolution", "pixel"),
        ("ext_loss", "dice"),
        ("ext_reduction", "none"),
        ("lr_interval", "batch"),
        ("am_weight", -1.0),
        ("am_weight", math.nan),
        ("ext_weight", -0.1),
        ("ext_weight", math.inf),
        ("warmup", -0.1),
        ("warmup", 1.5),
        ("ramp", -0.5),
        ("ramp", math.nan),
        ("omega", 0.0),
        ("omega", -1.0),
        ("omega", math.nan),
        ("new_layer_lr_scale", 0.0),
        ("new_layer_lr_scale", math.inf),
        ("score_classes", ["a", "zebra"]),
        ("output_stride", 16),
        ("backbone", "tiny_cn"),
        ("sigma", math.nan),
        ("sigma", math.inf),
    ],
)
def test_bad_setting_is_refused_by_its_key(key, value):
    with pytest.raises(ValueError, match=rf"\b{key}\b|unknown {key}") as error:
        make_gain(**{key: value})
    wrong = "zebra" if key == "score_classes" else str(value)
    assert wrong in str(error.value)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("task", ["multi_label", "single_label"]),
        ("scaling", ["max", "minmax", "none"]),
        ("am_score", ["probability", "logit"]),
        ("ext_resolution", ["image", "map"]),
        ("ext_loss", ["l2", "l1", "energy", "rrr", "cross_entropy"]),
        ("ext_reduction", ["mean", "sum"]),
        ("lr_interval", ["epoch", "step"]),
    ],
)
def test_message_of_a_bad_choice_lists_the_good_ones(key, values):
    with pytest.raises(ValueError, match=rf"model\.{key} is 'wrong'") as error:
        make_gain(**{key: "wrong"})
    assert all(value in str(error.value) for value in values)


def test_hyperparameters_hold_every_setting_but_the_callables():
    hparams = make_gain(am_weight=0.5, sigma=0.3).hparams
    assert hparams["am_weight"] == 0.5
    assert hparams["sigma"] == 0.3
    assert hparams["class_names"] == NAMES
    assert not {"optimizer", "lr_scheduler"} & set(hparams)


def test_margin_needs_a_single_label():
    with pytest.raises(
        ValueError, match=r"model\.map_score margin compares classes: expected model\.task single"
    ):
        make_gain(map_score="margin")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"am_every": 0}, "am_every is 0, expected at least 1"),
        ({"max_classes_per_image": 0}, "max_classes_per_image is 0, expected at least 1"),
        ({"compile_features": True, "checkpoint_features": True}, "exclude each other"),
    ],
)
def test_levers_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_gain(**settings)


@pytest.mark.parametrize(
    ("model", "data", "rivals", "expected"),
    [
        ({"am_weight": 0, "ext_weight": 0}, {"balance_by": None}, (), "gradcam"),
        ({"am_weight": 1, "ext_weight": 0}, {}, (), "gain"),
        ({"am_weight": 0, "ext_weight": 0}, {"balance_by": "group"}, (), "resampled"),
        ({"am_weight": 0, "ext_weight": 1}, {"balance_by": "class"}, (), "gain_ext+resampled_class"),
        ({"am_weight": 0, "ext_weight": 0}, {}, ("jtt",), "jtt"),
        ({"am_weight": 0, "ext_weight": 1}, {"mask_augment": 0.2}, (), "gain_ext+mask_augment"),
        ({"am_weight": 0, "ext_weight": 1}, {}, ("dfr",), "gain_ext+dfr"),
    ],
)
def test_a_method_is_called_by_its_guidance_and_by_what_else_it_does(model, data, rivals, expected):
    assert method_name(model, data, *rivals) == expected
