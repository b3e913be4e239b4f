"""The arithmetic of changing a sample rate: one kernel table, one stream that remembers.

Not for frames or formats; ``resample`` puts those around it.

A stream from rate M to rate L (both divided by their greatest common divisor) computes output
``k`` at input time ``k * M / L``. Its weights depend only on the fraction of that time, so they
come from a table of phases. Weights are integers and their sums stay below 2**53, so the plain
and the numpy road give the same samples to the last bit.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from roomkit.exceptions import InvalidInputError

if TYPE_CHECKING:
    from types import ModuleType

MAX_RATIO = 64
"""The largest factor between two rates; beyond it the tables would grow without use."""

_SHIFT = 22
_HALF = 1 << (_SHIFT - 1)
_MAX_PHASES = 1024
_MAX_WEIGHTS = 65536
_CUTOFF = 0.94  # of half the lower rate; what is left is the filter's slope


@dataclass(frozen=True, slots=True)
class Kernel:
    """The weights of one conversion.

    Attributes:
        up: Output samples for every ``down`` input samples.
        down: Input samples for every ``up`` output samples.
        reach: Input samples it looks ahead, and back; also its delay.
        phases: For each fraction ``2 * reach`` weights that sum to ``1 << 22``.
    """

    up: int
    down: int
    reach: int
    phases: tuple[list[int], ...]


@lru_cache(maxsize=32)
def kernel(source_rate: int, target_rate: int, zero_crossings: int) -> Kernel:
    """Return the weights from one rate to another.

    Args:
        source_rate: Hertz.
        target_rate: Hertz.
        zero_crossings: Half the length of the windowed sinc in samples of the lower rate;
            0 means straight lines between samples.

    Raises:
        InvalidInputError: The rates differ by more than a factor of 64.
    """
    divisor = math.gcd(source_rate, target_rate)
    up, down = target_rate // divisor, source_rate // divisor
    if max(up, down) > MAX_RATIO * min(up, down):
        raise InvalidInputError(
            f"cannot change {source_rate} Hz to {target_rate} Hz: more than {MAX_RATIO} times"
        )
    shrink = max(1.0, down / up)
    reach = max(1, math.ceil(zero_crossings * shrink))
    count = min(up, _MAX_PHASES, max(32, _MAX_WEIGHTS // (2 * reach)))
    scale = _CUTOFF / shrink
    phases = tuple(_phase(index / count, reach, zero_crossings, scale) for index in range(count))
    return Kernel(up, down, reach, phases)


def _phase(fraction: float, reach: int, zero_crossings: int, scale: float) -> list[int]:
    """Return the integer weights of one fraction, oldest sample first."""
    shape = _sinc if zero_crossings else _triangle
    raw = [shape(reach - 1 + fraction - tap, reach, scale) for tap in range(2 * reach)]
    total = sum(raw)
    weights = [round(value / total * (1 << _SHIFT)) for value in raw]
    # A constant signal must come out unchanged whatever the phase, else tones get a buzz.
    middle = max(range(len(weights)), key=weights.__getitem__)
    weights[middle] += (1 << _SHIFT) - sum(weights)
    return weights


def _triangle(distance: float, reach: int, scale: float) -> float:
    return max(0.0, 1.0 - abs(distance))


def _sinc(distance: float, reach: int, scale: float) -> float:
    """Return a sinc under a Blackman window."""
    place = distance / reach
    if abs(place) >= 1.0:
        return 0.0
    window = 0.42 + 0.5 * math.cos(math.pi * place) + 0.08 * math.cos(2 * math.pi * place)
    angle = math.pi * scale * distance
    return window * (math.sin(angle) / angle if angle else 1.0)


class RateStream:
    """One channel, or several in parallel, going from one rate to another.

    Args:
        weights: The conversion.
        channels: Interleaved channels.
        past: Interleaved samples that came before, as many as there are; silence if fewer.
        aligned: True holds the first outputs back until their future is known, so that the
            sound keeps its place and ``finish`` brings the rest. False starts with silence
            as long as the delay, so that every push brings its full share at once.
        begin: Where the first output lies after the first input, in input samples.
        numpy: The module to compute with; None for plain Python.
    """

    def __init__(
        self,
        weights: Kernel,
        channels: int = 1,
        *,
        past: array[int] | None = None,
        aligned: bool = False,
        begin: float = 0.0,
        numpy: ModuleType | None = None,
    ) -> None:
        self._kernel = weights
        self._channels = channels
        self._numpy = numpy
        self._position = round((begin + (weights.reach if aligned else 0)) * weights.up)
        self._table: Any = numpy.array(weights.phases, dtype=float) if numpy else None
        keep = 2 * weights.reach - 1
        past = past if past is not None else array("h")
        self._memory = [
            ([0] * keep + past[lane::channels].tolist())[-keep:] for lane in range(channels)
        ]

    @property
    def over(self) -> float:
        """How far after the last input the next output lies, in input samples."""
        return self._position / self._kernel.up

    @property
    def past(self) -> array[int]:
        """The newest samples it remembers, interleaved."""
        woven = array("h", bytes(2 * len(self._memory[0]) * self._channels))
        for lane, memory in enumerate(self._memory):
            woven[lane :: self._channels] = array("h", memory)
        return woven

    def push(self, samples: array[int]) -> array[int]:
        """Return what can be computed with these samples, interleaved."""
        count = len(samples) // self._channels
        places = self._places(count)
        lanes = [
            self._lane(lane, samples[lane :: self._channels].tolist(), places)
            for lane in range(self._channels)
        ]
        self._position += len(places) * self._kernel.down - count * self._kernel.up
        if self._channels == 1:
            return lanes[0]
        woven = array("h", bytes(2 * len(places) * self._channels))
        for lane, out in enumerate(lanes):
            woven[lane :: self._channels] = out
        return woven

    def finish(self, future: array[int] | None = None) -> array[int]:
        """Return what was held back; the stream is then at its end.

        Args:
            future: Interleaved samples that would have come next; silence where they lack.
        """
        size = self._kernel.reach * self._channels
        rest = (future if future is not None else array("h"))[:size]
        return self.push(rest + array("h", bytes(2 * (size - len(rest)))))

    def _places(self, count: int) -> range:
        """Return the positions of the outputs that fall into the next ``count`` inputs."""
        return range(self._position, count * self._kernel.up, self._kernel.down)

    def _lane(self, lane: int, samples: list[int], places: range) -> array[int]:
        joined = self._memory[lane] + samples
        self._memory[lane] = joined[-(2 * self._kernel.reach - 1) :]
        if self._numpy and len(places) > 8:
            return self._fast(self._numpy, joined, places)
        up, phases, span = self._kernel.up, self._kernel.phases, 2 * self._kernel.reach
        steps = len(phases)
        out = array("h")
        for place in places:
            start, part = divmod(place, up)
            weights = phases[part * steps // up]
            value = int(math.sumprod(weights, joined[start : start + span])) + _HALF >> _SHIFT
            out.append(-32768 if value < -32768 else min(value, 32767))
        return out

    def _fast(self, np: ModuleType, joined: list[int], places: range) -> array[int]:
        """Do the same with numpy, exactly: every sum is a whole number below 2**53."""
        at = np.arange(places.start, places.stop, places.step)
        windows = np.lib.stride_tricks.sliding_window_view(
            np.array(joined, dtype=float), 2 * self._kernel.reach
        )[at // self._kernel.up]
        weights = self._table[at % self._kernel.up * len(self._table) // self._kernel.up]
        sums = np.einsum("ij,ij->i", windows, weights)
        values = np.floor((sums + _HALF) / (1 << _SHIFT))
        return array("h", np.clip(values, -32768, 32767).astype(np.int16).tobytes())
