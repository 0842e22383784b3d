import torch
from predicting import predict


def test_checkpoint_with_code_is_refused(pictures, tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    torch.save({"state_dict": {}, "hyper_parameters": Evil()}, tmp_path / "evil.ckpt")
    assert predict(pictures, tmp_path / "evil.ckpt", tmp_path / "out") == 1
    assert "not a checkpoint of gain fit" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
