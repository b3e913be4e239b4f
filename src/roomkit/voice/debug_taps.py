"""Listening in between the stages of a pipeline: one WAV file a boundary.

A tool for finding out which stage spoils the sound. It writes what people say to disk: not for
production.
"""

from __future__ import annotations

import re
import wave
from pathlib import Path
from typing import TYPE_CHECKING

from roomkit.exceptions import InvalidInputError
from roomkit.voice._file_worker import FileWorker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.voice.audio_frame import AudioFrame

_MAX_WAITING = 16 * 1024 * 1024
_MAX_FILES = 512
_BATCH = 32 * 1024


class PipelineDebugTaps:
    """Writes the sound at chosen boundaries.

    Files are called ``<session>/<number>-<stage>-<rate>.wav``, or without the folder when not
    ``session_scoped``. A stage whose format changes in mid-stream begins another file.

    Args:
        output_dir: The folder, made when missing; empty for ``pipeline-taps`` here.
        stages: Names of stages, such as ``denoiser``, ``inbound_raw``; ``all`` for every one.
        session_scoped: A folder a session. Otherwise sessions share files, which makes sense
            for one at a time only.

    Raises:
        InvalidInputError: No stages were named.
    """

    def __init__(
        self,
        output_dir: str | Path = "",
        stages: Sequence[str] | None = None,
        session_scoped: bool = True,
    ) -> None:
        self.stages: list[str] = ["all"] if stages is None else list(stages)
        if not self.stages:
            raise InvalidInputError("stages=[] taps nothing; name stages or use ['all']")
        self.output_dir: Path = Path(output_dir or "pipeline-taps").absolute()
        self.session_scoped = session_scoped
        self.dropped: int = 0
        self._worker = FileWorker("roomkit-taps", _MAX_WAITING)
        self._files: dict[tuple[str, str], _TapFile] = {}
        self._count = 0

    def wants(self, stage: str) -> bool:
        """Return whether a stage is tapped."""
        return "all" in self.stages or stage in self.stages

    def tap(self, session_id: str, stage: str, frame: AudioFrame) -> None:
        """Take down a frame as it left a stage; it is written in a thread.

        Frames are counted in ``dropped`` when the disk is too slow, or after 512 files.
        """
        if not frame.data or not self.wants(stage):
            return
        key = (session_id if self.session_scoped else "", stage)
        form = (frame.sample_rate, frame.channels, frame.sample_width)
        file = self._files.get(key)
        if file is None or file.form != form:
            if self._count >= _MAX_FILES:
                self.dropped += 1
                return
            if file is not None:
                self._end(file)
            file = self._files[key] = self._new(key, form)
        if not self._worker.has_room(len(file.waiting) + len(frame.data)):
            self.dropped += 1
            return
        file.waiting += frame.data
        if len(file.waiting) >= _BATCH:
            self._send(file)

    def close_session(self, session_id: str) -> None:
        """Finish the files of one session."""
        for key in [key for key in self._files if key[0] == session_id]:
            self._end(self._files.pop(key))

    def close(self) -> None:
        """Finish all files, in the thread; again does nothing."""
        for key in list(self._files):
            self._end(self._files.pop(key))
        self._worker.retire()

    async def settle(self) -> None:
        """Return when everything tapped or closed so far has been written."""
        for file in self._files.values():
            self._send(file)
        await self._worker.settle()

    def _new(self, key: tuple[str, str], form: tuple[int, int, int]) -> _TapFile:
        self._count += 1
        session, stage = (re.sub(r"[^A-Za-z0-9_-]+", "_", part)[:64] for part in key)
        folder = self.output_dir / session if session else self.output_dir
        return _TapFile(folder / f"{self._count:03d}-{stage or 'stage'}-{form[0]}.wav", form)

    def _send(self, file: _TapFile) -> None:
        data, file.waiting = bytes(file.waiting), bytearray()
        self._worker.submit(file.write, data, size=len(data))

    def _end(self, file: _TapFile) -> None:
        self._send(file)
        self._worker.submit(file.close)


class _TapFile:
    """One file; written and closed in the thread."""

    def __init__(self, path: Path, form: tuple[int, int, int]) -> None:
        self.form = form
        self.waiting = bytearray()
        self._path = path
        self._file: wave.Wave_write | None = None

    def write(self, data: bytes) -> None:
        """Append sound.

        Raises:
            OSError: The disk does not take it.
        """
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            rate, channels, width = self.form
            self._file = wave.Wave_write(str(self._path))
            self._file.setnchannels(channels)
            self._file.setsampwidth(width)
            self._file.setframerate(rate)
        # With sizes in the header after each piece: it can be listened to while it grows.
        self._file.writeframes(data)

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: The disk does not take it.
        """
        if self._file is not None:
            self._file.close()
            self._file = None
