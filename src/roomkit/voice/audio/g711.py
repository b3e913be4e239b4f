"""G.711: the two 8-bit laws of telephony, to and from 16-bit PCM.

Source: ITU-T Recommendation G.711 (11/1988), tables 1a to 2b. A 16-bit sample counts as the
standard's uniform value scaled to the full range (14 bits for mu-law, 13 for A-law).

Each law is symmetric: eight segments of sixteen steps, each segment's steps twice as wide as
those before it (A-law: the first two are alike), so the tables are laid out segment by segment
instead of being computed sample by sample. Decoding is two byte translations; encoding is one
look-up a sample.
"""

from __future__ import annotations

import sys
from array import array
from functools import cache

_SWAP = sys.byteorder == "big"
_FLIP = bytes(code ^ 0x80 for code in range(256))
_STEPS = [(segment, step) for segment in range(8) for step in range(16)]


def pcm16_to_mulaw(pcm: bytes) -> bytes:
    """Return one mu-law byte a sample.

    Args:
        pcm: Signed 16-bit little-endian samples; an odd byte at the end is ignored.
    """
    return _encode(pcm, _mulaw_codes())


def mulaw_to_pcm16(data: bytes) -> bytes:
    """Return signed 16-bit little-endian samples, one for each mu-law byte."""
    return _decode(data, *_mulaw_values())


def pcm16_to_alaw(pcm: bytes) -> bytes:
    """Return one A-law byte a sample.

    Args:
        pcm: Signed 16-bit little-endian samples; an odd byte at the end is ignored.
    """
    return _encode(pcm, _alaw_codes())


def alaw_to_pcm16(data: bytes) -> bytes:
    """Return signed 16-bit little-endian samples, one for each A-law byte."""
    return _decode(data, *_alaw_values())


def _encode(pcm: bytes, codes: bytes) -> bytes:
    samples = array("H")
    samples.frombytes(pcm[: len(pcm) & ~1])
    if _SWAP:
        samples.byteswap()
    return bytes(map(codes.__getitem__, samples))


def _decode(data: bytes, low: bytes, high: bytes) -> bytes:
    pcm = bytearray(2 * len(data))
    pcm[0::2] = data.translate(low)
    pcm[1::2] = data.translate(high)
    return bytes(pcm)


@cache
def _mulaw_codes() -> bytes:
    """Return the code of every sample, indexed by its unsigned 16-bit reading."""
    runs = (bytes([0xFF - (segment << 4 | step)]) * (8 << segment) for segment, step in _STEPS)
    # The law biases a sample by 132 before it looks for the segment, which starts at 128; what
    # lies above the last decision value is clipped to the loudest code.
    positive = b"".join(runs)[4:].ljust(32768, b"\x80")
    # -x has the code of x with the sign bit cleared, and -32768 that of -32767.
    negative = b"\x80" + positive[:0:-1]
    return positive + negative.translate(_FLIP)


@cache
def _alaw_codes() -> bytes:
    """Return the code of every sample, indexed by its unsigned 16-bit reading."""
    positive = b"".join(
        bytes([(segment << 4 | step) ^ 0xD5]) * (16 << max(0, segment - 1))
        for segment, step in _STEPS
    )
    # The law has no zero of its own: -1 mirrors 0, -32768 mirrors 32767.
    return positive + positive[::-1].translate(_FLIP)


@cache
def _mulaw_values() -> tuple[bytes, bytes]:
    values = [0] * 256
    for segment, step in _STEPS:
        value = ((step << 3) + 132 << segment) - 132
        values[0xFF - (segment << 4 | step)] = value
        values[0x7F - (segment << 4 | step)] = -value
    return _split(values)


@cache
def _alaw_values() -> tuple[bytes, bytes]:
    values = [0] * 256
    for segment, step in _STEPS:
        value = (step << 4) + 8 if not segment else (step << 4) + 264 << segment - 1
        values[(segment << 4 | step) ^ 0xD5] = value
        values[(segment << 4 | step) ^ 0x55] = -value
    return _split(values)


def _split(values: list[int]) -> tuple[bytes, bytes]:
    """Return the low and the high byte of each value."""
    return bytes(value & 0xFF for value in values), bytes(value >> 8 & 0xFF for value in values)
