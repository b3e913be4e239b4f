"""Which stages a pipeline has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.voice.apm import AECProvider, AGCProvider
    from roomkit.voice.audio.resample import ResamplerProvider
    from roomkit.voice.debug_taps import PipelineDebugTaps
    from roomkit.voice.dtmf import DTMFDetector
    from roomkit.voice.pipeline.contract import AudioPipelineContract
    from roomkit.voice.pipeline.denoiser_provider import DenoiserProvider
    from roomkit.voice.pipeline.diarization_provider import DiarizationProvider
    from roomkit.voice.pipeline.postprocessor import AudioPostProcessor
    from roomkit.voice.pipeline.vad_provider import VADConfig, VADProvider
    from roomkit.voice.recording import AudioRecorder, RecordingConfig


@dataclass
class AudioPipelineConfig:
    """The stages of a pipeline; each may be missing.

    Inbound audio passes them in this order: resampler, recorder, DTMF, AEC, AGC, denoiser,
    VAD, diarization. Outbound audio: postprocessors, recorder, AEC (as the echo to expect),
    resampler.

    Attributes:
        vad: Says when somebody speaks.
        denoiser: Takes noise out.
        diarization: Tells speakers apart.
        postprocessors: Change outbound audio, in this order.
        vad_config: Told to a ``vad`` that has ``configure(VADConfig)``.
        resampler: Brings inbound audio to ``contract.internal_format`` (16 kHz mono without a
            contract) and outbound audio to ``contract.transport_outbound_format``.
        contract: The formats.
        dtmf: Hears telephone keys.
        aec: Takes the echo of the playback out; left out where the backend does that itself.
        agc: Levels the loudness; left out where the backend does that itself.
        recorder: Keeps what is said, while a session lasts.
        recording_config: What is kept; the recorder's own default without one.
        debug_taps: Writes the audio at each boundary of stages into files.
    """

    vad: VADProvider | None = None
    denoiser: DenoiserProvider | None = None
    diarization: DiarizationProvider | None = None
    postprocessors: list[AudioPostProcessor] = field(default_factory=list)
    vad_config: VADConfig | None = None
    resampler: ResamplerProvider | None = None
    contract: AudioPipelineContract | None = None
    dtmf: DTMFDetector | None = None
    aec: AECProvider | None = None
    agc: AGCProvider | None = None
    recorder: AudioRecorder | None = None
    recording_config: RecordingConfig | None = None
    debug_taps: PipelineDebugTaps | None = None
