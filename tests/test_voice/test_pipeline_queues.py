"""Frames that come faster than the stages work, and sessions that share a pipeline."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from roomkit._clock import ManualClock
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import VoiceSession
from roomkit.voice.pipeline import (
    AudioPipeline,
    AudioPipelineConfig,
    DenoiserProvider,
    DiarizationProvider,
    DiarizationResult,
    MockVADProvider,
    VADEvent,
    VADEventType,
    VADProvider,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def session(name: str = "one") -> VoiceSession:
    return VoiceSession(id=name, room_id="room", participant_id="bob", channel_id="voice")


def numbered(number: int) -> AudioFrame:
    return AudioFrame(data=number.to_bytes(2, "little"))


class Heavy(MockVADProvider):
    """A VAD that takes its time, on a clock of the test's own."""

    def __init__(self, clock: ManualClockOfWork, seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self._seconds = seconds

    def process(self, frame: AudioFrame) -> VADEvent | None:
        self._clock.seconds += self._seconds
        return super().process(frame)


class ManualClockOfWork(ManualClock):
    """A clock moved by work, synchronously."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - any condition will do
            await asyncio.sleep(0)


class TestFeed:
    """``AudioPipeline.feed``."""

    async def test_a_burst_is_processed_in_place_while_stages_keep_up(self) -> None:
        """However long it is: nothing is dropped when nothing is slow."""
        vad = MockVADProvider()
        pipeline = AudioPipeline(AudioPipelineConfig(vad=vad), clock=ManualClock())
        frames = [numbered(number) for number in range(500)]
        for frame in frames:
            pipeline.feed(session(), frame)
        assert vad.frames == frames
        assert pipeline.dropped_frames == 0

    async def test_a_burst_that_stages_cannot_follow_is_bounded(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Fifty frames wait, the oldest of the others are dropped, counted and logged once."""
        clock = ManualClockOfWork()
        vad = Heavy(clock, 0.011)
        pipeline = AudioPipeline(AudioPipelineConfig(vad=vad), clock=clock)
        frames = [numbered(number) for number in range(100)]
        with caplog.at_level(logging.INFO, "roomkit.voice.pipeline"):
            for frame in frames:
                pipeline.feed(session(), frame)
        assert len(caplog.records) == 1
        # Two frames are more than the burst may take at once; then fifty wait.
        assert vad.frames == frames[:2]
        await until(lambda: len(vad.frames) == 52)
        assert vad.frames == frames[:2] + frames[50:]
        assert pipeline.dropped_frames == 48
        await pipeline.aclose()

    async def test_the_loop_turns_while_a_backlog_is_worked_off(self) -> None:
        """Somebody else gets his turns between the frames."""
        clock = ManualClockOfWork()
        vad = Heavy(clock, 0.025)
        pipeline = AudioPipeline(AudioPipelineConfig(vad=vad), clock=clock)
        for number in range(40):
            pipeline.feed(session(), numbered(number))
        turns = 0
        while len(vad.frames) < 40:
            before = len(vad.frames)
            await asyncio.sleep(0)
            turns += 1
            assert len(vad.frames) - before <= 1
        assert turns >= 39
        await pipeline.aclose()

    async def test_frames_stay_in_order_behind_a_backlog(self) -> None:
        """One that comes later waits, also when the stages are free at that moment."""
        clock = ManualClockOfWork()
        vad = Heavy(clock, 0.03)
        pipeline = AudioPipeline(AudioPipelineConfig(vad=vad), clock=clock)
        frames = [numbered(number) for number in range(20)]
        for frame in frames[:10]:
            pipeline.feed(session(), frame)
        await until(lambda: len(vad.frames) >= 4)
        for frame in frames[10:]:
            pipeline.feed(session(), frame)
        await until(lambda: len(vad.frames) == 20)
        assert vad.frames == frames
        await pipeline.aclose()

    async def test_rest_pays_for_work(self) -> None:
        """Frames that come in time are processed in place for ever."""
        clock = ManualClockOfWork()
        vad = Heavy(clock, 0.015)
        pipeline = AudioPipeline(AudioPipelineConfig(vad=vad), clock=clock)
        for number in range(200):
            pipeline.feed(session(), numbered(number))
            assert len(vad.frames) == number + 1
            clock.seconds += 0.020

    async def test_a_callback_that_feeds_waits_for_its_turn(self) -> None:
        """The frame it feeds comes after the one being processed."""
        vad = MockVADProvider([VADEvent(VADEventType.SPEECH_START)])
        pipeline = AudioPipeline(AudioPipelineConfig(vad=vad), clock=ManualClock())
        first, second = numbered(1), numbered(2)
        seen: list[AudioFrame] = []

        def feed(who: VoiceSession, event: VADEvent) -> None:
            pipeline.feed(who, second)
            seen.extend(vad.frames)

        pipeline.on_vad_event(feed)
        pipeline.feed(session(), first)
        assert seen == [first]
        await until(lambda: vad.frames == [first, second])
        await pipeline.aclose()

    def test_without_a_loop_everything_is_done_here(self) -> None:
        """In order, also what a callback feeds, and however slow the stages are."""
        clock = ManualClockOfWork()
        vad = Heavy(clock, 0.5)
        pipeline = AudioPipeline(AudioPipelineConfig(vad=vad), clock=clock)
        for number in range(60):
            pipeline.feed(session(), numbered(number))
        assert len(vad.frames) == 60

    async def test_the_end_of_a_session_forgets_its_backlog(self) -> None:
        """No frame of it reaches a stage any more; another session's backlog goes on."""
        clock = ManualClockOfWork()
        vad = Heavy(clock, 0.03)
        pipeline = AudioPipeline(AudioPipelineConfig(vad=vad), clock=clock)
        for number in range(10):
            pipeline.feed(session("one"), numbered(number))
            pipeline.feed(session("two"), numbered(100 + number))
        pipeline.on_session_ended(session("one"))
        await until(lambda: vad.frames[-1] == numbered(109))
        assert [frame for frame in vad.frames if frame.data[0] < 100] == [numbered(0)]
        await pipeline.aclose()


class TestEnd:
    """What is left when a session or the pipeline ends."""

    async def test_callbacks_outlive_their_session(self) -> None:
        """Somebody's last words are still worked on when he has hung up."""
        done = asyncio.Event()
        gate = asyncio.Event()

        async def transcribe(who: VoiceSession, audio: bytes) -> None:
            await gate.wait()
            done.set()

        event = VADEvent(VADEventType.SPEECH_END, audio_bytes=b"bye")
        pipeline = AudioPipeline(AudioPipelineConfig(vad=MockVADProvider([event])))
        pipeline.on_speech_end(transcribe)
        pipeline.process_frame(session(), numbered(1))
        pipeline.on_session_ended(session())
        gate.set()
        async with asyncio.timeout(5):
            await done.wait()
        await pipeline.aclose()

    async def test_closing_leaves_no_task(self) -> None:
        """Neither a stuck callback nor a backlog, and what waited is dropped quietly."""
        before = asyncio.all_tasks()
        clock = ManualClockOfWork()
        vad = Heavy(clock, 0.03)
        pipeline = AudioPipeline(AudioPipelineConfig(vad=vad), clock=clock)
        stopped = asyncio.Event()

        async def stuck(who: VoiceSession, event: VADEvent) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                stopped.set()

        pipeline.on_vad_event(stuck)
        noisy = MockVADProvider([VADEvent(VADEventType.SILENCE)] * 3)
        other = AudioPipeline(AudioPipelineConfig(vad=noisy))
        other.on_vad_event(stuck)
        for number in range(10):
            pipeline.feed(session(), numbered(number))
            other.feed(session(), numbered(number))
        await pipeline.aclose()
        await other.aclose()
        assert stopped.is_set()
        assert asyncio.all_tasks() == before

    async def test_a_callback_may_close_the_pipeline(self) -> None:
        """It is not cancelled by what it does itself."""
        ended = asyncio.Event()
        pipeline = AudioPipeline(
            AudioPipelineConfig(vad=MockVADProvider([VADEvent(VADEventType.SPEECH_START)]))
        )

        async def close(who: VoiceSession, event: VADEvent) -> None:
            await asyncio.sleep(0)
            await pipeline.aclose()
            await asyncio.sleep(0)
            ended.set()

        pipeline.on_vad_event(close)
        pipeline.process_frame(session(), numbered(1))
        async with asyncio.timeout(5):
            await ended.wait()

    def test_sessions_nobody_ends_are_bounded(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The oldest of too many goes; those that were announced stay."""
        monkeypatch.setattr("roomkit.voice.pipeline.engine.MOST_SESSIONS", 3)
        pipeline = AudioPipeline(AudioPipelineConfig())
        pipeline.on_session_active(session("announced"))
        with caplog.at_level(logging.WARNING, "roomkit.voice.pipeline"):
            for number in range(5):
                pipeline.process_frame(session(str(number)), numbered(1))
        assert pipeline.sessions == 4
        assert len(caplog.records) == 2


class Louder(DenoiserProvider):
    """A denoiser that adds up what it has heard."""

    def __init__(self) -> None:
        self._sum = 0

    @property
    def name(self) -> str:
        return "louder"

    def process(self, frame: AudioFrame) -> AudioFrame:
        self._sum = (self._sum + frame.data[0]) % 65536
        return numbered(self._sum)

    def for_session(self) -> Louder:
        return Louder()


class Third(VADProvider):
    """A VAD that reports an utterance of every third frame's history."""

    def __init__(self) -> None:
        self._heard: list[bytes] = []

    @property
    def name(self) -> str:
        return "third"

    def process(self, frame: AudioFrame) -> VADEvent | None:
        self._heard.append(frame.data)
        if len(self._heard) % 3:
            return None
        return VADEvent(VADEventType.SPEECH_END, audio_bytes=b"".join(self._heard))

    def for_session(self) -> Third:
        return Third()


class Parity(DiarizationProvider):
    """A diarization whose speakers are even and odd."""

    @property
    def name(self) -> str:
        return "parity"

    def process(self, frame: AudioFrame) -> DiarizationResult | None:
        return DiarizationResult("odd" if frame.data[0] % 2 else "even", 1.0, False)


def run(turns: list[tuple[str, int]]) -> dict[str, list[object]]:
    """Return what each session experiences when frames come in this order."""
    config = AudioPipelineConfig(vad=Third(), denoiser=Louder(), diarization=Parity())
    pipeline = AudioPipeline(config)
    seen: dict[str, list[object]] = {}
    pipeline.on_speech_end(lambda who, audio: seen[who.id].append(audio))
    pipeline.on_speaker_change(lambda who, result: seen[who.id].append(result.speaker_id))
    for name, number in turns:
        seen.setdefault(name, [])
        out = pipeline.process_frame(session(name), numbered(number))
        seen[name].append((out.data, out.metadata))
    pipeline.close()
    return seen


@given(st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), st.integers(0, 255))))
def test_sessions_never_change_each_others_result(turns: list[tuple[str, int]]) -> None:
    """Frames, utterances and speakers are those a session has when it is alone.

    The reference kept one VAD state for all callers.
    """
    together = run(turns)
    for name in together:
        alone = run([turn for turn in turns if turn[0] == name])
        assert together[name] == alone[name]
