import pytest

from gain_lightning.cli import main


def test_a_config_that_is_not_there_exits_with_the_nearest_name(tmp_path, capsys):
    (tmp_path / "gain_ext.yaml").write_text("")
    with pytest.raises(SystemExit) as exit_:
        main(["fit", f"--config={tmp_path / 'gainext.yaml'}"])
    assert exit_.value.code == 2
    assert (
        f"--config {tmp_path / 'gainext.yaml'}: no such file; did you mean 'gain_ext.yaml'?"
        in capsys.readouterr().err
    )
