"""Utterances, and speech by loudness."""

from __future__ import annotations

import math

import pytest

from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.pipeline.vad_provider import VADConfig, VADEvent, VADEventType, VADProvider
from roomkit.voice.vad import EnergyVADProvider
from tests.test_voice._signals import frames, mixed, noise, silence, speech, tone

START, END = VADEventType.SPEECH_START, VADEventType.SPEECH_END


def run(vad: VADProvider, pcm: bytes, rate: int = 16000) -> list[tuple[int, VADEvent]]:
    """Return each event with the index of its frame of 20 ms."""
    heard = ((i, vad.process(frame)) for i, frame in enumerate(frames(pcm, rate=rate)))
    return [(i, event) for i, event in heard if event is not None]


def kinds(events: list[tuple[int, VADEvent]]) -> list[VADEventType]:
    return [event.type for _, event in events]


class TestUtterances:
    def test_one_utterance(self) -> None:
        """Start with the first loud frame; end after the silence, padded on both sides."""
        loud = tone(300, 400)
        events = run(EnergyVADProvider(), silence(1000) + loud + silence(1000))
        assert kinds(events) == [START, END]
        (first, start), (last, end) = events
        assert (first, start.confidence, start.audio_bytes) == (50, 1.0, None)
        assert last == 50 + 20 + 25 - 1
        assert end.audio_bytes == silence(300) + loud + silence(300)
        assert end.duration_ms == 400

    def test_pause_inside(self) -> None:
        """A pause shorter than the threshold belongs to the utterance."""
        pcm = tone(300, 300) + silence(400) + tone(300, 300) + silence(600)
        events = run(EnergyVADProvider(), pcm)
        assert kinds(events) == [START, END]
        assert events[1][1].duration_ms == 1000

    def test_too_short_ends_without_audio(self) -> None:
        """A click starts and ends, but is no utterance; its silence does not count."""
        pcm = silence(500) + tone(300, 100) + silence(1000) + tone(300, 300) + silence(600)
        events = run(EnergyVADProvider(), pcm)
        assert kinds(events) == [START, END, START, END]
        assert events[1][1].audio_bytes is None
        assert events[3][1].audio_bytes == silence(300) + tone(300, 300) + silence(300)

    def test_too_short_is_reported_with_its_length(self) -> None:
        """Every start has its end; how long the sound was is told."""
        events = run(EnergyVADProvider(), tone(300, 100) + silence(600))
        assert kinds(events) == [START, END]
        assert events[1][1].audio_bytes is None
        assert events[1][1].duration_ms == 100

    def test_too_short_can_be_left_out(self) -> None:
        """Without report_dropped a start may have no end."""
        events = run(EnergyVADProvider(report_dropped=False), tone(300, 100) + silence(600))
        assert kinds(events) == [START]

    def test_longest_utterance(self) -> None:
        """Endless speech is cut, each piece whole and none of it twice."""
        sound = tone(300, 5000)
        events = run(
            EnergyVADProvider(max_utterance_ms=2000, adaptive=False), sound + silence(600)
        )
        assert kinds(events) == [START, END, START, END, START, END]
        pieces = [event.audio_bytes or b"" for _, event in events if event.type == END]
        assert b"".join(pieces).startswith(sound)
        assert [len(piece) // 32 for piece in pieces] == [2000, 2000, 1300]

    def test_no_padding(self) -> None:
        """speech_pad_ms=0 keeps the speech alone."""
        events = run(
            EnergyVADProvider(speech_pad_ms=0), silence(200) + tone(300, 300) + silence(600)
        )
        assert events[1][1].audio_bytes == tone(300, 300)

    @pytest.mark.parametrize(("rate", "channels", "width"), [(8000, 1, 2), (48000, 2, 2)])
    def test_frames_own_format(self, rate: int, channels: int, width: int) -> None:
        """The pre-roll is measured at the frames' own rate; audio keeps their format."""
        vad = EnergyVADProvider()
        block = rate // 50 * channels * width
        quiet, loud = bytes(block), b"\x00\x20\x00\xe0" * (block // 4)
        out = [
            event
            for data in [quiet] * 50 + [loud] * 20 + [quiet] * 30
            if (event := vad.process(AudioFrame(data, rate, channels, width)))
        ]
        assert out[1].audio_bytes == quiet * 15 + loud * 20 + quiet * 15

    def test_rate_changes_while_speaking(self) -> None:
        """An utterance whose frames change their rate comes out at the last one."""
        vad = EnergyVADProvider(speech_pad_ms=0)
        run(vad, tone(300, 400, rate=8000), 8000)
        events = run(vad, tone(300, 400) + silence(600))
        assert kinds(events) == [END]
        assert len(events[0][1].audio_bytes or b"") == 2 * 16 * 800

    def test_empty_frame(self) -> None:
        """A frame without audio is nothing."""
        assert EnergyVADProvider().process(AudioFrame(b"")) is None


class TestOtherEvents:
    def test_levels(self) -> None:
        """Levels come as often as asked, and never instead of start or end."""
        vad = EnergyVADProvider(level_interval_ms=100)
        events = run(vad, silence(400) + tone(300, 400, amplitude=16384) + silence(700))
        levels = [(i, e) for i, e in events if e.type == VADEventType.AUDIO_LEVEL]
        assert kinds(events).count(START) == kinds(events).count(END) == 1
        assert 12 <= len(levels) <= 15
        quiet, loud = levels[0][1], levels[5][1]
        assert (quiet.level_db, quiet.confidence) == (-96.0, 0.0)
        assert loud.level_db == pytest.approx(-9.03, abs=0.3)
        assert loud.confidence == 1.0
        assert len({i for i, _ in events}) == len(events)

    def test_silence(self) -> None:
        """Silence is reported while nobody speaks, with how long it has lasted."""
        vad = EnergyVADProvider(silence_interval_ms=1000)
        events = run(vad, silence(2000) + tone(300, 400) + silence(1600))
        told = [round(e.duration_ms or 0) for _, e in events if e.type == VADEventType.SILENCE]
        assert told == [1000, 2000, 1500]

    def test_off_by_default(self) -> None:
        """Neither comes unasked."""
        assert run(EnergyVADProvider(), silence(3000)) == []


class TestNoise:
    def test_steady_noise_is_learned(self) -> None:
        """Loud noise is speech at first and noise after some seconds; speech stands out."""
        vad = EnergyVADProvider(energy_threshold=200)
        run(vad, noise(6000, rms=400, seed=2))
        assert not vad.speaking
        assert run(vad, noise(2000, rms=400, seed=3)) == []
        events = run(
            vad, mixed(noise(2500, rms=400, seed=4), silence(500) + speech(1200) + silence(800))
        )
        assert kinds(events) == [START, END]
        assert 23 <= events[0][0] <= 32

    def test_without_adaptation(self) -> None:
        """adaptive=False takes loudness alone."""
        vad = EnergyVADProvider(energy_threshold=200, adaptive=False)
        run(vad, noise(6000, rms=400))
        assert vad.speaking


class TestSettings:
    def test_pipeline_configuration(self) -> None:
        """A pipeline's VADConfig is taken over, also rules in extra; a bad one changes nothing."""
        vad = EnergyVADProvider()
        vad.configure(VADConfig(200, 0, 50, {"report_dropped": False, "unknown": 1}))
        assert vad.rules.silence_threshold_ms == 200
        assert not vad.rules.report_dropped
        with pytest.raises(InvalidInputError, match="silence_threshold_ms"):
            vad.configure(VADConfig(silence_threshold_ms=-1))
        events = run(vad, tone(300, 60) + silence(220))
        assert [(i, e.type) for i, e in events] == [(0, START), (12, END)]

    def test_sessions_are_apart(self) -> None:
        """Two callers interleaved hear the same as each alone; settings are kept."""
        given = EnergyVADProvider(energy_threshold=500, silence_threshold_ms=200)
        one, two = given.for_session(), given.for_session()
        speaks = tone(300, 400) + silence(400)
        events: list[list[VADEvent]] = [[], []]
        for a, b in zip(frames(speaks), frames(silence(800)), strict=True):
            for place, (vad, frame) in enumerate(((one, a), (two, b))):
                if (event := vad.process(frame)) is not None:
                    events[place].append(event)
        assert events[0] == [event for _, event in run(given.for_session(), speaks)]
        assert [event.type for event in events[0]] == [START, END]
        assert events[1] == []
        assert one.rules == given.rules

    def test_reset(self) -> None:
        """A reset drops the open utterance and the noise."""
        vad = EnergyVADProvider()
        run(vad, tone(300, 1000))
        vad.reset()
        assert not vad.speaking
        assert kinds(run(vad, tone(300, 300) + silence(600))) == [START, END]

    @pytest.mark.parametrize(
        "bad",
        [
            {"energy_threshold": 0},
            {"silence_threshold_ms": 0},
            {"min_speech_duration_ms": -1},
            {"max_utterance_ms": 10},
            {"speech_pad_ms": math.nan},
            {"level_interval_ms": "often"},
        ],
    )
    def test_refused(self, bad: dict[str, object]) -> None:
        """Values that cannot work are refused by their name."""
        with pytest.raises(InvalidInputError, match=next(iter(bad))):
            EnergyVADProvider(**bad)  # type: ignore[arg-type]
