"""Text to speech with ElevenLabs: whole, in pieces, and while the text is still being written.

With ELEVENLABS_API_KEY set it asks the vendor. Without, a simulator on this machine plays the
vendor. A file named on the command line gets what was said, as WAV.
"""

from __future__ import annotations

import asyncio
import os
import sys
import wave
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from roomkit import ProviderError
from roomkit.simulators import error
from roomkit.simulators.elevenlabs import ElevenLabsSimulator
from roomkit.voice.tts.elevenlabs import ElevenLabsConfig, ElevenLabsTTSProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FORMAT = "pcm_24000"
"""What live voice can play; the vendor's own default is mp3."""


async def model() -> AsyncIterator[str]:
    """Write as a language model does, in parts of words."""
    for piece in ("We op", "en at ni", "ne. ", "On Sundays", " we are clo", "sed."):
        await asyncio.sleep(0)
        yield piece


async def speak(voice: ElevenLabsTTSProvider) -> bytes:
    """Speak in the three ways; return the audio of the last."""
    recording = await voice.synthesize("Good morning.")
    print("recording:", recording.mime_type, f"{recording.duration_seconds:.1f} s estimated")

    size = 0
    async for chunk in voice.synthesize_stream("Good morning. How can I help you?"):
        size += len(chunk.data)
    print("in pieces:", size > 0, "of whole samples:", size % 2 == 0)

    spoken = bytearray()
    async for chunk in voice.synthesize_stream_input(model()):
        spoken += chunk.data
    print("while it is written:", f"{len(spoken) / 2 / chunk.sample_rate:.1f} s")
    return bytes(spoken)


async def main() -> None:
    """Speak, with the account of the environment or with a simulator."""
    async with AsyncExitStack() as stack:
        if key := os.environ.get("ELEVENLABS_API_KEY"):
            config = ElevenLabsConfig(api_key=key, output_format=FORMAT)
        else:
            vendor = await stack.enter_async_context(ElevenLabsSimulator())
            config = ElevenLabsConfig(**vendor.settings, output_format=FORMAT)
            vendor.script(error(401, code="quota_exceeded"))
        voice = ElevenLabsTTSProvider(config)
        stack.push_async_callback(voice.close)
        try:
            print("voices:", ", ".join(each.name for each in await voice.list_voices()))
        except ProviderError as refused:
            print("refused:", refused.error_type, "retry:", refused.retryable)
        spoken = await speak(voice)
    if len(sys.argv) > 1:
        with wave.open(sys.argv[1], "wb") as file:
            file.setparams((1, 2, 24000, 0, "NONE", ""))
            file.writeframes(spoken)


if __name__ == "__main__":
    asyncio.run(main())
