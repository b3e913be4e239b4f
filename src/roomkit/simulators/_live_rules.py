"""What a client of Gemini's Live API may say, for its simulator.

Fields and refusals follow the vendor's reference "Live API (WebSockets)"; JSON may name fields
either way, as protocol buffers' does.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

_MESSAGES = frozenset({"setup", "clientContent", "realtimeInput", "toolResponse"})
_SETUP = frozenset({
    "model", "generationConfig", "systemInstruction", "tools", "realtimeInputConfig",
    "sessionResumption", "contextWindowCompression", "inputAudioTranscription",
    "outputAudioTranscription", "proactivity", "historyConfig",
})  # fmt: skip
_GENERATION = frozenset({
    "responseModalities", "temperature", "topP", "topK", "maxOutputTokens", "seed",
    "speechConfig", "thinkingConfig", "enableAffectiveDialog", "mediaResolution",
})  # fmt: skip
_DETECTION = frozenset({
    "disabled", "startOfSpeechSensitivity", "endOfSpeechSensitivity", "prefixPaddingMs",
    "silenceDurationMs",
})  # fmt: skip
_INPUT = frozenset({
    "audio", "video", "text", "activityStart", "activityEnd", "audioStreamEnd", "mediaChunks",
})  # fmt: skip
_VOICES = frozenset({"Puck", "Charon", "Kore", "Fenrir", "Aoede", "Leda", "Orus", "Zephyr"})
_WORDS = {
    "startOfSpeechSensitivity": ("START_SENSITIVITY_HIGH", "START_SENSITIVITY_LOW"),
    "endOfSpeechSensitivity": ("END_SENSITIVITY_HIGH", "END_SENSITIVITY_LOW"),
}
_FUNCTION = re.compile(r"[A-Za-z_][\w.:-]{0,127}", re.ASCII)
_AUDIO = re.compile(r"audio/pcm(?:;rate=(?P<rate>\d+))?", re.ASCII)
_HEARD_RATE = 16000
# Schemas and results are the client's own: their keys stay as they are.
_FOREIGN = frozenset({"parametersJsonSchema", "parameters", "response", "args"})


class Refusal(Exception):
    """What the vendor would close the connection for."""

    def __init__(self, reason: str, code: int = 1007) -> None:
        super().__init__(reason)
        self.code = code


def read_message(frame: str | bytes) -> tuple[str, dict[str, Any]]:
    """Return the kind of a client's message and what it holds.

    Raises:
        Refusal: It is none.
    """
    try:
        message = _camel(json.loads(frame))
    except ValueError:
        raise Refusal("Request contains an invalid argument.") from None
    if not isinstance(message, dict) or len(message) != 1:
        raise Refusal("Request contains an invalid argument.")
    ((kind, value),) = message.items()
    if kind not in _MESSAGES or not isinstance(value, dict):
        raise Refusal(_unknown(kind, "the message"))
    return kind, value


def check_setup(setup: dict[str, Any], *, native: bool) -> None:
    """Check what a session is asked for.

    Args:
        setup: The client's.
        native: Whether the model speaks itself, and therefore cannot only write.

    Raises:
        Refusal: The vendor would not take it.
    """
    _only(setup, _SETUP, "setup")
    generation = setup.get("generationConfig", {})
    _only(generation, _GENERATION, "setup.generation_config")
    modalities = generation.get("responseModalities", ["AUDIO"])
    if modalities not in ((["AUDIO"],) if native else (["AUDIO"], ["TEXT"])):
        raise Refusal("Cannot extract voices from a non-audio request.")
    speech = generation.get("speechConfig", {})
    voice = speech.get("voiceConfig", {}).get("prebuiltVoiceConfig", {}).get("voiceName")
    if voice is not None and voice not in _VOICES:
        raise Refusal(f"Requested voice api_name '{voice}' is not available for model", 1008)
    _check_detection(setup.get("realtimeInputConfig", {}).get("automaticActivityDetection", {}))
    for tool in setup.get("tools", []):
        for declared in tool.get("functionDeclarations", []):
            if not _FUNCTION.fullmatch(str(declared.get("name", ""))):
                raise Refusal("Invalid function name. Must start with a letter or underscore.")


def _check_detection(detection: dict[str, Any]) -> None:
    _only(detection, _DETECTION, "setup.realtime_input_config.automatic_activity_detection")
    for key, words in _WORDS.items():
        if detection.get(key, words[0]) not in words:
            raise Refusal(f"Invalid value at 'setup.{key}': {detection[key]!r}")


def read_audio(blob: Any) -> tuple[bytes, int]:
    """Return a piece of PCM and its hertz.

    Raises:
        Refusal: It is none.
    """
    kind = _AUDIO.fullmatch(str(blob.get("mimeType"))) if isinstance(blob, dict) else None
    if kind is None:
        raise Refusal("Unsupported MIME type of realtime input.")
    data = str(blob.get("data", "")).replace("-", "+").replace("_", "/")
    try:
        audio = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal("Base64 decoding failed for realtime input.") from None
    if len(audio) % 2:
        raise Refusal("Realtime input ends in half a sample.")
    return audio, int(kind["rate"] or _HEARD_RATE)


def check_input(message: dict[str, Any], *, manual: bool) -> None:
    """Check a piece of realtime input.

    Raises:
        Refusal: The vendor would not take it.
    """
    _only(message, _INPUT, "realtime_input")
    if manual and "audioStreamEnd" in message:
        raise Refusal("audio_stream_end needs automatic activity detection.")
    if not manual and ("activityStart" in message or "activityEnd" in message):
        raise Refusal("Explicit activity control is not supported when automatic activity "
                      "detection is enabled.")  # fmt: skip


def read_turns(content: dict[str, Any]) -> list[tuple[str, str]]:
    """Return role and text of written turns.

    Raises:
        Refusal: They are none.
    """
    _only(content, frozenset({"turns", "turnComplete"}), "client_content")
    found = []
    for turn in content.get("turns", []):
        if turn.get("role") not in ("user", "model"):
            raise Refusal("Please use a valid role: user, model.")
        found.append((turn["role"], "".join(part["text"] for part in turn["parts"])))
    return found


def _only(part: dict[str, Any], known: frozenset[str], where: str) -> None:
    for key in part:
        if key not in known:
            raise Refusal(_unknown(key, where))


def _unknown(key: str, where: str) -> str:
    return f"Invalid JSON payload received. Unknown name \"{key}\" at '{where}': no such field."


def _camel(value: Any) -> Any:
    """Return JSON with the names of its fields the one way."""
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub(r"_([a-z])", lambda m: m[1].upper(), key): item for key, item in value.items()}
    return {key: item if key in _FOREIGN else _camel(item) for key, item in named.items()}
