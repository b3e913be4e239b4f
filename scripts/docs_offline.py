"""Fails the build of the documentation when a page would fetch something from elsewhere.

MkDocs runs it after each build (``hooks`` in mkdocs.yml). Links may lead anywhere; scripts,
styles, fonts, images and frames must come with the site.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

_FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "audio": "src",
    "video": "src",
    "source": "src",
    "embed": "src",
    "object": "data",
    "link": "href",
}
_HARMLESS_LINKS = {"canonical", "next", "prev", "alternate"}
_ELSEWHERE = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)
_IN_STYLES = re.compile(r"(?:url\(|@import)\s*['\"]?\s*((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)


class _Page(HTMLParser):
    """Collects what a page would fetch from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        values = {name: value or "" for name, value in attrs}
        if "mermaid" in values.get("class", "").split():
            self.found.append("mermaid, which the theme loads from elsewhere")
        if tag == "link" and values.get("rel", "") in _HARMLESS_LINKS:
            return
        address = values.get(_FETCHED.get(tag, ""), "")
        if _ELSEWHERE.match(address):
            self.found.append(address)


def fetched_by_page(html: str) -> list[str]:
    """Return what a page would fetch from elsewhere, its inline styles included."""
    page = _Page()
    page.feed(html)
    return page.found + fetched_by_style(html)


def fetched_by_style(text: str) -> list[str]:
    """Return what a style sheet, or a style in a page, would fetch from elsewhere."""
    return _IN_STYLES.findall(text)


def check_site(folder: Path) -> list[str]:
    """Return one line for each file of a built site that would fetch something."""
    found = []
    readers = {".html": fetched_by_page, ".css": fetched_by_style}
    for path in sorted(folder.rglob("*")):
        if path.suffix in readers:
            fetched = readers[path.suffix](path.read_text(encoding="utf-8"))
            found += [f"{path.relative_to(folder)}: {address}" for address in fetched]
    return found


def on_post_build(config: Any) -> None:
    """Check what MkDocs has built.

    Raises:
        PluginError: A page would fetch something from elsewhere.
    """
    found = check_site(Path(config["site_dir"]))
    if found:
        from mkdocs.exceptions import PluginError

        raise PluginError("the site is not whole without a network:\n" + "\n".join(found))
