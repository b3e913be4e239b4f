"""What ``roomkit.voice`` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import roomkit.voice
import roomkit.voice.pipeline

NAMES = """
AudioChunk AudioFrame TranscriptionResult VoiceBackend VoiceCapability VoiceSession
VoiceSessionState AudioReceivedCallback BargeInCallback BargeInEvent PartialTranscriptionEvent
SpeakerChangeEvent TTSCancelledEvent VADAudioLevelEvent VADSilenceEvent AudioPipeline
AudioPipelineConfig AudioPostProcessor DenoiserProvider DiarizationProvider DiarizationResult
VADConfig VADEvent VADEventType VADProvider MockDenoiserProvider MockDiarizationProvider
MockVADProvider STTProvider TTSProvider
"""
PIPELINE_NAMES = """
AudioPipeline AudioPipelineConfig AudioPostProcessor DenoiserProvider DiarizationProvider
DiarizationResult MockDenoiserProvider MockDiarizationProvider MockVADProvider VADConfig
VADEvent VADEventType VADProvider
"""
GETTERS = {
    "get_deepgram_config": ("roomkit.voice.stt.deepgram", "DeepgramConfig"),
    "get_deepgram_provider": ("roomkit.voice.stt.deepgram", "DeepgramSTTProvider"),
    "get_elevenlabs_config": ("roomkit.voice.tts.elevenlabs", "ElevenLabsConfig"),
    "get_elevenlabs_provider": ("roomkit.voice.tts.elevenlabs", "ElevenLabsTTSProvider"),
    "get_sherpa_onnx_stt_config": ("roomkit.voice.stt.sherpa_onnx", "SherpaOnnxSTTConfig"),
    "get_sherpa_onnx_stt_provider": ("roomkit.voice.stt.sherpa_onnx", "SherpaOnnxSTTProvider"),
    "get_sherpa_onnx_tts_config": ("roomkit.voice.tts.sherpa_onnx", "SherpaOnnxTTSConfig"),
    "get_sherpa_onnx_tts_provider": ("roomkit.voice.tts.sherpa_onnx", "SherpaOnnxTTSProvider"),
    "get_fastrtc_backend": ("roomkit.voice.backends.fastrtc", "FastRTCVoiceBackend"),
    "get_mount_fastrtc_voice": ("roomkit.voice.backends.fastrtc", "mount_fastrtc_voice"),
    "get_openai_realtime_provider": (
        "roomkit.providers.openai.realtime",
        "OpenAIRealtimeProvider",
    ),
    "get_gemini_live_provider": ("roomkit.providers.gemini.realtime", "GeminiLiveProvider"),
    "get_websocket_realtime_transport": (
        "roomkit.voice.realtime.ws_transport",
        "WebSocketRealtimeTransport",
    ),
    "get_fastrtc_realtime_transport": (
        "roomkit.voice.realtime.fastrtc_transport",
        "FastRTCRealtimeTransport",
    ),
    "get_mount_fastrtc_realtime": (
        "roomkit.voice.realtime.fastrtc_transport",
        "mount_fastrtc_realtime",
    ),
}


def test_the_names_of_voice() -> None:
    """Exactly the contract's, each importable."""
    assert sorted(roomkit.voice.__all__) == sorted(NAMES.split())
    for name in roomkit.voice.__all__:
        assert getattr(roomkit.voice, name) is not None


def test_the_names_of_the_pipeline() -> None:
    """At least the contract's, each importable."""
    assert set(PIPELINE_NAMES.split()) <= set(roomkit.voice.pipeline.__all__)
    for name in roomkit.voice.pipeline.__all__:
        assert getattr(roomkit.voice.pipeline, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As in any module."""
    with pytest.raises(AttributeError, match="NoSuchThing"):
        roomkit.voice.NoSuchThing  # noqa: B018


def test_the_getters_are_listed_but_not_starred() -> None:
    """``dir`` shows them, ``import *`` leaves them out."""
    assert set(GETTERS) <= set(dir(roomkit.voice))
    assert not set(GETTERS) & set(roomkit.voice.__all__)


@pytest.mark.parametrize("getter", sorted(GETTERS))
def test_a_getter_gives_the_thing_itself(getter: str) -> None:
    """The very class or function of the module it lives in."""
    module, name = GETTERS[getter]
    assert getattr(roomkit.voice, getter)() is getattr(import_module(module), name)


def test_importing_voice_loads_nothing() -> None:
    """Neither pydantic nor any part of voice, until a name is used."""
    code = (
        "import sys; import roomkit.voice, roomkit.voice.pipeline;"
        "print(sorted(name for name in sys.modules if name.startswith('roomkit.voice')));"
        "print('pydantic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [
        "['roomkit.voice', 'roomkit.voice.pipeline']",
        "False",
    ]
