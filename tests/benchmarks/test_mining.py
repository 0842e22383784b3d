"""What L_am moves and where maps grow: the figures of ``benchmarks/mining.py`` beside loops and other graphs."""

import argparse
import copy
import json

import numpy as np
import pytest
import reference
import torch
from benchmark_scripts import load
from fake_voc import make_voc

from gain_lightning.datasets.readers.voc import CLASSES
from gain_lightning.methods.gain import GAIN

MINING = load("mining")
LABEL = torch.tensor([[1.0, 0, 0], [0, 1, 1]])


def small_step(**settings):
    """A model in float64 with random weights, its step on two images, and its maps."""
    torch.manual_seed(1)
    model = GAIN(["a", "b", "c"], 32, **settings).double().eval()
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    batch = model.with_pairs({"image": image, "label": LABEL.double()})
    step = model.forward_streams(batch, None, {"loss_am": 1.0}, 1.0)
    return model, batch, step, model.explain(step)


def save(path, seed, epoch):
    torch.manual_seed(seed)
    model = GAIN(list(CLASSES), 32, am_weight=1.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams), "epoch": epoch}
    torch.save({**content, "global_step": epoch}, path)
    return path


@pytest.mark.parametrize("second_order", [True, False])
def test_both_parts_are_those_of_two_networks_and_sum_to_the_whole(second_order):
    model, batch, step, maps = small_step(second_order=second_order, am_weight=1.0)
    loss, through_maps, through_judge = MINING.split_gradient(model, step, maps)
    # the whole, as a training computes it
    model.hparams.am_gradient = "all"
    whole = model.losses(batch, None, 1.0)["loss_am"]
    gradient = torch.autograd.grad(whole, list(model.backbone.parameters()))
    expected = torch.cat([part.flatten() for part in gradient])
    assert loss == pytest.approx(whole.item(), rel=1e-9)
    torch.testing.assert_close(through_maps + through_judge, expected, rtol=1e-6, atol=1e-12)
    # a second network judges, so that the two have weights of their own
    judge = copy.deepcopy(model.backbone)
    step = model.forward_streams(batch, None, {"loss_am": 1.0}, 1.0)
    attention = model.explain(step)
    attention = attention / attention.amax((2, 3), keepdim=True)
    mask = torch.sigmoid(10 * (model.place(attention, (32, 32)) - 0.5))
    shown = batch["image"][[0, 1, 1]]
    left = judge(shown - mask * shown).sigmoid()
    two = (left[0, 0] + (left[1, 1] + left[2, 2]) / 2) / 2
    for network, part in ((model.backbone, through_maps), (judge, through_judge)):
        found = torch.autograd.grad(
            two, list(network.parameters()), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        torch.testing.assert_close(torch.cat([one.flatten() for one in found]), part, rtol=1e-6, atol=1e-12)
    assert through_maps.norm() > 0
    assert through_judge.norm() > 0


def test_values_of_pairs_by_loops():
    model, batch, step, maps = small_step(sigma=0.4, omega=8.0)
    first = copy.deepcopy(model)
    with torch.no_grad():
        first.backbone.classifier.bias += 0.5
        found = MINING.pair_values(model, first, step, maps.detach())
    for row, (n, c) in enumerate(reference.pairs(LABEL.numpy())):
        attention = reference.scale(maps[row, 0].detach().numpy(), "max")
        attention = reference.place(attention, 32, 32, 0, 0, 8, 8)
        image = batch["image"][n].numpy()

        def probability(judge, picture, c=c):
            with torch.no_grad():
                return reference.sigmoid(float(judge(torch.from_numpy(picture)[None])[0, c]))

        mask = reference.soft_mask(attention, 0.4, 8.0)
        erased = reference.erase(image, mask)
        flat = sum(mask[i, j] * (1 - mask[i, j]) < 0.01 for i, j in np.ndindex(32, 32)) / 32**2
        assert found["whole"][row] == pytest.approx(probability(model, image), rel=1e-6)
        assert found["remaining"][row] == pytest.approx(probability(model, erased), rel=1e-6)
        drop = probability(first, image) - probability(first, erased)
        assert found["drop_first"][row] == pytest.approx(drop, abs=1e-6)  # probabilities are float32
        assert found["erased"][row] == pytest.approx(mask.mean(), rel=1e-6)
        assert found["flat"][row] == pytest.approx(flat)
        for sigma in (0.1, 0.9):
            mask = reference.soft_mask(attention, sigma, 8.0)
            left = probability(model, reference.erase(image, mask))
            assert found[f"remaining_{sigma}"][row] == pytest.approx(left, rel=1e-6)
            assert found[f"erased_{sigma}"][row] == pytest.approx(mask.mean(), rel=1e-6)


def random_seen():
    """Seven pairs of three classes; the seeds of the last are none, and the object of the one before is unknown."""
    generator = torch.Generator().manual_seed(0)
    draw = torch.randint(0, 8, (7, 6, 5), generator=generator)
    mask = torch.tensor([0, 1, 255])[(draw > 4).long() + (draw > 6)].to(torch.uint8)
    mask[5] = 255
    seeds = torch.rand(7, 6, 5, generator=generator) > 0.4
    seeds[6] = False
    values = {key: torch.rand(7) for key in ("whole", "remaining", "drop_first", "erased", "flat")}
    values |= {f"{key}_{sigma}": torch.rand(7) for key in ("erased", "remaining") for sigma in MINING.SIGMAS}
    gradients = torch.tensor([3.0, 0.0]), torch.tensor([4.0, 4.0])
    return MINING.Seen(0.5, gradients, values, seeds, mask, torch.tensor([0, 1, 0, 2, 1, 2, 1]), [])


def test_precision_and_recall_by_loops():
    seen = random_seen()
    found = MINING.summary(seen, ["a", "b", "c"])
    rows = []
    for p in range(7):
        hits = on_map = on_object = 0
        for i, j in np.ndindex(6, 5):
            is_seed, truth = bool(seen.seeds[p, i, j]), int(seen.mask[p, i, j])
            hits += is_seed and truth == 1
            on_map += is_seed and truth != 255
            on_object += truth == 1
        if on_object:
            precision = hits / on_map if on_map else None
            rows.append((on_object, int(seen.label[p]), precision, hits / on_object))

    def means(chosen):
        known = [row[2] for row in chosen if row[2] is not None]
        return {
            "pairs": len(chosen),
            "precision": pytest.approx(sum(known) / len(known)) if known else None,
            "recall": pytest.approx(sum(row[3] for row in chosen) / len(chosen)),
        }

    assert {key: found[key] for key in ("pairs", "precision", "recall")} == means(rows)
    for c, name in enumerate("abc"):
        assert found["by_class"][name] == means([row for row in rows if row[1] == c])
    ordered = sorted(rows, key=lambda row: row[0])
    for third, name in enumerate(("small", "medium", "large")):
        assert found["by_size"][name] == means(ordered[2 * third : 2 * third + 2])
    assert found["norm_maps"] == pytest.approx(3)
    assert found["share_maps"] == pytest.approx(9 / 41)
    assert found["share_maps"] + found["share_judge"] == pytest.approx(1)
    assert found["cosine"] == pytest.approx(12 / (3 * 32**0.5))
    assert found["drop"] == pytest.approx(float((seen.values["whole"] - seen.values["remaining"]).mean()))


def test_growth_by_loops():
    seen = random_seen()
    before = torch.rand(seen.seeds.shape, generator=torch.Generator().manual_seed(1)) > 0.6
    known = gained = on = free = free_on = 0
    for p in (0, 1, 2, 3, 4, 6):
        for i, j in np.ndindex(6, 5):
            truth = int(seen.mask[p, i, j])
            if truth == 255:
                continue
            known += 1
            if not before[p, i, j]:
                free += 1
                free_on += truth == 1
                gained += bool(seen.seeds[p, i, j])
                on += bool(seen.seeds[p, i, j]) and truth == 1
    found = MINING.growth(before, seen.seeds, seen.mask)
    assert found == {
        "area": pytest.approx(gained / known),
        "on": pytest.approx(on / gained),
        "chance": pytest.approx(free_on / free),
    }
    assert MINING.growth(seen.seeds, seen.seeds, seen.mask)["on"] is None


def test_trainings_are_measured_printed_and_drawn(tmp_path, monkeypatch, capsys):
    make_voc(tmp_path)
    paths = [save(tmp_path / "run" / f"{epoch}.ckpt", epoch, epoch) for epoch in range(2)]
    words = ["mining", f"shared={paths[0]},{paths[1]}", f"one={paths[0]}", "--images=5", "--strips=2"]
    monkeypatch.setattr("sys.argv", [*words, f"--data={tmp_path}", f"--out={tmp_path / 'out'}"])
    MINING.main()
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    found = json.loads((tmp_path / "out" / "mining.json").read_text())
    assert [row["epoch"] for row in found["shared"]] == [1, 2]
    assert found["shared"][0] == found["one"][0]
    assert found["one"][0]["gained"] is None
    assert set(found["shared"][1]["gained"]) == {"area", "on", "chance"}
    # the first checkpoint is its own judge
    row = found["one"][0]
    assert row["drop_first"] == pytest.approx(row["drop"], rel=1e-4)
    assert row["by_sigma"]["0.5"]["remaining"] == pytest.approx(row["remaining"], rel=1e-5)
    assert row["pairs"] == sum(part["pairs"] for part in row["by_size"].values())
    names = {path.name for path in (tmp_path / "out").iterdir()}
    strips = {"shared_0.png", "shared_1.png", "one_0.png", "one_1.png"}
    curves = {f"{name}.svg" for name in (*MINING.CURVES, "remaining_by_sigma", "erased_by_sigma")}
    assert names == {"mining.json", *strips, *curves}


def test_images_of_several_batches_weigh_the_same(tmp_path):
    """L_am and its gradient over 18 images are those of one batch."""
    make_voc(tmp_path, num_train=18)
    path = save(tmp_path / "run" / "a.ckpt", 0, 0)
    model = MINING.load_gain(path)
    images = MINING.masked_images(path, model, str(tmp_path), 100)
    seen = MINING.look(model, model, images)
    samples = MINING.collate([images[row] for row in range(18)])
    samples["image"] = model.backbone.normalize(samples["image"])
    model.hparams.am_gradient = "all"
    loss = model.losses(samples, None, 1.0)["loss_am"]
    gradient = torch.autograd.grad(loss, list(model.backbone.parameters()))
    assert len(images) == 18
    assert seen.loss == pytest.approx(loss.item(), rel=1e-5)
    whole = torch.cat([part.flatten() for part in gradient])
    torch.testing.assert_close(sum(seen.gradients), whole, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("word", ["a.ckpt", "=a.ckpt", "shared="])
def test_a_training_without_name_or_checkpoint_is_refused(word):
    with pytest.raises(argparse.ArgumentTypeError, match="expected NAME=CHECKPOINT"):
        MINING.training(word)
