import pytest

from gain_lightning.support.walk import files_below, folders_without, group_unread

LEFT_BEHIND = (
    *(".DS_Store", "._a.png", ".ipynb_checkpoints/a-checkpoint.png", "Thumbs.db", "desktop.ini"),
    *("__MACOSX/a.png", "below/._b.png", "below/@eaDir/b.png/SYNOPHOTO.jpg", ".git/objects/a.png"),
)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / ".hidden above does not count"
    for name in ("a.png", "below/b.png", *LEFT_BEHIND):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\x89PNG")
    return root


def names(folder, **options):
    return [str(path.relative_to(folder)) for path in files_below(folder, **options)]


def test_what_programs_leave_behind_is_passed_over(folder):
    assert names(folder) == ["a.png", "below/b.png"]


def test_depth_counts_levels_of_folders(folder):
    (folder / "below" / "deep").mkdir()
    (folder / "below" / "deep" / "c.png").write_bytes(b"")
    assert names(folder, depth=0) == ["a.png"]
    assert names(folder, depth=1) == ["a.png", "below/b.png"]
    assert names(folder, depth=2) == names(folder) == ["a.png", "below/b.png", "below/deep/c.png"]


def test_a_link_to_a_folder_above_leads_nowhere(folder, tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "m.png").write_bytes(b"")
    (folder / "below" / "up").symlink_to(tmp_path)
    assert names(folder) == ["a.png", "below/b.png"]


def test_links_are_followed_once_and_links_to_nothing_are_named(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "c.png").write_bytes(b"")
    (folder / "link").symlink_to(tmp_path / "out")
    (folder / "same").symlink_to(tmp_path / "out")
    (folder / "back").symlink_to(folder)
    (folder / "broken.png").symlink_to(tmp_path / "nowhere")
    found = names(folder)
    assert sum(name.endswith("c.png") for name in found) == 1
    assert [name for name in found if not name.endswith("c.png")] == ["a.png", "below/b.png", "broken.png"]


def test_folders_without_files_are_named_once(folder):
    for name in ("empty/deeper", "below/hollow", "only/.hidden"):
        (folder / name).mkdir(parents=True)
    (folder / "only" / ".DS_Store").write_bytes(b"")
    found = folders_without(folder, files_below(folder))
    assert [str(path.relative_to(folder)) for path in found] == ["below/hollow", "empty", "only"]


def test_kinds_are_counted_and_text_is_told_from_data(tmp_path):
    contents = {
        "a.HEIC": b"\0\0\0\x18ftypheic",
        "b.heic": b"",
        "c.txt": "né\n".encode() * 1000,
        "d.gif": b"GIF89a\x01\0",
        "README": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    kinds = group_unread(tmp_path / name for name in contents)
    assert [(str(kind), kind.first.name, kind.is_text) for kind in kinds] == [
        ("1 file of no ending", "README", True),
        ("1 file of .gif", "d.gif", False),
        ("2 files of .HEIC", "a.HEIC", False),
        ("1 file of .txt", "c.txt", True),
    ]
