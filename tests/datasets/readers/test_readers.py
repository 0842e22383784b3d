"""The table of readers: who reads which folder, and what a new layout costs."""

import numpy as np
import pytest
import torch
from fake_folder import SIZE, make_folder, picture
from fake_voc import make_voc

from gain_lightning.cli import main
from gain_lightning.datasets import readers
from gain_lightning.datasets.contents import Contents, by_split
from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.listing import Listing, empty_boxes
from gain_lightning.datasets.readers import FOLDER_MODULE, READERS, Reader, reader_of


def test_a_folder_of_pictures_and_voc_are_told_apart(tmp_path):
    voc = make_voc(tmp_path / "voc")
    assert reader_of(make_folder(tmp_path / "own")).name == "a folder of pictures"
    assert {reader_of(place).name for place in (voc, voc.parent, voc.parent.parent)} == {"PASCAL VOC 2012"}


def test_each_data_module_has_its_own_readers(tmp_path):
    """Pictures in ``images/`` of VOC's folder train a ``FolderDataModule``, though ``gain data check`` reads VOC."""
    root = make_voc(tmp_path / "voc")
    make_folder(root)
    assert reader_of(root).module == "VOC12DataModule"
    assert reader_of(root, FOLDER_MODULE).name == "a folder of pictures"


def test_names_of_readers_differ_and_the_last_reads_what_none_recognises(tmp_path):
    assert len({reader.name for reader in READERS}) == len(READERS)
    assert reader_of(tmp_path) is READERS[-1]
    with pytest.raises(FileNotFoundError, match="no folder of pictures here"):
        reader_of(tmp_path).read(tmp_path)


def read_shouting(root):
    """A layout of its own: the class is the picture's name in capitals, before a dash."""
    ids = sorted(path.stem for path in root.glob("*-*.png"))
    listing = Listing(
        root=root,
        class_names=("CAT", "DOG"),
        ids=np.array(ids),
        labels=np.array([[name.startswith("CAT"), name.startswith("DOG")] for name in ids], np.uint8),
        image_pattern="{id}.png",
        mask_pattern="{id}.mask.png",
        has_mask=np.zeros((len(ids), 2), bool),
        is_drawn=np.zeros(len(ids), bool),
        **empty_boxes(),
        size=np.tile(SIZE, (len(ids), 1)),
    )
    return Contents(by_split(listing, np.full(len(ids), "")), [], ["it shouts"], root)


def test_a_new_layout_is_checked_and_trained_on_by_its_row_alone(tmp_path, monkeypatch, capsys):
    root = tmp_path / "shouting"
    for n in range(5):
        picture(root / f"{'CAT' if n % 2 else 'DOG'}-{n}.png")
    row = Reader("a shouting folder", lambda root: any(root.glob("CAT-*.png")), read_shouting)
    monkeypatch.setattr(readers, "READERS", (row, *READERS))
    assert main(["data", "check", str(root)]) == 0
    out = capsys.readouterr().out
    assert f"{root}: 5 pictures, 2 classes, single-label" in out
    assert "note: no test split: test scores will be those of val\nnote: it shouts\n" in out
    assert "\n0 problems" in out
    assert main(["data", "show", str(root), "--out", str(tmp_path / "grid.png")]) == 0
    data = FolderDataModule(root=str(root), image_size=32, num_workers=0)
    data.setup("fit")
    assert sorted([*data.train_set.ids, *data.val_set.ids]) == ["CAT-1", "CAT-3", "DOG-0", "DOG-2", "DOG-4"]
    assert len(data.val_set.ids) == 1
    sample = data.train_set[0]
    assert sample["image"].shape == (3, 32, 32)
    assert torch.equal(sample["label"], torch.tensor([1.0, 0.0]))


def test_annotations_that_are_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"marked\.json: no such file, expected annotations"):
        readers.reader_of(tmp_path / "marked.json", asked=readers.Asked(unannotated="negative"))
