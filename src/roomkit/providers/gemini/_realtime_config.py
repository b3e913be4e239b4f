"""What a session of Gemini's Live API is asked for: settings as the SDK's config.

Fields follow the SDK's ``LiveConnectConfig``; those an older SDK does not have are left out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from roomkit.exceptions import InvalidInputError
from roomkit.voice.realtime._links import LinkSettings, merge

logger = logging.getLogger("roomkit.providers.gemini.realtime")

_SENSITIVITIES = ("HIGH", "LOW")
_PLAIN = ("top_p", "top_k", "max_output_tokens", "seed", "enable_affective_dialog",
          "response_modalities", "explicit_vad_signal")  # fmt: skip
_THINKING = ("thinking_budget", "thinking_level")
_DETECTION = ("start_of_speech_sensitivity", "end_of_speech_sensitivity", "silence_duration_ms",
              "prefix_padding_ms")  # fmt: skip
_KNOWN = frozenset({
    *_PLAIN, *_THINKING, *_DETECTION, "language", "proactive_audio", "no_interruption",
    "session_resumption", "context_window_compression", "raw",
})  # fmt: skip
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Settings(LinkSettings):
    """What a session was connected with, as this vendor reads it."""

    @property
    def resumable(self) -> bool:
        """Whether the vendor is asked for handles to go on with."""
        return self.config.get("session_resumption", True) is not False


def live_config(types: Any, settings: Settings, handle: str | None, *, told: bool = False) -> Any:
    """Return the SDK's config of a link.

    Args:
        types: The SDK's module ``google.genai.types``.
        settings: The session's.
        handle: Where to go on; None begins anew.
        told: Whether the link is first told an earlier conversation.

    Raises:
        InvalidInputError: A setting makes no sense, or the SDK does not know it.
    """
    fields = _fields(types, settings)
    if settings.resumable:
        fields["session_resumption"] = {"handle": handle} if handle else {}
    if told:
        fields["history_config"] = {"initial_history_in_client_content": True}
    raw = settings.config.get("raw")
    if isinstance(raw, Mapping):
        merge(fields, deepcopy(dict(raw)))
    try:
        return types.LiveConnectConfig(**fields)
    except Exception as exc:  # noqa: BLE001 - pydantic's error, whose text quotes what was given
        raise InvalidInputError(
            f"the Live API does not take {_places(exc)}; see provider_config"
        ) from None


def takes_history(types: Any) -> bool:
    """Return whether the SDK can say that a conversation begins with an earlier one."""
    return "history_config" in _names(types.LiveConnectConfig)


def _fields(types: Any, settings: Settings) -> dict[str, Any]:
    config = settings.config
    unknown = sorted(str(key) for key in config if key not in _KNOWN)
    if unknown:
        logger.warning("provider_config has no %s", ", ".join(unknown[:_MOST_NAMED]))
    fields: dict[str, Any] = {
        "response_modalities": ["AUDIO"],
        "input_audio_transcription": {},
        "output_audio_transcription": {},
        **{key: config[key] for key in _PLAIN if config.get(key) is not None},
    }
    if settings.system_prompt is not None:
        fields["system_instruction"] = settings.system_prompt
    if settings.temperature is not None:
        fields["temperature"] = settings.temperature
    if settings.tools:
        fields["tools"] = [_tool(types, tool) for tool in settings.tools]
    if config.get("proactive_audio") is not None:
        fields["proactivity"] = {"proactive_audio": config["proactive_audio"]}
    if compression := config.get("context_window_compression"):
        # True: the window slides when it is nearly full.
        fields["context_window_compression"] = (
            {"sliding_window": {}} if compression is True else compression
        )
    more = {
        "speech_config": _speech(settings),
        "realtime_input_config": _turns(settings),
        "thinking_config": _thinking(types, config),
    }
    fields.update((key, value) for key, value in more.items() if value)
    return fields


def _speech(settings: Settings) -> dict[str, Any]:
    speech: dict[str, Any] = {}
    if settings.voice is not None:
        speech["voice_config"] = {"prebuilt_voice_config": {"voice_name": settings.voice}}
    if settings.config.get("language") is not None:
        speech["language_code"] = settings.config["language"]
    return speech


def _thinking(types: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    # The oldest releases cannot say it for live sessions.
    live = "thinking_config" in _names(types.LiveConnectConfig)
    known = _names(types.ThinkingConfig) if live else ()
    given = {key: config[key] for key in _THINKING if config.get(key) is not None}
    for key in given:
        if key not in known:
            raise InvalidInputError(f"this google-genai has no {key}; a newer one does")
    level = given.get("thinking_level")
    if isinstance(level, str):
        given["thinking_level"] = level.upper()
    return given


def _turns(settings: Settings) -> dict[str, Any]:
    """Return who finds out who speaks when, and what that does to an answer."""
    config = settings.config
    turns: dict[str, Any] = {}
    if not settings.server_vad:
        turns["automatic_activity_detection"] = {"disabled": True}
    elif detection := {key: config[key] for key in _DETECTION if config.get(key) is not None}:
        for key, prefix in (
            ("start_of_speech_sensitivity", "START_SENSITIVITY_"),
            ("end_of_speech_sensitivity", "END_SENSITIVITY_"),
        ):
            if key in detection:
                detection[key] = _sensitivity(key, detection[key], prefix)
        turns["automatic_activity_detection"] = detection
    if config.get("no_interruption"):
        turns["activity_handling"] = "NO_INTERRUPTION"
    return turns


def _sensitivity(key: str, value: Any, prefix: str) -> str:
    """Return the vendor's word; a bare ``HIGH`` would be sent, and then be refused."""
    word = str(getattr(value, "value", value)).upper().removeprefix(prefix)
    if word not in _SENSITIVITIES:
        raise InvalidInputError(f"{key} is 'high' or 'low'")
    return f"{prefix}{word}"


def _tool(types: Any, tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool; its schema as plain JSON Schema, of which ``parameters`` takes little."""
    declared: dict[str, Any] = {
        key: tool[key] for key in ("name", "description") if tool.get(key) is not None
    }
    schema = tool.get("parameters")
    # An object without properties is refused; no schema means the same.
    if schema and (schema.get("properties") or schema.get("type") != "object"):
        known = _names(types.FunctionDeclaration)
        key = "parameters_json_schema" if "parameters_json_schema" in known else "parameters"
        declared[key] = schema
    return {"function_declarations": [declared]}


def _names(model: Any) -> Any:
    return getattr(model, "model_fields", ())


def _places(exc: Exception) -> str:
    """Return which settings a pydantic error is about, without their values."""
    errors = getattr(exc, "errors", None)
    if not callable(errors):
        return f"these settings ({type(exc).__name__})"
    found = {".".join(str(step) for step in error["loc"][:3]) for error in errors()}
    return ", ".join(sorted(found)[:_MOST_NAMED])
