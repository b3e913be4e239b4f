"""The documents are true: their programs run, their links lead somewhere, their names exist."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import re
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import roomkit
from roomkit import FrameworkEventType, HookTrigger, Reason, exceptions
from roomkit.models.hook import HOOK_SPECS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "AGENTS.md", "CONTRIBUTING.md", "SECURITY.md")),
        ROOT / "llms.txt",
        *DOCS.rglob("*.md"),
    ]
)
PROGRAMS = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
SECONDS = 30


def by_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def between(text: str, start: str, end: str) -> str:
    return text.partition(start)[2].partition("-->")[2].partition(end)[0].strip()


class TestPrograms:
    """Every python block runs, those of a page one after the other in one place."""

    def test_there_are_some(self) -> None:
        assert len(PROGRAMS) > 6

    @pytest.mark.parametrize("page", PROGRAMS, ids=by_name)
    def test_the_blocks_of_a_page_run(self, page: Path) -> None:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        space: dict[str, Any] = {"__name__": "documented"}

        async def run() -> None:
            for number, block in enumerate(blocks):
                code = compile(
                    textwrap.dedent(block),
                    f"{by_name(page)} block {number + 1}",
                    "exec",
                    flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                )
                async with asyncio.timeout(SECONDS):
                    waiting = eval(code, space)
                    if inspect.isawaitable(waiting):
                        await waiting

        if any("asyncio.run(" in block for block in blocks):
            for block in blocks:
                exec(compile(block, by_name(page), "exec"), space)
        else:
            asyncio.run(run())


class TestLinks:
    """What is linked is there."""

    @pytest.mark.parametrize("page", PAGES, ids=by_name)
    def test_links_lead_to_files(self, page: Path) -> None:
        links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", without_code(page.read_text("utf-8")))
        local = [link for link in links if "://" not in link]
        assert [link for link in local if not (page.parent / link).exists()] == []

    def test_every_page_is_in_the_navigation_once(self) -> None:
        pages = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
        assert sorted(navigation()) == pages

    def test_the_reference_names_modules_that_exist(self) -> None:
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


@cache
def known_words() -> frozenset[str]:
    """Return every word of code the documents may use: names and their attributes."""
    words = {*roomkit.__all__}
    for name in roomkit.__all__:
        thing = getattr(roomkit, name)
        if inspect.isclass(thing):
            words |= {attribute for attribute in dir(thing) if not attribute.startswith("_")}
            words |= set(getattr(thing, "model_fields", ()))
    for method in vars(roomkit.RoomKit).keys() | set(dir(roomkit.RoomKit)):
        if not method.startswith("_") and callable(getattr(roomkit.RoomKit, method)):
            words |= set(inspect.signature(getattr(roomkit.RoomKit, method)).parameters)
    return frozenset(words)


class TestNames:
    """What the notes for assistants name can be imported or called."""

    def test_llms_txt_names_only_what_exists(self) -> None:
        quoted = re.findall(r"`([A-Za-z_]+)`", read("llms.txt"))
        assert len(quoted) > 50
        unknown = {word for word in quoted if word != "roomkit" and word not in known_words()}
        unknown = {word for word in unknown if not exists(word)}
        assert unknown == set()

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
    for place in (
        "roomkit",
        "roomkit.asgi",
        "roomkit.simulators",
        "roomkit.sources",
        "roomkit.providers.openai.realtime",
        "roomkit.testing",
        "roomkit.voice",
        "roomkit.voice.base",
        "roomkit.voice.dtmf",
        "roomkit.voice.events",
        "roomkit.voice.interruption",
        "roomkit.voice.pipeline",
        "roomkit.voice.realtime",
        "roomkit.voice.realtime.ws_transport",
        "roomkit.voice.recording",
        "roomkit.voice.turn_detector",
        "roomkit.voice.stt.deepgram",
        "roomkit.voice.tts.elevenlabs",
        "roomkit.voice.backends.fastrtc",
        "roomkit.voice.backends.loopback",
        "roomkit.voice.backends.mock",
        "roomkit.voice.backends.twilio",
        "roomkit.voice.backends.websocket",
        "roomkit.testing.conformance",
        "roomkit.channels.host",
        "roomkit.store.commit",
        "roomkit.store.durable",
        "roomkit.store.postgres",
        "roomkit.store.sqlite",
        "roomkit.core.postgres_locks",
        "roomkit.core.redis_locks",
        "roomkit.realtime.redis",
        "roomkit.core.services.timeline",
        "roomkit.exceptions",
        "roomkit._aio",
        "roomkit._http",
        "asyncio",
        "builtins",
        "pydantic",
    ):
        found = getattr(importlib.import_module(place), owner, None)
        if found is not None:
            return not member or hasattr(found, member) or member in found.model_fields
    return False


class TestTables:
    """Tables that repeat the code say what the code says."""

    def test_triggers(self) -> None:
        rows = ["| Trigger | When | Gets | Runs as |", "|---|---|---|---|"]
        for trigger, spec in HOOK_SPECS.items():
            runs = " or ".join(
                name.upper() for name in ("sync", "async") if name in spec.executions
            )
            payload = spec.payload.replace("_", " ")
            rows.append(f"| `{trigger.name}` | {spec.summary} | {payload} | {runs} |")
        assert between(read("docs/hooks.md"), "<!-- hooks", "<!-- end") == "\n".join(rows)
        assert set(HOOK_SPECS) == set(HookTrigger)

    def test_errors(self) -> None:
        assert between(read("docs/errors.md"), "<!-- errors", "<!-- end") == "\n".join(
            tree(exceptions.RoomKitError)
        )

    def test_every_reason_is_explained(self) -> None:
        text = read("docs/errors.md")
        internal = {
            Reason.LEASE_LOST,
            Reason.STALE,
            Reason.EVENT_MISSING,
            Reason.EMPTY_MESSAGE,
        }
        assert {reason for reason in Reason if f"`{reason}`" not in text} == internal

    def test_framework_events_named_exist(self) -> None:
        named = {
            name for page in PAGES for name in re.findall(r'kit\.on\("(\w+)"\)', page.read_text())
        }
        assert named
        assert named <= set(FrameworkEventType)


def tree(error: type[object], depth: int = 0) -> list[str]:
    """Return an error and what derives from it as lines of a list."""
    also = [base.__name__ for base in error.__bases__[1:]]
    tail = f" (also `{'`, `'.join(also)}`)" if also else ""
    summary = inspect.getdoc(error) or ""
    lines = [f"{'    ' * depth}- `{error.__name__}`{tail}: {summary.splitlines()[0]}"]
    for thing in vars(exceptions).values():
        if inspect.isclass(thing) and thing.__bases__[0] is error:
            lines += tree(thing, depth + 1)
    return lines


class TestAssistants:
    """The texts that travel with the package keep their form."""

    def test_llms_txt(self) -> None:
        text = read("llms.txt")
        assert text.startswith("# RoomKit\n\n> ")
        assert "pure async python library" in text.lower()

    def test_agents_md(self) -> None:
        text = read("AGENTS.md")
        assert "# RoomKit" in text
        assert "pytest" in text
        assert "ruff" in text

    def test_commands_and_files_named_are_there(self) -> None:
        text = read("AGENTS.md")
        files = re.findall(r"`((?:src|docs|tests|examples)/[\w./-]*)`", text)
        assert len(files) > 5
        assert [name for name in files if not (ROOT / name).exists() and "NNNN" not in name] == []
