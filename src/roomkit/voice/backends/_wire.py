"""What is said on the socket of a call: the messages of one protocol, and what they mean.

A ``Wire`` reads and writes messages and knows nothing of sockets, queues or sessions.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roomkit.exceptions import RoomKitError
from roomkit.voice.audio.g711 import mulaw_to_pcm16, pcm16_to_mulaw
from roomkit.voice.audio.pcm import MAX_RATE, MIN_RATE, SampleCarry

PCM = "pcm_s16le"
MULAW = "mulaw"

_MAX_NAME = 200
_MAX_TOKEN = 8192


class WireError(RoomKitError):
    """A message that cannot be used.

    Attributes:
        code: Why, as the client is told it, such as ``unsupported_codec``.
    """

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


@dataclass(frozen=True)
class Started:
    """The client says how it speaks; the fields are those of ``VoiceHandshake``."""

    codec: str
    sample_rate: int
    room: str | None = None
    token: str | None = field(default=None, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    call_id: str | None = None
    stream_id: str | None = None


@dataclass(frozen=True)
class Sound:
    """Audio came; ``at_ms`` is when it begins, by the sender's clock, when it says."""

    pcm: bytes = field(repr=False)
    at_ms: float | None = None


@dataclass(frozen=True)
class Heard:
    """What stood before a mark was played."""

    mark: str


@dataclass(frozen=True)
class Cleared:
    """The client has dropped its playback by itself: its user wants to speak."""


@dataclass(frozen=True)
class Key:
    """A telephone key was pressed."""

    digit: str


@dataclass(frozen=True)
class Stopped:
    """The client hangs up."""


Signal = Started | Sound | Heard | Cleared | Key | Stopped


class Wire(ABC):
    """One client's protocol.

    Attributes:
        input_rate: Hertz of what comes in, once the client has started.
        output_rate: Hertz of what goes out.
    """

    input_rate: int = 16000
    output_rate: int = 16000

    @abstractmethod
    def read(self, message: str | bytes) -> Signal | None:
        """Return what a message means; None when it means nothing to us.

        Raises:
            WireError: It is malformed.
        """

    def ready(self, session_id: str) -> str | None:
        """Return the answer to a start."""
        return None

    @abstractmethod
    def audio(self, pcm: bytes) -> str | bytes:
        """Return the message that carries audio."""

    @abstractmethod
    def mark(self, name: str) -> str:
        """Return the message that asks to be told when playback comes to this point."""

    @abstractmethod
    def clear(self) -> str:
        """Return the message that drops the client's playback."""

    def text(self, text: str, role: str) -> str | None:
        """Return the message that shows what was said; None: the client shows no text."""
        return None

    def bye(self) -> str | None:
        """Return what is said before the socket is closed."""
        return None

    def error(self, code: str) -> str | None:
        """Return how a client is told that its message was refused."""
        return None


def read_object(message: str) -> Mapping[str, Any]:
    """Return the JSON object of a text message.

    Raises:
        WireError: It is not one.
    """
    try:
        found = json.loads(message)
    except (ValueError, RecursionError) as exc:
        raise WireError("bad_json") from exc
    if not isinstance(found, Mapping):
        raise WireError("bad_json")
    return found


def optional_text(fields: Mapping[str, Any], name: str, limit: int = _MAX_NAME) -> str | None:
    """Return a text field; None when it is absent or empty.

    Raises:
        WireError: It is no text, or longer than ``limit``.
    """
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > limit:
        raise WireError(f"bad_{name}")
    return value


def required_text(fields: Mapping[str, Any], name: str) -> str:
    """Return a text field.

    Raises:
        WireError: It is absent, empty or no text.
    """
    value = optional_text(fields, name)
    if value is None:
        raise WireError(f"bad_{name}")
    return value


class PlainWire(Wire):
    """The protocol of ``WebSocketVoiceBackend``: JSON for signals, binary frames for audio."""

    def __init__(self) -> None:
        self._codec = ""
        self._carry = SampleCarry()

    def read(self, message: str | bytes) -> Signal | None:
        """Return what a message means; see ``Wire.read``."""
        if isinstance(message, bytes | bytearray | memoryview):
            return self._sound(bytes(message))
        fields = read_object(message)
        match fields.get("type"):
            case "start":
                return self._start(fields)
            case "mark":
                return Heard(required_text(fields, "name"))
            case "clear":
                return Cleared()
            case "stop":
                return Stopped()
        return None

    def _sound(self, data: bytes) -> Signal:
        if not self._codec:
            raise WireError("not_started")
        return Sound(mulaw_to_pcm16(data) if self._codec == MULAW else self._carry.push(data))

    def _start(self, fields: Mapping[str, Any]) -> Started:
        if self._codec:
            raise WireError("already_started")
        codec = fields.get("codec", PCM)
        if codec not in (PCM, MULAW):
            raise WireError("unsupported_codec")
        rate = fields.get("sample_rate", 8000 if codec == MULAW else 16000)
        if type(rate) is not int or not MIN_RATE <= rate <= MAX_RATE:
            raise WireError("unsupported_sample_rate")
        started = Started(
            codec=codec,
            sample_rate=rate,
            room=optional_text(fields, "room"),
            token=optional_text(fields, "token", _MAX_TOKEN),
        )
        self._codec, self.input_rate, self.output_rate = codec, rate, rate
        return started

    def ready(self, session_id: str) -> str:
        """Say which session it is, and how audio is carried both ways."""
        return json.dumps(
            {
                "type": "ready",
                "session_id": session_id,
                "codec": self._codec,
                "sample_rate": self.output_rate,
            }
        )

    def audio(self, pcm: bytes) -> bytes:
        """Return the audio in the codec of the start."""
        return pcm16_to_mulaw(pcm) if self._codec == MULAW else pcm

    def mark(self, name: str) -> str:
        """Return ``{"type": "mark", "name": ...}``."""
        return json.dumps({"type": "mark", "name": name})

    def clear(self) -> str:
        """Return ``{"type": "clear"}``."""
        return '{"type": "clear"}'

    def text(self, text: str, role: str) -> str:
        """Return ``{"type": "transcription", "text": ..., "role": ...}``."""
        return json.dumps({"type": "transcription", "text": text, "role": role})

    def bye(self) -> str:
        """Return ``{"type": "stop"}``."""
        return '{"type": "stop"}'

    def error(self, code: str) -> str:
        """Return ``{"type": "error", "code": ...}``."""
        return json.dumps({"type": "error", "code": code})
