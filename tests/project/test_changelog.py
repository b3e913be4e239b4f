"""The change log is made of the notes in changes/, and all of them can be told."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTES = sorted(path for path in (ROOT / "changes").iterdir() if path.name != "README.md")
TYPES: list[dict[str, str]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "tool"
]["towncrier"]["type"]


@cache
def draft() -> str:
    """Return what a release would write into the change log; nothing is changed."""
    done = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "99.0.0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def words(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())


class TestNotes:
    def test_every_note_is_named_by_the_rule(self) -> None:
        """An issue (or + and a word) and a type that towncrier knows."""
        kinds = "|".join(kind["directory"] for kind in TYPES)
        rule = re.compile(rf"(\d+|\+[a-z0-9-]+)(\.\d+)?\.({kinds})(\.\d+)?\.md")
        assert [path.name for path in NOTES if not rule.fullmatch(path.name)] == []

    def test_every_note_says_something(self) -> None:
        """At least a sentence, without a heading: it becomes an entry of a list."""
        for path in NOTES:
            text = path.read_text(encoding="utf-8").strip()
            assert text.endswith((".", "`", ")")), path.name
            assert len(text.split()) > 5, path.name
            assert not text.startswith("#"), path.name

    def test_the_table_of_types_is_that_of_the_configuration(self) -> None:
        """Whoever reads changes/README.md finds the types there are."""
        readme = (ROOT / "changes" / "README.md").read_text(encoding="utf-8")
        assert re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE) == [
            kind["directory"] for kind in TYPES
        ]


class TestDraft:
    def test_a_release_tells_every_note(self) -> None:
        """None is lost on the way, and each issue is named."""
        told = words(draft())
        for path in NOTES:
            first = words(path.read_text(encoding="utf-8").partition("\n\n")[0])
            assert first in told, path.name
            assert path.name.startswith("+") or f"#{path.name.partition('.')[0]}" in told

    def test_it_has_a_heading_for_each_type_in_use(self) -> None:
        """In the order of the configuration, under the version."""
        text = draft()
        assert "## 99.0.0 (" in text
        used = {part for path in NOTES for part in path.name.split(".")}
        headings = [kind["name"] for kind in TYPES if kind["directory"] in used]
        assert re.findall(r"^### (.+)$", text, re.MULTILINE) == headings

    def test_the_change_log_has_the_place_for_it(self) -> None:
        """towncrier writes below the marker; without it a release would start a second list."""
        config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        start = config["tool"]["towncrier"]["start_string"]
        assert (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").count(start) == 1
