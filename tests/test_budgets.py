"""What one operation may cost, counted and not timed, so that it holds on any machine.

The clock belongs to ``benchmarks``; see ``docs/performance.md``. When a test here fails, first
look for what was added to the path. Raise a number only for something users get in return.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import itertools
import json
import math
import statistics
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from roomkit import RoomKit
from roomkit.channels.voice import VoiceChannel
from roomkit.channels.websocket import WebSocketChannel
from roomkit.core.pipeline import lanes, runner
from roomkit.identity.mock import MockIdentityResolver
from roomkit.models import _copy
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelType, HookExecution, HookTrigger, IdentificationStatus
from roomkit.models.hook import HookResult
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.store.commit import CommitBatch
from roomkit.testing import SimpleChannel, make_binding, make_event
from roomkit.voice.backends.mock import MockVoiceBackend
from roomkit.voice.tts.mock import MockTTSProvider

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import CodeType, FrameType

    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

SMALL, LARGE = 100, 10_000
GROWTH = 1.05

# About 15 % above what each took when the number was last set.
BUDGET = {
    "message": 170,
    "first_delivery": 60,
    "delivery": 38,
    "gate": 6,
    "duplicate": 44,
}

COPIES = (_copy.changed.__code__, BaseModel.model_copy.__code__)
DEEP_COPIES = (copy.deepcopy.__code__, BaseModel.__deepcopy__.__code__)
VALIDATION = BaseModel.__init__.__code__


@pytest.fixture(autouse=True)
def no_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine lets the loop run by the clock; what that costs is not counted here."""
    monkeypatch.setattr(runner, "TURN", math.inf)
    monkeypatch.setattr(lanes, "FAIR_SHARE", math.inf)


type Operation = Callable[[], Awaitable[Any]]


async def profile(operation: Operation) -> Counter[CodeType]:
    """Return how often each Python function was called (or resumed) during one operation."""
    calls: Counter[CodeType] = Counter()

    def note(frame: FrameType, kind: str, _: Any) -> None:
        if kind == "call":
            calls[frame.f_code] += 1

    sys.setprofile(note)
    try:
        await operation()
    finally:
        sys.setprofile(None)
    return calls


async def typical(operation: Operation) -> Counter[CodeType]:
    """Return the profile of a typical repetition: what happens now and then is left out."""
    for _ in range(3):
        await operation()
    profiles = [await profile(operation) for _ in range(15)]
    middle = statistics.median_low([counts.total() for counts in profiles])
    return next(counts for counts in profiles if counts.total() == middle)


async def calls(operation: Operation) -> int:
    """Return how many Python calls a typical repetition makes."""
    return (await typical(operation)).total()


def said(sender: str = "user", key: str | None = None) -> InboundMessage:
    return InboundMessage(
        channel_id="ws", sender_id=sender, content=TextContent(body="hi"), idempotency_key=key
    )


async def make_kit(*targets: SimpleChannel, **options: Any) -> RoomKit:
    """Return a kit whose room ``room`` has the channel ``ws`` and some targets."""
    kit = RoomKit(**options)
    kit.register_channel(WebSocketChannel("ws"))
    await kit.create_room("room")
    await kit.attach_channel("room", "ws")
    for target in targets:
        kit.register_channel(target)
        await kit.attach_channel("room", target.channel_id)
    return kit


def speaking(kit: RoomKit) -> Operation:
    return lambda: kit.process_inbound(said())


class TestCallBudget:
    """One message makes no more Python calls than it did, give or take 15 %."""

    async def test_message(self) -> None:
        """A message nobody else is there to get."""
        assert await calls(speaking(await make_kit())) <= BUDGET["message"]

    async def test_first_delivery(self) -> None:
        """What the first receiver adds."""
        alone = await calls(speaking(await make_kit()))
        with_one = await calls(speaking(await make_kit(SimpleChannel("a"))))
        assert with_one - alone <= BUDGET["first_delivery"]

    async def test_further_delivery(self) -> None:
        """What each further receiver adds."""
        one = await calls(speaking(await make_kit(SimpleChannel("a"))))
        many = [SimpleChannel(f"c{n}") for n in range(11)]
        eleven = await calls(speaking(await make_kit(*many)))
        assert (eleven - one) / 10 <= BUDGET["delivery"]

    async def test_gate(self) -> None:
        """What each further gate adds."""

        async def gate(event: RoomEvent, context: RoomContext) -> HookResult[Any]:
            return HookResult.allow()

        costs = []
        for count in (1, 11):
            kit = await make_kit()
            for _ in range(count):
                kit.hook(HookTrigger.BEFORE_BROADCAST, HookExecution.SYNC)(gate)
            costs.append(await calls(speaking(kit)))
        assert (costs[1] - costs[0]) / 10 <= BUDGET["gate"]

    async def test_duplicate(self) -> None:
        """A repeat is refused long before a message would be through."""
        kit = await make_kit()
        assert await calls(lambda: kit.process_inbound(said(key="k"))) <= BUDGET["duplicate"]


class TestCopyBudget:
    """Events and bindings are shared, not copied."""

    async def test_no_deep_copies(self) -> None:
        """Nothing on the path of a message is copied deeply."""
        counts = await typical(speaking(await make_kit(SimpleChannel("a"), SimpleChannel("b"))))
        assert sum(counts[code] for code in DEEP_COPIES) == 0

    async def test_model_copies(self) -> None:
        """The event gets its index, the room its activity: three copies in all."""
        counts = await typical(speaking(await make_kit()))
        assert sum(counts[code] for code in COPIES) <= 3

    async def test_results_are_one_copy(self) -> None:
        """However many receivers: their results are written in one more copy."""
        targets = [SimpleChannel(f"c{n}") for n in range(5)]
        counts = await typical(speaking(await make_kit(*targets)))
        assert sum(counts[code] for code in COPIES) <= 4

    async def test_validations(self) -> None:
        """Only what comes from outside and what goes out is validated: no event twice."""
        counts = await typical(speaking(await make_kit(SimpleChannel("a"))))
        # Text, message and event on the way in, the result on the way out.
        assert counts[VALIDATION] <= 4


class TestLoopBudget:
    """A message that nothing has to wait for leaves no trace on the event loop."""

    async def test_no_timers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No timer is set while nothing suspends."""
        kit = await make_kit(SimpleChannel("a"), SimpleChannel("b"))
        loop = asyncio.get_running_loop()
        timers: list[float] = []

        def noting(name: str) -> None:
            inner = getattr(loop, name)

            def note(when: float, *args: Any, **options: Any) -> Any:
                timers.append(when)
                return inner(when, *args, **options)

            monkeypatch.setattr(loop, name, note)

        noting("call_later")
        noting("call_at")
        for _ in range(5):
            await kit.process_inbound(said())
        assert timers == []

    async def test_no_tasks_left(self) -> None:
        """No task is pending when the message is through."""
        target = SimpleChannel("a")
        kit = await make_kit(target)
        before = asyncio.all_tasks()
        for _ in range(5):
            await kit.process_inbound(said())
            assert asyncio.all_tasks() == before
        assert len(target.delivered) == 5


class TestVoiceBudget:
    """What is spoken leaves nothing behind."""

    async def test_playback_leaves_no_garbage(self) -> None:
        """What a playback was made of is gone with it, without the collector."""
        backend = MockVoiceBackend()
        kit = await make_kit(voice=backend)
        kit.register_channel(VoiceChannel("phone", tts=MockTTSProvider(), backend=backend))
        await kit.attach_channel("room", "phone")
        await kit.connect_voice("room", "caller", "phone")
        await kit.process_inbound(said())
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await kit.process_inbound(said())
            found = gc.collect()
        finally:
            gc.enable()
        assert len(backend.sent_audio) == 21
        assert found < 20
        await kit.close()


async def filled(events: int) -> RoomKit:
    """Return a kit whose room has so many events, each under a key."""
    kit = await make_kit()
    history = tuple(make_event("room", idempotency_key=f"key-{n}") for n in range(events))
    await kit.store.commit(CommitBatch(room_id="room", events=history))
    return kit


async def crowded(people: int, **options: Any) -> RoomKit:
    """Return a kit whose room has so many participants."""
    kit = await make_kit(**options)
    members = tuple(
        Participant(
            id=f"person-{n}",
            room_id="room",
            channel_id="ws",
            identification=IdentificationStatus.IDENTIFIED,
            identity_id=f"person-{n}",
        )
        for n in range(people)
    )
    await kit.store.commit(CommitBatch(room_id="room", participants=members))
    return kit


async def among_rooms(rooms: int) -> RoomKit:
    """Return a kit in which one number has a room for each of many people."""
    kit = await make_kit()
    kit.register_channel(SimpleChannel("sms", ChannelType.SMS, recipient_key="phone_number"))
    for number in range(rooms):
        await kit.store.create_room(Room(id=f"room-{number}"))
        binding = make_binding(
            "sms",
            f"room-{number}",
            channel_type=ChannelType.SMS,
            metadata={"phone_number": f"+1555{number:06}"},
        )
        await kit.store.add_binding(binding)
    return kit


async def flat(measure: Callable[[int], Awaitable[int]]) -> None:
    small, large = await measure(SMALL), await measure(LARGE)
    assert large <= small * GROWTH


class TestGrowth:
    """What one operation costs does not depend on how much there is already."""

    async def test_inbound_by_events(self) -> None:
        """A message in a room with a long past."""

        async def measure(size: int) -> int:
            return await calls(speaking(await filled(size)))

        await flat(measure)

    async def test_inbound_by_members(self) -> None:
        """A message in a room of many people."""

        async def measure(size: int) -> int:
            return await calls(speaking(await crowded(size)))

        await flat(measure)

    async def test_inbound_by_rooms(self) -> None:
        """A message that is routed among many rooms."""

        async def measure(size: int) -> int:
            kit = await among_rooms(size)
            message = InboundMessage(
                channel_id="sms", sender_id="+1555000042", content=TextContent(body="hi")
            )
            result = await kit.process_inbound(message)
            assert result.event is not None
            assert result.event.room_id == "room-42"
            return await calls(lambda: kit.process_inbound(message))

        await flat(measure)

    async def test_duplicate(self) -> None:
        """A repeat of an old message."""

        async def measure(size: int) -> int:
            kit = await filled(size)
            result = await kit.process_inbound(said(key="key-7"))
            assert result.reason == "duplicate"
            return await calls(lambda: kit.process_inbound(said(key="key-7")))

        await flat(measure)

    async def test_identity(self) -> None:
        """A message of one of many known people."""

        async def measure(size: int) -> int:
            known = {f"s{n}": Identity(id=f"person-{n}") for n in range(size)}
            kit = await crowded(size, identity_resolver=MockIdentityResolver(known))
            senders = itertools.cycle(["s3", "s33", "s77"])
            result = await kit.process_inbound(said("s3"))
            assert result.event is not None
            assert result.event.source.participant_id == "person-3"
            return await calls(lambda: kit.process_inbound(said(next(senders))))

        await flat(measure)

    async def test_timeline_page(self) -> None:
        """A page of a long timeline."""

        async def measure(size: int) -> int:
            kit = await filled(size)
            page = await kit.get_timeline("room", offset=size - 50, limit=50)
            assert [event.index for event in page] == list(range(size - 50, size))
            return await calls(lambda: kit.get_timeline("room", offset=size - 50, limit=50))

        await flat(measure)

    async def test_unread_count(self) -> None:
        """How many events of a long timeline are unread."""

        async def measure(size: int) -> int:
            kit = await filled(size)
            (event,) = await kit.store.list_events("room", offset=9, limit=1)
            await kit.mark_read("room", "ws", event.id)
            assert await kit.store.get_unread_count("room", "ws") == size - 9
            return await calls(lambda: kit.store.get_unread_count("room", "ws"))

        await flat(measure)

    async def test_timer_sweep(self) -> None:
        """Looking for rooms that are due when none is."""

        async def measure(size: int) -> int:
            kit = await among_rooms(size)
            assert await kit.check_all_timers() == []
            return await calls(kit.check_all_timers)

        await flat(measure)


FORBIDDEN = (
    "aiosqlite",
    "anthropic",
    "asyncpg",
    "cryptography",
    "fastrtc",
    "google.genai",
    "httpx",
    "jwt",
    "nacl",
    "neonize",
    "numpy",
    "openai",
    "phonenumbers",
    "pydantic_ai",
    "redis",
    "sherpa_onnx",
    "sqlite3",
    "uvicorn",
    "websockets",
)
"""What importing or using the kit must not bring along."""

_USED = """
import asyncio, json, sys
from roomkit import InboundMessage, RoomKit, TextContent, WebSocketChannel

async def main():
    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("ws"))
        result = await kit.process_inbound(
            InboundMessage(channel_id="ws", sender_id="user", content=TextContent(body="hi"))
        )
        assert result.event is not None
asyncio.run(main())
print(json.dumps(sorted(sys.modules)))
"""


class TestImportBudget:
    """Importing the kit brings pydantic and nothing else that weighs."""

    def test_no_forbidden_module(self) -> None:
        """Neither the import nor a first message loads an optional package."""
        child = subprocess.run(
            [sys.executable, "-c", _USED], capture_output=True, text=True, check=True
        )
        loaded = json.loads(child.stdout)
        assert not set(FORBIDDEN) & set(loaded)

    def test_package_alone_is_light(self) -> None:
        """``import roomkit`` does not even load pydantic."""
        code = "import roomkit, sys; print('pydantic' in sys.modules)"
        child = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert child.stdout.strip() == "False"
