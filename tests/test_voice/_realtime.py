"""What tests of realtime voice share: a kit with a channel of mocks, and waiting."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from roomkit import RoomKit
from roomkit.channels.host import ChannelHost
from roomkit.channels.realtime_voice import RealtimeVoiceChannel
from roomkit.voice.realtime import MockRealtimeProvider, MockRealtimeTransport
from tests.support.kits import ROOM, Ears, open_room

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from roomkit.voice.realtime import RealtimeSession

CONNECTION = object()


async def until(true: Callable[[], Any], seconds: float = 5.0) -> None:
    """Let others run until something is true; TimeoutError when it does not come."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


class Host(ChannelHost):
    """A framework that has no room and writes down what it is asked.

    Attributes:
        typing: Every call of ``publish_typing``.
    """

    def __init__(self) -> None:
        self.typing: list[tuple[Any, ...]] = []

    async def process_inbound(self, message: Any, *, room_id: str | None = None) -> Any:
        raise AssertionError("nobody sends")

    async def send_event(self, *args: Any, **options: Any) -> Any:
        return None

    async def run_gates(self, room_id: str, trigger: Any, payload: Any) -> tuple[bool, Any]:
        return True, payload

    async def run_observers(self, room_id: str, trigger: Any, payload: Any) -> None:
        return

    async def publish_typing(self, *args: Any) -> None:
        self.typing.append(args)

    async def emit(self, event_type: str, **options: Any) -> None:
        return

    def open_stream(self, *args: Any, **options: Any) -> None:
        return None


class Live:
    """A kit with a realtime voice channel of mocks, and one session.

    Attributes:
        kit: The kit; the room is ``ROOM``.
        ears: What it told.
        channel: The channel.
        provider: The model.
        transport: The caller.
        session: The session.
    """

    def __init__(self, kit: RoomKit, **options: Any) -> None:
        self.kit = kit
        self.ears = Ears(kit)
        self.provider: MockRealtimeProvider = options.pop("provider", None) or (
            MockRealtimeProvider()
        )
        self.transport: MockRealtimeTransport = options.pop("transport", None) or (
            MockRealtimeTransport()
        )
        self.channel = RealtimeVoiceChannel(
            "live", provider=self.provider, transport=self.transport, **options
        )
        self.session: RealtimeSession

    async def start(self, **metadata: Any) -> RealtimeSession:
        """Start a session."""
        session: RealtimeSession = await self.kit.connect_realtime_voice(
            ROOM, "pat", "live", CONNECTION, metadata=metadata
        )
        return session

    def messages(self, kind: str) -> list[dict[str, Any]]:
        """Return the messages of one type the caller was sent."""
        return [sent for _, sent in self.transport.sent_messages if sent["type"] == kind]


@asynccontextmanager
async def live(**options: Any) -> AsyncIterator[Live]:
    """A kit, a room, a channel and a session, closed at the end."""
    async with RoomKit() as kit:
        world = Live(kit, **options)
        await open_room(kit, world.channel)
        world.session = await world.start()
        yield world
