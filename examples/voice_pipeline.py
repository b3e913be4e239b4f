"""What a caller's audio passes: noise gate, keys, voice activity, recorder; and their hooks."""

from __future__ import annotations

import asyncio
import math
import struct
import tempfile
from typing import TYPE_CHECKING, Any

from roomkit import (
    AIChannel,
    ChannelCategory,
    HookExecution,
    HookTrigger,
    ManualClock,
    MockAIProvider,
    RoomContext,
    RoomKit,
)
from roomkit.channels.voice import VoiceChannel
from roomkit.voice.audio import level_dbfs
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.backends.mock import MockVoiceBackend
from roomkit.voice.dtmf import GoertzelDTMFDetector
from roomkit.voice.pipeline import AudioPipelineConfig, DenoiserProvider
from roomkit.voice.recording import RecordingChannelMode, RecordingConfig, WavFileRecorder
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.tts.mock import MockTTSProvider
from roomkit.voice.turn_detector import PunctuationTurnDetector
from roomkit.voice.vad import EnergyVADProvider

if TYPE_CHECKING:
    from roomkit.voice.base import VoiceSession

RATE = 16000
KEYS = {"4": (770, 1209), "2": (697, 1336), "#": (941, 1477)}


class NoiseGate(DenoiserProvider):
    """A stage of one's own: what is quieter than -40 dBFS becomes silence."""

    name = "noise_gate"

    def __init__(self) -> None:
        self.closed = 0

    def process(self, frame: AudioFrame) -> AudioFrame:
        """Return the frame, or one of silence."""
        if level_dbfs(frame.data) > -40:
            return frame
        self.closed += 1
        return AudioFrame(bytes(len(frame.data)), frame.sample_rate)


def sound(ms: int, *hertz: float, level: float = 6000) -> bytes:
    """Return sines on top of each other."""
    count = RATE * ms // 1000
    values = (sum(level * math.sin(math.tau * f * n / RATE) for f in hertz) for n in range(count))
    return struct.pack(f"<{count}h", *(int(value) for value in values))


class Caller:
    """Somebody on the telephone, whose time is the program's."""

    def __init__(self, backend: MockVoiceBackend, session: VoiceSession, clock: ManualClock):
        self.backend, self.session, self.clock = backend, session, clock

    async def send(self, pcm: bytes) -> None:
        """Let a sound come in, frame by frame."""
        for at in range(0, len(pcm), 640):
            frame = AudioFrame(pcm[at : at + 640], RATE)
            await self.backend.simulate_audio_received(self.session, frame)
            await self.clock.advance(0.02)

    async def speak(self, ms: int) -> None:
        """Speak, and be silent but for the noise of the place."""
        await self.send(sound(ms, 220) + sound(800, 50, level=60))

    async def press(self, keys: str) -> None:
        """Press keys."""
        for key in keys:
            await self.send(sound(100, *KEYS[key]) + sound(700, 50, level=60))


async def main() -> None:
    """Ask, answer by keys, hang up, and look at the recording."""
    clock, backend, gate = ManualClock(), MockVoiceBackend(), NoiseGate()
    seen: list[str] = []

    def note(line: str) -> None:
        seen.append(line)
        print(line)

    with tempfile.TemporaryDirectory() as folder:
        channel = VoiceChannel(
            "telephone",
            stt=MockSTTProvider(["What is the balance", "of my account?"]),
            tts=MockTTSProvider(),
            backend=backend,
            turn_detector=PunctuationTurnDetector(pause_ms=5000),
            clock=clock,
            pipeline=AudioPipelineConfig(
                dtmf=GoertzelDTMFDetector(),
                denoiser=gate,
                vad=EnergyVADProvider(),
                recorder=WavFileRecorder(folder, clock=clock),
                recording_config=RecordingConfig(channels=RecordingChannelMode.STEREO),
            ),
        )
        async with RoomKit(voice=backend) as kit:
            observe = HookExecution.ASYNC

            @kit.hook(HookTrigger.ON_TURN_INCOMPLETE, observe)
            async def paused(event: Any, context: RoomContext) -> None:
                note(f"paused after: {event.text}")

            @kit.hook(HookTrigger.ON_TURN_COMPLETE, observe)
            async def finished(event: Any, context: RoomContext) -> None:
                note(f"asked: {event.text}")

            @kit.hook(HookTrigger.ON_DTMF, observe)
            async def key(event: Any, context: RoomContext) -> None:
                note(f"key {event.digit} for {event.duration_ms:.0f} ms")

            @kit.hook(HookTrigger.AFTER_TTS, observe)
            async def said(text: str, context: RoomContext) -> None:
                note(f"said: {text}")

            @kit.hook(HookTrigger.ON_RECORDING_STOPPED, observe)
            async def recorded(event: Any, context: RoomContext) -> None:
                note(f"recorded: {event.duration_seconds:.1f} s in {context.room.id}")

            kit.register_channel(channel)
            model = MockAIProvider(responses=["Enter your number, then hash."])
            kit.register_channel(AIChannel("ai", model))
            await kit.create_room("call")
            await kit.attach_channel("call", "telephone")
            await kit.attach_channel("call", "ai", category=ChannelCategory.INTELLIGENCE)
            session = await kit.connect_voice("call", "caller", "telephone")
            caller = Caller(backend, session, clock)
            await caller.speak(600)
            await caller.speak(400)
            await caller.press("42#")
            await kit.disconnect_voice(session)

    print("noise taken out of", gate.closed, "frames")
    assert [line.split()[1] for line in seen if line.startswith("key")] == ["4", "2", "#"]
    assert "asked: What is the balance of my account?" in seen
    assert len([line for line in seen if line.startswith("asked")]) == 1
    assert seen[-1] == "recorded: 5.0 s in call"


if __name__ == "__main__":
    asyncio.run(main())
