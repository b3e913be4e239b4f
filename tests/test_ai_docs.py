"""The texts for AI assistants come out whole and in order."""

from __future__ import annotations

from pathlib import Path

from roomkit.ai_docs import get_agents_md, get_ai_context, get_llms_txt

ROOT = Path(__file__).resolve().parents[1]


class TestSingleFiles:
    def test_llms_txt_is_the_file_of_the_checkout(self) -> None:
        text = get_llms_txt()
        assert text == (ROOT / "llms.txt").read_text(encoding="utf-8")
        assert text.startswith("# RoomKit")
        assert "pure async python library" in text.lower()

    def test_agents_md_is_the_file_of_the_checkout(self) -> None:
        text = get_agents_md()
        assert text == (ROOT / "AGENTS.md").read_text(encoding="utf-8")
        assert text.startswith("# RoomKit")
        assert "pytest" in text
        assert "ruff" in text


class TestContext:
    def test_both_files_are_in_it_the_agents_notes_first(self) -> None:
        context = get_ai_context()
        assert context.startswith("# RoomKit AI Context\n")
        agents = context.index(get_agents_md().strip())
        llms = context.index(get_llms_txt().strip())
        assert context.index("## AGENTS.md") < agents < context.index("## llms.txt") < llms
