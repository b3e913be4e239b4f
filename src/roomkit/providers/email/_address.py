"""Addresses of mail headers (RFC 5322), read in one pass and never further than asked."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_LIST = 64 * 1024
"""Characters of an address header that are read."""

MOST_ADDRESSES = 1000

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[(),;<>:\\]|[^"(),;<>:\\]+', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """Who a header names. Its representation shows neither name nor address.

    Attributes:
        name: The display name; empty for none.
        email: The bare address.
    """

    name: str
    email: str

    def __repr__(self) -> str:
        return "Address()"


def addresses(value: str) -> list[Address]:
    """Return the addresses of a header, its encoded words already decoded, in order.

    Groups are opened, comments dropped; what holds no address is left out.

    Args:
        value: Such as ``Ana <ana@example.org>, "Smith, Bob" <bob@example.org>``.
    """
    found: list[Address] = []
    reader = _Reader()
    for piece in _TOKEN.findall(value[:LONGEST_LIST]):
        if reader.take(piece):
            found.extend(reader.finish())
        if len(found) >= MOST_ADDRESSES:
            return found[:MOST_ADDRESSES]
    found.extend(reader.finish())
    return found


def first_address(value: str) -> Address:
    """Return the first address of a header; an empty one when there is none."""
    return next(iter(addresses(value)), Address("", ""))


class _Reader:
    """Collects the pieces of one address at a time."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._angle: list[str] | None = None
        self._inside = False
        self._comments = 0

    def take(self, piece: str) -> bool:
        """Take the next piece; True at the end of an address."""
        if piece in ("(", ")"):
            self._comments = max(0, self._comments + (1 if piece == "(" else -1))
        elif self._comments:
            return False
        elif self._inside:
            self._take_inside(piece)
        elif piece == "<":
            self._inside, self._angle = True, []
        elif piece in (",", ";"):
            return True
        elif piece == ":":
            # What stood before it is the name of a group.
            self._words = []
        elif piece not in (">", "\\"):
            self._words.append(_unquoted(piece))
        return False

    def _take_inside(self, piece: str) -> None:
        if piece == ">":
            self._inside = False
        elif self._angle is not None and piece != "<":
            self._angle.append(piece)

    def finish(self) -> list[Address]:
        """Return the address that was read, and begin the next."""
        words, angle = "".join(self._words), self._angle
        self._words, self._angle, self._inside = [], None, False
        if angle is not None:
            email = "".join(angle).strip()
            # A route (obsolete) ends at its last colon.
            return _one(" ".join(words.split()), email.rpartition(":")[2])
        return _one("", words.strip())


def _one(name: str, email: str) -> list[Address]:
    return [Address(name, email)] if email and not any(c.isspace() for c in email) else []


def _unquoted(piece: str) -> str:
    if not piece.startswith('"'):
        return piece
    inner = piece[1:-1] if len(piece) > 1 and piece.endswith('"') else piece[1:]
    return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL)
