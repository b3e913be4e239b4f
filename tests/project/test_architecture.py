"""What import-linter cannot see of the house rules in docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "roomkit"
MIXINS = sorted(
    path
    for path in (SOURCE / "core").glob("_*.py")
    if path.name not in {"__init__.py", "_delivery.py"}
)
# The doors through which optional packages come in; each sets a documented module flag.
GUARDED = {"sources/websocket.py", "sources/sse.py", "sources/neonize.py"}
STANDARD = {"pydantic", "pydantic_core", "typing_extensions", "roomkit"}


def classes(path: Path) -> list[ast.ClassDef]:
    tree = ast.parse(path.read_text())
    return [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Mixin")
    ]


def own_attributes(node: ast.AST) -> set[str]:
    """Return every ``self._name`` used below a node."""
    return {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute)
        and isinstance(part.value, ast.Name)
        and part.value.id == "self"
        and part.attr.startswith("_")
    }


class TestMixins:
    """A mixin is the documented face of one collaborator, and thin."""

    @pytest.mark.parametrize("path", MIXINS, ids=lambda path: path.stem)
    def test_a_mixin_uses_only_what_it_declares(self, path: Path) -> None:
        """Every ``self._x`` is its declared collaborator or the shared check."""
        for mixin in classes(path):
            declared = {
                part.target.id
                for part in mixin.body
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
            }
            assert len(declared) <= 1, f"{mixin.name} has more than one collaborator"
            assert own_attributes(mixin) <= declared | {"_ready"}

    @pytest.mark.parametrize("path", MIXINS, ids=lambda path: path.stem)
    def test_a_mixin_only_checks_delegates_and_returns(self, path: Path) -> None:
        """No loops, no exception handling, at most 15 statements a method."""
        for mixin in classes(path):
            for method in mixin.body:
                if not isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    continue
                parts = list(ast.walk(method))
                assert not [p for p in parts if isinstance(p, (ast.For, ast.While, ast.Try))]
                assert len([p for p in parts if isinstance(p, ast.stmt)]) <= 15, method.name

    def test_every_mixin_is_looked_at(self) -> None:
        """The list above finds the mixins RoomKit is made of."""
        names = {mixin.name for path in MIXINS for mixin in classes(path)}
        assert {"InboundMixin", "ChannelOpsMixin", "RoomLifecycleMixin", "HelpersMixin"} <= names


class TestOneWriter:
    """Only the timeline writes timelines, and only stores carry a batch out."""

    @pytest.mark.parametrize("call", ["add_event", "commit"])
    def test_nobody_else_writes_events(self, call: str) -> None:
        """``store.add_event`` and ``store.commit`` are called by the timeline alone."""
        offenders = []
        for path in SOURCE.rglob("*.py"):
            relative = path.relative_to(SOURCE).as_posix()
            if relative.startswith(("store/", "testing/")) or relative.endswith("/timeline.py"):
                continue
            offenders += [
                f"{relative}:{node.lineno}"
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == call
                and "store" in ast.unparse(node.func.value)
            ]
        assert offenders == []


class TestImports:
    """The core depends on pydantic alone."""

    def test_no_third_party_import_at_module_level(self) -> None:
        """Everything else is imported where it is needed, by whoever installed it."""
        import sys

        offenders = []
        for path in SOURCE.rglob("*.py"):
            relative = path.relative_to(SOURCE).as_posix()
            if relative in GUARDED or relative.startswith("testing/conformance"):
                continue
            for node in ast.parse(path.read_text()).body:
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                offenders += [
                    f"{relative}:{node.lineno} {name}"
                    for name in names
                    if name.split(".")[0] not in STANDARD | set(sys.stdlib_module_names)
                ]
        assert offenders == []

    def test_models_are_changed_only_by_themselves(self) -> None:
        """``model_copy`` and its cheap sibling stay inside ``roomkit.models``."""
        offenders = [
            path.relative_to(SOURCE).as_posix()
            for path in SOURCE.rglob("*.py")
            if not path.relative_to(SOURCE).as_posix().startswith(("models/", "testing/"))
            and ("model_copy(" in path.read_text() or "import changed" in path.read_text())
        ]
        assert offenders == []
