"""House rules that the linters do not see."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "tests", "examples", "benchmarks", "scripts")
LONGEST_FILE = 500
LONGEST_FUNCTION = 60


def python_files(*folders: str) -> list[Path]:
    """Return the Python files of some folders, sorted."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def by_name(path: Path) -> str:
    """Return how a file is called in reports."""
    return path.relative_to(ROOT).as_posix()


def lines(path: Path) -> list[str]:
    """Return the lines of a file."""
    return path.read_text(encoding="utf-8").splitlines()


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def first_statement(tree: ast.Module) -> ast.stmt | None:
    """Return the first statement that is not the module's docstring."""
    body = tree.body[1:] if ast.get_docstring(tree, clean=False) is not None else tree.body
    return body[0] if body else None


def test_annotations_are_postponed_before_anything_else() -> None:
    """No annotation is evaluated when a module is imported."""

    def keeps_the_rule(tree: ast.Module) -> bool:
        statement = first_statement(tree)
        return statement is None or (
            isinstance(statement, ast.ImportFrom)
            and statement.module == "__future__"
            and "annotations" in [alias.name for alias in statement.names]
        )

    files = python_files(*FOLDERS)
    assert files
    assert [by_name(path) for path in files if not keeps_the_rule(parse(path))] == []


def test_files_stay_short() -> None:
    """One that grows past the limit holds two ideas."""
    lengths = {by_name(path): len(lines(path)) for path in python_files("src")}
    assert {name: length for name, length in lengths.items() if length >= LONGEST_FILE} == {}


def test_functions_stay_short() -> None:
    """Docstrings count."""
    lengths = {
        f"{by_name(path)}:{node.lineno}": (node.end_lineno or 0) - node.lineno + 1
        for path in python_files("src")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {place: length for place, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_loggers_live_under_the_name_of_the_package() -> None:
    """One setting turns all of them down."""
    names = {
        str(call.args[0].value): by_name(path)
        for path in python_files("src")
        for call in ast.walk(parse(path))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func).rpartition(".")[2] == "getLogger"
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }
    assert {n: place for n, place in names.items() if n.partition(".")[0] != "roomkit"} == {}
