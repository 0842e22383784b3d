"""Every command in a document runs as it stands there, with its words, on small stand-ins of what it names.

A page's commands run in its order in one folder that has experiments/, VOCdevkit, DIR, photos/ and a sweep file.
Trainings get a tiny network and a batch or two; they are tests of the words, not of what is learned.
"""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from fake_voc import make_voc
from fake_waterbirds import make_waterbirds
from PIL import Image

from gain_lightning.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(path for path in (ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md", "experiments/README.md")),
    ROOT / "experiments/boat/README.md",
]
ELSEWHERE = {  # commands that need what is not here, and who tests them
    "make demo": "trains three methods: minutes",
    "make test": "this",
    "postgresql+psycopg2://": "tests/studies/sweeps/test_workers.py starts a server",
    "--engine wandb": "tests/studies/sweeps/test_on_wandb.py has a stand-in of W&B's server",
    "wandb sync": "W&B's own",
    "gain reproduce section4": "tests/segmentation/test_section4.py, on small configs",
    "gain reproduce waterbirds": "tests/studies/test_waterbirds.py, on small configs",
    "prepare_voc12.py": "tests/data/test_prepare_voc12.py",
    "gain sweep worker /shared": "joins as the line without /shared does",
}
TINY = [  # after a training's own words, of which the later win
    *("--model.backbone=tiny_cnn", "--model.weights=none", "--model.output_stride=null"),
    *("--trainer.accelerator=cpu", "--trainer.devices=1"),
    *("--trainer.num_nodes=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"),
    *(
        "--trainer.limit_test_batches=1",
        "--trainer.max_epochs=1",
        "--trainer.logger=false",
        "--data.num_workers=0",
    ),
]
GUIDED = [
    "--model.warmup=0",
    "--model.ramp=0",
    "--model.am_every=1",
]  # else gain compare refuses them
SMALL_DATA = {
    "shapes": ["--data.num_train=64", "--data.num_val=8", "--data.num_test=8", "--data.num_biased=4"],
    "others": ["--data.image_size=32", "--data.batch_size=2", "--data.masked_batch_size=1"],
}


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks that are commands, loops taken apart."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()  # a line that goes on is one
    lines = [line.strip().removeprefix("srun ") for line in lines]
    return [
        line for line in lines if line and not line.startswith(("#", "for ", "done", "resume=", "status="))
    ]


def sub(line: str, **names: str) -> list[str]:
    """A command as words, its stand-ins put in."""
    line = (
        line.replace(" $resume", "")
        .replace("$method", "gain")
        .replace("$seed", "0")
        .replace("RUN...", "runs/shapes/*")
    )
    words = shlex.split(line, comments=True)
    return [names.get(word, word) for word in words]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the commands run."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    lists = make_voc(tmp_path) / "ImageSets" / "Segmentation"
    (lists / "test.txt").write_text((lists / "val.txt").read_text())
    for name in ("boat_without_water", "water_without_boat"):
        write_pictures(tmp_path / "data" / name, ["boat" if name.startswith("boat") else ""] * 2)
    write_pictures(tmp_path / "DIR", ["cat", "dog", "cat;dog", "", "dog", "cat"] * 3, masks=True)
    write_pictures(tmp_path / "photos", ["", ""])
    make_waterbirds(tmp_path / "WATERBIRDS")
    write_coco(tmp_path / "instances.json", tmp_path / "PICTURES")
    script = tmp_path / "trial.py"
    script.write_text(
        "import json, os, pathlib\n"
        "pathlib.Path(os.environ['GAIN_TRIAL_DIR'], 'summary.json').write_text("
        "json.dumps({'state': 'finished', 'metrics': {'score': 1.0}}))\n"
    )
    sweep = {
        "method": "grid",
        "metric": {"name": "score", "goal": "maximize"},
        "parameters": {"x": {"values": [1]}},
    }
    (tmp_path / "NAME.yaml").write_text(yaml.safe_dump({**sweep, "program": str(script)}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GAIN_RUN_DIR", raising=False)
    return tmp_path


def write_pictures(root: Path, classes: list[str], masks: bool = False) -> None:
    """Pictures of your own, with boxes and masks for every label if asked for."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    rows, boxes = ["filename,classes,split"], ["filename,class,xmin,ymin,xmax,ymax"]
    rng = np.random.default_rng(0)
    for index, names in enumerate(classes):
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(
            root / "images" / f"{index}.png"
        )
        rows.append(f"{index}.png,{names},{'train' if index < 12 else 'val'}")
        if masks and names:
            mask = np.zeros((24, 24), np.uint8)
            for place, name in enumerate(names.split(";")):
                mask[4:12, 2 + 10 * place : 9 + 10 * place] = ["cat", "dog"].index(name) + 1
                boxes.append(f"{index}.png,{name},{2 + 10 * place},4,{9 + 10 * place},12")
            Image.fromarray(mask).save(root / "masks" / f"{index}.png")
    (root / "labels.csv").write_text("\n".join(rows))
    if masks:
        (root / "boxes.csv").write_text("\n".join(boxes))
        (root / "classes.txt").write_text("cat\ndog\n")


def write_coco(file: Path, pictures: Path) -> None:
    """Pictures whose marks lie in one file of an annotation tool."""
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(pictures / f"{number}.png")
    images = [{"id": n, "file_name": f"{n}.png", "width": 24, "height": 24} for n in range(12)]
    square = [4, 4, 16, 4, 16, 16, 4, 16]
    marks = [
        {
            "id": n,
            "image_id": n,
            "category_id": n % 2,
            "bbox": [4, 4, 12, 12],
            "segmentation": [square],
            "area": 144,
            "iscrowd": 0,
        }
        for n in range(12)
    ]
    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    file.write_text(json.dumps({"images": images, "annotations": marks, "categories": categories}))


def fit_words(words: list[str]) -> list[str]:
    """A training's words, and what makes it small."""
    config = words[words.index("--config") + 1]
    text = Path(config).read_text()
    if "CueDataModule" in text:
        return [*words, *TINY, "--data.batch_size=2"]
    is_shapes = "ShapesDataModule" in text
    small = TINY + GUIDED + SMALL_DATA["shapes" if is_shapes else "others"]
    budget = (
        []
        if "mask_budget: 0\n" in text or any("mask_budget" in word for word in words)
        else ["--data.mask_budget=2"]
    )
    if any(
        "boat" in word and "mask_budget" not in word and "{" in word for word in words
    ):  # no boat in the stand-in
        words = [word.replace('{"boat": 9}', '{"cat": 1}') for word in words]
    resumes = any(word == "--ckpt_path" for word in words)
    return words if resumes else [*words, *small, *budget]


def run(line: str, folder: Path) -> int:
    """The exit status of a page's command, made small."""
    words = sub(
        line,
        FILE="NAME.yaml",
        **{"marked.json": "next1/coco.json", "experiments/sweeps/soft_mask.yaml": "NAME.yaml"},
    )
    assert words[0] == "gain", line
    words = words[1:]
    if words[0] in ("fit", "test"):
        words = fit_words(words)
    if words[0] == "next":  # the stand-in has few pictures, and all of them have masks
        words = [*("2" if word == "20" else word for word in words), "--simulated"]
    if words[0] == "compare":
        for number, path in enumerate(words[1 : words.index("--out")]):
            if "*" in path:
                path = path.replace("*", "gain-1")
            if not Path(path, "summary.json").exists():
                config = f"experiments/shapes/{('gradcam', 'gain', 'gain_ext')[number % 3]}.yaml"
                assert main(fit_words(["fit", "--config", config, "--run_dir", path])) == 0
    return main(words)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_commands_of_a_page_run(page, folder, capsys):
    for line in commands(page):
        if not any(start in line for start in ELSEWHERE):
            assert run(line, folder) == 0, line


@pytest.mark.parametrize(("has_checkpoint", "status"), [(False, 75), (True, 75), (True, 0), (True, 1)])
def test_the_slurm_script_resumes_what_is_there_and_queues_again_what_was_told_to_stop(
    tmp_path, has_checkpoint, status
):
    (script,) = re.findall(
        r"```sh\n(#!/bin/bash\n.*?)```", (ROOT / "docs" / "cluster.md").read_text(), flags=re.DOTALL
    )
    for name, code in (("srun", f"exit {status}"), ("scontrol", "exit 0")):
        (tmp_path / name).write_text(f'#!/bin/bash\necho {name} "$@" >> called\n{code}\n')
        (tmp_path / name).chmod(0o755)
    if has_checkpoint:
        (tmp_path / "runs/voc/checkpoints").mkdir(parents=True)
        (tmp_path / "runs/voc/checkpoints/last.ckpt").write_text("")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "17"}
    ended = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=False)
    assert ended.returncode == status
    called = (tmp_path / "called").read_text().splitlines()
    assert called[0].startswith("srun gain fit --config experiments/voc12/gain_ext.yaml ")
    assert called[0].endswith(" --ckpt_path last") == has_checkpoint
    assert called[1:] == (["scontrol requeue 17"] if status == 75 else [])


def test_commands_that_are_tested_elsewhere_are_still_in_a_page():
    lines = [line for page in PAGES for line in commands(page)]
    for start in ELSEWHERE:
        assert any(start in line for line in lines), start


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "```python\n" in page.read_text()],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_python_of_a_page_runs(page):
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
        exec(block, names)
    assert set(names) > {"__builtins__"}, "defines nothing: expected imports at least"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sweeps_of_a_page_are_read(page, tmp_path):
    from gain_lightning.studies.sweeps.file import read_sweep_path

    for number, block in enumerate(
        re.findall(r"```yaml\n(method:.*?)```", page.read_text(), flags=re.DOTALL)
    ):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)
        assert read_sweep_path(path).parameters
