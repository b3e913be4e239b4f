"""What a request to Gemini must be like; everything else is refused with its words. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import Any

_TOP = {
    "contents", "systemInstruction", "generationConfig", "tools", "toolConfig",
    "safetySettings", "cachedContent", "labels", "serviceTier", "store",
}  # fmt: skip
_GENERATION = {
    "temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences",
    "responseMimeType", "responseSchema", "responseJsonSchema", "presencePenalty",
    "frequencyPenalty", "seed", "responseModalities", "speechConfig", "thinkingConfig",
    "mediaResolution", "imageConfig",
}  # fmt: skip
_DATA = {"text", "inlineData", "fileData", "functionCall", "functionResponse"}
_FLAGS = {"thought", "thoughtSignature", "videoMetadata", "mediaResolution"}
_INNER = {
    "inlineData": {"mimeType", "data"},
    "fileData": {"mimeType", "fileUri"},
    "functionCall": {"id", "name", "args"},
    "functionResponse": {"id", "name", "response", "parts", "willContinue", "scheduling"},
}
_DECLARATION = {
    "name", "description", "parameters", "parametersJsonSchema", "response",
    "responseJsonSchema", "behavior",
}  # fmt: skip
# The subset of OpenAPI that ``parameters`` may hold.
_SCHEMA = {
    "type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems",
    "properties", "required", "minProperties", "maxProperties", "minLength", "maxLength",
    "pattern", "example", "anyOf", "propertyOrdering", "default", "items", "minimum", "maximum",
}  # fmt: skip
# What lies below these is the caller's own, and keeps its spelling.
_FOREIGN = {"args", "response", "parametersJsonSchema", "responseJsonSchema", "labels"}
_NAME = re.compile(r"[a-zA-Z_][\w.:-]{0,127}", re.ASCII)
_HOTTEST = 2.0
CHARS_PER_TOKEN = 4
"""Near enough for a simulator."""


class Refused(Exception):
    """The request is answered with an error.

    Args:
        message: What to say.
        status: The HTTP status.
        details: Google's details.
    """

    def __init__(
        self, message: str, *, status: int = 400, details: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.details = details or []


@dataclass(frozen=True, slots=True)
class GeminiRequest:
    """A request that could be read.

    Attributes:
        data: Its body.
        contents: The conversation.
        tools: Declared functions.
    """

    data: dict[str, Any]
    contents: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)

    @property
    def heard(self) -> str:
        """What the last turn says, results of tools included."""
        said = []
        for part in self.contents[-1]["parts"]:
            answered = part.get("functionResponse", {}).get("response", {})
            said += [part.get("text", ""), *map(str, answered.values())]
        return " ".join(text for text in said if text)

    @property
    def max_tokens(self) -> int | None:
        """The longest answer wanted."""
        limit: int | None = self.data.get("generationConfig", {}).get("maxOutputTokens")
        return limit

    @property
    def include_thoughts(self) -> bool:
        """Whether summaries of thoughts are wanted."""
        thinking = self.data.get("generationConfig", {}).get("thinkingConfig", {})
        return bool(thinking.get("includeThoughts"))

    @property
    def calls_forbidden(self) -> bool:
        """Whether functions are declared but must not be called."""
        config = self.data.get("toolConfig", {}).get("functionCallingConfig", {})
        return bool(config.get("mode") == "NONE")

    def usage(self, answered: int | None, thought: int) -> dict[str, int]:
        """Return the count of tokens, a fourth of the characters; no answer: no count of it."""
        counts = {"promptTokenCount": max(1, len(json.dumps(self.contents)) // CHARS_PER_TOKEN)}
        if answered is not None:
            counts["candidatesTokenCount"] = -(-answered // CHARS_PER_TOKEN)
        if thought:
            counts["thoughtsTokenCount"] = -(-thought // CHARS_PER_TOKEN)
        return {**counts, "totalTokenCount": sum(counts.values())}


def read_request(body: bytes) -> GeminiRequest:
    """Return a request with its fields where Google would find them.

    Raises:
        Refused: The body is no JSON object, or has a field Google does not know.
    """
    try:
        data = json.loads(body)
    except ValueError:
        raise Refused("Invalid JSON payload received. Unexpected token.") from None
    if not isinstance(data, dict):
        raise Refused("Invalid value at root: the body must be an object.")
    data = _spelled(data)
    _known(data, _TOP, "")
    _known(data.get("generationConfig", {}), _GENERATION, "generation_config")
    contents = data.get("contents") or []
    if not contents:
        raise Refused("* GenerateContentRequest.contents: contents is not specified\n")
    tools = [tool for group in data.get("tools", []) for tool in group["functionDeclarations"]]
    return GeminiRequest(data, contents, tools)


def check_request(request: GeminiRequest, seals: set[str] | None) -> None:
    """Refuse what Gemini refuses.

    Args:
        request: What was asked.
        seals: Those that were given out; None: a model that does not think.

    Raises:
        Refused: Something is wrong.
    """
    for position, content in enumerate(request.contents):
        _check_content(content, f"contents[{position}]")
    instruction = request.data.get("systemInstruction")
    if instruction is not None:
        _check_parts(instruction, "system_instruction")
    _check_order(request.contents)
    for position, tool in enumerate(request.tools):
        _check_tool(tool, f"tools[0].function_declarations[{position}]")
    _check_generation(request.data.get("generationConfig", {}))
    if seals is not None:
        _check_seals(request.contents, seals)


def _spelled(value: Any) -> Any:
    """Return JSON of protocol buffers in its one spelling: ``max_tokens`` is ``maxTokens``."""
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    if not isinstance(value, dict):
        return value
    spelled: dict[str, Any] = {}
    for key, inner in value.items():
        name = re.sub(r"_([a-z])", lambda found: found[1].upper(), key)
        if name in _FOREIGN:
            spelled[name] = inner
        elif name == "properties" and isinstance(inner, dict):
            spelled[name] = {own: _spelled(schema) for own, schema in inner.items()}
        else:
            spelled[name] = _spelled(inner)
    return spelled


def _known(data: dict[str, Any], names: set[str], place: str) -> None:
    for name in data:
        if name not in names:
            where = f" at '{place}'" if place else ""
            raise Refused(
                f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
            )


def _check_content(content: dict[str, Any], place: str) -> None:
    _known(content, {"role", "parts"}, place)
    if content.get("role", "user") not in ("user", "model"):
        raise Refused("Please use a valid role: user, model.")
    _check_parts(content, place)


def _check_parts(content: dict[str, Any], place: str) -> None:
    parts = content.get("parts") or []
    if not parts:
        raise Refused(
            f"* GenerateContentRequest.{place}.parts: contents.parts must not be empty.\n"
        )
    for number, part in enumerate(parts):
        here = f"{place}.parts[{number}]"
        _known(part, _DATA | _FLAGS, here)
        kinds = _DATA & part.keys()
        if len(kinds) != 1:
            raise Refused(
                f"* GenerateContentRequest.{here}.data: required oneof field 'data' must have "
                "one initialized field\n"
            )
        for kind in kinds - {"text"}:
            _known(part[kind], _INNER[kind], f"{here}.{kind}")
        _check_bytes(part.get("inlineData", {}).get("data", ""), f"{here}.inline_data.data")
        _check_bytes(part.get("thoughtSignature", ""), f"{here}.thought_signature")


def _check_bytes(text: str, place: str) -> None:
    try:
        base64.b64decode(_plain_base64(text), validate=True)
    except binascii.Error:
        raise Refused(
            f"Invalid value at '{place}' (TYPE_BYTES), Base64 decoding failed for \"{text}\""
        ) from None


def _plain_base64(text: str) -> str:
    """Return base64 of the one alphabet: JSON of protocol buffers may use either."""
    return text.replace("-", "+").replace("_", "/")


def _of_kind(content: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [part for part in content["parts"] if kind in part]


def _check_order(contents: list[dict[str, Any]]) -> None:
    """Refuse calls and results that are not in pairs of turns."""
    calls_before = 0
    for position, content in enumerate(contents):
        results = len(_of_kind(content, "functionResponse"))
        calls = len(_of_kind(content, "functionCall"))
        if results and not calls_before:
            raise Refused(
                "Please ensure that function response turn comes immediately after a function "
                "call turn."
            )
        if results != calls_before:
            raise Refused(
                "Please ensure that the number of function response parts is equal to the "
                "number of function call parts of the function call turn."
            )
        if calls and (position == 0 or contents[position - 1].get("role") == "model"):
            raise Refused(
                "Please ensure that function call turn comes immediately after a user turn or "
                "after a function response turn."
            )
        calls_before = calls


def _check_seals(contents: list[dict[str, Any]], seals: set[str]) -> None:
    """Refuse calls of the present turn whose first has no seal, or one never given out."""
    start = max(
        (i for i, content in enumerate(contents) if content.get("role") != "model"
         and not _of_kind(content, "functionResponse")),
        default=0,
    )  # fmt: skip
    for position, content in enumerate(contents[start:], start + 1):
        calls = _of_kind(content, "functionCall")
        if not calls:
            continue
        seal = calls[0].get("thoughtSignature")
        name = calls[0]["functionCall"].get("name")
        if not seal:
            raise Refused(
                "Function call is missing a thought_signature in functionCall parts. This is "
                "required for tools to work correctly, and missing thought_signature may lead "
                "to degraded model performance. Additional data, function call "
                f"`default_api:{name}` , position {position}."
            )
        if _plain_base64(seal) not in seals:
            raise Refused("Thought signature is not valid.")


def _check_tool(tool: dict[str, Any], place: str) -> None:
    _known(tool, _DECLARATION, place)
    if not _NAME.fullmatch(tool.get("name", "")):
        raise Refused(
            f"* GenerateContentRequest.{place}.name: Invalid function name. Must start with a "
            "letter or an underscore.\n"
        )
    if "parameters" in tool and "parametersJsonSchema" in tool:
        raise Refused(f"* {place}: only one of parameters and parameters_json_schema may be set\n")
    if "parameters" in tool:
        _check_schema(tool["parameters"], f"{place}.parameters")
    schema = tool.get("parameters", tool.get("parametersJsonSchema", {"properties": {"any": {}}}))
    if str(schema.get("type", "")).lower() == "object" and not schema.get("properties"):
        raise Refused(
            f"* GenerateContentRequest.{place}.parameters.properties: should be non-empty for "
            "OBJECT type\n"
        )


def _check_schema(schema: dict[str, Any], place: str) -> None:
    _known(schema, _SCHEMA, place)
    for name, inner in schema.get("properties", {}).items():
        _check_schema(inner, f"{place}.properties[{name}]")
    if "items" in schema:
        _check_schema(schema["items"], f"{place}.items")


def _check_generation(config: dict[str, Any]) -> None:
    temperature = config.get("temperature")
    if temperature is not None and not 0 <= temperature <= _HOTTEST:
        raise Refused(
            "* GenerateContentRequest.generation_config.temperature: temperature must be in "
            "the range [0.0, 2.0].\n"
        )
    longest = config.get("maxOutputTokens")
    if longest is not None and longest < 1:
        raise Refused("max_output_tokens must be positive.")
