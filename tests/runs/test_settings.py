"""``config.yaml`` of a run is read back, and what may differ from it where the run goes on or is tested."""

import pytest
import torch
import yaml
from finished_run import again, assert_refused
from resuming import STEPS

from gain_lightning.runs.settings import read_settings, write_settings


def test_what_is_written_is_read_back(tmp_path):
    write_settings(tmp_path / "run", "seed_everything: 3\nmodel:\n  sigma: 0.4\n")
    assert read_settings(tmp_path / "run") == {"seed_everything": 3, "model": {"sigma": 0.4}}
    with pytest.raises(FileNotFoundError, match=r"has no config\.yaml, expected the folder of a run"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["--model.optimizer.lr=0.00001"], "model.optimizer.lr is 1e-05, but"),
        (["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=0.1"], "torch.optim.SGD"),
        (["--seed_everything=7"], "seed_everything is 7, but"),
        (["--data.num_train=48"], "data.num_train is 48, but"),
        (["--data.batch_size=8"], "data.batch_size is 8, but"),
        (["--model.am_weight=3"], "was trained with 0.5"),
        (["--seed_everything=false"], "seed_everything is False, but"),
        (["--data.mask_budget={boat: 3}"], "data.mask_budget is {'boat': 3}, but"),
        (
            ["--model.lr_scheduler=torch.optim.lr_scheduler.StepLR", "--model.lr_scheduler.step_size=1"],
            "model.lr_scheduler",
        ),
    ],
)
def test_a_training_goes_on_as_it_began(run, words, key, capsys):
    assert_refused(run, ["--ckpt_path=last", "--trainer.max_epochs=4", *words], key, capsys)


def test_a_training_may_go_on_longer_and_with_other_loaders(run):
    assert again(run, "--ckpt_path=last", "--trainer.max_epochs=4", "--data.num_workers=1") == 0
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4 * STEPS


@pytest.mark.parametrize("words", [["--data.num_test=3"], ["--data.bias=0.1"], ["--model.scaling=minmax"]])
def test_scores_of_other_settings_do_not_replace_a_run_s(run, words, capsys):
    assert_refused(
        run, ["--ckpt_path=last", *words], "expected the same, or another --run_dir", capsys, "test"
    )


def test_a_budget_of_one_mask_is_not_one_of_all(tmp_path):
    from gain_lightning.runs.settings import refuse_other_settings

    def config(budget):
        return {"data": {"class_path": "FolderDataModule", "init_args": {"mask_budget": budget}}, "model": {}}

    for before, now in [(1, 1.0), ({"boat": 1}, {"boat": 1.0})]:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(before)))
        refuse_other_settings(tmp_path, config(before), "fit")
        with pytest.raises(ValueError, match="mask_budget is"):
            refuse_other_settings(tmp_path, config(now), "fit")
