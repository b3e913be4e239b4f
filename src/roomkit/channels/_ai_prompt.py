"""What a model is told about a room: from events to messages. Pure; nothing here waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roomkit.exceptions import InvalidInputError
from roomkit.models.content import CompositeContent, MediaContent, TextContent
from roomkit.models.enums import ChannelCategory, EventStatus
from roomkit.providers.ai.base import AIContext, AIImagePart, AIMessage, AITextPart, AITool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from roomkit.models.channel import ChannelBinding, ChannelCapabilities
    from roomkit.models.context import RoomContext
    from roomkit.models.enums import ChannelMediaType
    from roomkit.models.event import EventContent, RoomEvent
    from roomkit.providers.ai.base import AIPart


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
        messages=_messages(
            defaults, event, context.recent_events, _parts_of if vision else _text_of
        ),
        system_prompt=_setting(config, "system_prompt", defaults.system_prompt, str),
        temperature=_setting(config, "temperature", defaults.temperature, float),
        max_tokens=_setting(config, "max_tokens", defaults.max_tokens, int),
        tools=_tools(config["tools"]) if "tools" in config else [],
        room=context,
        target_capabilities=capabilities,
        target_media_types=media_types,
    )


def _messages(
    defaults: PromptDefaults,
    event: RoomEvent,
    recent: Sequence[RoomEvent],
    render: Callable[[EventContent], str | list[AIPart]],
) -> list[AIMessage]:
    """Return the newest events a model may see and then the present one, oldest first."""
    said: list[tuple[str, str | list[AIPart]]] = []
    content = render(event.content)
    if content:
        said.append(("user", content))
    own, current_id, blocked = defaults.channel_id, event.id, EventStatus.BLOCKED
    left = defaults.max_context_events
    for past in reversed(recent):
        if left <= 0:
            break
        metadata = past.metadata
        if (
            past.id == current_id
            or past.status == blocked
            or (metadata and metadata.get("deleted"))
        ):
            continue
        left -= 1
        said_then = past.content
        # Text needs no rendering; a call for each past event would be most of the price.
        shown = said_then.body if isinstance(said_then, TextContent) else render(said_then)
        if shown:
            said.append(("assistant" if past.source.channel_id == own else "user", shown))
    said.reverse()
    return AIMessage.conversation(said)


def _text_of(content: EventContent) -> str | list[AIPart]:
    return content.body if isinstance(content, TextContent) else ""


def _parts_of(content: EventContent) -> str | list[AIPart]:
    """Return content for a model that sees: text stays text, media becomes parts."""
    if isinstance(content, TextContent):
        return content.body
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
