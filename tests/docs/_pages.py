"""Reads the blocks of a page, and works a page through as a reader would."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n\s*)?"
    r"^```(?P<kind>\w+)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_SECONDS = re.compile(r"\bin \d+\.\d\ds\b")
_SUITE = re.compile(r"(?:^[.s]+ *\[ *\d+%\]\n)+\d+ passed(?:, \d+ skipped)?", re.MULTILINE)
_WAIT = 30


class Block(NamedTuple):
    """A fenced block: the comment right above it, its language, what it holds, its title."""

    mark: str
    kind: str
    body: str
    title: str = ""


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks of a page in their order."""
    return [
        Block(found["mark"] or "", found["kind"], found["body"], found["title"] or "")
        for found in _BLOCK.finditer(text)
    ]


def apply_changes(text: str, diff: str) -> str:
    """Return a text with the hunks of a diff applied; each must fit exactly one place."""
    for hunk in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = [line or " " for line in hunk.splitlines()]
        before = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
        after = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
        assert text.count(before) == 1, f"this hunk fits {text.count(before)} places:\n{hunk}"
        text = text.replace(before, after)
    return text


def with_steady_runs(output: str) -> str:
    """Return an output in which all green test runs look alike: suites grow."""
    return _SUITE.sub("passed", _SECONDS.sub("in 0.00s", output))


@dataclass
class Reader:
    """Somebody who types a page into a folder: its files, its changes, its commands.

    Attributes:
        folder: Where they work.
        swaps: What is written otherwise than on the page, such as a port that is free here.
        worked: How many commands were run.
    """

    folder: Path
    swaps: dict[str, str] = field(default_factory=dict)
    worked: int = 0
    staying: list[Process] = field(default_factory=list)

    async def follow(self, block: Block) -> None:
        """Do what a block says, and compare what is printed with what it shows."""
        body = self._swapped(block.body)
        file = self.folder / block.title
        if block.title and block.kind == "diff":
            file.write_text(apply_changes(file.read_text("utf-8"), body), encoding="utf-8")
        elif block.title:
            file.write_text(body, encoding="utf-8")
        elif block.mark == "stays":
            await self._start(body)
        elif block.mark in ("typed there", "shown there"):
            await self._converse(body, typing=block.mark == "typed there")
        elif block.kind == "console":
            await self._run(body)

    async def leave(self) -> None:
        """End what was started, and see that it ends well."""
        for process in reversed(self.staying):
            process.terminate()
            async with asyncio.timeout(_WAIT):
                await process.communicate()
            assert process.returncode == 0

    def _swapped(self, text: str) -> str:
        for old, new in self.swaps.items():
            text = text.replace(old, new)
        return text

    async def _run(self, body: str) -> None:
        shown = re.split(r"^\$ (.*)\n", body, flags=re.MULTILINE)
        assert shown[0] == "", f"output without a command: {shown[0]!r}"
        for command, expected in zip(shown[1::2], shown[2::2], strict=True):
            self.worked += 1
            if command.startswith("pip install"):
                continue  # tests/project and the smoke test install
            process = await self._spawn(command)
            async with asyncio.timeout(_WAIT):
                printed, errors = await process.communicate()
            assert with_steady_runs(printed.decode()) == with_steady_runs(expected), command
            assert (process.returncode, errors.decode()) == (0, ""), command

    async def _start(self, body: str) -> None:
        first, _, expected = body.partition("\n")
        self.staying.append(await self._spawn(first.removeprefix("$ ")))
        self.worked += 1
        await self._compare(expected)

    async def _converse(self, body: str, *, typing: bool) -> None:
        expected = body
        if typing:
            typed, _, expected = body.partition("\n")
            writer = self.staying[-1].stdin
            assert writer is not None
            writer.write(f"{typed}\n".encode())
            await writer.drain()
        await self._compare(expected)

    async def _compare(self, expected: str) -> None:
        reader = self.staying[-1].stdout
        assert reader is not None
        for line in expected.splitlines():
            async with asyncio.timeout(_WAIT):
                assert (await reader.readline()).decode().rstrip("\n") == line

    async def _spawn(self, command: str) -> Process:
        tools = Path(sys.executable).parent
        environment = os.environ | {
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(self.folder / "compiled"),  # each module once a page
            # Its warnings are of this environment, where a page does not ask for it.
            "PYTEST_ADDOPTS": "" if (self.folder / "pytest.ini").exists() else "-p no:asyncio",
        }
        return await asyncio.create_subprocess_exec(
            *shlex.split(command),
            cwd=self.folder,
            env=environment,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
