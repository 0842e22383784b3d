import yaml

from gain_lightning.cli import main
from gain_lightning.studies.sweeps import on_wandb


def test_wandb_gets_the_file_unchanged_and_agents_run(sweep_file, monkeypatch, tmp_path):
    import wandb

    path = sweep_file({"x": {"values": [1, 2]}}, project="gain", entity="us")
    created, started = [], []
    monkeypatch.setattr(on_wandb, "log_in", lambda: None)
    monkeypatch.setattr(
        wandb, "sweep", lambda tree, entity, project: created.append((tree, entity, project)) or "abc"
    )

    class Agent:
        def __init__(self, command):
            started.append(command)

        def wait(self):
            return 0

    monkeypatch.setattr(on_wandb.subprocess, "Popen", Agent)
    assert main(["sweep", str(path), "--engine", "wandb", "--workers", "2"]) == 0
    assert created == [(yaml.safe_load(path.read_text()), "us", "gain")]
    assert [command[-4:] for command in started] == [["-m", "wandb", "agent", "us/gain/abc"]] * 2


def test_wandb_waits_for_all_agents_and_fails_if_one_does(sweep_file, monkeypatch):
    import wandb

    statuses, waited = iter([0, 3, 0]), []
    monkeypatch.setattr(on_wandb, "log_in", lambda: None)
    monkeypatch.setattr(wandb, "sweep", lambda tree, entity, project: "abc")

    class Agent:
        def __init__(self, command):
            self.status = next(statuses)

        def wait(self):
            waited.append(self.status)
            return self.status

    monkeypatch.setattr(on_wandb.subprocess, "Popen", Agent)
    path = sweep_file({"x": {"values": [1, 2]}})
    assert main(["sweep", str(path), "--engine", "wandb", "--workers", "3"]) == 1
    assert waited == [0, 3, 0]


def test_wandb_without_a_key_is_an_error_and_no_prompt(sweep_file, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert main(["sweep", str(sweep_file({"x": {"values": [1]}})), "--engine", "wandb"]) == 1
    assert "needs the server, and it has no key (wandb login, or WANDB_API_KEY)" in capsys.readouterr().err
