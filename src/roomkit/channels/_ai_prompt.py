"""What a model is told about a room: from events to messages. Pure; nothing here waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ref

from roomkit.exceptions import InvalidInputError
from roomkit.models.content import CompositeContent, MediaContent, TextContent
from roomkit.models.enums import ChannelCategory, EventStatus
from roomkit.models.event import RoomEvent
from roomkit.providers.ai.base import AIContext, AIImagePart, AIMessage, AITextPart, AITool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from roomkit.models.channel import ChannelBinding, ChannelCapabilities
    from roomkit.models.context import RoomContext
    from roomkit.models.enums import ChannelMediaType
    from roomkit.models.event import EventContent
    from roomkit.providers.ai.base import AIPart

MAX_SHOWN = 8192
"""How many events a channel remembers the messages of, over all rooms."""


@dataclass(frozen=True, slots=True)
class PromptDefaults:
    """What holds where a room's binding says nothing else.

    Attributes:
        channel_id: The AI's own channel; its events are the assistant's words.
        system_prompt: Instructions.
        temperature: How freely to choose words.
        max_tokens: The longest answer.
        max_context_events: How many earlier events are looked at; 0: none.
    """

    channel_id: str
    system_prompt: str | None
    temperature: float | None
    max_tokens: int | None
    max_context_events: int


def build_context(
    defaults: PromptDefaults,
    event: RoomEvent,
    binding: ChannelBinding,
    context: RoomContext,
    shown: ShownEvents,
    *,
    vision: bool,
) -> AIContext:
    """Return what the model is told so that it answers ``event``.

    The binding's metadata may hold ``system_prompt``, ``temperature``, ``max_tokens`` (each
    wins over the default even when None) and ``tools``, a list of ``{"name",
    "description", "parameters"}``.

    Raises:
        InvalidInputError: The binding's metadata holds an unusable setting.
    """
    config = binding.metadata
    capabilities, media_types = _targets(context.bindings, defaults.channel_id)
    return AIContext.of(
        messages=shown.conversation(
            event, context.recent_events, defaults.max_context_events, vision=vision
        ),
        system_prompt=_setting(config, "system_prompt", defaults.system_prompt, str),
        temperature=_setting(config, "temperature", defaults.temperature, float),
        max_tokens=_setting(config, "max_tokens", defaults.max_tokens, int),
        tools=_tools(config["tools"]) if "tools" in config else [],
        room=context,
        target_capabilities=capabilities,
        target_media_types=media_types,
    )


class _Shown(ref[RoomEvent]):
    """What a model is shown of an event, kept no longer than the event itself.

    Attributes:
        key: The event's address in memory, unique among those alive.
        event_id: Its id: a model's attributes are slow to read.
        message: What it is to the model, or None when it says nothing.
        counts: Whether it is part of the conversation at all.
    """

    __slots__ = ("counts", "event_id", "key", "message")

    key: int
    event_id: str
    message: AIMessage | None
    counts: bool


class ShownEvents:
    """Makes messages of events, each once: an unchanged past costs a look-up an event.

    Events are never changed once they are in a room, so what was made of one stays right as
    long as it lives; the messages are shared between calls and must not be changed either.
    The newest 8,192 are kept at most, and none whose event is gone.

    Args:
        channel_id: The AI's own channel; its events are the assistant's words.
    """

    __slots__ = ("_channel_id", "_known", "_vision")

    def __init__(self, channel_id: str) -> None:
        self._channel_id = channel_id
        self._known: dict[int, _Shown] = {}
        self._vision = False

    def __len__(self) -> int:
        return len(self._known)

    def conversation(
        self, event: RoomEvent, recent: list[RoomEvent], limit: int, *, vision: bool
    ) -> list[AIMessage]:
        """Return the newest events a model may see and then ``event``, oldest first.

        Args:
            event: What is to be answered; earlier copies of it among ``recent`` are left out.
            recent: What came before, oldest first.
            limit: How many of them to look at; blocked and deleted ones are passed over.
            vision: Whether the model can look at images.
        """
        if vision is not self._vision:
            self._known.clear()
            self._vision = vision
        messages: list[AIMessage] = []
        if content := self._content(event.content):
            messages.append(AIMessage.of("user", content))
        current_id, left = event.id, limit
        known = self._known.get
        for past in reversed(recent):
            if left <= 0:
                break
            shown = known(id(past)) or self._show(past)
            if shown.counts and shown.event_id != current_id:
                left -= 1
                if shown.message is not None:
                    messages.append(shown.message)
        messages.reverse()
        return messages

    def _show(self, event: RoomEvent) -> _Shown:
        """Make an event's message and remember it."""
        if len(self._known) >= MAX_SHOWN:
            self._known.clear()
        shown = _Shown(event, self._forget)
        shown.key = id(event)
        shown.event_id = event.id
        shown.message = None
        shown.counts = event.status != EventStatus.BLOCKED and not event.metadata.get("deleted")
        if shown.counts and (content := self._content(event.content)):
            own = event.source.channel_id == self._channel_id
            shown.message = AIMessage.of("assistant" if own else "user", content)
        self._known[shown.key] = shown
        return shown

    def _forget(self, shown: ref[RoomEvent]) -> None:
        """Drop the message of an event that is gone, before its address is given away."""
        if isinstance(shown, _Shown):
            self._known.pop(shown.key, None)

    def _content(self, content: EventContent) -> str | list[AIPart]:
        if isinstance(content, TextContent):
            return content.body
        return _parts_of(content) if self._vision else ""


def _parts_of(content: EventContent) -> str | list[AIPart]:
    """Return content other than text for a model that sees: media becomes parts."""
    if isinstance(content, MediaContent):
        return _media_parts(content)
    if isinstance(content, CompositeContent):
        parts: list[AIPart] = []
        for part in content.parts:
            if isinstance(part, TextContent):
                parts.append(AITextPart(text=part.body))
            elif isinstance(part, MediaContent):
                parts.extend(_media_parts(part))
        return parts or ""
    return ""


def _media_parts(content: MediaContent) -> list[AIPart]:
    image = AIImagePart(url=content.url, mime_type=content.mime_type)
    return [AITextPart(text=content.caption), image] if content.caption else [image]


def _setting[T: (str, float, int)](
    config: Mapping[str, Any], key: str, default: T | None, kind: Callable[[Any], T]
) -> T | None:
    """Return the room's setting, else the default. None in the room's is a setting too."""
    if key not in config:
        return default
    value = config[key]
    if value is None:
        return None
    if kind is str and not isinstance(value, str):
        raise InvalidInputError(f"binding metadata {key!r} must be text")
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError) as exc:
        raise InvalidInputError(f"binding metadata {key!r} must be a number") from exc


def _tools(specs: Any) -> list[AITool]:
    """Return the tools a room offers."""
    if specs is None:
        return []
    if not isinstance(specs, (list, tuple)):
        raise InvalidInputError("binding metadata 'tools' must be a list")
    return [_tool(spec, position) for position, spec in enumerate(specs)]


def _tool(spec: Any, position: int) -> AITool:
    if isinstance(spec, AITool):
        return spec
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise InvalidInputError(f"binding metadata 'tools[{position}]' needs a name")
    return AITool(
        name=spec["name"],
        description=spec.get("description") or "",
        parameters=spec.get("parameters") or {},
    )


def _targets(
    bindings: Sequence[ChannelBinding], own: str
) -> tuple[ChannelCapabilities | None, list[ChannelMediaType]]:
    """Return the first transport's capabilities and what every transport can show."""
    first: ChannelCapabilities | None = None
    common: list[ChannelMediaType] = []
    seen: ChannelCapabilities | None = None
    for binding in bindings:
        if binding.category != ChannelCategory.TRANSPORT or binding.channel_id == own:
            continue
        capabilities = binding.capabilities
        if first is None:
            first = capabilities
            common = list(capabilities.media_types)
        elif capabilities is not seen and capabilities is not first:
            common = [kind for kind in common if kind in capabilities.media_types]
        seen = capabilities
    return first, common
