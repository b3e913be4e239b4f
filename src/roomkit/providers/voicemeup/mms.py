"""An MMS of VoiceMeUp comes as two callbacks; here they become one message.

The first half has the text and, as its attachment, a page ``...mms.html`` nobody wants. The
second half has the picture. They know each other only by sender, recipient and the second in
which they were sent. Either may be lost or late.

Two ways to join them: ``VoiceMeUpMMSAggregator`` holds a first half back and gives it away when
its time is over; it lives in one process, and what it holds dies with it. ``MMSPairs`` holds
nothing back: it hands on the first half at once, with the request to wait, so that a durable
inbox keeps it.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from roomkit._aio import TaskSet
from roomkit._clock import SystemClock
from roomkit._logging import log_failure
from roomkit.models.delivery import ACCEPT_NOT_BEFORE, ACCEPT_REPLACE
from roomkit.providers._webhook import text_at
from roomkit.providers.voicemeup.webhook import attachment_of, message_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from roomkit._clock import Clock
    from roomkit.models.delivery import InboundMessage

    OnTimeout = Callable[[InboundMessage], Awaitable[None] | None]

logger: logging.Logger = logging.getLogger("roomkit.providers.voicemeup")

DEFAULT_TIMEOUT = 5.0
"""Seconds a first half waits for the second."""

GRACE_SECONDS = 3.0
"""Seconds between the last moment a second half is joined and the first half's turn: time for
the inbox to put the whole in its place."""

MAX_ENTRIES = 1000
"""First halves remembered at once; the oldest goes first."""

type Key = tuple[str, str, str, str]
"""Channel, source, destination and time of transmission: what both halves share."""


@dataclass(eq=False, slots=True)
class FirstHalf:
    """The half with the text; compared by identity.

    Attributes:
        payload: The callback.
        channel_id: The channel it came by.
        arrived: When, in unix seconds.
        second: The half it was joined with, once there is one.
    """

    payload: dict[str, Any]
    channel_id: str
    arrived: float = 0.0
    second: dict[str, Any] | None = None

    @property
    def message(self) -> InboundMessage:
        """Its text alone."""
        return message_of(_without_attachment(self.payload), self.channel_id)

    def joined(self, second: Mapping[str, Any]) -> InboundMessage:
        """Return the whole message: this text, that attachment."""
        hashes = [h for h in (text_at(p, "sms_hash") for p in (self.payload, second)) if h]
        whole = dict(second)
        whole["message"] = text_at(self.payload, "message") or text_at(second, "message")
        whole["sms_hash"] = "+".join(hashes) or None
        return message_of(whole, self.channel_id)


def key_of(payload: Mapping[str, Any], channel_id: str) -> Key:
    """Return what a half has in common with the other.

    Raises:
        WebhookError: A field is no text.
    """
    fields = ("source_number", "destination_number", "datetime_transmission")
    source, destination, moment = (text_at(payload, field) for field in fields)
    return channel_id, source, destination, moment


def is_first_half(payload: Mapping[str, Any]) -> bool:
    """Tell whether a callback is the first half of an MMS.

    Raises:
        WebhookError: A field is no text.
    """
    url, mime_type = attachment_of(payload)
    return url.endswith(".mms.html") or (mime_type == "text/html" and ".mms." in url)


class VoiceMeUpMMSAggregator:
    """Holds first halves back until the second comes, or their time is over.

    Args:
        timeout_seconds: How long to hold one; read when it comes.
        on_timeout: Gets the text alone when the time is over, or when there are too many.
            Without it the text is dropped with a warning.
        clock: Where time comes from.
        max_entries: First halves held at once; one more gives the oldest away.

    Attributes:
        timeout_seconds: As given; may be changed.
        on_timeout: As given; may be changed.
        pending: The first halves held, oldest first. Clearing it forgets them.
    """

    def __init__(
        self,
        timeout_seconds: float = DEFAULT_TIMEOUT,
        on_timeout: OnTimeout | None = None,
        *,
        clock: Clock | None = None,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self.on_timeout = on_timeout
        self.pending: dict[Key, FirstHalf] = {}
        self._clock = clock or SystemClock()
        self._max_entries = max(1, max_entries)
        self._timers = TaskSet("roomkit-voicemeup-mms")

    def take(self, payload: Mapping[str, Any], channel_id: str) -> InboundMessage | None:
        """Return the message a callback completes; None for a first half, which is held.

        A first half is timed only inside a running event loop.

        Raises:
            KeyError: ``source_number`` is missing.
            WebhookError: It is empty, or a field has the wrong type.
        """
        message = message_of(payload, channel_id)
        key = key_of(payload, channel_id)
        if is_first_half(payload):
            self._hold(key, FirstHalf(dict(payload), channel_id))
            return None
        first = self.pending.pop(key, None) if attachment_of(payload)[0] else None
        return message if first is None else first.joined(payload)

    async def close(self) -> None:
        """Give every half away that is still held, and end the timers. Idempotent."""
        await self._timers.cancel()
        while self.pending:
            await self._give(self.pending.pop(next(iter(self.pending))))

    def _hold(self, key: Key, half: FirstHalf) -> None:
        """Remember a first half; the one it displaces is given away."""
        displaced = [found] if (found := self.pending.pop(key, None)) else []
        self.pending[key] = half
        while len(self.pending) > self._max_entries:
            displaced.append(self.pending.pop(next(iter(self.pending))))
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            for _ in displaced:
                logger.warning("the first half of an MMS was dropped: no event loop runs")
            return
        for other in displaced:
            self._timers.start(self._give(other))
        self._timers.start(self._expire(key, half, self.timeout_seconds))

    async def _expire(self, key: Key, half: FirstHalf, seconds: float) -> None:
        await self._clock.sleep(seconds)
        if self.pending.get(key) is half:
            del self.pending[key]
            await self._give(half)

    async def _give(self, half: FirstHalf) -> None:
        """Hand the text alone to whoever wants it; a failure there ends here."""
        if self.on_timeout is None:
            logger.warning(
                "the first half of an MMS was dropped: its second half did not come, and "
                "configure_voicemeup_mms(on_timeout=...) names nobody to take it"
            )
            return
        try:
            answer = self.on_timeout(half.message)
            if inspect.isawaitable(answer):
                await answer
        except Exception as exc:  # noqa: BLE001 - foreign code
            log_failure(logger, exc, "on_timeout failed for the first half of an MMS")


class MMSPairs:
    """Joins halves without holding any back, for webhooks with an inbox behind them.

    A first half comes out at once, as its text, under an idempotency key of its own and with
    ``accept_not_before`` in its metadata: when the second half would be too late. A second
    half that comes in time comes out as the whole message under the same key, with
    ``accept_replace``: it takes the place of the half that waits. Whatever comes too late, or
    to another process, is a message of its own: nothing is lost, at worst an MMS is two
    messages. The same callback within that time gives the same message again.

    Args:
        timeout_seconds: How long a second half may take.
        max_entries: First halves remembered at once; the oldest is forgotten first.
    """

    def __init__(
        self, timeout_seconds: float = DEFAULT_TIMEOUT, *, max_entries: int = MAX_ENTRIES
    ) -> None:
        self._timeout = timeout_seconds
        self._max_entries = max(1, max_entries)
        self._halves: OrderedDict[Key, FirstHalf] = OrderedDict()

    def __len__(self) -> int:
        return len(self._halves)

    def take(self, payload: Mapping[str, Any], channel_id: str, *, at: float) -> InboundMessage:
        """Return the message to hand on for a callback.

        Args:
            payload: The decoded body.
            channel_id: The channel it came by.
            at: When it came, in unix seconds.

        Raises:
            KeyError: ``source_number`` is missing.
            WebhookError: It is empty, or a field has the wrong type.
        """
        self._forget(at)
        message = message_of(payload, channel_id)
        key = key_of(payload, channel_id)
        if is_first_half(payload):
            return self._first(key, FirstHalf(dict(payload), channel_id, at))
        first = self._halves.get(key) if attachment_of(payload)[0] else None
        if first is None or not self._in_time(first, at):
            return message
        if first.second is None:
            first.second = dict(payload)
        elif first.second != payload:
            return message  # two messages of one second: it must not take the other's place
        whole = first.joined(payload)
        metadata = {**whole.metadata, ACCEPT_REPLACE: True}
        return whole.cleaned(idempotency_key=_inbox_key(key, first), metadata=metadata)

    def _first(self, key: Key, half: FirstHalf) -> InboundMessage:
        known = self._halves.get(key)
        if known is not None and known.payload == half.payload:
            half = known
        self._halves[key] = half
        self._halves.move_to_end(key)
        while len(self._halves) > self._max_entries:
            self._halves.popitem(last=False)
        moment = datetime.fromtimestamp(half.arrived + self._timeout + GRACE_SECONDS, UTC)
        message = half.message
        metadata = {**message.metadata, ACCEPT_NOT_BEFORE: moment.isoformat()}
        return message.cleaned(idempotency_key=_inbox_key(key, half), metadata=metadata)

    def _forget(self, at: float) -> None:
        """Forget halves whose time is over, as far as they come first."""
        while self._halves and not self._in_time(next(iter(self._halves.values())), at):
            self._halves.popitem(last=False)

    def _in_time(self, first: FirstHalf, at: float) -> bool:
        return abs(at - first.arrived) < self._timeout


def _inbox_key(key: Key, half: FirstHalf) -> str:
    """Return the idempotency key of an MMS, from all that is known of its first half."""
    parts = (*key, text_at(half.payload, "sms_hash"), text_at(half.payload, "message"))
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
    return f"voicemeup:{digest[:40]}"


def _without_attachment(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payload.items() if not name.startswith("attachment")}
