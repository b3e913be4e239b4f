"""Segments of text messages: what a text takes on the air, and pieces that fit."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit.exceptions import InvalidInputError
from roomkit.providers.sms import SegmentCount, count_segments, split_segments
from roomkit.providers.sms.segments import GSM_7, UCS_2

BASIC = (
    "@\u00a3$\u00a5\u00e8\u00e9\u00f9\u00ec\u00f2\u00c7\n\u00d8\u00f8\r\u00c5\u00e5"
    "\u0394_\u03a6\u0393\u039b\u03a9\u03a0\u03a8\u03a3\u0398\u039e\u00c6\u00e6\u00df\u00c9"
    " !\"#\u00a4%&'()*+,-./0123456789:;<=>?"
    "\u00a1ABCDEFGHIJKLMNOPQRSTUVWXYZ\u00c4\u00d6\u00d1\u00dc\u00a7"
    "\u00bfabcdefghijklmnopqrstuvwxyz\u00e4\u00f6\u00f1\u00fc\u00e0"
)
"""3GPP TS 23.038, 6.2.1: code points 0x00 to 0x7F, the escape left out."""

EXTENSION = "\f^{}\\[~]|\u20ac"
"""3GPP TS 23.038, 6.2.1.1."""

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
TEXTS = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(BASIC + EXTENSION),
        st.sampled_from("e\u0301\u200d\ufe0f\U0001f600\U0001f3fd\U0001f1e8\U0001f1e6\u20ac"),
    ),
    max_size=400,
)


def units(text: str) -> int:
    """Return the 16-bit units of a text."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class TestCount:
    """Encoding, units and segments."""

    @pytest.mark.parametrize(
        ("text", "encoding", "taken", "segments"),
        [
            ("", GSM_7, 0, 0),
            ("a", GSM_7, 1, 1),
            ("a" * 160, GSM_7, 160, 1),
            ("a" * 161, GSM_7, 161, 2),
            ("a" * 306, GSM_7, 306, 2),
            ("a" * 307, GSM_7, 307, 3),
            ("\u20ac" * 80, GSM_7, 160, 1),
            ("\u20ac" * 81, GSM_7, 162, 2),
            ("\u00ea" * 70, UCS_2, 70, 1),
            ("\u00ea" * 71, UCS_2, 71, 2),
            ("\u00ea" * 134, UCS_2, 134, 2),
            ("\u00ea" * 135, UCS_2, 135, 3),
            ("\U0001f600" * 35, UCS_2, 70, 1),
            ("\U0001f600" * 36, UCS_2, 72, 2),
            ("a" * 159 + "\u2019", UCS_2, 160, 3),
        ],
    )
    def test_borders(self, text: str, encoding: str, taken: int, segments: int) -> None:
        """One unit more than fits takes another segment, joined ones hold a little less."""
        assert count_segments(text) == SegmentCount(encoding, taken, segments)

    def test_the_alphabet(self) -> None:
        """127 characters of one septet, ten of two; all others need 16 bits."""
        assert len(set(BASIC)) == len(BASIC) == 127
        for char in BASIC:
            assert count_segments(char) == SegmentCount(GSM_7, 1, 1)
        for char in EXTENSION:
            assert count_segments(char) == SegmentCount(GSM_7, 2, 1)
        known = set(BASIC + EXTENSION)
        for code in range(0x3000):
            if chr(code) not in known:
                assert count_segments(chr(code)).encoding == UCS_2

    def test_a_pair_is_never_torn(self) -> None:
        """A pair that would lie over two segments moves on and leaves a unit empty."""
        assert count_segments("a" * 152 + "\u20ac" + "a" * 151).segments == 2
        assert count_segments("a" * 152 + "\u20ac" + "a" * 152).segments == 3
        assert count_segments("\U0001f600" * 66).segments == 2
        assert count_segments("\U0001f600" * 67) == SegmentCount(UCS_2, 134, 3)

    def test_a_lone_surrogate_counts_as_one(self) -> None:
        """Such text cannot be sent, but counting it does not fail."""
        assert count_segments("\ud800") == SegmentCount(UCS_2, 1, 1)


class TestSplit:
    """Pieces that fit and lose nothing."""

    def test_short_and_empty_texts(self) -> None:
        """What fits is one piece, nothing is none."""
        assert split_segments("") == []
        assert split_segments("hello") == ["hello"]
        assert split_segments("a" * 160) == ["a" * 160]

    def test_on_the_borders(self) -> None:
        """A piece is as long as can be."""
        assert [len(p) for p in split_segments("a" * 500)] == [160, 160, 160, 20]
        assert [len(p) for p in split_segments("a" * 500, 2)] == [306, 194]
        assert [len(p) for p in split_segments("\u00ea" * 150)] == [70, 70, 10]
        assert [len(p) for p in split_segments("\u00ea" * 150, 2)] == [134, 16]
        assert [len(p) for p in split_segments("a" * 500, 9, max_units=200)] == [200, 200, 100]

    def test_each_piece_has_its_own_encoding(self) -> None:
        """One strange character does not make the whole text expensive."""
        first, second = split_segments("a" * 160 + "\u2019" + "b" * 60)
        assert count_segments(first).encoding == GSM_7
        assert count_segments(second).encoding == UCS_2

    @pytest.mark.parametrize(
        "character",
        [
            FAMILY,
            "\U0001f44d\U0001f3fd",
            "e\u0301",
            "\u2764\ufe0f",
            "\U0001f1e8\U0001f1e6",
            "\U0001f3f4\U000e0067\U000e0062\U000e007f",
            "\u1112\u1161\u11ab",
            "\r\n",
            "\u20ac",
            "\U0001f600",
        ],
    )
    def test_no_character_is_torn(self, character: str) -> None:
        """Wherever the border falls, people see whole characters."""
        for lead in range(71):
            pieces = split_segments("\u00ea" * lead + character * 40)
            for piece in pieces[1:]:
                body = piece.replace(character, "")
                assert body in ("", "\u00ea" * len(body))
                assert not unicodedata.combining(piece[0])
            assert sum(piece.count(character) for piece in pieces) == 40

    def test_a_character_longer_than_a_piece(self) -> None:
        """Better cut than endless: it is cut between code points."""
        endless = "e" + "\u0301" * 200
        pieces = split_segments(endless)
        assert "".join(pieces) == endless
        assert [len(piece) for piece in pieces] == [70, 70, 61]

    @pytest.mark.parametrize(
        ("limits", "name"),
        [({"max_segments": 0}, "max_segments"), ({"max_units": 1}, "max_units")],
    )
    def test_limits_nothing_fits(self, limits: dict[str, int], name: str) -> None:
        """They are refused by name."""
        with pytest.raises(InvalidInputError, match=name):
            split_segments("a", **limits)

    @settings(max_examples=300, deadline=None)
    @given(
        text=TEXTS,
        segments=st.integers(1, 4),
        most=st.one_of(st.none(), st.integers(2, 400)),
    )
    def test_any_text(self, text: str, segments: int, most: int | None) -> None:
        """Joined the pieces are the text; each fits both limits and is not empty."""
        pieces = split_segments(text, segments, max_units=most)
        assert "".join(pieces) == text
        for piece in pieces:
            counted = count_segments(piece)
            assert 1 <= counted.segments <= segments
            assert most is None or counted.units <= most
            assert units(piece) <= counted.units
