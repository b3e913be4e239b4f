"""Deepgram's speech recognition, played on a local socket: recordings and live audio.

Shapes, refusals and the end of a stream follow the vendor's public pages "Pre-Recorded Audio",
"Live Audio", "Audio Keep Alive", "Close Stream" and "Endpointing & Interim Results". It
recognises nothing: it says what it was told to hear.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from roomkit.simulators._base import SimReply, SimRequest
from roomkit.simulators._speech import Hangup, SimSocket, SpeechSimulator

if TYPE_CHECKING:
    from roomkit.simulators._base import Step

__all__ = ["DeepgramSimulator", "Hangup", "Heard"]

_CODES = {
    400: "Bad Request",
    401: "INVALID_AUTH",
    402: "ASR_PAYMENT_REQUIRED",
    403: "INSUFFICIENT_PERMISSIONS",
    404: "Not Found",
    429: "TOO_MANY_REQUESTS",
}
_WIDTHS = {"linear16": 2, "mulaw": 1, "alaw": 1}
_FLAGS = ("punctuate", "diarize", "smart_format", "filler_words", "interim_results", "vad_events")
_SILENT_SECONDS = 1.0
_LEAST_UTTERANCE_END = 1000


@dataclass(frozen=True, slots=True)
class Heard:
    """An utterance to be heard.

    Attributes:
        text: What is said.
        seconds: How much audio it takes.
        segments: Into how many segments the vendor cuts it.
        ends: How its end is told: with the last segment, by an ``UtteranceEnd`` of its own, by
            a last segment that is empty, or not at all.
    """

    text: str
    seconds: float = 0.4
    segments: int = 1
    ends: Literal["speech_final", "utterance_end", "empty_segment", "never"] = "speech_final"


@dataclass(slots=True)
class _Live:
    """How far one live stream has come; times in seconds of its audio."""

    bytes_a_second: float
    interim: bool
    got: float = 0.0
    told: float = 0.0
    parts: deque[tuple[str, float, str]] = field(default_factory=deque)
    began: bool = False
    hinted: bool = False


class DeepgramSimulator(SpeechSimulator):
    """A Deepgram that hears what it is told to; ``settings`` fits ``DeepgramConfig``.

    Every utterance given to ``hear`` is heard once, by the next recording or the next live
    audio. A lost connection's unfinished segment is heard again, as the audio is sent again.

    Args:
        api_key: The one key it knows.
        patience: Seconds without audio or KeepAlive after which it closes a live stream.
        port: The port; 0 takes a free one.
    """

    vendor: ClassVar[str] = "deepgram"

    def __init__(
        self, *, api_key: str = "MADE-UP-DEEPGRAM-KEY", patience: float = 10.0, port: int = 0
    ) -> None:
        super().__init__(port=port)
        self._api_key = api_key
        self._patience = patience
        self._waiting: deque[Heard] = deque()
        self._parts: deque[tuple[str, float, str]] = deque()

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of DeepgramConfig."""
        return {"api_key": self._api_key, "api_base": self.api_base}

    def hear(self, *utterances: Heard | str) -> None:
        """Let these be heard next, one after the other."""
        for each in utterances:
            self._waiting.append(Heard(each) if isinstance(each, str) else each)

    def reset(self) -> None:
        """Forget everything, what is still to be heard too."""
        super().reset()
        self._waiting.clear()
        self._parts.clear()

    async def handle(self, request: SimRequest) -> SimReply:
        """Answer a recording."""
        if request.path != "/v1/listen":
            return _refusal(404, "Not Found", "The requested path was not found")
        if request.method != "POST":
            return _refusal(405, "Method Not Allowed", "Use POST")
        refusal = self._wrong(request)
        if refusal is not None:
            return refusal
        kind = request.headers.get("content-type", "")
        if kind == "audio/raw" and "encoding" not in request.query:
            return _refusal(400, "Bad Request", "raw audio needs an encoding")
        if not request.body:
            return _refusal(400, "Bad Request", "failed to process audio: no data")
        text = self._waiting.popleft().text if self._waiting else ""
        best = {"transcript": text, "confidence": 0.98, "words": _words(text, 0.0, 0.4)}
        return SimReply.of_json(
            {
                "metadata": {"request_id": self.new_id("req-"), "channels": 1},
                "results": {"channels": [{"alternatives": [best]}]},
            }
        )

    def refuse(self, request: SimRequest) -> SimReply | None:
        """Refuse a handshake as the vendor would."""
        if request.path != "/v1/listen":
            return _refusal(404, "Not Found", "The requested path was not found")
        return self._wrong(request) or _wrong_live(request.query)

    def _wrong(self, request: SimRequest) -> SimReply | None:
        if request.headers.get("authorization") != f"Token {self._api_key}":
            return _refusal(401, "INVALID_AUTH", "Invalid credentials.")
        query = request.query
        for name in _FLAGS:
            if query.get(name, "true") not in ("true", "false"):
                return _refusal(400, "Bad Request", f"{name} is not a boolean")
        if query.get("encoding") in _WIDTHS and not query.get("sample_rate", "").isdecimal():
            return _refusal(400, "Bad Request", f"{query['encoding']} needs a sample_rate")
        return None

    def failure(self, step: Step) -> SimReply:
        """Return an error status in the vendor's own shape."""
        code = step.code or _CODES.get(step.status, "Internal Server Error")
        reply = _refusal(step.status, code, f"Made-up error {step.status}")
        if step.retry_after is not None:
            reply.headers["retry-after"] = f"{step.retry_after:g}"
        return reply

    async def converse(self, socket: SimSocket) -> None:
        """Listen to live audio."""
        live = _live(socket.request.query)
        while True:
            try:
                async with asyncio.timeout(self._patience):
                    frame = await socket.receive()
            except TimeoutError:
                reason = "NET-0001"
                await socket.hang_up(1011, reason)
                return
            if isinstance(frame, bytes) and frame:
                live.got += len(frame) / live.bytes_a_second
                await self._listen(socket, live, socket.request.query)
                continue
            kind = "CloseStream" if isinstance(frame, bytes) else _kind(frame)
            if kind == "CloseStream":
                await self._finish(socket, live)
            elif kind not in ("KeepAlive", "Finalize"):
                await socket.hang_up(1008, "DATA-0000")

    async def _listen(self, socket: SimSocket, live: _Live, query: dict[str, str]) -> None:
        """Tell what can be told of the audio so far."""
        while True:
            part = self._part()
            if part is None:
                if live.got - live.told >= _SILENT_SECONDS:
                    await self._tell(socket, live, "", _SILENT_SECONDS)
                    continue
                return
            text, seconds, ends = part
            if not live.began and query.get("vad_events") == "true":
                await socket.say({"type": "SpeechStarted", "channel": [0], "timestamp": live.told})
            live.began = True
            if live.interim and not live.hinted and live.got - live.told >= seconds / 2:
                live.hinted = True
                half = " ".join(text.split()[: max(1, len(text.split()) // 2)])
                await socket.say(_results(half, live.told, seconds / 2, closed=False))
            if live.got - live.told < seconds - 1e-9:
                return
            await self._tell(socket, live, text, seconds, ends)

    async def _tell(
        self, socket: SimSocket, live: _Live, text: str, seconds: float, ends: str = ""
    ) -> None:
        """Close one segment, and its utterance when it ends with it."""
        start = live.told
        live.began = live.hinted = False
        await socket.say(_results(text, start, seconds, closed=True, ends=ends == "speech_final"))
        live.told += seconds
        # Only now: had the connection been lost, the segment would be heard again.
        if self._parts:
            self._parts.popleft()
        if ends == "empty_segment":
            await socket.say(_results("", live.told, 0.0, closed=True, ends=True))
        elif ends == "utterance_end":
            end = {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": live.told}
            await socket.say(end)

    def _part(self) -> tuple[str, float, str] | None:
        """Return text, seconds and end of the segment that is being heard."""
        if not self._parts and self._waiting:
            heard = self._waiting.popleft()
            words = heard.text.split()
            size = -(-len(words) // heard.segments) or 1
            texts = [" ".join(words[i : i + size]) for i in range(0, len(words), size)]
            seconds = heard.seconds / max(1, len(texts))
            for text in texts:
                last = text is texts[-1]
                self._parts.append((text, seconds, heard.ends if last else ""))
        return self._parts[0] if self._parts else None

    async def _finish(self, socket: SimSocket, live: _Live) -> None:
        """Tell what is left, then the summary, and say goodbye."""
        part = self._part()
        if live.got > live.told:
            text = part[0] if part is not None else ""
            await self._tell(socket, live, text, live.got - live.told)
        await socket.say(
            {
                "type": "Metadata",
                "transaction_key": "deprecated",
                "request_id": self.new_id("req-"),
                "duration": live.got,
                "channels": 1,
            }
        )
        await socket.hang_up(1000)


def _live(query: dict[str, str]) -> _Live:
    encoding = query.get("encoding", "")
    rate = int(query.get("sample_rate") or 16000)
    channels = int(query.get("channels") or 1)
    width = _WIDTHS.get(encoding)
    # Compressed audio, at a usual rate.
    size = 8000.0 if width is None else float(rate * channels * width)
    return _Live(size, query.get("interim_results") == "true")


def _wrong_live(query: dict[str, str]) -> SimReply | None:
    end = query.get("utterance_end_ms")
    if end is None:
        return None
    if not end.isdecimal() or int(end) < _LEAST_UTTERANCE_END:
        return _refusal(400, "Bad Request", "utterance_end_ms is at least 1000")
    if query.get("interim_results") != "true":
        return _refusal(400, "Bad Request", "utterance_end_ms needs interim_results")
    return None


def _kind(frame: str) -> str:
    import json

    try:
        data = json.loads(frame)
    except ValueError:
        return ""
    return str(data.get("type")) if isinstance(data, dict) else ""


def _words(text: str, start: float, seconds: float) -> list[dict[str, Any]]:
    words = text.split()
    each = seconds / max(1, len(words))
    return [
        {
            "word": word.strip(".,!?").lower(),
            "start": round(start + i * each, 3),
            "end": round(start + (i + 1) * each, 3),
            "confidence": 0.98,
            "punctuated_word": word,
        }
        for i, word in enumerate(words)
    ]


def _results(
    text: str, start: float, seconds: float, *, closed: bool, ends: bool = False
) -> dict[str, Any]:
    best = {
        "transcript": text,
        "confidence": 0.98 if text else 0.0,
        "words": _words(text, start, seconds),
    }
    return {
        "type": "Results",
        "channel_index": [0, 1],
        "duration": seconds,
        "start": start,
        "is_final": closed,
        "speech_final": ends,
        "channel": {"alternatives": [best]},
        "metadata": {"request_id": "req-live"},
    }


def _refusal(status: int, code: str, message: str) -> SimReply:
    body = {"err_code": code, "err_msg": message, "request_id": "req-refused"}
    return SimReply.of_json(body, status, {"dg-request-id": "req-refused", "dg-error": message})
