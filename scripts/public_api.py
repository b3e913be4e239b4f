"""Writes down what the package offers, one name a line, so that a change of it is seen.

    .venv/bin/python -m scripts.public_api            write tests/data/public_api.txt anew
    .venv/bin/python -m scripts.public_api --check    say what differs; 1 when something does

A section per public module: no part of its name begins with an underscore, and it is not one of
`INSIDE`. A module's names are those of its `__all__`, or else the public ones it defines. A class
comes with its bases, its constructor, fields, members and values. What is only handed on from
elsewhere is named with its home. Docstrings, the order in a file and private names do not count.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import enum
import inspect
import pkgutil
import re
import sys
import types
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import roomkit

FILE = Path(__file__).resolve().parents[1] / "tests" / "data" / "public_api.txt"
HOW = ".venv/bin/python -m scripts.public_api"
# Public by their spelling, but the engine's own; the command line is described in docs/cli.md.
INSIDE = ("roomkit.core.pipeline", "roomkit.core.services", "roomkit.cli", "roomkit.__main__")
_ADDRESS = re.compile(r"<([\w.]+)[^<>]* at 0x[0-9a-f]+>")
_SPOKEN = {"__call__", "__aenter__", "__aiter__"}
_ENUM = re.compile(r"<(\w+\.\w+): [^<>]*>")


def modules() -> list[str]:
    """Return the public modules of the package, sorted."""
    found = (info.name for info in pkgutil.walk_packages(roomkit.__path__, "roomkit."))
    return [*sorted(filter(is_public, found)), "roomkit"]


def is_public(module: str) -> bool:
    """Return whether programs may import from a module."""
    inside = f"{module}.".startswith(tuple(f"{name}." for name in INSIDE))
    return not inside and "._" not in module


def shown(value: Any) -> str:
    """Return a value as code would spell it, the same on every run and Python."""
    if inspect.isroutine(value) or inspect.isclass(value):
        return str(getattr(value, "__qualname__", value))
    if isinstance(value, (frozenset, set)):
        return f"{type(value).__name__}({{{', '.join(sorted(map(shown, value)))}}})"
    return _ENUM.sub(r"\1", _ADDRESS.sub(r"<\1>", repr(value)))


def annotation(value: Any) -> str:
    """Return an annotation as it is written in the source."""
    if isinstance(value, str):
        return value.strip("'\"")
    return value.__name__ if inspect.isclass(value) else str(value).replace("typing.", "")


def signature(function: Any) -> str:
    """Return a function's parameters and result as they are written in the source."""
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):
        return "(...)"
    parts, star = [], False
    for parameter in found.parameters.values():
        text = parameter.name
        if parameter.kind is parameter.VAR_POSITIONAL:
            text, star = f"*{text}", True
        elif parameter.kind is parameter.VAR_KEYWORD:
            text = f"**{text}"
        elif parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            parts.append("*")
        if parameter.annotation is not parameter.empty:
            text += f": {annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {shown(parameter.default)}"
        parts.append(text)
    result = found.return_annotation
    arrow = "" if result is found.empty else f" -> {annotation(result)}"
    return f"({', '.join(parts)}){arrow}"


def ours(cls: type) -> bool:
    """Return whether a class is one of this package."""
    return cls.__module__.partition(".")[0] == "roomkit"


def member(name: str, value: Any) -> str | None:
    """Return one line about an attribute of a class; None: it is of no interest."""
    if isinstance(value, property):
        result = inspect.signature(value.fget).return_annotation if value.fget else ""
        return f"{name}: {annotation(result)}  (property)"
    kind = ""
    if isinstance(value, (staticmethod, classmethod)):
        kind, value = f"{type(value).__name__} ", value.__func__
    if inspect.isfunction(value):
        also = "async " if inspect.iscoroutinefunction(value) else ""
        if getattr(value, "__isabstractmethod__", False):
            also = f"abstract {also}"
        return f"{kind}{also}{name}{signature(value)}"
    if inspect.isdatadescriptor(value) or name in {"model_config", "pytestmark"}:
        return None
    return f"{name} = {shown(value)}"


def fields(cls: type) -> dict[str, str]:
    """Return the declared attributes of a class, dataclass or model: name to type and default."""
    model = getattr(cls, "__pydantic_fields__", {})
    listed: tuple[Any, ...] = dataclasses.fields(cast("Any", cls)) if _is_data(cls) else ()
    data = {one.name: one for one in listed}
    found = {}
    for name, kind in vars(cls).get("__annotations__", {}).items():
        if name.startswith("_"):
            continue
        field = model.get(name) or data.get(name)
        default = getattr(field, "default", None) if field is not None else None
        factory = getattr(field, "default_factory", None)
        text = f"{name}: {annotation(kind)}"
        if factory is not None and factory is not dataclasses.MISSING:
            text += " = <made>"
        elif field is not None and not _is_missing(default):
            text += f" = {shown(default)}"
        found[name] = text
    return found


def _is_data(cls: type) -> bool:
    return "__dataclass_fields__" in vars(cls)


def _is_missing(value: Any) -> bool:
    return value is dataclasses.MISSING or type(value).__name__ == "PydanticUndefinedType"


def sources(cls: type) -> list[type]:
    """Return the class and the private ones of ours it is made of."""
    return [
        base
        for base in cls.__mro__
        if base is cls
        or (ours(base) and (base.__name__.startswith("_") or "._" in base.__module__))
    ]


def class_lines(name: str, cls: type) -> list[str]:
    """Return what a class offers: a headline and one indented line for each member."""
    bases = ", ".join(
        base.__name__ for base in cls.__bases__ if base is not object and base in _spoken(base)
    )
    if isinstance(cls, enum.EnumMeta):
        members: dict[str, Any] = dict(cls.__members__)
        values = [f"    {one.name} = {one.value!r}" for one in members.values()]
        return [f"enum {name}({bases})", *values, *_members(cls, set(members))]
    own = any("__init__" in vars(base) for base in sources(cls) if base is not object)
    listed = _is_data(cls) or hasattr(cls, "__pydantic_fields__") or "Protocol" in bases
    made = signature(cls) if own and not listed else ""
    head = f"class {name}({bases})" if bases else f"class {name}"
    declared: dict[str, str] = {}
    for base in reversed(sources(cls)):
        declared |= fields(base)
    lines = [f"    {text}" for _, text in sorted(declared.items())]
    if made:
        head += f" made with {made.removesuffix(' -> None')}"
    return [head, *lines, *_members(cls, set(declared))]


def _spoken(base: type) -> tuple[type, ...]:
    return () if base.__name__.startswith("_") else (base,)


def _members(cls: type, known: set[str]) -> list[str]:
    found: dict[str, str] = {}
    for base in reversed(sources(cls)):
        for name, value in vars(base).items():
            public = not name.startswith(("_", "test_")) or name in _SPOKEN
            text = member(name, value) if public and name not in known else None
            if text:
                found[name] = text
    return [f"    {text}" for _, text in sorted(found.items())]


def lines_of(name: str, value: Any, home: str, described: dict[int, str]) -> list[str]:
    """Return the lines about one name of a module; `described` knows who had its own before."""
    if inspect.isclass(value) or inspect.isfunction(value):
        place = described.get(id(value)) or value.__module__
        if place != home and (id(value) in described or is_public(place)):
            return [f"{name} of {place}"]
        described[id(value)] = home
        if inspect.isclass(value):
            return class_lines(name, value)
        also = "async " if inspect.iscoroutinefunction(value) else ""
        return [f"{also}def {name}{signature(value)}"]
    if isinstance(value, types.MappingProxyType | dict):
        return [f"{name}: a mapping of {len(value)}"]
    text = shown(value)
    fixed = not (inspect.ismodule(value) or name.startswith("HAS_") or len(text) > 300)
    return [f"{name} = {text}" if fixed else name]


def names(module: Any) -> list[str]:
    """Return the public names of a module."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    )


def written() -> str:
    """Return the whole list."""
    parts = [
        "# What RoomKit offers. Made by scripts/public_api.py; do not edit.",
        f"# After an intended change: {HOW}",
    ]
    described: dict[int, str] = {}
    for home in modules():
        module = import_module(home)
        found = [
            line
            for name in names(module)
            if name != "__version__"
            for line in lines_of(name, getattr(module, name), home, described)
        ]
        if found:
            parts += ["", f"[{home}]", *found]
    return "\n".join(parts) + "\n"


def differences() -> list[str]:
    """Return what the file and the package disagree on, as lines of a diff; [] when nothing."""
    old = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
    return list(
        difflib.unified_diff(
            old.splitlines(), written().splitlines(), "written down", "the package", "", "", 1, ""
        )
    )


def main(argv: list[str] | None = None) -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if parser.parse_args(argv).check:
        found = differences()
        print(*found, sep="\n")
        return 1 if found else 0
    FILE.write_text(written(), encoding="utf-8")
    print(f"{len(FILE.read_text(encoding='utf-8').splitlines())} lines in {FILE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
