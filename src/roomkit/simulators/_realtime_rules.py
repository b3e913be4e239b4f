"""What a client of OpenAI's Realtime API may say, for its simulator."""

from __future__ import annotations

import json
from typing import Any

_SESSION = frozenset({
    "audio", "include", "instructions", "max_output_tokens", "model", "output_modalities",
    "parallel_tool_calls", "prompt", "reasoning", "tool_choice", "tools", "tracing",
    "truncation", "type",
})  # fmt: skip
_BETA_SESSION = frozenset({
    "input_audio_format", "input_audio_noise_reduction", "input_audio_transcription",
    "instructions", "max_response_output_tokens", "modalities", "model", "output_audio_format",
    "speed", "temperature", "tool_choice", "tools", "turn_detection", "voice",
})  # fmt: skip
_INPUT = frozenset({"format", "noise_reduction", "transcription", "turn_detection"})
_OUTPUT = frozenset({"format", "speed", "voice"})
_VOICES = frozenset({
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "marin", "sage", "shimmer", "verse",
})  # fmt: skip
_FORMAT = {"type": "audio/pcm", "rate": 24000}


class Refusal(Exception):
    """What the vendor would answer with an ``error`` event."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_event(frame: str | bytes) -> dict[str, Any]:
    """Return a client's event.

    Raises:
        Refusal: It is none.
    """
    try:
        event = json.loads(frame)
    except ValueError:
        raise Refusal("invalid_json", "We could not parse the JSON body.") from None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise Refusal("missing_required_parameter", "Missing required parameter: 'type'.")
    return event


def check_session(session: dict[str, Any], *, beta: bool) -> None:
    """Check what ``session.update`` asks for.

    Raises:
        Refusal: The vendor would not take it.
    """
    _only(session, _BETA_SESSION if beta else _SESSION, "session")
    _check_tools(session.get("tools", []))
    if beta:
        _check_voice(session.get("voice"))
        return
    if session.get("type") != "realtime":
        raise Refusal("missing_required_parameter", "Missing required parameter: 'session.type'.")
    if session.get("output_modalities", ["audio"]) not in (["audio"], ["text"]):
        raise Refusal("invalid_value", "Invalid value: 'session.output_modalities'.")
    audio = session.get("audio", {})
    heard, spoken = audio.get("input", {}), audio.get("output", {})
    _only(heard, _INPUT, "session.audio.input")
    _only(spoken, _OUTPUT, "session.audio.output")
    for part in (heard, spoken):
        if part.get("format", _FORMAT) != _FORMAT:
            raise Refusal("invalid_value", "This simulator speaks audio/pcm at 24000 only.")
    _check_voice(spoken.get("voice"))
    turns = heard.get("turn_detection")
    if turns is not None and turns.get("type") not in ("server_vad", "semantic_vad"):
        raise Refusal("invalid_value", "Invalid value: 'turn_detection.type'.")


def read_session(session: dict[str, Any], *, beta: bool) -> dict[str, Any] | None:
    """Return how turns are detected; None when the client ends them itself."""
    place = session if beta else session.get("audio", {}).get("input", {})
    turns: dict[str, Any] | None = place.get("turn_detection", {"type": "server_vad"})
    return turns


def _only(part: dict[str, Any], known: frozenset[str], where: str) -> None:
    for key in part:
        if key not in known:
            raise Refusal("unknown_parameter", f"Unknown parameter: '{where}.{key}'.")


def _check_voice(voice: Any) -> None:
    if voice is not None and voice not in _VOICES and not isinstance(voice, dict):
        raise Refusal("invalid_value", "Invalid value: 'session.audio.output.voice'.")


def _check_tools(tools: Any) -> None:
    for tool in tools or []:
        if tool.get("type") != "function" or not isinstance(tool.get("name"), str):
            raise Refusal("missing_required_parameter", "Missing required parameter: 'tools'.")
