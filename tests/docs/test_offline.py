"""The documentation needs no network: neither its sources nor what is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import docs_offline

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


class TestSources:
    """Nothing in the sources asks for something from elsewhere."""

    def test_the_build_is_checked(self) -> None:
        """MkDocs runs the check, and the theme brings no fonts from elsewhere."""
        settings = (ROOT / "mkdocs.yml").read_text("utf-8")
        assert "  - scripts/docs_offline.py\n" in settings
        assert "font: false" in settings
        assert "extra_javascript" not in settings

    def test_no_diagram_needs_a_script(self) -> None:
        """Diagrams are drawings that lie beside the pages."""
        assert [page for page in DOCS.rglob("*.md") if "```mermaid" in page.read_text()] == []

    def test_drawings_and_styles_fetch_nothing(self) -> None:
        """They are whole in themselves."""
        files = sorted((DOCS / "assets").iterdir())
        assert {file.suffix for file in files} == {".svg", ".css"}
        for file in files:
            assert docs_offline.fetched_by_page(file.read_text("utf-8")) == [], file.name

    def test_drawings_are_described_and_take_the_pages_colours(self) -> None:
        """Whoever cannot see one hears what it shows, and it is legible on light and dark."""
        for file in (DOCS / "assets").glob("*.svg"):
            text = file.read_text("utf-8")
            assert "<title " in text
            assert "<desc " in text
            assert "currentColor" in text


class TestCheck:
    """The check of a built site finds what it should."""

    @pytest.mark.parametrize(
        "html",
        [
            '<script src="https://cdn.example.org/a.js"></script>',
            '<link rel="stylesheet" href="//fonts.example.org/a.css">',
            '<img src="http://example.org/a.png">',
            '<style>@import "https://example.org/a.css";</style>',
            "<style>a { background: url(https://example.org/a.png) }</style>",
            '<pre class="mermaid">graph</pre>',
        ],
    )
    def test_it_finds(self, html: str) -> None:
        """Scripts, styles, images and what the theme would load for a diagram."""
        assert len(docs_offline.fetched_by_page(html)) == 1

    @pytest.mark.parametrize(
        "html",
        [
            '<script src="assets/a.js"></script>',
            '<a href="https://example.org">elsewhere</a>',
            '<link rel="canonical" href="https://example.org/page">',
            "<style>a { background: url(a.png) }</style>",
        ],
    )
    def test_it_lets_pass(self, html: str) -> None:
        """What comes with the site, and links people may follow."""
        assert docs_offline.fetched_by_page(html) == []

    def test_a_site(self, tmp_path: Path) -> None:
        """Each finding names its file."""
        (tmp_path / "index.html").write_text('<script src="https://e.org/a.js"></script>')
        (tmp_path / "a.css").write_text("a { color: red }")
        assert docs_offline.check_site(tmp_path) == ["index.html: https://e.org/a.js"]
