"""The audio pipeline: stages, their order, their failures and their callbacks."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest

from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import VoiceCapability, VoiceSession
from roomkit.voice.pipeline import (
    AudioFormat,
    AudioPipeline,
    AudioPipelineConfig,
    AudioPipelineContract,
    AudioPostProcessor,
    DenoiserProvider,
    DiarizationResult,
    MockDenoiserProvider,
    MockDiarizationProvider,
    MockVADProvider,
    VADConfig,
    VADEvent,
    VADEventType,
    VADProvider,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

START = VADEvent(VADEventType.SPEECH_START, confidence=0.9)
END = VADEvent(VADEventType.SPEECH_END, audio_bytes=b"speech", duration_ms=400.0)


def session(name: str = "one") -> VoiceSession:
    return VoiceSession(id=name, room_id="room", participant_id="bob", channel_id="voice")


def frame(data: bytes = b"\x01\x00" * 160, **kwargs: Any) -> AudioFrame:
    return AudioFrame(data=data, **kwargs)


class Broken(DenoiserProvider):
    """A denoiser that does not work."""

    @property
    def name(self) -> str:
        return "broken"

    def process(self, frame: AudioFrame) -> AudioFrame:
        raise ValueError("noise")


class Renewing(DenoiserProvider):
    """A denoiser that makes new frames, without the metadata of the old."""

    @property
    def name(self) -> str:
        return "renewing"

    def process(self, frame: AudioFrame) -> AudioFrame:
        return AudioFrame(data=frame.data[::-1])


@dataclass
class Stage:
    """Any stage, written down in a log all stages share; ``made`` counts those of sessions."""

    name: str
    log: list[str] = field(default_factory=list)
    fresh: bool = False
    closed: int = 0
    resets: int = 0
    made: list[Stage] = field(default_factory=list)

    def process(self, frame: AudioFrame) -> AudioFrame:
        self.log.append(self.name)
        return frame

    def for_session(self) -> Stage:
        if not self.fresh:
            return self
        self.made.append(replace(self, made=[], fresh=False, closed=0, resets=0))
        return self.made[-1]

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self.closed += 1


class Echo(Stage):
    """An echo canceller."""

    def feed_reference(self, frame: AudioFrame) -> None:
        self.log.append(f"reference {frame.sample_rate}")


class Silent(Stage):
    """A detector that finds nothing."""

    def process(self, frame: AudioFrame) -> Any:
        self.log.append(self.name)


class Rates(Stage):
    """A resampler that only changes the label."""

    def resample(
        self, frame: AudioFrame, target_rate: int, target_channels: int, target_width: int
    ) -> AudioFrame:
        self.log.append(f"{self.name} {frame.sample_rate}>{target_rate}")
        return replace(
            frame,
            sample_rate=target_rate,
            channels=target_channels,
            sample_width=target_width,
            metadata={},
        )


def everything(log: list[str]) -> AudioPipelineConfig:
    """A config with every stage that needs no file."""
    stages: dict[str, Any] = {
        "resampler": Rates("resampler", log),
        "dtmf": Silent("dtmf", log),
        "aec": Echo("aec", log),
        "agc": Stage("agc", log),
        "denoiser": Stage("denoiser", log),
        "vad": Silent("vad", log),
        "diarization": Silent("diarization", log),
        "postprocessors": [Stage("louder", log), Stage("softer", log)],
    }
    return AudioPipelineConfig(
        **stages,
        contract=AudioPipelineContract(AudioFormat(8000), AudioFormat(24000)),
    )


class TestInbound:
    """What a frame passes on its way in."""

    def test_an_empty_pipeline_passes_everything(self) -> None:
        """The very same frame comes back."""
        given = frame()
        assert AudioPipeline(AudioPipelineConfig()).process_frame(session(), given) is given
        assert given.metadata == {}

    def test_denoiser_vad_and_diarization(self) -> None:
        """Each sees the denoiser's frame and writes down what it found there."""
        vad = MockVADProvider([START])
        diarization = MockDiarizationProvider([DiarizationResult("ann", 0.8, True)])
        denoiser = Renewing()
        pipeline = AudioPipeline(
            AudioPipelineConfig(vad=vad, denoiser=denoiser, diarization=diarization)
        )
        given = frame(b"\x01\x02", metadata={"from": "test"})
        out = pipeline.process_frame(session(), given)
        assert out.data == b"\x02\x01"
        assert vad.frames == [out]
        assert diarization.frames == [out]
        assert out.metadata == {
            "from": "test",
            "denoiser": "renewing",
            "vad": {"type": "speech_start", "confidence": 0.9},
            "diarization": {"speaker_id": "ann", "confidence": 0.8},
        }
        assert given.metadata == {"from": "test"}

    def test_the_order_of_all_stages(self) -> None:
        """As the reference has it."""
        log: list[str] = []
        pipeline = AudioPipeline(everything(log))
        out = pipeline.process_inbound(session(), frame(sample_rate=8000, channels=2))
        assert log == [
            "resampler 8000>16000",
            "dtmf",
            "aec",
            "agc",
            "denoiser",
            "vad",
            "diarization",
        ]
        assert (out.sample_rate, out.channels) == (16000, 1)
        assert out.metadata["original_sample_rate"] == 8000
        assert out.metadata["original_channels"] == 2

    def test_what_the_backend_does_itself_is_left_out(self) -> None:
        """AEC and AGC, in both directions."""
        log: list[str] = []
        pipeline = AudioPipeline(
            everything(log),
            capabilities=VoiceCapability.NATIVE_AEC | VoiceCapability.NATIVE_AGC,
        )
        pipeline.process_frame(session(), frame())
        pipeline.process_outbound(session(), frame())
        assert not {entry.partition(" ")[0] for entry in log} & {"aec", "agc", "reference"}

    def test_a_key_is_reported_before_the_denoiser(self) -> None:
        """In the frame and to the callbacks."""

        @dataclass
        class Key:
            digit: str = "5"
            duration_ms: float = 80.0

        class Keys(Stage):
            def process(self, frame: AudioFrame) -> Any:
                return Key()

        config = AudioPipelineConfig(denoiser=Renewing())
        config.dtmf = Keys("keys")  # type: ignore[assignment]
        pipeline = AudioPipeline(config)
        seen: list[tuple[str, Any]] = []
        pipeline.on_dtmf(lambda who, event: seen.append((who.id, event.digit)))
        out = pipeline.process_frame(session(), frame())
        assert out.metadata["dtmf"] == {"digit": "5", "duration_ms": 80.0}
        assert seen == [("one", "5")]

    def test_a_vad_is_told_its_config(self) -> None:
        """The given one when the pipeline is made, those of sessions when they are."""
        told: list[tuple[str, VADConfig]] = []

        class Curious(MockVADProvider):
            def __init__(self, who: str) -> None:
                super().__init__()
                self.who = who

            def for_session(self) -> Curious:
                return Curious("session")

            def configure(self, config: VADConfig) -> None:
                told.append((self.who, config))

        settings = VADConfig(silence_threshold_ms=900)
        pipeline = AudioPipeline(AudioPipelineConfig(vad=Curious("given"), vad_config=settings))
        assert told == [("given", settings)]
        pipeline.process_frame(session(), frame())
        assert told[1:] == [("session", settings)]

    def test_the_format_of_speech_is_known(self) -> None:
        """It is that of the frames the VAD saw, and None before there was any."""
        pipeline = AudioPipeline(AudioPipelineConfig(vad=MockVADProvider([None, END])))
        who = session()
        pipeline.process_frame(who, frame(sample_rate=48000))
        assert pipeline.speech_format(who) is None
        pipeline.process_frame(who, frame(sample_rate=48000))
        assert pipeline.speech_format(who) == AudioFormat(48000, 1, 2)
        assert pipeline.speech_format(session("other")) is None
        assert pipeline.config.vad is not None


class TestOutbound:
    """What a frame passes on its way out."""

    def test_the_order(self) -> None:
        """Postprocessors, the echo to expect in the stages' own format, the wire's format."""
        log: list[str] = []
        out = AudioPipeline(everything(log)).process_outbound(session(), frame(sample_rate=22050))
        assert log == [
            "louder",
            "softer",
            "resampler 22050>16000",
            "reference 16000",
            "resampler 22050>24000",
        ]
        assert out.sample_rate == 24000

    def test_without_a_contract_the_session_says_the_rate(self) -> None:
        """Else the rate stays."""
        log: list[str] = []
        config = AudioPipelineConfig()
        config.resampler = Rates("resampler", log)  # type: ignore[assignment]
        pipeline = AudioPipeline(config)
        who = session()
        assert pipeline.process_outbound(who, frame(sample_rate=22050)).sample_rate == 22050
        who.metadata["output_sample_rate"] = 8000
        assert pipeline.process_outbound(who, frame(sample_rate=22050)).sample_rate == 8000

    def test_a_broken_postprocessor_does_not_silence(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The frame goes on as it was, to the next one."""

        class Bad(AudioPostProcessor):
            @property
            def name(self) -> str:
                return "bad"

            def process(self, frame: AudioFrame) -> AudioFrame:
                raise ValueError("no")

        log: list[str] = []
        config = AudioPipelineConfig(postprocessors=[Bad(), Stage("good", log)])  # type: ignore[list-item]
        pipeline = AudioPipeline(config)
        given = frame()
        with caplog.at_level(logging.ERROR, "roomkit.voice.pipeline"):
            assert pipeline.process_outbound(session(), given) is given
        assert log == ["good"]
        assert pipeline.failures == {"bad": 1}


class TestCallbacks:
    """Who is told what."""

    def test_events_then_speech(self) -> None:
        """All ``on_vad_event`` callbacks, then all ``on_speech_end``, in order."""
        pipeline = AudioPipeline(AudioPipelineConfig(vad=MockVADProvider([START, END])))
        seen: list[object] = []
        pipeline.on_speech_end(lambda who, audio: seen.append((who.id, "a", audio)))
        pipeline.on_vad_event(lambda who, event: seen.append((who.id, "b", event)))
        pipeline.on_vad_event(lambda who, event: seen.append((who.id, "c", event)))
        pipeline.on_speech_end(lambda who, audio: seen.append((who.id, "d", audio)))
        who = session()
        pipeline.process_frame(who, frame())
        assert seen == [("one", "b", START), ("one", "c", START)]
        pipeline.process_frame(who, frame())
        assert seen[2:] == [
            ("one", "b", END),
            ("one", "c", END),
            ("one", "a", b"speech"),
            ("one", "d", b"speech"),
        ]

    @pytest.mark.parametrize(("audio", "called"), [(b"", 1), (None, 0)])
    def test_speech_without_audio(self, audio: bytes | None, called: int) -> None:
        """Empty bytes are an utterance, None is not."""
        event = VADEvent(VADEventType.SPEECH_END, audio_bytes=audio)
        pipeline = AudioPipeline(AudioPipelineConfig(vad=MockVADProvider([event])))
        seen: list[bytes] = []
        pipeline.on_speech_end(lambda _, found: seen.append(found))
        pipeline.process_frame(session(), frame())
        assert len(seen) == called

    def test_a_speaker_is_reported_once(self) -> None:
        """When it is another than before."""
        results = [DiarizationResult(name, 0.9, False) for name in "aabba"]
        pipeline = AudioPipeline(AudioPipelineConfig(diarization=MockDiarizationProvider(results)))
        seen: list[str] = []
        pipeline.on_speaker_change(lambda _, result: seen.append(result.speaker_id))
        who = session()
        for _ in results:
            pipeline.process_frame(who, frame())
        assert seen == ["a", "b", "a"]

    def test_the_last_speaker_is_the_sessions_own(self) -> None:
        """Two sessions in turn, each with one speaker: one report each."""
        results = [DiarizationResult(name, 0.9, False) for name in "abab"]
        pipeline = AudioPipeline(AudioPipelineConfig(diarization=MockDiarizationProvider(results)))
        seen: list[tuple[str, str]] = []
        pipeline.on_speaker_change(lambda who, result: seen.append((who.id, result.speaker_id)))
        for name in ("one", "two", "one", "two"):
            pipeline.process_frame(session(name), frame())
        assert seen == [("one", "a"), ("two", "b")]

    def test_a_failing_callback_stops_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        """It is logged by its kind only, and the next one runs."""
        pipeline = AudioPipeline(AudioPipelineConfig(vad=MockVADProvider([START])))
        seen: list[str] = []

        def bad(who: VoiceSession, event: VADEvent) -> None:
            raise ValueError("what was said")

        pipeline.on_vad_event(bad)
        pipeline.on_vad_event(lambda who, _: seen.append(who.id))
        with caplog.at_level(logging.INFO, "roomkit.voice.pipeline"):
            pipeline.process_frame(session(), frame())
        assert seen == ["one"]
        assert len(caplog.records) == 1
        assert "what was said" not in caplog.text

    async def test_what_callbacks_return_is_awaited_in_order(self) -> None:
        """One after the other a session; another session does not wait for it."""
        events = [START, END, START]
        pipeline = AudioPipeline(AudioPipelineConfig(vad=MockVADProvider(events)))
        gate = asyncio.Event()
        seen: list[tuple[str, str]] = []

        async def slow(who: VoiceSession, event: VADEvent) -> None:
            if who.id == "one":
                await gate.wait()
            seen.append((who.id, event.type))

        pipeline.on_vad_event(slow)
        pipeline.process_frame(session(), frame())
        pipeline.process_frame(session(), frame())
        pipeline.process_frame(session("two"), frame())
        assert seen == [("two", "speech_start")]
        gate.set()
        await until(lambda: len(seen) == 3)
        assert seen[1:] == [("one", "speech_start"), ("one", "speech_end")]
        await pipeline.aclose()

    async def test_an_awaited_failure_is_logged_and_the_next_runs(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Also one that awaited something which had been cancelled."""
        pipeline = AudioPipeline(AudioPipelineConfig(vad=MockVADProvider([START] * 3)))
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        seen: list[int] = []

        async def fail(who: VoiceSession, event: VADEvent) -> None:
            seen.append(len(seen))
            if len(seen) == 1:
                raise ValueError("no")
            if len(seen) == 2:
                await cancelled

        pipeline.on_vad_event(fail)
        with caplog.at_level(logging.ERROR, "roomkit.voice.pipeline"):
            for _ in range(3):
                pipeline.process_frame(session(), frame())
            await until(lambda: len(seen) == 3)
        assert [record.getMessage() for record in caplog.records] == [
            "an audio callback failed: ValueError"
        ]
        await pipeline.aclose()

    def test_without_a_loop_awaitables_are_dropped(self) -> None:
        """No "never awaited" warning, which would be an error here."""

        async def never(who: VoiceSession, event: VADEvent) -> None:
            raise AssertionError

        pipeline = AudioPipeline(AudioPipelineConfig(vad=MockVADProvider([START])))
        pipeline.on_vad_event(never)
        pipeline.process_frame(session(), frame())

    async def test_too_many_waiting_callbacks_are_dropped(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The memory of a session with a stuck callback is bounded; one line says so."""
        pipeline = AudioPipeline(AudioPipelineConfig(vad=MockVADProvider([START] * 400)))
        gate = asyncio.Event()
        seen: list[int] = []

        async def stuck(who: VoiceSession, event: VADEvent) -> None:
            await gate.wait()
            seen.append(1)

        pipeline.on_vad_event(stuck)
        with caplog.at_level(logging.ERROR, "roomkit.voice.pipeline"):
            for _ in range(400):
                pipeline.process_frame(session(), frame())
        assert len(caplog.records) == 1
        gate.set()
        await until(lambda: len(seen) == 257)
        await pipeline.aclose()
        assert len(seen) == 257


class TestFailures:
    """Stages that do not work."""

    def test_a_broken_stage_is_passed_by(self, caplog: pytest.LogCaptureFixture) -> None:
        """Logged once a session, counted each time; the VAD sees the frame as it came."""
        vad = MockVADProvider()
        pipeline = AudioPipeline(AudioPipelineConfig(vad=vad, denoiser=Broken()))
        given = frame()
        with caplog.at_level(logging.INFO, "roomkit.voice.pipeline"):
            for name in ("one", "one", "two"):
                assert pipeline.process_frame(session(name), given) is given
        assert vad.frames == [given] * 3
        assert "denoiser" not in given.metadata
        assert pipeline.failures == {"broken": 3}
        assert len(caplog.records) == 2
        assert all("broken" in record.getMessage() for record in caplog.records)

    def test_a_stage_that_returns_nothing_is_broken(self) -> None:
        """Its frame passes as it was."""

        class Forgetful(Stage):
            def process(self, frame: AudioFrame) -> Any:
                return None

        for stage in ("denoiser", "agc"):
            pipeline = AudioPipeline(AudioPipelineConfig(**{stage: Forgetful(stage)}))
            given = frame()
            assert pipeline.process_frame(session(), given) is given
            assert pipeline.failures == {stage: 1}

    def test_a_stage_that_cannot_be_made_is_left_out(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is not shared with others instead."""

        class Unmade(MockVADProvider):
            def for_session(self) -> Unmade:
                raise OSError("no model")

        vad = Unmade([START])
        pipeline = AudioPipeline(AudioPipelineConfig(vad=vad))
        with caplog.at_level(logging.ERROR, "roomkit.voice.pipeline"):
            pipeline.process_frame(session(), frame())
        assert vad.frames == []
        assert pipeline.failures == {"MockVADProvider": 1}
        assert "no model" not in caplog.text


class TestPrice:
    """What a frame costs, counted in calls."""

    @pytest.mark.parametrize("others", [0, 1000])
    def test_a_frame_takes_few_calls(self, others: int) -> None:
        """However many other sessions there are; no task, no lock, no copy."""
        pipeline = AudioPipeline(
            AudioPipelineConfig(vad=MockVADProvider(), denoiser=MockDenoiserProvider())
        )
        for number in range(others):
            pipeline.on_session_active(session(f"other {number}"))
        who, given = session(), frame()
        pipeline.process_frame(who, given)
        calls: list[str] = []

        def count(code: FrameType, event: str, arg: object) -> None:
            if event == "call":
                calls.append(code.f_code.co_name)

        sys.setprofile(count)
        try:
            pipeline.process_frame(who, given)
        finally:
            sys.setprofile(None)
        assert sorted(calls) == [
            "process",
            "process",
            "process",
            "process_frame",
            "step",
            "step",
        ]


class TestSessions:
    """Stages of one's own."""

    def test_a_session_gets_its_own_stages(self) -> None:
        """Made once, closed with the session; the given ones only with the pipeline."""
        given = Stage("denoiser", fresh=True)
        pipeline = AudioPipeline(AudioPipelineConfig(denoiser=given))  # type: ignore[arg-type]
        one, two = session("one"), session("two")
        pipeline.on_session_active(one)
        pipeline.on_session_active(one)
        pipeline.process_frame(one, frame())
        pipeline.process_frame(two, frame())
        assert len(given.made) == 2
        assert pipeline.sessions == 2
        pipeline.on_session_ended(one)
        pipeline.on_session_ended(one)
        assert [stage.closed for stage in given.made] == [1, 0]
        assert given.closed == 0
        pipeline.close()
        pipeline.close()
        assert [stage.closed for stage in given.made] == [1, 1]
        assert given.closed == 1

    def test_a_shared_stage_outlives_its_sessions(self) -> None:
        """The mocks: one sequence for all, closed with the pipeline."""
        vad = MockVADProvider([START, END])
        pipeline = AudioPipeline(AudioPipelineConfig(vad=vad))
        seen: list[tuple[str, str]] = []
        pipeline.on_vad_event(lambda who, event: seen.append((who.id, event.type)))
        one, two = session("one"), session("two")
        pipeline.process_frame(one, frame())
        pipeline.on_session_ended(one)
        pipeline.process_frame(two, frame())
        assert seen == [("one", "speech_start"), ("two", "speech_end")]
        assert not vad.closed
        pipeline.close()
        assert vad.closed

    def test_frames_after_the_end_are_dropped(self) -> None:
        """They come back as they are and are counted; no stages are made for them."""
        vad = MockVADProvider([START])
        pipeline = AudioPipeline(AudioPipelineConfig(vad=vad))
        one = session()
        pipeline.on_session_active(one)
        pipeline.on_session_ended(one)
        given = frame()
        assert pipeline.process_frame(one, given) is given
        assert pipeline.process_outbound(one, given) is given
        pipeline.feed(one, given)
        assert (vad.frames, pipeline.dropped_frames, pipeline.sessions) == ([], 3, 0)

    @pytest.mark.parametrize("end", ["state", "close"])
    def test_no_session_begins_after_its_end(self, end: str) -> None:
        """Neither one whose state is ENDED nor any in a closed pipeline."""
        pipeline = AudioPipeline(AudioPipelineConfig())
        one = session()
        if end == "state":
            one.state = type(one.state).ENDED
        else:
            pipeline.close()
        pipeline.on_session_active(one)
        pipeline.process_frame(one, frame())
        assert (pipeline.sessions, pipeline.dropped_frames) == (0, 1)

    def test_ended_sessions_leave_nothing(self) -> None:
        """Five hundred of them: no stage of theirs is alive, none is open."""
        alive: WeakSet[MockVADProvider] = WeakSet()

        class Own(MockVADProvider):
            def for_session(self) -> Own:
                made = Own([START, END])
                alive.add(made)
                return made

        pipeline = AudioPipeline(AudioPipelineConfig(vad=Own()))
        for number in range(500):
            who = session(str(number))
            pipeline.on_session_active(who)
            pipeline.process_frame(who, frame())
            pipeline.process_frame(who, frame())
            pipeline.on_session_ended(who)
        gc.collect()
        assert (len(alive), pipeline.sessions) == (0, 0)

    def test_reset(self) -> None:
        """Every stage once, however many share it; the last speaker is forgotten."""
        vad = MockVADProvider()
        results = [DiarizationResult("a", 0.9, False)]
        diarization = MockDiarizationProvider(results * 5)
        given = Stage("denoiser", fresh=True)
        config = AudioPipelineConfig(vad=vad, diarization=diarization, denoiser=given)  # type: ignore[arg-type]
        pipeline = AudioPipeline(config)
        seen: list[str] = []
        pipeline.on_speaker_change(lambda who, _: seen.append(who.id))
        for name in ("one", "two"):
            pipeline.process_frame(session(name), frame())
        pipeline.reset()
        assert (vad.reset_count, diarization.reset_count) == (1, 1)
        assert [stage.resets for stage in (given, *given.made)] == [1, 1, 1]
        pipeline.process_frame(session("one"), frame())
        assert seen == ["one", "two", "one"]
        pipeline.reset(session("two"))
        assert [stage.resets for stage in (given, *given.made)] == [1, 1, 2]
        pipeline.reset(session("nobody"))
        assert vad.reset_count == 2

    def test_closing_goes_on_when_a_stage_fails(self, caplog: pytest.LogCaptureFixture) -> None:
        """Each is closed whatever the others do."""

        class Stuck(MockVADProvider):
            def close(self) -> None:
                raise OSError("stuck")

            def reset(self) -> None:
                raise OSError("stuck")

        denoiser = MockDenoiserProvider()
        pipeline = AudioPipeline(AudioPipelineConfig(vad=Stuck(), denoiser=denoiser))
        with caplog.at_level(logging.ERROR, "roomkit.voice.pipeline"):
            pipeline.reset()
            pipeline.close()
        assert denoiser.closed
        assert len(caplog.records) == 2

    def test_a_stage_of_an_older_program(self) -> None:
        """One that only has what 0.3.2 asked for."""

        class Old:
            name = "old"

            def process(self, frame: AudioFrame) -> None:
                return None

        config = AudioPipelineConfig()
        config.vad = Old()  # type: ignore[assignment]
        pipeline = AudioPipeline(config)
        pipeline.process_frame(session(), frame())
        pipeline.reset()
        pipeline.close()
        assert pipeline.failures == {}

    def test_an_older_subclass_needs_no_more_methods(self) -> None:
        """``name`` and ``process`` are all a stage has to have."""

        class Old(VADProvider):
            @property
            def name(self) -> str:
                return "old"

            def process(self, frame: AudioFrame) -> VADEvent | None:
                return START

        pipeline = AudioPipeline(AudioPipelineConfig(vad=Old()))
        out = pipeline.process_frame(session(), frame())
        assert out.metadata["vad"]["type"] is VADEventType.SPEECH_START


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - any condition will do
            await asyncio.sleep(0)
