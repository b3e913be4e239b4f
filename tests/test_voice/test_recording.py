"""Recordings: what is kept, where in time, and that no half file remains."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

from roomkit._clock import ManualClock
from roomkit.exceptions import InvalidInputError, NotFoundError
from roomkit.voice.audio import WavAudio, parse_wav, peak_pcm16, read_samples
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import VoiceSession
from roomkit.voice.recording import (
    MockAudioRecorder,
    RecordingChannelMode,
    RecordingConfig,
    RecordingHandle,
    RecordingMode,
    RecordingResult,
    RecordingStartedEvent,
    RecordingStoppedEvent,
    RecordingTrigger,
    WavFileRecorder,
)
from tests.test_voice._signals import frames, silence, tone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SESSION = VoiceSession("../evil", "room", "person", "voice")


@dataclass
class Desk:
    recorder: WavFileRecorder
    clock: ManualClock
    folder: Path

    def start(self, **config: object) -> RecordingHandle:
        return self.recorder.start(SESSION, RecordingConfig(**config))  # type: ignore[arg-type]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    clock = ManualClock()
    recorder = WavFileRecorder(tmp_path / "kept", clock=clock)
    yield Desk(recorder, clock, tmp_path / "kept")
    recorder.close()


def sounds(result: RecordingResult) -> list[WavAudio]:
    paths = [url2pathname(urlparse(url).path) for url in result.urls]
    out = []
    for path in paths:
        with open(path, "rb") as file:
            out.append(parse_wav(file.read()))
    return out


class TestWhatIsKept:
    async def test_inbound(self, desk: Desk) -> None:
        """What was said comes back to the sample, in one mono file."""
        handle, pcm = desk.start(), tone(300, 500)
        for frame in frames(pcm):
            desk.recorder.tap_inbound(handle, frame)
        result = await desk.recorder.stop(handle)
        (audio,) = sounds(result)
        assert (audio.data, audio.sample_rate, audio.channels) == (pcm, 16000, 1)
        assert (result.duration_seconds, result.format, result.dropped_frames) == (0.5, "wav", 0)
        assert [path.name for path in desk.folder.iterdir()] == [f"recording-{handle.id}.wav"]

    async def test_stereo(self, desk: Desk) -> None:
        """The person is left, the reply right and where it was played."""
        handle = desk.start(channels=RecordingChannelMode.STEREO)
        said, reply = tone(300, 400), tone(700, 200)
        for frame in frames(said):
            desk.recorder.tap_inbound(handle, frame)
        for frame in frames(reply):
            desk.recorder.tap_outbound(handle, frame)
        (audio,) = sounds(await desk.recorder.stop(handle))
        woven = read_samples(audio.data)
        assert audio.channels == 2
        assert woven[0::2] == read_samples(said + silence(200))
        assert woven[1::2] == read_samples(silence(400) + reply)

    async def test_mixed(self, desk: Desk) -> None:
        """Both at once are added up."""
        handle = desk.start()
        desk.recorder.tap_outbound(handle, AudioFrame(tone(700, 200, amplitude=1000)))
        desk.recorder.tap_inbound(handle, AudioFrame(tone(700, 200, amplitude=2000)))
        (audio,) = sounds(await desk.recorder.stop(handle))
        assert len(audio.data) == 2 * 3200
        assert peak_pcm16(audio.data) == pytest.approx(3000, abs=5)

    async def test_separate(self, desk: Desk) -> None:
        """A file each: inbound first."""
        handle = desk.start(channels="separate")
        desk.recorder.tap_inbound(handle, AudioFrame(tone(300, 100)))
        desk.recorder.tap_outbound(handle, AudioFrame(tone(700, 100)))
        one, two = sounds(await desk.recorder.stop(handle))
        assert one.data == tone(300, 100) + silence(100)
        assert two.data == silence(100) + tone(700, 100)

    @pytest.mark.parametrize(
        ("mode", "kept"),
        [
            (RecordingMode.INBOUND_ONLY, tone(300, 100)),
            (RecordingMode.OUTBOUND_ONLY, tone(700, 60)),
        ],
    )
    async def test_one_side(self, desk: Desk, mode: RecordingMode, kept: bytes) -> None:
        """Only the wanted side is kept, whatever the channels say."""
        handle = desk.start(mode=mode, channels="stereo")
        desk.recorder.tap_inbound(handle, AudioFrame(tone(300, 100)))
        desk.recorder.tap_outbound(handle, AudioFrame(tone(700, 60)))
        (audio,) = sounds(await desk.recorder.stop(handle))
        assert audio.data == kept

    async def test_speech_only(self, desk: Desk) -> None:
        """Pauses are left out, the breath before and the half second after stay."""
        handle = desk.start(trigger=RecordingTrigger.SPEECH_ONLY)
        pcm = silence(5000) + tone(300, 600) + silence(5000) + tone(300, 600) + silence(5000)
        for frame in frames(pcm):
            desk.recorder.tap_inbound(handle, frame)
        result = await desk.recorder.stop(handle)
        (audio,) = sounds(result)
        assert result.duration_seconds == pytest.approx(2 * (0.3 + 0.6 + 0.5), abs=0.06)
        assert audio.data.startswith(silence(300) + tone(300, 600))

    async def test_other_formats(self, desk: Desk) -> None:
        """Frames of another rate and width are converted."""
        handle = desk.start()
        for frame in frames(tone(300, 1000, rate=48000), rate=48000):
            desk.recorder.tap_inbound(handle, frame)
        (audio,) = sounds(await desk.recorder.stop(handle))
        assert len(audio.data) == 32000
        assert peak_pcm16(audio.data) == pytest.approx(8000, abs=20)

    async def test_nothing_heard(self, desk: Desk) -> None:
        """A recording without audio is an empty file, not a failure."""
        result = await desk.recorder.stop(desk.start())
        assert (sounds(result)[0].data, result.duration_seconds) == (b"", 0.0)


class TestTime:
    async def test_burst_is_played_in_a_row(self, desk: Desk) -> None:
        """A reply that comes at once is laid out as it is played; the gap before is kept."""
        handle = desk.start(mode="outbound_only")
        desk.recorder.tap_outbound(handle, AudioFrame(tone(700, 100)))
        await desk.clock.advance(1.0)
        for frame in frames(tone(500, 300)):
            desk.recorder.tap_outbound(handle, frame)
        (audio,) = sounds(await desk.recorder.stop(handle))
        assert audio.data == tone(700, 100) + silence(900) + tone(500, 300)

    async def test_interrupted_reply(self, desk: Desk) -> None:
        """Of a reply that was cut only what was played is kept; the next comes right after."""
        handle = desk.start()
        desk.recorder.tap_inbound(handle, AudioFrame(tone(300, 100)))
        for frame in frames(tone(700, 3000)):
            desk.recorder.tap_outbound(handle, frame)
        await desk.clock.advance(1.1)
        desk.recorder.cut_outbound(handle)
        desk.recorder.tap_outbound(handle, AudioFrame(tone(500, 100)))
        (audio,) = sounds(await desk.recorder.stop(handle))
        assert audio.data == tone(300, 100) + tone(700, 1000) + tone(500, 100)

    async def test_inbound_gap(self, desk: Desk) -> None:
        """A pause of the network is kept; jitter is not."""
        handle = desk.start()
        desk.recorder.tap_inbound(handle, AudioFrame(tone(300, 100)))
        await desk.clock.advance(0.3)
        desk.recorder.tap_inbound(handle, AudioFrame(tone(300, 100)))
        await desk.clock.advance(2.7)
        desk.recorder.tap_inbound(handle, AudioFrame(tone(300, 100)))
        (audio,) = sounds(await desk.recorder.stop(handle))
        assert audio.data == tone(300, 100) * 2 + silence(2700) + tone(300, 100)

    async def test_written_while_it_goes_on(self, desk: Desk) -> None:
        """A long recording is written piece by piece, and its torso can be read."""
        handle = desk.start()
        for frame in frames(tone(300, 5000)):
            desk.recorder.tap_inbound(handle, frame)
        await desk.recorder.settle()
        (path,) = desk.folder.iterdir()
        assert path.name.endswith(".wav.part")
        await desk.recorder.stop(handle)
        assert not path.exists()

    async def test_longest(self, tmp_path: Path) -> None:
        """What comes after the longest duration is left out and counted."""
        recorder = WavFileRecorder(tmp_path, max_duration_seconds=1, clock=ManualClock())
        handle = recorder.start(SESSION, RecordingConfig())
        for frame in frames(tone(300, 1200)):
            recorder.tap_inbound(handle, frame)
        result = await recorder.stop(handle)
        recorder.close()
        assert (result.duration_seconds, result.dropped_frames) == (1.0, 10)


class TestLife:
    async def test_stopped_is_stopped(self, desk: Desk) -> None:
        """Taps after the stop do nothing; a second stop says so."""
        handle = desk.start(metadata={"a": 1})
        assert (await desk.recorder.stop(handle)).metadata == {"a": 1}
        desk.recorder.tap_inbound(handle, AudioFrame(tone(300, 100)))
        with pytest.raises(NotFoundError):
            await desk.recorder.stop(handle)

    async def test_close_finishes(self, desk: Desk) -> None:
        """Closing ends what goes on: the file is whole."""
        handle = desk.start()
        desk.recorder.tap_inbound(handle, AudioFrame(tone(300, 100)))
        desk.recorder.close()
        desk.recorder.close()
        path = desk.folder / f"recording-{handle.id}.wav"
        await desk.recorder.settle()
        assert parse_wav(path.read_bytes()).data == tone(300, 100)

    async def test_disk_refuses(self, tmp_path: Path) -> None:
        """A folder that cannot be: stop says so and nothing is left."""
        (tmp_path / "file").write_text("in the way")
        recorder = WavFileRecorder(tmp_path / "file" / "folder")
        handle = recorder.start(SESSION, RecordingConfig())
        recorder.tap_inbound(handle, AudioFrame(tone(300, 100)))
        with pytest.raises(OSError, match="could not be written"):
            await recorder.stop(handle)
        recorder.close()
        assert os.listdir(tmp_path) == ["file"]

    async def test_cancelled_stop_still_finishes(self, desk: Desk) -> None:
        """Who gives up waiting leaves a whole file behind."""
        handle = desk.start()
        desk.recorder.tap_inbound(handle, AudioFrame(tone(300, 100)))
        task = asyncio.ensure_future(desk.recorder.stop(handle))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await desk.recorder.settle()
        assert (desk.folder / f"recording-{handle.id}.wav").exists()

    async def test_storage_and_retention(self, desk: Desk, tmp_path: Path) -> None:
        """The configuration's folder comes first; old recordings there are deleted."""
        place = tmp_path / "elsewhere"
        place.mkdir()
        old, other = place / "recording-old.wav", place / "mine.wav"
        for path in (old, other):
            path.write_bytes(b"")
            os.utime(path, (0, 0))
        result = await desk.recorder.stop(desk.start(storage=str(place), retention_days=1))
        assert result.urls[0].startswith(place.as_uri())
        assert not old.exists()
        assert other.exists()

    def test_refused(self, desk: Desk) -> None:
        """What it cannot do is refused at the start."""
        with pytest.raises(InvalidInputError, match="mp3"):
            desk.start(format="mp3")
        with pytest.raises(InvalidInputError, match="retention_days"):
            desk.start(retention_days=0)
        with pytest.raises(InvalidInputError, match="max_duration_seconds"):
            WavFileRecorder(max_duration_seconds=0)

    async def test_mock_and_events(self) -> None:
        """The mock keeps frames; the events carry what hooks need."""
        mock = MockAudioRecorder()
        handle = mock.start(SESSION, RecordingConfig())
        frame = AudioFrame(tone(300, 100))
        mock.tap_inbound(handle, frame)
        mock.tap_outbound(handle, frame)
        result = await mock.stop(handle)
        mock.close()
        assert (mock.inbound, mock.outbound) == ([(handle.id, frame)], [(handle.id, frame)])
        assert (result.duration_seconds, mock.stopped, mock.closed) == (0.1, [handle.id], True)
        assert mock.name == "MockAudioRecorder"
        started = RecordingStartedEvent(SESSION, handle.id)
        stopped = RecordingStoppedEvent(SESSION, handle.id, result.urls, 0.1)
        assert started.timestamp.tzinfo is not None
        assert stopped.urls == ("mock://recording-1",)
