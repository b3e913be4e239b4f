"""How texts of a room become speech in its sessions: hooks before and after, streams between."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from roomkit._aio import TaskSet, shielded
from roomkit.channels._voice_hooks import RoomHooks
from roomkit.channels._voice_speech import Origin, Speech, Synthesis, sliced, timed
from roomkit.channels._voice_stream import SpokenStream
from roomkit.models.enums import HookTrigger
from roomkit.models.streaming import StreamDelta, StreamEnd
from roomkit.voice.base import AudioChunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from roomkit.channels._voice_inbound import Listener
    from roomkit.channels._voice_session import Speaker, VoiceParts
    from roomkit.channels._voice_speech import Meter, Show
    from roomkit.models.event import RoomEvent
    from roomkit.voice.tts.base import TTSProvider

    Targets = Sequence[tuple[Speaker, Listener]]

MOST_STREAMS = 1000
"""Answers spoken while they are written; the oldest of more is forgotten, not silenced."""


class Speaking:
    """What one voice channel says.

    Args:
        parts: What the channel shares.
        tts: The synthesiser.
        whole: Make each text's audio in one piece.
        timeout: Seconds the synthesiser may take for a piece.
    """

    def __init__(
        self, parts: VoiceParts, tts: TTSProvider | None, *, whole: bool, timeout: float
    ) -> None:
        self._parts = parts
        self._timeout = timeout
        self._synthesis = None if tts is None else Synthesis(tts, whole=whole, timeout=timeout)
        self._tasks = TaskSet(f"{parts.channel_id}:speaking")
        self._streams: OrderedDict[str, SpokenStream] = OrderedDict()

    # -- whole texts --------------------------------------------------------------------------

    async def say(
        self, room_id: str, targets: Targets, text: str, *, voice: str | None = None
    ) -> None:
        """Say a text that is no event; returns when it is queued, refused or interrupted."""
        await shielded(self._tasks.start(self._say(room_id, targets, text, None, voice)))

    async def play(
        self,
        room_id: str,
        speaker: Speaker,
        audio: bytes | AsyncIterator[AudioChunk],
        text: str | None,
    ) -> None:
        """Play audio; returns when it is queued, refused or interrupted."""
        await shielded(self._tasks.start(self._play(room_id, speaker, audio, text)))

    def event(self, event: RoomEvent, text: str, targets: Targets) -> asyncio.Task[Any]:
        """Begin to say an event, but for the sessions that heard it while it was written.

        Returns:
            The task that is done when it is queued, refused or interrupted.
        """
        stream = self._streams.pop(str(event.metadata.get("stream_id")), None)
        return self._tasks.start(self._event(event, text, targets, stream), name="voice_event")

    async def _event(
        self, event: RoomEvent, text: str, targets: Targets, stream: SpokenStream | None
    ) -> None:
        if stream is not None:
            stream.end()
            await stream.origin.stored(self._parts.host, event.id)
            targets = [each for each in targets if each[0].session.id not in stream.speeches]
        if targets:
            await self._say(event.room_id, targets, text, Origin(event.id), None)
        if stream is not None and stream.task is not None:
            await asyncio.wait((stream.task,))

    async def _say(
        self,
        room_id: str,
        targets: Targets,
        text: str,
        origin: Origin | None,
        voice: str | None,
    ) -> None:
        hooks = RoomHooks(self._parts, room_id)
        left = await hooks.ask(HookTrigger.BEFORE_TTS, text)
        if left is None or not left.strip() or self._synthesis is None:
            return
        speeches = []
        for speaker, listener in targets:
            speech = Speech(self._synthesis.text(left, voice), left, origin)
            speaker.put(speech)
            listener.said(left)
            speeches.append(speech)
        handed = [await speech.handed() for speech in speeches]
        if any(handed):
            await hooks.tell(HookTrigger.AFTER_TTS, left)

    async def _play(
        self,
        room_id: str,
        speaker: Speaker,
        audio: bytes | AsyncIterator[AudioChunk],
        text: str | None,
    ) -> None:
        hooks = RoomHooks(self._parts, room_id)
        shown = "" if text is None else await hooks.ask(HookTrigger.BEFORE_TTS, text)
        if shown is None:
            return
        chunks = _pieces(audio, speaker) if isinstance(audio, bytes) else audio

        async def make(meter: Meter, show: Show) -> AsyncIterator[AudioChunk]:
            await show(shown)
            meter.begin(shown)
            async for chunk in timed(chunks, self._timeout):
                yield chunk
            meter.end()

        speech = Speech(make, shown)
        speaker.put(speech)
        if await speech.handed() and text is not None:
            await hooks.tell(HookTrigger.AFTER_TTS, shown)

    # -- answers still being written ------------------------------------------------------------

    def delta(self, delta: StreamDelta | StreamEnd, targets: Callable[[], Targets]) -> None:
        """Take a piece of an answer, or its end. Never waits.

        Args:
            delta: The piece.
            targets: Gives who is in the room, for the first piece.
        """
        stream = self._streams.get(delta.stream_id)
        if isinstance(delta, StreamEnd):
            if stream is not None:
                self._ended(delta, stream)
            return
        if stream is None:
            # Who came in later hears the whole of it, once it is an event.
            stream = self._begin(delta, targets()) if delta.seq == 0 else None
        if stream is not None:
            stream.push(delta.text)

    def _begin(self, delta: StreamDelta, targets: Targets) -> SpokenStream | None:
        if not targets or self._synthesis is None:
            return None
        stream = SpokenStream(RoomHooks(self._parts, delta.room_id))
        for speaker, _ in targets:
            speech = Speech(self._synthesis.growing(stream.said), "", stream.origin)
            stream.speeches[speaker.session.id] = speech
            stream.speakers.append(speaker)
            speaker.put(speech)
        stream.task = self._tasks.start(stream.run(), name="voice_stream")
        self._streams[delta.stream_id] = stream
        if len(self._streams) > MOST_STREAMS:
            self._streams.popitem(last=False)[1].end()
        return stream

    def _ended(self, end: StreamEnd, stream: SpokenStream) -> None:
        stream.end()
        if end.event_id is not None:
            # It stays known until the event itself comes to be delivered.
            stored = stream.origin.stored(self._parts.host, end.event_id)
            self._tasks.start(stored, name="voice_stream_stored")
            return
        del self._streams[end.stream_id]
        if end.retracted:
            self._tasks.start(self._retract(stream), name="voice_stream_retract")

    async def _retract(self, stream: SpokenStream) -> None:
        """Silence an answer that a gate refused although it was being spoken."""
        if stream.task is not None:
            stream.task.cancel()
        for speaker in stream.speakers:
            await speaker.retract(stream.speeches[speaker.session.id])

    async def close(self) -> None:
        """Stop everything. Idempotent."""
        self._streams.clear()
        await self._tasks.cancel(but=(asyncio.current_task(),), timeout=5.0)


async def _pieces(audio: bytes, speaker: Speaker) -> AsyncIterator[AudioChunk]:
    told = speaker.session.metadata.get("output_sample_rate")
    rate = told if isinstance(told, int) and told > 0 else 16000
    for piece in sliced(AudioChunk(audio, rate)):
        yield piece
