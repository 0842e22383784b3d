"""Make a miniature of Waterbirds as it is published: a table, pictures and boxes."""

from collections.abc import Sequence
from pathlib import Path

from fake_folder import picture

WIDTH, HEIGHT = 60, 40
# y, place and split of each picture: 8 for training, wholly biased, and each group once for val and twice for test.
BIRDS = [(k % 2, k % 2, 0) for k in range(8)]
BIRDS += [(y, place, split) for y in (0, 1) for place in (0, 1) for split in (1, 2, 2)]
NAMES = {"classes": ["landbird", "waterbird"], "place": ["land", "water"]}


def make_waterbirds(root: Path, birds: Sequence[tuple[int, int, int]] = BIRDS) -> Path:
    """Write the miniature; the box of picture 3 begins left of it, that of the last ends below it."""
    rows, boxes = ["img_id,img_filename,y,split,place,place_filename"], []
    for number, (y, place, split) in enumerate(birds, start=1):
        name = f"{number % 3:03d}.Bird/Bird_{number}.jpg"
        picture(root / name, number, (HEIGHT, WIDTH))
        rows.append(f"{number},{name},{y},{split},{place},/o/ocean/0.jpg")
        x, height = -2.5 if number == 3 else 10.25, 35.0 if number == len(birds) else 20.0
        boxes.append(f"{number} {x} 8.0 30.0 {height}")
    (root / "metadata.csv").write_text("\n".join(rows) + "\n")
    (root / "bounding_boxes.txt").write_text("\n".join(boxes) + "\n")
    return root
