"""Against a made-up W&B server in this process."""

import base64
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gain_lightning.support import wandb_session
from gain_lightning.support.wandb_session import NO_KEY, is_reachable, log_in, prepare_wandb

KEY = "0123456789" * 4
NOWHERE = "http://127.0.0.1:9"


class _Server(BaseHTTPRequestHandler):
    """Knows one key, that of the test's server."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        is_known = self.server.key in _decoded(self.headers["Authorization"])
        content = {"data": {"viewer": {"username": "us", "entity": "us", "flags": "{}"}}}
        if not is_known:
            content = {"errors": [{"message": "user is not logged in", "path": ["viewer"]}]}
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *args):
        pass


def _decoded(header: str) -> str:
    return base64.b64decode(header.partition(" ")[2]).decode()


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    server.key = KEY
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """No key, and settings and files of W&B in a folder of the test's own."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DATA_DIR", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    yield monkeypatch
    os.environ.pop("WANDB_MODE", None)
    os.environ.pop("WANDB_DATA_DIR", None)


def test_a_known_key_logs_in(server, environment):
    environment.setenv("WANDB_BASE_URL", server)
    environment.setenv("WANDB_API_KEY", KEY)
    assert log_in() is None


def test_a_key_of_an_earlier_login_counts_with_its_port(server, environment, tmp_path):
    environment.setenv("WANDB_BASE_URL", server)
    (tmp_path / "netrc").write_text(
        f"machine {server.removeprefix('http://')}\n login user\n password {KEY}\n"
    )
    (tmp_path / "netrc").chmod(0o600)
    assert log_in() is None


@pytest.mark.parametrize("key", [KEY[::-1], "short"])
def test_a_wrong_key_is_an_error_that_does_not_show_it(server, environment, tmp_path, key):
    environment.setenv("WANDB_BASE_URL", server)
    environment.setenv("WANDB_API_KEY", key)
    with pytest.raises(ValueError, match="W&B refuses the key") as error:
        prepare_wandb(tmp_path / "run")
    assert key not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_without_a_key_it_is_offline_in_silence(server, environment, tmp_path, capfd):
    environment.setenv("WANDB_BASE_URL", server)
    assert log_in() == NO_KEY
    prepare_wandb(tmp_path / "run")
    assert os.environ["WANDB_MODE"] == "offline"
    assert capfd.readouterr() == ("", "")


def test_without_a_network_it_is_offline_and_says_so(environment, tmp_path, capfd):
    environment.setenv("WANDB_BASE_URL", NOWHERE)
    environment.setenv("WANDB_API_KEY", KEY)
    prepare_wandb(tmp_path / "run")
    assert os.environ["WANDB_MODE"] == "offline"
    assert f"127.0.0.1 does not answer; logging offline into {tmp_path / 'run'}" in capfd.readouterr().err


def test_what_the_user_set_is_left_alone(environment, tmp_path):
    environment.setenv("WANDB_MODE", "disabled")
    environment.setenv("WANDB_BASE_URL", NOWHERE)
    prepare_wandb(tmp_path / "run")
    assert os.environ["WANDB_MODE"] == "disabled"


def test_a_trial_of_an_agent_keeps_the_agents_session(environment, tmp_path):
    environment.setenv("WANDB_SWEEP_ID", "abc")
    environment.setattr(wandb_session, "log_in", lambda: pytest.fail("logs in"))
    prepare_wandb(tmp_path / "run")
    assert "WANDB_MODE" not in os.environ


def test_a_server_behind_a_proxy_is_reachable(server, environment):
    assert not is_reachable("http://wandb.invalid")
    environment.setenv("http_proxy", server)
    assert is_reachable("http://wandb.invalid")
