"""sherpa-onnx as a synthesiser: speech on this machine, with any VITS model.

Source: the documentation of sherpa-onnx, and version 1.13.8 itself. Its callback ends the
synthesis by returning 0, whatever its docstring says.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit._lazy import require
from roomkit.exceptions import ConfigurationError, InvalidInputError
from roomkit.voice._workers import ModelWorker, require_file
from roomkit.voice.audio.pcm import write_samples
from roomkit.voice.audio.wav import wav_bytes
from roomkit.voice.tts._local import LocalSynthesiser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_USER = "SherpaOnnxTTSProvider"
_FULL_SCALE = 32767


@dataclass
class SherpaOnnxTTSConfig:
    """A VITS model in files, and how it speaks.

    Attributes:
        model: The path of the ``.onnx`` file.
        tokens: Of ``tokens.txt``.
        data_dir: Of the folder ``espeak-ng-data``, for models that need it, such as Piper's.
        lexicon: Of ``lexicon.txt``, for models that need that instead.
        speaker_id: Who speaks, in a model with several speakers.
        speed: More than 1 is faster.
        sample_rate: What the model's rate is expected to be, in hertz; chunks tell the true one.
        num_threads: Processors one synthesis uses.
        provider_type: What computes: ``cpu``, ``cuda`` or ``coreml``.
        provider: Another name of ``provider_type``; it wins.
    """

    model: str = ""
    tokens: str = ""
    data_dir: str = ""
    lexicon: str = ""
    speaker_id: int = 0
    speed: float = 1.0
    sample_rate: int = 22050
    num_threads: int = 2
    provider_type: str = "cpu"
    provider: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Let both names of the provider say the same."""
        self.provider_type = self.provider or self.provider_type
        self.provider = self.provider_type


class SherpaOnnxTTSProvider(LocalSynthesiser[Any]):
    """Speaks with sherpa-onnx, without a network.

    Nothing is loaded before the first call or ``warmup``. All calls share one thread; a call
    that is left stops at the end of the phrase that is being made. Versions of sherpa-onnx from
    2 on cannot turn text into phonemes and are refused by the extra.

    Args:
        config: The model.
        timeout: Seconds to the first audio of a sentence, and from one piece to the next.

    Raises:
        MissingDependencyError: sherpa-onnx is not installed.
        ConfigurationError: A number of the config cannot be.
    """

    def __init__(self, config: SherpaOnnxTTSConfig, *, timeout: float = 30.0) -> None:
        self._sherpa: Any = require(
            "sherpa_onnx", user=_USER, extra="sherpa-onnx", dist="sherpa-onnx"
        )
        if config.speed <= 0 or config.num_threads < 1 or config.speaker_id < 0:
            raise ConfigurationError(
                "SherpaOnnxTTSConfig: speed is above 0, num_threads at least 1, speaker_id not "
                "negative"
            )
        self._config = config
        self._set_up(ModelWorker(self.name, self._load), timeout=timeout)

    @property
    def name(self) -> str:
        """``SherpaOnnxTTS``."""
        return "SherpaOnnxTTS"

    @property
    def default_voice(self) -> str:
        """The speaker of the config, as a decimal number."""
        return str(self._config.speaker_id)

    def _load(self) -> Any:
        config, sherpa = self._config, self._sherpa
        model = require_file(_USER, "model", config.model)
        tokens = require_file(_USER, "tokens", config.tokens)
        if config.data_dir:
            require_file(_USER, "data_dir", config.data_dir, folder=True)
        if config.lexicon:
            require_file(_USER, "lexicon", config.lexicon)
        vits = sherpa.OfflineTtsVitsModelConfig(
            model=model, tokens=tokens, data_dir=config.data_dir, lexicon=config.lexicon
        )
        return sherpa.OfflineTts(
            sherpa.OfflineTtsConfig(
                model=sherpa.OfflineTtsModelConfig(
                    vits=vits, num_threads=config.num_threads, provider=config.provider_type
                )
            )
        )

    def _speaker(self, voice: str | None) -> int:
        if voice is None:
            return self._config.speaker_id
        if not (voice.isascii() and voice.isdecimal() and len(voice) < 6):
            raise InvalidInputError(f"voice={voice[:40]!r}: the number of a speaker, such as '0'")
        return int(voice)

    def _rate_of(self, model: Any) -> int:
        return int(model.sample_rate)

    def _speak(self, model: Any, text: str, speaker: int, emit: Callable[[bytes], bool]) -> None:
        most = getattr(model, "num_speakers", None)
        if isinstance(most, int) and speaker >= max(most, 1):
            # The library would say it with another voice.
            raise InvalidInputError(f"voice='{speaker}': the model's speakers are 0 to {most - 1}")

        def heard(samples: Any, progress: float) -> int:
            return int(emit(_float32_to_pcm_s16le(samples)))

        model.generate(text, sid=speaker, speed=self._config.speed, callback=heard)


def _float32_to_pcm_s16le(samples: Iterable[float]) -> bytes:
    """Return numbers from -1 to 1 as 16-bit PCM; what is louder is clipped."""
    clip = getattr(samples, "clip", None)
    if clip is not None:
        pcm: bytes = (clip(-1.0, 1.0) * _FULL_SCALE).astype("<i2").tobytes()
        return pcm
    clipped = (int(max(-1.0, min(1.0, sample)) * _FULL_SCALE) for sample in samples)
    return write_samples(array("h", clipped))


def _wrap_wav(pcm: bytes, sample_rate: int, num_channels: int = 1) -> bytes:
    """Return 16-bit PCM as a WAV file: a header of 44 bytes, then the samples."""
    return wav_bytes(pcm, sample_rate, num_channels)
