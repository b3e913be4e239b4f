"""Puts what `roomkit ... --help` prints into docs/cli.md, under the marker of each command.

.venv/bin/python -m scripts.cli_page            write the page anew
.venv/bin/python -m scripts.cli_page --check    1 when the page is behind
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

from roomkit.cli import COMMANDS
from roomkit.cli import main as roomkit

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
HOW = ".venv/bin/python -m scripts.cli_page"
ACTIONS = {"migrate": ("status", "up", "sql")}
_BLOCK = re.compile(r"(<!-- help:(?P<words>[^>]*) -->\n)(?:\n```text\n.*?\n```\n)?", re.DOTALL)


def wanted() -> list[str]:
    """Return the words of every command that has a help text of its own."""
    names = [command.name for command in COMMANDS]
    actions = [f"{name} {action}" for name, found in ACTIONS.items() for action in found]
    return ["", *names, *actions]


def help_of(words: str) -> str:
    """Return what a command's `--help` prints on a screen of 88 columns."""
    printed = io.StringIO()
    plain = {"COLUMNS": "88", "NO_COLOR": "1"}
    with redirect_stdout(printed), mock.patch.dict(os.environ, plain):
        code = roomkit([*words.split(), "--help"])
    if code != 0:
        raise ValueError(f"roomkit {words} --help ended with {code}")
    return printed.getvalue().rstrip()


def filled(page: str) -> str:
    """Return a page with the help texts under its markers."""

    def block(found: re.Match[str]) -> str:
        return f"{found[1]}\n```text\n{help_of(found['words'].strip())}\n```\n"

    return _BLOCK.sub(block, page)


def marked(page: str) -> list[str]:
    """Return the words of the commands a page has markers for, in their order."""
    return [found["words"].strip() for found in _BLOCK.finditer(page)]


def main(argv: list[str] | None = None) -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args(argv).check
    page = PAGE.read_text(encoding="utf-8")
    if check:
        return int(filled(page) != page)
    PAGE.write_text(filled(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
