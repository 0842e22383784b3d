import json

import numpy as np
import pytest
import torch
from faking import NETWORKS, box_maps, faking_model

from gain_lightning.methods import map_checks
from gain_lightning.methods.second_opinion import second_opinion
from gain_lightning.metrics.attributions import ATTRIBUTIONS
from gain_lightning.runs.map_checks import read_opinion
from gain_lightning.runs.maps import write_maps

KINDS = ["attention", *ATTRIBUTIONS]


@pytest.fixture(scope="module")
def opinions():
    maps = box_maps()
    return {name: second_opinion(faking_model(name), maps, 0, num_images=16) for name in NETWORKS}


def energies(opinion):
    return {key: entry["mean"] for key, entry in opinion["energy"].items()}


def test_an_honest_network_is_not_flagged(opinions):
    assert opinions["object"]["state"] == "agree"
    assert min(energies(opinions["object"]).values()) > 0.5
    assert opinions["ground"]["state"] == "no claim"
    assert max(energies(opinions["ground"]).values()) < 0.2


@pytest.mark.parametrize("name", ["ground, faked in the features", "ground, faked in the head"])
def test_a_network_that_fakes_its_map_is_flagged(name, opinions):
    opinion, honest = opinions[name], opinions["object"]
    assert energies(opinion)["attention"] == pytest.approx(energies(honest)["attention"], abs=0.05)
    assert energies(opinion)["occlusion"] < 0.2
    assert opinion["state"] == "disagree"
    assert opinion["disagreement"] > opinion["expected"]


def test_gradients_alone_would_believe_a_head_that_fakes_its_slope(opinions):
    """Which is why occlusion gives the verdict: it uses no gradient."""
    found = energies(opinions["ground, faked in the head"])
    assert min(found["gradient"], found["integrated"]) > 0.6
    moved = energies(opinions["ground, faked in the features"])
    assert max(moved["gradient"], moved["integrated"]) < 0.2


@pytest.mark.parametrize("name", NETWORKS)
def test_energy_and_area_are_those_of_the_drawn_pairs(name, opinions):
    """The map by hand: red or blue cells, each drawn as a square, and 16 images that have a mask."""
    opinion, maps = opinions[name], box_maps()
    assert opinion["num_images"] == opinion["num_pairs"] == 16
    assert opinion["ids"] == [str(number) for number in range(16)]
    assert opinion["area"] == pytest.approx((maps.mask[:16] == 1).mean(), abs=1e-6)
    assert set(opinion["energy"]) == set(opinion["iou"]) == set(KINDS)
    model, inside = faking_model(name), []
    for n in range(16):
        label = torch.eye(3)[n % 3 : n % 3 + 1]
        image = model.backbone.normalize(torch.from_numpy(maps.image[n].transpose(2, 0, 1)[None].copy()))
        drawn = model.place(model.attend(image, label)[1], (32, 32))[0, 0].numpy()
        inside.append(drawn[maps.mask[n] == 1].sum() / drawn.sum())
    assert energies(opinion)["attention"] == pytest.approx(np.mean(inside), abs=1e-4)


def test_every_forward_pass_is_counted():
    """Of 3 images: occlusion by two fills of 64 windows and the image itself, 20 steps, and one gradient."""
    model, seen = faking_model("object"), []
    model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    opinion = second_opinion(model, box_maps(), 0, num_images=3)
    assert opinion["passes_per_image"] == sum(seen) / 3 == 2 * (64 + 1) + 20 + 1


def test_the_seed_draws_the_images_and_nothing_else_changes():
    model, state = faking_model("object"), torch.get_rng_state()
    draws = [second_opinion(model, box_maps(), seed, num_images=8) for seed in (0, 0, 1)]
    assert draws[0] == draws[1]
    assert draws[0]["ids"] != draws[2]["ids"]
    assert all(len(set(draw["ids"])) == 8 for draw in draws)
    assert all(int(image) < 16 for draw in draws for image in draw["ids"])
    assert torch.equal(torch.get_rng_state(), state)
    assert json.loads(json.dumps(draws[0])) == draws[0]


def test_without_masks_there_is_none():
    assert second_opinion(faking_model("object"), box_maps(num_masked=0), 0, num_images=8) is None


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("ground, faked in the head", "FLAGGED: map and occlusion disagree by"),
        ("object", "bears the map out"),
    ],
)
def test_the_command_says_it_in_words_and_keeps_it(name, printed, tmp_path, monkeypatch):
    monkeypatch.setattr(map_checks, "_STEPS", 1)
    monkeypatch.setattr(map_checks, "tested_checkpoint", lambda run: run)
    monkeypatch.setattr(map_checks, "load_classifier", lambda path: faking_model(name))
    write_maps(tmp_path, [box_maps()._replace(map_max=np.ones(20, np.float32))])
    text = map_checks.check_run(tmp_path, 0, 1, 16)
    assert printed in " ".join(text.split())
    assert ("FLAGGED" in text) == (name != "object")
    assert max(map(len, text.splitlines()[1:])) <= 80
    kept = read_opinion(tmp_path)
    assert kept["words"] in " ".join(text.split())
    assert kept["seconds_per_image"] > 0
    map_checks.check_run(tmp_path, 0, 1, 0)
    assert read_opinion(tmp_path) == {}
