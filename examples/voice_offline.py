"""A voice assistant that needs no network: it hears, answers and speaks on this machine.

    pip install 'roomkit[voice-local]'
    python examples/voice_offline.py [QUESTION.wav [ANSWER.wav]]

Silero hears when somebody speaks, Moonshine understands English, a clerk of a few rules answers,
Piper speaks. Without a WAV file Piper asks the question too. Prints who said what; the answer is
written to the second file, or to a temporary folder that is gone in the end. Put another model in
the place of the clerk, and `WebSocketVoiceBackend` in the place of `LoopbackVoiceBackend`, and
people can call. Without the extra it says what to install.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from roomkit import AIChannel, ChannelCategory, RoomKit
from roomkit.channels.voice import VoiceChannel
from roomkit.exceptions import MissingDependencyError
from roomkit.models.enums import HookExecution, HookTrigger
from roomkit.providers.ai.base import AIContext, AIProvider, AIResponse
from roomkit.voice.audio import WavAudio, level_dbfs, load_wav
from roomkit.voice.backends.loopback import LoopbackVoiceBackend
from roomkit.voice.pipeline import AudioPipelineConfig
from roomkit.voice.stt.moonshine import MoonshineSTTProvider
from roomkit.voice.tts.piper import PiperTTSProvider
from roomkit.voice.vad import SileroVADProvider

RATE = 16000
QUESTION = "Good morning. What time do you open tomorrow?"
RULES = {
    "open": "We open at nine, every day but Sunday.",
    "price": "Entry is free for everybody.",
    "human": "I will call a colleague for you.",
}


class Clerk(AIProvider):
    """Answers by the first word it knows."""

    @property
    def model_name(self) -> str:
        """What it is."""
        return "a few rules"

    async def generate(self, context: AIContext) -> AIResponse:
        """Return the answer to the last message."""
        asked = str(context.messages[-1].content).lower()
        found = (answer for word, answer in RULES.items() if word in asked)
        return AIResponse(content=next(found, "I did not understand that, sorry."))


async def question(path: str | None, tts: PiperTTSProvider) -> WavAudio:
    """Return the question in a file, or have it spoken."""
    if path is not None:
        return await load_wav(path)
    chunks = [chunk.data async for chunk in tts.synthesize_stream(QUESTION)]
    return WavAudio(b"".join(chunks), RATE, 1)


async def main(asked: str | None = None, answer: str | None = None) -> None:
    """Ask a question by voice, and hear the answer."""
    tts, stt = PiperTTSProvider(sample_rate=RATE), MoonshineSTTProvider()
    backend = LoopbackVoiceBackend(output_sample_rate=RATE)
    phone = VoiceChannel(
        "phone",
        stt=stt,
        tts=tts,
        backend=backend,
        pipeline=AudioPipelineConfig(vad=SileroVADProvider()),
    )
    # Both models are loaded before anybody calls; later it would take time from the first turn.
    await asyncio.gather(stt.warmup(), tts.warmup())
    spoken = asyncio.Event()

    async with RoomKit(voice=backend) as kit:

        @kit.hook(HookTrigger.AFTER_TTS, HookExecution.ASYNC)
        async def after(text: str, context: object) -> None:
            spoken.set()

        kit.register_channel(phone)
        kit.register_channel(AIChannel("clerk", Clerk()))
        await kit.create_room("call")
        await kit.attach_channel("call", "phone")
        await kit.attach_channel("call", "clerk", category=ChannelCategory.INTELLIGENCE)
        session = await kit.connect_voice("call", "caller", "phone")

        await backend.speak(session, await question(asked, tts), silence_ms=1200)
        try:
            await asyncio.wait_for(spoken.wait(), 30)
        except TimeoutError:
            sys.exit("There was no answer: was there English speech in the recording?")
        for role, text in backend.transcriptions(session):
            print(f"{role}: {text}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(answer or Path(folder) / "answer.wav")
            await backend.save(session, path)
            sound = await load_wav(path)
            heard = sum(len(playback.data) for playback in backend.playbacks(session)) / 2 / RATE
            print(f"answer: {heard:.1f} s of speech, {level_dbfs(sound.data):.0f} dB")
        await kit.disconnect_voice(session)


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:3]))
    except MissingDependencyError as missing:
        print(f"{missing.package} is not installed: install roomkit[voice-local], then run this")
