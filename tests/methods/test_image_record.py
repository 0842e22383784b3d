import csv
import tracemalloc
from types import SimpleNamespace

import numpy as np
import torch

from gain_lightning.attention import label_pairs
from gain_lightning.methods.image_record import ImageRecord, image_rows, keep_maps
from gain_lightning.runs.maps import NUM_KEPT_MAPS, write_maps


def _batch():
    label = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    mask = torch.tensor([[[1, 1], [0, 255]]], dtype=torch.uint8)  # of the cat; nobody drew the dog
    maps = torch.tensor([[[[4.0, 0.0], [4.0, 9.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])
    outputs = {
        "score": torch.tensor([[0.9, 0.2], [0.1, 1.0]]),
        "logit": torch.tensor([[2.1972246, -1.3862944], [-2.1972246, 25.000002]]),
        "maps": maps,
        "mask": torch.cat([mask, torch.full_like(mask, 255)]),
        "pairs": label_pairs(label),
    }
    masks = {"mask": mask, "mask_image": torch.tensor([0]), "mask_class": torch.tensor([0])}
    return {"id": ["x", "y"], "label": label, **masks}, outputs


def test_image_rows_by_hand():
    batch, outputs = _batch()
    first, second, third, fourth = image_rows("test", batch, outputs).rows(["cat", "dog"])
    # cat: energy 4 of 4 + 4, void left out; maximum on the cat; seeds above 0.2 * 9 hit one of its two pixels of 3
    assert first == {"set": "test", "id": "x", "class": "cat", "present": 1, "score": "0.899999976",
                     "logit": "2.19722462", "energy": 0.5, "pointing": 1.0, "iou": round(1 / 3, 6)}  # fmt: skip
    assert second["present"] == 1
    assert second["energy"] == ""  # a dog by its label, but none is drawn
    assert [row["present"] for row in (third, fourth)] == [0, 0]
    assert (fourth["score"], fourth["logit"]) == ("1", "25.0000019")  # all digits of float32
    amounts = image_rows("test", batch, outputs, with_amounts=True).rows(["cat", "dog"])
    assert [row["amount"] for row in amounts] == ["1", "1", "0", "0"]
    assert "logit" not in amounts[0]


def test_kept_maps_are_renumbered_over_batches(tmp_path):
    batch, outputs = _batch()
    image = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    write_maps(tmp_path, [keep_maps(batch, outputs, image, ["cat", "dog"]) for _ in range(20)])
    with np.load(tmp_path / "maps.npz") as maps:
        assert len(maps["ids"]) == NUM_KEPT_MAPS
        # what is not the cat is no background, for nobody drew the dog; nor does an image without a mask have any
        assert maps["mask"][:2].tolist() == [[[1, 1], [255, 255]], [[255, 255], [255, 255]]]
        assert maps["pair_image"].tolist() == [n // 2 * 2 for n in range(NUM_KEPT_MAPS)]
        np.testing.assert_allclose(maps["map"][2], [[4 / 9, 0], [4 / 9, 1]], atol=1e-3)
        assert maps["map_max"].tolist() == [9, 1] * (NUM_KEPT_MAPS // 2)


# The table as it comes ------------------------------------------------------------------------------------


def _test(num_classes):
    """A trainer and a module in a test of one process, and a batch of theirs."""
    trainer = SimpleNamespace(
        datamodule=SimpleNamespace(test_sets={"test": None}), strategy=SimpleNamespace(barrier=lambda name: None),
        world_size=1, global_rank=0, is_global_zero=True, fast_dev_run=False, loggers=[],
    )  # fmt: skip
    names = [f"class {index}" for index in range(num_classes)]
    module = SimpleNamespace(
        hparams=SimpleNamespace(class_names=names),
        task=SimpleNamespace(has_amounts=False),
        group_tables={},
        backbone=SimpleNamespace(denormalize=lambda image: image.to(torch.uint8)),
        class_scores={"ap": [0.5] * num_classes},
    )
    label = torch.zeros(10, num_classes)
    label[:, 0] = 1
    batch = {"image": torch.zeros(10, 3, 2, 2), "label": label, "mask": torch.ones(10, 2, 2, dtype=torch.uint8),
             "mask_image": torch.arange(10), "mask_class": torch.zeros(10, dtype=torch.long)}  # fmt: skip
    pairs = label_pairs(label)
    maps = torch.ones(10, 1, 2, 2)
    outputs = {"score": label, "logit": label, "maps": maps, "mask": batch["mask"], "pairs": pairs}
    return trainer, module, outputs, batch


def _write(record, test, numbers):
    trainer, module, outputs, batch = test
    for number in numbers:
        ids = [f"{number}_{n}" for n in range(10)]
        record.on_test_batch_end(trainer, module, outputs, {**batch, "id": ids}, number)


def _ids(path):
    with path.open(newline="") as file:
        return list(dict.fromkeys(row["id"] for row in csv.DictReader(file)))


def test_rows_leave_memory_as_they_come(tmp_path):
    """A thousand rows a batch: held to the end, those of 40 batches are more than 10 MB."""
    record, test = ImageRecord(tmp_path), _test(num_classes=100)
    record.on_test_start(*test[:2])
    _write(record, test, range(10))
    tracemalloc.start()
    _write(record, test, range(10, 11))
    _, of_one = tracemalloc.get_traced_memory()
    _write(record, test, range(11, 50))
    _, of_many = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    record.on_test_end(*test[:2])
    assert of_many < of_one + 200_000
    assert _ids(tmp_path / "per_image.csv") == [f"{number}_{n}" for number in range(50) for n in range(10)]


def test_a_table_is_whole_or_that_of_the_test_before(tmp_path):
    test, path = _test(num_classes=3), tmp_path / "per_image.csv"
    first = ImageRecord(tmp_path)
    first.on_test_start(*test[:2])
    _write(first, test, [0])
    assert not path.exists()
    first.on_test_end(*test[:2])
    whole = path.read_bytes()

    failed = ImageRecord(tmp_path)
    failed.on_test_start(*test[:2])
    _write(failed, test, [1, 2])
    failed.on_exception(*test[:2], RuntimeError())
    assert path.read_bytes() == whole
    assert not list(tmp_path.glob("*.part"))

    killed = ImageRecord(tmp_path)
    killed.on_test_start(*test[:2])
    _write(killed, test, [1, 2])
    killed.table.part.rename(tmp_path / "per_image.csv.1234.part")  # as of another process
    (tmp_path / "per_image.csv.rank1.part").touch()
    assert path.read_bytes() == whole

    again = ImageRecord(tmp_path)
    again.on_test_start(*test[:2])
    _write(again, test, [3])
    again.on_test_end(*test[:2])
    assert _ids(path) == [f"3_{n}" for n in range(10)]
    assert not list(tmp_path.glob("*.part"))


def test_a_trial_of_a_few_batches_leaves_the_table(tmp_path):
    test = _test(num_classes=3)
    test[0].fast_dev_run = 1
    record = ImageRecord(tmp_path)
    record.on_test_start(*test[:2])
    _write(record, test, [0])
    record.on_test_end(*test[:2])
    assert not list(tmp_path.iterdir())


def test_new_maps_remove_the_checks_of_former_ones(tmp_path):
    test, checks = _test(num_classes=3), tmp_path / "map_checks.json"
    checks.write_text("{}")
    record = ImageRecord(tmp_path)
    record.on_test_start(*test[:2])
    _write(record, test, [0])
    assert checks.exists()
    record.on_test_end(*test[:2])
    assert (tmp_path / "maps.npz").exists()
    assert not checks.exists()
