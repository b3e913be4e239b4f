"""OpenAI's Realtime API, played on a local WebSocket.

It hears by loudness: 100 ms of sound is speech, the configured silence its end. What was said
it is told beforehand, and so is what to answer; it speaks in tones. Shapes and refusals follow
the vendor's reference of client and server events.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

from roomkit.simulators._realtime_base import RATE, RealtimeSimulator, tone
from roomkit.simulators._realtime_rules import Refusal, check_event, check_session, read_session

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RATE", "OpenAIRealtimeSimulator", "RealtimeTurn", "tone"]

_LOUD = 500
_SPEECH_BYTES = RATE * 2 // 10
_CHUNK_MS = 100
_MS_A_CHARACTER = 60
_MOST_EVENTS = 50_000


@dataclass(frozen=True, slots=True)
class RealtimeTurn:
    """What the model does in one response.

    Attributes:
        text: What it says; 60 ms of tone a character.
        calls: ``(name, arguments)`` of tools it calls, after it has spoken.
        hold: Whether the response goes on after its audio until it is cancelled or
            ``release`` is called.
        fails: The response's error code, when it fails.
    """

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    hold: bool = False
    fails: str | None = None


@dataclass(slots=True, eq=False)
class _Caller:
    """One connection."""

    ws: Any
    id: str
    session: dict[str, Any] = field(default_factory=dict)
    configured: bool = False
    loud: int = 0
    quiet: int = 0
    speaking: bool = False
    heard: bytes = b""
    item: str = ""
    active: str | None = None
    finish: list[dict[str, Any]] = field(default_factory=list)
    items: dict[str, float] = field(default_factory=dict)
    calls: set[str] = field(default_factory=set)

    @property
    def ready(self) -> bool:
        """Whether it has sent its settings."""
        return self.configured


class OpenAIRealtimeSimulator(RealtimeSimulator[_Caller]):
    """A model that hears loudness and says what it is told to. An async context manager.

    Args:
        api_key: The one key it knows.
        protocol: ``beta`` plays a server that still speaks the older form.
        port: The port of 127.0.0.1; 0 takes a free one.

    Attributes:
        events: Every event of every client, oldest first.
        heard: The audio of each utterance, 24 kHz PCM.
        handshakes: How many handshakes came, refused ones too.
    """

    vendor: ClassVar[str] = "openai_realtime"

    def __init__(
        self,
        *,
        api_key: str = "sk-simulated",
        protocol: Literal["ga", "beta"] = "ga",
        port: int = 0,
    ) -> None:
        super().__init__(port=port)
        self.events: deque[dict[str, Any]] = deque(maxlen=_MOST_EVENTS)
        self._api_key = api_key
        self._beta = protocol == "beta"
        self._turns: deque[RealtimeTurn] = deque()
        self._handlers: dict[str, Callable[[_Caller, dict[str, Any]], Any]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "conversation.item.create": self._create_item,
            "conversation.item.truncate": self._truncate,
            "response.create": self._create_response,
            "response.cancel": self._cancel,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments for ``OpenAIRealtimeProvider``."""
        protocol = "beta" if self._beta else "ga"
        return {"api_key": self._api_key, "api_base": self.api_base, "protocol": protocol}

    @property
    def session(self) -> dict[str, Any]:
        """The newest client's session, as it configured it.

        Raises:
            IndexError: Nobody is connected.
        """
        return self._callers[-1].session

    # -- the play ------------------------------------------------------------------------

    def answers(self, *turns: RealtimeTurn | str) -> None:
        """Say what the model does next, one turn a response; afterwards it says "All right."."""
        self._turns.extend(RealtimeTurn(turn) if isinstance(turn, str) else turn for turn in turns)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the clients' events of one type, such as ``response.create``."""
        return [event for event in self.events if event.get("type") == kind]

    async def emit(self, event: dict[str, Any]) -> None:
        """Send any event to every client."""
        for caller in list(self._callers):
            await self._send(caller, event)

    async def release(self) -> None:
        """Let responses that are on hold come to their end."""
        for caller in list(self._callers):
            await self._complete(caller)

    async def expire(self) -> None:
        """End every session as the vendor does after its longest time."""
        message = "Your session hit the maximum duration of 60 minutes."
        for caller in list(self._callers):
            await self._send(caller, _error("session_expired", message))
            await caller.ws.close()

    # -- connections ---------------------------------------------------------------------

    def _client(self, ws: Any) -> _Caller:
        return _Caller(ws, self._new_id("sess"))

    def _refusal(self, request: Any) -> tuple[int, str] | None:
        url = urlsplit(request.path)
        if url.path != "/v1/realtime" or "model" not in parse_qs(url.query):
            return 404, "no such model\n"
        if request.headers.get("Authorization") != f"Bearer {self._api_key}":
            return 401, "Incorrect API key provided\n"
        return None

    async def _welcome(self, caller: _Caller) -> bool:
        if ("OpenAI-Beta" in caller.ws.request.headers) != self._beta:
            text = "The Realtime Beta API is no longer supported."
            await self._send(caller, _error("beta_api_shape_disabled", text))
            return False
        session = {"id": caller.id, "type": "realtime"}
        await self._send(caller, {"type": "session.created", "session": session})
        return True

    async def _take(self, caller: _Caller, frame: str | bytes) -> str:
        event: Any = None
        try:
            event = check_event(frame)
            handler = self._handlers.get(event["type"])
            if handler is None:
                raise Refusal("invalid_value", f"Invalid value: {event['type']!r}.")
            await handler(caller, event)
        except Refusal as refusal:
            event_id = event.get("event_id") if isinstance(event, dict) else None
            answer = _error(refusal.code, str(refusal), event_id)
            await self._send(caller, answer)
        if not isinstance(event, dict):
            return "unreadable"
        self.events.append(event)
        return str(event["type"])

    async def _send(self, caller: _Caller, event: dict[str, Any]) -> None:
        if self._beta:
            kind = event["type"].replace("response.output_audio", "response.audio")
            event = {**event, "type": kind}
        await caller.ws.send(json.dumps({"event_id": self._new_id("event"), **event}))

    def _new_id(self, prefix: str) -> str:
        return f"{prefix}_{self._new_number():04d}"

    # -- what clients say ----------------------------------------------------------------

    async def _update(self, caller: _Caller, event: dict[str, Any]) -> None:
        session = event.get("session")
        if not isinstance(session, dict):
            raise Refusal("missing_required_parameter", "Missing required parameter: 'session'.")
        check_session(session, beta=self._beta)
        caller.session.update(session)
        caller.configured = True
        shown = {**caller.session, "id": caller.id}
        await self._send(caller, {"type": "session.updated", "session": shown})

    async def _append(self, caller: _Caller, event: dict[str, Any]) -> None:
        try:
            audio = base64.b64decode(event.get("audio", ""), validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise Refusal("invalid_value", "Invalid 'audio': it is not base64.") from None
        if len(audio) % 2:
            raise Refusal("invalid_value", "Invalid 'audio': half a sample.")
        turns = read_session(caller.session, beta=self._beta)
        if turns is None:
            caller.heard += audio
            return
        silence = RATE * 2 * int(turns.get("silence_duration_ms", 500)) // 1000
        for start in range(0, len(audio), 480):
            await self._listen(caller, audio[start : start + 480], silence, turns)

    async def _listen(
        self, caller: _Caller, audio: bytes, silence: int, turns: dict[str, Any]
    ) -> None:
        """Take 10 ms of audio: is it speech, and is that over?"""
        loud = _loudness(audio) > _LOUD
        caller.quiet = 0 if loud else caller.quiet + len(audio)
        caller.loud = caller.loud + len(audio) if loud else caller.loud * caller.speaking
        if loud or caller.speaking:
            caller.heard += audio
        elif not caller.speaking:
            caller.heard = b""
        if not caller.speaking and caller.loud >= _SPEECH_BYTES:
            caller.speaking, caller.item = True, self._new_id("item")
            started = {"type": "input_audio_buffer.speech_started", "item_id": caller.item}
            await self._send(caller, {**started, "audio_start_ms": 0})
            if turns.get("interrupt_response", True):
                await self._abandon(caller, "turn_detected")
        elif caller.speaking and caller.quiet >= silence:
            caller.speaking, caller.loud = False, 0
            stopped = {"type": "input_audio_buffer.speech_stopped", "item_id": caller.item}
            await self._send(caller, {**stopped, "audio_end_ms": 0})
            await self._understand(caller)
            if turns.get("create_response", True) and caller.active is None:
                await self._respond(caller)

    async def _understand(self, caller: _Caller) -> None:
        """End an utterance: it becomes an item, and text."""
        item = caller.item or self._new_id("item")
        self.heard.append(caller.heard)
        caller.heard, caller.item = b"", ""
        await self._send(caller, {"type": "input_audio_buffer.committed", "item_id": item})
        name = "conversation.item.input_audio_transcription"
        text = self._texts.popleft() if self._texts else "Hello."
        about = {"item_id": item, "content_index": 0}
        await self._send(caller, {"type": f"{name}.delta", **about, "delta": text})
        await self._send(caller, {"type": f"{name}.completed", **about, "transcript": text})

    async def _commit(self, caller: _Caller, event: dict[str, Any]) -> None:
        if not caller.heard:
            raise Refusal("input_audio_buffer_commit_empty", "Error committing: buffer empty.")
        await self._understand(caller)

    async def _create_item(self, caller: _Caller, event: dict[str, Any]) -> None:
        item = event.get("item")
        kind = item.get("type") if isinstance(item, dict) else None
        if not isinstance(item, dict) or kind not in (
            "message",
            "function_call",
            "function_call_output",
        ):
            raise Refusal("invalid_value", f"Invalid value: {kind!r}.")
        call_id = item.get("call_id")
        if kind == "function_call":
            caller.calls.add(str(call_id))
        if kind == "function_call_output" and call_id not in caller.calls:
            raise Refusal("invalid_tool_call_id", f"Tool call ID {call_id!r} not found.")
        item_id = item.get("id") or self._new_id("item")
        added = {"type": "conversation.item.added", "item": {**item, "id": item_id}}
        await self._send(caller, added)

    async def _truncate(self, caller: _Caller, event: dict[str, Any]) -> None:
        item_id, end = event.get("item_id"), event.get("audio_end_ms")
        length = caller.items.get(str(item_id))
        if length is None:
            raise Refusal("item_truncate_invalid_item_id", f"Item {item_id!r} not found.")
        if not isinstance(end, int) or not 0 <= end <= length:
            raise Refusal("invalid_value", f"Audio content is already shorter than {end}ms.")
        told = {"type": "conversation.item.truncated", "item_id": item_id}
        await self._send(caller, {**told, "content_index": 0, "audio_end_ms": end})

    async def _create_response(self, caller: _Caller, event: dict[str, Any]) -> None:
        if caller.active is not None:
            text = f"Conversation already has an active response: {caller.active}."
            raise Refusal("conversation_already_has_active_response", text)
        await self._respond(caller)

    async def _cancel(self, caller: _Caller, event: dict[str, Any]) -> None:
        if caller.active is None:
            raise Refusal("response_cancel_not_active", "no active response found")
        await self._abandon(caller, "client_cancelled")

    # -- what the model says -------------------------------------------------------------

    async def _respond(self, caller: _Caller) -> None:
        turn = self._turns.popleft() if self._turns else RealtimeTurn("All right.")
        caller.active = response_id = self._new_id("resp")
        response = {"id": response_id, "status": "in_progress"}
        await self._send(caller, {"type": "response.created", "response": response})
        if turn.text:
            await self._speak(caller, turn.text)
        for name, arguments in turn.calls:
            await self._call(caller, name, arguments)
        status: dict[str, Any] = {"id": response_id, "status": "completed"}
        if turn.fails is not None:
            problem = {"type": "server_error", "code": turn.fails, "message": "it failed"}
            status.update(status="failed", status_details={"type": "failed", "error": problem})
        caller.finish.append({"type": "response.done", "response": status})
        if not turn.hold:
            await self._complete(caller)

    async def _speak(self, caller: _Caller, text: str) -> None:
        item_id = self._new_id("item")
        about = {"response_id": caller.active, "item_id": item_id, "output_index": 0}
        item = {"id": item_id, "type": "message", "role": "assistant"}
        await self._send(caller, {"type": "response.output_item.added", **about, "item": item})
        about["content_index"] = 0
        audio = tone(len(text) * _MS_A_CHARACTER)
        caller.items[item_id] = len(audio) / 2 / RATE * 1000
        step = RATE * 2 * _CHUNK_MS // 1000
        for start in range(0, len(audio), step):
            delta = base64.b64encode(audio[start : start + step]).decode()
            await self._send(
                caller, {"type": "response.output_audio.delta", **about, "delta": delta}
            )
        name = "response.output_audio_transcript"
        await self._send(caller, {"type": f"{name}.delta", **about, "delta": text})
        caller.finish.append({"type": f"{name}.done", **about, "transcript": text})

    async def _call(self, caller: _Caller, name: str, arguments: dict[str, Any]) -> None:
        item_id, call_id = self._new_id("item"), self._new_id("call")
        about = {"response_id": caller.active, "item_id": item_id, "output_index": 1}
        item = {"id": item_id, "type": "function_call", "name": name, "call_id": call_id}
        caller.calls.add(call_id)
        await self._send(caller, {"type": "response.output_item.added", **about, "item": item})
        done = {"type": "response.function_call_arguments.done", **about, "call_id": call_id}
        text = json.dumps(arguments)
        await self._send(caller, {**done, "name": name, "arguments": text})

    async def _complete(self, caller: _Caller) -> None:
        events, caller.finish, caller.active = caller.finish, [], None
        for event in events:
            await self._send(caller, event)

    async def _abandon(self, caller: _Caller, reason: str) -> None:
        """Cancel the response in flight, if there is one."""
        response_id, caller.active, caller.finish = caller.active, None, []
        if response_id is None:
            return
        details = {"type": "cancelled", "reason": reason}
        response = {"id": response_id, "status": "cancelled", "status_details": details}
        await self._send(caller, {"type": "response.done", "response": response})


def _loudness(audio: bytes) -> float:
    samples = array("h", audio)
    return math.sqrt(sum(value * value for value in samples) / max(1, len(samples)))


def _error(code: str, message: str, event_id: str | None = None) -> dict[str, Any]:
    problem = {
        "type": "invalid_request_error",
        "code": code,
        "message": message,
        "param": None,
        "event_id": event_id,
    }
    return {"type": "error", "error": problem}
