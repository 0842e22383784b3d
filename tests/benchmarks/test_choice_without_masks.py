"""Scores that need no mask, and how their order of runs is compared with that of seed mIoU."""

import json

import numpy as np
import pytest
import reference
import torch
from benchmark_scripts import load
from fake_voc import make_voc
from scipy.stats import spearmanr

from gain_lightning.attention import label_pairs
from gain_lightning.datasets.readers.voc import CLASSES
from gain_lightning.methods.gain import GAIN

CHOICE = load("choice_without_masks")
SCORES = {
    *(
        "mean_ap",
        "loss_cl",
        "remaining",
        "drop",
        "sufficient",
        "mirror",
        "rescaled",
        "area",
        "above",
        "apart",
    ),
    *("crf", "centre", "deletion", "insertion"),
}


def save(folder, seed, am_weight):
    torch.manual_seed(seed)
    model = GAIN(list(CLASSES), 32, am_weight=am_weight, score_classes=["cat", "dog", "person"])
    (folder / "checkpoints").mkdir(parents=True)
    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams), "global_step": 1}
    torch.save(content, folder / "checkpoints" / "last.ckpt")
    return folder


def test_every_run_is_measured_once_and_ordered(tmp_path, monkeypatch, capsys):
    make_voc(tmp_path)
    runs = [str(save(tmp_path / f"{seed}", seed, seed % 2)) for seed in range(6)]
    words = ["choice", *runs[:-1], f"--root={tmp_path}", "--num_train=6", "--num_faithful=2", "--num_val=4"]
    monkeypatch.setattr("sys.argv", [*words, f"--json={tmp_path / 'c.json'}"])
    CHOICE.main()
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["runs"].keys() == set(runs[:-1])
    assert {found["runs"][run]["method"] for run in runs[:-1]} == {"gradcam", "gain"}
    assert found["spearman"].keys() == SCORES
    assert set(found["spearman"]["mirror"]) == {"all", "within", "gradcam", "gain"}
    # two runs of GAIN have no order to speak of
    assert found["spearman"]["mirror"]["gain"] == {"seed_miou": None, "seed_miou_best": None}
    assert "mirror" in capsys.readouterr().out
    before = found["runs"]
    monkeypatch.setattr("sys.argv", [words[0], *runs, *words[len(runs) :], f"--json={tmp_path / 'c.json'}"])
    CHOICE.main()
    assert capsys.readouterr().out.count("of CPU time") == 1
    after = json.loads((tmp_path / "c.json").read_text())["runs"]
    assert {run: after[run] for run in before} == before
    # a run again, by its checkpoint alone
    again = CHOICE.argparse.Namespace(
        root=str(tmp_path), split="train_aug", num_train=6, num_faithful=2, num_val=4
    )
    path = next((tmp_path / "5" / "checkpoints").iterdir())
    assert CHOICE.measure(path, again) == pytest.approx(after[runs[-1]])


def test_scores_by_hand(tmp_path):
    """Of two pictures by loops; both labels of the second are mapped."""
    torch.manual_seed(1)
    model = GAIN(["a", "b", "c"], 32).double().eval()
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    label = torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    model.backbone.normalize = lambda image: image.double() / 127.5 - 1
    found = CHOICE.scores_of_maps(model, picture, label, 1)
    image, pairs = picture.double() / 127.5 - 1, reference.pairs(label.numpy())

    def maps(image):
        _, raw, _ = model.attend(image, label)
        return [reference.scale(reference.place(one[0].numpy(), 32, 32, 0, 0, 8, 8), "max") for one in raw]

    own, mirrored = maps(image), [one[:, ::-1] for one in maps(image.flip(3))]
    for row, (n, c) in enumerate(pairs):
        mask = reference.soft_mask(own[row], 0.5, 10)
        erased = torch.from_numpy(reference.erase(image[n].numpy(), mask))[None]
        kept = torch.from_numpy(reference.erase(image[n].numpy(), 1 - mask))[None]
        with torch.no_grad():
            scores = [reference.sigmoid(float(model(seen)[0, c])) for seen in (image[n][None], erased, kept)]
        assert found["remaining"][row] == pytest.approx(scores[1], rel=1e-4)
        assert found["drop"][row] == pytest.approx(scores[0] - scores[1], abs=1e-5)
        assert found["sufficient"][row] == pytest.approx(scores[2], rel=1e-4)
        both = np.stack([own[row], mirrored[row]])
        assert found["mirror"][row] == pytest.approx(both.min(0).sum() / both.max(0).sum(), rel=1e-4)
        assert found["area"][row] == pytest.approx(own[row].mean(), rel=1e-4)
        assert found["above"][row] == pytest.approx((own[row] > 0.2).mean(), rel=1e-4)
    two = np.stack(own[1:])
    assert found["apart"].tolist() == pytest.approx([1 - two.min(0).sum() / two.max(0).sum()], rel=1e-4)
    assert len(found["deletion"]) == len(found["insertion"]) == 1
    assert len(found["crf"]) == 2


def test_maps_that_agree_with_themselves():
    maps = torch.rand(3, 1, 4, 4)
    assert CHOICE.agreement(maps, maps).tolist() == pytest.approx([1, 1, 1])
    assert CHOICE.agreement(maps[:1], torch.zeros(1, 1, 4, 4)).tolist() == [0]
    assert CHOICE.apart(maps, label_pairs(torch.eye(3))).tolist() == []


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(0)
    score, truth = rng.integers(0, 5, 12).astype(float), rng.random(12)
    expected = spearmanr(score, truth).statistic
    assert CHOICE.rho(score.tolist(), truth.tolist()) == pytest.approx(expected, abs=1e-3)
    # a run without the score, or without masks, is left out
    assert CHOICE.rho([*score, None, 1.0], [*truth, 0.5, np.nan]) == pytest.approx(expected, abs=1e-3)
    assert CHOICE.rho([1.0, 1.0, 1.0], [0.1, 0.2, 0.3]) is None
