"""Echo, noise, loudness."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from roomkit.exceptions import InvalidInputError, MissingDependencyError
from roomkit.voice.agc import LevelAGCProvider, MockAECProvider, MockAGCProvider
from roomkit.voice.apm import (
    AGCConfig,
    WebRTCEchoCanceller,
    WebRTCGainController,
    WebRTCNoiseSuppressor,
)
from roomkit.voice.audio import level_dbfs, peak_pcm16, read_samples, write_samples
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.vad import EnergyVADProvider
from tests.test_voice._signals import frames, noise, silence, speech, tone

NEEDING = [WebRTCEchoCanceller, WebRTCNoiseSuppressor, WebRTCGainController]


@pytest.fixture
def webrtc() -> None:
    pytest.importorskip("pywebrtc_audio")


def run(stage: Any, pcm: bytes, *, rate: int = 16000, ms: float = 20) -> bytes:
    """Return what a stage makes of a sound; each frame keeps its length."""
    out = b""
    for frame in frames(pcm, rate=rate, ms=ms):
        done = stage.process(frame)
        assert len(done.data) == len(frame.data)
        assert done.timestamp_ms == frame.timestamp_ms
        out += done.data
    return out


def echo_of(pcm: bytes, ms: float, rate: int = 16000) -> bytes:
    quiet = [round(0.4 * value) for value in read_samples(pcm)]
    return (silence(ms, rate=rate) + write_samples(quiet))[: len(pcm)]


@pytest.mark.usefixtures("webrtc")
class TestEcho:
    @pytest.mark.parametrize(("rate", "ms"), [(16000, 20), (16000, 32), (8000, 20)])
    def test_echo_goes(self, rate: int, ms: float) -> None:
        """After two seconds the echo is at least 15 dB lower, at any frame size."""
        played = speech(4000, rate=rate, seed=3)
        heard = echo_of(played, 40, rate)
        stage = WebRTCEchoCanceller()
        for frame in frames(played, rate=rate, ms=ms):
            stage.feed_reference(frame)
        out = run(stage, heard, rate=rate, ms=ms)
        half = len(out) // 2
        assert level_dbfs(out[half:]) < level_dbfs(heard[half:]) - 15

    def test_echo_is_not_taken_for_speech(self) -> None:
        """A detector that hears its own reply without the canceller stays silent with it."""
        played = speech(6000, seed=3)
        heard = echo_of(played, 40)
        stage, learning = WebRTCEchoCanceller(), 3000 * 32
        for frame in frames(played):
            stage.feed_reference(frame)
        out = run(stage, heard)
        with_echo, without = EnergyVADProvider(), EnergyVADProvider()
        loud = [with_echo.process(frame) for frame in frames(heard[learning:])]
        quiet = [without.process(frame) for frame in frames(out[learning:])]
        assert any(loud)
        assert not any(quiet)

    def test_person_stays(self) -> None:
        """Who speaks while nothing is played is heard."""
        said = speech(2000)
        assert level_dbfs(run(WebRTCEchoCanceller(), said)) > level_dbfs(said) - 3

    def test_reference_of_another_rate(self) -> None:
        """What is played at 24 kHz cancels what is heard at 16."""
        played = speech(4000, rate=24000, seed=3)
        heard = echo_of(speech(4000, rate=16000, seed=3), 40)
        stage = WebRTCEchoCanceller(stream_delay_ms=40)
        for frame in frames(played, rate=24000):
            stage.feed_reference(frame)
        assert stage.reference_ms == pytest.approx(4000)
        run(stage, heard[:32000])
        assert stage.reference_ms == pytest.approx(3000, abs=2)
        stage.clear_reference()
        assert stage.reference_ms == 0

    def test_reference_is_bounded(self) -> None:
        """At most two minutes wait to be heard."""
        stage = WebRTCEchoCanceller()
        for _ in range(14):
            stage.feed_reference(AudioFrame(bytes(2 * 8000 * 10), 8000))
        assert stage.reference_ms == 120_000
        stage.process(AudioFrame(silence(20), 16000))
        for _ in range(14):
            stage.feed_reference(AudioFrame(bytes(2 * 8000 * 10), 8000))
        assert stage.reference_ms <= 130_000


@pytest.mark.usefixtures("webrtc")
class TestNoiseAndGain:
    def test_noise_goes(self) -> None:
        """Steady noise gets at least 10 dB lower."""
        hiss = noise(3000, rms=500)
        out = run(WebRTCNoiseSuppressor(), hiss)
        assert level_dbfs(out[-32000:]) < level_dbfs(hiss) - 10

    def test_speech_stays(self) -> None:
        """Speech without noise keeps its loudness."""
        said = speech(2000)
        assert level_dbfs(run(WebRTCNoiseSuppressor(level=1), said)) > level_dbfs(said) - 3

    def test_quiet_speech_gets_louder(self) -> None:
        """The gain rises over quiet speech, and a reset forgets it."""
        stage = WebRTCGainController(AGCConfig(max_gain_db=20))
        said = speech(5000, amplitude=600)
        out = run(stage, said)
        assert level_dbfs(out[-32000:]) > level_dbfs(said[-32000:]) + 3
        assert 3 < stage.gain_db <= 20
        stage.reset()
        assert stage.gain_db == 0.0


@pytest.mark.usefixtures("webrtc")
class TestWebRTCStages:
    @pytest.mark.parametrize("make", NEEDING)
    def test_life(self, make: Any) -> None:
        """Sessions are apart, empty frames pass, close is idempotent, metadata is kept."""
        pcm = speech(600)
        alone = run(make(), pcm)
        given = make()
        one, two = given.for_session(), given.for_session()
        out = b""
        for a, b in zip(frames(pcm), frames(noise(600)), strict=True):
            out += one.process(a).data
            two.process(b)
        assert out == alone
        empty = AudioFrame(b"")
        assert one.process(empty) is empty
        frame = AudioFrame(silence(20), metadata={"a": 1})
        assert one.process(frame).metadata == {"a": 1}
        one.close()
        one.close()
        assert one.name.startswith("webrtc_")

    @pytest.mark.parametrize("make", NEEDING)
    def test_formats(self, make: Any) -> None:
        """Stereo of 24 bits keeps its format; what WebRTC cannot do is refused."""
        out = make().process(AudioFrame(bytes(320 * 2 * 3), 16000, 2, 3))
        assert (len(out.data), out.channels, out.sample_width) == (320 * 2 * 3, 2, 3)
        with pytest.raises(InvalidInputError, match="mono or stereo"):
            make().process(AudioFrame(bytes(960), 16000, 3))

    @pytest.mark.parametrize("make", NEEDING)
    @pytest.mark.parametrize("rate", [4000, 8000, 11025, 22050, 24000, 32000, 44100, 48000, 96000])
    def test_rates(self, make: Any, rate: int) -> None:
        """Rates that are not WebRTC's are converted there and back, frame by frame."""
        said = speech(400, rate=rate)
        assert len(run(make(), said, rate=rate)) == len(said)

    def test_settings(self) -> None:
        """Settings out of range are refused by name."""
        with pytest.raises(InvalidInputError, match="level"):
            WebRTCNoiseSuppressor(level=4)
        with pytest.raises(InvalidInputError, match="stream_delay_ms"):
            WebRTCEchoCanceller(stream_delay_ms=-1)


class TestWithoutThePackage:
    @pytest.mark.parametrize("make", NEEDING)
    def test_missing(self, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """The constructor says what to install."""
        monkeypatch.setitem(sys.modules, "pywebrtc_audio", None)
        with pytest.raises(MissingDependencyError, match=rf"{make.__name__}.*roomkit\[apm\]"):
            make()


class TestLevelAGC:
    def test_quiet_and_loud_meet(self) -> None:
        """Quiet speech is raised and loud speech lowered to the same level."""
        config = AGCConfig(target_level_dbfs=-12, max_gain_db=30)
        quiet = run(LevelAGCProvider(config), tone(300, 1000, amplitude=500))
        loud = run(LevelAGCProvider(config), tone(300, 1000, amplitude=30000))
        want = 32768 * 10 ** (-12 / 20)
        assert peak_pcm16(quiet[-6400:]) == pytest.approx(want, rel=0.05)
        assert peak_pcm16(loud[-6400:]) == pytest.approx(want, rel=0.05)

    def test_most(self) -> None:
        """Nothing is raised by more than the most."""
        stage = LevelAGCProvider(AGCConfig(max_gain_db=6))
        run(stage, tone(300, 2000, amplitude=400))
        assert stage.gain_db == pytest.approx(6, abs=0.1)

    def test_pauses_do_not_count(self) -> None:
        """A pause changes nothing, so its hiss is not blown up."""
        stage = LevelAGCProvider()
        run(stage, tone(300, 500, amplitude=3000))
        before = stage.gain_db
        run(stage, noise(500, rms=10))
        assert stage.gain_db == before

    def test_attack_is_faster_than_release(self) -> None:
        """It is lowered at once and raised slowly."""
        stage = LevelAGCProvider(AGCConfig(attack_ms=10, release_ms=1000))
        run(stage, tone(300, 3000, amplitude=1000))
        high = stage.gain_db
        run(stage, tone(300, 60, amplitude=20000))
        low = stage.gain_db
        run(stage, tone(300, 60, amplitude=1000))
        assert high - low > 10
        assert stage.gain_db - low < 12

    def test_life(self) -> None:
        """Empty frames pass; sessions and resets begin at no gain; other widths are kept."""
        stage = LevelAGCProvider()
        empty = AudioFrame(b"")
        assert stage.process(empty) is empty
        run(stage, tone(300, 500, amplitude=500))
        assert stage.for_session().gain_db == 0.0
        stage.reset()
        assert stage.gain_db == 0.0
        out = stage.process(AudioFrame(bytes(960), 8000, 2, 3))
        assert (len(out.data), out.sample_width, stage.name) == (960, 3, "level")

    @pytest.mark.parametrize(
        "bad",
        [{"target_level_dbfs": 3}, {"max_gain_db": -1}, {"attack_ms": 0}, {"release_ms": -5}],
    )
    def test_refused(self, bad: dict[str, float]) -> None:
        """Levels and times that cannot be are refused by name."""
        with pytest.raises(InvalidInputError, match=next(iter(bad))):
            AGCConfig(**bad)


def test_mocks() -> None:
    """The mocks give frames back and write down what they saw."""
    frame, played = AudioFrame(b"\x01\x00"), AudioFrame(b"\x02\x00")
    aec, agc = MockAECProvider(), MockAGCProvider()
    aec.feed_reference(played)
    aec.clear_reference()
    assert aec.process(frame) is frame
    assert agc.process(frame) is frame
    for mock in (aec, agc):
        mock.reset()
        mock.close()
        assert (mock.frames, mock.reset_count, mock.closed) == ([frame], 1, True)
        assert mock.for_session() is mock
        assert mock.name == type(mock).__name__
    assert aec.references == [played]
