"""Tools for sound: G.711, sample rates, WAV files, levels. Nothing here knows of sessions."""

from __future__ import annotations

from roomkit.voice.audio.g711 import (
    alaw_to_pcm16,
    mulaw_to_pcm16,
    pcm16_to_alaw,
    pcm16_to_mulaw,
)
from roomkit.voice.audio.levels import dbfs, level_dbfs, peak_pcm16, rms, rms_pcm16
from roomkit.voice.audio.pcm import (
    SampleCarry,
    mix_channels,
    mono_pcm16,
    read_samples,
    require_format,
    write_samples,
)
from roomkit.voice.audio.resample import (
    LinearResamplerProvider,
    MockResamplerProvider,
    ResampleCall,
    ResamplerProvider,
    SincResamplerProvider,
    resample_pcm16,
)
from roomkit.voice.audio.wav import WavAudio, load_wav, parse_wav, wav_bytes

__all__ = [
    "LinearResamplerProvider",
    "MockResamplerProvider",
    "ResampleCall",
    "ResamplerProvider",
    "SampleCarry",
    "SincResamplerProvider",
    "WavAudio",
    "alaw_to_pcm16",
    "dbfs",
    "level_dbfs",
    "load_wav",
    "mix_channels",
    "mono_pcm16",
    "mulaw_to_pcm16",
    "parse_wav",
    "pcm16_to_alaw",
    "pcm16_to_mulaw",
    "peak_pcm16",
    "read_samples",
    "require_format",
    "resample_pcm16",
    "rms",
    "rms_pcm16",
    "wav_bytes",
    "write_samples",
]
