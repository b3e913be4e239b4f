"""What ElevenLabs' output formats are, and chunks made of their bytes. Pure."""

from __future__ import annotations

from roomkit.voice.base import AudioChunk

_USUAL_RATE = 44100
_LONGEST_NUMBER = 6
_MIMES = {
    "mp3": "audio/mpeg",
    "pcm": "audio/pcm",
    "ulaw": "audio/basic",
    "alaw": "audio/x-alaw-basic",
    "opus": "audio/ogg",
    "wav": "audio/wav",
}
_FORMATS = {"pcm": "pcm_s16le", "ulaw": "ulaw", "alaw": "alaw", "opus": "opus", "wav": "wav"}


class Audio:
    """Makes chunks of one stream's bytes; PCM is cut between two samples.

    Args:
        output_format: As in the config.
    """

    def __init__(self, output_format: str) -> None:
        self._format = _FORMATS.get(_codec(output_format), "mp3")
        self._rate = _rate(output_format)
        self._stray = b""

    def whole(self, piece: bytes) -> bytes:
        """Return the bytes that can go out; half a sample waits for its other half."""
        if self._format != "pcm_s16le":
            return piece
        piece = self._stray + piece
        even = len(piece) - len(piece) % 2
        self._stray = piece[even:]
        return piece[:even]

    def chunk(self, data: bytes, *, is_final: bool = False) -> AudioChunk:
        """Return a chunk with the stream's rate and format."""
        return AudioChunk(data, self._rate, 1, self._format, is_final=is_final)


def _codec(output_format: str) -> str:
    return output_format.partition("_")[0]


def _rate(output_format: str) -> int:
    """Return the hertz a format names, such as 24000 for ``mp3_24000_48``."""
    rate = output_format.split("_")[1:2]
    if not rate or len(rate[0]) > _LONGEST_NUMBER or not (rate[0].isascii() and rate[0].isdigit()):
        return _USUAL_RATE
    return int(rate[0]) or _USUAL_RATE


def mime_of(output_format: str) -> str:
    """Return the MIME type of what an ``output_format`` gives."""
    return _MIMES.get(_codec(output_format), "audio/mpeg")
