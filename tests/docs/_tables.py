"""Tables of the documents that repeat the code: what they must say, made from the code."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from roomkit import (
    AIChannel,
    ChannelMediaType,
    EmailChannel,
    FrameworkEventType,
    HTTPChannel,
    MessengerChannel,
    MockAIProvider,
    RCSChannel,
    RealtimeVoiceChannel,
    SMSChannel,
    TeamsChannel,
    VoiceChannel,
    WebSocketChannel,
    WhatsAppChannel,
    WhatsAppPersonalChannel,
    exceptions,
)
from roomkit.models.hook import HOOK_SPECS
from roomkit.voice.realtime import MockRealtimeProvider, MockRealtimeTransport

if TYPE_CHECKING:
    from roomkit import ChannelCapabilities

_MEDIA = tuple(ChannelMediaType)
_CAN = {
    "buttons": "supports_buttons",
    "quick replies": "supports_quick_replies",
    "cards": "supports_cards",
    "edit": "supports_edit",
    "delete": "supports_delete",
    "typing": "supports_typing",
    "read": "supports_read_receipts",
    "reactions": "supports_reactions",
    "threads": "supports_threading",
}


def channels() -> dict[str, ChannelCapabilities]:
    """Return what every channel of the package can carry, by the name it is made with."""
    kinds = (
        SMSChannel,
        RCSChannel,
        WhatsAppChannel,
        WhatsAppPersonalChannel,
        MessengerChannel,
        TeamsChannel,
        EmailChannel,
        HTTPChannel,
        WebSocketChannel,
        VoiceChannel,
    )
    found = {kind.__name__: kind("one").capabilities() for kind in kinds}
    live = RealtimeVoiceChannel(
        "one", provider=MockRealtimeProvider(), transport=MockRealtimeTransport()
    )
    found["RealtimeVoiceChannel"] = live.capabilities()
    found["AIChannel"] = AIChannel("one", MockAIProvider(vision=True)).capabilities()
    return found


def _rows(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + [":-:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def content_table() -> str:
    """Return which content each channel carries as it is."""
    rows = []
    for name, can in channels().items():
        marks = ["yes" if kind in can.media_types else "" for kind in _MEDIA]
        rows.append([f"`{name}`", *marks, f"{can.max_length:,}" if can.max_length else ""])
    return _rows(["Channel", *(str(kind) for kind in _MEDIA), "longest text"], rows)


def ability_table() -> str:
    """Return what else each channel can do natively."""
    rows = []
    for name, can in channels().items():
        marks = ["yes" if getattr(can, field) else "" for field in _CAN.values()]
        if can.max_buttons:
            marks[0] = f"{can.max_buttons}"
        rows.append([f"`{name}`", *marks])
    return _rows(["Channel", *_CAN], rows)


def trigger_table() -> str:
    """Return every hook trigger, what it carries and how its hooks run."""
    rows = ["| Trigger | When | Gets | Runs as |", "|---|---|---|---|"]
    for trigger, spec in HOOK_SPECS.items():
        runs = " or ".join(name.upper() for name in ("sync", "async") if name in spec.executions)
        payload = spec.payload.replace("_", " ")
        rows.append(f"| `{trigger.name}` | {spec.summary} | {payload} | {runs} |")
    return "\n".join(rows)


def error_tree(error: type[object] = exceptions.RoomKitError, depth: int = 0) -> list[str]:
    """Return an error and what derives from it as lines of a list."""
    also = [base.__name__ for base in error.__bases__[1:]]
    tail = f" (also `{'`, `'.join(also)}`)" if also else ""
    summary = inspect.getdoc(error) or ""
    lines = [f"{'    ' * depth}- `{error.__name__}`{tail}: {summary.splitlines()[0]}"]
    for thing in vars(exceptions).values():
        if inspect.isclass(thing) and thing.__bases__[0] is error:
            lines += error_tree(thing, depth + 1)
    return lines


def error_names() -> set[str]:
    """Return the name of every error of the package."""
    return {
        name
        for name, thing in vars(exceptions).items()
        if inspect.isclass(thing) and issubclass(thing, exceptions.RoomKitError)
    }


def framework_events() -> set[str]:
    """Return the name of every framework event."""
    return {str(name) for name in FrameworkEventType}
