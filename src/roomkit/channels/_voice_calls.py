"""The sessions of one voice channel: who is bound to which room, and whose audio this is."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from threading import get_ident
from typing import TYPE_CHECKING, Any

from roomkit.channels._voice_faults import Faults
from roomkit.channels._voice_hooks import RoomHooks
from roomkit.channels._voice_inbound import Listener
from roomkit.channels._voice_session import Speaker
from roomkit.voice.backends.base import VoiceBackend
from roomkit.voice.base import VoiceSessionState
from roomkit.voice.pipeline.contract import AudioFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from roomkit.channels._voice_hearing import Hearing
    from roomkit.channels._voice_session import VoiceParts
    from roomkit.models.channel import ChannelBinding
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import VoiceSession

MOST_CROSSING = 50
"""Frames of another thread that wait for the event loop."""
MOST_PAST = 1_000
"""Sessions that have ended whose rooms are known: their recordings still become whole."""

_NOBODY: Mapping[str, Call] = {}


@dataclass(eq=False)
class Call:
    """A session and what belongs to it.

    Attributes:
        session: The session.
        room_id: Its room.
        speaker: What is said to it.
        listener: What it says.
        feed: Takes its frames.
        crossing: Frames on their way from another thread.
        scheduled: Whether the event loop knows of them.
    """

    session: VoiceSession
    room_id: str
    speaker: Speaker
    listener: Listener
    feed: Callable[[VoiceSession, AudioFrame], None]
    crossing: deque[tuple[VoiceSession, AudioFrame]] = field(default_factory=deque)
    scheduled: bool = False

    @property
    def pair(self) -> tuple[Speaker, Listener]:
        """Both ends."""
        return self.speaker, self.listener


class Calls:
    """Finds sessions, and brings what backends report to them into their event loop.

    Args:
        parts: What the channel shares.
        hearing: How it listens.

    Attributes:
        bound: Session id to call, of the sessions bound to a room.
        dropped: Frames nobody may listen to, and frames other threads had too many of.
    """

    def __init__(self, parts: VoiceParts, hearing: Hearing) -> None:
        self.bound: dict[str, Call] = {}
        self.dropped = 0
        self._parts = parts
        self._hearing = hearing
        self._rooms: dict[str, dict[str, Call]] = {}
        self._guests: dict[str, Call] = {}
        self._past: OrderedDict[str, str] = OrderedDict()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = get_ident()

    def bind(self, session: VoiceSession, room_id: str, binding: ChannelBinding) -> None:
        """Bind a session; the event loop that runs now is the one of all sessions."""
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._thread = get_ident()
        self._guests.pop(session.id, None)
        call = self.bound[session.id] = self._make(session, room_id, binding)
        self._rooms.setdefault(room_id, {})[session.id] = call
        if self._loop is not None:
            call.listener.watch_silence()

    def staged(self, session: VoiceSession) -> None:
        """Note that the pipeline has made a bound session's stages."""
        call, pipeline = self.bound.get(session.id), self._parts.pipeline
        if call is not None and pipeline is not None:
            call.feed = pipeline.feeder(session)

    def _make(self, session: VoiceSession, room_id: str, binding: ChannelBinding) -> Call:
        faults = Faults(session, self._parts.faults)
        speaker = Speaker(self._parts, session, RoomHooks(self._parts, room_id), faults)
        listener = Listener(self._parts, self._hearing, session, room_id, binding, speaker, faults)
        pipeline = self._parts.pipeline
        feed = self._unstaged if pipeline is None else pipeline.feed
        return Call(session, room_id, speaker, listener, feed)

    def _unstaged(self, session: VoiceSession, frame: AudioFrame) -> None:
        call = self.bound.get(session.id)
        if call is not None:
            call.listener.frame(frame)

    def find(self, session_id: str) -> Call | None:
        """Return a call, also one with a session nobody bound."""
        return self.bound.get(session_id) or self._guests.get(session_id)

    def take(self, session_id: str) -> Call | None:
        """Return a bound call that ends; its room is remembered for a while."""
        call = self.bound.pop(session_id, None)
        if call is not None:
            mates = self._rooms[call.room_id]
            del mates[session_id]
            if not mates:
                del self._rooms[call.room_id]
            self._past[session_id] = call.room_id
            if len(self._past) > MOST_PAST:
                self._past.popitem(last=False)
        return call

    def take_all(self) -> list[Call]:
        """Return all calls, and forget them."""
        calls = [call for key in list(self.bound) if (call := self.take(key)) is not None]
        calls += self._guests.values()
        self._guests.clear()
        return calls

    def in_room(self, room_id: str, binding: ChannelBinding) -> list[Call]:
        """Return who is in a room now; sessions nobody bound only where none is bound."""
        backend = self._parts.backend
        if backend is None:
            return []
        # One that keeps no books knows none of its sessions; ours are taken for alive then.
        knows = type(backend).get_session is not VoiceBackend.get_session
        found = []
        for call in self._rooms.get(room_id, _NOBODY).values():
            if call.session.state is VoiceSessionState.ENDED:
                continue
            live = backend.get_session(call.session.id) if knows else call.session
            if live is not None and live.state is not VoiceSessionState.ENDED:
                call.listener.binding = binding
                found.append(call)
        return found or self._unbound(backend, room_id, binding)

    def _unbound(self, backend: VoiceBackend, room_id: str, binding: ChannelBinding) -> list[Call]:
        for session_id in [key for key, each in self._guests.items() if not each.speaker.busy]:
            del self._guests[session_id]
        found = []
        for session in backend.list_sessions(room_id):
            mine = session.channel_id == binding.channel_id and session.room_id == room_id
            over = session.state is VoiceSessionState.ENDED
            if mine and not over and session.id not in self.bound:
                call = self._guests.get(session.id) or self._make(session, room_id, binding)
                self._guests[session.id] = call
                found.append(call)
        return found

    # -- what is reported (see _voice_wiring) ---------------------------------------------------

    def listener_of(self, session: VoiceSession) -> Listener | None:
        """Return who listens to a session; None when nobody may."""
        call = self.bound.get(session.id)
        if call is None or session.state is VoiceSessionState.ENDED:
            return None
        return call.listener

    def hooks_of(self, session: VoiceSession) -> RoomHooks | None:
        """Return the hooks of a session's room, also for a while after its end."""
        call = self.bound.get(session.id)
        room_id = self._past.get(session.id) if call is None else call.room_id
        return None if room_id is None else RoomHooks(self._parts, room_id)

    def speech_format(self, session: VoiceSession) -> AudioFormat:
        """Return the format of a session's utterances."""
        pipeline = self._parts.pipeline
        known = None if pipeline is None else pipeline.speech_format(session)
        if known is not None:
            return known
        told = session.metadata.get("input_sample_rate")
        return AudioFormat(told if isinstance(told, int) and told > 0 else 16000)

    def on_frame(self, session: VoiceSession, frame: AudioFrame) -> None:
        """Take a frame from the backend, from whichever thread."""
        call = self.bound.get(session.id)
        if call is None or session.state is VoiceSessionState.ENDED:
            self.dropped += 1
        elif get_ident() == self._thread:
            call.feed(session, frame)
        else:
            self._cross(call, session, frame)

    def _cross(self, call: Call, session: VoiceSession, frame: AudioFrame) -> None:
        """Bring a frame over from another thread; the oldest of too many is dropped."""
        call.crossing.append((session, frame))
        if len(call.crossing) > MOST_CROSSING:
            call.crossing.popleft()
            self.dropped += 1
        if not call.scheduled:
            call.scheduled = True
            if not self.in_loop(self._crossed, call):
                call.scheduled = False

    def _crossed(self, call: Call) -> None:
        call.scheduled = False
        while call.crossing:
            self.on_frame(*call.crossing.popleft())

    def in_loop(self, work: Any, *args: Any) -> bool:
        """Call ``work`` in the sessions' event loop; False when there is none to do it."""
        if get_ident() == self._thread:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return False
            work(*args)
            return True
        if self._loop is None or self._loop.is_closed():
            return False
        self._loop.call_soon_threadsafe(work, *args)
        return True
