"""The reference is whole: each public name has a docstring and stands on exactly one page."""

from __future__ import annotations

import ast
import enum
import functools
import importlib
import inspect
import re
import types
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

import roomkit
from scripts import public_api

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))
_NAMES = (
    "roomkit hooks routing store realtime channel channels room events identity delivery "
    "channel-models hook-models providers-ai providers-sms providers-email providers-http "
    "providers-messenger providers-teams providers-whatsapp providers-voice "
    "providers-realtime-voice enums"
)
PROMISED = set(_NAMES.split())
"""The pages that must be there under just these names."""

_VENDORS = (
    "anthropic anthropic.ai anthropic.config elasticemail elasticemail.config elasticemail.email "
    "email email.base email.mock gemini gemini.ai gemini.config gemini.realtime http http.base "
    "http.config http.mock http.provider http.webhook messenger messenger.base messenger.config "
    "messenger.facebook messenger.mock messenger.webhook openai openai.ai openai.config "
    "openai.realtime pydantic_ai pydantic_ai.config rcs rcs.base rcs.mock sendgrid "
    "sendgrid.config sendgrid.email sinch sinch.config sinch.sms sms sms.base sms.meta sms.mock "
    "sms.phone teams teams.base teams.bot_framework teams.config teams.conversation_store "
    "teams.mock teams.webhook telnyx telnyx.config telnyx.rcs telnyx.sms twilio twilio.config "
    "twilio.rcs twilio.sms vllm vllm.config voicemeup voicemeup.config voicemeup.sms whatsapp "
    "whatsapp.base whatsapp.mock whatsapp.personal ai ai.base ai.mock"
)
_VOICE = (
    "audio_frame backends backends.base backends.fastrtc backends.mock base events pipeline "
    "pipeline.config pipeline.denoiser_provider pipeline.diarization_provider pipeline.engine "
    "pipeline.mock pipeline.postprocessor pipeline.vad_provider realtime realtime.base "
    "realtime.events realtime.fastrtc_transport realtime.mock realtime.provider "
    "realtime.transport realtime.ws_transport stt stt.base stt.deepgram stt.mock stt.sherpa_onnx "
    "tts tts.base tts.elevenlabs tts.mock tts.sherpa_onnx"
)
_OTHERS = (
    "ai_docs channels channels.ai channels.base channels.realtime_voice channels.transport "
    "channels.voice channels.websocket core core.circuit_breaker core.event_router "
    "core.framework core.hooks core.inbound_router core.locks core.rate_limiter core.retry "
    "core.router core.transcoder identity identity.base identity.mock models models.channel "
    "models.context models.delivery models.enums models.event models.framework_event "
    "models.hook models.identity models.participant models.room models.task providers realtime "
    "realtime.base realtime.memory sources sources.base sources.neonize sources.sse "
    "sources.websocket store store.base store.memory store.postgres voice"
)
COMPATIBLE = [
    "roomkit",
    *(f"roomkit.{name}" for name in _OTHERS.split()),
    *(f"roomkit.providers.{name}" for name in _VENDORS.split()),
    *(f"roomkit.voice.{name}" for name in _VOICE.split()),
]
"""The modules that programs written against the specification import from."""

HANDED_ON = {
    "HAS_NEONIZE": "whether the package is there",
    "HAS_SSE": "whether the package is there",
    "HAS_WEBSOCKETS": "whether the package is there",
    "NewAClient": "the vendor's",
    "ClientConnection": "the vendor's",
    "aconnect_sse": "the vendor's",
    "httpx": "the vendor's",
    "websockets": "the vendor's",
}
"""What modules of sources keep in sight for programs that look there; nothing of ours."""


@dataclass(frozen=True)
class Entry:
    """What a page renders with one ``:::`` line.

    Of a module, that is what it defines and what its ``__all__`` hands on from elsewhere.

    Attributes:
        page: The page's name.
        path: A module, or something in one.
        members: Just these of the module; empty: all public ones.
        whole: Whether a class shows what it inherits, too.
    """

    page: str
    path: str
    members: tuple[str, ...]
    whole: bool

    def names(self) -> list[str]:
        """Return what is rendered, each name with the module that defines it."""
        if self.path not in modules():
            return [self.path]
        space = importlib.import_module(self.path)
        own = [name for name in documented(self.path) if not name.startswith("_")]
        listed = self.members or dict.fromkeys([*own, *getattr(space, "__all__", ())])
        return [
            home_of(self.path, name, getattr(space, name))
            for name in listed
            if name not in HANDED_ON
        ]


_ENTRY = re.compile(r"^::: (\S+)\n((?: {4}.*\n|\n(?= {4}))*)", re.MULTILINE)


@cache
def entries() -> list[Entry]:
    """Return what all pages render."""
    found = []
    for page in PAGES:
        for path, options in _ENTRY.findall(page.read_text("utf-8") + "\n"):
            listed = re.search(r"^ +members: \[([^\]]+)\]$", options, re.MULTILINE)
            members = tuple(re.split(r",\s*", listed[1])) if listed else ()
            found.append(Entry(page.stem, path, members, "inherited_members: true" in options))
    return found


@cache
def modules() -> frozenset[str]:
    """Return every module of the package, the private ones too."""
    files = (ROOT / "src").rglob("roomkit/**/*.py")
    dotted = (".".join(file.relative_to(ROOT / "src").with_suffix("").parts) for file in files)
    return frozenset(name.removesuffix(".__init__") for name in dotted)


def _source(module: str) -> Path:
    path = ROOT / "src" / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _targets(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.TypeAlias):
        return [node.name.id]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _text(node: ast.stmt | None) -> str:
    value = node.value if isinstance(node, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


@cache
def documented(module: str) -> dict[str, str]:
    """Return what a module defines and has a docstring for: name to docstring."""
    return _docstrings(ast.parse(_source(module).read_text("utf-8")).body)


def explained(cls: type) -> dict[str, str]:
    """Return what is said about the values of an enum, whichever way: name to words."""
    body = ast.parse(_source(cls.__module__).read_text("utf-8")).body
    (node,) = (one for one in body if isinstance(one, ast.ClassDef) and one.name == cls.__name__)
    lines = re.findall(r"^ +(\w+): (\S.*)$", inspect.getdoc(cls) or "", re.MULTILINE)
    return {**_docstrings(node.body), **dict(lines)}


def _docstrings(body: list[ast.stmt]) -> dict[str, str]:
    found = {}
    for node, following in zip(body, [*body[1:], None], strict=True):
        for name in _targets(node):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
            else:
                text = _text(following)
            if text:
                found[name] = text
    return found


@cache
def defined() -> dict[str, list[str]]:
    """Return which modules define a name, for what cannot say so itself."""
    found: dict[str, list[str]] = {}
    for module in sorted(modules()):
        for node in ast.parse(_source(module).read_text("utf-8")).body:
            for name in _targets(node):
                found.setdefault(name, []).append(module)
    return found


def home_of(module: str, name: str, value: Any) -> str:
    """Return where something is defined: its module and name."""
    if (inspect.isclass(value) or inspect.isfunction(value)) and value.__qualname__ == name:
        return f"{value.__module__}.{name}"
    places = defined().get(name, [])
    here = [place for place in [module, *places] if place in places]
    same = [place for place in here if getattr(importlib.import_module(place), name) is value]
    return f"{same[0]}.{name}" if same else f"{module}.{name}"


def aliases(module: str) -> set[str]:
    """Return the names a module gives to types, which it need not list."""
    names = {name for name, places in defined().items() if module in places}
    return {name for name in names if name[0].isupper() and not name.isupper()}


@cache
def public() -> dict[str, Any]:
    """Return everything public: where it is defined, and what it is."""
    found = {}
    for module in dict.fromkeys([*COMPATIBLE, *public_api.modules()]):
        space = importlib.import_module(module)
        listed = public_api.names(space)
        for name in {*listed, *aliases(module)} - HANDED_ON.keys():
            value = getattr(space, name)
            if name in listed or not (inspect.isclass(value) or isinstance(value, TypeVar)):
                found[home_of(module, name, value)] = value
    return {home: value for home, value in sorted(found.items()) if home.startswith("roomkit.")}


def classes() -> dict[str, type]:
    """Return the public classes that are ours."""
    return {home: value for home, value in public().items() if inspect.isclass(value)}


def members(cls: type) -> dict[str, Any]:
    """Return the public methods and properties a class has from us: name to what it is."""
    kinds = (property, staticmethod, classmethod, functools.cached_property, types.FunctionType)
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if ours(base):
            for name, value in vars(base).items():
                if not name.startswith("_") and isinstance(value, kinds):
                    found[name] = base
    return found


class TestDocstrings:
    """Whoever asks an editor what something is gets an answer."""

    def test_the_list_is_long(self) -> None:
        """There is something to look at."""
        assert len(public()) > 500
        assert set(COMPATIBLE) <= modules()

    def test_every_public_name_has_one(self) -> None:
        """Classes, functions, constants and aliases say what they are in more than a word."""
        bare = []
        for home in public():
            module, _, name = home.rpartition(".")
            if len(documented(module).get(name, "").split()) < 2:
                bare.append(home)
        assert bare == []

    def test_so_has_every_public_method_and_property(self) -> None:
        """What a class has from a base may be described there."""
        bare = [
            f"{home}.{name}"
            for home, cls in classes().items()
            for name in members(cls)
            if not inspect.getdoc(getattr(cls, name))
        ]
        assert bare == []

    def test_the_values_of_enums_are_explained(self) -> None:
        """Each has a line in the docstring of its enum, or a docstring of its own."""
        silent = []
        for home, cls in classes().items():
            if issubclass(cls, enum.Enum):
                told = explained(cls)
                silent += [f"{home}.{name}" for name in cls.__members__ if not told.get(name)]
        assert silent == []

    def test_what_is_said_of_triggers_is_what_their_specs_say(self) -> None:
        """The enum and the table of hooks tell the same story."""
        told = explained(roomkit.HookTrigger)
        for trigger, spec in roomkit.HOOK_SPECS.items():
            words = told[roomkit.HookTrigger(trigger).name]
            assert words.lower().startswith(spec.summary), trigger

    def test_fields_are_explained(self) -> None:
        """Each by a docstring of its own, its class or a base, or in the words of its page."""
        pages = {name: entry.page for entry in entries() for name in entry.names()}
        silent = []
        for home, cls in classes().items():
            bases = [base for base in cls.__mro__ if ours(base)]
            told = _OBVIOUS.union(*map(explained, bases))
            text = " ".join(inspect.getdoc(base) or "" for base in bases)
            page = (ROOT / "docs" / "api" / f"{pages[home]}.md").read_text("utf-8")
            silent += [
                f"{home}.{name}"
                for name in inspect.get_annotations(cls).keys() - told
                if not name.startswith("_")
                and not re.search(rf"\b{name}\b", text)
                and f"`{name}`" not in page
            ]
        assert silent == []


_OBVIOUS = {"type", "model_config"}
"""What tells contents and parts from one another, and a setting of pydantic."""


def ours(cls: type) -> bool:
    """Return whether a class is one of this package."""
    return cls.__module__.partition(".")[0] == "roomkit"


class TestPages:
    """Each name can be looked up, in one place."""

    def test_the_promised_pages_are_there(self) -> None:
        """Other texts link to them by name."""
        assert {page.stem for page in PAGES} >= PROMISED

    def test_every_public_name_is_on_a_page(self) -> None:
        """Directly, or as a member of a module that is shown."""
        shown = {name for entry in entries() for name in entry.names()}
        assert sorted(set(public()) - shown) == []

    def test_nothing_is_on_two_pages(self) -> None:
        """A link to a name leads to one place."""
        shown = Counter(name for entry in entries() for name in entry.names())
        assert [name for name, times in shown.items() if times > 1] == []

    def test_the_members_of_a_class_are_shown(self) -> None:
        """A method is at its class, or at a base of it that is on a page, or told of there."""
        shown = {name: entry for entry in entries() for name in entry.names()}
        hidden = []
        for home, cls in classes().items():
            for name, base in members(cls).items():
                places = {f"{one.__module__}.{one.__qualname__}" for one in _having(cls, name)}
                if home in shown and not shown[home].whole and not places & shown.keys():
                    hidden.append(f"{home}.{name} of {base.__name__}")
        assert hidden == []

    @pytest.mark.parametrize("entry", entries(), ids=lambda entry: f"{entry.page}-{entry.path}")
    def test_what_is_named_exists(self, entry: Entry) -> None:
        """A page cannot keep what was taken away."""
        assert entry.names()
        for name in entry.names():
            module, _, last = name.rpartition(".")
            assert last in documented(module), name

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
    def test_a_page_explains_itself(self, page: Path) -> None:
        """Words and a program come first, the names after them, where to read on at the end."""
        text = page.read_text("utf-8")
        first, _, rest = text.partition("\n::: ")
        assert rest
        assert "```python\n" in first
        assert len(re.sub(r"```.*?```", "", first, flags=re.DOTALL).split()) > 25
        assert "\n## See also\n" in rest

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
    def test_dotted_names_in_the_words_exist(self, page: Path) -> None:
        """`roomkit.something.else` in backticks can be imported."""
        for name in re.findall(r"`(roomkit(?:\.\w+)+)`", page.read_text("utf-8")):
            module, _, last = name.rpartition(".")
            assert name in modules() or hasattr(importlib.import_module(module), last), name


def _having(cls: type, name: str) -> list[type]:
    return [base for base in cls.__mro__ if name in vars(base)]


class TestTheTest:
    """The checks above can fail."""

    def test_homes_are_found(self) -> None:
        """A class, a function, a constant and an alias, each imported from elsewhere."""
        homes = public()
        assert homes["roomkit.core.framework.RoomKit"] is roomkit.RoomKit
        assert homes["roomkit.channels._capabilities.SMS_CAPABILITIES"]
        assert "roomkit.models.content.EventContent" in homes
        assert "roomkit.core.services.receipts.DeliveryStatusHandler" in homes

    def test_a_constant_without_words_is_noticed(self) -> None:
        """mkdocstrings would leave it out in silence."""
        assert "LONGEST_PAUSE" in documented("roomkit.core._leases")
        assert "FIRST_PAUSE" not in documented("roomkit.core._leases")
