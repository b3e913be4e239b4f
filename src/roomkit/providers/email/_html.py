"""HTML to the text a reader would see: linear in its length, whatever the markup is.

The standard library's parser re-reads the rest of its input at every broken tag, which makes
hostile mail slow; this scanner looks at each character once or twice.
"""

from __future__ import annotations

import re
from html import unescape

LONGEST = 1024 * 1024
"""Characters of HTML that are read."""

_MARKUP = re.compile(r"<(!--|[!?]|/?[a-zA-Z][a-zA-Z0-9:-]{0,40})")
_BLANKS = re.compile(r"[ \t\r\n\f]+")
_HIDDEN = frozenset({"script", "style", "head", "title", "template", "noscript", "textarea"})
_BREAKING = frozenset(
    {
        "address", "article", "aside", "center", "dd", "div", "dl", "dt", "fieldset", "figure",
        "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main",
        "nav", "ol", "section", "table", "tr", "ul",
    }
)  # fmt: skip
_SPACED = frozenset({"p", "blockquote", "pre"})
_END_TAGS = {name: re.compile(f"</{name}", re.IGNORECASE) for name in _HIDDEN}
_TAG_MARK = re.compile("[>\"']")
_MOST_QUOTES = 20


def html_to_text(html: str) -> str:
    """Return the words of an HTML document, a line for each block.

    Quotations (``blockquote``) are marked with ``> `` as in plain mail, list items with
    ``- ``; scripts, styles and comments are left out. Only the first mebi of characters counts.
    """
    scanner = _Scanner(html[:LONGEST])
    scanner.run()
    return scanner.text()


class _Scanner:
    """Walks over the markup and writes lines."""

    def __init__(self, html: str) -> None:
        self._html = html
        self._lines: list[str] = []
        self._line: list[str] = []
        self._quotes = 0
        self._closed = {'"': False, "'": False, ">": False, "-->": False}

    def run(self) -> None:
        """Read everything."""
        html, at = self._html, 0
        while (found := _MARKUP.search(html, at)) is not None:
            if found.start() > at:
                self._line.append(html[at : found.start()])
            at = self._markup(found.group(1).lower(), found.end())
        self._line.append(html[at:])

    def text(self) -> str:
        """Return what was written."""
        self._end_line()
        lines: list[str] = []
        for line in self._lines:
            if line.strip(" >") or (lines and lines[-1].strip(" >")):
                lines.append(line)
        return "\n".join(lines).strip("\n")

    def _markup(self, word: str, at: int) -> int:
        """Read what began with ``<`` and a word; return where it ends."""
        if word == "!--":
            return self._behind("-->", at)
        if word in ("!", "?"):
            return self._behind(">", at)
        end = self._tag_end(at)
        self._tag(word)
        return self._skip(word, end) if word in _HIDDEN else end

    def _behind(self, mark: str, start: int) -> int:
        """Return where the next ``mark`` ends; the end of all when there is none."""
        if self._closed[mark]:
            return len(self._html)
        found = self._html.find(mark, start)
        if found < 0:
            self._closed[mark] = True
            return len(self._html)
        return found + len(mark)

    def _tag_end(self, at: int) -> int:
        """Return where a tag ends; a ``>`` within quotes does not end it."""
        html = self._html
        while (mark := _TAG_MARK.search(html, at)) is not None:
            char, at = mark.group(), mark.end()
            if char == ">":
                return at
            if not self._closed[char]:
                end = html.find(char, at)
                if end < 0:
                    self._closed[char] = True
                else:
                    at = end + 1
        return len(html)

    def _skip(self, word: str, at: int) -> int:
        """Return where an element nobody sees ends; unclosed, it is read as usual."""
        key = f"</{word}"
        if self._closed.get(key):
            return at
        found = _END_TAGS[word].search(self._html, at)
        if found is None:
            self._closed[key] = True
            return at
        return self._tag_end(found.end())

    def _tag(self, word: str) -> None:
        name = word.lstrip("/")
        closing = word.startswith("/")
        if name == "br":
            self._end_line()
        elif name in _SPACED:
            self._end_line()
            if name == "blockquote":
                self._quote(-1 if closing else 1)
            self._lines.append("> " * self._quotes)
        elif name in _BREAKING:
            self._end_line()
            if name == "li" and not closing:
                self._line.append("- ")
        elif name in ("td", "th"):
            self._line.append(" ")

    def _quote(self, by: int) -> None:
        self._quotes = min(_MOST_QUOTES, max(0, self._quotes + by))

    def _end_line(self) -> None:
        joined = _BLANKS.sub(" ", _unescaped("".join(self._line)).replace("\xa0", " ")).strip()
        self._line = []
        if joined:
            self._lines.append("> " * self._quotes + joined)


def _unescaped(text: str) -> str:
    try:
        return unescape(text)
    except ValueError:  # a character number of more digits than Python converts
        return text
