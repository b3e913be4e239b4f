"""One file keeps the conversation: a process is killed in the middle of it, the next one goes on.

A webhook is accepted and a model answers; at the moment the answer is being sent, the process
dies. A second process on the same file sends it. Then the vendor refuses a number for good, which
leaves a dead letter: it is listed, and tried again once the number is in order.

    python examples/durable_sqlite.py

Prints what was sent after the crash, that nothing was asked or taken in twice, the dead letter,
and what is left to do. A process counts as dead four seconds after it was last heard of; so that
nobody has to wait for that here, the second process has a clock that is ahead.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from roomkit import (
    AIChannel,
    Clock,
    InboundMessage,
    MockAIProvider,
    MockSMSProvider,
    ProviderResult,
    RoomEvent,
    RoomKit,
    SMSChannel,
    SystemClock,
    TextContent,
    WebSocketChannel,
)
from roomkit.store.sqlite import SQLiteStore

ROOM, PHONE = "shop", "+15550100"
KILLED = 9
WRONG_NUMBER = ProviderResult(success=False, error="unknown_number", metadata={"retryable": False})


class FatalSMSProvider(MockSMSProvider):
    """Ends the process as a power cut would, at the first message to send."""

    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        """Send nothing, and never return."""
        os._exit(KILLED)


class Phone(MockSMSProvider):
    """Tells when it was asked to send something."""

    def __init__(self, *results: ProviderResult) -> None:
        super().__init__(results=results)
        self.news: asyncio.Queue[str] = asyncio.Queue()

    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        """Remember the text, and answer as a mock does."""
        result = await super().send(event, to, from_)
        assert isinstance(event.content, TextContent)
        self.news.put_nowait(event.content.body)
        return result


class LaterClock(SystemClock):
    """Shows the time five seconds from now, when a process that died now has counted as dead."""

    def now(self) -> datetime:
        """Return the time, and some."""
        return super().now() + timedelta(seconds=5)


def make_kit(
    path: Path, phone: MockSMSProvider, clock: Clock | None = None
) -> tuple[RoomKit, MockAIProvider]:
    """Return a kit on the file, and its model."""
    model = MockAIProvider(["We open at nine."])
    kit = RoomKit(store=SQLiteStore(path, clock=clock))
    kit.register_channel(SMSChannel("sms", provider=phone))
    kit.register_channel(WebSocketChannel("desk"))
    kit.register_channel(AIChannel("assistant", model))
    return kit, model


def webhook() -> InboundMessage:
    """Return what the vendor posts, as often as it has to."""
    question = TextContent(body="When do you open?")
    return InboundMessage(channel_id="sms", sender_id=PHONE, content=question, external_id="SM-1")


async def first_process(path: Path) -> None:
    """Accept a webhook, and die while answering it."""
    kit, _ = make_kit(path, FatalSMSProvider())
    async with kit:
        await kit.create_room(ROOM)
        await kit.attach_channel(ROOM, "sms", metadata={"phone_number": PHONE})
        await kit.attach_channel(ROOM, "assistant")
        # Once this returns, the endpoint may answer 200.
        await kit.accept(webhook())
        await asyncio.sleep(60)


async def second_process(path: Path) -> None:
    """Go on with what the first one left."""
    phone = Phone()
    kit, model = make_kit(path, phone, LaterClock())
    async with kit:
        print("sent after the crash:", await asyncio.wait_for(phone.news.get(), 30))
        print("the model was asked again:", bool(model.calls))
        again = await kit.accept(webhook())
        print("the webhook came twice, duplicate:", again.duplicate)
        contents = [event.content for event in await kit.get_timeline(ROOM)]
        said = [content.body for content in contents if isinstance(content, TextContent)]
        print("on the timeline:", " / ".join(said))
        assert len(phone.sent) == 1
        assert model.calls == []
        assert again.duplicate
        assert len(said) == 2


async def dead_letters(path: Path) -> None:
    """Fail for good, and try again by hand."""
    phone = Phone(WRONG_NUMBER)
    kit, _ = make_kit(path, phone, LaterClock())
    async with kit:
        await kit.detach_channel(ROOM, "assistant")
        await kit.attach_channel(ROOM, "desk")
        news = TextContent(body="We are closed on Monday.")
        await kit.send_event(ROOM, "desk", news)
        await kit.drain(5)
        [letter] = await kit.list_dead_letters()
        print("dead letter:", letter.kind, letter.channel_id, letter.error)
        assert await kit.retry_dead_letter(letter.id)
        for _ in range(2):
            await asyncio.wait_for(phone.news.get(), 30)
        await kit.drain(5)
    async with SQLiteStore(path) as store:
        await store.backup(path.with_name("backup.db"))
        stats = await store.work_stats()
    print("left to do:", stats.deliveries.depth, "dead:", stats.deliveries.dead)
    print("copied:", path.with_name("backup.db").exists())
    assert (letter.attempts, letter.error) == (1, "unknown_number")
    assert (stats.deliveries.depth, stats.deliveries.dead) == (0, 0)


async def main() -> None:
    """Run the first process to its end, then be the second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rooms.db"
        child = await asyncio.create_subprocess_exec(sys.executable, __file__, str(path))
        assert await child.wait() == KILLED
        print("the first process was killed")
        await second_process(path)
        await dead_letters(path)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(first_process(Path(sys.argv[1])))
    else:
        asyncio.run(main())
