"""T12: no regular expression of ours takes more than its text's length to fail.

Patterns are collected from every module, however deep they lie in its values, and literal ones
from calls of ``re`` by way of the source. Each is run the way its module runs it, on texts made
to hurt: the usual ones, and some made of the pattern's own letters.
"""

from __future__ import annotations

import ast
import functools
import importlib
import itertools
import pkgutil
import re
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

import pytest

import roomkit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE = Path(roomkit.__file__).parent
SHORT, LONG = 10_000, 100_000
CHEAP = 0.2
"""CPU seconds nobody asks about: four times the 50 ms a good machine may need."""

FAST = 0.05
"""CPU seconds a pattern may need for ``LONG`` characters."""

SIZES = (16, 20, 24, 28, 34, 40, 50, 200, 1000, SHORT, 30_000, LONG)
"""Small steps first: an explosion doubles its time with each few characters."""

GROWTH = 25.0
"""How many times the cost of ``SHORT`` that of ``LONG`` may be; linear is ten."""

METHODS = ("match", "fullmatch", "search", "sub", "subn", "findall", "finditer", "split")
ATTACKS = (
    *("a", " ", "<", ">", "\n", "(", ")", "0", "-", ".", ",", ";", "=", "[", "{", '"', "\\", "/"),
    *(
        "<at>",
        "> ",
        "</",
        "<!--",
        "@",
        "a@",
        "a.",
        " \n",
        "\n>",
        "On ",
        ":",
        "%41",
        "\u2615",
        "=?",
    ),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A pattern and how it is used.

    Attributes:
        where: Module and name, or module and line.
        pattern: Compiled.
        methods: Those its module calls on it; all when that cannot be told.
    """

    where: str
    pattern: re.Pattern[Any]
    methods: tuple[str, ...]

    def __str__(self) -> str:
        return self.where


def _modules() -> Iterator[tuple[str, Any]]:
    """Yield every module of the package that can be imported here."""
    yield roomkit.__name__, roomkit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for info in pkgutil.walk_packages(roomkit.__path__, "roomkit.", onerror=lambda name: None):
            if info.name.endswith("__main__"):
                continue
            try:
                yield info.name, importlib.import_module(info.name)
            except ImportError:
                continue  # an optional dependency is missing; the source is looked at all the same


def _patterns_in(value: Any, name: str, depth: int = 0) -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Yield the patterns in a module's value: itself, what it holds, attributes of classes."""
    if isinstance(value, re.Pattern):
        yield name, value
    elif depth < 4 and isinstance(value, Mapping):
        for key, item in list(value.items()):
            yield from _patterns_in(item, f"{name}[{str(key)[:20]}]", depth + 1)
            yield from _patterns_in(key, f"{name}[{str(key)[:20]}]", depth + 1)
    elif depth < 4 and isinstance(value, list | tuple | set | frozenset):
        for place, item in enumerate(value):
            yield from _patterns_in(item, f"{name}[{place}]", depth + 1)
    elif depth < 2 and isinstance(value, type) and value.__module__.startswith("roomkit"):
        for key, item in list(vars(value).items()):
            yield from _patterns_in(item, f"{name}.{key}", depth + 1)


def _calls(tree: ast.Module) -> Iterator[tuple[str, int, list[ast.expr]]]:
    """Yield the calls of ``re.<function>`` in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "re":
                yield node.func.attr, node.lineno, node.args


@functools.cache
def _trees() -> dict[str, ast.Module]:
    return {
        path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text())
        for path in sorted(SOURCE.rglob("*.py"))
    }


@functools.cache
def _uses() -> dict[str, set[str]]:
    """Return the methods that are called on each name, anywhere."""
    found: dict[str, set[str]] = {}
    for tree in _trees().values():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in METHODS
                and isinstance(node.value, ast.Name)
            ):
                found.setdefault(node.value.id, set()).add(node.attr)
    return found


@functools.cache
def collected() -> tuple[Found, ...]:
    """Return every pattern of ours, each once."""
    trees = _trees()
    found: dict[tuple[Any, int], Found] = {}
    for module_name, module in _modules():
        for name, value in list(vars(module).items()):
            for where, pattern in _patterns_in(value, name):
                key = (pattern.pattern, pattern.flags)
                used = _uses().get(name) if where == name else None
                methods = tuple(sorted(used)) if used else METHODS
                known = found.get(key)
                if known is not None:
                    methods = tuple(sorted({*known.methods, *methods}))
                found[key] = Found(f"{module_name}:{where}", pattern, methods)
    known_texts = {pattern for pattern, _ in found}
    for path, tree in trees.items():
        for function, line, args in _calls(tree):
            if function == "escape" or not args or not isinstance(args[0], ast.Constant):
                continue
            pattern = re.compile(args[0].value)
            if pattern.pattern not in known_texts:
                methods = METHODS if function == "compile" else (function,)
                key = (pattern.pattern, pattern.flags)
                found.setdefault(key, Found(f"{path}:{line}", pattern, methods))
    return tuple(found.values())


# -- texts that hurt ---------------------------------------------------------------------------


def _letters(parsed: Any) -> Iterator[str]:
    """Yield letters and words a pattern speaks of."""
    word = ""
    for code, argument in parsed:
        if code is codes.LITERAL:
            word += chr(argument)
            continue
        if word:
            yield word
            word = ""
        yield from _of(code, argument)
    if word:
        yield word


def _of(code: Any, argument: Any) -> Iterator[str]:
    if code is codes.IN:
        for kind, inner in argument:
            yield from _of_set(kind, inner)
    elif code is codes.BRANCH:
        for branch in argument[1]:
            yield from _letters(branch)
    elif code in (codes.NOT_LITERAL, codes.ANY):
        yield "x"
    else:
        # Where the inner pattern of each kind is.
        place = {codes.SUBPATTERN: 3, codes.ASSERT: 1, codes.ASSERT_NOT: 1}.get(code, 2)
        if code is codes.ATOMIC_GROUP:
            yield from _letters(argument)
        elif isinstance(argument, tuple) and len(argument) > place:
            yield from _letters(argument[place])


def _of_set(kind: Any, inner: Any) -> Iterator[str]:
    if kind is codes.LITERAL:
        yield chr(inner)
    elif kind is codes.RANGE:
        yield from {chr(inner[0]), chr(inner[1])}
    elif kind is codes.CATEGORY:
        yield {"CATEGORY_SPACE": " ", "CATEGORY_DIGIT": "7"}.get(str(inner), "w")


def attacks(pattern: re.Pattern[Any]) -> list[str]:
    """Return what is to be repeated: the usual, the pattern's own words, and pairs of these."""
    own = list(dict.fromkeys(_letters(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))))
    pairs = [a + b for a, b in itertools.product(own[:5], repeat=2) if a != b]
    return list(dict.fromkeys([*ATTACKS, *own, *pairs]))


@functools.lru_cache(maxsize=2000)
def text_of(unit: str, size: int) -> str:
    """Return a text of a size that nearly matches and then does not."""
    return (unit * (size // len(unit) + 1))[: size - 1] + "\x01"


def runner(pattern: re.Pattern[Any], method: str) -> Callable[[Any], Any]:
    """Return a function that does all the work of a method."""
    if method in ("sub", "subn"):
        empty = b"" if isinstance(pattern.pattern, bytes) else ""
        return functools.partial(getattr(pattern, method), empty)
    if method == "finditer":
        return lambda text: sum(1 for _ in pattern.finditer(text))
    bound: Callable[[Any], Any] = getattr(pattern, method)
    return bound


def cost(run: Callable[[Any], Any], text: Any) -> float:
    """Return the CPU seconds of one run."""
    began = time.process_time()
    run(text)
    return time.process_time() - began


def too_slow(pattern: re.Pattern[Any], method: str, unit: str) -> str | None:
    """Return what is wrong with a pattern's time on a text; None when nothing is.

    Sizes grow, so that an explosion is seen while it is small; what is so cheap that even
    its square would be cheap at ten times the size is not asked again.
    """
    run, spent = runner(pattern, method), 0.0
    for size in SIZES:
        if size > SHORT and spent * (LONG / SHORT) ** 2 <= FAST:
            return None
        text: Any = text_of(unit, size)
        if isinstance(pattern.pattern, bytes):
            text = text.encode("utf-8")
        spent = cost(run, text)
        if spent <= CHEAP:
            continue
        # It may have been the machine: the best of two counts, against a tenth of the text.
        if spent < 5 * CHEAP:
            spent = min(spent, cost(run, text))
        before = min(cost(run, text[: size // 10]) for _ in range(3))
        if spent > max(CHEAP, GROWTH * max(before, 0.001)):
            return (
                f"{method} of {size} characters of {unit!r}: {spent:.3f} s, a tenth: {before:.3f}"
            )
    return None


OWN_TEXTS = frozenset({"roomkit.store._sql.migrations:_COMMENT"})
"""Patterns that see nothing but files we ship: the migrations' SQL."""


def test_every_pattern_is_linear() -> None:
    """Every pattern, every way it is used, every text: no more time than its length."""
    # These cost what the search in them costs.
    alike = dict.fromkeys(("subn", "findall", "finditer", "split"), "sub")
    problems = []
    for found in collected():
        if found.where in OWN_TEXTS:
            continue
        methods = dict.fromkeys(alike.get(method, method) for method in found.methods)
        if "fullmatch" in methods:
            methods.pop("match", None)
        runs = itertools.product(methods, attacks(found.pattern))
        told = (too_slow(found.pattern, method, unit) for method, unit in runs)
        problem = next((text for text in told if text is not None), None)
        if problem is not None:
            problems.append(f"{found.where} {found.pattern.pattern!r}: {problem}")
    assert problems == []
    known = {found.pattern.pattern for found in collected()}
    assert len(known) >= 40
    missing = [
        f"{path}:{line}"
        for path, tree in _trees().items()
        for function, line, args in _calls(tree)
        if function != "escape"
        and args
        and isinstance(args[0], ast.Constant)
        and args[0].value not in known
    ]
    assert missing == [], "not in the collection"


class TestTheSearch:
    """The measure sees what it should."""

    def test_patterns_are_made_of_constants(self) -> None:
        """What is put together at run time is in a module's values, and none is of outside."""
        made = [
            f"{path}:{line}"
            for path, tree in _trees().items()
            for function, line, args in _calls(tree)
            if function not in ("escape", "compile")
            and args
            and not isinstance(args[0], ast.Constant)
        ]
        assert made == []

    @pytest.mark.parametrize(
        ("bad", "method", "unit"),
        [
            (r"(a|a)*b", "match", "a"),
            (r"\s+$", "search", " "),
            (r"<at>.*?</at>", "sub", "<at>"),
            (r"^(.*,)*x", "match", "a,"),
        ],
    )
    def test_a_bad_one_is_found(self, bad: str, method: str, unit: str) -> None:
        """Exponential and quadratic ones are told from linear ones."""
        assert too_slow(re.compile(bad), method, unit)

    def test_words_of_a_pattern(self) -> None:
        """The attacks know what the pattern speaks of."""
        own = set(attacks(re.compile(r"<at[^<>]{0,9}>(?:foo|b[a-c])\s+\d")))
        assert {"<at", "foo", "a", "c", " ", "7"} <= own
