"""The lock that the tests are run with: exact versions with hashes, in the ranges of setup.cfg."""

import configparser
import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PIN = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>[^\s;\\]+)(?P<rest>.*(?:\n +--hash=sha256:[0-9a-f]{64}.*)*)", re.M
)


def _requirements() -> list[Requirement]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    lines = [line for text in lines for line in text.splitlines() if line and not line.startswith("#")]
    return [Requirement(line) for line in lines if not line.startswith("gain_lightning")]


def _pins() -> dict[str, list[re.Match]]:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins: dict[str, list[re.Match]] = {}
    for pin in PIN.finditer(text):
        pins.setdefault(canonicalize_name(pin["name"]), []).append(pin)
    return pins


def test_every_requirement_is_locked_in_its_range():
    pins = _pins()
    for requirement in _requirements():
        locked = pins[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(pin["version"]) for pin in locked), requirement


def test_every_pin_has_hashes_and_every_line_is_a_pin():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert all(pin["rest"].count("--hash=sha256:") for pins in _pins().values() for pin in pins)
    names = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert len(names) == sum(map(len, _pins().values())) > 100


def test_compromised_releases_are_excluded():
    (lightning,) = [item for item in _requirements() if item.name == "pytorch-lightning"]
    allowed = [version for version in ("2.6.1", "2.6.2", "2.6.3", "2.6.4") if version in lightning.specifier]
    assert allowed == ["2.6.1", "2.6.4"]
