"""What every voice activity detector must do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pytest

from roomkit.testing.conformance._sound import frames, noise, voice
from roomkit.testing.conformance._suite import Suite
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.pipeline.vad_provider import VADEvent, VADEventType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from roomkit.voice.pipeline.vad_provider import VADProvider

_SPEECH = (VADEventType.SPEECH_START, VADEventType.SPEECH_END)


class VADConformance(Suite, ABC):
    """One start and one end an utterance, for each caller alone. Implement ``make_vad``."""

    rate = 16000
    """Hertz of the frames."""

    frame_ms = 20
    """Their length."""

    keeps_audio = True
    """Whether the end of an utterance brings its audio."""

    noise_ms = 60
    """A sound too short for speech, in milliseconds; 0: there is none."""

    @abstractmethod
    def make_vad(self) -> VADProvider:
        """Return a new detector that ends an utterance after at most 1 s of silence."""

    def speech(self, ms: int) -> bytes:
        """Return what the detector takes for speech; a synthetic voice by default."""
        return voice(ms, self.rate)

    def quiet(self, ms: int, seed: int = 1) -> bytes:
        """Return what it takes for silence; a quiet hiss by default."""
        return noise(ms, self.rate, level=8, seed=seed)

    @pytest.fixture
    def vad(self) -> Iterator[VADProvider]:
        """A detector of the test's own, as a session gets it."""
        given = self.make_vad()
        vad = given.for_session()
        yield vad
        vad.close()
        given.close()

    def run(self, vad: VADProvider, audio: bytes) -> list[VADEvent]:
        """Return what a detector says about speech in some audio."""
        return self.events(vad, frames(audio, self.rate, self.frame_ms))

    @staticmethod
    def events(vad: VADProvider, given: Iterable[AudioFrame]) -> list[VADEvent]:
        """Return what it says about speech in some frames."""
        found = [vad.process(frame) for frame in given]
        assert all(event is None or isinstance(event, VADEvent) for event in found)
        return [event for event in found if event is not None and event.type in _SPEECH]

    async def test_an_utterance_has_a_start_and_an_end(self, vad: VADProvider) -> None:
        """One of each, in this order; the end knows how long it was and what was said."""
        audio = self.quiet(600) + self.speech(1500) + self.quiet(1600)
        start, end = self.run(vad, audio)
        assert (start.type, end.type) == _SPEECH
        assert end.duration_ms is not None
        assert 1000 <= end.duration_ms <= 3500
        if self.keeps_audio:
            assert end.audio_bytes is not None
            kept_ms = len(end.audio_bytes) / 2 / self.rate * 1000
            assert 1300 <= kept_ms <= 3500
            assert len(end.audio_bytes) % 2 == 0

    async def test_the_start_comes_while_somebody_speaks(self, vad: VADProvider) -> None:
        """Within half a second, not at the end."""
        self.run(vad, self.quiet(600))
        found = self.run(vad, self.speech(500))
        assert [event.type for event in found] == [VADEventType.SPEECH_START]

    async def test_each_utterance_is_reported(self, vad: VADProvider) -> None:
        """Two with a pause between them are two starts and two ends."""
        part = self.speech(1200) + self.quiet(1600)
        found = self.run(vad, self.quiet(600) + part + part)
        assert [event.type for event in found] == [*_SPEECH, *_SPEECH]

    async def test_what_is_too_short_ends_without_audio(self, vad: VADProvider) -> None:
        """A start has its end, also where it was a noise; there is nothing to recognise."""
        if not self.noise_ms:
            pytest.skip("it takes every sound for speech")
        found = self.run(vad, self.quiet(600) + self.speech(self.noise_ms) + self.quiet(1600))
        assert [event.type for event in found] in ([], [*_SPEECH])
        assert all(not event.audio_bytes for event in found)
        whole = self.run(vad, self.speech(1500) + self.quiet(1600))
        assert [event.type for event in whole] == [*_SPEECH]
        assert not self.keeps_audio or whole[1].audio_bytes

    async def test_how_long_was_spoken(self, vad: VADProvider) -> None:
        """One that measures speech does not take the silence that ends it for speech."""
        self.run(vad, self.quiet(600))
        assert vad.speech_ms is None
        self.run(vad, self.speech(1000))
        spoken = vad.speech_ms
        if spoken is None:
            pytest.skip("it does not measure")
        assert 400 <= spoken <= 1000
        self.run(vad, self.quiet(300))
        later = vad.speech_ms
        assert later is None or later <= spoken + 200
        self.run(vad, self.quiet(1600, 2))
        assert vad.speech_ms is None

    async def test_silence_is_no_speech(self, vad: VADProvider) -> None:
        """Neither true silence nor a quiet hiss."""
        assert self.run(vad, bytes(2 * self.rate)) == []
        assert self.run(vad, self.quiet(2000)) == []

    async def test_a_frame_without_audio_is_nothing(self, vad: VADProvider) -> None:
        """At the beginning and in the middle of speech."""
        empty = AudioFrame(data=b"", sample_rate=self.rate)
        assert vad.process(empty) is None
        spoken = list(frames(self.speech(1500), self.rate, self.frame_ms))
        given = [frame for pair in spoken for frame in (AudioFrame(b"", self.rate), pair)]
        hush = frames(self.quiet(1600), self.rate, self.frame_ms)
        found = self.events(vad, frames(self.quiet(600), self.rate, self.frame_ms))
        found += self.events(vad, [*given, *hush])
        assert [event.type for event in found] == list(_SPEECH)

    async def test_sessions_do_not_hear_each_other(self) -> None:
        """Two callers in turn are told what each is told alone."""
        first = self.quiet(600) + self.speech(1500) + self.quiet(1600)
        second = self.quiet(1500, 2) + self.speech(1200) + self.quiet(1000, 3)
        given = self.make_vad()
        alone = [self.run(given.for_session(), audio) for audio in (first, second)]
        one, two = given.for_session(), given.for_session()
        together: list[list[VADEvent]] = [[], []]
        pairs = zip(
            frames(first, self.rate, self.frame_ms),
            frames(second, self.rate, self.frame_ms),
            strict=True,
        )
        for left, right in pairs:
            together[0] += self.events(one, [left])
            together[1] += self.events(two, [right])
        assert together == alone
        for vad in (one, two, given):
            vad.close()

    async def test_a_reset_forgets(self, vad: VADProvider) -> None:
        """An utterance that had begun has no end; the next one is whole."""
        self.run(vad, self.quiet(600) + self.speech(800))
        vad.reset()
        assert self.run(vad, self.quiet(1600)) == []
        found = self.run(vad, self.speech(1500) + self.quiet(1600))
        assert [event.type for event in found] == list(_SPEECH)

    async def test_a_session_begins_as_new(self) -> None:
        """Whatever the given detector has heard itself."""
        given = self.make_vad()
        self.run(given, self.quiet(600) + self.speech(800))
        fresh = given.for_session()
        assert self.run(fresh, self.quiet(1600)) == []
        fresh.close()
        given.close()

    async def test_frames_are_left_alone(self, vad: VADProvider) -> None:
        """Their audio is not changed."""
        for frame in frames(self.speech(300), self.rate, self.frame_ms):
            before = bytes(frame.data)
            vad.process(frame)
            assert frame.data == before

    async def test_it_has_a_name_and_closes_twice(self, vad: VADProvider) -> None:
        """Both without a frame."""
        assert vad.name
        vad.close()
        vad.close()
