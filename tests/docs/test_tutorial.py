"""Pages made of files are typed in as they stand, and print what they show."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs._pages import Block, Reader, apply_changes, blocks_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
TYPED = sorted(
    page for page in DOCS.glob("*.md") if "<!-- typed in: " in page.read_text(encoding="utf-8")
)


def free_ports(count: int) -> list[int]:
    """Return ports nobody listens on, no two the same."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def written(page: Path, serve: str) -> list[Block]:
    """Return a page's blocks, the server told which port to take."""
    return blocks_of(page.read_text("utf-8").replace("serve web:app", serve))


class TestTyped:
    """A reader who types a page in gets what the page shows."""

    def test_the_tutorial_is_among_them(self) -> None:
        """The pages are found."""
        assert DOCS / "tutorial.md" in TYPED

    @pytest.mark.timeout(120)
    @pytest.mark.parametrize("page", TYPED, ids=lambda page: page.stem)
    async def test_every_output_is_as_printed(self, page: Path, tmp_path: Path) -> None:
        """Files, changes and commands in their order; the two ports are others here."""
        server, vendor = free_ports(2)
        reader = Reader(tmp_path, {":8000": f":{server}", "8001": str(vendor)})
        blocks = written(page, f"serve web:app --port {server}")
        try:
            for block in blocks:
                await reader.follow(block)
        finally:
            await reader.leave()
        assert reader.worked > 0

    @pytest.mark.parametrize("page", TYPED, ids=lambda page: page.stem)
    def test_every_program_is_a_file(self, page: Path) -> None:
        """No program stands beside the story, unrun."""
        blocks = blocks_of(page.read_text("utf-8"))
        assert all(block.title for block in blocks if block.kind in ("python", "diff"))


class TestReader:
    """The reader notices when a page is wrong."""

    async def test_another_output_fails(self, tmp_path: Path) -> None:
        """What is printed is compared, not only run."""
        reader = Reader(tmp_path)
        await reader.follow(Block("", "python", "print('one')\n", "a.py"))
        await reader.follow(Block("", "console", "$ python a.py\none\n"))
        with pytest.raises(AssertionError):
            await reader.follow(Block("", "console", "$ python a.py\ntwo\n"))

    async def test_a_failing_command_fails(self, tmp_path: Path) -> None:
        """An error that prints nothing to standard output is noticed too."""
        reader = Reader(tmp_path)
        await reader.follow(Block("", "python", "raise SystemExit(3)\n", "a.py"))
        with pytest.raises(AssertionError):
            await reader.follow(Block("", "console", "$ python a.py\n"))

    def test_a_change_must_fit_one_place(self) -> None:
        """A hunk that fits nowhere, or twice, is an error of the page."""
        assert apply_changes("a\nb\n", " a\n-b\n+c\n") == "a\nc\n"
        for text in ("b\n", "a\nb\na\nb\n"):
            with pytest.raises(AssertionError):
                apply_changes(text, " a\n-b\n+c\n")
