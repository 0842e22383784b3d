"""What the documents say is there."""

import pkgutil
import re
from pathlib import Path

import pytest

from gain_lightning.cli import EXIT_CODES, VERBS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "data").glob("*.md")]
    + [path for folder in ("docs", "experiments") for path in (ROOT / folder).rglob("*.md")]
    if "_build" not in path.parts
)
WIDEST_LINE = 120
LARGEST_PAGE = 200_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_of_a_page_fit_a_window(page):
    """A line may be longer where breaking it would change it: in a table, in code, or because of an address."""
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for line in re.sub(r"https?://\S+", "", prose).splitlines():
        assert line.lstrip().startswith("|") or len(line) <= WIDEST_LINE, (
            f"{page.name}: {len(line)} columns: {line}"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_modules_that_a_page_names_exist(page):
    text = page.read_text() if page.name != "CHANGELOG.md" else ""
    for path in re.findall(r"`((?:tests|gain_lightning|benchmarks|docs|data)/[\w/]+\.\w+)`", text):
        assert (ROOT / path).exists(), f"{page.name} names {path}"
    for name in re.findall(r"\b(gain_lightning(?:\.[A-Za-z_]\w*)+)", text):
        assert is_importable(name), f"{page.name} names {name}"


def is_importable(name: str) -> bool:
    """Whether a dotted name is a module or something in one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_no_file_of_the_documents_but_a_picture_is_large():
    for path in (ROOT / "docs").rglob("*"):
        if path.is_file() and not {"pictures", "_build"} & set(path.parts):
            assert path.stat().st_size < LARGEST_PAGE, f"{path.name} has {path.stat().st_size} bytes"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_verbs_and_files_that_exist(page):
    text = page.read_text().replace("$method", "gain_ext")
    for verb in re.findall(r"^ *gain ([\w-]+)", text, flags=re.MULTILINE):
        assert verb in {known.name.split()[0] for known in VERBS}
    for config in re.findall(r"--config (experiments/[^\s`]+)", text):
        assert (ROOT / config).is_file()


def test_the_page_of_the_command_has_the_tables_of_the_code():
    text = (ROOT / "docs" / "command.md").read_text()
    verbs = [f"| `{verb.name}` | {verb.help} | `{verb.example}` |" for verb in VERBS]
    codes = [f"| {status} | {meaning} |" for status, meaning in EXIT_CODES.items()]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows == ["| verb | what it does | for example |", *verbs, "| status | meaning |", *codes]


def test_python_of_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        names: dict = {}
        exec(block, names)
        for name, shape in [("maps", (3, 1, 12, 12)), ("erased", (3, 3, 96, 96))]:
            assert names[name].shape == shape


@pytest.mark.parametrize("path", sorted(ROOT.glob("experiments/**/*.yaml")), ids=lambda path: path.stem)
def test_experiment_opens_with_its_own_command(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    command = next(line for line in header if "Command:" in line)
    launches = {"sweeps": "gain sweep", "annotate": "benchmarks/annotate.py"}
    launch = launches.get(path.parent.name, "--config")
    assert f"{launch} {path.relative_to(ROOT)}" in command
    assert any("Result:" in line for line in header)


def test_method_page_names_functions_and_arguments_that_exist():
    import inspect

    from gain_lightning import GAIN, attention, losses

    text = (ROOT / "docs" / "method.md").read_text()
    homes = {"attention": attention, "losses": losses}
    for home, name in re.findall(r"`(attention|losses)\.(\w+)", text):
        assert hasattr(homes[home], name)
    arguments = inspect.signature(GAIN).parameters
    table = text.split("## What the paper leaves open")[1].split("## What a map")[0]
    for name in re.findall(r"^\| [^|]+ \| `(\w+)`", table, flags=re.MULTILINE):
        assert name in arguments


def test_the_site_is_built_without_a_warning(tmp_path):
    """Links between pages, their headings and pictures, and every docstring that the API page shows."""
    sphinx = pytest.importorskip("sphinx.cmd.build")
    assert (
        sphinx.main(["-q", "-W", "--keep-going", "-c", str(ROOT / "docs"), str(ROOT), str(tmp_path / "site")])
        == 0
    )
    assert "grad_cam" in (tmp_path / "site" / "docs" / "api.html").read_text()


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "docs" / "tour.ipynb", as_version=4)
    ours = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    theirs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output.output_type for output in ours] == [output.output_type for output in theirs]


def test_every_public_module_has_its_place_on_the_api_page():
    text = (ROOT / "docs" / "api.md").read_text()
    for name in ("attention", "losses", "metrics", "methods.gain", "backbones", "datasets.folder"):
        assert f".. automodule:: gain_lightning.{name}\n" in text
