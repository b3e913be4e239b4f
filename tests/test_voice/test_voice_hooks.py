"""Hooks of turns, telephone keys and recordings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import Access, HookExecution, HookTrigger, ManualClock, RoomKit
from roomkit.channels.voice import VoiceChannel
from roomkit.voice.backends.mock import MockVoiceBackend
from roomkit.voice.dtmf import DTMFDetectedEvent, DTMFEvent, MockDTMFDetector
from roomkit.voice.events import TurnCompleteEvent, TurnIncompleteEvent
from roomkit.voice.pipeline import AudioPipelineConfig
from roomkit.voice.recording import (
    MockAudioRecorder,
    RecordingHandle,
    RecordingResult,
    RecordingStartedEvent,
    RecordingStoppedEvent,
)
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.turn_detector import PunctuationTurnDetector, TurnDetector
from tests.support.kits import texts
from tests.test_voice._voice_rooms import (
    END,
    ROOM,
    START,
    heard,
    open_call,
    settle,
    speak,
    until,
    voice,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.models.context import RoomContext
    from roomkit.voice.base import VoiceSession
    from roomkit.voice.turn_detector import TurnContext, TurnDecision

TRIGGERS = (
    HookTrigger.ON_TURN_COMPLETE,
    HookTrigger.ON_TURN_INCOMPLETE,
    HookTrigger.ON_DTMF,
    HookTrigger.ON_RECORDING_STARTED,
    HookTrigger.ON_RECORDING_STOPPED,
)


class Told:
    """Hears the five hooks.

    Attributes:
        events: ``(room id, payload)``, in order.
    """

    def __init__(self, kit: RoomKit) -> None:
        self.events: list[tuple[str, Any]] = []
        for trigger in TRIGGERS:
            kit.hook(trigger, HookExecution.ASYNC, name=trigger.value)(self._hear)

    async def _hear(self, event: Any, context: RoomContext) -> None:
        self.events.append((context.room.id, event))

    def of[E](self, kind: type[E]) -> list[E]:
        """Return the payloads of one class."""
        return [event for _, event in self.events if isinstance(event, kind)]


class KeyBackend(MockVoiceBackend):
    """Is told of keys beside the audio."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[Callable[[VoiceSession, str], Any]] = []

    def on_dtmf(self, callback: Callable[[VoiceSession, str], Any]) -> None:
        """Keep the callback."""
        self.keys.append(callback)


class TestTurns:
    """ON_TURN_COMPLETE and ON_TURN_INCOMPLETE."""

    async def test_a_turn_in_two_utterances(self) -> None:
        """First it waits for more, then it is over; the message is the whole."""
        backend = MockVoiceBackend()
        stt = MockSTTProvider(["I would like to", "order a pizza."])
        async with RoomKit(voice=backend) as kit:
            told = Told(kit)
            detector = PunctuationTurnDetector(pause_ms=60_000, unfinished_ms=60_000)
            channel = voice(backend, START, END, START, END, stt=stt, turn_detector=detector)
            session = await open_call(kit, channel)
            await speak(backend, session)
            await until(lambda: told.of(TurnIncompleteEvent))
            assert told.of(TurnCompleteEvent) == []
            await speak(backend, session)
            said = await heard(kit)
            (waiting,), (over,) = told.of(TurnIncompleteEvent), told.of(TurnCompleteEvent)
            assert (waiting.text, waiting.reason) == ("I would like to", "open_word")
            assert (waiting.wait_ms, waiting.confidence) == (59_500, 0.8)
            assert (over.text, over.reason) == ("I would like to order a pizza.", "punctuation")
            assert waiting.session is over.session is session
            assert texts(said) == [over.text]

    async def test_silence_ends_a_turn(self) -> None:
        """When the wait is over the turn is complete without further speech."""
        backend, clock = MockVoiceBackend(), ManualClock()
        async with RoomKit(voice=backend) as kit:
            told = Told(kit)
            stt = MockSTTProvider(["bread and"])
            detector = PunctuationTurnDetector(pause_ms=700, unfinished_ms=1500)
            channel = voice(backend, START, END, stt=stt, turn_detector=detector, clock=clock)
            session = await open_call(kit, channel)
            await speak(backend, session)
            await until(lambda: told.of(TurnIncompleteEvent))
            await clock.advance(0.9)
            assert told.of(TurnCompleteEvent) == []
            await clock.advance(0.2)
            await until(lambda: told.of(TurnCompleteEvent))
            assert [event.reason for event in told.of(TurnCompleteEvent)] == ["waited"]

    async def test_a_call_that_ends_ends_its_turn(self) -> None:
        """What was said of it still becomes a message, and the hook says why."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            told = Told(kit)
            stt = MockSTTProvider(["I would like to"])
            detector = PunctuationTurnDetector(unfinished_ms=60_000)
            channel = voice(backend, START, END, stt=stt, turn_detector=detector)
            session = await open_call(kit, channel)
            await speak(backend, session)
            await until(lambda: told.of(TurnIncompleteEvent))
            await kit.disconnect_voice(session)
            await until(lambda: told.of(TurnCompleteEvent))
            assert told.of(TurnCompleteEvent)[0].reason == "session_ended"
            assert texts(await heard(kit)) == ["I would like to"]

    async def test_without_a_detector_nothing_is_told(self) -> None:
        """Each utterance is a message; there are no turns to speak of."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            told = Told(kit)
            session = await open_call(kit, voice(backend, START, END))
            await speak(backend, session)
            await heard(kit)
            assert told.events == []

    async def test_how_long_was_spoken(self) -> None:
        """The detector is told the speech the VAD measured, without the silence after it."""
        seen: list[float] = []

        class Asking(TurnDetector):
            def evaluate(self, context: TurnContext) -> TurnDecision:
                seen.append(context.speech_duration_ms)
                return PunctuationTurnDetector(pause_ms=0).evaluate(context)

        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            end = type(END)(END.type, END.audio_bytes, duration_ms=640.0)
            channel = voice(backend, START, end, turn_detector=Asking())
            session = await open_call(kit, channel)
            await speak(backend, session)
            await heard(kit)
            assert seen == [640.0]

    def test_words_stay_out_of_logs(self) -> None:
        """What was said is in no repr."""
        session: Any = None
        for event in (
            TurnCompleteEvent(session, "secret"),
            TurnIncompleteEvent(session, "secret"),
        ):
            assert "secret" not in repr(event)


class TestKeys:
    """ON_DTMF."""

    async def test_a_key_the_pipeline_hears(self) -> None:
        """Digit, length and confidence as the detector gave them."""
        backend = MockVoiceBackend()
        dtmf = MockDTMFDetector([None, DTMFEvent("5", 120.0, 0.9)])
        async with RoomKit(voice=backend) as kit:
            told = Told(kit)
            channel = VoiceChannel(
                "voice", backend=backend, pipeline=AudioPipelineConfig(dtmf=dtmf)
            )
            session = await open_call(kit, channel)
            await speak(backend, session)
            await until(lambda: told.events)
            (room, event), *more = told.events
            assert isinstance(event, DTMFDetectedEvent)
            assert (room, event.session.id) == (ROOM, session.id)
            assert (event.digit, event.duration_ms, event.confidence) == ("5", 120.0, 0.9)
            assert more == []

    async def test_a_key_the_backend_reports(self) -> None:
        """Without a detector in the pipeline; how long it was held nobody knows."""
        backend = KeyBackend()
        async with RoomKit(voice=backend) as kit:
            told = Told(kit)
            session = await open_call(kit, voice(backend))
            backend.keys[0](session, "#")
            await until(lambda: told.events)
            event = told.of(DTMFDetectedEvent)[0]
            assert (event.digit, event.duration_ms, event.confidence) == ("#", 0.0, 1.0)

    async def test_a_key_is_told_once(self) -> None:
        """A detector in the pipeline silences the backend's own word."""
        backend = KeyBackend()
        async with RoomKit(voice=backend) as kit:
            config = AudioPipelineConfig(dtmf=MockDTMFDetector())
            await open_call(kit, VoiceChannel("voice", backend=backend, pipeline=config))
            assert backend.keys == []

    async def test_a_muted_channel_hears_no_keys(self) -> None:
        """Neither muted, nor read-only; a key may be part of a card number."""
        backend = KeyBackend()
        async with RoomKit(voice=backend) as kit:
            told = Told(kit)
            session = await open_call(kit, voice(backend))
            await kit.set_access(ROOM, "voice", Access.READ_ONLY)
            backend.keys[0](session, "1")
            await settle()
            await kit.set_access(ROOM, "voice", Access.READ_WRITE)
            backend.keys[0](session, "2")
            await until(lambda: told.events)
            assert [event.digit for event in told.of(DTMFDetectedEvent)] == ["2"]


def recorded(backend: MockVoiceBackend, recorder: MockAudioRecorder) -> VoiceChannel:
    """Return a channel that records."""
    return VoiceChannel("voice", backend=backend, pipeline=AudioPipelineConfig(recorder=recorder))


class TestRecordings:
    """ON_RECORDING_STARTED and ON_RECORDING_STOPPED."""

    async def test_begin_and_end(self) -> None:
        """Told in this order, in the session's own room, with where the recording is."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            told = Told(kit)
            channel = recorded(backend, MockAudioRecorder())
            first = await open_call(kit, channel)
            second = await open_call(kit, channel, room_id="other", person="kim")
            await speak(backend, second, 5)
            await kit.disconnect_voice(second)
            await until(lambda: told.of(RecordingStoppedEvent))
            started = [
                (room, event.session.id, event.id)
                for room, event in told.events
                if isinstance(event, RecordingStartedEvent)
            ]
            assert started == [
                (ROOM, first.id, "recording-1"),
                ("other", second.id, "recording-2"),
            ]
            room, stopped = told.events[-1]
            assert (room, stopped.session.id, stopped.id) == ("other", second.id, "recording-2")
            assert stopped.urls == ("mock://recording-2",)
            assert stopped.duration_seconds == pytest.approx(0.1)

    async def test_a_recording_that_takes_its_time(self) -> None:
        """It is told when it is whole, long after the session has gone."""
        go = asyncio.Event()

        class Slow(MockAudioRecorder):
            async def stop(self, handle: RecordingHandle) -> RecordingResult:
                await go.wait()
                return await super().stop(handle)

        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            told = Told(kit)
            session = await open_call(kit, recorded(backend, Slow()))
            await kit.disconnect_voice(session)
            await settle()
            assert told.of(RecordingStoppedEvent) == []
            go.set()
            await until(lambda: told.of(RecordingStoppedEvent))

    async def test_closing_tells_of_what_was_recorded(self) -> None:
        """A kit that is closed during a call still tells where the recording is."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            told = Told(kit)
            await open_call(kit, recorded(backend, MockAudioRecorder()))
        assert [event.id for event in told.of(RecordingStoppedEvent)] == ["recording-1"]

    async def test_a_recording_that_fails_has_no_end(self) -> None:
        """Nobody is told of a file that is not there."""

        class Full(MockAudioRecorder):
            async def stop(self, handle: RecordingHandle) -> RecordingResult:
                raise OSError

        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            told = Told(kit)
            session = await open_call(kit, recorded(backend, Full()))
            await kit.disconnect_voice(session)
            await settle()
            assert len(told.of(RecordingStartedEvent)) == 1
            assert told.of(RecordingStoppedEvent) == []
