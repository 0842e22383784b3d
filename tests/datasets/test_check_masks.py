"""Masks whose palettes say something else than their indices."""

import numpy as np
from fake_folder import SIZE, picture
from PIL import Image

from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.drawing.palette import voc_palette


def test_a_reordered_palette_is_a_problem_in_own_folders_too(folder):
    """Colours that are not VOC's say nothing of an index."""
    path, colours = folder / "masks" / "p0.png", voc_palette()
    with Image.open(path) as image:
        values = np.array(image)
    for palette, words in (
        (colours, []),
        (colours[[0, 2, 1]], ["its index 2 (cat) is painted in VOC's colour of 1 (dog)"]),
        ([(0, 0, 0), (255, 0, 0), (0, 128, 0)], []),
        ([(0, 0, 0), (0, 128, 0), (255, 0, 0)], []),
    ):
        image = Image.fromarray(values).convert("P")
        image.putpalette(np.asarray(palette, np.uint8).tobytes())
        image.save(path)
        found = [str(problem) for problem in read_folder(folder).problems]
        assert [problem.split(": ", 1)[1].partition(":")[0] for problem in found] == words


def test_masks_whose_palettes_contradict_each_other_are_a_problem(tmp_path):
    colours = [(0, 0, 0), (9, 200, 9), (200, 9, 9)]
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "masks").mkdir()
    for number in range(4):
        picture(tmp_path / "images" / f"{number}.png", number)
        indices = np.zeros(SIZE, np.uint8)
        indices[:9, :9], indices[-9:, -9:] = 1, 2
        painted = Image.frombytes("P", SIZE[::-1], indices.tobytes())
        order = [0, 2, 1] if number == 2 else [0, 1, 2]
        painted.putpalette([channel for index in order for channel in colours[index]])
        painted.save(tmp_path / "masks" / f"{number}.png")
    (tmp_path / "labels.csv").write_text(
        "filename,classes\n" + "".join(f"{number}.png,cat;dog\n" for number in range(4))
    )
    (problem,) = read_folder(tmp_path).problems
    assert problem.file == tmp_path / "masks" / "2.png"
    assert problem.what.startswith("paints index 1 in the colour that most masks have for index 2")
