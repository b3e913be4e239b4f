"""Two directions of sound on one time line, written to WAV files as they become final.

Runs in the recorder's thread. Positions are samples of the file's rate since the start.
"""

from __future__ import annotations

import os
import wave
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING

from roomkit.voice.audio.pcm import read_samples, write_samples
from roomkit.voice.audio.resample import SincResamplerProvider

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from roomkit.voice.audio_frame import AudioFrame

_STEP_S = 10


class Track:
    """One direction: what was heard, and where somebody spoke.

    Args:
        rate: Hertz of the file.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._resampler = SincResamplerProvider()
        self._samples = array("h")
        self._start = 0
        self._speech: list[list[int]] = []

    @property
    def end(self) -> int:
        """Where the sound ends so far."""
        return self._start + len(self._samples)

    def add(self, at: int, frame: AudioFrame, speech_before: int | None) -> None:
        """Put a frame at its place, or behind what is already there.

        Args:
            at: Its place.
            frame: The sound.
            speech_before: How many samples before it belong to the same speech; None when it
                is not speech.
        """
        data = self._resampler.resample(frame, self._rate, 1, 2).data
        start = max(at, self.end)
        self._samples.extend(array("h", bytes(2 * (start - self.end))))
        self._samples.extend(read_samples(data))
        if speech_before is None:
            return
        first = max(0, start - speech_before)
        if self._speech and self._speech[-1][1] >= first:
            self._speech[-1][1] = self.end
        else:
            self._speech.append([first, self.end])

    def cut(self, at: int) -> None:
        """Forget what lies behind a position."""
        del self._samples[max(0, at - self._start) :]
        self._speech = [[a, min(b, at)] for a, b in self._speech if a < at]

    def take(self, until: int) -> array[int]:
        """Return and forget the sound up to a position, filled up with silence."""
        count = until - self._start
        out = self._samples[:count]
        del self._samples[:count]
        self._start = until
        out.extend(array("h", bytes(2 * (count - len(out)))))
        return out

    def speech(self, start: int, until: int) -> list[tuple[int, int]]:
        """Return the stretches of speech within two positions; earlier ones are forgotten."""
        self._speech = [item for item in self._speech if item[1] > start]
        return [(max(a, start), min(b, until)) for a, b in self._speech if a < until]


class WavFiles:
    """The files of one recording, invisible until they are whole.

    Args:
        paths: One for a mixed or stereo recording, two for separate ones.
        rate: Hertz.
        layout: ``mixed`` (one channel), ``stereo`` or ``separate``.
        directions: How many tracks are kept.
        only_speech: Leave out what no track speaks in.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        rate: int,
        layout: str,
        directions: int,
        only_speech: bool,
    ) -> None:
        self.paths = list(paths)
        self._rate = rate
        self._layout = layout if directions > 1 else "mixed"
        self._only_speech = only_speech
        self._files: list[wave.Wave_write] = []
        self.tracks = [Track(rate) for _ in range(directions)]
        self._written = 0
        self.kept = 0

    def open(self) -> None:
        """Create the folder and the files.

        Raises:
            OSError: They cannot be created.
        """
        for path in self.paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = wave.Wave_write(str(_part(path)))
            self._files.append(file)
            file.setnchannels(2 if self._layout == "stereo" else 1)
            file.setsampwidth(2)
            file.setframerate(self._rate)

    def write(self, until: int) -> None:
        """Write everything before a position; it must be final.

        Raises:
            OSError: The disk does not take it.
        """
        while self._written < until:
            step = min(until, self._written + _STEP_S * self._rate)
            parts = [track.take(step) for track in self.tracks]
            for start, end in self._kept(self._written, step):
                self._put([part[start - self._written : end - self._written] for part in parts])
                self.kept += end - start
            self._written = step

    def finish(self) -> None:
        """Write the rest and give the files their names.

        Raises:
            OSError: The disk does not take it.
        """
        self.write(max(track.end for track in self.tracks))
        for file in self._files:
            file.close()
        for path in self.paths:
            os.replace(_part(path), path)

    def abandon(self) -> None:
        """Remove what was written."""
        for file in self._files:
            with suppress(OSError):  # the disk that failed before
                file.close()
        for path in self.paths:
            with suppress(OSError):
                _part(path).unlink(missing_ok=True)

    def _kept(self, start: int, until: int) -> list[tuple[int, int]]:
        if not self._only_speech:
            return [(start, until)]
        merged: list[tuple[int, int]] = []
        for item in sorted(part for track in self.tracks for part in track.speech(start, until)):
            if merged and item[0] <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], item[1]))
            else:
                merged.append(item)
        return merged

    def _put(self, parts: list[array[int]]) -> None:
        if self._layout == "separate":
            for file, part in zip(self._files, parts, strict=True):
                file.writeframesraw(write_samples(part))
            return
        if len(parts) == 1:
            out = parts[0]
        elif self._layout == "stereo":
            out = array("h", bytes(4 * len(parts[0])))
            out[0::2], out[1::2] = parts
        else:
            pairs = zip(*parts, strict=True)
            out = array("h", [max(-32768, min(32767, one + two)) for one, two in pairs])
        self._files[0].writeframesraw(write_samples(out))


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")
