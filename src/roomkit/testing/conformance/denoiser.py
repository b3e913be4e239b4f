"""What every denoiser must do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from typing import TYPE_CHECKING

import pytest

from roomkit.testing.conformance._sound import frames, noise, silence, voice
from roomkit.testing.conformance._suite import Suite
from roomkit.voice.audio_frame import AudioFrame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roomkit.voice.pipeline.denoiser_provider import DenoiserProvider


class DenoiserConformance(Suite, ABC):
    """The same audio with less noise, for each caller alone. Implement ``make_denoiser``."""

    rate = 16000
    """Hertz of the frames."""

    frame_ms = 20
    """Their length."""

    delay_ms = 40
    """How much audio it may hold back."""

    keeps_voices = True
    """Whether the synthetic voice of the suite passes; a denoiser may take it for a noise."""

    @abstractmethod
    def make_denoiser(self) -> DenoiserProvider:
        """Return a new denoiser."""

    @pytest.fixture
    def denoiser(self) -> Iterator[DenoiserProvider]:
        """A denoiser of the test's own, as a session gets it."""
        given = self.make_denoiser()
        denoiser = given.for_session()
        yield denoiser
        denoiser.close()
        given.close()

    def run(self, denoiser: DenoiserProvider, audio: bytes) -> bytes:
        """Return what is left of some audio."""
        given = frames(audio, self.rate, self.frame_ms)
        return b"".join(denoiser.process(frame).data for frame in given)

    async def test_the_format_stays(self, denoiser: DenoiserProvider) -> None:
        """Rate, channels and width of every frame, and whole samples."""
        for frame in frames(voice(400, self.rate), self.rate, self.frame_ms):
            out = denoiser.process(frame)
            assert isinstance(out, AudioFrame)
            assert (out.sample_rate, out.channels, out.sample_width) == (self.rate, 1, 2)
            assert len(out.data) % 2 == 0

    async def test_no_audio_gets_lost(self, denoiser: DenoiserProvider) -> None:
        """What comes out is as long as what went in, up to a small delay."""
        audio = voice(1000, self.rate)
        held = len(audio) - len(self.run(denoiser, audio))
        assert 0 <= held <= 2 * self.rate * self.delay_ms // 1000

    async def test_silence_stays_silent(self, denoiser: DenoiserProvider) -> None:
        """Nothing is made up."""
        assert loudness(self.run(denoiser, silence(1000, self.rate))) <= 4

    async def test_a_voice_is_heard(self, denoiser: DenoiserProvider) -> None:
        """It keeps a tenth of its loudness at least."""
        if not self.keeps_voices:
            pytest.skip("the suite's voice is a noise to this denoiser")
        audio = voice(2000, self.rate)
        assert loudness(self.run(denoiser, audio)) >= loudness(audio) / 10

    async def test_sessions_do_not_hear_each_other(self) -> None:
        """Two callers in turn get what each gets alone."""
        first = voice(600, self.rate)
        second = noise(600, self.rate, level=2000)
        given = self.make_denoiser()
        alone = [self.run(given.for_session(), audio) for audio in (first, second)]
        one, two = given.for_session(), given.for_session()
        together = [b"", b""]
        pairs = zip(
            frames(first, self.rate, self.frame_ms),
            frames(second, self.rate, self.frame_ms),
            strict=True,
        )
        for left, right in pairs:
            together[0] += one.process(left).data
            together[1] += two.process(right).data
        assert together == alone
        for denoiser in (one, two, given):
            denoiser.close()

    async def test_a_frame_without_audio_is_no_error(self, denoiser: DenoiserProvider) -> None:
        """It has an answer, a frame of the same rate."""
        out = denoiser.process(AudioFrame(data=b"", sample_rate=self.rate))
        assert out.sample_rate == self.rate

    async def test_a_reset_forgets(self, denoiser: DenoiserProvider) -> None:
        """What follows is what a new one would say."""
        audio = voice(400, self.rate)
        fresh = self.make_denoiser().for_session()
        expected = self.run(fresh, audio)
        fresh.close()
        self.run(denoiser, noise(500, self.rate, level=3000))
        denoiser.reset()
        assert self.run(denoiser, audio) == expected

    async def test_it_has_a_name_and_closes_twice(self, denoiser: DenoiserProvider) -> None:
        """Both without a frame."""
        assert denoiser.name
        denoiser.close()
        denoiser.close()


def loudness(audio: bytes) -> float:
    """Return the mean of the samples' sizes."""
    samples = array("h", audio)
    return sum(map(abs, samples)) / len(samples) if samples else 0.0
