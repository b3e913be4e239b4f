"""Voice: sessions of live audio, what understands them and what speaks in them.

Naming a class here loads nothing until it is used. Classes that need an optional package are
not listed; the ``get_...`` functions import them, and so do their own modules.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from roomkit._lazy import lazy_exports

if TYPE_CHECKING:
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.backends.base import AudioReceivedCallback, VoiceBackend
    from roomkit.voice.base import (
        AudioChunk,
        BargeInCallback,
        TranscriptionResult,
        VoiceCapability,
        VoiceSession,
        VoiceSessionState,
    )
    from roomkit.voice.events import (
        BargeInEvent,
        PartialTranscriptionEvent,
        SpeakerChangeEvent,
        TTSCancelledEvent,
        VADAudioLevelEvent,
        VADSilenceEvent,
    )
    from roomkit.voice.pipeline.config import AudioPipelineConfig
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
    from roomkit.voice.stt.base import STTProvider
    from roomkit.voice.tts.base import TTSProvider
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "AudioChunk": "roomkit.voice.base",
            "AudioFrame": "roomkit.voice.audio_frame",
            "AudioPipeline": "roomkit.voice.pipeline.engine",
            "AudioPipelineConfig": "roomkit.voice.pipeline.config",
            "AudioPostProcessor": "roomkit.voice.pipeline.postprocessor",
            "AudioReceivedCallback": "roomkit.voice.backends.base",
            "BargeInCallback": "roomkit.voice.base",
            "BargeInEvent": "roomkit.voice.events",
            "DenoiserProvider": "roomkit.voice.pipeline.denoiser_provider",
            "DiarizationProvider": "roomkit.voice.pipeline.diarization_provider",
            "DiarizationResult": "roomkit.voice.pipeline.diarization_provider",
            "MockDenoiserProvider": "roomkit.voice.pipeline.mock",
            "MockDiarizationProvider": "roomkit.voice.pipeline.mock",
            "MockVADProvider": "roomkit.voice.pipeline.mock",
            "PartialTranscriptionEvent": "roomkit.voice.events",
            "STTProvider": "roomkit.voice.stt.base",
            "SpeakerChangeEvent": "roomkit.voice.events",
            "TTSCancelledEvent": "roomkit.voice.events",
            "TTSProvider": "roomkit.voice.tts.base",
            "TranscriptionResult": "roomkit.voice.base",
            "VADAudioLevelEvent": "roomkit.voice.events",
            "VADConfig": "roomkit.voice.pipeline.vad_provider",
            "VADEvent": "roomkit.voice.pipeline.vad_provider",
            "VADEventType": "roomkit.voice.pipeline.vad_provider",
            "VADProvider": "roomkit.voice.pipeline.vad_provider",
            "VADSilenceEvent": "roomkit.voice.events",
            "VoiceBackend": "roomkit.voice.backends.base",
            "VoiceCapability": "roomkit.voice.base",
            "VoiceSession": "roomkit.voice.base",
            "VoiceSessionState": "roomkit.voice.base",
        },
        extra=(
            "get_deepgram_config",
            "get_deepgram_provider",
            "get_elevenlabs_config",
            "get_elevenlabs_provider",
            "get_fastrtc_backend",
            "get_fastrtc_realtime_transport",
            "get_gemini_live_provider",
            "get_mount_fastrtc_realtime",
            "get_mount_fastrtc_voice",
            "get_openai_realtime_provider",
            "get_sherpa_onnx_stt_config",
            "get_sherpa_onnx_stt_provider",
            "get_sherpa_onnx_tts_config",
            "get_sherpa_onnx_tts_provider",
            "get_websocket_realtime_transport",
        ),
    )

__all__ = [
    "AudioChunk",
    "AudioFrame",
    "AudioPipeline",
    "AudioPipelineConfig",
    "AudioPostProcessor",
    "AudioReceivedCallback",
    "BargeInCallback",
    "BargeInEvent",
    "DenoiserProvider",
    "DiarizationProvider",
    "DiarizationResult",
    "MockDenoiserProvider",
    "MockDiarizationProvider",
    "MockVADProvider",
    "PartialTranscriptionEvent",
    "STTProvider",
    "SpeakerChangeEvent",
    "TTSCancelledEvent",
    "TTSProvider",
    "TranscriptionResult",
    "VADAudioLevelEvent",
    "VADConfig",
    "VADEvent",
    "VADEventType",
    "VADProvider",
    "VADSilenceEvent",
    "VoiceBackend",
    "VoiceCapability",
    "VoiceSession",
    "VoiceSessionState",
]


def _load(module: str, name: str) -> Any:
    """Return a name of a module, imported now.

    Named by text: two of the classes live on the floor above, which must not be imported here.
    """
    return getattr(import_module(module), name)


def get_deepgram_provider() -> Any:
    """Return the class ``DeepgramSTTProvider``."""
    return _load("roomkit.voice.stt.deepgram", "DeepgramSTTProvider")


def get_deepgram_config() -> Any:
    """Return the class ``DeepgramConfig``."""
    return _load("roomkit.voice.stt.deepgram", "DeepgramConfig")


def get_elevenlabs_provider() -> Any:
    """Return the class ``ElevenLabsTTSProvider``."""
    return _load("roomkit.voice.tts.elevenlabs", "ElevenLabsTTSProvider")


def get_elevenlabs_config() -> Any:
    """Return the class ``ElevenLabsConfig``."""
    return _load("roomkit.voice.tts.elevenlabs", "ElevenLabsConfig")


def get_sherpa_onnx_stt_provider() -> Any:
    """Return the class ``SherpaOnnxSTTProvider``."""
    return _load("roomkit.voice.stt.sherpa_onnx", "SherpaOnnxSTTProvider")


def get_sherpa_onnx_stt_config() -> Any:
    """Return the class ``SherpaOnnxSTTConfig``."""
    return _load("roomkit.voice.stt.sherpa_onnx", "SherpaOnnxSTTConfig")


def get_sherpa_onnx_tts_provider() -> Any:
    """Return the class ``SherpaOnnxTTSProvider``."""
    return _load("roomkit.voice.tts.sherpa_onnx", "SherpaOnnxTTSProvider")


def get_sherpa_onnx_tts_config() -> Any:
    """Return the class ``SherpaOnnxTTSConfig``."""
    return _load("roomkit.voice.tts.sherpa_onnx", "SherpaOnnxTTSConfig")


def get_fastrtc_backend() -> Any:
    """Return the class ``FastRTCVoiceBackend``."""
    return _load("roomkit.voice.backends.fastrtc", "FastRTCVoiceBackend")


def get_mount_fastrtc_voice() -> Any:
    """Return the function ``mount_fastrtc_voice``."""
    return _load("roomkit.voice.backends.fastrtc", "mount_fastrtc_voice")


def get_openai_realtime_provider() -> Any:
    """Return the class ``OpenAIRealtimeProvider``."""
    return _load("roomkit.providers.openai.realtime", "OpenAIRealtimeProvider")


def get_gemini_live_provider() -> Any:
    """Return the class ``GeminiLiveProvider``."""
    return _load("roomkit.providers.gemini.realtime", "GeminiLiveProvider")


def get_websocket_realtime_transport() -> Any:
    """Return the class ``WebSocketRealtimeTransport``."""
    return _load("roomkit.voice.realtime.ws_transport", "WebSocketRealtimeTransport")


def get_fastrtc_realtime_transport() -> Any:
    """Return the class ``FastRTCRealtimeTransport``."""
    return _load("roomkit.voice.realtime.fastrtc_transport", "FastRTCRealtimeTransport")


def get_mount_fastrtc_realtime() -> Any:
    """Return the function ``mount_fastrtc_realtime``."""
    return _load("roomkit.voice.realtime.fastrtc_transport", "mount_fastrtc_realtime")
