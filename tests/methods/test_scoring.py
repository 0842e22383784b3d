import copy

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from small_gain import CELLS, make_shapes, make_shapes_gain, make_trainer

from gain_lightning.attention import label_pairs
from gain_lightning.datasets.shapes.boat import draw_picture
from gain_lightning.methods.scoring import MapScores
from gain_lightning.metrics import THRESHOLDS


@pytest.fixture(scope="module")
def trained_shapes():
    """A classifier of a few steps, so that scores differ from those of a random one."""
    module = make_shapes_gain()
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    pictures = [draw_picture(index, "test", seed=1) for index in range(24)]
    image = torch.stack([torch.from_numpy(picture.image).permute(2, 0, 1) for picture in pictures])
    label = torch.stack([torch.from_numpy(picture.label) for picture in pictures]).float()
    for _ in range(6):
        optimizer.zero_grad()
        F.multilabel_soft_margin_loss(module(module.backbone.normalize(image)), label).backward()
        optimizer.step()
    return module


def oracle_outputs(module, split, count, seed=0):
    """Probabilities, labels, masks of all pairs and their placed raw maps of the first pictures, or these."""
    indices = range(count) if isinstance(count, int) else count
    pictures = [draw_picture(index, split, seed=seed) for index in indices]
    image = torch.stack([torch.from_numpy(picture.image).permute(2, 0, 1) for picture in pictures]).double()
    backbone = copy.deepcopy(module.backbone).double().eval()
    with torch.no_grad():
        features = backbone.features(image / 127.5 - 1)
        probability = backbone.head(features).sigmoid().numpy()
    label = np.stack([picture.label for picture in pictures])
    weight = backbone.classifier.weight.detach() / features[0, 0].numel()
    maps = [(weight[c][:, None, None] * features[n]).sum(0).relu() for n, c in reference.pairs(label)]
    maps = [reference.place(attention.numpy(), 96, 96, *CELLS) for attention in maps]
    return (
        probability,
        label,
        reference.split_index_masks([picture.mask for picture in pictures], label),
        maps,
    )


def scores_of_test(folder, module, **settings):
    trainer = make_trainer(folder)
    trainer.test(module, datamodule=make_shapes(**settings), verbose=False)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


def mean_pointing(maps, masks, label, classes=range(5)):
    """Mean over classes of the means over their pairs whose mask shows them."""
    hits = {c: [] for c in classes}
    for (_, c), attention, mask in zip(reference.pairs(label), maps, masks, strict=True):
        if c in hits and (mask == 1).any():
            hits[c].append(reference.pointing(attention, mask))
    return np.mean([np.mean(values) for values in hits.values() if values])


def test_test_scores_equal_the_oracles(tmp_path, trained_shapes):
    """Of the first test set, in batches that do not divide it, by every metric; of the others on boats."""
    module = trained_shapes
    scores = scores_of_test(tmp_path, module, data_seed=1)

    probability, label, mask, maps = oracle_outputs(module, "test", 6, seed=1)
    assert label.any(0).all()
    per_class = [reference.average_precision(probability[:, c], label[:, c]) for c in range(5)]
    assert scores["test/mean_ap"] == pytest.approx(np.mean(per_class), rel=1e-5)
    energies = [
        reference.energy(attention, own)
        for attention, own in zip(maps, mask, strict=True)
        if (own == 1).any()
    ]
    assert scores["test/energy"] == pytest.approx(np.mean(energies), rel=1e-4)
    assert scores["test/pointing"] == pytest.approx(mean_pointing(maps, mask, label), rel=1e-5)
    scaled = [reference.scale(attention, "max") for attention in maps]
    miou = np.nanmean(reference.seed_iou(scaled, mask, label, 0.2))
    assert scores["test/seed_miou"] == pytest.approx(miou, rel=1e-3)
    assert scores["test/seed_miou_best"] >= scores["test/seed_miou"]
    at_best = reference.seed_iou(scaled, mask, label, scores["test/seed_threshold_best"])
    assert scores["test/seed_miou_best"] == pytest.approx(np.nanmean(at_best), rel=1e-3)

    num_zero = sum(attention.max() <= 1e-8 for attention in maps)
    assert scores["test/zero_maps"] == pytest.approx(num_zero / len(maps))

    accuracies = []
    for split in ("boat_without_water", "water_without_boat"):
        probability, label, _, _ = oracle_outputs(module, split, 4, seed=1)
        accuracies.append(np.mean((probability[:, 0] > 0.5) == label[:, 0]))
        assert scores[f"test/{split}"] == pytest.approx(accuracies[-1])
    assert scores["test/biased_accuracy"] == pytest.approx(np.mean(accuracies))


def test_share_of_zero_maps(tmp_path):
    """Those of a class whose weights are all negative are zero, for features are not."""
    module = make_shapes_gain()
    with torch.no_grad():
        module.backbone.classifier.weight.abs_()[0].neg_()
    scores = scores_of_test(tmp_path, module, data_seed=1)
    _, label, _, _ = oracle_outputs(module, "test", 6, seed=1)
    assert scores["test/zero_maps"] == pytest.approx(label[:, 0].sum() / label.sum())
    assert 0 < scores["test/zero_maps"] < 1


@pytest.mark.filterwarnings("ignore:No positive samples found in target:UserWarning")
def test_mean_ap_passes_over_a_class_that_no_image_shows(tmp_path, trained_shapes):
    """As the seeds' mIoU does: it has no average precision, not one of 0."""
    probability, label, _, _ = oracle_outputs(trained_shapes, "test", 6)
    present = label.any(0)
    assert 0 < present.sum() < 5
    per_class = [reference.average_precision(probability[:, c], label[:, c]) for c in present.nonzero()[0]]
    assert scores_of_test(tmp_path, trained_shapes)["test/mean_ap"] == pytest.approx(
        np.mean(per_class), rel=1e-5
    )


def test_scores_of_one_test_do_not_enter_the_next(tmp_path, trained_shapes):
    first, second = (scores_of_test(tmp_path, trained_shapes) for _ in range(2))
    of_groups = {key for key in first if "group" in key or key.endswith("_average")}
    assert (len(first) - len(of_groups), len(of_groups)) == (16, 4 + 3)
    assert first == pytest.approx(second, abs=0, nan_ok=True)


def test_score_classes_restrict_every_mean(tmp_path, trained_shapes):
    """Of what is decided and of maps; those of class car are turned to zero, and no score may know of it."""
    module = make_shapes_gain(score_classes=["cow", "boat"])
    module.backbone = copy.deepcopy(trained_shapes.backbone)
    weight = module.backbone.classifier.weight.data
    weight[1] = -weight[1].abs()
    weight[2] = -weight[2].abs()  # cow
    (scores,) = make_trainer(tmp_path).validate(module, datamodule=make_shapes(), verbose=False)
    probability, label, mask, maps = oracle_outputs(module, "val", 6)
    per_class = [reference.average_precision(probability[:, c], label[:, c]) for c in (0, 2)]
    assert scores["val/mean_ap"] == pytest.approx(np.mean(per_class), rel=1e-5)
    ious = reference.seed_iou([reference.scale(attention, "max") for attention in maps], mask, label, 0.2)
    assert scores["val/seed_miou"] == pytest.approx(np.nanmean([ious[0], ious[1], ious[3]]), rel=1e-3)
    mine = [p for p, (_, c) in enumerate(reference.pairs(label)) if c in (0, 2)]
    assert 0 < len(mine) < len(maps)
    energies = [reference.energy(maps[p], mask[p]) for p in mine]
    assert scores["val/energy"] == pytest.approx(np.mean(energies), rel=1e-4)
    assert scores["val/pointing"] == pytest.approx(mean_pointing(maps, mask, label, (0, 2)), rel=1e-5)
    zero = [maps[p].max() <= 1e-8 for p in range(len(maps))]
    assert scores["val/zero_maps"] == pytest.approx(np.mean([zero[p] for p in mine]))
    assert 0 < np.mean([zero[p] for p in mine]) != np.mean(zero)
    shown = [p for p in mine if (mask[p] == 1).any()]
    images = {reference.pairs(label)[p][0] for p in shown}
    assert module.judged["val"] == {"pairs": len(shown), "images": len(images)}
    others = {n for n, _ in reference.pairs(label)}
    assert len(images) < len(others)  # some image shows car alone


# Masks that choose ----------------------------------------------------------------------------------------


def sweep(module, *pictures):
    """Seed mIoU at every threshold, by loops."""
    _, label, mask, maps = oracle_outputs(module, *pictures, seed=1)
    scaled = [reference.scale(attention, "max") for attention in maps]
    return {cut: np.nanmean(reference.seed_iou(scaled, mask, label, cut)) for cut in THRESHOLDS}


@pytest.mark.parametrize("ext_weight", [0.0, 1.0])
def test_the_threshold_is_chosen_on_held_out_masks(tmp_path, trained_shapes, ext_weight):
    """GAIN_ext holds half of its 4 masks out; a classifier chooses with all of them."""
    module = make_shapes_gain(ext_weight=ext_weight)
    module.load_state_dict(trained_shapes.state_dict())
    data = make_shapes(data_seed=1, mask_budget=4, select_on="masked")
    trainer = make_trainer(tmp_path, max_steps=0, max_epochs=1)
    trainer.fit(module, datamodule=data)
    assert len(data.select_set) == len(data.select_ids) == (2 if ext_weight else 4)
    assert len(data.train_set) == 8
    assert (data.masked_set is None) == (ext_weight == 0)
    if ext_weight:
        assert {*data.masked_set.ids} == {*data.masked_ids} - {*data.select_ids}
    trainer.validate(module, datamodule=data, verbose=False)
    found = {name: value.item() for name, value in trainer.callback_metrics.items()}
    chosen = sweep(module, "train", [int(name.removeprefix("train_")) for name in data.select_ids])
    best = max(chosen, key=chosen.get)
    assert found["select/seed_miou"] == pytest.approx(chosen[0.2], rel=1e-4)
    assert found["select/seed_miou_best"] == pytest.approx(chosen[best], rel=1e-4)
    assert found["select/seed_threshold_best"] == pytest.approx(best)
    assert found.keys() >= {"val/mean_ap", "val/seed_miou"}
    trainer.test(module, datamodule=data, verbose=False)
    tested = sweep(module, "test", 6)
    scores = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert scores["test/seed_threshold_selected"] == pytest.approx(best)
    assert scores["test/seed_miou_selected"] == pytest.approx(tested[best], rel=1e-4)
    assert scores["test/seed_miou_selected"] <= scores["test/seed_miou_best"]
    assert "center/seed_miou_selected" not in scores


def test_a_threshold_that_nothing_chose_scores_nothing():
    scores = MapScores(2, [0, 1])
    scores.update_maps(
        torch.ones(1, 1, 2, 2), torch.ones(1, 2, 2).long(), label_pairs(torch.tensor([[1, 0]]))
    )
    assert "seed_miou_selected" not in scores.compute().scores
    assert scores.compute(float("nan")).scores["seed_miou_selected"].isnan()


def test_a_checkpoint_keeps_the_threshold(trained_shapes):
    module, checkpoint = copy.deepcopy(trained_shapes), {}
    module.selected_threshold = 0.35
    module.on_save_checkpoint(checkpoint)
    module.selected_threshold = None
    module.on_load_checkpoint(checkpoint)
    assert module.selected_threshold == 0.35
    module.on_load_checkpoint({})
    assert module.selected_threshold is None
