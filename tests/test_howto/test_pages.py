"""Whoever follows only a how-to page gets a thing that works, tests and types included."""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from roomkit import testing
from roomkit.testing import conformance
from tests.support.programs import bytecode_folder, environment
from tests.test_howto._guide import PAGES, Guide, read, type_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)
_ENDED = re.compile(r"^(\d+) passed(?:, \d+ skipped)? in ", re.MULTILINE)
_FOR_CHILDREN = ("PYTEST_", "COV_", "COVERAGE_")
TESTING = (PAGES[0].parents[1] / "testing.md").read_text(encoding="utf-8")
_BROUGHT_ALONG = {"pydantic": "roomkit", "httpx": "roomkit[httpx"}


@pytest.fixture(scope="module")
def settings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The environment commands run in: the reader's, not that of this test run."""
    return environment(bytecode_folder(request.config, tmp_path_factory), *_FOR_CHILDREN)


@pytest.fixture
def types_cache(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where mypy keeps what it knows of our package: from one run to the next, if that may be."""
    if request.config.pluginmanager.hasplugin("cacheprovider"):
        return request.config.cache.mkdir("howto_types")
    return tmp_path / "cache"


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def guide(request: pytest.FixtureRequest) -> Guide:
    """One page after the other."""
    return read(request.param)


def test_all_pages_are_there() -> None:
    """A channel, a provider, a store, a hook, a stage, and the tests of an app."""
    assert [page.stem for page in PAGES] == [
        "test-your-app",
        "write-a-channel",
        "write-a-hook",
        "write-a-pipeline-stage",
        "write-a-provider",
        "write-a-store",
    ]


class TestBuilt:
    """The page's files, in a folder of their own."""

    def test_its_tests_pass(self, guide: Guide, tmp_path: Path, settings: dict[str, str]) -> None:
        """The command the page shows runs its tests, and the suites it inherits, in green."""
        guide.build(tmp_path)
        ended = type_in(guide.command("python -m pytest"), tmp_path, settings)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        passed = _ENDED.search(ended.stdout)
        shown = sum(body.count("def test_") for body in guide.files.values())
        assert passed is not None
        assert int(passed[1]) >= shown > 0

    def test_a_defect_is_noticed(self, tmp_path: Path, settings: dict[str, str]) -> None:
        """The run is a real one: a page whose program is wrong fails."""
        guide = read(next(page for page in PAGES if page.stem == "write-a-hook"))
        files = {
            name: body.replace("HookResult.modify", "print") for name, body in guide.files.items()
        }
        replace(guide, files=files).build(tmp_path)
        ended = type_in(guide.command("python -m pytest"), tmp_path, settings)
        assert ended.returncode == 1, ended.stdout + ended.stderr

    def test_types_hold(self, tmp_path: Path, settings: dict[str, str], types_cache: Path) -> None:
        """mypy, strict, has nothing to say; all pages at once, as each has its own package."""
        guides = [read(page) for page in PAGES]
        for guide in guides:
            assert guide.command("mypy") == f"mypy {guide.package} tests"
            assert "[tool.mypy]\nstrict = true\n" in guide.files["pyproject.toml"]
            guide.build(tmp_path)
        names = " ".join(guide.package for guide in guides)
        command = f"mypy --cache-dir {types_cache} {names} tests"
        ended = type_in(command, tmp_path, settings)
        assert ended.returncode == 0, ended.stdout + ended.stderr


class TestComplete:
    """Nothing is needed that the page does not show."""

    def test_it_uses_public_names_only(self, guide: Guide) -> None:
        """No private module of ours, and no attribute of somebody else's that is private."""
        for name, tree in guide.programs():
            for module in imported(tree):
                assert not any(part.startswith("_") for part in module.split(".")[1:]), name
            private = [
                node.attr
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute)
                and re.match("_(?!_)", node.attr)
                and not (isinstance(node.value, ast.Name) and node.value.id == "self")
            ]
            assert private == [], name

    def test_it_says_what_to_install(self, guide: Guide) -> None:
        """Each import is Python's, the page's own, or of what its first command installs."""
        wanted = guide.command("pip install").replace("-", "_")
        for name, tree in guide.programs():
            for module in imported(tree):
                root = module.partition(".")[0]
                known = root in sys.stdlib_module_names or root == guide.package
                assert known or _BROUGHT_ALONG.get(root, root) in wanted or root in wanted, name


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the modules a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


class TestTesting:
    """The page that lists the tools lists all of them."""

    def test_every_tool_is_named(self) -> None:
        """What `roomkit.testing` has stands in the table at the top."""
        table = TESTING.partition("\n## ")[0]
        assert {name for name in testing.__all__ if f"`{name}`" not in table} == set()

    def test_every_suite_is_named(self) -> None:
        """Each suite has a row, and each row a suite."""
        rows = TESTING.partition("<!-- suites -->")[2].partition("<!-- end -->")[0]
        named = re.findall(r"^\| `(\w+)`", rows, re.MULTILINE)
        assert sorted(named) == sorted(set(conformance.__all__) - {"RealtimeClient"})
