"""Gemini's Live API, played on a local WebSocket over TLS.

It hears by loudness: 100 ms of sound is speech, the configured silence its end. What was said
it is told beforehand, and so is what to answer; it speaks in tones. It remembers what each
handle for going on knows. Shapes and refusals follow the vendor's "Live API (WebSockets)".
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
from array import array
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from roomkit.simulators._certificate import server_tls
from roomkit.simulators._live_call import LiveCaller, LiveTurn
from roomkit.simulators._live_rules import (
    Refusal,
    check_input,
    check_setup,
    read_audio,
    read_message,
    read_turns,
)
from roomkit.simulators._realtime_base import RATE, RealtimeSimulator, tone

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RATE", "GeminiLiveSimulator", "LiveTurn", "tone"]

_LOUD = 1500
_SPEECH_MS = 100
_SILENCE_MS = 500
_SLICE_MS = 10
_CHUNK_MS = 100
_MS_A_CHARACTER = 60
_MOST_EVENTS = 50_000
_PATH = re.compile(r"/ws/google\.ai\.generativelanguage\.v1(?:beta|alpha)?"
                   r"\.GenerativeService\.BidiGenerateContent")  # fmt: skip


class GeminiLiveSimulator(RealtimeSimulator[LiveCaller]):
    """A model that hears loudness and says what it is told to. An async context manager.

    Args:
        api_key: The one key it knows.
        model: What ``settings`` names; any that begins with ``gemini-`` is spoken for.
        signals: Whether clients are told when the caller begins and ends to speak, which the
            vendor does for some accounts only.
        port: The port of 127.0.0.1; 0 takes a free one.

    Attributes:
        events: ``(kind, content)`` of every message of every client, oldest first.
        heard: The audio of each utterance, as it came.
        memory: By handle, what a session that goes on from it knows: role and text.
        handshakes: How many handshakes came, refused ones too.
    """

    vendor: ClassVar[str] = "gemini_live"

    def __init__(
        self,
        *,
        api_key: str = "sim-gemini-key",
        model: str = "gemini-3.8-live",
        signals: bool = False,
        port: int = 0,
    ) -> None:
        super().__init__(port=port)
        self.events: deque[tuple[str, dict[str, Any]]] = deque(maxlen=_MOST_EVENTS)
        self.memory: dict[str, list[tuple[str, str]]] = {}
        self._api_key = api_key
        self._model = model
        self._signals = signals
        self._turns: deque[LiveTurn] = deque()
        self._ca_file = ""
        self._handlers: dict[str, Callable[[LiveCaller, dict[str, Any]], Any]] = {
            "realtimeInput": self._realtime_input,
            "clientContent": self._client_content,
            "toolResponse": self._tool_response,
        }

    def _options(self) -> dict[str, Any]:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        tls, trusted = server_tls(folder, user=type(self).__name__)
        self._ca_file = str(trusted)
        # Who is frozen answers no pings, and is still to be there.
        return {"ssl": tls, "ping_interval": None}

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments for ``GeminiLiveProvider``."""
        return {
            "api_key": self._api_key,
            "model": self._model,
            "api_base": self.api_base,
            "ca_file": self._ca_file,
        }

    @property
    def setup(self) -> dict[str, Any]:
        """What the newest client has asked for.

        Raises:
            IndexError: Nobody is connected.
        """
        return self._callers[-1].setup or {}

    @property
    def known(self) -> list[tuple[str, str]]:
        """What the newest client's session knows: role and text of everything said in it.

        Raises:
            IndexError: Nobody is connected.
        """
        return list(self._callers[-1].memory)

    # -- the play ------------------------------------------------------------------------

    def answers(self, *turns: LiveTurn | str) -> None:
        """Say what the model does next, one turn an answer; afterwards it says "All right."."""
        self._turns.extend(LiveTurn(turn) if isinstance(turn, str) else turn for turn in turns)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the clients' messages of one kind, such as ``clientContent``."""
        return [content for name, content in self.events if name == kind]

    async def emit(self, message: dict[str, Any] | str) -> None:
        """Send any message, or any text, to every client."""
        text = message if isinstance(message, str) else json.dumps(message)
        for caller in list(self._callers):
            await caller.ws.send(text.encode())

    async def release(self) -> None:
        """Let turns that are on hold come to their end."""
        for caller in list(self._callers):
            await self._complete(caller)

    async def go_away(self, seconds: float = 10.0) -> None:
        """Tell every client that its connection will be closed so soon."""
        await self.emit({"goAway": {"timeLeft": f"{seconds:g}s"}})

    async def expire(self) -> None:
        """Close every connection as the vendor does after its longest time."""
        for caller in list(self._callers):
            await caller.ws.close(1008, "The operation was aborted.")

    # -- connections ---------------------------------------------------------------------

    def _client(self, ws: Any) -> LiveCaller:
        return LiveCaller(ws)

    def _refusal(self, request: Any) -> tuple[int, str] | None:
        if _PATH.fullmatch(urlsplit(request.path).path) is None:
            return 404, "no such method\n"
        return None

    async def _take(self, caller: LiveCaller, frame: str | bytes) -> str:
        kind, content = "", dict[str, Any]()
        try:
            kind, content = read_message(frame)
            if (kind == "setup") is not (caller.setup is None):
                raise Refusal("setup must be the first message and only the first.")
            if kind == "setup":
                await self._set_up(caller, content)
            else:
                await self._handlers[kind](caller, content)
        except Refusal as refusal:
            await caller.ws.close(refusal.code, str(refusal))
        except (AttributeError, KeyError, TypeError):
            # Shapes so wrong that the checks stumble over them.
            await caller.ws.close(1007, "Request contains an invalid argument.")
        self.events.append((kind, content))
        return kind or "unreadable"

    async def _send(self, caller: LiveCaller, message: dict[str, Any]) -> None:
        # The vendor sends its JSON in binary frames.
        await caller.ws.send(json.dumps(message).encode())

    async def _content(self, caller: LiveCaller, **content: Any) -> None:
        await self._send(caller, {"serverContent": content})

    def _new_id(self, prefix: str) -> str:
        return f"{prefix}-{self._new_number():04d}"

    # -- what clients say ----------------------------------------------------------------

    async def _set_up(self, caller: LiveCaller, setup: dict[str, Any]) -> None:
        request = caller.ws.request
        key = request.headers.get("x-goog-api-key")
        key = key or parse_qs(urlsplit(request.path).query).get("key", [""])[0]
        if key != self._api_key:
            raise Refusal("API key not valid. Please pass a valid API key.")
        model = str(setup.get("model", ""))
        if not model.startswith("models/gemini-"):
            raise Refusal(f"{model} is not found for API version v1beta, or is not supported "
                          "for bidiGenerateContent.", 1008)  # fmt: skip
        check_setup(setup, native="native-audio" in model)
        handle = setup.get("sessionResumption", {}).get("handle")
        if handle is not None:
            if handle not in self.memory:
                raise Refusal("BidiGenerateContent session not found", 1008)
            caller.memory = list(self.memory[handle])
        history = setup.get("historyConfig", {})
        caller.seeding = bool(history.get("initialHistoryInClientContent"))
        caller.setup = setup
        await self._send(caller, {"setupComplete": {"sessionId": self._new_id("session")}})

    async def _client_content(self, caller: LiveCaller, content: dict[str, Any]) -> None:
        turns = read_turns(content)
        caller.memory += turns
        if caller.seeding:
            caller.seeding = not content.get("turnComplete")
            return
        if "gemini-3.1-" in (caller.setup or {}).get("model", ""):
            raise Refusal("Request contains an invalid argument.")
        if content.get("turnComplete"):
            await self._interrupt(caller)
            await self._respond(caller)

    async def _tool_response(self, caller: LiveCaller, content: dict[str, Any]) -> None:
        for answer in content["functionResponses"]:
            if answer.get("id") not in caller.calls or not isinstance(answer["response"], dict):
                raise Refusal("Request contains an invalid argument.")
            caller.calls.remove(answer["id"])
            caller.memory.append(("tool", json.dumps(answer["response"])))
        if not caller.calls:
            await self._respond(caller)

    async def _realtime_input(self, caller: LiveCaller, content: dict[str, Any]) -> None:
        manual = bool(caller.detection.get("disabled"))
        check_input(content, manual=manual)
        if "text" in content:
            caller.memory.append(("user", content["text"]))
            await self._interrupt(caller)
            await self._respond(caller)
        elif "activityStart" in content:
            await self._begin(caller)
        elif "activityEnd" in content or ("audioStreamEnd" in content and caller.speaking):
            await self._end(caller)
        elif "audio" in content:
            audio, rate = read_audio(content["audio"])
            if manual:
                caller.heard += audio if caller.speaking else b""
                return
            step = rate * 2 * _SLICE_MS // 1000
            for start in range(0, len(audio), step):
                await self._listen(caller, audio[start : start + step], rate)

    async def _listen(self, caller: LiveCaller, audio: bytes, rate: int) -> None:
        """Take 10 ms of audio: is it speech, and is that over?"""
        length = len(audio) * 1000 // (rate * 2)
        loud = max(map(abs, array("h", audio)), default=0) > _LOUD
        if loud or caller.speaking:
            caller.heard += audio
        else:
            caller.heard = b""
        caller.quiet = 0 if loud else caller.quiet + length
        caller.loud = caller.loud + length if loud or caller.speaking else 0
        silence = int(caller.detection.get("silenceDurationMs", _SILENCE_MS))
        if not caller.speaking and caller.loud >= _SPEECH_MS:
            await self._begin(caller)
        elif caller.speaking and caller.quiet >= silence:
            await self._end(caller)

    async def _begin(self, caller: LiveCaller) -> None:
        caller.speaking = True
        await self._signal(caller, "ACTIVITY_START")
        if caller.interrupts:
            await self._interrupt(caller)

    async def _end(self, caller: LiveCaller) -> None:
        """End an utterance: it becomes text, and is answered."""
        caller.speaking, caller.loud = False, 0
        self.heard.append(caller.heard)
        caller.heard = b""
        text = self._texts.popleft() if self._texts else "Hello."
        caller.memory.append(("user", text))
        if "inputAudioTranscription" in (caller.setup or {}):
            for word in re.findall(r"\S+\s*", text):
                await self._content(caller, inputTranscription={"text": word})
        await self._signal(caller, "ACTIVITY_END")
        if caller.turn is None:
            await self._respond(caller)

    async def _signal(self, caller: LiveCaller, kind: str) -> None:
        if self._signals:
            await self._send(caller, {"voiceActivity": {"type": kind}})

    # -- what the model says -------------------------------------------------------------

    async def _respond(self, caller: LiveCaller) -> None:
        turn = self._turns.popleft() if self._turns else LiveTurn("All right.")
        caller.turn = turn
        await self._update(caller, resumable=False)
        if turn.text:
            await self._speak(caller, turn.text)
        if turn.calls:
            calls = [{"id": self._new_id("call"), "name": n, "args": a} for n, a in turn.calls]
            caller.calls.update(str(call["id"]) for call in calls)
            await self._send(caller, {"toolCall": {"functionCalls": calls}})
        elif not turn.hold:
            await self._complete(caller)

    async def _speak(self, caller: LiveCaller, text: str) -> None:
        setup = caller.setup or {}
        if setup.get("generationConfig", {}).get("responseModalities") == ["TEXT"]:
            await self._content(caller, modelTurn={"role": "model", "parts": [{"text": text}]})
            return
        audio, step = tone(len(text) * _MS_A_CHARACTER), RATE * 2 * _CHUNK_MS // 1000
        for start in range(0, len(audio), step):
            data = base64.b64encode(audio[start : start + step]).decode()
            part = {"inlineData": {"mimeType": f"audio/pcm;rate={RATE}", "data": data}}
            await self._content(caller, modelTurn={"role": "model", "parts": [part]})
        if "outputAudioTranscription" in setup:
            for word in re.findall(r"\S+\s*", text):
                await self._content(caller, outputTranscription={"text": word})

    async def _complete(self, caller: LiveCaller) -> None:
        """End the turn in flight, if there is one."""
        turn, caller.turn = caller.turn, None
        if turn is None:
            return
        caller.memory.append(("model", turn.text))
        await self._content(caller, generationComplete=True)
        reason = {} if turn.reason is None else {"turnCompleteReason": turn.reason}
        await self._content(caller, turnComplete=True, **reason)
        await self._update(caller, resumable=True)

    async def _interrupt(self, caller: LiveCaller) -> None:
        """Stop the turn in flight, if there is one."""
        turn, caller.turn = caller.turn, None
        if turn is None:
            return
        if caller.calls:
            ids = sorted(caller.calls)
            caller.calls.clear()
            await self._send(caller, {"toolCallCancellation": {"ids": ids}})
        await self._content(caller, interrupted=True)
        await self._content(caller, turnComplete=True)

    async def _update(self, caller: LiveCaller, *, resumable: bool) -> None:
        """Tell the client where it could go on from."""
        if "sessionResumption" not in (caller.setup or {}):
            return
        update: dict[str, Any] = {"resumable": resumable}
        if resumable:
            update["newHandle"] = self._new_id("handle")
            self.memory[update["newHandle"]] = list(caller.memory)
        await self._send(caller, {"sessionResumptionUpdate": update})
