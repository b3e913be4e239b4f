"""What the reliability tests share: channels that wait to be released, and patience in turns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from roomkit import AIChannel, MockAIProvider, RoomKit
from roomkit.testing import SimpleChannel
from tests.support.kits import inbound, messages, open_room

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.channels.base import Channel
    from roomkit.models.event import RoomEvent
    from roomkit.providers.ai.base import AIContext, AIResponse

TURNS = 2_000
"""Turns of the loop something may take; nothing here waits for real time."""


async def until(true: Callable[[], Any], turns: int = TURNS) -> None:
    """Let the loop turn until ``true()``; far more turns than anything here needs."""
    for _ in range(turns):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError(f"not so after {turns} turns of the loop")


async def idle(turns: int = 50) -> None:
    """Let everything that can run, run."""
    for _ in range(turns):
        await asyncio.sleep(0)


SHORT = 2.0
"""Every bound that can be set; whatever cannot is 30 s at most."""
UNSET = 30.0
TIMEOUTS: dict[str, Any] = {
    "identity_timeout": SHORT,
    "process_timeout": SHORT,
    "commit_timeout": SHORT,
    "settle_timeout": SHORT,
    "delivery_timeout": SHORT,
    "reaction_timeout": SHORT,
    "lock_timeout": SHORT,
}


async def hang(*_: Any, **__: Any) -> Any:
    """Sleep for ever."""
    await asyncio.get_running_loop().create_future()


class HeldChannel(SimpleChannel):
    """A transport whose deliveries wait while it is held.

    Attributes:
        arrived: The events whose delivery has ended, in order.
    """

    def __init__(self, channel_id: str = "b", *, held: bool = True, **options: Any) -> None:
        super().__init__(channel_id, deliver_script=self._wait, **options)
        self.arrived: list[RoomEvent] = []
        self._free = asyncio.Event()
        if not held:
            self._free.set()

    async def _wait(self, event: RoomEvent, binding: Any, context: Any) -> None:
        await self._free.wait()
        self.arrived.append(event)

    def release(self) -> None:
        """Let all deliveries through from now on."""
        self._free.set()


class HeldAI(MockAIProvider):
    """A model that thinks until it is released.

    Attributes:
        begun: How many answers it has begun.
    """

    def __init__(self, responses: list[str] | None = None, **options: Any) -> None:
        super().__init__(responses, **options)
        self.begun = 0
        self._permits = asyncio.Semaphore(0)

    async def generate(self, context: AIContext) -> AIResponse:
        """Note the call, wait for a permit, answer."""
        self.begun += 1
        response = await super().generate(context)
        await self._permits.acquire()
        return response

    def release(self, answers: int = 1) -> None:
        """Let so many answers be given."""
        for _ in range(answers):
            self._permits.release()


async def kit_with(*channels: Channel, **options: Any) -> RoomKit:
    """Return a kit with the room ``r`` and these channels in it."""
    kit = RoomKit(**options)
    await open_room(kit, *channels)
    return kit


def ai(provider: MockAIProvider, channel_id: str = "ai", **options: Any) -> AIChannel:
    """Return an AI channel around a provider."""
    return AIChannel(channel_id, provider, **options)


def indexes(events: list[RoomEvent]) -> list[int]:
    """Return where events stand."""
    return [event.index for event in events]


async def start(kit: RoomKit, *bodies: str) -> list[asyncio.Task[Any]]:
    """Send messages that will wait for their deliveries; return once all are stored."""
    before = len(await messages(kit))
    tasks = []
    for number, body in enumerate(bodies, before + 1):
        message = inbound(body)
        tasks.append(asyncio.ensure_future(kit.process_inbound(message, room_id="r")))
        for _ in range(TURNS):
            if len(await messages(kit)) == number:
                break
            await asyncio.sleep(0)
    return tasks


async def ended(tasks: list[asyncio.Task[Any]]) -> list[RoomEvent]:
    """Return the events of messages that were accepted."""
    async with asyncio.timeout(5):
        return [result.event for result in await asyncio.gather(*tasks)]
