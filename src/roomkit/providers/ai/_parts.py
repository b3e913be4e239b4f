"""The small pieces of a conversation with a model: parts of a message, tools, stream events.

Public names are those of ``roomkit.providers.ai.base``, which re-exports them all.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from roomkit.models.task import Observation, Task

_LATE = ConfigDict(defer_build=True)


class AITextPart(BaseModel):
    """Text inside a message of several parts.

    Attributes:
        text: The text.
    """

    model_config = _LATE

    type: Literal["text"] = "text"
    text: str


class AIImagePart(BaseModel):
    """An image inside a message.

    Attributes:
        url: ``http(s)://`` or ``data:``.
        mime_type: Its encoding, when known. It is whatever the sender claimed and need not
            be an image type.
    """

    model_config = _LATE

    type: Literal["image"] = "image"
    url: str
    mime_type: str | None = None


class AIToolCallPart(BaseModel):
    """A call the model made, inside the assistant message that is shown to it again.

    Attributes:
        id: Pairs the call with its result.
        name: The tool.
        arguments: What the model gave.
        metadata: What the vendor wants back with the call, such as ``thought_signature``.
    """

    model_config = _LATE

    type: Literal["tool_call"] = "tool_call"
    id: str
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)


class AIToolResultPart(BaseModel):
    """What a tool answered, inside a message of role ``tool``.

    Attributes:
        tool_call_id: The id of the call.
        name: The tool.
        result: Its answer.
        is_error: Whether the answer tells of a failure.
    """

    model_config = _LATE

    type: Literal["tool_result"] = "tool_result"
    tool_call_id: str
    name: str
    result: str | list[AITextPart | AIImagePart]
    is_error: bool = False


class AIThinkingPart(BaseModel):
    """A model's thoughts, inside an assistant message; some vendors demand them back.

    Attributes:
        thinking: The thoughts.
        signature: The vendor's seal on them, to be returned unchanged.
    """

    model_config = _LATE

    type: Literal["thinking"] = "thinking"
    thinking: str
    signature: str | None = None


class AITool(BaseModel):
    """A tool offered to the model.

    Attributes:
        name: What the model calls it by.
        description: What it does, for the model.
        parameters: JSON Schema of its arguments.
    """

    model_config = _LATE

    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)


class AIToolCall(BaseModel):
    """The model's wish to have a tool run.

    Attributes:
        id: Pairs the call with its result.
        name: The tool.
        arguments: What the model gave: text of a model, to be checked before use.
        metadata: What the vendor wants back with the call.
    """

    model_config = _LATE

    id: str
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)


AIPart = AITextPart | AIImagePart | AIToolCallPart | AIToolResultPart | AIThinkingPart
"""What a message of several parts consists of, told apart by ``type``."""


class StreamTextDelta(BaseModel):
    """The next piece of the answer's text."""

    model_config = _LATE

    type: Literal["text_delta"] = "text_delta"
    text: str


class StreamThinkingDelta(BaseModel):
    """The next piece of the model's thoughts; never shown to people.

    Attributes:
        thinking: The piece.
        signature: The seal, with the piece that completes the thoughts.
    """

    model_config = _LATE

    type: Literal["thinking_delta"] = "thinking_delta"
    thinking: str
    signature: str | None = None


class StreamToolCall(BaseModel):
    """A complete tool call; see ``AIToolCall``.

    Attributes:
        id: The call, which its result must name.
        name: The tool.
        arguments: What to call it with.
        metadata: The vendor's own marks, to be handed back.
    """

    model_config = _LATE

    type: Literal["tool_call"] = "tool_call"
    id: str
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)


class StreamDone(BaseModel):
    """The end of an answer, once a stream and last.

    Attributes:
        finish_reason: Why the model stopped, in the vendor's words.
        usage: Tokens used.
        metadata: As in ``AIResponse``.
        tasks: As in ``AIResponse``.
        observations: As in ``AIResponse``.
    """

    model_config = _LATE

    type: Literal["done"] = "done"
    finish_reason: str | None = None
    usage: dict[str, int] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    tasks: list[Task] = Field(default_factory=list)
    observations: list[Observation] = Field(default_factory=list)


StreamEvent = StreamTextDelta | StreamThinkingDelta | StreamToolCall | StreamDone
"""What a structured stream consists of, told apart by ``type``."""
