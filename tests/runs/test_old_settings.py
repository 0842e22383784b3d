import pytest

from gain_lightning.runs.old_settings import today, today_of_checkpoint


@pytest.mark.parametrize(
    ("old", "trainer", "new"),
    [
        ({"warmup_epochs": 10, "ramp_epochs": 0.0}, {"max_epochs": 14}, {"warmup": 0.714286, "ramp": 0.0}),
        ({"warmup_epochs": 5}, {"max_epochs": 5}, {"warmup": 1.0}),
        ({"warmup_epochs": 9}, {"max_epochs": 5}, {"warmup": 1.0}),
        ({"ramp_epochs": 100}, None, {"ramp": 0.1}),
        ({"ramp_epochs": 100}, {"max_epochs": None, "max_steps": -1}, {"ramp": 0.1}),
        ({"warmup_epochs": 0}, {"max_steps": 100}, {"warmup": 0.0}),
        # No share is known of these, and the parser refuses them.
        ({"warmup_epochs": 2}, {"max_steps": 100}, {"warmup_epochs": 2}),
        ({"warmup_epochs": 2}, {"max_epochs": -1}, {"warmup_epochs": 2}),
        ({"warmup_epochs": "two"}, {"max_epochs": 4}, {"warmup_epochs": "two"}),
        ({"warmup_epochs": 2, "warmup": 0.1}, {"max_epochs": 4}, {"warmup_epochs": 2, "warmup": 0.1}),
    ],
)
def test_epochs_are_told_in_shares(old, trainer, new):
    config = {"model": {"sigma": 0.4, **old}, "seed_everything": 3}
    config |= {} if trainer is None else {"trainer": trainer}
    found, notes = today(config)
    assert found == {**config, "model": {"sigma": 0.4, **new}}
    assert config["model"] == {"sigma": 0.4, **old}
    assert len(notes) == sum(key not in new for key in old)


def test_todays_settings_stay():
    config = {"model": {"warmup": 0.5}, "trainer": {"max_epochs": 3}}
    assert today(config) == (config, [])
    assert today({"trainer": None}) == ({"trainer": None}, [])


def test_checkpoints_lose_their_epochs():
    assert today_of_checkpoint({"warmup_epochs": 3, "ramp_epochs": 1.0, "sigma": 0.4}) == {"sigma": 0.4}


def test_data_of_a_run_are_drawn_as_they_were():
    """Every run's config names all settings that there were; one of a person may leave most out."""
    images = {"class_path": "FolderDataModule", "init_args": {"root": "pets", "val_fraction": 0.2}}
    was = {**images, "init_args": {**images["init_args"], "val_draw": "random"}}
    assert today({"data": images, "ckpt_path": None}) == ({"data": was, "ckpt_path": None}, [])
    path = {**images, "class_path": "gain_lightning.datasets.folder.FolderDataModule"}
    assert today({"data": path, "ckpt_path": None})[0]["data"]["init_args"] == was["init_args"]
    cues = {"class_path": "CueDataModule", "init_args": {"images": images, "cues": "seeds"}}
    assert today({"data": cues, "ckpt_path": None})[0]["data"]["init_args"] == {
        "images": was,
        "cues": "seeds",
    }
    for stays in (
        {"data": images},
        {"data": {**images, "init_args": {"root": "pets"}}, "ckpt_path": None},
        {
            "data": {**images, "init_args": {**images["init_args"], "val_draw": "stratified"}},
            "ckpt_path": None,
        },
        {"data": {"class_path": "VOC12DataModule", "init_args": {"root": "VOCdevkit"}}, "ckpt_path": None},
        {"data": None, "ckpt_path": None},
        {"ckpt_path": None},
    ):
        assert today(stays) == (stays, [])
