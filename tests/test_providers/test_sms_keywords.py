"""The words that stop and start text messages, and ask for help."""

from __future__ import annotations

import pytest

from roomkit.providers.sms import opt_keyword


class TestOptKeyword:
    """The whole message is the word."""

    @pytest.mark.parametrize(
        ("words", "meaning"),
        [
            ("STOP STOPALL UNSUBSCRIBE CANCEL END QUIT REVOKE OPTOUT ARRET ARR\u00caT", "stop"),
            ("START YES UNSTOP", "start"),
            ("HELP INFO AIDE", "help"),
        ],
    )
    def test_the_lists(self, words: str, meaning: str) -> None:
        """In any case, of CTIA's lists and the French ones."""
        for word in words.split():
            for spelling in (word, word.lower(), word.title(), f" {word}\n", f"{word}."):
                assert opt_keyword(spelling) == meaning

    @pytest.mark.parametrize(
        "text",
        [
            "Stop!!",
            "\u00abSTOP\u00bb",
            "*stop*",
            "stop \U0001f6d1",
            "opt-out",
            "Opt out",
            "stop all",
            "\uff33\uff34\uff2f\uff30",
            "arre\u0302t",
        ],
    )
    def test_decorated(self, text: str) -> None:
        """Punctuation, emoji, wide letters and either form of accents do not matter."""
        assert opt_keyword(text) == "stop"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "...",
            "please stop",
            "stop please",
            "stop it",
            "stopped",
            "non-stop",
            "st op",
            "yes please",
            "no",
            "STOP" * 100,
            "stop" + " " * 100,
            "\ud800",
            "x" * 1_000_000,
        ],
    )
    def test_anything_else(self, text: str) -> None:
        """A sentence with the word in it is no request, and endless text costs nothing."""
        assert opt_keyword(text) is None
