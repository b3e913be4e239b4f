"""One live session of a realtime voice channel: its lanes, its tools, its end.

Everything a session does goes through a lane: a bounded queue with at most one task working on
it. Audio in, audio and messages out, hooks, and the room's timeline each have one, so that a
slow hook never holds up the sound.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roomkit._aio import (
    DeadlineExceeded,
    TaskSet,
    bounded,
    cancel_and_wait,
    cancelled_from_within,
)
from roomkit._logging import ids, log_failure
from roomkit._sanitize import clean_text
from roomkit.models.content import TextContent
from roomkit.models.enums import HookTrigger
from roomkit.voice.realtime.base import RealtimeSession, RealtimeSessionState
from roomkit.voice.realtime.events import RealtimeToolCallEvent, RealtimeTranscriptionEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from roomkit.channels.host import ChannelHost
    from roomkit.voice.realtime.provider import RealtimeVoiceProvider
    from roomkit.voice.realtime.transport import RealtimeAudioTransport

    ToolRunner = Callable[[str, str, dict[str, Any]], Coroutine[Any, Any, Any]]

logger = logging.getLogger("roomkit.channels.realtime_voice")

MOST_FRAMES = 50
"""Frames of a caller that wait for the model; the oldest is dropped and counted."""
MOST_IN_BYTES = 4 * 1024 * 1024
"""Bytes of a caller that wait for the model, however few frames they are."""
MOST_SECONDS = 300
"""Seconds of the model's audio that wait for a slow caller; more is dropped and counted."""
MOST_MESSAGES = 1024
"""Messages, hooks or transcripts that wait; more is dropped and counted."""
MOST_PARTIALS = 64
"""Waiting hooks beyond which transcripts that are not final are dropped."""
MOST_TOOLS = 64
"""Tool calls under way; the next one gets an error as its result."""
TOOLS_AT_ONCE = 8
MAX_RESULT_BYTES = 64 * 1024
"""The longest result a model is shown, in bytes of UTF-8; the rest is cut off."""
SEND_TIMEOUT = 10.0
"""Seconds one call of the provider or the transport may take."""

_STOP_TIMEOUT = 2.0
_CLEAR = {"type": "clear_audio"}


@dataclass(frozen=True, slots=True)
class LiveStats:
    """What a session had no room for.

    Attributes:
        frames_in: Frames of the caller that were dropped.
        frames_out: Pieces of the model's audio that were dropped.
        messages: Messages and transcripts that were dropped.
    """

    frames_in: int
    frames_out: int
    messages: int


class Lane:
    """Works off what is put into it, one after the other, in a task that lives while there is any.

    Args:
        name: The task's name.
        tasks: Who owns the task.
        work: Handles one item; what it raises is logged.
    """

    def __init__(
        self, name: str, tasks: TaskSet, work: Callable[[Any], Coroutine[Any, Any, None]]
    ) -> None:
        self.waiting: deque[Any] = deque()
        self._name = name
        self._tasks = tasks
        self._work = work
        self._running = False

    def put(self, item: Any, *, first: bool = False) -> None:
        """Add an item, before all others if asked to."""
        if first:
            self.waiting.appendleft(item)
        else:
            self.waiting.append(item)
        if not self._running:
            self._running = True
            self._tasks.start(self._run(), name=self._name)

    async def _run(self) -> None:
        try:
            while self.waiting:
                await self._one(self.waiting.popleft())
        finally:
            self._running = False

    async def _one(self, item: Any) -> None:
        try:
            await self._work(item)
        except asyncio.CancelledError as exc:
            if not cancelled_from_within():
                raise
            log_failure(logger, exc, "%s", self._name)
        except Exception as exc:  # noqa: BLE001 - the next item is not to blame
            log_failure(logger, exc, "%s", self._name)


class LiveSession:
    """A session, what is under way for it, and how it ends.

    Args:
        session: What everybody knows it by.
        provider: The model's side.
        transport: The caller's side.
        host: The framework; None when the channel is not registered.
        most_out: Bytes of the model's audio that may wait for the caller.
        emit_transcripts: Whether final transcripts become events of the room.
    """

    def __init__(
        self,
        session: RealtimeSession,
        provider: RealtimeVoiceProvider,
        transport: RealtimeAudioTransport,
        host: ChannelHost | None,
        *,
        most_out: int,
        emit_transcripts: bool,
    ) -> None:
        self.session = session
        self.host = host
        self.over = False
        self.announced = False
        self.ending: asyncio.Task[Any] | None = None
        self.hear: Callable[[bytes], bytes] | None = None
        self.speak: Callable[[bytes], bytes] | None = None
        self._provider = provider
        self._transport = transport
        self._most_out = most_out
        self._emit_transcripts = emit_transcripts
        self._opening: asyncio.Task[None] | None = None
        self._in_bytes = 0
        self._out_bytes = 0
        self._out_messages = 0
        self._dropped = [0, 0, 0]
        self._tools = 0
        self._tool_slots = asyncio.Semaphore(TOOLS_AT_ONCE)
        self.tasks = TaskSet(f"realtime:{session.id}")
        self._room_tasks = TaskSet(f"realtime_room:{session.id}")
        self._in = Lane(f"realtime_in:{session.id}", self.tasks, self._to_model)
        self._out = Lane(f"realtime_out:{session.id}", self.tasks, self._to_caller)
        self._hooks = Lane(f"realtime_hooks:{session.id}", self._room_tasks, _call)
        self._timeline = Lane(f"realtime_room:{session.id}", self._room_tasks, _call)

    @property
    def stats(self) -> LiveStats:
        """What there was no room for."""
        return LiveStats(*self._dropped)

    def _drop(self, kind: int, what: str) -> None:
        self._dropped[kind] += 1
        if self._dropped[kind] == 1:
            logger.warning("%s dropped", what, extra=ids(session_id=self.session.id))

    # -- the beginning -------------------------------------------------------------------

    async def open(self, work: Coroutine[Any, Any, None]) -> bool:
        """Connect; False when it was stopped: nobody who has left waits for a silent vendor.

        Raises:
            Exception: What ``work`` raises.
        """
        opening = asyncio.create_task(work, name=f"realtime_open:{self.session.id}")
        # Who is cancelled meanwhile does not ask how it ended.
        opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._opening = opening
        try:
            await asyncio.wait((opening,))
        finally:
            await self.stop_opening(None)
        if opening.cancelled():
            return False
        opening.result()
        return True

    async def stop_opening(self, caller: asyncio.Task[Any] | None) -> None:
        """Connect no more, unless ``caller`` is what connects."""
        if self._opening is not None and self._opening is not caller:
            await cancel_and_wait((self._opening,), _STOP_TIMEOUT)

    # -- audio ---------------------------------------------------------------------------

    def audio_in(self, audio: bytes) -> None:
        """Let the model hear a frame; outside ACTIVE it is dropped and counted."""
        if self.over or self.session.state is not RealtimeSessionState.ACTIVE:
            self._dropped[0] += 1
            return
        self._in_bytes += len(audio)
        waiting = self._in.waiting
        while waiting and (len(waiting) >= MOST_FRAMES or self._in_bytes > MOST_IN_BYTES):
            self._in_bytes -= len(waiting.popleft())
            self._drop(0, "the model does not keep up: a frame was")
        self._in.put(audio)

    async def _to_model(self, audio: bytes) -> None:
        self._in_bytes -= len(audio)
        if self.over:
            return
        heard = audio if self.hear is None else self.hear(audio)
        if heard:
            await bounded(self._provider.send_audio(self.session, heard), SEND_TIMEOUT)

    def audio_out(self, audio: bytes) -> None:
        """Let the caller hear a piece of the model's answer."""
        if self.over or not audio:
            return
        if self._out_bytes + len(audio) > self._most_out:
            self._drop(1, "the caller does not keep up: audio was")
            return
        self._out_bytes += len(audio)
        self._out.put(audio)

    def message(self, message: dict[str, Any]) -> None:
        """Send the caller a message, after what was said before it."""
        if self.over:
            return
        if self._out_messages >= MOST_MESSAGES:
            self._drop(2, "the caller does not keep up: a message was")
            return
        self._out_messages += 1
        self._out.put(message)

    def clear_audio(self) -> None:
        """Drop what the caller has not been sent, and tell them to drop what is unplayed."""
        if self.over:
            return
        kept = [item for item in self._out.waiting if not isinstance(item, bytes)]
        self._out.waiting.clear()
        self._out.waiting.extend(kept)
        self._out_bytes = 0
        if not kept or kept[0] is not _CLEAR:
            self._out_messages += 1
            self._out.put(_CLEAR, first=True)

    async def _to_caller(self, item: bytes | dict[str, Any]) -> None:
        if isinstance(item, dict):
            self._out_messages -= 1
            item = dict(item)
            await bounded(self._transport.send_message(self.session, item), SEND_TIMEOUT)
            return
        self._out_bytes = max(0, self._out_bytes - len(item))
        said = item if self.speak is None else self.speak(item)
        if said and not self.over:
            await bounded(self._transport.send_audio(self.session, said), SEND_TIMEOUT)

    async def farewell(self, code: str) -> None:
        """Tell the caller why the session ends, past whatever waits."""
        message = {"type": "session_ended", "code": code}
        await bounded(self._transport.send_message(self.session, message), SEND_TIMEOUT)

    # -- hooks and the room --------------------------------------------------------------

    def later(self, work: Callable[[], Coroutine[Any, Any, None]], most: int) -> None:
        """Do something with hooks, after what was put here before.

        Args:
            work: What.
            most: How much may wait before it; else it is dropped and counted.
        """
        if self.over:
            return
        if len(self._hooks.waiting) >= most:
            self._drop(2, "the hooks do not keep up: work for them was")
            return
        self._hooks.put(work)

    def observers(self, trigger: HookTrigger) -> None:
        """Tell the observers of a trigger about the session."""
        host = self.host
        if host is not None:
            room_id, session = self.session.room_id, self.session
            self.later(lambda: host.run_observers(room_id, trigger, session), MOST_MESSAGES)

    def typing(self, is_typing: bool) -> None:
        """Tell the room whether the model is answering."""
        host, session = self.host, self.session
        if host is None:
            return
        data = {"session_id": session.id, "source": "realtime_voice"}
        self.later(
            lambda: host.publish_typing(session.room_id, "assistant", is_typing, data),
            MOST_MESSAGES,
        )

    def transcription(self, text: str, role: str, is_final: bool) -> None:
        """Pass on what was said, in writing."""
        most = MOST_MESSAGES if is_final else MOST_PARTIALS
        self.later(lambda: self._transcribed(text, role, is_final), most)

    async def _transcribed(self, text: str, role: str, is_final: bool) -> None:
        host = self.host
        if host is None:
            return
        event = RealtimeTranscriptionEvent(
            self.session, text, "user" if role == "user" else "assistant", is_final
        )
        room_id = self.session.room_id
        allowed, left = await host.run_gates(room_id, HookTrigger.ON_TRANSCRIPTION, event)
        if not allowed:
            logger.info("a transcript was blocked", extra=ids(session_id=self.session.id))
            return
        said = left if isinstance(left, str) else str(getattr(left, "text", text))
        self.message({"type": "transcription", "text": said, "role": role, "is_final": is_final})
        await host.run_observers(room_id, HookTrigger.ON_TRANSCRIPTION, left)
        if is_final and self._emit_transcripts and said.strip():
            self._record(host, said, role)

    def _record(self, host: ChannelHost, text: str, role: str) -> None:
        """Make a transcript an event of the room; hooks go on while it is delivered."""
        session = self.session
        if len(self._timeline.waiting) >= MOST_MESSAGES:
            self._drop(2, "the room does not keep up: a transcript was")
            return

        async def send() -> None:
            await host.send_event(
                session.room_id,
                session.channel_id,
                TextContent(body=text),
                participant_id=session.participant_id if role == "user" else None,
                metadata={
                    "voice_session_id": session.id,
                    "source": "realtime_voice",
                    "role": role,
                },
            )

        self._timeline.put(send)

    # -- tools ---------------------------------------------------------------------------

    def tool_call(
        self,
        run: ToolRunner,
        call_id: str,
        name: str,
        arguments: dict[str, Any],
        timeout: float | None,
    ) -> None:
        """Run a tool beside everything else and give its result to the model.

        Args:
            run: ``async (call_id, name, arguments)`` giving text or anything JSON can carry.
            call_id: The call.
            name: The tool.
            arguments: For it.
            timeout: Seconds it may take; None: no bound.
        """
        if self.over:
            return
        if self._tools >= MOST_TOOLS:
            run = _refuse
        self._tools += 1
        work = self._tool(run, call_id, name, arguments, timeout)
        self.tasks.start(work, name=f"realtime_tool:{self.session.id}")

    async def _tool(
        self,
        run: ToolRunner,
        call_id: str,
        name: str,
        arguments: dict[str, Any],
        timeout: float | None,
    ) -> None:
        try:
            async with self._tool_slots:
                result = await self._result(bounded(run(call_id, name, arguments), timeout))
            if not self.over:
                submitting = self._provider.submit_tool_result(self.session, call_id, result)
                await bounded(submitting, SEND_TIMEOUT)
        finally:
            self._tools -= 1

    async def _result(self, work: Coroutine[Any, Any, Any]) -> str:
        """Return a tool's result as text; a failure is told by its kind only."""
        try:
            return as_result(await work)
        except DeadlineExceeded:
            text = "the tool took too long"
        except asyncio.CancelledError:
            if not cancelled_from_within():
                raise
            text = "the tool was cancelled"
        except Exception as exc:
            logger.debug("tool failure", exc_info=exc)
            text = f"the tool failed ({type(exc).__name__})"
        logger.warning("a tool call failed", extra=ids(session_id=self.session.id))
        return json.dumps({"error": text})

    # -- the end -------------------------------------------------------------------------

    async def stop(self, caller: asyncio.Task[Any] | None, patience: float) -> None:
        """Stop what is under way; hooks and transcripts get time to come to their end.

        Args:
            caller: A task of the session's own that must not wait for itself.
            patience: Seconds hooks and transcripts get.
        """
        await self.tasks.cancel(but=(caller,), timeout=_STOP_TIMEOUT)
        await self._room_tasks.wait(patience, but=(caller,))
        await self._room_tasks.cancel(but=(caller,), timeout=_STOP_TIMEOUT)


async def _call(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await work()


async def ask_hooks(live: LiveSession, event: RealtimeToolCallEvent) -> str:
    """Return what the hooks of ON_REALTIME_TOOL_CALL answer to a call, as JSON.

    A hook gives the result in its own ``metadata["result"]``, or in that of the event it
    modified the call into; one that only allows says ``{"status": "ok"}``.
    """
    host, room_id = live.host, live.session.room_id
    if host is None:
        return json.dumps({"error": "the channel belongs to no room"})
    trigger = HookTrigger.ON_REALTIME_TOOL_CALL
    answer = await host.ask_gates(room_id, trigger, event)
    live.later(lambda: host.run_observers(room_id, trigger, event), MOST_MESSAGES)
    if not answer.allowed:
        return json.dumps({"error": answer.reason or "blocked"})
    given = getattr(answer.payload, "metadata", None)
    for metadata in (answer.metadata, given):
        if isinstance(metadata, dict) and "result" in metadata:
            return json.dumps(metadata["result"], default=str)
    return json.dumps({"status": "ok"})


async def _refuse(call_id: str, name: str, arguments: dict[str, Any]) -> dict[str, str]:
    return {"error": f"not run: at most {MOST_TOOLS} calls at a time"}


def as_result(value: Any) -> str:
    """Return a tool's result as a model gets it: text as it is, all else as JSON, bounded."""
    if isinstance(value, str):
        return _cut(clean_text(value))
    text = clean_text(json.dumps(value, default=str))
    if len(text.encode()) <= MAX_RESULT_BYTES:
        return text
    # Half a JSON document is none: what is left of it goes along as text.
    return json.dumps({"result": _cut(text, MAX_RESULT_BYTES // 2), "cut": True})


def _cut(text: str, most: int = MAX_RESULT_BYTES) -> str:
    raw = text.encode()
    return text if len(raw) <= most else raw[:most].decode(errors="ignore")
