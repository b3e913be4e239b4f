"""The notes for AI assistants that travel with the package: llms.txt, AGENTS.md, llms-full.txt.

A wheel carries the files inside the package. In a checkout the first two lie at the root of the
repository, two folders above this module; the third is put together from them, the pages of
`docs/` and the list of public names, here and by the build (`scripts/hatch_build.py`), so nobody
has to keep it in step. The documentation for people is another matter: it lies in `docs/`.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

__all__ = ["get_agents_md", "get_ai_context", "get_llms_full_txt", "get_llms_txt"]

_PACKAGE = "roomkit"
_LLMS_TXT = "llms.txt"
_AGENTS_MD = "AGENTS.md"
_LLMS_FULL_TXT = "llms-full.txt"
_NAMES = "tests/data/public_api.txt"
_LIMIT = 149_500
"""Bytes of llms-full.txt: what fits into the context of most models beside a program."""
_LONG = 12
_TRANSPORT = ", client: httpx.AsyncClient = None, transport: httpx.AsyncBaseTransport = None"
_KEY = """\
# An enum's member is its name in lower case, unless it is shown. A default of None says that the
# type may be None as well; ... is a default made anew. What has no arrow returns nothing. A class
# with fields and no base is a pydantic model or a dataclass.
# Providers that speak HTTP also take client= and transport=, of httpx, by keyword."""


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


def get_llms_full_txt() -> str:
    """Return llms-full.txt: the notes, the public names and the pages, less than 150 KB.

    It follows llms.txt: the pages linked there, in that order, without those under "Optional".
    What finds no room is named at the end.

    Raises:
        FileNotFoundError: The file is not in the package, and there is no checkout to make it
            from.
    """
    try:
        return _read(_LLMS_FULL_TXT)
    except FileNotFoundError:
        return assemble(Path(__file__).resolve().parents[2])


def get_ai_context() -> str:
    """Return both short files as one text for an assistant's context, AGENTS.md first.

    Raises:
        FileNotFoundError: One of the two files is missing.
    """
    sections = ((_AGENTS_MD, get_agents_md()), (_LLMS_TXT, get_llms_txt()))
    parts = [f"## {name}\n\n{text.strip()}\n" for name, text in sections]
    return "\n".join(["# RoomKit AI Context\n", *parts])


def assemble(root: Path) -> str:
    """Return what llms-full.txt of a checkout is.

    Args:
        root: The folder that holds llms.txt.

    Raises:
        FileNotFoundError: Something it is made of is missing.
    """
    overview = _file(root, _LLMS_TXT)
    linked = re.findall(r"\]\(([\w./-]+\.md)\)", overview.partition("\n## Optional")[0])
    parts = [
        overview.partition("\n## ")[0].strip(),
        _section(_AGENTS_MD, _file(root, _AGENTS_MD)),
        _section("Public names", _public_names(_file(root, _NAMES))),
    ]
    size = sum(len(part.encode()) + 2 for part in parts)
    left_out = []
    for name in dict.fromkeys(linked):
        if name == _AGENTS_MD:
            continue
        part = _section(name, _file(root, name))
        size += len(part.encode()) + 2
        if size > _LIMIT:
            size -= len(part.encode()) + 2
            left_out.append(name)
        else:
            parts.append(part)
    if left_out:
        parts.append(_section("Not in here", f"For want of room: {', '.join(left_out)}."))
    return "\n\n".join(parts) + "\n"


def _public_names(listing: str) -> str:
    """Return the names of the package itself as signatures and fields, from the list of all.

    Methods are kept for the kit and, where a class is to be derived from, the abstract ones. It
    is written as shortly as can still be read: this is a third of llms-full.txt.
    """
    described = _described(listing)
    lines = [_KEY]
    for name, own in described["roomkit"].items():
        home = re.fullmatch(r"\w+ of (\S+)", own[0])
        found = described[home[1]][name] if home else own
        if found[0].startswith("enum "):
            lines += [found[0], " " + " ".join(map(_member, filter(_is_told, found[1:])))]
        else:
            told = [line for line in found if name == "RoomKit" or _is_told(line)]
            lines += map(_shortened, _without_long_contracts(told))
    return "\n".join(["```text", *lines, "```"])


def _shortened(line: str) -> str:
    """Return a line without what a reader of the key knows."""
    line = re.sub("^ +", " ", line).replace("(self, ", "(").replace("(self)", "()")
    line = re.sub(r"\b(?:roomkit|collections|typing|datetime)\.(?:\w+\.)*(?=\w)", "", line)
    line = line.replace("(BaseModel)", "").replace(" | None = None", " = None")
    line = line.replace("= <made>", "= ...").removesuffix(" -> None")
    return re.sub(r"^class RoomKit\(.*?\)", "class RoomKit", line).replace(_TRANSPORT, "")


def _without_long_contracts(lines: list[str]) -> list[str]:
    """Return the lines of a class, a long row of methods to implement as their names alone."""
    names = [found[1] for line in lines if (found := re.match(r" +abstract .*?(\w+)\(", line))]
    if len(names) < _LONG:
        return lines
    kept = [line for line in lines if not line.lstrip().startswith("abstract ")]
    return [*kept, f" abstract: {' '.join(names)}"]


def _described(listing: str) -> dict[str, dict[str, list[str]]]:
    """Return the list of public names taken apart: module to name to its lines."""
    modules: dict[str, dict[str, list[str]]] = {}
    here: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in listing.splitlines():
        if line.startswith("["):
            here = modules.setdefault(line.strip("[]"), {})
        elif line.startswith(" "):
            lines.append(line)
        elif found := re.match(r"(?:class |enum |async |def )*(\w+)", line):
            lines = here.setdefault(found[1], [line])
    return modules


def _is_told(line: str) -> bool:
    """Return whether a line about a class is a headline, a field or something to implement."""
    if not line.startswith(" "):
        return True
    if "ClassVar[" in line or re.match(" +(?:category|channel_type|direction) = ", line):
        return False
    return "(" not in line.partition("=")[0] or line.lstrip().startswith("abstract")


def _member(line: str) -> str:
    """Return a member of an enum without a value that says nothing new."""
    name, _, value = line.strip().partition(" = ")
    return name if value == f"'{name.lower()}'" else f"{name}={value}"


def _section(name: str, text: str) -> str:
    return f"<!-- {name} -->\n\n{text.strip()}"


def _file(root: Path, name: str) -> str:
    path = root / name
    if not path.is_file():
        raise FileNotFoundError(f"{_LLMS_FULL_TXT} cannot be made: {name} was not found")
    return path.read_text(encoding="utf-8")


def _read(name: str) -> str:
    folder = Path(__file__).resolve().parent
    for candidate in (files(_PACKAGE) / name, folder / name, folder.parents[1] / name):
        if candidate.is_file():
            return candidate.read_text(encoding="utf-8")
    raise FileNotFoundError(f"{name} was not found in the {_PACKAGE} package or above it")
