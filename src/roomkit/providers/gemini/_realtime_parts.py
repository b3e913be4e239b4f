"""What single parts of the Live API's messages hold; read by name, for SDKs of any age."""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

RATE = 24000
"""Hertz of what the vendor speaks, unless it says otherwise."""

_RATE = re.compile(r"\brate=(\d{4,6})\b")
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")
_SOON = 5.0
# Ends of a turn that need no telling.
_FINE = frozenset({"TURN_COMPLETE_REASON_UNSPECIFIED", "NEED_MORE_INPUT"})
_ACTIVITIES: dict[str, Literal["start", "end"]] = {
    "ACTIVITY_START": "start",
    "ACTIVITY_END": "end",
    "VAD_SIGNAL_TYPE_SOS": "start",
    "VAD_SIGNAL_TYPE_EOS": "end",
}


class Audio(NamedTuple):
    """A piece of the model's audio: 16-bit mono PCM and its hertz."""

    data: bytes
    rate: int


def audio_of(parts: Any) -> list[Audio]:
    """Return the audio among the parts of a turn."""
    found = []
    for part in parts:
        blob = getattr(part, "inline_data", None)
        data = getattr(blob, "data", None)
        kind = str(getattr(blob, "mime_type", None) or "audio/pcm")
        if isinstance(data, bytes) and data and kind.startswith("audio/"):
            rate = _RATE.search(kind)
            found.append(Audio(data, int(rate[1]) if rate else RATE))
    return found


def texts_of(parts: Any) -> list[str]:
    """Return the text among the parts of a turn, thoughts left out."""
    return [
        text
        for part in parts
        if isinstance(text := getattr(part, "text", None), str)
        and text
        and not getattr(part, "thought", None)
    ]


def text_of(transcription: Any) -> str:
    """Return the text of a piece of transcript."""
    text = getattr(transcription, "text", None)
    return text if isinstance(text, str) else ""


def activity_of(message: Any) -> Literal["start", "end"] | None:
    """Return whether the vendor heard the caller begin or end to speak."""
    newer = getattr(message, "voice_activity", None)
    older = getattr(message, "voice_activity_detection_signal", None)
    kind = getattr(newer, "voice_activity_type", None) or getattr(older, "vad_signal_type", None)
    return _ACTIVITIES.get(_word(kind))


def refusal_of(content: Any) -> str | None:
    """Return why a turn has ended other than by being said, in lower case."""
    word = _word(getattr(content, "turn_complete_reason", None))
    return None if not word or word in _FINE else word.lower()


def seconds_of(duration: Any) -> float:
    """Return the seconds of a duration such as ``9.5s``; a few when it is none."""
    found = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    return float(found[1]) if found else _SOON


def _word(value: Any) -> str:
    word = getattr(value, "value", value)
    return word if isinstance(word, str) else ""
