import subprocess

from gain_lightning.runs import provenance


def test_commit_is_that_of_our_checkout_not_of_a_project_around_it(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "theirs.py").write_text("")
    subprocess.run(["git", "-C", tmp_path, "add", "theirs.py"], check=True)
    subprocess.run(["git", "-C", tmp_path, *identity, "commit", "-qm", "theirs"], check=True)
    (tmp_path / "provenance.py").write_text("")  # an installed copy, which their repository does not track
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.git_commit() is None
    subprocess.run(["git", "-C", tmp_path, "add", "provenance.py"], check=True)
    assert provenance.git_commit().endswith("+")
