"""AGENTS.md and llms.txt are true: commands end with 0, names import, places are there.

That their links lead somewhere is checked with those of all pages, in ``tests/docs``.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import roomkit
from roomkit import simulators

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("AGENTS.md", "llms.txt")
PROGRAMS = ("make", "roomkit", "python", "pip", ".venv/bin/python")
WRITES = ("-m scripts.public_api",)
"""Commands that change the checkout: they are asked for their help instead."""

# What the words before a dot stand for in the notes' examples.
EXAMPLES: dict[str, Any] = {
    "event": roomkit.RoomEvent,
    "kit": roomkit.RoomKit,
    "sim": simulators.TwilioSimulator(),
}
OTHERS = {
    "Principal": "roomkit.asgi",
    "SimpleChannel": "roomkit.testing",
    "TaskGroup": "asyncio",
    "TaskSet": "roomkit._aio",
    "Timeline": "roomkit.core.services.timeline",
    "create_app": "roomkit.asgi",
}
"""Names from elsewhere, with the place the notes name or mean."""
WORDS = {"create_task", "email_address", "extra", "fail_closed", "model_copy", "room_id"}
"""A method of any loop or model, parameters, and a key of metadata."""


def text_of(name: str) -> str:
    """Return the text of a file of the checkout."""
    return (ROOT / name).read_text(encoding="utf-8")


def quoted(text: str) -> list[str]:
    """Return what stands in backticks outside of code blocks."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose)]


def commands(name: str) -> list[str]:
    """Return the commands of a document: lines of shell blocks and what is quoted in prose."""
    text = text_of(name)
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    found = [line for line in [*lines, *quoted(text)] if line.split(" ")[0] in PROGRAMS]
    return [line for line in dict.fromkeys(found) if " " in line]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout, with little in its environment."""
    surroundings = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False
    )


def resolves(dotted: str) -> bool:
    """Return whether a dotted path leads somewhere: a module, or something in one."""
    for parts in range(dotted.count(".") + 1, 0, -1):
        module, rest = ".".join(dotted.split(".")[:parts]), dotted.split(".")[parts:]
        try:
            thing: Any = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        return all((thing := getattr(thing, name, None)) is not None for name in rest)
    return False


def exists(name: str) -> bool:
    """Return whether a name of the notes is public where they say, or a member of the kit."""
    head, _, rest = name.partition(".")
    if head in EXAMPLES:
        return hasattr(EXAMPLES[head], rest)
    if head == "roomkit":
        return resolves(name)
    if hasattr(roomkit, head):
        owner = getattr(roomkit, head)
        fields = getattr(owner, "model_fields", {})
        return not rest or hasattr(owner, rest) or rest in fields
    return hasattr(roomkit.RoomKit, head) or resolves(f"{OTHERS.get(head, 'roomkit')}.{name}")


class TestCommands:
    """Whoever types what stands there gets no error."""

    def test_there_are_some(self) -> None:
        """The reader finds them: targets, the command line, one file of tests."""
        found = commands("AGENTS.md")
        assert {"make test", "roomkit doctor"} <= set(found)
        assert any("-m pytest" in command for command in found)

    @pytest.mark.parametrize(
        "command", [command for name in DOCUMENTS for command in commands(name)]
    )
    def test_it_ends_with_0(self, command: str) -> None:
        """Make targets are only planned: CI runs them; installing is checked by its extras."""
        program, *words = shlex.split(command)
        if program == "pip":
            declared = tomllib.loads(text_of("pyproject.toml"))["project"]
            extras = re.findall(r"roomkit\[([\w,-]+)\]", command)
            named = {extra for found in extras for extra in found.split(",")}
            assert named <= set(declared["optional-dependencies"])
            assert words[:1] == ["install"]
            return
        if program == "make":
            if shutil.which("make") is None:
                pytest.skip("make is not installed")
            done = run("make", "--dry-run", *words)
        else:
            start = ["-m", "roomkit"] if program == "roomkit" else []
            ask = ["--help"] if any(part in command for part in WRITES) else []
            done = run(sys.executable, *start, *words, *ask)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout

    def test_a_command_that_fails_is_seen(self) -> None:
        """The way commands are run tells an exit code apart."""
        assert run(sys.executable, "-m", "roomkit", "no-such-command").returncode == 2


class TestNames:
    """What stands in backticks is there."""

    @pytest.mark.parametrize("name", DOCUMENTS)
    def test_every_symbol_imports(self, name: str) -> None:
        """Names, dotted names and calls; file names and commands are looked at elsewhere."""
        calls = [re.sub(r"^@|\(.*", "", text) for text in quoted(text_of(name))]
        symbols = {
            text
            for text in calls
            if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", text)
            and not re.search(r"\.(md|py|txt|toml)$", text)
        }
        assert len(symbols) > 40
        assert {symbol for symbol in symbols - WORDS if not exists(symbol)} == set()

    def test_a_name_that_is_gone_is_seen(self) -> None:
        """Of the package, of the kit, of an example's value, of a module."""
        names = ("NoSuchName", "no_such_method", "event.no_such", "roomkit.no_such", "Reason.NO")
        assert [name for name in names if exists(name)] == []


class TestPlaces:
    """What is named as a place is there."""

    def test_every_place_the_notes_name_is_there(self) -> None:
        """Folders and files of the checkout in backticks."""
        named = [
            text
            for text in quoted(text_of("AGENTS.md"))
            if re.fullmatch(r"\.?[\w./-]+(/|\.(md|py|txt|toml))", text) and "NNNN" not in text
        ]
        assert len(named) > 20
        inside = (ROOT, ROOT / "src" / "roomkit", ROOT / "src" / "roomkit" / "core")
        missing = [text for text in named if not any((base / text).exists() for base in inside)]
        assert set(missing) <= {"llms-full.txt"}

    def test_llms_txt_has_the_form_of_its_proposal(self) -> None:
        """A title, a summary, text without headings, then sections that are lists of links."""
        title, summary, *rest = text_of("llms.txt").split("\n\n")
        assert title == "# RoomKit"
        assert all(line.startswith("> ") for line in summary.splitlines())
        sections = "\n\n".join(rest).split("\n## ")[1:]
        assert sections[-1].startswith("Optional\n")
        for section in sections:
            lines = section.strip().splitlines()[2:]
            assert lines
            assert [line for line in lines if not re.match(r"- \[[^]]+\]\(\S+\): \S", line)] == []
