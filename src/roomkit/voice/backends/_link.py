"""One client that has a session: its socket, what it is still to hear, what it says."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roomkit._logging import ids
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.backends._playout import Playout

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from roomkit._clock import Clock
    from roomkit.voice.backends._inlet import Inlet
    from roomkit.voice.backends._socket import Line, Socket
    from roomkit.voice.backends._wire import Sound, Wire
    from roomkit.voice.base import VoiceSession

logger = logging.getLogger("roomkit.voice.backends")


@dataclass(frozen=True, slots=True)
class VoiceLinkStats:
    """How one client is doing.

    Attributes:
        queued_ms: Milliseconds of audio that wait to be sent.
        dropped_frames: Inbound frames nobody heard.
        malformed: Messages that could not be used.
        callback_failures: Callbacks that raised.
    """

    queued_ms: int
    dropped_frames: int
    malformed: int
    callback_failures: int


class Link:
    """A session and the client that carries it.

    Args:
        session: The session.
        socket: The client's socket.
        line: Its sending side.
        wire: Its protocol, started.
        inlet: Takes its frames.
        clock: For the playout.
        lead_ms: For the playout.
        max_queued_ms: For the playout.

    Attributes:
        playout: What the client is still to hear.
        tasks: The reader and the writer, ended with the link.
        malformed: Messages that could not be used; the first is logged.
        fell_silent: Whether ``silence`` has come to its end.
    """

    def __init__(
        self,
        session: VoiceSession,
        socket: Socket,
        line: Line,
        wire: Wire,
        inlet: Inlet,
        *,
        clock: Clock,
        lead_ms: int,
        max_queued_ms: int,
    ) -> None:
        self.session = session
        self.socket = socket
        self.line = line
        self.wire = wire
        self.inlet = inlet
        self.tasks: list[asyncio.Task[None]] = []
        self.malformed = 0
        self.fell_silent = False
        self._clock = clock
        self._last_sign = clock.monotonic()
        self._first_ms: float | None = None
        self._samples = 0
        self.playout = Playout(
            self,
            rate=wire.output_rate,
            clock=clock,
            lead_ms=lead_ms,
            max_queued_ms=max_queued_ms,
            session_id=session.id,
        )

    async def play(self, pcm: bytes, mark: str | None, stale: Callable[[], bool]) -> None:
        """Send audio and its mark; see ``Port``."""
        await self.line.send(
            self.wire.audio(pcm), None if mark is None else self.wire.mark(mark), unless=stale
        )

    async def clear(self) -> None:
        """Have the client drop its playback; see ``Port``."""
        await self.line.send(self.wire.clear())

    def sign(self) -> None:
        """Note that something came of the client, whatever it is."""
        self._last_sign = self._clock.monotonic()

    async def silence(self, seconds: float) -> None:
        """Return when nothing has come of the client for so long."""
        while (left := self._last_sign + seconds - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)
        self.fell_silent = True
        logger.info("nothing is heard of a voice client", extra=ids(session_id=self.session.id))

    def hear(self, sound: Sound) -> None:
        """Queue what the client said. Audio without a sample is no audio."""
        if not sound.pcm:
            return
        rate = self.wire.input_rate
        at = 1000 * self._samples / rate
        if sound.at_ms is not None:
            if self._first_ms is None:
                self._first_ms = sound.at_ms
            at = max(0.0, sound.at_ms - self._first_ms)
        self._samples += len(sound.pcm) // 2
        self.inlet.put(AudioFrame(sound.pcm, rate, 1, 2, timestamp_ms=at))

    def refuse(self, code: str) -> None:
        """Count a message that cannot be used."""
        if not self.malformed:
            logger.warning(
                "a message of a voice client cannot be used: %s",
                code,
                extra=ids(session_id=self.session.id),
            )
        self.malformed += 1

    def stats(self) -> VoiceLinkStats:
        """Return how the client is doing."""
        return VoiceLinkStats(
            queued_ms=self.playout.queued_ms,
            dropped_frames=self.inlet.dropped,
            malformed=self.malformed,
            callback_failures=self.inlet.failures,
        )
