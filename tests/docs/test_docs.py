"""The documents are true: their programs run, their links lead somewhere, their names exist."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import inspect
import io
import pkgutil
import re
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import roomkit
from roomkit import FrameworkEventType, HookTrigger, Reason
from roomkit.core.hooks import HOOK_FAILED
from roomkit.models.hook import HOOK_SPECS
from tests.docs._pages import Block, blocks_of
from tests.docs._tables import (
    ability_table,
    content_table,
    error_names,
    error_tree,
    framework_events,
    trigger_table,
)

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "AGENTS.md", "CONTRIBUTING.md", "SECURITY.md")),
        ROOT / "llms.txt",
        *DOCS.rglob("*.md"),
    ]
)
PROGRAMS = [
    page
    for page in PAGES
    if "```python" in page.read_text("utf-8") and "<!-- typed in: " not in page.read_text("utf-8")
]
"""Pages whose programs run in this process; those made of files are typed in by a reader."""
SECONDS = 55


def by_name(page: Path) -> str:
    """Return how a page is called in reports."""
    return page.relative_to(ROOT).as_posix()


def read(name: str) -> str:
    """Return the text of a file of the checkout."""
    return (ROOT / name).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def between(text: str, start: str, end: str) -> str:
    """Return what stands between the comment that begins with ``start`` and ``end``."""
    return text.partition(start)[2].partition("-->")[2].partition(end)[0].strip()


class TestPrograms:
    """Every python block runs, those of a page one after the other in one place.

    A block with a title is a file of its own: a page that is typed in writes and runs it, on
    other pages it needs more than there is here (a model, a vendor) and must be sound Python.
    """

    def test_there_are_some(self) -> None:
        """The pages with programs are found."""
        assert len(PROGRAMS) > 6

    @pytest.mark.parametrize("page", PROGRAMS, ids=by_name)
    def test_the_blocks_of_a_page_run(self, page: Path) -> None:
        """They run, and what a block marked as output shows is what the one before printed."""
        blocks = []
        for block in blocks_of(page.read_text(encoding="utf-8")):
            if block.title and block.kind == "python":
                compile(block.body, by_name(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            else:
                blocks.append(block)
        if any("asyncio.run(" in block.body for block in blocks if block.kind == "python"):
            run_alone(blocks, by_name(page))
        else:
            asyncio.run(run_together(blocks, by_name(page)))

    def test_another_output_is_noticed(self) -> None:
        """The comparison can fail."""
        page = "```python\nprint(1)\n```\n\n<!-- output -->\n```text\n%d\n```\n"
        asyncio.run(run_together(blocks_of(page % 1), "good"))
        with pytest.raises(AssertionError):
            asyncio.run(run_together(blocks_of(page % 2), "bad"))


def run_alone(blocks: list[Block], name: str) -> None:
    """Run the blocks of a page that starts its own loops."""
    space: dict[str, Any] = {"__name__": "documented"}
    printed = ""
    for block in blocks:
        if block.kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as heard:
                exec(compile(block.body, name, "exec"), space)
            printed = heard.getvalue()
        elif block.mark == "output":
            assert printed == block.body


async def run_together(blocks: list[Block], name: str) -> None:
    """Run the blocks of a page in one loop and one place, one after the other."""
    space: dict[str, Any] = {"__name__": "documented"}
    printed = ""
    for number, block in enumerate(blocks, 1):
        if block.kind == "python":
            code = compile(
                textwrap.dedent(block.body),
                f"{name} block {number}",
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            )
            with contextlib.redirect_stdout(io.StringIO()) as heard:
                async with asyncio.timeout(SECONDS):
                    waiting = eval(code, space)
                    if inspect.isawaitable(waiting):
                        await waiting
            printed = heard.getvalue()
        elif block.mark == "output":
            assert printed == block.body, f"{name} block {number}"


class TestLinks:
    """What is linked is there."""

    @pytest.mark.parametrize("page", PAGES, ids=by_name)
    def test_links_lead_to_files(self, page: Path) -> None:
        """Relative links, fenced blocks aside."""
        links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", without_code(page.read_text("utf-8")))
        local = [link for link in links if "://" not in link]
        assert [link for link in local if not (page.parent / link).exists()] == []

    def test_every_page_is_in_the_navigation_once(self) -> None:
        """No page is unreachable, none is listed twice."""
        pages = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
        assert sorted(navigation()) == pages

    def test_the_reference_names_modules_that_exist(self) -> None:
        """What mkdocstrings is told to describe can be imported."""
        named = [
            name
            for page in (DOCS / "api").glob("*.md")
            for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
        ]
        assert len(named) > 30
        for name in named:
            resolve(name)


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose python names only mkdocs can resolve."""


_Loader.add_multi_constructor(
    "tag:yaml.org,2002:python/", lambda loader, suffix, node: f"python/{suffix}"
)


def navigation() -> list[str]:
    """Return the pages the navigation of mkdocs.yml lists."""
    found: list[str] = []

    def walk(entry: Any) -> None:
        if isinstance(entry, str):
            found.append(entry)
        elif isinstance(entry, list):
            for item in entry:
                walk(item)
        else:
            for item in entry.values():
                walk(item)

    walk(yaml.load(read("mkdocs.yml"), Loader=_Loader)["nav"])
    return found


def resolve(path: str) -> Any:
    """Return what a dotted path names: a module, or something in one."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(resolve(module), name)


class TestNames:
    """What pages name can be imported. More of the notes for assistants: ``test_assistants``."""

    @pytest.mark.parametrize("page", PAGES, ids=by_name)
    def test_capitalised_names_exist(self, page: Path) -> None:
        """A word like `SomeName` or `SomeName.member` in backticks is public, wherever it is."""
        text = without_code(page.read_text("utf-8"))
        quoted = set(re.findall(r"`([A-Z][a-z]\w*[A-Z]\w*(?:\.\w+)?)[`(]", text))
        assert {name for name in quoted - _VENDORS_WORDS if not exists(name)} == set()


_VENDORS_WORDS = frozenset({"AdaptiveCard", "BotNotInConversationRoster", "WebSocket"})
"""What vendors call things; it looks like one of our names."""


def exists(name: str) -> bool:
    """Return whether a class (or one of its members) is found where a user would look."""
    owner, _, member = name.partition(".")
    found = [vars(place)[owner] for place in places() if owner in vars(place)]
    if not found and owner in roomkit.__all__:
        found = [getattr(roomkit, owner)]
    return any(
        not member or hasattr(thing, member) or member in getattr(thing, "model_fields", ())
        for thing in found
    )


@cache
def places() -> list[ModuleType]:
    """Return every module of the package, and those whose names need no prefix."""
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(roomkit.__path__, "roomkit.")
        if not found.name.endswith("__main__")
    ]
    return [*modules, *(importlib.import_module(name) for name in _FAMILIAR)]


_FAMILIAR = ("asyncio", "builtins", "pydantic")


class TestTables:
    """Tables that repeat the code say what the code says."""

    def test_triggers(self) -> None:
        """Every hook trigger, what it carries and how it runs."""
        assert between(read("docs/hooks.md"), "<!-- hooks", "<!-- end") == trigger_table()
        assert set(HOOK_SPECS) == set(HookTrigger)

    def test_what_channels_carry(self) -> None:
        """Both tables of what channels can do."""
        text = read("docs/features.md")
        assert between(text, "<!-- content:", "<!-- end of content") == content_table()
        assert between(text, "<!-- abilities:", "<!-- end of abilities") == ability_table()

    def test_errors(self) -> None:
        """The tree of exceptions."""
        text = read("docs/errors.md")
        assert between(text, "<!-- errors", "<!-- end") == "\n".join(error_tree())

    def test_every_error_has_cause_and_cure(self) -> None:
        """A row for each, no cell empty."""
        rows = table(read("docs/errors.md"), "cures")
        assert {row[0].strip("`") for row in rows} == error_names()
        assert all(len(row) == 3 and all(row) for row in rows)

    def test_every_reason_is_explained_once(self) -> None:
        """Of refusals and of deliveries, no cell empty."""
        text = read("docs/errors.md")
        rows = [*table(text, "reasons"), *table(text, "deliveries")]
        explained = [row[0].strip("`") for row in rows]
        assert sorted(explained) == sorted({*Reason, HOOK_FAILED} - _NEVER_TOLD)
        assert all(len(row) == 4 and all(row) for row in rows)

    def test_every_framework_event_is_listed(self) -> None:
        """None is missing, none is made up."""
        rows = read("docs/observe.md").partition("| To hear of |")[2].partition("\n\n")[0]
        assert set(re.findall(r"`(\w+)`", rows)) == framework_events()

    def test_framework_events_named_exist(self) -> None:
        """Whatever a page subscribes to is told by the kit."""
        named = {
            name for page in PAGES for name in re.findall(r'kit\.on\("(\w+)"\)', page.read_text())
        }
        assert named
        assert named <= set(FrameworkEventType)


_NEVER_TOLD = {Reason.STALE}
"""What the engine tells itself only."""


def table(text: str, name: str) -> list[list[str]]:
    """Return the cells of a marked table, without its head."""
    body = between(text, f"<!-- {name}:", f"<!-- end of {name}")
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in body.splitlines()[2:]
    ]
