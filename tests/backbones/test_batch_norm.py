from torch import nn

from gain_lightning.backbones.batch_norm import frozen_batch_norm


def test_frozen_batch_norm_touches_no_other_layer():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5), nn.BatchNorm1d(2).eval(), nn.SyncBatchNorm(2))
    with frozen_batch_norm(model):
        assert [layer.training for layer in model] == [False, True, False, False]
    assert [layer.training for layer in model] == [True, True, False, True]
