import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from sweeping import every_trial_once, log_of, rows_of, start, trial_processes, wait_for_log

from gain_lightning.cli import main
from gain_lightning.constants import REQUEUE
from gain_lightning.studies.sweeps import workers


def test_worker_needs_a_sweep(tmp_path, capsys):
    assert main(["sweep", "worker", str(tmp_path)]) == 1
    assert "holds no journal.log" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["sweep", "worker", "sqlite:///x.db"])
    assert "gain sweep worker: error: --name is missing" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("victim", ["driver", "worker", "trial"])
def test_a_kill_loses_no_trial_and_runs_none_twice(sweep_file, tmp_path, victim):
    path = sweep_file({"x": {"values": list(range(10))}, "sleep": {"value": 0.3}})
    out = tmp_path / "out"
    driver = start(path, out, "--workers", "2")
    wait_for_log(out, 2)
    worker = start(path, out, "worker") if victim == "worker" else None
    time.sleep(random.uniform(0, 1.5))
    if victim == "trial":
        for process in trial_processes(out)[:1]:
            os.kill(process, signal.SIGKILL)
    else:
        (driver if victim == "driver" else worker).kill()
    if victim == "driver":
        driver.wait()
        assert main(["sweep", str(path), "--out", str(out), "--workers", "2"]) == 0
    else:
        assert driver.wait(timeout=60) == 0
    if worker:
        worker.wait()
    every_trial_once(out, 10)


def test_processes_that_start_together_plan_every_trial_once(sweep_file, tmp_path):
    path = sweep_file({"x": {"values": list(range(40))}})
    out = tmp_path / "out"
    drivers = [start(path, out) for _ in range(3)]
    assert [driver.wait(timeout=120) for driver in drivers] == [0, 0, 0]
    ended = sorted(line.split()[2] for line in log_of(out) if line.startswith("end"))
    assert ended == sorted(str(x) for x in range(40))
    assert len(rows_of(out)) == 40


def test_a_worker_joins(sweep_file, tmp_path):
    path = sweep_file({"x": {"values": list(range(6))}, "sleep": {"value": 0.5}})
    out = tmp_path / "out"
    driver = start(path, out)
    wait_for_log(out, 1)
    assert main(["sweep", "worker", str(out)]) == 0
    assert driver.wait(timeout=60) == 0
    every_trial_once(out, 6)


def test_a_table_that_fails_leaves_no_trial_alone(sweep_file, tmp_path, monkeypatch):
    path = sweep_file({"x": {"values": [1]}, "sleep": {"value": 30}})
    before = set(threading.enumerate())  # other tests of this process may have left some

    def fails(*_):
        wait_for_log(tmp_path / "out", 1)
        raise ConnectionError("the server is away")

    monkeypatch.setattr(workers, "_print_finished", fails)
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 1
    assert not trial_processes(tmp_path / "out")
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize("whole_group", [True, False])
@pytest.mark.parametrize(("told", "status"), [(signal.SIGTERM, REQUEUE), (signal.SIGINT, 130)])
def test_a_sweep_that_is_told_to_stop_tells_its_trials_and_goes_on(
    sweep_file, tmp_path, whole_group, told, status
):
    path, out = sweep_file({"x": {"values": [1, 2]}, "sleep": {"value": 5}}), tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "gain_lightning",
        "sweep",
        str(path),
        "--out",
        str(out),
        "--workers",
        "2",
    ]
    driver = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    wait_for_log(out, 2)
    (os.killpg if whole_group else os.kill)(driver.pid, told)
    assert driver.wait(timeout=20) == status
    assert driver.stderr.read() == b"stopped; the same command goes on where it was\n"
    assert not trial_processes(out)
    assert [line.split()[0] for line in log_of(out)] == ["begin", "begin"]
    assert main(["sweep", str(path), "--out", str(out), "--workers", "2"]) == 0
    assert [line.split()[0] for line in log_of(out)] == ["begin"] * 4 + ["end"] * 2


@pytest.fixture
def postgres(tmp_path_factory):
    """URL of a PostgreSQL of our own, with a password; needs Debian's package postgresql or another's."""
    pytest.importorskip("psycopg2")
    found = [shutil.which("initdb"), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")))]
    programs = [Path(path).parent for path in found if path]
    if not programs:
        pytest.skip("no PostgreSQL here")
    bin_folder = programs[-1]
    # it refuses to run as root, and sockets want short paths
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    user = {"user": "postgres"} if os.geteuid() == 0 else {}
    if user:
        try:
            shutil.chown(folder, "postgres")
        except LookupError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    (folder / "password").write_text("s3cret")
    data = folder / "data"
    command = [
        bin_folder / "initdb",
        "-D",
        data,
        "-U",
        "gain",
        "-A",
        "password",
        "--pwfile",
        folder / "password",
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, **user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [bin_folder / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        **user,
    )
    try:
        deadline = time.monotonic() + 60
        ready = [bin_folder / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(ready, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield f"postgresql+psycopg2://gain:s3cret@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown: open connections do not hold it up
        server.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def test_machines_share_a_sweep_through_postgresql(sweep_file, tmp_path, postgres, capfd):
    path, out = sweep_file({"x": {"values": list(range(8))}, "sleep": {"value": 0.3}}), tmp_path / "one"
    driver = start(path, out, "--storage", postgres)
    wait_for_log(out, 1)
    assert main(["sweep", "worker", postgres, "--name", "one", "--out", str(tmp_path / "two")]) == 0
    assert driver.wait(timeout=60) == 0
    logs = [log_of(out), log_of(tmp_path / "two")]
    ended = sorted(line.split()[1] for log in logs for line in log if line.startswith("end"))
    assert ended == [f"{number:04d}" for number in range(8)]
    assert all(len(log) >= 2 for log in logs)
    assert [row["state"] for row in rows_of(tmp_path / "two")] == ["done"] * 8
    printed = "".join(capfd.readouterr())
    written = [file for folder in ("one", "two") for file in (tmp_path / folder).rglob("*") if file.is_file()]
    assert "s3cret" not in printed
    assert not any("s3cret" in file.read_text(errors="replace") for file in written)
