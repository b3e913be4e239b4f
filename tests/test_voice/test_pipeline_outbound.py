"""What a pipeline does with sound that was cut, cancelled, or is wanted by others too."""

from __future__ import annotations

from typing import Any

from roomkit.voice.apm import AECProvider
from roomkit.voice.audio.resample import SincResamplerProvider
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import VoiceSession
from roomkit.voice.pipeline import (
    AudioFormat,
    AudioPipeline,
    AudioPipelineConfig,
    AudioPipelineContract,
    AudioPostProcessor,
    DenoiserProvider,
    MockVADProvider,
    VADEvent,
    VADEventType,
    VADProvider,
)
from roomkit.voice.recording import MockAudioRecorder, RecordingHandle
from roomkit.voice.vad import EnergyVADProvider
from tests.test_voice._signals import frames, power, silence, tone


def session(name: str = "one") -> VoiceSession:
    return VoiceSession(id=name, room_id="room", participant_id="bob", channel_id="voice")


class Echo(AECProvider):
    """Counts."""

    name = "echo"

    def __init__(self, made: list[Echo] | None = None) -> None:
        self.made = made
        self.cleared = 0

    def process(self, frame: AudioFrame) -> AudioFrame:
        return frame

    def feed_reference(self, frame: AudioFrame) -> None:
        return

    def clear_reference(self) -> None:
        self.cleared += 1

    def for_session(self) -> Any:
        mine = Echo()
        if self.made is not None:
            self.made.append(mine)
        return mine


class Cutting(MockAudioRecorder):
    """Notes what was cut; breaks when told."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__()
        self.cuts: list[str] = []
        self.broken = broken

    def cut_outbound(self, handle: RecordingHandle) -> None:
        self.cuts.append(handle.session_id)
        if self.broken:
            raise OSError


class Keeping(AudioPostProcessor):
    """Keeps what it is given."""

    name = "keeping"

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def process(self, frame: AudioFrame) -> AudioFrame:
        self.given.append(frame.data)
        return frame


class TestCancelling:
    """``cancel_outbound``."""

    def test_it_concerns_one_session(self) -> None:
        """Its canceller and its recording; others go on."""
        made: list[Echo] = []
        recorder = Cutting()
        pipeline = AudioPipeline(AudioPipelineConfig(aec=Echo(made), recorder=recorder))
        one, two = session("one"), session("two")
        for each in (one, two):
            pipeline.on_session_active(each)
        pipeline.cancel_outbound(one)
        assert [each.cleared for each in made] == [1, 0]
        assert recorder.cuts == ["one"]

    def test_unknown_and_ended_sessions_are_left_alone(self) -> None:
        """Nothing is begun for them."""
        recorder = Cutting()
        pipeline = AudioPipeline(AudioPipelineConfig(recorder=recorder))
        pipeline.cancel_outbound(session())
        pipeline.on_session_active(session())
        pipeline.on_session_ended(session())
        pipeline.cancel_outbound(session())
        assert recorder.cuts == []
        assert len(recorder.started) == 1

    def test_a_failure_goes_no_further(self) -> None:
        """The other stages are told all the same."""
        made: list[Echo] = []
        recorder = Cutting(broken=True)
        pipeline = AudioPipeline(AudioPipelineConfig(aec=Echo(made), recorder=recorder))
        pipeline.on_session_active(session())
        pipeline.cancel_outbound(session())
        assert (made[0].cleared, recorder.cuts) == (1, ["one"])

    def test_nothing_of_it_sounds_in_the_next(self) -> None:
        """The resampler's memory of the old sound is gone."""
        wire = AudioFormat(8000)
        pipeline = AudioPipeline(
            AudioPipelineConfig(
                resampler=SincResamplerProvider(), contract=AudioPipelineContract(wire, wire)
            )
        )
        one = session()
        for frame in frames(tone(1000, 200)):
            pipeline.process_outbound(one, frame)
        pipeline.cancel_outbound(one)
        hush = [pipeline.process_outbound(one, frame) for frame in frames(silence(200))]
        heard = b"".join(frame.data for frame in hush)
        assert heard
        assert power(heard, 1000, 8000) == 0


class TestTornSamples:
    """Outbound audio cut in the middle of a sample."""

    def test_half_a_sample_waits_for_the_next_frame(self) -> None:
        """A stage sees whole samples only, all of them."""
        keeping = Keeping()
        pipeline = AudioPipeline(AudioPipelineConfig(postprocessors=[keeping]))
        one, sound = session(), bytes(range(100))
        for start, end in ((0, 33), (33, 34), (34, 51), (51, 100)):
            pipeline.process_outbound(one, AudioFrame(sound[start:end]))
        assert b"".join(keeping.given) == sound
        assert {len(data) % 2 for data in keeping.given} == {0}

    def test_another_rate_begins_anew(self) -> None:
        """Half a sample of the old stream is nothing in the new one."""
        keeping = Keeping()
        pipeline = AudioPipeline(AudioPipelineConfig(postprocessors=[keeping]))
        one = session()
        pipeline.process_outbound(one, AudioFrame(b"\1\2\3", 16000))
        pipeline.process_outbound(one, AudioFrame(b"\4\5", 24000))
        assert keeping.given == [b"\1\2", b"\4\5"]

    def test_without_stages_it_passes_as_it_is(self) -> None:
        """The backend joins the pieces itself."""
        pipeline = AudioPipeline(AudioPipelineConfig(vad=MockVADProvider()))
        given = AudioFrame(b"\1\2\3")
        assert pipeline.process_outbound(session(), given) is given


class Half(DenoiserProvider):
    """Makes new, shorter frames."""

    name = "half"

    def process(self, frame: AudioFrame) -> AudioFrame:
        return AudioFrame(frame.data[: len(frame.data) // 2], frame.sample_rate)


class TestOnHeard:
    """What the VAD is about to judge."""

    def test_behind_the_denoiser_and_before_the_vad(self) -> None:
        """Every frame, in its order among what is found in it."""
        order: list[Any] = []
        vad = MockVADProvider([None, VADEvent(VADEventType.SPEECH_START)])
        pipeline = AudioPipeline(AudioPipelineConfig(denoiser=Half(), vad=vad))
        pipeline.on_heard(lambda _, frame: order.append(frame.data))
        pipeline.on_vad_event(lambda _, event: order.append(event.type))
        for data in (b"\1\0\2\0", b"\3\0\4\0"):
            pipeline.process_frame(session(), AudioFrame(data))
        assert order == [b"\1\0", b"\3\0", VADEventType.SPEECH_START]

    def test_without_a_vad_too(self) -> None:
        """A pipeline that only cleans hands its frames on all the same."""
        heard: list[bytes] = []
        pipeline = AudioPipeline(AudioPipelineConfig(denoiser=Half()))
        pipeline.on_heard(lambda _, frame: heard.append(frame.data))
        pipeline.process_frame(session(), AudioFrame(b"\1\0\2\0"))
        assert heard == [b"\1\0"]


class TestSpeechMs:
    """How long has been spoken."""

    def test_of_a_session_as_its_own_vad_knows_it(self) -> None:
        """Grows with speech, not with the silence behind it, and ends with the utterance."""
        pipeline = AudioPipeline(AudioPipelineConfig(vad=EnergyVADProvider()))
        one, two = session("one"), session("two")
        assert pipeline.speech_ms(one) is None
        for frame in frames(silence(100) + tone(300, 200)):
            pipeline.process_frame(one, frame)
            pipeline.process_frame(two, AudioFrame(bytes(640)))
        assert pipeline.speech_ms(one) == 200
        for frame in frames(silence(400)):
            pipeline.process_frame(one, frame)
        assert (pipeline.speech_ms(one), pipeline.speech_ms(two)) == (200, None)
        for frame in frames(silence(200)):
            pipeline.process_frame(one, frame)
        assert pipeline.speech_ms(one) is None

    def test_a_vad_that_does_not_know(self) -> None:
        """One of 0.3.2, without the property, or with nonsense in it."""

        class Old(VADProvider):
            name = "old"
            speech_ms: Any = "long"

            def process(self, frame: AudioFrame) -> VADEvent | None:
                return VADEvent(VADEventType.SPEECH_START)

        for vad in (Old(), MockVADProvider([VADEvent(VADEventType.SPEECH_START)])):
            pipeline = AudioPipeline(AudioPipelineConfig(vad=vad))
            pipeline.process_frame(session(), AudioFrame(bytes(640)))
            assert pipeline.speech_ms(session()) is None
