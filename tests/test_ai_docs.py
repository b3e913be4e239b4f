"""The texts for AI assistants come out whole and in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import roomkit
from roomkit.ai_docs import (
    assemble,
    get_agents_md,
    get_ai_context,
    get_llms_full_txt,
    get_llms_txt,
)

ROOT = Path(__file__).resolve().parents[1]
MOST_USEFUL = ("hooks", "errors", "guarantees", "limits", "webhooks", "durable", "voice")
"""Pages an assistant cannot do without; others may give way to them."""


class TestSingleFiles:
    """Each is the file of the checkout, byte for byte."""

    def test_llms_txt_is_the_file_of_the_checkout(self) -> None:
        """It says what RoomKit is, in its first lines."""
        text = get_llms_txt()
        assert text == (ROOT / "llms.txt").read_text(encoding="utf-8")
        assert text.startswith("# RoomKit")
        assert "pure async python library" in text.lower()

    def test_agents_md_is_the_file_of_the_checkout(self) -> None:
        """It names the tools one works with."""
        text = get_agents_md()
        assert text == (ROOT / "AGENTS.md").read_text(encoding="utf-8")
        assert text.startswith("# RoomKit")
        assert "pytest" in text
        assert "ruff" in text


class TestContext:
    """Both short files as one text."""

    def test_both_files_are_in_it_the_agents_notes_first(self) -> None:
        """Each under a heading that names it."""
        context = get_ai_context()
        assert context.startswith("# RoomKit AI Context\n")
        agents = context.index(get_agents_md().strip())
        llms = context.index(get_llms_txt().strip())
        assert context.index("## AGENTS.md") < agents < context.index("## llms.txt") < llms


class TestWhole:
    """llms-full.txt: everything an assistant can use, in one bounded text."""

    def test_it_is_smaller_than_150_kb(self) -> None:
        """It leaves room for a program in the context of a model."""
        assert 50_000 < len(get_llms_full_txt().encode()) < 150_000

    def test_it_opens_with_what_roomkit_is(self) -> None:
        """The head of llms.txt, then the notes for agents."""
        text = get_llms_full_txt()
        assert text.startswith("# RoomKit\n\n> ")
        assert get_agents_md().strip() in text

    def test_every_linked_page_is_in_it_or_named_as_left_out(self) -> None:
        """Pages under "Optional" are neither."""
        text = get_llms_full_txt()
        wanted, _, optional = get_llms_txt().partition("## Optional")
        left_out = text.partition("<!-- Not in here -->")[2]
        inside = set()
        for name in re.findall(r"\]\((docs/[\w./-]+)\)", wanted):
            page = (ROOT / name).read_text(encoding="utf-8").strip()
            assert (f"<!-- {name} -->\n\n{page}" in text) != (name in left_out), name
            inside |= {name} if page in text else set()
        assert inside >= {f"docs/{name}.md" for name in MOST_USEFUL}
        for name in re.findall(r"\]\((docs/[\w./-]+)\)", optional):
            assert f"<!-- {name} -->" not in text

    def test_every_public_name_is_in_it(self) -> None:
        """Classes with their fields, functions and the kit with their signatures."""
        names = get_llms_full_txt().partition("<!-- Public names -->")[2].partition("\n```\n")[0]
        listed = set(re.findall(r"^(?:class |enum |async |def )*(\w+)", names, re.MULTILINE))
        missing = set(roomkit.__all__) - {"__version__"} - listed
        assert missing == set()
        assert "\n async process_inbound(message: InboundMessage" in names
        assert "\nenum HookTrigger(StrEnum)\n BEFORE_BROADCAST AFTER_BROADCAST " in names

    def test_the_names_are_written_shortly(self) -> None:
        """What every reader knows, or the key says, takes no room."""
        names = get_llms_full_txt().partition("<!-- Public names -->")[2].partition("\n```\n")[0]
        for said_once in (
            " | None = None",
            "(BaseModel)",
            "ClassVar",
            "(self",
            "<made>",
            ") -> None\n",
        ):
            assert said_once not in names, said_once
        assert "\nclass RoomKit made with (store: ConversationStore = None, " in names
        store = names.partition("\nclass ConversationStore(ABC)")[2].partition("\nclass ")[0]
        assert re.search(r"^ abstract: .*\blist_rooms\b", store, re.MULTILINE)

    def test_a_page_that_is_gone_is_named(self, tmp_path: Path) -> None:
        """Nothing is built from half a checkout."""
        for name in ("AGENTS.md", "llms.txt"):
            (tmp_path / name).write_text("# RoomKit\n\n## Docs\n- [A](docs/a.md)\n", "utf-8")
        (tmp_path / "tests" / "data").mkdir(parents=True)
        (tmp_path / "tests" / "data" / "public_api.txt").write_text("[roomkit]\n", "utf-8")
        with pytest.raises(FileNotFoundError, match=r"docs/a\.md"):
            assemble(tmp_path)
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "a.md").write_text("Page A.\n", "utf-8")
        assert "<!-- docs/a.md -->\n\nPage A.\n" in assemble(tmp_path)

    def test_what_does_not_fit_is_named_and_the_rest_kept(self, tmp_path: Path) -> None:
        """A page that grew too long makes no other one disappear."""
        links = "- [A](docs/a.md)\n- [B](docs/b.md)\n"
        for name in ("AGENTS.md", "llms.txt"):
            (tmp_path / name).write_text(f"# RoomKit\n\n## Docs\n{links}", "utf-8")
        for name, text in (
            ("tests/data/public_api.txt", "[roomkit]\n"),
            ("docs/a.md", "a" * 150_000),
            ("docs/b.md", "Page B."),
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, "utf-8")
        text = assemble(tmp_path)
        assert "Page B." in text
        assert text.endswith("For want of room: docs/a.md.\n")
