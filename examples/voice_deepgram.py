"""Speech to text with Deepgram: a whole recording, then words while somebody speaks.

With DEEPGRAM_API_KEY set and a WAV file (16 bits, mono) named on the command line it asks the
vendor. Without, a simulator on this machine plays the vendor and loses the connection once.
"""

from __future__ import annotations

import asyncio
import os
import sys
import wave
from typing import TYPE_CHECKING

from roomkit.simulators.deepgram import DeepgramSimulator, Hangup, Heard
from roomkit.voice.base import AudioChunk
from roomkit.voice.stt.deepgram import DeepgramConfig, DeepgramSTTProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RATE = 16000
SILENCE = bytes(RATE * 2 * 2)
"""Two seconds of it: the simulator hears what it is told to, whatever is said."""


async def microphone(pcm: bytes, rate: int) -> AsyncIterator[AudioChunk]:
    """Give a recording as a microphone would, in pieces of 20 ms."""
    size = rate // 50 * 2
    for start in range(0, len(pcm), size):
        yield AudioChunk(pcm[start : start + size], sample_rate=rate)


async def listen(recogniser: DeepgramSTTProvider, pcm: bytes, rate: int) -> None:
    """Print what is heard in the whole recording, then while it is spoken."""
    print("recording:", await recogniser.transcribe(AudioChunk(pcm, sample_rate=rate)))
    async for result in recogniser.transcribe_stream(microphone(pcm, rate)):
        print("final:  " if result.is_final else "so far: ", result.text)


async def for_real(path: str) -> None:
    """Ask the vendor about a file."""
    with wave.open(path, "rb") as file:
        pcm, rate = file.readframes(file.getnframes()), file.getframerate()
    recogniser = DeepgramSTTProvider(
        DeepgramConfig(api_key=os.environ["DEEPGRAM_API_KEY"], model="nova-3")
    )
    await listen(recogniser, pcm, rate)
    await recogniser.close()


async def simulated() -> None:
    """Let the simulator hear three utterances; its second one is cut by a lost connection."""
    async with DeepgramSimulator() as vendor:
        vendor.hear(
            "Do you open on Sundays?",
            Heard("Hello, this is Ana.", seconds=0.6),
            Heard("Do you open on Sundays?", seconds=0.8, segments=2),
        )
        recogniser = DeepgramSTTProvider(DeepgramConfig(**vendor.settings))
        # After five answers the connection breaks; what was not heard yet is said again.
        vendor.hang_up(Hangup(1011, "NET-0000", after=5))
        await listen(recogniser, SILENCE, RATE)
        await recogniser.close()
        print("connections:", len(vendor.sockets))


if __name__ == "__main__":
    if "DEEPGRAM_API_KEY" in os.environ and len(sys.argv) > 1:
        asyncio.run(for_real(sys.argv[1]))
    else:
        asyncio.run(simulated())
