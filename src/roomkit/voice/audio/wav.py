"""WAV files in and out, read the way they are found and not only the way they should be.

Sources: Microsoft/IBM "Multimedia Programming Interface and Data Specifications 1.0" (1991) for
RIFF, Microsoft's WAVEFORMATEXTENSIBLE, EBU Tech 3306 for RF64.
"""

from __future__ import annotations

import asyncio
import struct
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio.g711 import alaw_to_pcm16, mulaw_to_pcm16
from roomkit.voice.audio.pcm import read_samples, require_format, write_samples

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_LAWS = {_ALAW: alaw_to_pcm16, _MULAW: mulaw_to_pcm16}
_UNKNOWN = 0xFFFFFFFF
_TRAILERS = (b"LIST", b"fact", b"id3 ", b"bext", b"JUNK", b"cue ", b"smpl")


@dataclass(frozen=True, slots=True)
class WavAudio:
    """The sound of a WAV file, whatever its encoding was.

    Attributes:
        data: Signed 16-bit little-endian PCM.
        sample_rate: Hertz.
        channels: Interleaved channels.
    """

    data: bytes = field(repr=False)
    sample_rate: int
    channels: int

    @property
    def duration_ms(self) -> float:
        """How long it lasts, in milliseconds."""
        return 1000.0 * len(self.data) / (2 * self.channels * self.sample_rate)


@dataclass(frozen=True, slots=True)
class _Layout:
    encoding: int
    channels: int
    rate: int
    width: int


def parse_wav(data: bytes) -> WavAudio:
    """Return the sound in a WAV file.

    Understood: PCM of 8, 16, 24 and 32 bits, floats of 32 and 64 bits, mu-law, A-law, each
    also as WAVE_FORMAT_EXTENSIBLE, in RIFF and RF64. A header that lies about its sizes, as
    that of a stream or of a broken download does, is not believed: what is there is read. An
    incomplete group of samples at the end is left out.

    Args:
        data: The whole file.

    Raises:
        InvalidInputError: It is no WAV file, or an encoding that is not understood.
    """
    if len(data) < 12 or data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
        raise InvalidInputError("not a WAV file: RIFF/WAVE header missing")
    layout: _Layout | None = None
    long_size = _UNKNOWN
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        start = at + 8
        if name == b"fmt ":
            layout = _read_layout(data[start : start + size])
        elif name == b"ds64" and size >= 16:
            long_size = int.from_bytes(data[start + 8 : start + 16], "little")
        elif name == b"data":
            if layout is None:
                raise InvalidInputError("not a usable WAV file: sound before its format")
            return _decode(_sound(data, start, long_size if size == _UNKNOWN else size), layout)
        at = _next_chunk(data, start + size)
    raise InvalidInputError("not a usable WAV file: no sound in it")


async def load_wav(path: str | Path, *, max_bytes: int = 100 * 1024 * 1024) -> WavAudio:
    """Read and decode a WAV file in a thread.

    Args:
        path: The file.
        max_bytes: The largest file accepted.

    Raises:
        InvalidInputError: As ``parse_wav``, or the file is larger than ``max_bytes``.
        OSError: It cannot be read.
    """

    def load() -> WavAudio:
        with Path(path).open("rb") as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise InvalidInputError(f"the WAV file is larger than {max_bytes} bytes")
        return parse_wav(data)

    return await asyncio.to_thread(load)


def wav_bytes(pcm: bytes, sample_rate: int, channels: int = 1, *, sample_width: int = 2) -> bytes:
    """Return PCM as a WAV file.

    Args:
        pcm: Little-endian samples; an incomplete group at the end is left out.
        sample_rate: Hertz.
        channels: Interleaved channels.
        sample_width: Bytes a sample.

    Raises:
        InvalidInputError: Numbers that describe no audio, or more than 4 GiB.
    """
    require_format(sample_rate, channels, sample_width)
    block = channels * sample_width
    pcm = pcm[: len(pcm) - len(pcm) % block]
    pad = len(pcm) % 2
    size = 36 + len(pcm) + pad
    if size > 0xFFFFFFFF:
        raise InvalidInputError("more than 4 GiB do not fit into a WAV file")
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        size,
        b"WAVE",
        b"fmt ",
        16,
        _PCM,
        channels,
        sample_rate,
        sample_rate * block,
        block,
        8 * sample_width,
        b"data",
        len(pcm),
    )
    return header + pcm + b"\0" * pad


def _sound(data: bytes, start: int, size: int) -> bytes:
    """Return the bytes of sound; a size of 0 or "unknown" is that of a stream: all the rest."""
    unknown = size == _UNKNOWN or (size == 0 and data[start : start + 4] not in _TRAILERS)
    return data[start:] if unknown else data[start : start + size]


def _next_chunk(data: bytes, end: int) -> int:
    """Return where the next chunk begins: chunks are padded to even sizes, but not by all."""
    if end % 2 and (end >= len(data) or data[end] == 0):
        return end + 1
    return end


def _read_layout(chunk: bytes) -> _Layout:
    if len(chunk) < 16:
        raise InvalidInputError("not a usable WAV file: its format is cut off")
    encoding, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", chunk)
    if encoding == _EXTENSIBLE and len(chunk) >= 26:
        encoding = struct.unpack_from("<H", chunk, 24)[0]
    width = (bits + 7) // 8
    if channels and block % channels == 0 and block // channels > width:
        # Such as 20 bits in 24: the container counts.
        width = block // channels
    if encoding in _LAWS:
        width = 1
    allowed = {_PCM: (1, 2, 3, 4), _FLOAT: (4, 8), _ALAW: (1,), _MULAW: (1,)}
    if width not in allowed.get(encoding, ()):
        raise InvalidInputError(
            f"WAV encoding {encoding} with {bits} bits is not understood; convert it to PCM"
        )
    require_format(rate, channels, 2)
    return _Layout(encoding, channels, rate, width)


def _decode(raw: bytes, layout: _Layout) -> WavAudio:
    raw = raw[: len(raw) - len(raw) % (layout.width * layout.channels)]
    if layout.encoding in _LAWS:
        data = _LAWS[layout.encoding](raw)
    elif layout.encoding == _FLOAT:
        data = _from_floats(raw, layout.width)
    elif layout.width == 2:
        data = raw
    else:
        data = write_samples(read_samples(raw, layout.width))
    return WavAudio(data, layout.rate, layout.channels)


def _from_floats(raw: bytes, width: int) -> bytes:
    values = struct.unpack(f"<{len(raw) // width}{'f' if width == 4 else 'd'}", raw)
    return write_samples(array("h", [_from_float(value) for value in values]))


def _from_float(value: float) -> int:
    """Return 1.0 as full scale; what is no number becomes silence."""
    if value != value:
        return 0
    return round(max(-1.0, min(value, 1.0)) * 32767)
