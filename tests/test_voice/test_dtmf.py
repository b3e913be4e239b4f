"""Telephone keys."""

from __future__ import annotations

import pytest

from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import VoiceSession
from roomkit.voice.dtmf import (
    DTMFDetectedEvent,
    DTMFDetector,
    DTMFEvent,
    GoertzelDTMFDetector,
    MockDTMFDetector,
)
from tests.test_voice._signals import frames, mixed, noise, silence, speech, tone

ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
KEYS = "123A456B789C*0#D"


def key(digit: str, ms: float, *, rate: int = 8000, off: float = 0.0, twist: float = 1.0) -> bytes:
    place = KEYS.index(digit)
    low, high = ROWS[place // 4] * (1 + off), COLUMNS[place % 4] * (1 + off)
    return mixed(
        tone(low, ms, rate=rate, amplitude=5000),
        tone(high, ms, rate=rate, amplitude=5000 * twist),
    )


def around(sound: bytes, rate: int = 8000, lead: float = 43) -> bytes:
    return silence(lead, rate=rate) + sound + silence(80, rate=rate)


def run(pcm: bytes, rate: int = 8000, ms: float = 20) -> list[DTMFEvent]:
    detector = GoertzelDTMFDetector()
    heard = (detector.process(frame) for frame in frames(pcm, rate=rate, ms=ms))
    return [event for event in heard if event is not None]


class TestKeys:
    @pytest.mark.parametrize("rate", [8000, 11025, 16000, 24000, 48000])
    def test_all_sixteen(self, rate: int) -> None:
        """Every key is heard once, in order, with its duration, at every rate."""
        pcm = b"".join(around(key(digit, 60, rate=rate), rate, 50) for digit in KEYS)
        events = run(pcm, rate)
        assert "".join(event.digit for event in events) == KEYS
        assert all(event.duration_ms == pytest.approx(60, abs=15) for event in events)
        assert all(event.confidence > 0.8 for event in events)

    @pytest.mark.parametrize("ms", [10, 32, 100])
    def test_frame_size_does_not_matter(self, ms: float) -> None:
        """Frames of any size give the same keys."""
        pcm = around(key("7", 80)) + around(key("7", 80))
        assert [event.digit for event in run(pcm, ms=ms)] == ["7", "7"]

    def test_several_keys_in_one_frame(self) -> None:
        """One event a frame: the second key follows with the next frame."""
        detector = GoertzelDTMFDetector()
        both = AudioFrame(around(key("1", 60)) + around(key("2", 60)), 8000)
        first, second = detector.process(both), detector.process(AudioFrame(b"", 8000))
        assert (first.digit, second.digit) == ("1", "2")  # type: ignore[union-attr]
        assert detector.process(AudioFrame(b"", 8000)) is None

    def test_held_key(self) -> None:
        """A key held for long is told once, after two seconds."""
        events = run(key("5", 3000) + silence(100, rate=8000))
        assert [(event.digit, event.duration_ms) for event in events] == [("5", 2000)]

    def test_stereo_of_24_bits(self) -> None:
        """Other widths and channels are understood."""
        pcm = around(key("9", 60))
        wide = b"".join(2 * (b"\x00" + pcm[i : i + 2]) for i in range(0, len(pcm), 2))
        detector = GoertzelDTMFDetector()
        heard = [detector.process(f) for f in frames(wide, rate=8000, channels=2, width=3)]
        assert [event.digit for event in heard if event] == ["9"]


class TestTolerances:
    @pytest.mark.parametrize("digit", list("1D0#"))
    @pytest.mark.parametrize("off", [-0.015, 0.015])
    def test_off_by_one_and_a_half_percent(self, digit: str, off: float) -> None:
        """Tones 1.5 % off are accepted."""
        assert [event.digit for event in run(around(key(digit, 50, off=off)))] == [digit]

    @pytest.mark.parametrize("off", [-0.035, 0.035])
    def test_off_by_three_and_a_half_percent(self, off: float) -> None:
        """Tones 3.5 % off are refused."""
        assert run(around(key("5", 60, off=off))) == []

    @pytest.mark.parametrize("lead", [40, 42, 45, 47])
    def test_lengths(self, lead: float) -> None:
        """40 ms are a key wherever they begin; 18 ms are none."""
        assert [event.digit for event in run(around(key("8", 40), lead=lead))] == ["8"]
        assert run(around(key("8", 18), lead=lead)) == []

    @pytest.mark.parametrize("twist", [0.45, 2.2])
    def test_twist(self, twist: float) -> None:
        """One tone may be 7 dB louder than the other."""
        assert [event.digit for event in run(around(key("6", 60, twist=twist)))] == ["6"]

    def test_noise(self) -> None:
        """Noise 15 dB below does not hide a key."""
        pcm = around(key("3", 60))
        loud = noise(1000 * len(pcm) / 16000, rate=8000, rms=900)
        assert [event.digit for event in run(mixed(pcm, loud))] == ["3"]

    def test_no_talk_off(self) -> None:
        """Speech, noise, single tones and silence are no keys."""
        for sound in (
            speech(4000, rate=8000),
            noise(3000, rate=8000, rms=4000),
            tone(697, 300, rate=8000),
            tone([440, 480], 500, rate=8000),
            silence(500, rate=8000),
        ):
            assert run(sound) == []


class TestLife:
    def test_sessions_are_apart(self) -> None:
        """Two callers pressing keys at once are heard apart."""
        given = GoertzelDTMFDetector(min_level_dbfs=-40, min_duration_ms=40)
        one, two = given.for_session(), given.for_session()
        heard: tuple[list[str], list[str]] = ([], [])
        pairs = zip(
            frames(around(key("1", 60)), rate=8000),
            frames(around(key("2", 60)), rate=8000),
            strict=True,
        )
        for a, b in pairs:
            for detector, frame, digits in ((one, a, heard[0]), (two, b, heard[1])):
                if (event := detector.process(frame)) is not None:
                    digits.append(event.digit)
        assert heard == (["1"], ["2"])

    def test_reset(self) -> None:
        """A key cut by a reset is not told."""
        detector = GoertzelDTMFDetector()
        detector.process(AudioFrame(key("4", 100), 8000))
        detector.reset()
        assert detector.process(AudioFrame(silence(100, rate=8000), 8000)) is None

    def test_refusals(self) -> None:
        """Impossible settings and rates are refused by name."""
        with pytest.raises(InvalidInputError, match="min_level_dbfs"):
            GoertzelDTMFDetector(min_level_dbfs=3)
        with pytest.raises(InvalidInputError, match="min_duration_ms"):
            GoertzelDTMFDetector(min_duration_ms=1)
        with pytest.raises(InvalidInputError, match="2000 Hz"):
            GoertzelDTMFDetector().process(AudioFrame(bytes(100), 2000))

    def test_mock(self) -> None:
        """The mock follows its script and begins again after a reset."""
        pressed = DTMFEvent("5", 80.0)
        mock: MockDTMFDetector = MockDTMFDetector([None, pressed])
        frame = AudioFrame(b"\x00\x00")
        assert [mock.process(frame) for _ in range(3)] == [None, pressed, None]
        mock.reset()
        assert mock.process(frame) is None
        mock.close()
        assert (len(mock.frames), mock.reset_count, mock.closed) == (4, 1, True)
        assert isinstance(mock, DTMFDetector)

    def test_keys_stay_out_of_logs(self) -> None:
        """A pressed key may be part of a card number: no repr shows it."""
        session = VoiceSession("s", "r", "p", "c")
        assert "'7'" not in repr(DTMFEvent("7", 80.0))
        assert "'7'" not in repr(DTMFDetectedEvent(session, "7", 80.0))
