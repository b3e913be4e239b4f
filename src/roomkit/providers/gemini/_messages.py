"""What Gemini is sent: a context as contents and a request config. Pure.

Shapes: the "Function calling" and "Thought signatures" pages of the Gemini API. ``types`` is
the SDK's module of that name (or a fake of it): it is passed in, never imported.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from roomkit.exceptions import ProviderError
from roomkit.providers.ai._sdk import chosen, given, split_data_url
from roomkit.providers.ai.base import (
    AIImagePart,
    AITextPart,
    AIThinkingPart,
    AIToolCallPart,
    AIToolResultPart,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roomkit.providers.ai.base import AIContext, AIMessage, AIPart, AITool
    from roomkit.providers.gemini.config import GeminiConfig

UNREADABLE = "[an attachment that cannot be read]"
"""Stands for a ``data:`` URL that carries nothing."""

_DEFAULT_IMAGE = "image/jpeg"


def build_contents(types: Any, context: AIContext, model: str) -> list[Any]:
    """Return the conversation as Gemini's contents, without system messages.

    Results of tools that follow each other become one content, as Gemini wants one result a
    call of the turn before. Messages that say nothing are left out.

    Args:
        types: ``google.genai.types``.
        context: What to say.
        model: Who is asked; seals on text go back only to the model that made them.

    Raises:
        ProviderError: Nothing would be left to send.
    """
    turns: list[tuple[str, list[Any], bool]] = []
    for message in context.messages:
        if message.role == "system":
            continue
        parts = _Parts(types, message, model).build()
        if not parts:
            continue
        results = has_results(message)
        if results and turns and turns[-1][2]:
            turns[-1][1].extend(parts)
        else:
            turns.append(("model" if message.role == "assistant" else "user", parts, results))
    if not turns:
        raise ProviderError(
            "the prompt holds no message with content; Gemini needs at least one",
            provider="gemini",
        )
    return [types.Content(role=role, parts=parts) for role, parts, _ in turns]


def build_config(types: Any, context: AIContext, config: GeminiConfig) -> Any:
    """Return the request's ``GenerateContentConfig``.

    Tools that were withdrawn in this turn (``withheld_tools``) stay declared, with calling
    switched off: without their declarations a model may still call them, which Gemini answers
    with an empty ``UNEXPECTED_TOOL_CALL``.
    """
    request = types.GenerateContentConfig(
        temperature=_setting(context, config, "temperature"),
        max_output_tokens=_setting(context, config, "max_tokens"),
    )
    instruction = system_text(context)
    if instruction:
        request.system_instruction = instruction
    withheld = () if context.tools else context.metadata.get("withheld_tools") or ()
    tools = [*context.tools, *withheld]
    if tools:
        declared = [_declaration(types, tool) for tool in tools]
        request.tools = [types.Tool(function_declarations=declared)]
        _no_automatic_calls(types, request)
    if withheld:
        _forbid_calls(types, request)
    if config.include_thoughts:
        request.thinking_config = types.ThinkingConfig(include_thoughts=True)
    return request


def system_text(context: AIContext) -> str:
    """Return the system prompt and the text of all system messages, a blank line between."""
    texts = [context.system_prompt or ""]
    texts += [_plain(message.content) for message in context.messages if message.role == "system"]
    return "\n\n".join(text for text in texts if text)


def has_results(message: AIMessage) -> bool:
    """Tell whether a message carries results of tools."""
    return not isinstance(message.content, str) and any(
        isinstance(part, AIToolResultPart) for part in message.content
    )


def own_id(call_id: str, name: str) -> bool:
    """Tell whether a call's id was made up from its name, because Gemini gave none."""
    return call_id == name or call_id.startswith(f"{name}#")


class _Parts:
    """The parts of one message.

    Args:
        types: ``google.genai.types``.
        message: What to say.
        model: Who is asked.
    """

    def __init__(self, types: Any, message: AIMessage, model: str) -> None:
        self._types = types
        self._message = message
        # A seal is worthless to any other model, and a foreign one is refused.
        self._own = message.metadata.get("model") == model
        self._results: list[Any] = []
        self._others: list[Any] = []
        self._seal: bytes | None = None

    def build(self) -> list[Any]:
        """Return the parts, results of tools first, as Gemini wants them."""
        content = self._message.content
        if isinstance(content, str):
            return [self._types.Part.from_text(text=content)] if content else []
        for part in content:
            self._add(part)
        return self._results + self._others

    def _add(self, part: AIPart) -> None:
        if isinstance(part, AITextPart):
            self._add_text(part.text)
        elif isinstance(part, AIImagePart):
            self._others.append(media_part(self._types, part))
        elif isinstance(part, AIToolCallPart):
            self._others.append(_call_part(self._types, part))
        elif isinstance(part, AIToolResultPart):
            self._add_result(part)
        elif isinstance(part, AIThinkingPart) and self._own:
            # The thoughts are for us; only the seal is wanted back, on the text after them.
            self._seal = decoded(part.signature)

    def _add_text(self, text: str) -> None:
        if not text:
            return
        part = self._types.Part.from_text(text=text)
        if self._seal is not None:
            part.thought_signature, self._seal = self._seal, None
        self._others.append(part)

    def _add_result(self, part: AIToolResultPart) -> None:
        types = self._types
        texts = part.result if isinstance(part.result, str) else _plain(part.result)
        call_id = None if own_id(part.tool_call_id, part.name) else part.tool_call_id
        response = types.FunctionResponse(
            name=part.name,
            response={"error" if part.is_error else "output": texts},
            **given(id=call_id),
        )
        self._results.append(types.Part(function_response=response))
        if not isinstance(part.result, str):
            images = [item for item in part.result if isinstance(item, AIImagePart)]
            self._others += [media_part(types, image) for image in images]


def media_part(types: Any, image: AIImagePart) -> Any:
    """Return an attachment: bytes for a ``data:`` URL, else the URL for Gemini to fetch.

    What is no image is passed on under its own type: Gemini reads PDF, sound and film too.
    """
    if not image.url.lower().startswith("data:"):
        return types.Part.from_uri(file_uri=image.url, mime_type=image.mime_type or _DEFAULT_IMAGE)
    found = split_data_url(image.url)
    data = decoded(found[1]) if found is not None else None
    if found is None or not data:
        return types.Part.from_text(text=UNREADABLE)
    return types.Part.from_bytes(data=data, mime_type=found[0])


def decoded(text: Any) -> bytes | None:
    """Return the bytes of base64 text; None when it is none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _call_part(types: Any, call: AIToolCallPart) -> Any:
    call_id = None if own_id(call.id, call.name) else call.id
    function_call = types.FunctionCall(name=call.name, args=call.arguments, **given(id=call_id))
    signature = decoded(call.metadata.get("thought_signature"))
    return types.Part(function_call=function_call, **given(thought_signature=signature))


def _declaration(types: Any, tool: AITool) -> Any:
    """Return a tool's declaration, its schema as plain JSON Schema where the SDK knows that.

    The older ``parameters`` takes a subset of OpenAPI only.
    """
    schema = None if _takes_nothing(tool.parameters) else tool.parameters
    fields = getattr(types.FunctionDeclaration, "model_fields", ())
    keyword = "parameters_json_schema" if "parameters_json_schema" in fields else "parameters"
    return types.FunctionDeclaration(
        name=tool.name, description=tool.description, **{keyword: schema}
    )


def _takes_nothing(schema: dict[str, Any]) -> bool:
    """Tell whether a schema has no parameters; Gemini refuses an object without properties."""
    return not schema.get("properties") and set(schema) <= {"type", "properties", "required"}


def _no_automatic_calls(types: Any, request: Any) -> None:
    """Keep the SDK from running anything by itself."""
    make = getattr(types, "AutomaticFunctionCallingConfig", None)
    if make is not None:
        request.automatic_function_calling = make(disable=True)


def _forbid_calls(types: Any, request: Any) -> None:
    request.tool_config = types.ToolConfig(
        function_calling_config=types.FunctionCallingConfig(mode="NONE")
    )


def _setting(context: AIContext, config: GeminiConfig, name: str) -> Any:
    """Return a setting of the call, else one the config was given on purpose, else None."""
    value = chosen(context, config, name)
    if value is None and name in config.model_fields_set:
        return getattr(config, name)
    return value


def _plain(content: str | Iterable[AIPart]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content if isinstance(part, AITextPart))
