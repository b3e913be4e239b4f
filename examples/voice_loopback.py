"""A voice session without a network: a recording speaks, and what it is told is recorded.

The recording is heard frame by frame, somebody answers, and is interrupted in mid-sentence: the
position says how much was heard, and the recording of the call shows where. The clock is moved by
hand, so four seconds of conversation take no time.

    python examples/voice_loopback.py
"""

from __future__ import annotations

import asyncio
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from roomkit.testing import ManualClock
from roomkit.voice.audio import level_dbfs, load_wav, wav_bytes, write_samples
from roomkit.voice.backends.loopback import LoopbackVoiceBackend

if TYPE_CHECKING:
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import VoiceSession


def hum(hertz: float, seconds: float, rate: int = 16000) -> bytes:
    """Return somebody humming."""
    count = round(rate * seconds)
    return write_samples(
        [round(8000 * math.sin(math.tau * hertz * i / rate)) for i in range(count)]
    )


async def main() -> None:
    """Speak, answer, interrupt."""
    clock = ManualClock()
    backend = LoopbackVoiceBackend(clock=clock)
    heard: list[AudioFrame] = []

    async def listen(_: VoiceSession, frame: AudioFrame) -> None:
        heard.append(frame)

    backend.on_audio_received(listen)
    session = await backend.connect("lobby", "ana", "voice")

    with tempfile.TemporaryDirectory() as folder:
        question = Path(folder) / "question.wav"
        await asyncio.to_thread(question.write_bytes, wav_bytes(hum(220, 1.0), 16000))
        sound = await load_wav(question)
        speaking = asyncio.create_task(backend.speak(session, sound, silence_ms=200))
        await clock.advance(1.2)
        await speaking
        loud = [frame for frame in heard if level_dbfs(frame.data) > -40]
        print("frames heard:", len(heard), "of which loud:", len(loud))

        await backend.send_audio(session, hum(330, 2.0))
        await clock.advance(0.75)
        print("playing:", backend.is_playing(session))
        print("interrupted:", await backend.cancel_audio(session))
        print("heard of the answer:", backend.played_ms(session), "ms of 2000")

        await clock.advance(0.25)
        await backend.send_audio(session, hum(440, 0.5))
        await clock.advance(1.0)
        for playback in backend.playbacks(session):
            print(f"at {playback.position_ms:.0f} ms: {len(playback.data) // 32} ms")
        call = Path(folder) / "call.wav"
        await backend.save(session, call)
        print("recording:", round((await load_wav(call)).duration_ms), "ms")
    await backend.close()


if __name__ == "__main__":
    asyncio.run(main())
