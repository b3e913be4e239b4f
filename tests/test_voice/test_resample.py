"""Changing rates: in tune, in place, without seams."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio import (
    LinearResamplerProvider,
    MockResamplerProvider,
    ResamplerProvider,
    SincResamplerProvider,
    read_samples,
    resample_pcm16,
    write_samples,
)
from roomkit.voice.audio_frame import AudioFrame
from tests.test_voice._signals import frames, power, tone

RATES = [(8000, 16000), (16000, 8000), (48000, 16000), (22050, 24000), (44100, 16000)]


def run(stage: ResamplerProvider, pcm: bytes, source: int, target: int, ms: float = 20) -> bytes:
    return b"".join(
        stage.resample(frame, target).data for frame in frames(pcm, rate=source, ms=ms)
    )


def roughness(pcm: bytes) -> int:
    """Return the largest second difference: a click shows there first."""
    values = read_samples(pcm).tolist()
    steps = [b - a for a, b in pairwise(values)]
    return max(abs(b - a) for a, b in pairwise(steps))


class TestWholeClips:
    @pytest.mark.parametrize(("source", "target"), RATES)
    def test_in_tune_and_in_place(self, source: int, target: int) -> None:
        """A tone comes out as the same tone, sample by sample where it belongs."""
        got = read_samples(resample_pcm16(tone(440, 200, rate=source), source, target))
        want = read_samples(tone(440, 200, rate=target))
        assert len(got) == len(want)
        edge = target // 100
        assert max(abs(a - b) for a, b in zip(got[edge:-edge], want[edge:-edge])) <= 2  # noqa: B905

    @given(
        count=st.integers(0, 300),
        source=st.sampled_from([8000, 11025, 16000, 24000, 44100, 48000]),
        target=st.sampled_from([8000, 11025, 16000, 24000, 44100, 48000]),
    )
    @settings(max_examples=40, deadline=None)
    def test_exact_length(self, count: int, source: int, target: int) -> None:
        """So many samples come out as the rates say, rounded up."""
        out = resample_pcm16(bytes(2 * count), source, target)
        assert len(out) == 2 * math.ceil(count * target / source)

    def test_nothing_folds_back(self) -> None:
        """A tone the lower rate cannot carry vanishes instead of becoming another one."""
        high = tone(6000, 200, rate=16000)
        assert power(resample_pcm16(high, 16000, 8000), 2000, 8000) < 40
        folded = run(LinearResamplerProvider(), high, 16000, 8000)
        assert power(folded, 2000, 8000) > 1000

    def test_constant_stays(self) -> None:
        """A constant comes out unchanged at every phase."""
        out = read_samples(resample_pcm16(write_samples([5000] * 2000), 44100, 16000))
        assert set(out[100:-100]) == {5000}

    def test_stereo(self) -> None:
        """Channels stay apart."""
        left, right = tone(500, 100), tone(900, 100)
        woven = bytearray(2 * len(left))
        for byte in (0, 1):
            woven[byte::4], woven[byte + 2 :: 4] = left[byte::2], right[byte::2]
        out = resample_pcm16(bytes(woven), 16000, 8000, channels=2)
        alone = resample_pcm16(left, 16000, 8000)
        assert out[0::4] == alone[0::2]
        assert out[1::4] == alone[1::2]

    def test_loud_is_cut_not_wrapped(self) -> None:
        """Overshoot of a full-scale square stays at full scale."""
        square = write_samples([32767 if i // 20 % 2 else -32768 for i in range(2000)])
        out = read_samples(resample_pcm16(square, 16000, 24000))
        assert all(value > 20000 for value in out[35:50]) or all(v < -20000 for v in out[35:50])
        assert max(out) == 32767


class TestStreams:
    @pytest.mark.parametrize("stage", [SincResamplerProvider, LinearResamplerProvider])
    @pytest.mark.parametrize(("source", "target"), RATES)
    def test_every_frame_keeps_its_length(self, stage, source: int, target: int) -> None:
        """From the first frame on there is as much sound out as in."""
        made, heard, given = stage(), 0, 0
        for frame in frames(tone(440, 200, rate=source), rate=source):
            heard += len(made.resample(frame, target).data) // 2
            given += len(frame.data) // 2
            assert heard == math.ceil(given * target / source)

    @pytest.mark.parametrize(("source", "target"), RATES)
    def test_chunking_changes_nothing(self, source: int, target: int) -> None:
        """Frames of 3 ms, of 20 ms and the whole give the same bytes: no seams."""
        pcm = tone([440, 1234], 120, rate=source, amplitude=7000)
        whole = SincResamplerProvider().resample(AudioFrame(pcm, source), target).data
        for ms in (3, 20):
            assert run(SincResamplerProvider(), pcm, source, target, ms) == whole

    def test_torn_samples(self) -> None:
        """Frames cut in the middle of a sample do no harm."""
        pcm = tone(440, 100, rate=8000)
        stage, out = SincResamplerProvider(), b""
        for start in range(0, len(pcm), 33):
            out += stage.resample(AudioFrame(pcm[start : start + 33], 8000), 16000).data
        assert out == run(SincResamplerProvider(), pcm, 8000, 16000)

    def test_flush_brings_the_end(self) -> None:
        """What the filter holds back comes with flush, and a new stream begins."""
        pcm = tone(440, 100, rate=8000)
        stage = SincResamplerProvider()
        out = run(stage, pcm, 8000, 16000) + stage.flush()
        whole = resample_pcm16(pcm, 8000, 16000)
        assert out.endswith(whole[200:])
        assert stage.flush() == b""
        assert run(stage, pcm, 8000, 16000) == run(SincResamplerProvider(), pcm, 8000, 16000)

    @pytest.mark.parametrize("stage", [SincResamplerProvider, LinearResamplerProvider])
    @pytest.mark.parametrize("plan", [(8000, 48000), (16000, 8000, 16000), (24000, 16000)])
    def test_rate_changes_in_mid_stream(self, stage, plan: tuple[int, ...]) -> None:
        """A source that changes its rate goes on without a gap or a click."""
        made, out, at = stage(), b"", 0.0
        for rate in plan:
            for _ in range(5):
                count = rate // 50
                values = [
                    round(8000 * math.sin(math.tau * 300 * (at + i / rate))) for i in range(count)
                ]
                out += made.resample(AudioFrame(write_samples(values), rate), 16000).data
                at += count / rate
        if isinstance(made, SincResamplerProvider):
            out += made.flush()
        assert abs(len(out) / 32000 - at) < 0.006
        # A 300 Hz sine of 8000 bends by 111 a sample; a jump would show as thousands.
        assert roughness(out[200:-200]) < 500

    def test_numpy_changes_nothing(self) -> None:
        """With numpy the same samples come out, to the last bit."""
        pytest.importorskip("numpy")
        for source, target in [*RATES, (44101, 16000)]:
            pcm = tone([440, 1234], 150, rate=source, amplitude=14000)
            plain = run(SincResamplerProvider(accelerate=False), pcm, source, target)
            assert run(SincResamplerProvider(), pcm, source, target) == plain

    def test_sessions_do_not_mix(self) -> None:
        """Two sessions' streams, frame by frame in turn, sound as each alone."""
        given = SincResamplerProvider()
        one, two = given.for_session(), given.for_session()
        low, high = tone(300, 100, rate=8000), tone(700, 100, rate=8000)
        outs = [b"", b""]
        for a, b in zip(frames(low, rate=8000), frames(high, rate=8000), strict=True):
            outs[0] += one.resample(a, 16000).data
            outs[1] += two.resample(b, 16000).data
        assert outs[0] == run(SincResamplerProvider(), low, 8000, 16000)
        assert outs[1] == run(SincResamplerProvider(), high, 8000, 16000)


class TestFrames:
    def test_unchanged_frame(self) -> None:
        """A frame already in the wanted format is handed back itself."""
        frame = AudioFrame(tone(440, 20), 16000)
        assert SincResamplerProvider().resample(frame, 16000, 1, 2) is frame

    def test_labels(self) -> None:
        """A changed frame keeps its time and metadata and says what it was."""
        frame = AudioFrame(bytes(3 * 2 * 960), 48000, 2, 3, 40.0, {"a": 1})
        out = SincResamplerProvider().resample(frame, 16000, 1, 2)
        assert (out.sample_rate, out.channels, out.sample_width) == (16000, 1, 2)
        assert out.timestamp_ms == 40.0
        assert out.metadata == {"a": 1, "original_sample_rate": 48000, "original_channels": 2}
        assert frame.metadata == {"a": 1}
        assert out.duration_ms == 20.0

    def test_only_width_and_channels(self) -> None:
        """At the same rate only the wrapping changes."""
        frame = AudioFrame(write_samples([100, 300], 2), 16000, 2, 2)
        out = LinearResamplerProvider().resample(frame, 16000, 1, 4)
        assert read_samples(out.data, 4).tolist() == [200]

    def test_refusals(self) -> None:
        """What describes no audio, and rates too far apart, are refused; the stream lives on."""
        stage = SincResamplerProvider()
        good = AudioFrame(tone(440, 20, rate=8000), 8000)
        first = stage.resample(good, 16000).data
        with pytest.raises(InvalidInputError, match="sample_rate=0"):
            stage.resample(AudioFrame(b"\x00\x00", 0), 16000)
        with pytest.raises(InvalidInputError, match="sample_width=7"):
            stage.resample(good, 16000, 1, 7)
        with pytest.raises(InvalidInputError, match="64 times"):
            stage.resample(AudioFrame(b"\x00\x00", 100), 48000)
        with pytest.raises(InvalidInputError, match="zero_crossings"):
            SincResamplerProvider(zero_crossings=1)
        again = stage.resample(good, 16000).data
        assert len(first) == len(again)

    def test_mock(self) -> None:
        """The mock writes down what it is asked and changes labels only."""
        stage = MockResamplerProvider()
        frame = AudioFrame(b"\x01\x00", 8000)
        out = stage.resample(frame, 16000, 1, 2)
        assert out.data == frame.data
        assert (out.sample_rate, out.metadata["original_sample_rate"]) == (16000, 8000)
        call = stage.calls[0]
        assert (call.frame, call.target_rate, call.target_channels, call.target_width) == (
            frame,
            16000,
            1,
            2,
        )
        stage.reset()
        stage.close()
        assert (stage.reset_count, stage.closed, stage.for_session()) == (1, True, stage)
