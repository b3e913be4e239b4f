"""What tests of live models share: a session with a simulator, and everything it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._clock import ManualClock
from roomkit.simulators.openai_realtime import tone
from roomkit.voice.realtime import RealtimeSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.simulators._realtime_base import RealtimeSimulator
    from roomkit.voice.realtime import RealtimeVoiceProvider

RATE = 16000
QUIET = bytes(RATE * 2)
KINDS = (
    "audio",
    "transcription",
    "speech_start",
    "speech_end",
    "tool_call",
    "response_start",
    "response_end",
    "error",
)


class Heard:
    """Everything a provider tells, by kind, in order."""

    def __init__(self, provider: RealtimeVoiceProvider) -> None:
        self.all: list[tuple[Any, ...]] = []
        for kind in KINDS:
            getattr(provider, f"on_{kind}")(self._note(kind))

    def _note(self, kind: str) -> Any:
        def note(session: RealtimeSession, *values: Any) -> None:
            self.all.append((kind, *values))

        return note

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """Return what was told of one kind, without the kind."""
        return [tuple(values) for told, *values in self.all if told == kind]

    @property
    def audio(self) -> bytes:
        """All audio together."""
        return b"".join(values[0] for values in self.of("audio"))

    @property
    def finals(self) -> list[tuple[str, str]]:
        """Final transcripts: role and text."""
        return [(role, text) for text, role, final in self.of("transcription") if final]

    @property
    def kinds(self) -> list[str]:
        """What was told, without audio and transcripts."""
        return [kind for kind, *_ in self.all if kind not in ("audio", "transcription")]


class LiveCall[P: RealtimeVoiceProvider, S: RealtimeSimulator[Any]]:
    """A provider and the simulator it is connected to.

    Args:
        make: Makes the provider.
        sim: The simulator.
        options: For the provider, beside the simulator's settings and a clock.
    """

    def __init__(self, make: Callable[..., P], sim: S, **options: Any) -> None:
        self.sim = sim
        self.clock = ManualClock()
        self.provider = make(**{**sim.settings, "clock": self.clock, **options})
        self.heard = Heard(self.provider)
        self.session = RealtimeSession("s-1", "room", "pat", "live")

    async def connect(self, **settings: Any) -> None:
        """Connect the session."""
        await self.provider.connect(self.session, **settings)

    async def speak(self, milliseconds: int = 400) -> None:
        """Say something, then be quiet for a second."""
        await self.provider.send_audio(self.session, tone(milliseconds, rate=RATE))
        await self.provider.send_audio(self.session, QUIET)
