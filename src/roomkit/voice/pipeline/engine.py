"""The audio pipeline: what inbound audio passes before anybody acts on it, and outbound too."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from roomkit._aio import TaskSet
from roomkit._logging import ids
from roomkit.voice.base import VoiceCapability, VoiceSession, VoiceSessionState
from roomkit.voice.pipeline._line import Hub, SessionLine
from roomkit.voice.pipeline._queues import CallbackLane, FrameQueue, Meter, loop_runs
from roomkit.voice.pipeline._steps import configure, guarded
from roomkit.voice.pipeline.diarization_provider import DiarizationResult
from roomkit.voice.pipeline.vad_provider import VADEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from roomkit._clock import Clock
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.dtmf import DTMFEvent
    from roomkit.voice.pipeline.config import AudioPipelineConfig
    from roomkit.voice.pipeline.contract import AudioFormat
    from roomkit.voice.recording import RecordingHandle, RecordingResult

logger: logging.Logger = logging.getLogger("roomkit.voice.pipeline")

SpeechEndPipelineCallback = Callable[[VoiceSession, bytes], Any]
"""``(session, audio)``: somebody has spoken; what they said as PCM."""

VADEventCallback = Callable[[VoiceSession, VADEvent], Any]
"""``(session, event)``: whatever the VAD reports."""

SpeakerChangeCallback = Callable[[VoiceSession, DiarizationResult], Any]
"""``(session, result)``: another person speaks."""

MOST_SESSIONS = 10_000
"""Sessions a pipeline remembers without having been told that they began."""

_PATIENCE = 10.0
"""Seconds recordings, and then their callbacks, have to end when the pipeline is closed."""

_ENDED_KEPT = 1_000
"""Ended sessions whose late frames are still recognised as such."""


@dataclass(slots=True)
class _Open:
    """An open session."""

    line: SessionLine
    queue: FrameQueue
    feed: Callable[[VoiceSession, AudioFrame], None]


class AudioPipeline:
    """Runs audio through the stages of a config; each session has stages of its own.

    Nothing a stage or callback raises leaves the pipeline: it is logged (a stage's failure
    once a session), counted in ``failures``, and the frame goes on as it was. Callbacks of one
    kind are called in the order of their registration, for frames of one session in the order
    of the frames. What they return is awaited, if it can be, one after the other a session, in
    tasks the pipeline owns.

    Frames of one session come from one thread, that of the event loop.

    Args:
        config: The stages. They belong to the pipeline: ``close`` closes them.
        capabilities: What the backend does by itself; AEC and AGC are left out then.
        clock: Where time comes from.
    """

    def __init__(
        self,
        config: AudioPipelineConfig,
        *,
        capabilities: VoiceCapability = VoiceCapability.NONE,
        clock: Clock | None = None,
    ) -> None:
        self._config = config
        self._capabilities = capabilities
        self._meter = Meter(time.monotonic if clock is None else clock.monotonic)
        self._hub = Hub()
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._implicit: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._tasks = TaskSet("voice_pipeline")
        self._recordings = TaskSet("voice_recording")
        self._lanes: WeakSet[CallbackLane] = WeakSet()
        self._closed = False
        if config.vad is not None:
            configure(config.vad, config.vad_config)

    @property
    def config(self) -> AudioPipelineConfig:
        """What it was made with."""
        return self._config

    @property
    def changes_outbound(self) -> bool:
        """Whether there is any stage outbound audio passes."""
        config = self._config
        stages = (config.recorder, config.aec, config.resampler, config.debug_taps)
        return bool(config.postprocessors) or any(stage is not None for stage in stages)

    @property
    def failures(self) -> Mapping[str, int]:
        """How often each stage failed, by its name."""
        return dict(self._hub.failures)

    @property
    def dropped_frames(self) -> int:
        """Frames not processed: of sessions that had ended, or older than 50 waiting ones."""
        return self._hub.dropped

    @property
    def sessions(self) -> int:
        """How many sessions have stages now."""
        return len(self._open)

    # -- callbacks ----------------------------------------------------------------------------

    def on_speech_end(self, callback: SpeechEndPipelineCallback) -> None:
        """Call ``callback`` with each utterance, after the ``on_vad_event`` callbacks."""
        self._hub.speech_end = (*self._hub.speech_end, callback)

    def on_vad_event(self, callback: VADEventCallback) -> None:
        """Call ``callback`` with everything the VAD reports."""
        self._hub.vad_event = (*self._hub.vad_event, callback)

    def on_speaker_change(self, callback: SpeakerChangeCallback) -> None:
        """Call ``callback`` when another person speaks than before in that session."""
        self._hub.speaker_change = (*self._hub.speaker_change, callback)

    def on_dtmf(self, callback: Callable[[VoiceSession, DTMFEvent], Any]) -> None:
        """Call ``callback(session, DTMFEvent)`` with each telephone key."""
        self._hub.dtmf = (*self._hub.dtmf, callback)

    def on_heard(self, callback: Callable[[VoiceSession, AudioFrame], Any]) -> None:
        """Call ``callback(session, AudioFrame)`` with each frame as the VAD is given it.

        That is behind the denoiser and everything before it, and before anything is reported
        about the frame. To be registered before the first session begins.
        """
        self._hub.heard = (*self._hub.heard, callback)

    def on_recording_started(
        self, callback: Callable[[VoiceSession, RecordingHandle], Any]
    ) -> None:
        """Call ``callback(session, RecordingHandle)`` when the recording of a session began."""
        self._hub.recording_started = (*self._hub.recording_started, callback)

    def on_recording_stopped(
        self, callback: Callable[[VoiceSession, RecordingResult], Any]
    ) -> None:
        """Call ``callback(session, RecordingResult)`` when a recording is there whole."""
        self._hub.recording_stopped = (*self._hub.recording_stopped, callback)

    # -- sessions -----------------------------------------------------------------------------

    def on_session_active(self, session: VoiceSession) -> None:
        """Make the stages of a session; again, or for one that has ended, does nothing.

        Without this they are made with the session's first frame.
        """
        if session.id in self._open:
            self._implicit.pop(session.id, None)
        elif not self._closed and session.state != VoiceSessionState.ENDED:
            self._ended.pop(session.id, None)
            self._begin(session)

    def on_session_ended(self, session: VoiceSession) -> None:
        """Close what was made for a session; what its callbacks still await goes on.

        Frames that come later are dropped and counted. Again does nothing.
        """
        self._ended[session.id] = None
        if len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)
        self._end(session.id)

    def speech_ms(self, session: VoiceSession) -> float | None:
        """Return how long somebody has been speaking, in milliseconds of audio.

        None while nobody speaks, and from a VAD that does not know; see
        ``VADProvider.speech_ms``.
        """
        known = self._open.get(session.id)
        return None if known is None else known.line.speech_ms

    def speech_format(self, session: VoiceSession) -> AudioFormat | None:
        """Return the format of a session's utterances; None before the VAD found any."""
        known = self._open.get(session.id)
        return None if known is None else known.line.speech_format

    # -- audio --------------------------------------------------------------------------------

    def process_frame(self, session: VoiceSession, frame: AudioFrame) -> AudioFrame:
        """Run an inbound frame through the stages, here and now.

        Returns:
            The frame the last stage left, with what was found out in its metadata; a frame of
            a session that has ended comes back as it is.
        """
        known = self._open.get(session.id) or self._greet(session)
        if known is None:
            return frame
        return known.line.process(session, frame)

    process_inbound = process_frame

    def feed(self, session: VoiceSession, frame: AudioFrame) -> None:
        """Run an inbound frame through the stages as soon as they are free.

        That is here and now while they keep up. Else it waits for its turn, 50 frames a session
        at most, of which the oldest are dropped.
        """
        known = self._open.get(session.id) or self._greet(session)
        if known is not None:
            known.feed(session, frame)

    def feeder(self, session: VoiceSession) -> Callable[[VoiceSession, AudioFrame], None]:
        """Return what does the same as ``feed`` for one session that is active, and sooner.

        It holds until ``on_session_ended``.
        """
        known = self._open.get(session.id)
        return self.feed if known is None else known.feed

    def process_outbound(self, session: VoiceSession, frame: AudioFrame) -> AudioFrame:
        """Return an outbound frame as it is to be played."""
        known = self._open.get(session.id) or self._greet(session)
        if known is None:
            return frame
        return known.line.process_outbound(session, frame)

    def cancel_outbound(self, session: VoiceSession) -> None:
        """Note that audio handed out for a session was thrown away before it was heard.

        To be called at the moment the sound stops: the echo canceller expects no echo of what
        follows, and the recording is cut there.
        """
        known = self._open.get(session.id)
        if known is not None:
            known.line.cancel_outbound()

    def reset(self, session: VoiceSession | None = None) -> None:
        """Make stages forget what they heard, and who spoke last; of one session or of all."""
        if session is not None:
            known = self._open.get(session.id)
            self._reset([] if known is None else [known])
            return
        self._reset(self._open.values(), _given(self._config))

    def close(self) -> None:
        """Close all stages, the given ones too, and stop what callbacks wait for. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for session_id in list(self._open):
            self._end(session_id)
        for lane in list(self._lanes):
            lane.cancel()
        for stage in _given(self._config):
            guarded(stage, "close", "closing")

    async def aclose(self) -> None:
        """Close, and return when everything the pipeline started has ended. Idempotent."""
        self.close()
        own = (asyncio.current_task(),)
        # Recordings become whole, and those who want to know are told, within a bound.
        await self._recordings.wait(_PATIENCE, but=own)
        await self._recordings.cancel(but=own)
        await self._tasks.wait(_PATIENCE, but=own)
        await self._tasks.cancel(but=own)

    # -- inside -------------------------------------------------------------------------------

    def _greet(self, session: VoiceSession) -> _Open | None:
        """Begin a session nobody announced; None if it has ended."""
        if self._closed or session.state == VoiceSessionState.ENDED or session.id in self._ended:
            self._drop(session)
            return None
        if len(self._implicit) >= MOST_SESSIONS:
            oldest, _ = self._implicit.popitem(last=False)
            logger.warning(
                "a pipeline has %d sessions nobody ended; call on_session_ended",
                MOST_SESSIONS,
                extra=ids(session_id=oldest),
            )
            self._end(oldest)
        self._implicit[session.id] = None
        return self._begin(session)

    def _begin(self, session: VoiceSession) -> _Open:
        lane = CallbackLane(session.id, self._tasks)
        self._lanes.add(lane)
        line = SessionLine(self._config, session, self._hub, lane, self._capabilities)
        queue = FrameQueue(line.process, self._tasks, self._meter, self._drop)
        known = _Open(line, queue, queue.feed)
        self._open[session.id] = known
        line.announce_recording()
        return known

    def _end(self, session_id: str) -> None:
        self._implicit.pop(session_id, None)
        known = self._open.pop(session_id, None)
        if known is not None:
            known.queue.clear()
            known.line.close()
            self._end_recording(known.line)

    def _end_recording(self, line: SessionLine) -> None:
        stop = line.stop_recording()
        if stop is None:
            return
        if loop_runs():
            self._recordings.start(stop, name="voice_recording")
        else:
            # The recorder ends it when it is closed.
            stop.close()

    def _drop(self, session: VoiceSession) -> None:
        self._hub.dropped += 1
        logger.debug("an audio frame was dropped", extra=ids(session_id=session.id))

    def _reset(self, sessions: Iterable[_Open], given: Iterable[Any] = ()) -> None:
        """Reset each stage once, however many sessions share it."""
        stages = {id(stage): stage for stage in given}
        for known in sessions:
            known.line.reset_memory()
            stages.update((id(stage), stage) for stage in known.line.stages)
        for stage in stages.values():
            guarded(stage, "reset", "resetting")


_SETTINGS = ("vad_config", "contract", "recording_config")


def _given(config: AudioPipelineConfig) -> list[Any]:
    """Return the stages of a config, in the order of its fields, each once."""
    found: dict[int, Any] = {}
    for field in fields(config):
        if field.name not in _SETTINGS:
            value = getattr(config, field.name)
            for stage in value if field.name == "postprocessors" else (value,):
                if stage is not None:
                    found[id(stage)] = stage
    return list(found.values())
