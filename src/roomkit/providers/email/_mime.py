"""Mail and forms in MIME (RFC 2045 to 2047, 2231, 7578): bounded, and linear in their size.

Whatever a stranger sends gives parts or a WebhookError. What a mail program got wrong is read as
well as it can be: an unknown charset as UTF-8, broken base64 as far as it goes.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from encodings.aliases import aliases
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from roomkit._sanitize import clean_text
from roomkit.exceptions import WebhookError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PARTS = 200
"""Parts one body may have; mail has a few."""

MAX_HEADERS = 256 * 1024
"""Bytes of one header block that are looked at."""

MAX_DEPTH = 10
"""How deep multiparts may lie in each other; what is deeper is left out."""

_LONGEST_VALUE = 64 * 1024
_LONGEST_PARAMETERS = 4000
_WORD = re.compile(r"=\?([A-Za-z0-9_.:+-]{1,40})(?:\*[A-Za-z0-9-]{0,40})?\?([BbQq])\?([^?\s]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)[ \t\r\n]+(?==\?)")
_PARAMETER = re.compile(r';\s*([\w!#$%&\'*+.^`|~-]{1,60})\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]*)')
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_MIME_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,100}")
_UNSAFE = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"})
_CODECS = frozenset({*aliases, *aliases.values()}) - _UNSAFE
_NO_TEXT = frozenset({"base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13"})
_NO_TEXT_EITHER = frozenset({"uu_codec", "zlib_codec", "mbcs", "oem"})
UNKNOWN_TYPE = "application/octet-stream"


class Headers:
    """A header block, its lines unfolded and its encoded words decoded.

    Args:
        block: The raw block.
    """

    __slots__ = ("_found",)

    def __init__(self, block: str = "") -> None:
        lines: list[tuple[str, list[str]]] = []
        for line in block[:MAX_HEADERS].splitlines():
            if line[:1] in (" ", "\t"):
                if lines:
                    lines[-1][1].append(line.strip())
                continue
            name, colon, value = line.partition(":")
            # A line without a colon takes what is folded below it along.
            lines.append((name.strip().lower() if colon else "", [value.strip()]))
        self._found: dict[str, str] = {}
        for name, pieces in lines:
            if name:
                self._found.setdefault(name, " ".join(pieces))

    def raw(self, name: str) -> str:
        """Return the first header of a name (in lower case) as it stands; empty for none."""
        return self._found.get(name, "")[:_LONGEST_VALUE]

    def get(self, name: str) -> str:
        """Return the first header of a name (in lower case), decoded; empty for none."""
        return decode_words(self.raw(name))

    def __contains__(self, name: str) -> bool:
        return name in self._found


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body.

    Attributes:
        headers: Its headers.
        content: Its bytes, not yet decoded.
    """

    headers: Headers = field(repr=False)
    content: bytes = field(repr=False)

    def parameters(self, name: str) -> tuple[str, dict[str, str]]:
        """Return a header's value in lower case, and its parameters."""
        return read_parameters(self.headers.raw(name))


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of a ``multipart/form-data`` body.

    Attributes:
        name: The field's name.
        filename: A file's name; None when it is no file.
        mime_type: What it says it is; empty for plain fields.
        charset: The charset it names; empty for none.
        content: Its bytes.
    """

    name: str
    filename: str | None = field(repr=False)
    mime_type: str
    charset: str
    content: bytes = field(repr=False)


def read_multipart(body: bytes, content_type: str) -> list[FormField]:
    """Return the fields of a ``multipart/form-data`` body, in order.

    Args:
        body: The raw body.
        content_type: The request's header of that name; it holds the boundary.

    Raises:
        WebhookError: It is another type, is cut off, has no boundary or more than 200 parts.
    """
    kind, parameters = read_parameters(content_type)
    if kind != "multipart/form-data":
        raise WebhookError("the body is no multipart/form-data")
    found = []
    for part in split_parts(body, parameters.get("boundary", ""), whole=True):
        disposition, named = part.parameters("content-disposition")
        if disposition != "form-data" or not named.get("name"):
            raise WebhookError("a part of the form has no name")
        mime_type, typed = part.parameters("content-type")
        found.append(
            FormField(
                named["name"],
                named.get("filename"),
                mime_type,
                typed.get("charset", ""),
                part.content,
            )
        )
    return found


def split_parts(body: bytes, boundary: str, *, whole: bool = False) -> list[Part]:
    """Return the parts between the boundaries of a multipart body.

    Args:
        body: The body.
        boundary: The boundary of its ``Content-Type``.
        whole: Refuse a body without its closing boundary.

    Raises:
        WebhookError: It has no boundary, or too many parts; with ``whole``, it is cut off.
    """
    if not 0 < len(boundary) <= 200:
        raise WebhookError("the multipart body names no boundary")
    mark = b"--" + boundary.encode("utf-8", "replace")
    parts: list[Part] = []
    start: int | None = None
    for at, after, last in _delimiters(body, mark):
        if start is not None:
            parts.append(_part(body[start : max(start, _before_line_end(body, at))]))
        start = None if last else after
        if last:
            return parts
        if len(parts) >= MAX_PARTS:
            raise WebhookError(f"the body has more than {MAX_PARTS} parts")
    if whole:
        raise WebhookError("the body is cut off")
    if start is not None:
        parts.append(_part(body[start:]))
    return parts


def _delimiters(body: bytes, mark: bytes) -> Iterator[tuple[int, int, bool]]:
    """Yield where each boundary line begins, where it ends, and whether it is the closing one."""
    at = body.find(mark)
    while at >= 0:
        after = at + len(mark)
        if at == 0 or body[at - 1 : at] == b"\n":
            last = body.startswith(b"--", after)
            end = body.find(b"\n", after, after + 200)
            rest = body[after + 2 * last : end if end >= 0 else after + 200]
            if last or (end >= 0 and not rest.strip()):
                yield at, end + 1, last
        at = body.find(mark, after)


def _before_line_end(body: bytes, at: int) -> int:
    at -= 1
    return at - 1 if body[at - 1 : at] == b"\r" else at


def _part(raw: bytes) -> Part:
    block, content = split_headers(raw)
    return Part(Headers(block), content)


def split_headers(raw: bytes) -> tuple[str, bytes]:
    """Return the header block and the body of a mail or a part."""
    for none in (b"\r\n", b"\n"):
        if raw.startswith(none):
            return "", raw[len(none) :]
    ends = [
        (place, place + len(blank))
        for blank in (b"\n\r\n", b"\n\n")
        if (place := raw.find(blank, 0, MAX_HEADERS)) >= 0
    ]
    if not ends:
        return _header_text(raw[:MAX_HEADERS]), b""
    place, after = min(ends)
    return _header_text(raw[:place]), raw[after:]


def _header_text(block: bytes) -> str:
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError:
        return block.decode("latin-1")


def read_parameters(value: str) -> tuple[str, dict[str, str]]:
    """Return a header value's first word in lower case, and its parameters.

    Parameters of RFC 2231 (``name*=utf-8''...`` and ``name*0=``) come under their plain name.
    """
    value = value[:_LONGEST_PARAMETERS]
    kind = value.partition(";")[0].strip().lower()
    raw: dict[str, str] = {}
    for name, quoted in _PARAMETER.findall(value):
        text = quoted
        if text.startswith('"') and len(text) > 1:
            text = re.sub(r"\\(.)", r"\1", text[1:-1])
        raw.setdefault(name.lower(), text)
    return kind, _joined_parameters(raw)


def _joined_parameters(raw: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in raw:
        plain, star, _ = name.partition("*")
        if not star:
            found.setdefault(plain, decode_words(raw[name]))
        elif plain not in found or not plain:
            found[plain] = _extended(raw, plain)
    for name in raw:
        plain = name.partition("*")[0]
        if f"{plain}*" in raw:
            found[plain] = _extended(raw, plain)
    return found


def _extended(raw: dict[str, str], name: str) -> str:
    """Return a parameter that was split or percent-encoded."""
    if f"{name}*" in raw:
        pieces = [(raw[f"{name}*"], True)]
    else:
        pieces = []
        for place in range(50):
            if (piece := raw.get(f"{name}*{place}*")) is not None:
                pieces.append((piece, True))
            elif (piece := raw.get(f"{name}*{place}")) is not None:
                pieces.append((piece, False))
            else:
                break
    charset = "utf-8"
    data = b""
    for place, (piece, encoded) in enumerate(pieces):
        if encoded and place == 0 and piece.count("'") >= 2:
            charset, _, piece = piece.split("'", 2)
        data += unquote_to_bytes(piece) if encoded else piece.encode("utf-8", "replace")
    return decode_text(data, charset)


def decode_words(value: str) -> str:
    """Return a header value with its encoded words (RFC 2047) decoded."""
    if "=?" not in value:
        return clean_text(value)
    value = _BETWEEN_WORDS.sub(r"\1", value)
    pieces: list[str] = []
    data, charset, at = b"", "", 0
    for word in _WORD.finditer(value):
        name = word.group(1).lower()
        if word.start() > at or name != charset:
            pieces.append(decode_text(data, charset))
            pieces.append(value[at : word.start()])
            data, charset = b"", name
        data += _word_bytes(word.group(2), word.group(3))
        at = word.end()
    pieces.append(decode_text(data, charset))
    pieces.append(value[at:])
    return clean_text("".join(pieces))


def _word_bytes(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if encoding in "Bb":
        return from_base64(raw)
    return binascii.a2b_qp(raw, header=True)


def from_base64(data: bytes) -> bytes:
    """Return what base64 says, as far as it can be read."""
    data = _NO_BASE64.sub(b"", data.partition(b"=")[0])
    if len(data) % 4 == 1:
        data = data[:-1]
    return binascii.a2b_base64(data + b"=" * (-len(data) % 4))


def decode_text(data: bytes, charset: str = "") -> str:
    """Return bytes as text: in the charset named, in UTF-8 when it is unknown or none."""
    name = charset.strip().lower().replace("-", "_").replace(" ", "_")
    known = name in _CODECS and aliases.get(name, name) not in _UNSAFE | _NO_TEXT | _NO_TEXT_EITHER
    return clean_text(data.decode(name if known else "utf-8", "replace"))


def decode_transfer(part: Part) -> bytes:
    """Return a part's bytes without their transfer encoding."""
    coding = part.headers.raw("content-transfer-encoding").strip().lower()
    if coding == "base64":
        return from_base64(part.content)
    if coding == "quoted-printable":
        return binascii.a2b_qp(part.content)
    return part.content


def media_type(value: str) -> str:
    """Return a media type in lower case; ``application/octet-stream`` for what is none."""
    value = value.strip().lower()
    return value if _MIME_TYPE.fullmatch(value) else UNKNOWN_TYPE
