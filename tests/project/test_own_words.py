"""What we write is ours: no run of twelve words is that of the documents we were specified by.

The documents themselves are not needed; `scripts/spec_runs.py` kept fingerprints of their runs.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from roomkit.ai_docs import get_llms_full_txt
from scripts.spec_runs import BYTES, FILE, known, main, prose, runs

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = sorted(
    [
        *(ROOT.glob("*.md")),
        ROOT / "llms.txt",
        *(path for folder in ("docs", "examples") for path in (ROOT / folder).rglob("*.md")),
    ]
)
PROGRAMS = [
    path
    for folder in ("src", "examples", "benchmarks", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


marks_of_the_documents = cache(known)


def repeated(text: str) -> list[str]:
    """Return the runs of a text that stand in the documents too."""
    marks = marks_of_the_documents()
    return [run for mark, run in runs(text) if mark in marks]


class TestOwnWords:
    def test_the_fingerprints_are_whole(self) -> None:
        """Sorted, none twice, thousands of them."""
        data = FILE.read_bytes()
        marks = [data[at : at + BYTES] for at in range(0, len(data), BYTES)]
        assert len(marks) > 5000
        assert len(data) % BYTES == 0
        assert marks == sorted(set(marks))

    def test_a_repeated_run_is_seen(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Case, line breaks and markup do not hide one."""
        words = "one two three four five six seven eight nine ten eleven twelve"
        (tmp_path / "spec.md").write_text(f"# {words}\n", encoding="utf-8")
        monkeypatch.setattr("scripts.spec_runs.FILE", tmp_path / "runs.bin")
        assert main([str(tmp_path / "spec.md")]) == 0
        marks = known(tmp_path / "runs.bin")
        text = "So: **One** two three, `four` five six\nseven eight Nine ten eleven twelve!"
        assert [run for mark, run in runs(text) if mark in marks] == [words]

    def test_the_pages(self) -> None:
        """Every Markdown file and llms.txt, code blocks included."""
        found = {path.relative_to(ROOT): repeated(path.read_text("utf-8")) for path in TEXTS}
        assert {str(name): hits for name, hits in found.items() if hits} == {}

    def test_the_text_for_assistants(self) -> None:
        """llms-full.txt, where pages meet that stand apart elsewhere.

        Its list of public names is left out: a compatible library spells enums the same.
        """
        before, _, rest = get_llms_full_txt().partition("<!-- Public names -->")
        names, _, after = rest.partition("\n```\n")
        assert len(names) > 20_000
        assert repeated(before) + repeated(after) == []

    def test_docstrings_and_comments(self) -> None:
        """Of the package, the examples, the benchmarks and the scripts."""
        found = {
            path.relative_to(ROOT): repeated(prose(path.read_text("utf-8"))) for path in PROGRAMS
        }
        assert {str(name): hits for name, hits in found.items() if hits} == {}
