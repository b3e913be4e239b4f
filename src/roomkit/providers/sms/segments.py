"""How many segments a text takes on the air, and how to cut it so that each piece fits.

An SMS carries 140 bytes. Text of the GSM 7-bit default alphabet and its extension table (3GPP
TS 23.038, 6.2.1) has 160 units in one segment, any other text is UCS-2 with 70. A text of
several segments gives six bytes of each to the header that joins them (3GPP TS 23.040,
9.2.3.24.1), which leaves 153 or 67. National language tables are not used: few vendors do.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roomkit.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

GSM_7 = "GSM-7"
UCS_2 = "UCS-2"

_ALONE = {GSM_7: 160, UCS_2: 70}
_JOINED = {GSM_7: 153, UCS_2: 67}
_WIDEST = 2
"""Units of one character: an escape and its letter, or a surrogate pair."""

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")

_FIRST_MARK = "\u0300"
_ZERO_WIDTH_JOINER = "\u200d"


@dataclass(frozen=True, slots=True)
class SegmentCount:
    """What a text takes.

    Attributes:
        encoding: ``GSM-7`` or ``UCS-2``.
        units: Septets (a character of the extension table is two), or 16-bit units of UTF-16.
        segments: Segments on the air, which is what vendors charge for; 0 for no text.
    """

    encoding: str
    units: int
    segments: int


def count_segments(text: str) -> SegmentCount:
    """Return the encoding a text needs and how many units and segments it takes.

    A pair of units is never torn over two segments, so a segment may stay one unit short.
    """
    piece = _Piece()
    piece.take(text)
    return piece.count


def split_segments(text: str, max_segments: int = 1, *, max_units: int | None = None) -> list[str]:
    """Return a text in pieces that each fit; joined they are the text again.

    A piece is as long as can be. It ends neither within an escape or surrogate pair nor within
    a character as people see it, unless that alone is longer than a piece.

    Args:
        text: What to cut.
        max_segments: Segments a piece may take, at least 1.
        max_units: Units a piece may take, at least 2; None for no such limit.

    Raises:
        InvalidInputError: A limit is too small for any text.
    """
    if max_segments < 1:
        raise InvalidInputError("max_segments must be at least 1")
    if max_units is not None and max_units < _WIDEST:
        raise InvalidInputError(f"max_units must be at least {_WIDEST}")
    pieces: list[str] = []
    piece = _Piece()
    for cluster in _clusters(text):
        if piece.fits(cluster, max_segments, max_units):
            continue
        if piece.text:
            pieces.append(piece.text)
            piece = _Piece()
        if piece.fits(cluster, max_segments, max_units):
            continue
        for char in cluster:
            if not piece.fits(char, max_segments, max_units):
                pieces.append(piece.text)
                piece = _Piece()
                piece.take(char)
    if piece.text:
        pieces.append(piece.text)
    return pieces


class _Packing:
    """Units laid into segments of one size, pairs kept whole."""

    __slots__ = ("segments", "size", "used")

    def __init__(self, size: int) -> None:
        self.size = size
        self.segments = 0
        self.used = size  # as if the segment before the first were full

    def add(self, width: int) -> None:
        if self.used + width > self.size:
            self.segments += 1
            self.used = 0
        self.used += width

    @property
    def state(self) -> tuple[int, int]:
        return self.segments, self.used

    @state.setter
    def state(self, state: tuple[int, int]) -> None:
        self.segments, self.used = state


class _Piece:
    """A piece of text that grows, and what it takes; both encodings are counted at once."""

    __slots__ = ("_chars", "_gsm", "_joined", "_units")

    def __init__(self) -> None:
        self._chars: list[str] = []
        self._gsm = True
        self._units = {GSM_7: 0, UCS_2: 0}
        self._joined = {encoding: _Packing(size) for encoding, size in _JOINED.items()}

    @property
    def text(self) -> str:
        return "".join(self._chars)

    @property
    def count(self) -> SegmentCount:
        encoding = GSM_7 if self._gsm else UCS_2
        units = self._units[encoding]
        segments = self._joined[encoding].segments
        if units <= _ALONE[encoding]:
            segments = min(1, units)
        return SegmentCount(encoding, units, segments)

    def take(self, chars: str) -> None:
        """Make the text longer."""
        for char in chars:
            self._lay(char)
        self._chars.append(chars)

    def fits(self, chars: str, max_segments: int, max_units: int | None) -> bool:
        """Make the text longer if the limits allow it, and tell whether they did."""
        before = self._gsm, dict(self._units), {k: p.state for k, p in self._joined.items()}
        for char in chars:
            self._lay(char)
        now = self.count
        if now.segments <= max_segments and (max_units is None or now.units <= max_units):
            self._chars.append(chars)
            return True
        self._gsm, self._units, states = before
        for encoding, state in states.items():
            self._joined[encoding].state = state
        return False

    def _lay(self, char: str) -> None:
        wide = 2 if char > "\uffff" else 1
        self._units[UCS_2] += wide
        self._joined[UCS_2].add(wide)
        if not self._gsm:
            return
        width = 1 if char in _BASIC else 2 if char in _EXTENSION else 0
        if not width:
            self._gsm = False
            return
        self._units[GSM_7] += width
        self._joined[GSM_7].add(width)


def _clusters(text: str) -> Iterator[str]:
    """Yield the characters as people see them, as far as the rules below know them."""
    start = 0
    flags = 0
    for place in range(1, len(text)):
        before, after = text[place - 1], text[place]
        flags = flags + 1 if _is_flag_half(before) else 0
        if _belong_together(before, after, flags):
            continue
        yield text[start:place]
        start = place
        flags = 0
    if text:
        yield text[start:]


def _belong_together(before: str, after: str, flags: int) -> bool:
    """Tell whether two characters show as one; ``flags`` halves of flags stand before."""
    if before == "\r" and after == "\n":
        return True
    if after < _FIRST_MARK:
        return False
    return (
        _ZERO_WIDTH_JOINER in (before, after)
        or unicodedata.category(after)[0] == "M"  # variation selectors too
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= after <= "\U000e007f"  # tags of regional flags
        or "\u1160" <= after <= "\u11ff"  # vowels and finals of conjoining Hangul
        or (_is_flag_half(after) and flags % 2 == 1)
        or ("\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff")
    )


def _is_flag_half(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"
