"""The stages of one session, bound once; and what every session of a pipeline shares."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from importlib import import_module
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from roomkit._logging import ids, log_failure
from roomkit.voice.audio.pcm import SampleCarry
from roomkit.voice.base import VoiceCapability
from roomkit.voice.pipeline._steps import (
    configure,
    convert,
    denoise,
    guarded,
    reference,
    stage_name,
    transform,
)
from roomkit.voice.pipeline.contract import AudioFormat
from roomkit.voice.pipeline.vad_provider import VADEventType

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from roomkit.voice.apm import AECProvider
    from roomkit.voice.audio.resample import ResamplerProvider
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import VoiceSession
    from roomkit.voice.dtmf import DTMFDetector
    from roomkit.voice.pipeline._queues import CallbackLane
    from roomkit.voice.pipeline._steps import Step
    from roomkit.voice.pipeline.config import AudioPipelineConfig
    from roomkit.voice.pipeline.diarization_provider import DiarizationProvider
    from roomkit.voice.pipeline.vad_provider import VADEvent, VADProvider
    from roomkit.voice.recording import AudioRecorder, RecordingHandle

logger = logging.getLogger("roomkit.voice.pipeline")

_TAPPED = frozenset(("resampler", "aec", "agc", "denoiser", "postprocessors", "outbound_final"))
"""Stages that change the sound; it can be listened to behind each."""


class Hub:
    """The callbacks and counters all sessions of a pipeline share.

    Attributes:
        speech_end: Called with ``(session, audio)``.
        vad_event: Called with ``(session, VADEvent)``.
        speaker_change: Called with ``(session, DiarizationResult)``.
        dtmf: Called with ``(session, DTMFEvent)``.
        heard: Called with ``(session, AudioFrame)``: what the VAD is about to judge.
        recording_started: Called with ``(session, RecordingHandle)``.
        recording_stopped: Called with ``(session, RecordingResult)``.
        failures: How often each stage failed, by its name.
        dropped: Frames that were not processed.
    """

    __slots__ = (
        "dropped",
        "dtmf",
        "failures",
        "heard",
        "recording_started",
        "recording_stopped",
        "speaker_change",
        "speech_end",
        "vad_event",
    )

    def __init__(self) -> None:
        self.speech_end: tuple[Callable[..., Any], ...] = ()
        self.vad_event: tuple[Callable[..., Any], ...] = ()
        self.speaker_change: tuple[Callable[..., Any], ...] = ()
        self.dtmf: tuple[Callable[..., Any], ...] = ()
        self.heard: tuple[Callable[..., Any], ...] = ()
        self.recording_started: tuple[Callable[..., Any], ...] = ()
        self.recording_stopped: tuple[Callable[..., Any], ...] = ()
        self.failures: Counter[str] = Counter()
        self.dropped = 0


class SessionLine:
    """One session's stages.

    Args:
        config: The given stages; ``for_session`` of each is asked for this session's own.
        session: Whose.
        hub: Callbacks and counters.
        lane: Takes what callbacks return to be awaited.
        capabilities: What the backend does by itself.

    Attributes:
        speech_format: The format of the frames the VAD spoke about last.
        speaker: Who spoke last.
        own: The stages ``for_session`` made anew.
        stages: All stages, also the given ones.
    """

    def __init__(
        self,
        config: AudioPipelineConfig,
        session: VoiceSession,
        hub: Hub,
        lane: CallbackLane,
        capabilities: VoiceCapability,
    ) -> None:
        self.speech_format: AudioFormat | None = None
        self.speaker: str | None = None
        self.own: list[Any] = []
        self.stages: list[Any] = []
        self._session = session
        self._hub = hub
        self._lane = lane
        self._config = config
        self._names: dict[Step, str] = {}
        self._failed: set[Step] = set()
        self._closed = False
        self._vad: VADProvider | None = None
        self._aec: AECProvider | None = None
        self._wires: list[ResamplerProvider] = []
        self._torn = SampleCarry()
        self._torn_form = (0, 0, 0)
        native_aec = VoiceCapability.NATIVE_AEC in capabilities
        native_agc = VoiceCapability.NATIVE_AGC in capabilities
        aec = None if native_aec else self._take(config.aec)
        agc = None if native_agc else self._take(config.agc)
        contract = config.contract
        self._internal = AudioFormat() if contract is None else contract.internal_format
        self._recording = self._record()
        self._inbound = self._bind_inbound(aec, agc)
        self._outbound = self._bind_outbound(aec)

    def process(self, session: VoiceSession, frame: AudioFrame) -> AudioFrame:
        """Return an inbound frame as the last stage left it."""
        self._session = session
        for step in self._inbound:
            try:
                frame = step(frame)
            except Exception as exc:  # noqa: BLE001 - a stage is foreign code; the others go on
                self._note(step, exc)
        return frame

    def process_outbound(self, session: VoiceSession, frame: AudioFrame) -> AudioFrame:
        """Return an outbound frame as it is to be played.

        Half a sample at its end waits for the next one: a stage would take it for noise.
        """
        self._session = session
        if self._outbound:
            frame = self._whole(frame)
        for step in self._outbound:
            try:
                frame = step(frame)
            except Exception as exc:  # noqa: BLE001 - a stage is foreign code; the others go on
                self._note(step, exc)
        return frame

    def _whole(self, frame: AudioFrame) -> AudioFrame:
        form = (frame.sample_rate, frame.channels, frame.sample_width)
        block = max(1, frame.channels * frame.sample_width)
        if form != self._torn_form:
            # Half a sample of another stream is nothing.
            self._torn_form, self._torn = form, SampleCarry(block)
        if not self._torn.pending and not len(frame.data) % block:
            return frame
        return replace(frame, data=self._torn.push(frame.data))

    @property
    def speech_ms(self) -> float | None:
        """How long has been spoken, as the VAD knows it."""
        known = getattr(self._vad, "speech_ms", None)
        return known if isinstance(known, (int, float)) else None

    def cancel_outbound(self) -> None:
        """Note that what was handed out and not played yet will not be heard.

        No echo of it is to be expected, it is not in the recording, and nothing of it sounds
        in what is played next.
        """
        if self._aec is not None:
            guarded(self._aec, "clear_reference", "clearing the echo")
        recorder, handle = self._config.recorder, self._recording
        if recorder is not None and handle is not None:
            guarded(recorder, "cut_outbound", "cutting the recording", handle)
        for resampler in self._wires:
            guarded(resampler, "reset", "resetting")
        self._torn_form = (0, 0, 0)

    def reset_memory(self) -> None:
        """Forget who spoke last."""
        self.speaker = None

    def close(self) -> None:
        """Close the stages made for this session."""
        self._closed = True
        own, self.own = self.own, []
        for stage in own:
            guarded(stage, "close", "closing")
        taps = self._config.debug_taps
        if taps is not None:
            guarded(taps, "close_session", "closing", self._session.id)

    def announce_recording(self) -> None:
        """Tell the callbacks that a recording began, if one did."""
        if self._recording is not None:
            self._emit(self._hub.recording_started, self._recording)

    def stop_recording(self) -> Coroutine[Any, Any, None] | None:
        """Return what ends the recording and tells the callbacks; None if there is none.

        Its first step, in which no more frames are taken, is to be run at once.
        """
        recorder, handle = self._config.recorder, self._recording
        self._recording = None
        if recorder is None or handle is None:
            return None
        return self._stop(recorder, handle)

    async def _stop(self, recorder: AudioRecorder, handle: RecordingHandle) -> None:
        try:
            result = await recorder.stop(handle)
        except Exception as exc:  # noqa: BLE001 - a recorder is foreign code
            self._hub.failures[stage_name(recorder)] += 1
            log_failure(
                logger, exc, "a recording was lost", extra=ids(session_id=self._session.id)
            )
        else:
            self._emit(self._hub.recording_stopped, result)

    # -- binding ----------------------------------------------------------------------------

    def _take[S](self, stage: S | None, prepare: Callable[[S], None] | None = None) -> S | None:
        """Return this session's own of a given stage, or the given one if it is shared.

        What was made anew is prepared first. A stage that cannot be made is left out: sharing
        it would mix two callers.
        """
        if stage is None:
            return None
        make = getattr(stage, "for_session", None)
        try:
            mine: S = stage if make is None else make()
            if prepare is not None and mine is not stage:
                prepare(mine)
        except Exception as exc:  # noqa: BLE001 - a stage is foreign code
            self._hub.failures[stage_name(stage)] += 1
            log_failure(
                logger,
                exc,
                "the stage %s cannot be made for a session, which goes without it",
                stage_name(stage),
                extra=ids(session_id=self._session.id),
            )
            return None
        self.stages.append(mine)
        if mine is not stage:
            self.own.append(mine)
        return mine

    def _bind_inbound(self, aec: Any, agc: Any) -> tuple[Step, ...]:
        config = self._config
        vad = self._take(config.vad, lambda stage: configure(stage, config.vad_config))
        self._vad = vad
        return self._named(
            "inbound_raw",
            [
                ("resampler", self._take(config.resampler), self._to_internal),
                ("recorder", self._recorder(), self._tap_inbound),
                ("dtmf", self._take(config.dtmf), self._detect_keys),
                ("aec", aec, transform),
                ("agc", agc, transform),
                ("denoiser", self._take(config.denoiser), denoise),
                ("heard", self._hub if self._hub.heard else None, self._hand_on),
                ("vad", vad, self._detect_speech),
                ("diarization", self._take(config.diarization), self._tell_speakers),
            ],
        )

    def _bind_outbound(self, aec: Any) -> tuple[Step, ...]:
        config = self._config
        # Resamplers remember: each stream of audio has one of its own.
        echo = None if aec is None else self._take(config.resampler)
        wire = self._take(config.resampler)
        self._aec = aec
        # One that all sessions share is not reset for one of them.
        mine = {id(stage) for stage in self.own}
        self._wires = [each for each in (echo, wire) if each is not None and id(each) in mine]
        return self._named(
            "outbound_raw",
            [
                *(("postprocessors", self._take(s), transform) for s in config.postprocessors),
                ("recorder", self._recorder(), self._tap_outbound),
                ("reference", aec, lambda stage: reference(stage, echo, self._internal)),
                ("outbound_final", wire, self._to_wire),
            ],
        )

    def _named(
        self, raw: str, bound: list[tuple[str, Any, Callable[[Any], Step]]]
    ) -> tuple[Step, ...]:
        """Bind the stages that are there, with the debug taps between them."""
        steps = self._debug_tap(raw)
        for label, stage, bind in bound:
            if stage is not None:
                step = bind(stage)
                self._names[step] = stage_name(stage)
                steps.append(step)
                if label in _TAPPED:
                    steps += self._debug_tap(label)
        return tuple(steps)

    def _debug_tap(self, label: str) -> list[Step]:
        taps = self._config.debug_taps
        if taps is None or not taps.wants(label):
            return []

        def step(frame: AudioFrame) -> AudioFrame:
            taps.tap(self._session.id, label, frame)
            return frame

        self._names[step] = f"debug tap {label}"
        return [step]

    def _recorder(self) -> AudioRecorder | None:
        return None if self._recording is None else self._config.recorder

    def _record(self) -> RecordingHandle | None:
        """Begin the recording of the session."""
        recorder, config = self._config.recorder, self._config.recording_config
        if recorder is None:
            return None
        if config is None:
            # By its name: the recorder's module is built on stages, and those on this package.
            config = import_module("roomkit.voice.recording").RecordingConfig()
        try:
            return recorder.start(self._session, config)
        except Exception as exc:  # noqa: BLE001 - a recorder is foreign code
            self._hub.failures[stage_name(recorder)] += 1
            log_failure(
                logger,
                exc,
                "a session is not recorded",
                extra=ids(session_id=self._session.id),
            )
            return None

    # -- steps ------------------------------------------------------------------------------

    def _to_internal(self, stage: ResamplerProvider) -> Step:
        target = self._internal
        return convert(stage, lambda _: target)

    def _to_wire(self, stage: ResamplerProvider) -> Step:
        contract = self._config.contract
        if contract is not None:
            target = contract.transport_outbound_format
            return convert(stage, lambda _: target)

        def wanted(frame: AudioFrame) -> AudioFormat:
            rate = self._session.metadata.get("output_sample_rate")
            whole = rate if isinstance(rate, int) else frame.sample_rate
            return AudioFormat(whole, frame.channels, frame.sample_width)

        return convert(stage, wanted)

    def _tap_inbound(self, stage: AudioRecorder) -> Step:
        def step(frame: AudioFrame) -> AudioFrame:
            if self._recording is not None:
                stage.tap_inbound(self._recording, frame)
            return frame

        return step

    def _tap_outbound(self, stage: AudioRecorder) -> Step:
        def step(frame: AudioFrame) -> AudioFrame:
            if self._recording is not None:
                stage.tap_outbound(self._recording, frame)
            return frame

        return step

    def _detect_keys(self, stage: DTMFDetector) -> Step:
        def step(frame: AudioFrame) -> AudioFrame:
            event = stage.process(frame)
            if event is not None:
                frame.metadata["dtmf"] = {"digit": event.digit, "duration_ms": event.duration_ms}
                self._emit(self._hub.dtmf, event)
            return frame

        return step

    def _hand_on(self, hub: Hub) -> Step:
        def step(frame: AudioFrame) -> AudioFrame:
            self._emit(hub.heard, frame)
            return frame

        return step

    def _detect_speech(self, stage: VADProvider) -> Step:
        def step(frame: AudioFrame) -> AudioFrame:
            event = stage.process(frame)
            if event is not None:
                self._heard(event, frame)
            return frame

        return step

    def _heard(self, event: VADEvent, frame: AudioFrame) -> None:
        frame.metadata["vad"] = {"type": event.type, "confidence": event.confidence}
        hub = self._hub
        if event.type == VADEventType.AUDIO_LEVEL:
            self._emit(hub.vad_event, event)
            return
        self.speech_format = AudioFormat.of(frame)
        self._emit(hub.vad_event, event)
        if event.type == VADEventType.SPEECH_END and event.audio_bytes is not None:
            self._emit(hub.speech_end, event.audio_bytes)

    def _tell_speakers(self, stage: DiarizationProvider) -> Step:
        def step(frame: AudioFrame) -> AudioFrame:
            result = stage.process(frame)
            if result is not None:
                frame.metadata["diarization"] = {
                    "speaker_id": result.speaker_id,
                    "confidence": result.confidence,
                }
                if result.speaker_id != self.speaker:
                    self.speaker = result.speaker_id
                    self._emit(self._hub.speaker_change, result)
            return frame

        return step

    # -- callbacks and failures ---------------------------------------------------------------

    def _emit(self, callbacks: Iterable[Callable[..., Any]], what: object) -> None:
        session = self._session
        for callback in callbacks:
            try:
                result = callback(session, what)
            except Exception as exc:  # noqa: BLE001 - a callback is foreign code
                log_failure(
                    logger, exc, "an audio callback failed", extra=ids(session_id=session.id)
                )
            else:
                if result is not None and isawaitable(result):
                    self._lane.push(result)

    def _note(self, step: Step, error: Exception) -> None:
        """Count a stage's failure; the first of a session is logged, the rest at DEBUG."""
        name = self._names[step]
        self._hub.failures[name] += 1
        extra = ids(session_id=self._session.id)
        if step in self._failed or self._closed:
            logger.debug("the stage %s failed again", name, exc_info=error, extra=extra)
            return
        self._failed.add(step)
        log_failure(
            logger, error, "the stage %s failed, its frames pass as they are", name, extra=extra
        )
