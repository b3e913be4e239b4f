"""What a source is, and what every source does the same way: state, counting, stopping.

A source does not reconnect: it raises when its connection is lost, and whoever runs it (the
kit, see ``RoomKit.attach_source``) starts it again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import BaseModel, Field, ValidationError

from roomkit._clock import Clock, SystemClock
from roomkit._logging import brief, ids
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage, InboundResult


class SourceStatus(StrEnum):
    """What a source is doing.

    Attributes:
        STOPPED: Not started, or stopped.
        CONNECTING: On the way for the first time.
        CONNECTED: Messages can come in.
        RECONNECTING: The connection was lost and is made anew.
        ERROR: It failed; ``error`` of its health says why.
    """

    STOPPED = "stopped"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    ERROR = "error"


class SourceHealth(BaseModel):
    """How a source is doing.

    Attributes:
        status: What it is doing.
        connected_at: When it was connected last.
        last_message_at: When its last message was taken.
        messages_received: How many messages were taken since it was made.
        error: Why it is in ERROR, when it is.
        metadata: Counts that are not zero, as text: ``skipped`` (the parser wanted none of
            it), ``parse_errors`` (the parser failed), ``emit_errors`` (the kit refused the
            message with an error), ``event_errors`` (something else from the connection
            could not be handled), ``dropped`` (too many were waiting).
    """

    status: SourceStatus = SourceStatus.STOPPED
    connected_at: datetime | None = None
    last_message_at: datetime | None = None
    messages_received: int = 0
    error: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)


EmitCallback = Callable[[InboundMessage], Awaitable[InboundResult]]
"""How a source hands a message to the kit; returns once the message has been processed."""


class SourceProvider(ABC):
    """A connection we open, whose messages flow into rooms."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Return what framework events call this source, such as ``websocket:<url>``."""

    @abstractmethod
    async def start(self, emit: EmitCallback) -> None:
        """Connect and emit messages until stopped.

        Args:
            emit: Takes one message; await it, so that a slow room slows the source down.

        Raises:
            Exception: The connection failed or was lost. Whoever runs the source may start
                it again; returning normally means there is nothing more to come.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Make ``start`` return soon. Idempotent; may be called from inside ``emit``."""

    @property
    def status(self) -> SourceStatus:
        """Return what the source is doing."""
        return SourceStatus.STOPPED

    async def healthcheck(self) -> SourceHealth:
        """Return how the source is doing; does no I/O."""
        return SourceHealth(status=self.status)


class _SourceStopped(Exception):
    """A wait inside a source ended because the source was told to stop."""


class _StopEvent(asyncio.Event):
    """The stop signal; setting it also ends the wait ``interrupt`` has begun."""

    def __init__(self) -> None:
        super().__init__()
        self._scope: asyncio.Timeout | None = None

    def set(self) -> None:
        super().set()
        scope, self._scope = self._scope, None
        if scope is not None:
            scope.reschedule(asyncio.get_running_loop().time())

    async def interrupt[T](self, awaitable: Awaitable[T]) -> T:
        """Await in this task until done or until the signal is set.

        Raises:
            _SourceStopped: The signal came first; the awaitable was cancelled.
        """
        try:
            async with asyncio.timeout(None) as scope:
                self._scope = scope
                if self.is_set():
                    self.set()
                try:
                    return await awaitable
                finally:
                    self._scope = None
        except TimeoutError:
            if scope.expired():
                raise _SourceStopped from None
            raise


class BaseSourceProvider(SourceProvider):
    """Base of the sources here and of your own: state, counters and the stop signal.

    A subclass implements ``name`` and ``start``; in ``start`` it calls ``_set_status`` when
    the state changes, ``_record_message`` for each message taken, and looks at
    ``_should_stop``.

    Args:
        clock: What ``connected_at`` and ``last_message_at`` are read from.
    """

    _log: ClassVar[logging.Logger] = logging.getLogger("roomkit.sources")
    _channel_id: str | None = None

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._status = SourceStatus.STOPPED
        self._connected_at: datetime | None = None
        self._last_message_at: datetime | None = None
        self._messages_received = 0
        self._error: str | None = None
        self._stop_event = _StopEvent()
        self._counts: Counter[str] = Counter()

    @property
    def status(self) -> SourceStatus:
        """Return what the source is doing."""
        return self._status

    async def healthcheck(self) -> SourceHealth:
        """Return how the source is doing; does no I/O."""
        return SourceHealth(
            status=self._status,
            connected_at=self._connected_at,
            last_message_at=self._last_message_at,
            messages_received=self._messages_received,
            error=self._error,
            metadata={key: str(count) for key, count in self._counts.items()},
        )

    async def stop(self) -> None:
        """Signal ``start`` to return; the status is STOPPED at once."""
        self._stop_event.set()
        self._set_status(SourceStatus.STOPPED)

    def _set_status(self, status: SourceStatus, error: str | None = None) -> None:
        """Note a new state; CONNECTED also notes the time and clears the error."""
        self._status = status
        self._error = error
        if status == SourceStatus.CONNECTED:
            self._connected_at = self._clock.now()
            self._error = None

    def _record_message(self) -> None:
        """Count a message that was taken, and note the time."""
        self._messages_received += 1
        self._last_message_at = self._clock.now()

    def _should_stop(self) -> bool:
        """Tell whether ``stop`` was called since the last ``_reset_stop``."""
        return self._stop_event.is_set()

    def _reset_stop(self) -> None:
        """Forget an earlier ``stop``, at the beginning of ``start``."""
        self._stop_event.clear()

    async def _or_stop[T](self, awaitable: Awaitable[T]) -> T:
        """Await something that must not outlast ``stop``.

        When ``stop`` comes first, the awaitable is cancelled and the session that ``_run``
        carries out ends here.
        """
        return await self._stop_event.interrupt(awaitable)

    async def _run(self, session: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Carry out one connection from CONNECTING to its end.

        A failure gives ERROR and is raised again; one that comes after ``stop`` is a clean
        end, and so is an interrupted wait.
        """
        self._reset_stop()
        self._set_status(SourceStatus.CONNECTING)
        try:
            await session()
        except _SourceStopped:
            pass
        except Exception as exc:
            if not self._should_stop():
                self._set_status(SourceStatus.ERROR, brief(exc))
                raise
        finally:
            if self._status is not SourceStatus.ERROR:
                self._set_status(SourceStatus.STOPPED)

    def _parsed[**P](
        self, parser: Callable[P, InboundMessage | None], *args: P.args, **kwargs: P.kwargs
    ) -> InboundMessage | None:
        """Return what a parser makes of a piece of input; its failure is counted, not raised."""
        try:
            message = parser(*args, **kwargs)
        except Exception as exc:  # noqa: BLE001 - a parser is foreign code
            self._note_failure("parse_errors", "the parser failed", exc)
            return None
        if message is None:
            self._counts["skipped"] += 1
        return message

    async def _pass_on(self, message: InboundMessage, emit: EmitCallback) -> None:
        """Emit a message and record it; a refusal is counted, the stream goes on."""
        try:
            await emit(message)
        except Exception as exc:  # noqa: BLE001 - one message must not end the connection
            self._note_failure("emit_errors", "a message was refused", exc, message)
        else:
            self._record_message()

    def _note_failure(
        self,
        count: str,
        what: str,
        error: Exception,
        message: InboundMessage | None = None,
    ) -> None:
        """Count a contained failure and log it: its kind, and at DEBUG what it says."""
        self._counts[count] += 1
        extra = ids(
            channel_id=message.channel_id if message else self._channel_id,
            external_id=message.external_id if message else None,
        )
        # The error's own text may quote the message.
        self._log.error("%s: %s", what, type(error).__name__, extra=extra)
        self._log.debug("%s", what, exc_info=error, extra=extra)


def message_from_json(
    channel_id: str, data: str | bytes, *, external_id: str | None = None
) -> InboundMessage | None:
    """Return the message a JSON object describes, or None when it describes none.

    The object has ``sender_id`` and optionally ``text``, ``external_id`` and ``metadata``;
    numbers are taken as ids too.

    Args:
        channel_id: The channel it comes by.
        data: The JSON text; bytes are UTF-8.
        external_id: Used when the object names none.
    """
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    sender_id = _id_text(fields.get("sender_id"))
    if not sender_id:
        return None
    try:
        return InboundMessage(
            channel_id=channel_id,
            sender_id=sender_id,
            content=TextContent(body=fields.get("text") or ""),
            external_id=_id_text(fields.get("external_id")) or external_id,
            metadata=fields.get("metadata") or {},
        )
    except ValidationError:
        return None


def _id_text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None
