"""What audio passes on its way in and out: stages, their config and the pipeline itself.

Naming a stage here loads nothing until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit._lazy import lazy_exports

if TYPE_CHECKING:
    from roomkit.voice.pipeline.config import AudioPipelineConfig
    from roomkit.voice.pipeline.contract import AudioFormat, AudioPipelineContract
    from roomkit.voice.pipeline.denoiser_provider import DenoiserProvider
    from roomkit.voice.pipeline.diarization_provider import DiarizationProvider, DiarizationResult
    from roomkit.voice.pipeline.engine import AudioPipeline
    from roomkit.voice.pipeline.mock import (
        MockDenoiserProvider,
        MockDiarizationProvider,
        MockVADProvider,
    )
    from roomkit.voice.pipeline.postprocessor import AudioPostProcessor
    from roomkit.voice.pipeline.vad_provider import (
        VADConfig,
        VADEvent,
        VADEventType,
        VADProvider,
    )
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "AudioFormat": "roomkit.voice.pipeline.contract",
            "AudioPipeline": "roomkit.voice.pipeline.engine",
            "AudioPipelineConfig": "roomkit.voice.pipeline.config",
            "AudioPipelineContract": "roomkit.voice.pipeline.contract",
            "AudioPostProcessor": "roomkit.voice.pipeline.postprocessor",
            "DenoiserProvider": "roomkit.voice.pipeline.denoiser_provider",
            "DiarizationProvider": "roomkit.voice.pipeline.diarization_provider",
            "DiarizationResult": "roomkit.voice.pipeline.diarization_provider",
            "MockDenoiserProvider": "roomkit.voice.pipeline.mock",
            "MockDiarizationProvider": "roomkit.voice.pipeline.mock",
            "MockVADProvider": "roomkit.voice.pipeline.mock",
            "VADConfig": "roomkit.voice.pipeline.vad_provider",
            "VADEvent": "roomkit.voice.pipeline.vad_provider",
            "VADEventType": "roomkit.voice.pipeline.vad_provider",
            "VADProvider": "roomkit.voice.pipeline.vad_provider",
        },
    )

__all__ = [
    "AudioFormat",
    "AudioPipeline",
    "AudioPipelineConfig",
    "AudioPipelineContract",
    "AudioPostProcessor",
    "DenoiserProvider",
    "DiarizationProvider",
    "DiarizationResult",
    "MockDenoiserProvider",
    "MockDiarizationProvider",
    "MockVADProvider",
    "VADConfig",
    "VADEvent",
    "VADEventType",
    "VADProvider",
]
