"""The notes for AI assistants that travel with the package: llms.txt and AGENTS.md.

A wheel carries both files inside the package. In a checkout they lie at the root of the
repository, two folders above this module. The documentation for people is another matter: it lies
in `docs/`.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

_PACKAGE = "roomkit"
_LLMS_TXT = "llms.txt"
_AGENTS_MD = "AGENTS.md"


def get_llms_txt() -> str:
    """Return the text of llms.txt: what RoomKit is and where its documentation lies.

    Raises:
        FileNotFoundError: The file is neither in the package nor at the root of a checkout.
    """
    return _read(_LLMS_TXT)


def get_agents_md() -> str:
    """Return the text of AGENTS.md: how to write code with RoomKit and how to work on it.

    Raises:
        FileNotFoundError: The file is neither in the package nor at the root of a checkout.
    """
    return _read(_AGENTS_MD)


def get_ai_context() -> str:
    """Return both files as one text for an assistant's context, AGENTS.md first.

    Raises:
        FileNotFoundError: One of the two files is missing.
    """
    sections = ((_AGENTS_MD, get_agents_md()), (_LLMS_TXT, get_llms_txt()))
    parts = [f"## {name}\n\n{text.strip()}\n" for name, text in sections]
    return "\n".join(["# RoomKit AI Context\n", *parts])


def _read(name: str) -> str:
    folder = Path(__file__).resolve().parent
    for candidate in (files(_PACKAGE) / name, folder / name, folder.parents[1] / name):
        if candidate.is_file():
            return candidate.read_text(encoding="utf-8")
    raise FileNotFoundError(f"{name} was not found in the {_PACKAGE} package or above it")
