"""What every transport of voice must do."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from roomkit.testing.conformance._sound import frames, silence, voice
from roomkit.testing.conformance._suite import PATIENCE, Suite
from roomkit.voice.base import AudioChunk, VoiceCapability, VoiceSessionState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.backends.base import VoiceBackend
    from roomkit.voice.base import VoiceSession


class VoiceBackendConformance(Suite, ABC):
    """Sessions, their audio in order, and an end. Implement ``make_backend``.

    A backend whose sessions need a client on the other side overrides ``open_session`` too.
    """

    lists_sessions = True
    """Whether ``get_session`` and ``list_sessions`` know the sessions."""

    @abstractmethod
    async def make_backend(self) -> VoiceBackend:
        """Return a new backend."""

    async def open_session(
        self, backend: VoiceBackend, room_id: str = "room-1", participant_id: str = "bob"
    ) -> VoiceSession:
        """Return a new session that is ready for audio."""
        return await backend.connect(room_id, participant_id, "voice")

    async def speak(
        self, backend: VoiceBackend, session: VoiceSession, audio: list[AudioFrame]
    ) -> bool:
        """Let frames come in at the other side; False if a test cannot do that."""
        return False

    @pytest_asyncio.fixture
    async def backend(self) -> AsyncIterator[VoiceBackend]:
        """A backend of the test's own."""
        backend = await self.make_backend()
        yield backend
        await backend.close()

    async def test_a_session_is_what_was_asked_for(self, backend: VoiceBackend) -> None:
        """Active, of the room, participant and channel, under an id of its own."""
        one = await self.open_session(backend, "room-1", "bob")
        two = await self.open_session(backend, "room-2", "ann")
        assert one.state is VoiceSessionState.ACTIVE
        assert (one.room_id, one.participant_id, one.channel_id) == ("room-1", "bob", "voice")
        assert (two.room_id, two.participant_id) == ("room-2", "ann")
        assert one.id != two.id
        if self.lists_sessions:
            assert backend.get_session(one.id) is not None
            assert [session.id for session in backend.list_sessions("room-1")] == [one.id]
        assert backend.get_session("nobody") is None
        assert backend.list_sessions("nowhere") == []

    async def test_audio_is_queued_and_not_waited_for(self, backend: VoiceBackend) -> None:
        """A minute of it is taken at once, as bytes and as chunks of any rate."""
        session = await self.open_session(backend)
        async with asyncio.timeout(PATIENCE):
            await backend.send_audio(session, silence(60_000))
            await backend.send_audio(session, self.chunks())
            await backend.send_audio(session, b"")

    @staticmethod
    async def chunks() -> AsyncIterator[AudioChunk]:
        """Yield audio of another rate than the session's, with an empty end."""
        for _ in range(5):
            yield AudioChunk(data=voice(50, 22050), sample_rate=22050)
        yield AudioChunk(data=b"", sample_rate=22050, is_final=True)

    async def test_a_synthesis_that_fails_is_reported(self, backend: VoiceBackend) -> None:
        """Whoever sends learns of it; the session goes on."""

        async def broken() -> AsyncIterator[AudioChunk]:
            yield AudioChunk(data=silence(20))
            raise ValueError("synthesis")

        session = await self.open_session(backend)
        with pytest.raises(ValueError, match="synthesis"):
            await backend.send_audio(session, broken())
        await backend.send_audio(session, silence(20))

    async def test_sending_may_be_cancelled(self, backend: VoiceBackend) -> None:
        """The stream it was reading is not read any further."""
        began, left = asyncio.Event(), asyncio.Event()

        async def endless() -> AsyncIterator[AudioChunk]:
            try:
                yield AudioChunk(data=silence(20))
                began.set()
                await asyncio.get_running_loop().create_future()
            finally:
                left.set()

        session = await self.open_session(backend)
        sending = asyncio.ensure_future(backend.send_audio(session, endless()))
        async with asyncio.timeout(PATIENCE):
            await began.wait()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await left.wait()

    async def test_cancelling_playback(self, backend: VoiceBackend) -> None:
        """Nothing plays afterwards; there is nothing to cancel a second time."""
        session = await self.open_session(backend)
        assert not await backend.cancel_audio(session)
        if VoiceCapability.INTERRUPTION not in backend.capabilities:
            return
        await backend.send_audio(session, silence(10_000))
        await backend.cancel_audio(session)
        assert not backend.is_playing(session)
        assert not await backend.cancel_audio(session)

    async def test_frames_come_in_order(self, backend: VoiceBackend) -> None:
        """To plain and async callbacks, each with its session."""
        seen: list[tuple[str, bytes]] = []
        slow: list[bytes] = []

        async def later(session: VoiceSession, frame: AudioFrame) -> None:
            await asyncio.sleep(0)
            slow.append(frame.data)

        backend.on_audio_received(later)
        backend.on_audio_received(lambda session, frame: seen.append((session.id, frame.data)))
        session = await self.open_session(backend)
        given = list(frames(voice(400, 16000), 16000))
        if not await self.speak(backend, session, given):
            pytest.skip("no client that speaks")
        async with asyncio.timeout(PATIENCE):
            while len(seen) < len(given) or len(slow) < len(given):  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert {session_id for session_id, _ in seen} == {session.id}
        assert slow == [data for _, data in seen]

    async def test_one_leaver_ends_only_his_session(self, backend: VoiceBackend) -> None:
        """Again does nothing; the other session still takes audio."""
        one = await self.open_session(backend, participant_id="bob")
        two = await self.open_session(backend, participant_id="ann")
        await backend.disconnect(one)
        await backend.disconnect(one)
        known = backend.get_session(one.id)
        assert known is None or known.state is VoiceSessionState.ENDED
        assert two.state is VoiceSessionState.ACTIVE
        if self.lists_sessions:
            assert backend.get_session(two.id) is not None
        await backend.send_audio(two, silence(20))

    async def test_an_ended_session_gets_nothing(self, backend: VoiceBackend) -> None:
        """No call about it is an error."""
        session = await self.open_session(backend)
        await backend.disconnect(session)
        async with asyncio.timeout(PATIENCE):
            await backend.send_audio(session, silence(20))
            await backend.send_transcription(session, "hello", "assistant")
            assert not await backend.cancel_audio(session)
        assert not backend.is_playing(session)

    async def test_texts_can_be_shown(self, backend: VoiceBackend) -> None:
        """Of the user and of the assistant; a client that shows none is fine."""
        session = await self.open_session(backend)
        async with asyncio.timeout(PATIENCE):
            await backend.send_transcription(session, "hello")
            await backend.send_transcription(session, "hi", "assistant")

    async def test_every_callback_can_be_registered(self, backend: VoiceBackend) -> None:
        """Whether the backend can call it or not."""

        def callback(*_: Any) -> None:
            return None

        for register in (
            backend.on_audio_received,
            backend.on_barge_in,
            backend.on_speech_start,
            backend.on_speech_end,
            backend.on_partial_transcription,
            backend.on_vad_silence,
            backend.on_vad_audio_level,
        ):
            register(callback)

    async def test_it_says_what_it_is(self, backend: VoiceBackend) -> None:
        """A name, and capabilities that do not change."""
        assert backend.name
        assert isinstance(backend.capabilities, VoiceCapability)
        assert backend.capabilities == backend.capabilities

    async def test_close_ends_everything(self, backend: VoiceBackend) -> None:
        """Twice is fine; no session plays any more and no task is left."""
        before = asyncio.all_tasks()
        session = await self.open_session(backend)
        await backend.send_audio(session, silence(5_000))
        async with asyncio.timeout(PATIENCE):
            await backend.close()
            await backend.close()
            while self.left(before):  # noqa: ASYNC110 - tasks on their way out
                await asyncio.sleep(0)
        assert not backend.is_playing(session)
        known = backend.get_session(session.id)
        assert known is None or known.state is VoiceSessionState.ENDED

    def left(self, before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
        """Return the tasks the backend has left; a suite with a client takes out the client's."""
        return asyncio.all_tasks() - before
