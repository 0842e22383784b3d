"""``config.yaml`` of a run, and which of its settings may differ when the run is resumed or tested."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gain_lightning.runs.old_settings import today
from gain_lightning.support.files import write_atomically
from gain_lightning.support.yaml_files import read_config

CONFIG = "config.yaml"

# These may differ when a run is resumed: paths, worker counts and speed options. None changes a result.
_MAY_DIFFER = {
    *(
        "data.root",
        "data.image_folder",
        "data.images.root",
        "data.test_folders",
        "data.images.test_folders",
        "data.cues",
    ),
    *("data.num_workers", "data.images.num_workers"),
    *("model.weights", "model.crf_workers", "model.compile_features", "model.checkpoint_features"),
    "model.memory_format",
}
# Settings of the data that the scores of a test do not depend on.
_OF_TRAINING = {
    *("data.select_on", "data.select_share"),
    *("data.mask_budget", "data.mask_seed", "data.augmentation", "data.supervision", "data.box_dilation"),
    *("data.mask_noise", "data.void_border", "data.told_shortcuts"),
    *("data.train_split", "data.split", "data.num_train", "data.batch_size", "data.masked_batch_size"),
    *("data.min_steps_per_epoch", "data.balance_by", "data.mask_augment"),
}
# Settings of the model that they do depend on.
_OF_SCORES = {
    "task",
    "scaling",
    "map_method",
    "map_score",
    "score_classes",
    "output_stride",
    "backbone",
    "test_crf",
}


def write_settings(run_dir: Path, text: str) -> None:
    """Write ``config.yaml`` of a run, as its command's parser has dumped it."""
    write_atomically(run_dir / CONFIG, text)


def read_settings(run_dir: Path) -> dict[str, Any]:
    """Read ``config.yaml`` of a run; one of an earlier version is given in today's keys.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it cannot be read, see :func:`gain_lightning.support.yaml_files.read_config`.
    """
    path = run_dir / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{run_dir}: has no {CONFIG}, expected the folder of a run")
    return today(read_config(path))[0]


def refuse_other_settings(run_dir: Path, config: Mapping[str, Any], verb: str) -> None:
    """Refuse settings of model, data or seed that differ from those that the run was trained with.

    Args:
        run_dir: The run folder; without a ``config.yaml`` nothing is known.
        config: What is asked for, as ``config.yaml`` would have it.
        verb: ``fit`` or ``test``, for the message.

    Raises:
        ValueError: If one does.
    """
    if not (run_dir / CONFIG).is_file():
        return
    before = read_settings(run_dir)
    for key, old, new in _differences(before.get("data"), config.get("data"), "data"):
        if key not in _MAY_DIFFER and (verb == "fit" or key not in _OF_TRAINING):
            _refuse(run_dir, verb, key, old, new)
    for key, old, new in _differences(before.get("model"), config.get("model"), "model"):
        if key not in _MAY_DIFFER and (verb == "fit" or key.split(".")[1] in _OF_SCORES):
            _refuse(run_dir, verb, key, old, new)
    seeds = before.get("seed_everything"), config.get("seed_everything")
    if verb == "fit" and not _equal(*seeds):
        _refuse(run_dir, verb, "seed_everything", *seeds)


def _refuse(run_dir: Path, verb: str, key: str, old: Any, new: Any) -> None:
    instead = {
        "fit": "another --run_dir, and --model.weights to start from this run's weights",
        "test": "another --run_dir for such scores, with this run's --ckpt_path FILE",
    }[verb]
    raise ValueError(f"{key} is {new}, but {run_dir} was trained with {old}: expected the same, or {instead}")


def _differences(before: Any, now: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the settings that differ, with their old and new value.

    Those of a class are compared argument by argument; an argument that an older version did not know is passed over.
    """
    same_class = isinstance(before, Mapping) and isinstance(now, Mapping)
    if same_class and ("class_path" in before or "class_path" in now):
        if before.get("class_path") != now.get("class_path"):
            yield f"{key}.class_path", before.get("class_path"), now.get("class_path")
            return
        before, now = before.get("init_args") or {}, now.get("init_args") or {}
    elif key != "model" or not same_class:
        # a plain mapping, such as a budget by class, is one setting
        is_budget = key.endswith("mask_budget")
        # the path of a mask list may be another
        is_list = is_budget and isinstance(before, str) and isinstance(now, str)
        # 1 is one mask, 1.0 are all
        is_other_kind = is_budget and _kinds(before) != _kinds(now)
        if (not _equal(before, now) or is_other_kind) and not is_list:
            yield key, before, now
        return
    for name in now:
        if name in before:
            yield from _differences(before[name], now[name], f"{key}.{name}")


def _kinds(value: Any) -> Any:
    """Whether a number, or each one of a mapping, is whole."""
    return (
        {key: _kinds(one) for key, one in value.items()}
        if isinstance(value, Mapping)
        else isinstance(value, float)
    )


def _equal(before: Any, now: Any) -> bool:
    """Whether both are written the same: 0 is not false."""
    return before == now and isinstance(before, bool) == isinstance(now, bool)
