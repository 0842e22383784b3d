import itertools
import math

import numpy as np
import pytest
import pytorch_lightning as pl
import reference
import torch

from gain_lightning.datasets.sample import Draw
from gain_lightning.datasets.shapes import ShapesDataModule
from gain_lightning.datasets.shapes.boat import draw_picture
from gain_lightning.datasets.streams import StreamLoader, StreamSampler, draws_per_epoch, run_seed


def draws(sampler, num_epochs):
    """Of the first epochs, one list each."""
    out = []
    for epoch in range(num_epochs):
        sampler.set_epoch(epoch)
        out.append(list(sampler))
    return out


def make_shapes(**settings):
    sizes = {"num_train": 10, "num_val": 3, "num_test": 3, "num_biased": 2}
    data = ShapesDataModule(**{**sizes, "batch_size": 4, "masked_batch_size": 2, **settings})
    data.setup("fit")
    return data


# StreamSampler --------------------------------------------------------------------------------------------


def test_sampler_gives_one_permutation_a_pass():
    epochs = draws(StreamSampler(10, per_epoch=10, seed=0), 4)
    for visit, epoch in enumerate(epochs):
        assert sorted(draw.row for draw in epoch) == list(range(10))
        assert {draw.visit for draw in epoch} == {visit}
    orders = [[draw.row for draw in epoch] for epoch in epochs]
    assert all(first != second for first, second in itertools.combinations(orders, 2))


@pytest.mark.parametrize("per_epoch", [1, 7, 10, 25])
def test_sampler_goes_on_where_the_epoch_before_ended(per_epoch):
    """However it is cut into epochs, the stream is the same: one permutation after another."""
    whole = list(StreamSampler(10, per_epoch=100, seed=0))
    epochs = draws(StreamSampler(10, per_epoch=per_epoch, seed=0), 100 // per_epoch)
    assert all(len(epoch) == per_epoch for epoch in epochs)
    assert list(itertools.chain(*epochs)) == whole[: per_epoch * len(epochs)]
    for visit in range(10):
        part = whole[10 * visit : 10 * visit + 10]
        assert sorted(part) == [Draw(index, visit) for index in range(10)]


def test_sampler_of_a_small_set_repeats_it_within_an_epoch():
    """As the masked stream does beside the weak one."""
    (epoch,) = draws(StreamSampler(3, per_epoch=20, seed=0), 1)
    assert len(epoch) == len(set(epoch)) == 20
    for visit in range(6):
        assert sorted(draw.row for draw in epoch if draw.visit == visit) == [0, 1, 2]


@pytest.mark.parametrize(("size", "num_ranks"), [(12, 1), (12, 3), (12, 4), (10, 4), (3, 4), (1, 2)])
def test_sampler_shares_a_pass_out_among_ranks(size, num_ranks):
    """Together the ranks see the whole set; they share no image, but for the padding to equal lengths."""
    samplers = [
        StreamSampler(size, per_epoch=size, seed=0, rank=rank, num_ranks=num_ranks)
        for rank in range(num_ranks)
    ]
    length = -(-size // num_ranks)
    for epochs in zip(*(draws(sampler, 3) for sampler in samplers), strict=True):
        assert [len(epoch) for epoch in epochs] == [length] * num_ranks
        together = [draw.row for draw in itertools.chain(*epochs)]
        assert set(together) == set(range(size))
        assert len(together) - len(set(together)) == length * num_ranks - size
    assert [len(sampler) for sampler in samplers] == [length] * num_ranks


def test_ranks_together_see_the_stream_of_one_process():
    whole = list(StreamSampler(12, per_epoch=24, seed=0))
    ranks = [list(StreamSampler(12, per_epoch=24, seed=0, rank=rank, num_ranks=3)) for rank in range(3)]
    assert [draw for step in zip(*ranks, strict=True) for draw in step] == whole


def test_sampler_depends_on_its_seed_alone():
    torch.manual_seed(0)
    first = list(StreamSampler(50, per_epoch=50, seed=1))
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    sampler = StreamSampler(50, per_epoch=50, seed=1)
    assert list(sampler) == list(sampler) == first


def test_sampler_of_another_seed_gives_another_order():
    """Runs of several seeds see the images in several orders; 2**32 - 1 is Lightning's largest."""
    orders = {tuple(StreamSampler(50, per_epoch=50, seed=seed)) for seed in (0, 1, 2, 2**32 - 1)}
    assert len(orders) == 4


def test_sampler_leaves_the_global_random_state_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    list(StreamSampler(10, per_epoch=30, seed=1))
    assert torch.equal(torch.get_rng_state(), state)


LISTS = [np.arange(7), np.array([7, 8]), np.array([9, 3, 0])]


def test_sampler_s_first_list_is_drawn_as_ever():
    """A training that began before there were lists goes on with the same draws."""
    order = np.random.default_rng((5, 2)).permutation(10).tolist()
    epochs = draws(StreamSampler(10, per_epoch=10, seed=5), 3)
    assert [draw.row for draw in epochs[2]] == order


@pytest.mark.parametrize(("per_epoch", "num_ranks"), [(10, 1), (7, 1), (11, 2), (12, 3), (30, 5)])
def test_sampler_draws_every_list_equally_often(per_epoch, num_ranks):
    """In every turn each list once; within a list, one pass after another. An epoch is as long as without lists."""
    samplers = [
        StreamSampler(10, per_epoch=per_epoch, seed=0, rank=rank, num_ranks=num_ranks, lists=LISTS[:2])
        for rank in range(num_ranks)
    ]
    epochs = [draws(sampler, 28) for sampler in samplers]
    assert {len(epoch) for of_rank in epochs for epoch in of_rank} == {-(-per_epoch // num_ranks)}
    of_ranks = [itertools.chain(*of_rank) for of_rank in epochs]
    stream = [draw for step in zip(*of_ranks, strict=True) for draw in step]
    turns = [[draw.row >= 7 for draw in stream[place : place + 2]] for place in range(0, len(stream) - 1, 2)]
    assert {tuple(turn) for turn in turns} == {(False, True), (True, False)}
    assert [draw.visit for draw in stream] == list(range(len(stream)))
    for rows in LISTS[:2]:
        drawn = [draw.row for draw in stream if draw.row in rows]
        counts = np.bincount(drawn, minlength=10)[rows]
        # a pass is padded to a multiple of the ranks
        assert counts.max() - counts.min() <= 1 + len(drawn) // len(rows) * (num_ranks > 1)
        if num_ranks == 1:
            passes = [drawn[start : start + len(rows)] for start in range(0, len(drawn), len(rows))]
            assert all(sorted(one) == rows.tolist() for one in passes if len(one) == len(rows))
            assert len(rows) == 2 or len({tuple(one) for one in passes}) > 1


def test_draws_of_an_image_that_stands_in_several_lists_are_told_apart():
    (epoch,) = draws(StreamSampler(10, per_epoch=300, seed=0, lists=[*LISTS, np.array([3, 3, 3])]), 1)
    assert len(set(epoch)) == 300
    # 3 is in three lists of four: a 7th of the first, a third of the third, and all of the last
    assert sum(draw.row == 3 for draw in epoch) == pytest.approx(75 * (1 / 7 + 1 / 3 + 1), abs=2)


def test_a_stream_of_lists_goes_on_in_the_middle_of_an_epoch():
    whole = draws(StreamSampler(10, per_epoch=25, seed=3, lists=LISTS), 3)
    sampler = StreamSampler(10, per_epoch=25, seed=3, lists=LISTS)
    sampler.set_epoch(2)
    sampler.start = 9
    assert list(sampler) == whole[2][9:]
    assert len(list(sampler)) == 25


# Data module ----------------------------------------------------------------------------------------------


def test_loader_gives_both_streams_with_their_lengths():
    data = make_shapes(mask_budget=3)
    loader = data.train_dataloader()
    batches = [batch for batch, _, _ in loader]
    assert len(batches) == len(loader) == 3
    assert [list(batch) for batch in batches] == [["weak", "masked"]] * 3
    assert [len(batch["weak"]["id"]) for batch in batches] == [4, 4, 2]
    assert [len(batch["masked"]["id"]) for batch in batches] == [2, 2, 2]
    weak = [image_id for batch in batches for image_id in batch["weak"]["id"]]
    masked = [image_id for batch in batches for image_id in batch["masked"]["id"]]
    assert sorted(weak) == [f"train_{index:05d}" for index in range(10)]
    assert sorted(masked) == sorted(2 * data.masked_ids)


def test_small_sets_go_through_their_images_several_times_an_epoch():
    """The stream is that of one pass an epoch, cut elsewhere."""
    data = make_shapes(mask_budget=3, min_steps_per_epoch=7)
    loader = data.train_dataloader()
    batches = [batch for batch, _, _ in loader]
    assert len(batches) == len(loader) == 7
    assert [len(batch["weak"]["id"]) for batch in batches] == [4] * 7
    assert [len(batch["masked"]["id"]) for batch in batches] == [2] * 7
    weak = [image_id for batch in batches for image_id in batch["weak"]["id"]]
    whole = draws(StreamSampler(10, per_epoch=10, seed=run_seed()), 3)
    assert weak == [f"train_{draw.row:05d}" for epoch in whole for draw in epoch][:28]


@pytest.mark.parametrize("min_steps", [1, 3])
def test_an_epoch_that_is_long_enough_stays_one_pass(min_steps):
    batches = [batch for batch, _, _ in make_shapes(min_steps_per_epoch=min_steps).train_dataloader()]
    assert [len(batch["weak"]["id"]) for batch in batches] == [4, 4, 2]


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
@pytest.mark.parametrize("size", [5, 11, 24, 25])
@pytest.mark.parametrize("min_steps", [1, 2, 3, 4, 9])
def test_every_rank_takes_at_least_so_many_steps(size, num_ranks, min_steps):
    """And each takes equally many: another would wait for it for ever."""
    per_epoch = draws_per_epoch(size, 4, num_ranks, min_steps)
    lengths = set()
    for rank in range(num_ranks):
        sampler = StreamSampler(size, per_epoch=per_epoch, seed=0, rank=rank, num_ranks=num_ranks)
        lengths.add(-(-len(list(sampler)) // 4))
    one_pass = math.ceil(math.ceil(size / num_ranks) / 4)
    assert lengths == {max(one_pass, min_steps)}


@pytest.mark.parametrize("balance_by", ["class", "group"])
def test_a_balanced_epoch_takes_as_many_steps_as_another(balance_by):
    for settings in (
        {"bias": 0.5, "num_train": 60},
        {"bias": 0.5, "num_train": 60, "min_steps_per_epoch": 30},
    ):
        plain, data = make_shapes(**settings), make_shapes(**settings, balance_by=balance_by)
        lengths = [len(list(each.train_dataloader())) for each in (plain, data)]
        assert lengths[0] == lengths[1]


def test_a_balanced_stream_shows_every_group_as_often():
    data = make_shapes(bias=0.9, num_train=200, balance_by="group")
    groups = torch.cat([batch["weak"]["group"] for batch, _, _ in data.train_dataloader()])
    assert torch.bincount(groups).tolist() == [50] * 4
    assert np.bincount(data.train_set.groups).min() < 20


def test_times_say_how_often_a_pass_draws_an_image():
    data = make_shapes()
    data.times = np.array([1, 4, *[1] * 7, 0])
    stream = data.train_dataloader().iterables["weak"].sampler
    drawn = [draw.row for draw in itertools.chain(*draws(stream, 12))]
    assert len(drawn) == 120
    assert np.bincount(drawn, minlength=10).tolist() == [10, 40, *[10] * 7, 0]


def test_masks_of_a_class_without_a_place_guide_nothing():
    data = make_shapes(mask_budget=1.0, no_object_classes=["boat"], num_train=16)
    with pytest.warns(UserWarning, match=r"training images have masks of boat, which have no place"):
        data.setup("fit")
    assert data.masked_set is not None
    shown = {int(c) for row in range(len(data.masked_set)) for c in data.masked_set[row]["mask_class"]}
    boat = data.class_names.index("boat")
    assert shown
    assert boat not in shown


def test_a_place_of_no_class_is_refused():
    with pytest.raises(ValueError, match=r"data\.no_object_classes names 'boot', .*; did you mean 'boat'\?"):
        make_shapes(mask_budget=1, no_object_classes=["boot"])


def test_no_step_an_epoch_is_refused():
    with pytest.raises(ValueError, match=r"data\.min_steps_per_epoch is 0, expected at least 1"):
        make_shapes(min_steps_per_epoch=0)


def test_loader_without_a_budget_gives_the_weak_stream_alone():
    data = make_shapes(mask_budget=0)
    assert data.masked_set is None
    assert data.masked_ids == []
    assert [list(batch) for batch, _, _ in data.train_dataloader()] == [["weak"]] * 3


def test_weak_stream_never_carries_masks_and_masked_stream_the_right_ones():
    data = make_shapes(mask_budget=1.0)
    for batch, _, _ in data.train_dataloader():
        assert len(batch["weak"]["mask"]) == len(batch["weak"]["mask_image"]) == 0
        for name, stream in batch.items():
            pictures = [draw_picture(int(name.removeprefix("train_")), "train") for name in stream["id"]]
            for picture, image, label in zip(pictures, stream["image"], stream["label"], strict=True):
                assert np.array_equal(image.permute(1, 2, 0), picture.image)
                assert label.tolist() == picture.label.tolist()
            if name == "masked":
                rows = [stream[key].tolist() for key in ("mask_image", "mask_class")]
                labels = np.array([picture.label for picture in pictures])
                assert list(zip(*rows, strict=True)) == reference.pairs(labels)
                for n, c, mask in zip(*rows, stream["mask"].numpy(), strict=True):
                    assert np.array_equal(mask, pictures[n].mask == c + 1)


def test_validation_does_not_hide_its_masks():
    data = make_shapes(mask_budget=2)
    data.setup("test")
    loaders = [data.val_dataloader(), *data.test_dataloader()]
    batches = [batch for loader in loaders for batch in loader]
    assert [len(batch["id"]) for batch in batches] == [3, 3, 2, 2]
    for batch in batches:  # every class of every label is shown
        rows = zip(batch["mask_image"].tolist(), batch["mask_class"].tolist(), strict=True)
        assert list(rows) == reference.pairs(batch["label"])
        assert (batch["mask"] == 1).flatten(1).any(1).all()
        assert batch["mask"].max() == 1
    (batch,) = data.val_dataloader()
    assert batch["id"] == ["val_00000", "val_00001", "val_00002"]


def test_masked_subset_is_reproducible_and_nested():
    ids = [f"train_{index:05d}" for index in range(10)]
    small, again, large = (make_shapes(mask_budget=budget, mask_seed=5) for budget in (3, 0.3, 6))
    assert small.masked_ids == again.masked_ids
    assert set(small.masked_ids) < set(ids)
    assert set(small.masked_ids) < set(large.masked_ids)
    assert list(small.masked_set.ids) == small.masked_ids
    assert make_shapes(mask_budget=3, mask_seed=6).masked_ids != small.masked_ids


def test_masked_subset_takes_the_seed_of_the_run(monkeypatch):
    assert run_seed() == 0
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    assert run_seed() == 5
    assert make_shapes(mask_budget=3).masked_ids == make_shapes(mask_budget=3, mask_seed=5).masked_ids
    assert make_shapes(mask_budget=3).masked_ids != make_shapes(mask_budget=3, mask_seed=0).masked_ids


class Record(pl.LightningModule):
    """Learns nothing, and keeps the names of what it saw."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, {name: stream["id"] for name, stream in batch.items()}))
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, max_epochs, seed=0):
    pl.seed_everything(seed, verbose=False)
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=max_epochs,
        limit_val_batches=0,
        enable_model_summary=False,
        default_root_dir=folder,
        **settings,
    )
    module = Record()
    data = ShapesDataModule(num_train=10, num_val=1, batch_size=4, mask_budget=5, masked_batch_size=1)
    trainer.fit(module, datamodule=data)
    return module.seen


def test_trainer_moves_both_streams_on_from_epoch_to_epoch(tmp_path):
    seen = fit(tmp_path, 4)
    weak = [
        [image_id for epoch, ids in seen if epoch == number for image_id in ids["weak"]]
        for number in range(4)
    ]
    assert all(sorted(ids) == [f"train_{index:05d}" for index in range(10)] for ids in weak)
    assert len({tuple(ids) for ids in weak}) == 4
    masked = [image_id for _, ids in seen for image_id in ids["masked"]]
    assert len(masked) == 12  # three an epoch: the second pass over the five begins within the second epoch
    assert len(set(masked[:5])) == len(set(masked[5:10])) == 5
    assert masked[:5] != masked[5:10]


def test_run_seed_sets_the_order_of_both_streams(tmp_path):
    first, again, other = fit(tmp_path, 1), fit(tmp_path, 1), fit(tmp_path, 1, seed=1)
    assert first == again
    assert all(ours[1]["weak"] != theirs[1]["weak"] for ours, theirs in zip(first, other, strict=True))


@pytest.mark.parametrize("key", ["batch_size", "masked_batch_size"])
def test_batch_size_below_one_is_refused(key):
    with pytest.raises(ValueError, match=f"{key}.* 0"):
        ShapesDataModule(**{key: 0})


def test_batch_size_above_the_training_set_is_refused():
    data = make_shapes(batch_size=11)
    with pytest.raises(ValueError, match="batch_size 11 x 1 ranks is more than the 10 training images"):
        data.train_dataloader()


def test_mask_budget_above_the_training_set_is_refused():
    with pytest.raises(ValueError, match="mask_budget asks for 11 images, but there are 10"):
        make_shapes(mask_budget=11)


def test_masked_stream_leaves_the_training_s_random_numbers_alone():
    """Dropout must draw the same in the warm-up of every method."""
    drawn = []
    for budget in (0, 4):
        data = ShapesDataModule(num_train=8, num_val=2, batch_size=4, masked_batch_size=2, mask_budget=budget)
        data.setup("fit")
        torch.manual_seed(0)
        next(iter(data.train_dataloader()))
        drawn.append(torch.rand(2))
    assert torch.equal(*drawn)


@pytest.mark.parametrize(("done", "start"), [(8, 0), (4, 32), (2, 16)])
def test_a_resume_with_half_the_devices_goes_on_at_the_same_share_of_the_epoch(done, start):
    """Eight batches an epoch were saved by two ranks; one has sixteen."""
    loader = StreamLoader(
        list(range(64)), 4, trainer=None, sampler=StreamSampler(64, per_epoch=64, seed=0, num_ranks=1)
    )
    loader.load_state_dict({"num_batches": done, "of": 8})
    assert loader.sampler.start == start
