"""The split of annotations is told by the names of their file and folders: ``valid/``, ``instances_train2017.json``."""

import re
from pathlib import PurePath

_WORDS = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validation", "dev"},
    "test": {"test", "testing"},
}


def split_of(path: PurePath) -> str:
    """Return the split that a path names, its last part first; empty where it names none.

    Example:
        >>> [split_of(PurePath(path)) for path in ("annotations/instances_val2017.json", "valid/a.json", "all.json")]
        ['val', 'val', '']
    """
    for part in reversed(path.with_suffix("").parts):
        words = re.findall(r"[a-z]+", part.lower())
        for split, names in _WORDS.items():
            if names & set(words):
                return split
    return ""
