"""``maps.npz`` of a run. That of a real test: methods/test_image_record.py."""

import numpy as np
import pytest
from fake_runs import CLASSES, map_arrays

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.maps import NUM_KEPT_MAPS, Maps, read_maps, write_maps


def _batch(first, num_images, num_pairs):
    draw = np.random.default_rng(first)
    return Maps(
        ids=np.array([f"image {first + n}" for n in range(num_images)]),
        image=draw.integers(0, 255, (num_images, 4, 6, 3), np.uint8),
        mask=draw.integers(0, 3, (num_images, 4, 6), np.uint8),
        pair_image=np.sort(draw.integers(0, num_images, num_pairs)),
        pair_class=draw.integers(0, len(CLASSES), num_pairs),
        pair_mask=draw.integers(0, 2, (num_pairs, 4, 6), np.uint8),
        map=draw.random((num_pairs, 4, 6)).astype(np.float16),
        class_names=np.array(CLASSES),
        map_max=draw.random(num_pairs).astype(np.float32),
    )


def test_what_is_written_is_read_back(tmp_path):
    """Two batches, then one that goes over the number of images and one beyond it."""
    batches = [_batch(0, 10, 14), _batch(10, 1, 0), _batch(11, NUM_KEPT_MAPS, 50), _batch(90, 2, 2)]
    write_maps(tmp_path, batches)
    maps = read_maps(tmp_path)
    assert maps.ids.tolist() == [f"image {n}" for n in range(NUM_KEPT_MAPS)]
    np.testing.assert_array_equal(
        maps.image, np.concatenate([batch.image for batch in batches])[:NUM_KEPT_MAPS]
    )
    np.testing.assert_array_equal(
        maps.mask, np.concatenate([batch.mask for batch in batches])[:NUM_KEPT_MAPS]
    )
    # the images of the third batch come after 11 others
    last = batches[2].pair_image < NUM_KEPT_MAPS - 11
    np.testing.assert_array_equal(
        maps.pair_image, [*batches[0].pair_image, *batches[2].pair_image[last] + 11]
    )
    for field in ("pair_class", "pair_mask", "map", "map_max"):
        first, third = getattr(batches[0], field), getattr(batches[2], field)[last]
        np.testing.assert_array_equal(getattr(maps, field), np.concatenate([first, third]))
    assert maps.class_names.tolist() == CLASSES
    assert [path.name for path in tmp_path.iterdir()] == ["maps.npz"]


def test_a_run_without_maps_has_none(tmp_path):
    assert read_maps(tmp_path) is None


def test_read_maps_reads_arrays(tmp_path):
    arrays = map_arrays()
    np.savez(tmp_path / "maps.npz", **arrays)

    maps = read_maps(str(tmp_path))

    np.testing.assert_array_equal(maps.map, arrays["map"].astype(np.float32))
    assert maps.class_names.tolist() == CLASSES


@pytest.mark.parametrize(
    "change",
    [
        {"mask": np.zeros((3, 9, 9), np.uint8)},
        {"pair_image": np.array([0, 1, 3])},
        {"pair_class": np.array([0, -1, 0])},
        {"image": np.zeros((3, 24, 24, 3))},
        {"pair_image": np.array([0.0, 1.0, 2.0])},
        {"map": np.zeros(3)},
        {"ids": np.array([{}, None, "a"], dtype=object)},  # would have to be unpickled
    ],
)
def test_read_maps_refuses_arrays_that_do_not_fit(tmp_path, change):
    np.savez(tmp_path / "maps.npz", **{**map_arrays(), **change})

    with pytest.raises(RunError, match=r"maps\.npz: unreadable"):
        read_maps(str(tmp_path))


def test_read_maps_refuses_half_a_file(tmp_path):
    np.savez(tmp_path / "maps.npz", **map_arrays())
    content = (tmp_path / "maps.npz").read_bytes()
    (tmp_path / "maps.npz").write_bytes(content[: len(content) // 2])

    with pytest.raises(RunError, match=r"maps\.npz: unreadable"):
        read_maps(str(tmp_path))


def test_read_maps_refuses_a_single_array(tmp_path):
    np.save(tmp_path / "maps.npy", np.zeros(3))
    (tmp_path / "maps.npy").rename(tmp_path / "maps.npz")

    with pytest.raises(RunError, match=r"maps\.npz: unreadable"):
        read_maps(str(tmp_path))
