"""The house keeps its order.

Imports point down, nothing goes in a circle, no function or class is too long, and tests lie beside their module.
"""

import ast
import configparser
from pathlib import Path

import pytest

from gain_lightning import attention

PACKAGE = Path(__file__).parents[1] / "gain_lightning"
FILES = sorted(PACKAGE.rglob("*.py"))

GROUND = {"constants", "scores", "support"}
DISK = GROUND | {"runs", "drawing"}
# Which rooms each room may import from, beside itself; docs/architecture.md draws it.
MAY_IMPORT = {
    **dict.fromkeys(("constants", "scores", "support"), GROUND),
    **dict.fromkeys(("runs", "drawing"), GROUND),
    "studies": DISK,
    "attention": GROUND,
    **dict.fromkeys(("losses", "metrics", "backbones"), GROUND | {"attention"}),
    "datasets": DISK | {"attention"},
}
MAY_IMPORT["methods"] = DISK | {"attention", "losses", "metrics", "backbones", "datasets"}
MAY_IMPORT["segmentation"] = MAY_IMPORT["training"] = MAY_IMPORT["methods"] | {"methods"}
MAY_IMPORT["commands"] = MAY_IMPORT["training"] | {"training", "segmentation", "studies"}
MAY_IMPORT["cli"] = GROUND | {"commands"}
MAY_IMPORT["__main__"] = {"cli"}
MAY_IMPORT["__init__"] = {"constants"}
# Test files in a room's folder that no module is called like, and why.
NAMED_OTHERWISE = {"studies/report/test_report_browser.py": "it needs a browser, which is not everywhere"}
# Rooms that open files and draw: who only looks at runs need not wait for torch.
WITHOUT_TORCH = DISK | {"studies"}


def room_of(name):
    """The room of a module's dotted name: ``gain_lightning.runs.maps`` is in ``runs``."""
    return [*name.split("."), "__init__"][1]


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def imports_of(path):
    """Dotted names of the modules that a file imports anywhere, those of ``from package import module`` included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if is_module(name) else node.module for name in names)


def is_module(name):
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down(path):
    room = room_of(name_of(path))
    others = {room_of(name) for name in imports_of(path) if name.split(".")[0] == "gain_lightning"}
    assert others - {room} <= MAY_IMPORT[room]


def test_attention_imports_torch_alone():
    """The equations stand without Lightning and without the rest of the package, but for the number of void."""
    files = Path(attention.__file__).parent.glob("*.py")
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    others = {name for name in imported if not name.startswith("gain_lightning.attention.")}
    standard = {"typing", "functools", "collections.abc"}
    assert others == standard | {"torch", "torch.nn.functional", "gain_lightning.constants"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_reads_and_draws_runs_knows_no_torch(path):
    name = name_of(path)
    if room_of(name) in WITHOUT_TORCH and name != "gain_lightning.runs.checkpoints":
        foreign = {imported.split(".")[0] for imported in imports_of(path)}
        assert not foreign & {"torch", "torchvision", "torchmetrics", "pytorch_lightning", "lightning_fabric"}


def test_no_file_imports_itself_by_way_of_others():
    arrows = {name_of(path): set(imports_of(path)) for path in FILES}
    # Whoever imports a module imports the packages that it lies in; their faces import what they show.
    waiting = {name: {other for other in others if other in arrows} for name, others in arrows.items()}
    while free := [name for name, others in waiting.items() if not others]:
        for name in free:
            del waiting[name]
        waiting = {name: others - set(free) for name, others in waiting.items()}
    assert not waiting


def test_few_files_lie_loose():
    assert len(list(PACKAGE.glob("*.py"))) <= 5


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_functions_and_classes_are_short(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            most = 300 if isinstance(node, ast.ClassDef) else 60
            assert node.end_lineno - node.lineno + 1 <= most, node.name


def test_what_is_no_python_is_packed_too():
    config = configparser.ConfigParser()
    config.read(PACKAGE.parent / "setup.cfg")
    patterns = config["options.package_data"]["gain_lightning"].split(",")
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern.strip())}
    others = {path for path in PACKAGE.rglob("*.*") if path.suffix not in (".py", ".pyc")}
    assert others <= packed


def has_its_module(path):
    """Whether a test file, relative to ``tests/``, is named after a module of its folder or after its folder."""
    name = path.stem.removeprefix("test_")
    return name == path.parent.name or is_module(".".join([PACKAGE.name, *path.parent.parts, name]))


def test_tests_lie_beside_their_module():
    """Under its name, or under that of the package that they are of. Tests of several rooms lie above the rooms."""
    tests = PACKAGE.parent / "tests"
    paths = [path.relative_to(tests) for room in MAY_IMPORT for path in (tests / room).rglob("test_*.py")]
    assert {path.as_posix() for path in paths if not has_its_module(path)} == set(NAMED_OTHERWISE)
