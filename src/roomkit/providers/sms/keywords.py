"""The words that stop and start text messages, and ask for help.

The lists are those of the CTIA Messaging Principles and of carriers in the United States and
Canada, French words included. Vendors act on most of them themselves; what is told here is for
programs that keep consent of their own. It changes nothing by itself.
"""

from __future__ import annotations

import unicodedata
from typing import Literal

OptKeyword = Literal["stop", "start", "help"]
"""What a message asks for by one of the words."""

_WORDS: dict[str, OptKeyword] = {
    "stop": "stop",
    "stopall": "stop",
    "stop all": "stop",
    "unsubscribe": "stop",
    "cancel": "stop",
    "end": "stop",
    "quit": "stop",
    "revoke": "stop",
    "optout": "stop",
    "opt out": "stop",
    "arret": "stop",
    "start": "start",
    "yes": "start",
    "unstop": "start",
    "help": "help",
    "info": "help",
    "aide": "help",
}
_LONGEST = 64
"""Characters of a message that is looked at; decorated words are shorter."""


def opt_keyword(text: str) -> OptKeyword | None:
    """Return what a message asks for when the whole of it is one of the words, else None.

    Case, accents, punctuation and blanks around the word do not matter: ``Stop!`` and
    ``arrêt`` count, ``please stop`` does not. ``yes`` counts as ``start``, as carriers have
    it, whatever was asked before.

    Args:
        text: The message.
    """
    if len(text) > _LONGEST:
        return None
    plain = unicodedata.normalize("NFKD", text).casefold()
    letters = "".join(c for c in plain if not unicodedata.combining(c))
    words = "".join(c if c.isalnum() else " " for c in letters).split()
    return _WORDS.get(" ".join(words))
