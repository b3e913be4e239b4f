"""Keeping what was said: what a recorder is, and one that writes WAV files."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum, unique
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from roomkit._clock import Clock, SystemClock
from roomkit.exceptions import InvalidInputError, NotFoundError
from roomkit.voice._file_worker import FileWorker
from roomkit.voice._tracks import WavFiles
from roomkit.voice.audio.pcm import require_format
from roomkit.voice.vad.energy import EnergyVADProvider

if TYPE_CHECKING:
    from concurrent.futures import Future

    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import VoiceSession

_BATCH_S = 1.0
_LATE_S = 0.5
_PAD_S = 0.3
_MAX_WAITING = 32 * 1024 * 1024


@unique
class RecordingMode(StrEnum):
    """Whose sound is kept.

    Attributes:
        INBOUND_ONLY: What the caller says.
        OUTBOUND_ONLY: What the caller hears.
        BOTH: Both sides.
    """

    INBOUND_ONLY = "inbound_only"
    OUTBOUND_ONLY = "outbound_only"
    BOTH = "both"


@unique
class RecordingTrigger(StrEnum):
    """When sound is kept.

    Attributes:
        ALWAYS: From the start to the end.
        SPEECH_ONLY: While somebody speaks.
    """

    ALWAYS = "always"
    SPEECH_ONLY = "speech_only"


@unique
class RecordingChannelMode(StrEnum):
    """How both directions share a recording.

    Attributes:
        MIXED: One track with both sounds.
        SEPARATE: A file for each side.
        STEREO: One file, the caller left and the kit right.
    """

    MIXED = "mixed"
    SEPARATE = "separate"
    STEREO = "stereo"


@dataclass
class RecordingConfig:
    """What is kept of a session.

    Attributes:
        mode: Whose sound.
        trigger: All of it, or only where somebody speaks (pauses are left out).
        channels: Both in one channel, in a file each, or inbound left and outbound right.
        format: ``wav``.
        storage: Where; a folder for ``WavFileRecorder``, empty for the recorder's own.
        retention_days: After how many days a recording may be deleted; None for never.
        metadata: Handed through to the result.
    """

    mode: RecordingMode = RecordingMode.BOTH
    trigger: RecordingTrigger = RecordingTrigger.ALWAYS
    channels: RecordingChannelMode = RecordingChannelMode.MIXED
    format: str = "wav"
    storage: str = ""
    retention_days: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordingHandle:
    """A recording that is going on.

    Attributes:
        id: The recording.
        session_id: Whose.
        started_at: Since when, timezone-aware.
    """

    id: str
    session_id: str
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class RecordingResult:
    """A recording that is done.

    Attributes:
        id: The recording.
        urls: Where it is; two for separate channels: inbound, outbound.
        duration_seconds: How long the file lasts.
        format: Of the files.
        dropped_frames: Frames left out because the disk was too slow or the file too long.
        metadata: As configured.
    """

    id: str
    urls: tuple[str, ...]
    duration_seconds: float
    format: str = "wav"
    dropped_frames: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordingStartedEvent:
    """A recording began.

    Attributes:
        session: Whose.
        id: The recording.
        timestamp: When.
    """

    session: VoiceSession
    id: str
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class RecordingStoppedEvent:
    """A recording is done.

    Attributes:
        session: Whose.
        id: The recording.
        urls: Where it is.
        duration_seconds: How long the file lasts.
        timestamp: When.
    """

    session: VoiceSession
    id: str
    urls: tuple[str, ...]
    duration_seconds: float
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))


class AudioRecorder(ABC):
    """Keeps the sound of sessions; one recorder serves many.

    ``start`` and the taps are called on the event loop and never wait for a disk.
    """

    @property
    def name(self) -> str:
        """What to call it in logs."""
        return type(self).__name__

    @abstractmethod
    def start(self, session: VoiceSession, config: RecordingConfig) -> RecordingHandle:
        """Begin a recording.

        Raises:
            InvalidInputError: The configuration asks for something this recorder cannot do.
        """

    @abstractmethod
    async def stop(self, handle: RecordingHandle) -> RecordingResult:
        """End a recording and return where it is, once it is there whole.

        Raises:
            NotFoundError: No such recording is going on.
            OSError: It could not be written; nothing is left of it.
        """

    @abstractmethod
    def tap_inbound(self, handle: RecordingHandle, frame: AudioFrame) -> None:
        """Take in what the person said; nothing happens once the recording is stopped."""

    @abstractmethod
    def tap_outbound(self, handle: RecordingHandle, frame: AudioFrame) -> None:
        """Take in what is played; nothing happens once the recording is stopped."""

    def cut_outbound(self, handle: RecordingHandle) -> None:
        """Forget what was to be played but was cancelled; the default keeps it."""

    def close(self) -> None:
        """End all recordings without waiting; again does nothing."""


class _Recording:
    """One recording: where each frame belongs in time, and what still has to be written."""

    def __init__(self, config: RecordingConfig, files: WavFiles, rate: int) -> None:
        self.config = config
        self.files = files
        self.rate = rate
        self.began: float | None = None
        self.ends = {"in": 0.0, "out": 0.0}
        self.batch: list[tuple[str, int, AudioFrame]] = []
        self.batch_size = 0
        self.batch_ms = 0.0
        self.dropped = 0
        self.failed: BaseException | None = None
        self._gate = EnergyVADProvider()

    def place(self, side: str, now: float, length: float) -> float:
        """Return when a frame begins, in seconds since the first one.

        Outbound sound comes in bursts and is played one piece after the other from the moment
        it comes; inbound sound comes as it is spoken, so only a real gap is kept as one.
        """
        if self.began is None:
            self.began = now
        at = self.ends[side]
        if side == "out":
            at = max(at, self.now(now))
        elif now - self.began - at > _LATE_S + length:
            at = now - self.began - length
        self.ends[side] = at + length
        return at

    def now(self, now: float) -> float:
        """Return how far the conversation is, in seconds since the first frame."""
        return max(now - self.began, self.ends["in"]) if self.began is not None else 0.0

    def write(self, batch: list[tuple[str, int, AudioFrame]], final: int) -> None:
        """Put frames in their places and write what is final. Runs in the thread."""
        if self.failed is not None:
            return
        try:
            for side, at, frame in batch:
                place = -1 if side == "out" else 0
                self.files.tracks[place].add(at, frame, self._speech(side, frame))
            if self.config.trigger == RecordingTrigger.SPEECH_ONLY:
                # The breath before a word is kept, and the word may still come.
                final -= round(_PAD_S * self.rate)
            self.files.write(final)
        except Exception as exc:
            self.failed = exc
            raise

    def _speech(self, side: str, frame: AudioFrame) -> int | None:
        if self.config.trigger == RecordingTrigger.ALWAYS:
            return None
        if side == "out":
            return 0
        self._gate.process(frame)
        return round(_PAD_S * self.rate) if self._gate.speaking else None

    def finish(self) -> float:
        """Write the rest; return the seconds kept. Runs in the thread."""
        try:
            if self.failed is not None:
                raise OSError("the recording could not be written") from self.failed
            self.files.finish()
        except BaseException:
            self.files.abandon()
            raise
        return self.files.kept / self.rate


class WavFileRecorder(AudioRecorder):
    """Writes WAV files, in a thread of its own.

    A file appears under its name ``recording-<id>.wav`` when it is whole; until then it ends
    in ``.part`` (and can be read: readers of WAV files that distrust sizes get all of it).

    Args:
        directory: The folder, made when missing; a configuration's ``storage`` comes first.
        sample_rate: Hertz of the files.
        max_duration_seconds: What comes later is left out and counted.
        clock: The time; a test may turn its hands.

    Raises:
        InvalidInputError: A number that cannot be used.
    """

    def __init__(
        self,
        directory: str | Path = "recordings",
        *,
        sample_rate: int = 16000,
        max_duration_seconds: float = 4 * 3600.0,
        clock: Clock | None = None,
    ) -> None:
        require_format(sample_rate, 1, 2)
        if not 0 < max_duration_seconds <= 12 * 3600:
            raise InvalidInputError("max_duration_seconds must be above 0 and at most 43200")
        self._directory = Path(directory)
        self._rate = sample_rate
        self._max_s = max_duration_seconds
        self._clock = clock or SystemClock()
        self._worker = FileWorker("roomkit-recorder", _MAX_WAITING)
        self._going: dict[str, _Recording] = {}

    @property
    def name(self) -> str:
        """``wav_file``."""
        return "wav_file"

    def start(self, session: VoiceSession, config: RecordingConfig) -> RecordingHandle:
        """Begin a recording; that the folder cannot be written shows in ``stop``.

        Raises:
            InvalidInputError: A format other than ``wav``, or a retention below one day.
        """
        if config.format != "wav":
            raise InvalidInputError(f"format={config.format!r}: WavFileRecorder writes 'wav'")
        if config.retention_days is not None and config.retention_days < 1:
            raise InvalidInputError("retention_days must be at least 1, or None")
        handle = RecordingHandle(uuid4().hex, session.id, self._clock.now())
        folder = Path(config.storage) if config.storage else self._directory
        both = config.mode == RecordingMode.BOTH
        split = both and config.channels == RecordingChannelMode.SEPARATE
        endings = ("-in", "-out") if split else ("",)
        files = WavFiles(
            [folder.absolute() / f"recording-{handle.id}{ending}.wav" for ending in endings],
            rate=self._rate,
            layout=config.channels,
            directions=2 if both else 1,
            only_speech=config.trigger == RecordingTrigger.SPEECH_ONLY,
        )
        recording = _Recording(config, files, self._rate)
        self._going[handle.id] = recording
        self._worker.submit(self._open, recording, folder.absolute())
        return handle

    async def stop(self, handle: RecordingHandle) -> RecordingResult:
        """End a recording and return where its files are; see ``AudioRecorder``."""
        recording = self._going.pop(handle.id, None)
        if recording is None:
            raise NotFoundError(f"no recording {handle.id!r} is going on")
        duration = await asyncio.shield(asyncio.wrap_future(self._finish(recording)))
        return RecordingResult(
            handle.id,
            tuple(path.as_uri() for path in recording.files.paths),
            duration,
            "wav",
            recording.dropped,
            recording.config.metadata,
        )

    def tap_inbound(self, handle: RecordingHandle, frame: AudioFrame) -> None:
        """Take in what the person said."""
        self._tap("in", handle, frame, RecordingMode.OUTBOUND_ONLY)

    def tap_outbound(self, handle: RecordingHandle, frame: AudioFrame) -> None:
        """Take in what is played."""
        self._tap("out", handle, frame, RecordingMode.INBOUND_ONLY)

    def cut_outbound(self, handle: RecordingHandle) -> None:
        """Forget what lies after this moment on the outbound side."""
        recording = self._going.get(handle.id)
        if recording is None or recording.config.mode == RecordingMode.INBOUND_ONLY:
            return
        at = recording.now(self._clock.monotonic())
        if recording.ends["out"] > at:
            recording.ends["out"] = at
            self._send(recording)
            self._worker.submit(recording.files.tracks[-1].cut, round(at * self._rate))

    def close(self) -> None:
        """End all recordings; their files become whole in the thread."""
        for recording in [self._going.pop(key) for key in list(self._going)]:
            self._finish(recording)
        self._worker.retire()

    async def settle(self) -> None:
        """Return when everything tapped or ended so far has been written."""
        for recording in self._going.values():
            self._send(recording)
        await self._worker.settle()

    def _tap(
        self, side: str, handle: RecordingHandle, frame: AudioFrame, other: RecordingMode
    ) -> None:
        recording = self._going.get(handle.id)
        if recording is None or recording.config.mode == other or not frame.data:
            return
        length = frame.duration_ms / 1000
        room = self._worker.has_room(recording.batch_size + len(frame.data))
        if not room or max(recording.ends.values()) + length > self._max_s + 0.001:
            recording.dropped += 1
            return
        at = recording.place(side, self._clock.monotonic(), length)
        recording.batch.append((side, round(at * self._rate), frame))
        recording.batch_size += len(frame.data)
        recording.batch_ms += length
        if recording.batch_ms >= _BATCH_S:
            self._send(recording)

    def _send(self, recording: _Recording) -> None:
        batch, size = recording.batch, recording.batch_size
        recording.batch, recording.batch_size, recording.batch_ms = [], 0, 0.0
        # Nothing is placed before this any more: outbound sound comes at "now" or later, and
        # inbound sound behind what was heard.
        elapsed = self._clock.monotonic() - (recording.began or 0.0)
        late = elapsed - 2 * _LATE_S if recording.began is not None else 0.0
        final = max(recording.ends["in"], late, 0.0)
        self._worker.submit(recording.write, batch, round(final * self._rate), size=size)

    def _finish(self, recording: _Recording) -> Future[float]:
        self._send(recording)
        return self._worker.submit(recording.finish)

    def _open(self, recording: _Recording, folder: Path) -> None:
        try:
            recording.files.open()
        except Exception as exc:
            recording.failed = exc
            raise
        days = recording.config.retention_days
        if days is not None:
            _remove_older(folder, self._clock.now().timestamp() - days * 86400)


def _remove_older(folder: Path, limit: float) -> None:
    """Delete recordings whose time of keeping is over."""
    for path in folder.glob("recording-*.wav"):
        if path.is_file() and path.stat().st_mtime < limit:
            path.unlink(missing_ok=True)


class MockAudioRecorder(AudioRecorder):
    """Keeps frames in memory.

    Attributes:
        started: ``(session, config)`` of each recording.
        inbound: ``(recording id, frame)``.
        outbound: ``(recording id, frame)``.
        stopped: Ids of ended recordings.
        closed: Whether it was closed.
    """

    def __init__(self) -> None:
        self.started: list[tuple[VoiceSession, RecordingConfig]] = []
        self.inbound: list[tuple[str, AudioFrame]] = []
        self.outbound: list[tuple[str, AudioFrame]] = []
        self.stopped: list[str] = []
        self.closed: bool = False

    def start(self, session: VoiceSession, config: RecordingConfig) -> RecordingHandle:
        """Return a handle with a counted id."""
        self.started.append((session, config))
        return RecordingHandle(f"recording-{len(self.started)}", session.id)

    async def stop(self, handle: RecordingHandle) -> RecordingResult:
        """Return a result of the inbound frames' duration."""
        self.stopped.append(handle.id)
        heard = [frame.duration_ms for key, frame in self.inbound if key == handle.id]
        return RecordingResult(handle.id, (f"mock://{handle.id}",), sum(heard) / 1000)

    def tap_inbound(self, handle: RecordingHandle, frame: AudioFrame) -> None:
        """Keep it."""
        self.inbound.append((handle.id, frame))

    def tap_outbound(self, handle: RecordingHandle, frame: AudioFrame) -> None:
        """Keep it."""
        self.outbound.append((handle.id, frame))

    def close(self) -> None:
        """Remember it."""
        self.closed = True
