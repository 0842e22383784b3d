import pytest
import pytorch_lightning as pl
import torch
from fake_batch import masks_of
from small_gain import SIDE, batch_norms, make_gain, make_trainer, state_of

from gain_lightning.constants import VOID
from gain_lightning.datasets.shapes import ShapesDataModule
from gain_lightning.methods.gain import GAIN

# BatchNorm and modes --------------------------------------------------------------------------------------


def test_freeze_batch_norm_keeps_the_statistics_through_training_mode(batches):
    module = make_gain(am_weight=1, ext_weight=1, freeze_batch_norm=True)
    assert module.eval().train() is module
    assert [layer for layer in module.backbone.modules() if not layer.training] == batch_norms(module)
    assert batch_norms(module)
    buffers = [buffer.clone() for buffer in module.backbone.buffers()]
    module.losses(*batches, 1.0)["loss"].backward()
    assert all(torch.equal(*tensors) for tensors in zip(buffers, module.backbone.buffers(), strict=True))
    assert not any(layer.training for layer in module.eval().modules())


# Schedule and optimizer -----------------------------------------------------------------------------------


def parameter_groups(module):
    configured = module.configure_optimizers()
    return (configured["optimizer"] if isinstance(configured, dict) else configured).param_groups


@pytest.mark.parametrize("backbone", ["tiny_cnn", "lite0"])
def test_new_layer_has_its_own_learning_rate(backbone):
    if backbone == "lite0":
        pytest.importorskip("timm")
    module = make_gain(
        backbone=backbone, new_layer_lr_scale=10, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1)
    )
    old, new = parameter_groups(module)
    assert (old["lr"], new["lr"]) == (0.1, 1.0)
    assert {id(parameter) for parameter in new["params"]} == {
        id(p) for p in module.backbone.classifier.parameters()
    }
    every = [id(parameter) for parameter in [*old["params"], *new["params"]]]
    assert len(every) == len(set(every))
    assert set(every) == {id(parameter) for parameter in module.parameters()}


def test_scheduler_keeps_the_ratio_of_the_learning_rates():
    module = make_gain(
        new_layer_lr_scale=10,
        lr_interval="step",
        optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1),
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5),
    )
    configured = module.configure_optimizers()
    assert configured["lr_scheduler"]["interval"] == "step"
    configured["optimizer"].step()
    configured["lr_scheduler"]["scheduler"].step()
    assert [group["lr"] for group in configured["optimizer"].param_groups] == [0.05, 0.5]


def test_optimizer_is_adamw_at_one_rate_by_default():
    configured = make_gain().configure_optimizers()
    assert type(configured) is torch.optim.AdamW
    assert len({group["lr"] for group in configured.param_groups}) == 1


# With a Trainer -------------------------------------------------------------------------------------------


class Prepared(pl.LightningDataModule):
    """Batches as they are given."""

    def __init__(self, batches):
        super().__init__()
        self.batches, self.masked_set = batches, batches

    def train_dataloader(self):
        return torch.utils.data.DataLoader(self.batches, batch_size=None)


@pytest.mark.parametrize("name", ["l2", "energy"])
@pytest.mark.parametrize("resolution", ["image", "map"])
def test_batches_that_are_accumulated_take_the_step_of_all_their_images(
    tmp_path, generator, name, resolution
):
    """Also where they have 2 and 1 supervised images, with 3 and 1 supervised pairs: every image weighs the same."""
    label = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1]]).float()
    index = (
        torch.tensor([0, 0, 1, 2, VOID], dtype=torch.uint8)[torch.randint(5, (4, 8, 8), generator=generator)]
        .repeat_interleave(4, 1)
        .repeat_interleave(4, 2)
    )
    index[1][index[1] == 1], index[2][index[2] == 2], index[3] = 0, 0, VOID
    masks = masks_of(index, label)
    image = torch.randint(0, 256, (2, 4, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)

    def batch(rows):
        mine = torch.isin(masks["mask_image"], torch.tensor(rows))
        own = {key: value[mine] for key, value in masks.items()}
        own["mask_image"] = own["mask_image"] - rows[0]
        ids = [str(row) for row in rows]
        weak = {"image": image[0, rows], "label": label[rows], "id": ids}
        return {"weak": weak, "masked": {"image": image[1, rows], "label": label[rows], **own, "id": ids}}

    assert [len(batch(rows)["masked"]["mask"]) for rows in ([0, 1], [2, 3])] == [3, 1]
    weights = []
    for batches in ([batch([0, 1, 2, 3])], [batch([0, 1]), batch([2, 3])]):
        module = make_gain(
            am_weight=0.7, ext_weight=5.0, freeze_batch_norm=True, ext_loss=name, ext_resolution=resolution,
            optimizer=lambda groups: torch.optim.SGD(groups, lr=0.5),
        ).double()  # fmt: skip
        start = state_of(module.backbone)
        trainer = make_trainer(
            tmp_path, max_steps=1, accumulate_grad_batches=len(batches), precision="64-true"
        )
        trainer.fit(module, datamodule=Prepared(batches))
        assert trainer.global_step == 1
        weights.append(state_of(module.backbone))
        moved = [key for key in start if not torch.equal(start[key], weights[-1][key])]
        assert moved == [key for key, _ in module.backbone.named_parameters()]
    for key, whole in weights[0].items():
        torch.testing.assert_close(weights[1][key], whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("epochs", [1, 2])
def test_an_epochs_last_step_of_fewer_batches_is_their_mean_too(tmp_path, batches, epochs):
    """Five batches, two a step: the fifth moves the weights as it does alone."""
    weak, masked = batches
    image = (weak["image"] * 50 + 128).clamp(0, 255).to(torch.uint8)
    stream = {**weak, "image": image}
    rows = [[0, 1], [2, 0], [1, 2], [0, 2], [2, 1]]
    empty = {key: masked[key][:0] for key in ("mask", "mask_image", "mask_class")}

    def batch(rows):
        own = {key: stream[key][rows] for key in ("image", "label")}
        return {"weak": {**own, **empty, "id": [str(row) for row in rows]}}

    whole = [batch(rows[0] + rows[1]), batch(rows[2] + rows[3]), batch(rows[4])]
    weights = []
    for prepared, every in ((whole, 1), ([batch(part) for part in rows], 2)):
        module = make_gain(
            am_weight=0.7, freeze_batch_norm=True, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.5)
        ).double()
        trainer = make_trainer(
            tmp_path, max_epochs=epochs, accumulate_grad_batches=every, precision="64-true"
        )
        trainer.fit(module, datamodule=Prepared(prepared))
        assert trainer.global_step == 3 * epochs
        weights.append(state_of(module.backbone))
    for key, expected in weights[0].items():
        torch.testing.assert_close(weights[1][key], expected, rtol=1e-9, atol=1e-12)


def test_freeze_batch_norm_holds_in_a_fit(tmp_path):
    """Lightning does not call ``train()`` before a fit, so the module must be built in the right mode."""
    data = ShapesDataModule(num_train=8, num_val=2, num_test=2, num_biased=2, batch_size=4)
    model = GAIN(list(data.class_names), data.image_size, freeze_batch_norm=True)
    before = {key: value.clone() for key, value in model.named_buffers() if "running" in key}
    assert before
    trainer = make_trainer(tmp_path, max_epochs=2)
    trainer.fit(model, datamodule=data)
    assert all(torch.equal(before[key], value) for key, value in model.named_buffers() if key in before)
