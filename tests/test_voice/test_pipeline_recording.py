"""What a pipeline hands to a recorder and to debug taps, and real stages in it."""

from __future__ import annotations

import asyncio
import logging
import wave
from math import pi, sin
from struct import pack
from typing import TYPE_CHECKING

import pytest

from roomkit.voice.audio.resample import SincResamplerProvider
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import VoiceSession
from roomkit.voice.debug_taps import PipelineDebugTaps
from roomkit.voice.pipeline import (
    AudioFormat,
    AudioPipeline,
    AudioPipelineConfig,
    AudioPipelineContract,
    MockDenoiserProvider,
    MockVADProvider,
)
from roomkit.voice.recording import (
    MockAudioRecorder,
    RecordingConfig,
    RecordingHandle,
    RecordingMode,
    RecordingResult,
)
from roomkit.voice.vad.energy import EnergyVADProvider

if TYPE_CHECKING:
    from pathlib import Path


def session(name: str = "one") -> VoiceSession:
    return VoiceSession(id=name, room_id="room", participant_id="bob", channel_id="voice")


def tone(rate: int = 16000, ms: int = 20, start: int = 0) -> AudioFrame:
    count = rate * ms // 1000
    samples = (int(9000 * sin(2 * pi * 440 * (start + n) / rate)) for n in range(count))
    return AudioFrame(data=pack(f"<{count}h", *samples), sample_rate=rate)


class TestRecorder:
    """A pipeline with a recorder."""

    async def test_a_session_is_recorded_from_its_begin_to_its_end(self) -> None:
        """Both directions; the callbacks are told when it began and when it is whole."""
        recorder = MockAudioRecorder()
        config = RecordingConfig(mode=RecordingMode.BOTH)
        pipeline = AudioPipeline(AudioPipelineConfig(recorder=recorder, recording_config=config))
        seen: list[tuple[str, str]] = []
        told = asyncio.Event()

        async def started(who: VoiceSession, handle: RecordingHandle) -> None:
            seen.append((who.id, handle.id))

        async def stopped(who: VoiceSession, result: RecordingResult) -> None:
            seen.append((who.id, result.urls[0]))
            told.set()

        pipeline.on_recording_started(started)
        pipeline.on_recording_stopped(stopped)
        one = session()
        pipeline.on_session_active(one)
        heard, said = tone(), tone()
        pipeline.process_frame(one, heard)
        pipeline.process_outbound(one, said)
        assert recorder.started == [(one, config)]
        assert recorder.inbound == [("recording-1", heard)]
        assert recorder.outbound == [("recording-1", said)]
        pipeline.on_session_ended(one)
        pipeline.on_session_ended(one)
        async with asyncio.timeout(5):
            await told.wait()
        assert seen == [("one", "recording-1"), ("one", "mock://recording-1")]
        assert recorder.stopped == ["recording-1"]
        await pipeline.aclose()
        assert recorder.closed

    async def test_closing_waits_for_recordings(self) -> None:
        """They become whole, and whoever wants to know is told, before ``aclose`` returns."""

        class Slow(MockAudioRecorder):
            async def stop(self, handle: RecordingHandle) -> RecordingResult:
                for _ in range(20):
                    await asyncio.sleep(0)
                return await super().stop(handle)

        pipeline = AudioPipeline(AudioPipelineConfig(recorder=Slow()))
        seen: list[str] = []

        async def stopped(who: VoiceSession, result: RecordingResult) -> None:
            await asyncio.sleep(0)
            seen.append(who.id)

        pipeline.on_recording_stopped(stopped)
        for name in ("one", "two"):
            pipeline.process_frame(session(name), tone())
        await pipeline.aclose()
        assert sorted(seen) == ["one", "two"]

    def test_without_a_config_the_usual_one_holds(self) -> None:
        """A ``RecordingConfig`` of defaults; without a loop the recorder's close ends it."""
        recorder = MockAudioRecorder()
        pipeline = AudioPipeline(AudioPipelineConfig(recorder=recorder))
        pipeline.process_frame(session(), tone())
        assert [config for _, config in recorder.started] == [RecordingConfig()]
        pipeline.close()
        assert (recorder.stopped, recorder.closed) == ([], True)

    async def test_a_recorder_that_fails_costs_only_the_recording(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """At its start, in a tap and at its end."""

        class NoStart(MockAudioRecorder):
            def start(self, session: VoiceSession, config: RecordingConfig) -> RecordingHandle:
                raise OSError("/secret/path")

        class NoTap(MockAudioRecorder):
            def tap_inbound(self, handle: RecordingHandle, frame: AudioFrame) -> None:
                raise OSError("/secret/path")

            async def stop(self, handle: RecordingHandle) -> RecordingResult:
                raise OSError("/secret/path")

        for recorder, count in ((NoStart(), 1), (NoTap(), 2)):
            vad = MockVADProvider()
            pipeline = AudioPipeline(AudioPipelineConfig(recorder=recorder, vad=vad))
            with caplog.at_level(logging.ERROR, "roomkit.voice.pipeline"):
                pipeline.process_frame(session(), tone())
                pipeline.on_session_ended(session())
                await pipeline.aclose()
            assert len(vad.frames) == 1
            assert pipeline.failures == {recorder.name: count}
        assert len(caplog.records) == 3
        assert "secret" not in caplog.text

    def test_the_recorder_hears_the_resampled_and_not_the_denoised(self) -> None:
        """The tap is behind the resampler and before everything that changes the sound."""
        recorder = MockAudioRecorder()
        pipeline = AudioPipeline(
            AudioPipelineConfig(
                recorder=recorder,
                denoiser=MockDenoiserProvider(),
                resampler=SincResamplerProvider(),
            )
        )
        seen: list[dict[str, object]] = []
        recorder.tap_inbound = (  # type: ignore[method-assign]
            lambda handle, frame: seen.append(dict(frame.metadata))
        )
        pipeline.process_frame(session(), tone(rate=48000))
        assert seen == [{"original_sample_rate": 48000, "original_channels": 1}]


class TestDebugTaps:
    """A pipeline with taps."""

    async def test_each_boundary_is_a_file(self, tmp_path: Path) -> None:
        """In the order of the stages, with the sound as it was there."""
        taps = PipelineDebugTaps(tmp_path)
        pipeline = AudioPipeline(
            AudioPipelineConfig(
                denoiser=MockDenoiserProvider(),
                vad=MockVADProvider(),
                resampler=SincResamplerProvider(),
                contract=AudioPipelineContract(AudioFormat(48000), AudioFormat(8000)),
                debug_taps=taps,
            )
        )
        for _ in range(10):
            pipeline.process_frame(session(), tone(rate=48000))
            pipeline.process_outbound(session(), tone(rate=24000))
        await taps.settle()
        pipeline.on_session_ended(session())
        await taps.settle()
        names = sorted(path.name.partition("-")[2] for path in (tmp_path / "one").iterdir())
        assert names == [
            "denoiser-16000.wav",
            "inbound_raw-48000.wav",
            "outbound_final-8000.wav",
            "outbound_raw-24000.wav",
            "resampler-16000.wav",
        ]
        raw = next((tmp_path / "one").glob("*inbound_raw*"))
        with wave.open(str(raw), "rb") as file:
            assert file.getnframes() == 9600
        pipeline.close()

    def test_only_the_chosen_stages(self) -> None:
        """Others cost nothing."""
        tapped: list[str] = []

        class Listening(PipelineDebugTaps):
            def tap(self, session_id: str, stage: str, frame: AudioFrame) -> None:
                tapped.append(f"{session_id} {stage}")

        pipeline = AudioPipeline(
            AudioPipelineConfig(
                denoiser=MockDenoiserProvider(),
                debug_taps=Listening(stages=["denoiser"]),
            )
        )
        pipeline.process_frame(session(), tone())
        assert tapped == ["one denoiser"]
        pipeline.close()


class TestResampling:
    """Real resamplers in the pipeline."""

    @pytest.mark.parametrize("rate", [8000, 24000, 48000])
    def test_sessions_and_directions_do_not_share_a_stream(self, rate: int) -> None:
        """Two callers in turn hear what each hears alone, and so do both directions."""

        def run(turns: list[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
            pipeline = AudioPipeline(
                AudioPipelineConfig(
                    resampler=SincResamplerProvider(),
                    contract=AudioPipelineContract(AudioFormat(rate), AudioFormat(rate)),
                )
            )
            out: dict[tuple[str, str], bytes] = {}
            position: dict[tuple[str, str], int] = {}
            for name, way in turns:
                at = position.get((name, way), 0)
                given = tone(rate if way == "in" else 22050, 20, at)
                position[name, way] = at + len(given.data) // 2
                process = pipeline.process_frame if way == "in" else pipeline.process_outbound
                found = process(session(name), given)
                out[name, way] = out.get((name, way), b"") + found.data
            return out

        ways = [("one", "in"), ("two", "in"), ("one", "out"), ("two", "out")]
        together = run(ways * 5)
        for way in ways:
            assert together[way] == run([way] * 5)[way]
            assert together[way]


class TestRealStages:
    """A resampler and a detector that work, in one pipeline."""

    def test_an_utterance_comes_out_in_the_stages_format(self) -> None:
        """48 kHz stereo in, one utterance of 16 kHz mono out, of the right length."""
        pipeline = AudioPipeline(
            AudioPipelineConfig(vad=EnergyVADProvider(), resampler=SincResamplerProvider())
        )
        heard: list[bytes] = []
        pipeline.on_speech_end(lambda _, audio: heard.append(audio))
        one = session()
        hush = AudioFrame(data=bytes(48000 * 4 // 50), sample_rate=48000, channels=2)
        for _ in range(30):
            pipeline.process_frame(one, hush)
        for number in range(60):
            mono = tone(48000, 20, number * 960).data
            pairs = b"".join(mono[at : at + 2] * 2 for at in range(0, len(mono), 2))
            pipeline.process_frame(one, AudioFrame(pairs, sample_rate=48000, channels=2))
        for _ in range(60):
            pipeline.process_frame(one, hush)
        assert len(heard) == 1
        assert 1.2 <= len(heard[0]) / 32000 <= 2.4
        assert pipeline.speech_format(one) == AudioFormat(16000, 1, 2)
        assert pipeline.failures == {}
