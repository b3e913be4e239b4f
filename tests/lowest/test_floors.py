"""The oldest releases our extras promise: what is installed keeps the promise.

``scripts/lowest.sh`` runs this in environments resolved to the floors and names the extras they
hold in ROOMKIT_LOWEST; there the floors must be what is installed, or the tests beside this one
would prove nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
SCRIPT = ROOT / "scripts" / "lowest.sh"

HELD: list[str] = [name for name in os.environ.get("ROOMKIT_LOWEST", "").split(",") if name]
FLOOR = re.compile(r"(?P<name>[\w.-]+)(\[[\w,-]+\])?>=(?P<floor>[\d.]+)")

# Another package of the same group asks for a newer release than our own floor.
RAISED = {"httpx": "google-genai 1.30 itself needs httpx 0.28.1"}


def floors(extras: list[str]) -> dict[str, str]:
    """Return the lowest release of each distribution these extras name."""
    lines = [line for extra in extras for line in EXTRAS[extra]] + PROJECT["dependencies"]
    found = filter(None, map(FLOOR.match, lines))
    return {match["name"]: match["floor"] for match in found}


def number(version: str) -> tuple[int, ...]:
    """Return a version as numbers that can be compared, without zeros at its end."""
    numbers = [int(part) for part in re.findall(r"\d+", version)[:4]]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def groups() -> list[str]:
    """Return the groups of extras the script knows, each as the script spells it."""
    return re.findall(r"\) echo ([\w,-]+) ;;", SCRIPT.read_text(encoding="utf-8"))


class TestFloors:
    """What stands in pyproject.toml and what is installed."""

    @pytest.mark.parametrize("extras", groups())
    def test_every_extra_of_the_script_has_floors(self, extras: str) -> None:
        """Each names a lowest release of everything it brings."""
        for extra in extras.split(","):
            assert len(floors([extra])) == len(EXTRAS[extra]) + len(PROJECT["dependencies"])

    def test_nothing_older_is_installed(self) -> None:
        """Whatever of it is installed at all."""
        everything = floors([name for name in EXTRAS if name not in ("dev", "docs")])
        installed = {
            dist.name: dist.version for dist in metadata.distributions() if dist.name in everything
        }
        assert "pydantic" in installed
        older = {
            name: version
            for name, version in installed.items()
            if number(version) < number(everything[name])
        }
        assert older == {}

    @pytest.mark.skipif(not HELD, reason="not an environment of scripts/lowest.sh")
    def test_the_floors_are_installed_here(self) -> None:
        """Only what another package of the group raises is newer."""
        raised = dict(RAISED)
        if "pydantic-ai" in HELD:
            raised["pydantic"] = "pydantic-ai-slim 2.0 itself needs pydantic 2.12"
        installed = {name: metadata.version(name) for name in floors(HELD)}
        newer = {
            name: version
            for name, version in installed.items()
            if number(version) != number(floors(HELD)[name]) and name not in raised
        }
        assert newer == {}


class TestScript:
    """The script itself."""

    def test_the_shell_can_read_it(self) -> None:
        """A typing error would show only where nobody looks."""
        done = subprocess.run(["sh", "-n", str(SCRIPT)], check=False, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
