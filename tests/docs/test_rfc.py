"""Every statement of the specification has a number, and tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
RFC = ROOT / "docs" / "roomkit-rfc.md"
_STATEMENT = re.compile(
    r"^- \*\*([\d.]+?)(?: [^*]+)?\*\*(.*?)(?=^- |^#|^$)", re.DOTALL | re.MULTILINE
)


class Statement(NamedTuple):
    """A numbered statement and the tests it names."""

    number: str
    tests: list[str]


def statements() -> list[Statement]:
    """Return the statements in their order."""
    found = _STATEMENT.findall(RFC.read_text("utf-8"))
    return [Statement(number, re.findall(r"`(tests/[^`]+)`", text)) for number, text in found]


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return the tests a file defines: ``Class::test``, ``test``, or a state machine."""
    body = ast.parse(path.read_text("utf-8")).body
    names = _functions(body)
    for node in body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{name}" for name in _functions(node.body)}
        elif isinstance(node, ast.Assign) and "TestCase" in ast.unparse(node.value):
            names |= {ast.unparse(target) for target in node.targets}  # a state machine
    return frozenset(names)


def _functions(body: list[ast.stmt]) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in body if isinstance(node, kinds) and node.name[:5] == "test_"}


class TestStatements:
    """The specification can be checked, line by line."""

    def test_there_are_many(self) -> None:
        """The page is read, not skipped."""
        assert len(statements()) > 60

    def test_numbers_count_up(self) -> None:
        """No number is missing or used twice."""
        last: dict[str, int] = {}
        for statement in statements():
            section, _, number = statement.number.rpartition(".")
            assert int(number) == last.get(section, 0) + 1, statement.number
            last[section] = int(number)

    @pytest.mark.parametrize("statement", statements(), ids=lambda statement: statement.number)
    def test_its_tests_exist(self, statement: Statement) -> None:
        """A statement names at least one test, and each is there."""
        assert statement.tests
        for name in statement.tests:
            path, _, test = name.partition("::")
            assert (ROOT / path).is_file(), path
            assert test in names_in(ROOT / path), name

    def test_a_wrong_name_is_noticed(self) -> None:
        """The check can fail."""
        assert "TestStatements::test_there_is_no_such_test" not in names_in(Path(__file__))
        assert "TestStatements::test_there_are_many" in names_in(Path(__file__))
