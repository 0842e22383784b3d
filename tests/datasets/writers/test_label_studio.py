"""labelstudio.json holds brushes that thi.ng's rle-pack decodes; its source stands in the docstring of ``decode``."""

import json
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from marked import CLASSES, PICTURES, SIZE, write

from gain_lightning.datasets.writers.label_studio import LabelStudioWriter, pack


def decode(code):
    """Decode as ``decode`` of thi.ng/umbrella, packages/rle-pack/src/index.ts, which Label Studio calls."""
    bits = "".join(f"{byte:08b}" for byte in code)
    place = 0

    def read(width):
        nonlocal place
        place += width
        return int(bits[place - width : place], 2)

    num, word = read(32), read(5) + 1
    widths = [read(4) + 1 for _ in range(4)]
    values = []
    while len(values) < num:
        is_run = read(1)
        length = read(widths[read(2)]) + 1
        values += [read(word)] * length if is_run else [read(word) for _ in range(length)]
    return np.array(values).reshape(-1, 4)


def test_every_mark_is_read_back_pixel_for_pixel(tmp_path):
    write(LabelStudioWriter, tmp_path)
    tasks = json.loads((tmp_path / "labelstudio.json").read_text())
    for picture, task in zip(PICTURES, tasks, strict=True):
        where = unquote(task["data"]["image"])
        assert where == f"/data/local-files/?d=images/{picture.name}"
        (prediction,) = task["predictions"]
        found = {}
        for result in prediction["result"]:
            assert (result["original_height"], result["original_width"]) == picture.size
            if result["type"] == "choices":
                assert result["value"]["choices"] == [CLASSES[idx] for idx in picture.labels]
            else:
                channels = decode(result["value"]["rle"])
                assert set(np.unique(channels)) <= {0, 255}
                assert (channels == channels[:, :1]).all()
                found[result["value"]["brushlabels"][0]] = channels[:, 3].reshape(SIZE) > 0
        expected = {CLASSES[idx]: mask for idx, mask in picture.marks.items() if mask.any()}
        assert found.keys() == expected.keys()
        for name, mask in expected.items():
            np.testing.assert_array_equal(found[name], mask)


@pytest.mark.parametrize("num_pixels", [1, 2, 3, 4, 5, 63, 64, 65, 16384, 16385, 40000])
def test_runs_of_every_length_are_kept(num_pixels):
    mask = np.arange(num_pixels + 3)[None] < num_pixels
    np.testing.assert_array_equal(decode(pack(mask))[:, 0] > 0, mask[0])


def test_the_interface_names_what_the_tasks_refer_to(tmp_path):
    write(LabelStudioWriter, tmp_path)
    view = ElementTree.parse(tmp_path / "labelstudio.xml").getroot()
    assert view.find("Image").attrib["name"] == "image"
    for tag, kind, value in (("BrushLabels", "marks", "Label"), ("Choices", "classes", "Choice")):
        element = view.find(tag)
        assert (element.get("name"), element.get("toName")) == (kind, "image")
        assert [child.get("value") for child in element.findall(value)] == CLASSES
