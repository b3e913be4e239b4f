"""How a client gets in: its start, who it is, and the session made for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import TYPE_CHECKING

from roomkit._logging import ids, log_failure
from roomkit.voice.backends import _socket as codes
from roomkit.voice.backends._socket import ConnectionLost, VoiceCaller, VoiceHandshake
from roomkit.voice.backends._wire import Started, WireError
from roomkit.voice.base import VoiceSession

if TYPE_CHECKING:
    from roomkit.voice.backends._socket import Line, Socket
    from roomkit.voice.backends._wire import Wire

logger = logging.getLogger("roomkit.voice.backends")

Authenticate = Callable[[VoiceHandshake], "Awaitable[VoiceCaller | None] | VoiceCaller | None"]
"""Says who a client is and which room it speaks in; None: it does not get in."""

SessionFactory = Callable[[VoiceCaller], Awaitable[VoiceSession | None]]
"""Makes the session of a caller, usually with ``kit.connect_voice``; None: it gets none."""


@dataclass(slots=True)
class Making:
    """The sessions made for the client that is being let in."""

    sessions: dict[str, VoiceSession] = field(default_factory=dict)
    # A task the factory started keeps a copy of the variable, maybe for long.
    over: bool = False


making: ContextVar[Making | None] = ContextVar("roomkit_voice_making", default=None)
"""Who is being let in by the task that asks."""


class Door:
    """Lets clients in, and fails closed.

    Args:
        authenticate: Says who a client is.
        make_session: Makes its session.
        timeout: Seconds until a client must have started and been recognised.
        max_frame_bytes: The largest first message.
    """

    def __init__(
        self,
        authenticate: Authenticate,
        make_session: SessionFactory,
        *,
        timeout: float,
        max_frame_bytes: int,
    ) -> None:
        self._authenticate = authenticate
        self._make_session = make_session
        self._timeout = timeout
        self._max_frame_bytes = max_frame_bytes

    async def admit(self, socket: Socket, line: Line, wire: Wire) -> VoiceSession | int:
        """Return a client's session, or the code to close it with.

        Raises:
            ConnectionLost: The client went meanwhile.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await socket.open()
                started = await self._started(socket, line, wire)
                caller = codes.BAD_START if started is None else await self._who(socket, started)
        except TimeoutError:
            return codes.START_TIMEOUT
        return caller if isinstance(caller, int) else await self._session(caller, wire)

    async def _started(self, socket: Socket, line: Line, wire: Wire) -> Started | None:
        """Return a client's start; None when it cannot be used, of which it was told."""
        while True:
            message = await socket.receive()
            if message is None:
                raise ConnectionLost("closed")
            try:
                if len(message) > self._max_frame_bytes:
                    raise WireError("too_big")
                signal = wire.read(message)
                if isinstance(signal, Started):
                    return signal
                if signal is not None:
                    raise WireError("not_started")
            except WireError as exc:
                logger.warning("the start of a voice client cannot be used: %s", exc.code)
                await line.send(wire.error(exc.code))
                return None

    async def _who(self, socket: Socket, started: Started) -> VoiceCaller | int:
        """Return who a client is, or the code to close it with."""
        shake = VoiceHandshake(path=socket.path, headers=socket.headers, **vars(started))
        try:
            found = self._authenticate(shake)
            caller = await found if isawaitable(found) else found
        except Exception as exc:  # noqa: BLE001 - the application's code; a failure lets nobody in
            log_failure(logger, exc, "authenticate failed, a voice client was refused")
            return codes.FAILED
        return codes.UNAUTHORIZED if caller is None else caller

    async def _session(self, caller: VoiceCaller, wire: Wire) -> VoiceSession | int:
        """Return a caller's new session, or the code to close its client with."""
        rates = {"input_sample_rate": wire.input_rate, "output_sample_rate": wire.output_rate}
        caller = VoiceCaller(caller.participant_id, caller.room_id, {**caller.metadata, **rates})
        try:
            session = await self._make_session(caller)
        except Exception as exc:  # noqa: BLE001 - the application's code; the client is told
            extra = ids(room_id=caller.room_id, participant_id=caller.participant_id)
            log_failure(logger, exc, "no session for a voice client", extra=extra)
            return codes.FAILED
        if session is None:
            return codes.FORBIDDEN
        session.metadata.update(rates)
        return session
