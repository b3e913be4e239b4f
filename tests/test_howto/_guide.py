"""Builds what a how-to page shows: its files, where the page says they are."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.docs._pages import blocks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs" / "howto").glob("*.md"))
PATIENCE = 110
"""Seconds a command may take on a busy machine."""


@dataclass(frozen=True)
class Guide:
    """A page, and what a reader takes from it.

    Attributes:
        files: What to write where; the empty files the text asks for too.
        commands: What to type, without the prompt.
    """

    files: dict[str, str]
    commands: list[str]

    def build(self, folder: Path) -> None:
        """Write the page's files into a folder."""
        for name, body in self.files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(body, encoding="utf-8")

    def command(self, start: str) -> str:
        """Return the one command of the page that begins so."""
        (found,) = (command for command in self.commands if command.startswith(start))
        return found

    @property
    def package(self) -> str:
        """The package the page builds."""
        (name,) = (Path(file).parent.name for file in self.files if file.endswith("__init__.py"))
        return name

    def programs(self) -> Iterator[tuple[str, ast.Module]]:
        """Yield the names and syntax trees of the page's modules."""
        for name, body in self.files.items():
            if name.endswith(".py"):
                yield name, ast.parse(body)


def read(page: Path) -> Guide:
    """Return what a page tells its reader to write and to type."""
    text = page.read_text(encoding="utf-8")
    blocks = blocks_of(text)
    files = {block.title: block.body for block in blocks if block.title}
    files |= {name: "" for name in re.findall(r"empty file `([\w/]+\.py)`", text)}
    lines = [
        line for block in blocks if block.kind == "console" for line in block.body.split("\n")
    ]
    return Guide(files, [line.removeprefix("$ ") for line in lines if line.startswith("$ ")])


def type_in(
    command: str, folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command of a page with this interpreter, and return how it ended."""
    program, *rest = shlex.split(command)
    start = [sys.executable] if program == "python" else [sys.executable, "-m", program]
    return subprocess.run(
        [*start, *rest],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
