"""ElevenLabs' text to speech, played on a local socket: whole, in pieces, and from growing text.

Shapes and refusals follow the vendor's public pages "Create speech", "Stream speech", "WebSocket"
and "List voices". What it says is a tone as long as the text.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
from array import array
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit.simulators._base import SentMessage, SimReply, SimRequest
from roomkit.simulators._speech import Hangup, SimSocket, SpeechSimulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.simulators._base import Step

__all__ = ["ElevenLabsSimulator", "Hangup"]

_FORMAT = re.compile(
    r"mp3_(22050_32|24000_48|44100_(32|64|96|128|192))"
    r"|pcm_(8000|16000|22050|24000|32000|44100|48000)"
    r"|[ua]law_8000|opus_48000_(32|64|96|128|192)|wav_(8000|16000|22050|24000|32000|44100|48000)"
)
_PATH = re.compile(r"/v1/text-to-speech/([^/]+)(/stream|/stream-input)?")
_VOICES = {
    "21m00Tcm4TlvDq8ikWAM": "Rachel",
    "AZnzlk1XvdvUeBnXmlld": "Domi",
}
_CODES = {
    400: "invalid_request",
    401: "invalid_api_key",
    403: "forbidden",
    404: "voice_not_found",
    422: "validation_error",
    429: "too_many_concurrent_requests",
    503: "system_busy",
}
_SECONDS_A_CHARACTER = 0.05
_LONGEST_TEXT = 10_000
_ENOUGH = 50
_NO_GROWING_TEXT = re.compile(r"eleven_v[3-9]")


class ElevenLabsSimulator(SpeechSimulator):
    """An ElevenLabs that hums; ``settings`` fits ``ElevenLabsConfig``.

    ``sent`` has every text that was spoken: ``to`` is the voice, ``data`` the request.

    Args:
        api_key: The one key it knows.
        patience: Seconds without text after which it ends a conversation.
        piece: Bytes of a piece of audio; an odd number cuts samples in two, as it happens.
        port: The port; 0 takes a free one.
    """

    vendor: ClassVar[str] = "elevenlabs"

    def __init__(
        self,
        *,
        api_key: str = "MADE-UP-ELEVENLABS-KEY",
        patience: float = 20.0,
        piece: int = 1001,
        port: int = 0,
    ) -> None:
        super().__init__(port=port)
        self._api_key = api_key
        self._patience = patience
        self._piece = piece

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of ElevenLabsConfig."""
        return {"api_key": self._api_key, "api_base": self.api_base}

    async def handle(self, request: SimRequest) -> SimReply:
        """Answer a request as the vendor would."""
        refusal = self._unknown(request)
        if refusal is not None:
            return refusal
        if request.path == "/v1/voices" and request.method == "GET":
            return SimReply.of_json({"voices": [_voice(each) for each in _VOICES]})
        found = _PATH.fullmatch(request.path)
        if found is None or found[2] == "/stream-input":
            return SimReply.of_json({"detail": "Not Found"}, 404)
        if request.method != "POST":
            return SimReply.of_json({"detail": "Method Not Allowed"}, 405)
        fields = _fields(request)
        refusal = _wrong(found[1], request.query, fields)
        if refusal is not None:
            return refusal
        text = str(fields["text"])
        self.sent.append(SentMessage(self.new_id("tts-"), found[1], text, (), fields))
        output = request.query.get("output_format", "mp3_44100_128")
        audio = speech(text, output)
        kind = {"content-type": "audio/mpeg" if output.startswith("mp3") else "audio/basic"}
        if found[2] is None:
            return SimReply(200, audio, kind)
        return SimReply(200, self._pieces(audio), kind)

    async def _pieces(self, audio: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(audio), self._piece):
            yield audio[start : start + self._piece]

    def refuse(self, request: SimRequest) -> SimReply | None:
        """Refuse a handshake as the vendor would."""
        found = _PATH.fullmatch(request.path)
        if found is None or found[2] != "/stream-input":
            return SimReply.of_json({"detail": "Not Found"}, 404)
        if _NO_GROWING_TEXT.match(request.query.get("model_id", "")):
            return _refusal(403, "model_not_supported", "This model is not served here")
        return self._unknown(request) or _wrong_query(found[1], request.query)

    def _unknown(self, request: SimRequest) -> SimReply | None:
        if request.headers.get("xi-api-key") != self._api_key:
            return _refusal(401, "invalid_api_key", "Invalid API key")
        return None

    def failure(self, step: Step) -> SimReply:
        """Return an error status in the vendor's own shape."""
        code = step.code or _CODES.get(step.status, "internal_error")
        reply = _refusal(step.status, code, f"Made-up error {step.status}")
        if step.retry_after is not None:
            reply.headers["retry-after"] = f"{step.retry_after:g}"
        return reply

    async def converse(self, socket: SimSocket) -> None:
        """Speak a growing text."""
        query = socket.request.query
        output, waiting, whole, begun = query.get("output_format", "mp3_44100_128"), "", "", False
        while True:
            message = await self._next(socket)
            text = message["text"]
            if not begun and text != " ":
                await _fail(socket, "invalid_first_message", "The first text is a blank")
            begun = True
            if text and text.strip():
                waiting, whole = waiting + text, whole + text
            if waiting and (not text or message.get("flush") or len(waiting) >= _ENOUGH):
                await self._speak(socket, waiting, output)
                waiting = ""
            if not text:
                break
        voice = socket.request.path.split("/")[3]
        self.sent.append(SentMessage(self.new_id("tts-"), voice, whole, (), dict(query)))
        await socket.say({"audio": None, "isFinal": True, "alignment": None})
        await socket.hang_up(1000)

    async def _next(self, socket: SimSocket) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._patience):
                frame = await socket.receive()
        except TimeoutError:
            text = f"Have not received a new text input within {self._patience:g} seconds."
            await _fail(socket, "input_timeout_exceeded", text)
            raise
        try:
            message = json.loads(frame)
        except ValueError:
            message = None
        if not isinstance(message, dict) or not isinstance(message.get("text"), str):
            await _fail(socket, "invalid_input_message", "Could not parse input message")
            message = {}
        return message

    async def _speak(self, socket: SimSocket, text: str, output: str) -> None:
        audio = speech(text, output)
        for start in range(0, len(audio), self._piece):
            piece = base64.b64encode(audio[start : start + self._piece]).decode("ascii")
            await socket.say({"audio": piece, "isFinal": None, "normalizedAlignment": None})


def speech(text: str, output_format: str) -> bytes:
    """Return what the simulator says for a text: a tone of 50 milliseconds a character.

    Only ``pcm_`` formats are real audio; others are as many made-up bytes as they would have.
    """
    seconds = len(text) * _SECONDS_A_CHARACTER
    codec, _, rest = output_format.partition("_")
    rate = int(rest.partition("_")[0])
    if codec != "pcm":
        return b"\xff" * int(seconds * 8000)
    step = 2 * math.pi * 220 / rate
    samples = array("h", (int(8000 * math.sin(step * n)) for n in range(int(seconds * rate))))
    return samples.tobytes()


def _fields(request: SimRequest) -> dict[str, Any]:
    try:
        data = request.json
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _wrong(voice: str, query: dict[str, str], fields: dict[str, Any]) -> SimReply | None:
    """Return the vendor's refusal of the first thing that is wrong."""
    text = fields.get("text")
    if not isinstance(text, str):
        missing = {"loc": ["body", "text"], "msg": "Field required", "type": "missing"}
        return SimReply.of_json({"detail": [missing]}, 422)
    if not text.strip():
        return _refusal(400, "input_text_empty", "Input text is empty")
    if len(text) > _LONGEST_TEXT:
        return _refusal(400, "max_character_limit_exceeded", "The text is too long")
    settings = fields.get("voice_settings")
    if not isinstance(settings, dict) or not 0 <= settings.get("stability", 0.5) <= 1:
        return _refusal(400, "invalid_voice_settings", "stability is between 0 and 1")
    return _wrong_query(voice, query)


def _wrong_query(voice: str, query: dict[str, str]) -> SimReply | None:
    if voice not in _VOICES:
        return _refusal(404, "voice_not_found", "A voice with this id was not found")
    if _FORMAT.fullmatch(query.get("output_format", "mp3_44100_128")) is None:
        return _refusal(400, "invalid_output_format", "This output format is not known")
    return None


def _refusal(status: int, code: str, message: str) -> SimReply:
    return SimReply.of_json(
        {"detail": {"status": code, "message": message}}, status, {"request-id": "req-refused"}
    )


def _voice(voice_id: str) -> dict[str, Any]:
    return {
        "voice_id": voice_id,
        "name": _VOICES[voice_id],
        "category": "premade",
        "labels": {"accent": "american"},
        "preview_url": None,
    }


async def _fail(socket: SimSocket, code: str, message: str) -> None:
    await socket.say({"message": message, "error": code, "code": 1008})
    await socket.hang_up(1008, message)
