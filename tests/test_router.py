"""Who gets an event: the pure plan, as a matrix, and the router standing alone."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    Access,
    AIChannel,
    ChannelBinding,
    ChannelCapabilities,
    ChannelCategory,
    ChannelDirection,
    ChannelMediaType,
    ChannelOutput,
    ChannelType,
    ContentTranscoder,
    DeliveryMode,
    EventContent,
    EventRouter,
    ManualClock,
    MediaContent,
    MockAIProvider,
    Observation,
    RateLimit,
    RetryPolicy,
    Room,
    RoomContext,
    RoomEvent,
    Task,
    TextContent,
    TokenBucketRateLimiter,
)
from roomkit.core.event_router import BroadcastResult, plan_targets
from roomkit.testing import SimpleChannel, make_binding, make_event, reply
from tests.support.kits import text, texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.channels.base import Channel

TRANSPORT, INTELLIGENCE = ChannelCategory.TRANSPORT, ChannelCategory.INTELLIGENCE
SOURCE = make_binding("source")


def ids(bindings: Sequence[ChannelBinding]) -> list[str]:
    """Return the channel ids of bindings."""
    return [binding.channel_id for binding in bindings]


def event(visibility: str = "all", **fields: Any) -> RoomEvent:
    """Return an event of the source."""
    return make_event(channel_id="source", visibility=visibility, **fields)


_VISIBILITIES = {
    "all": {TRANSPORT, INTELLIGENCE},
    "none": set(),
    "internal": set(),
    "transport": {TRANSPORT},
    "intelligence": {INTELLIGENCE},
    "target": {TRANSPORT, INTELLIGENCE},
    "other, target": {TRANSPORT, INTELLIGENCE},
    "other": set(),
}


class TestPlan:
    """Access, mute, direction and visibility of both sides, each combination."""

    @pytest.mark.parametrize("access", list(Access))
    @pytest.mark.parametrize("muted", [False, True])
    @pytest.mark.parametrize("direction", list(ChannelDirection))
    @pytest.mark.parametrize("category", list(ChannelCategory))
    @pytest.mark.parametrize("visibility", list(_VISIBILITIES))
    def test_target(
        self,
        access: Access,
        muted: bool,
        direction: ChannelDirection,
        category: ChannelCategory,
        visibility: str,
    ) -> None:
        target = make_binding(
            "target", access=access, muted=muted, direction=direction, category=category
        )
        receives = (
            access in (Access.READ_WRITE, Access.READ_ONLY)
            and direction != ChannelDirection.OUTBOUND
            and category in _VISIBILITIES[visibility]
        )
        planned = plan_targets(event(visibility), SOURCE, [SOURCE, target])
        assert ids(planned) == (["target"] if receives else [])

    @pytest.mark.parametrize(("access", "muted"), list(itertools.product(Access, [False, True])))
    @pytest.mark.parametrize("direction", list(ChannelDirection))
    def test_source(self, access: Access, muted: bool, direction: ChannelDirection) -> None:
        source = make_binding("source", access=access, muted=muted, direction=direction)
        sends = not muted and access in (Access.READ_WRITE, Access.WRITE_ONLY)
        planned = plan_targets(event(), source, [source, make_binding("target")])
        assert ids(planned) == (["target"] if sends else [])

    def test_attach_order_and_never_the_source(self) -> None:
        bindings = [make_binding("c"), SOURCE, make_binding("a"), make_binding("b")]
        assert ids(plan_targets(event(), SOURCE, bindings)) == ["c", "a", "b"]


def moded(channel_id: str, mode: DeliveryMode, **fields: Any) -> ChannelBinding:
    """Return a binding of a delivery mode."""
    return make_binding(channel_id, capabilities=ChannelCapabilities(delivery_mode=mode), **fields)


class TestModes:
    """Broadcast to all, direct to those addressed, round robin to one after the other."""

    def test_round_robin_by_index_in_attach_order(self) -> None:
        ring = [moded(name, DeliveryMode.ROUND_ROBIN) for name in ("x", "y", "z")]
        bindings = [SOURCE, ring[0], make_binding("all"), *ring[1:]]
        chosen = [ids(plan_targets(event(index=n), SOURCE, bindings)) for n in range(4)]
        assert chosen == [["x", "all"], ["all", "y"], ["all", "z"], ["x", "all"]]

    def test_round_robin_among_the_visible(self) -> None:
        ring = [moded(name, DeliveryMode.ROUND_ROBIN) for name in ("x", "y", "z")]
        ring[1] = ring[1].with_access(Access.NONE)
        chosen = [ids(plan_targets(event(index=n), SOURCE, ring)) for n in range(3)]
        assert chosen == [["x"], ["z"], ["x"]]

    def test_direct_only_when_addressed(self) -> None:
        bindings = [SOURCE, moded("d", DeliveryMode.DIRECT), make_binding("all")]
        assert ids(plan_targets(event(), SOURCE, bindings)) == ["all"]
        named = event(metadata={"target_channel_ids": ["d"]})
        assert ids(plan_targets(named, SOURCE, bindings)) == ["d", "all"]
        answered = plan_targets(event(), SOURCE, bindings, parent_channel_id="d")
        assert ids(answered) == ["d", "all"]
        nonsense = event(metadata={"target_channel_ids": "d"})
        assert ids(plan_targets(nonsense, SOURCE, bindings)) == ["all"]

    def test_direct_needs_access_as_well(self) -> None:
        direct = moded("d", DeliveryMode.DIRECT, access=Access.NONE)
        named = event(metadata={"target_channel_ids": ["d"]})
        assert plan_targets(named, SOURCE, [SOURCE, direct]) == []


class Board:
    """A router with channels, and the room they are in."""

    def __init__(self, *channels: Channel, **router: Any) -> None:
        self.channels = {channel.channel_id: channel for channel in channels}
        self.router = EventRouter(self.channels, **router)
        self.bindings = [SOURCE]
        for channel in channels:
            self.bind(channel)

    def bind(self, channel: Channel, **fields: Any) -> None:
        """Attach a channel, in the place of an earlier binding."""
        kept = [b for b in self.bindings if b.channel_id != channel.channel_id]
        binding = make_binding(
            channel.channel_id,
            category=channel.category,
            channel_type=channel.channel_type,
            **{"capabilities": channel.capabilities(), **fields},
        )
        self.bindings = [*kept, binding]

    async def broadcast(
        self, said: RoomEvent | None = None, source: ChannelBinding = SOURCE
    ) -> BroadcastResult:
        """Broadcast an event of the source."""
        context = RoomContext(room=Room(id="room-1"), bindings=self.bindings)
        return await self.router.broadcast(said or event(), source, context)


def bot(*script: Any, channel_id: str = "bot") -> SimpleChannel:
    """Return an intelligence with a script."""
    return SimpleChannel(channel_id, ChannelType.AI, category=INTELLIGENCE, react_script=script)


class TestBroadcast:
    """Every target on its own; what they did is merged."""

    def test_an_empty_result(self) -> None:
        result = BroadcastResult()
        assert (result.outputs, result.delivery_outputs, result.errors) == ({}, {}, {})
        assert (result.reentry_events, result.blocked_events) == ([], [])
        assert (result.tasks, result.observations) == ([], [])
        assert result.metadata_updates == {}

    async def test_transports_deliver_and_intelligences_react(self) -> None:
        sms, ai = SimpleChannel("sms"), bot()
        board = Board(sms, ai)
        result = await board.broadcast()
        assert set(result.outputs) == {"sms", "bot"}
        assert set(result.delivery_outputs) == {"sms"}
        assert (texts(sms.delivered), texts(ai.received), ai.delivered) == (
            ["hello"],
            ["hello"],
            [],
        )

    @pytest.mark.parametrize(
        "source",
        [
            SOURCE.with_muted(True),
            SOURCE.with_access(Access.READ_ONLY),
            SOURCE.with_access(Access.NONE),
        ],
    )
    async def test_a_silent_source(self, source: ChannelBinding) -> None:
        sms = SimpleChannel("sms")
        assert await Board(sms).broadcast(source=source) == BroadcastResult()
        assert sms.delivered == []

    async def test_the_stricter_visibility_is_stamped_on_the_copies(self) -> None:
        sms, ai = SimpleChannel("sms"), bot()
        board = Board(sms, ai)
        said = event()
        await board.broadcast(said, SOURCE.with_visibility("intelligence"))
        assert sms.delivered == []
        assert [e.visibility for e in ai.received] == ["intelligence"]
        assert said.visibility == "all"
        await board.broadcast(event("none"), SOURCE.with_visibility("intelligence"))
        assert len(ai.received) == 1

    async def test_targets_run_at_the_same_time(self) -> None:
        meet = asyncio.Barrier(2)

        async def arrive(*call: object) -> None:
            await meet.wait()

        board = Board(
            SimpleChannel("x", deliver_script=[arrive]),
            SimpleChannel("y", deliver_script=[arrive]),
        )
        async with asyncio.timeout(5):
            result = await board.broadcast()
        assert set(result.delivery_outputs) == {"x", "y"}

    async def test_one_that_fails_leaves_the_others_alone(self) -> None:
        board = Board(
            SimpleChannel("x", deliver_script=[OSError("down")]),
            bot(OSError("no idea")),
            SimpleChannel("y"),
        )
        result = await board.broadcast()
        assert result.errors == {"x": "down", "bot": "no idea"}
        assert set(result.delivery_outputs) == {"y"}

    async def test_an_unregistered_channel_is_skipped(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        board = Board(SimpleChannel("x"))
        board.bindings.append(make_binding("ghost"))
        result = await board.broadcast()
        assert set(result.outputs) == {"x"}
        assert result.errors == {}
        assert caplog.records[0].name == "roomkit.event_router"
        assert "ghost" in caplog.text

    async def test_channels_are_looked_up_live(self) -> None:
        board = Board(SimpleChannel("x"))
        late = SimpleChannel("late")
        board.bind(late)
        board.channels["late"] = late
        await board.broadcast()
        assert texts(late.delivered) == ["hello"]


class TestTranscoding:
    """A target gets what it can carry, or is told to get nothing."""

    async def test_only_where_needed(self) -> None:
        rich = SimpleChannel(
            "rich",
            capabilities=ChannelCapabilities(
                media_types=[ChannelMediaType.TEXT, ChannelMediaType.MEDIA]
            ),
        )
        plain = SimpleChannel("plain")
        media = MediaContent(url="https://example.org/x.png", mime_type="image/png", caption="X")
        said = event(content=media)
        await Board(rich, plain).broadcast(said)
        assert rich.delivered == [said]
        assert texts(plain.delivered) == ["[Media: X]"]

    async def test_too_long_a_text_is_cut(self) -> None:
        short = SimpleChannel("short", capabilities=ChannelCapabilities(max_length=8))
        content = TextContent(body="0123456789", language="en")
        await Board(short).broadcast(event(content=content))
        assert short.delivered[0].content == TextContent(body="01234...", language="en")

    async def test_no_way_at_all(self) -> None:
        class Nothing(ContentTranscoder):
            async def transcode(
                self,
                content: EventContent,
                source_binding: ChannelBinding,
                target_binding: ChannelBinding,
            ) -> EventContent | None:
                assert source_binding.channel_id == "source"
                return None if target_binding.channel_id == "x" else TextContent(body="other")

        media = MediaContent(url="https://example.org/x.png", mime_type="image/png")
        x, y = SimpleChannel("x", react_script=[]), SimpleChannel("y")
        result = await Board(x, y, transcoder=Nothing()).broadcast(event(content=media))
        assert result.errors == {"x": "transcoding_failed"}
        assert list(result.outputs) == ["y"]
        assert (x.received, x.delivered) == ([], [])
        assert texts(y.delivered) == ["other"]


class TestResilience:
    """The breaker, the pace and the retries of one channel."""

    async def test_the_breaker_opens_after_five_failures(self) -> None:
        down = SimpleChannel("x", deliver_script=lambda *_: _fail())
        board = Board(down)
        for _ in range(5):
            assert (await board.broadcast()).errors == {"x": "down"}
        assert (await board.broadcast()).errors == {"x": "circuit_breaker_open"}
        assert len(down.delivered) == 5

    async def test_a_broadcast_with_retries_is_one_failure(self) -> None:
        down = SimpleChannel("x", deliver_script=lambda *_: _fail())
        board = Board()
        board.channels["x"] = down
        policy = RetryPolicy(max_retries=2, base_delay_seconds=0.001)
        board.bind(down, retry_policy=policy)
        for _ in range(5):
            assert (await board.broadcast()).errors == {"x": "down"}
        assert len(down.delivered) == 15
        assert (await board.broadcast()).errors == {"x": "circuit_breaker_open"}

    async def test_a_retry_that_succeeds(self) -> None:
        flaky = SimpleChannel("x", deliver_script=[OSError("1"), OSError("2")])
        board = Board()
        board.channels["x"] = flaky
        board.bind(flaky, retry_policy=RetryPolicy(base_delay_seconds=0.001))
        result = await board.broadcast()
        assert (set(result.delivery_outputs), result.errors) == ({"x"}, {})
        assert len(flaky.delivered) == 3

    async def test_the_pace_is_kept_and_nothing_dropped(self) -> None:
        clock = ManualClock()
        paced = SimpleChannel("x")
        board = Board(rate_limiter=TokenBucketRateLimiter(clock=clock))
        board.channels["x"] = paced
        board.bind(paced, rate_limit=RateLimit(max_per_second=1))
        await board.broadcast()
        second = asyncio.create_task(board.broadcast())
        await clock.advance(0.5)
        assert len(paced.delivered) == 1
        await clock.advance(0.5)
        await second
        assert len(paced.delivered) == 2


def _fail() -> ChannelOutput:
    raise OSError("down")


class TestResponses:
    """What a channel answers is sorted: to go on, or too deep."""

    @pytest.mark.parametrize(("depth", "goes_on"), [(0, True), (4, True), (5, False), (6, False)])
    async def test_depth(self, depth: int, goes_on: bool) -> None:
        def answer(
            said: RoomEvent, binding: ChannelBinding, context: RoomContext
        ) -> ChannelOutput:
            output = reply(said, binding, "answer")
            deeper = [response.at_depth(depth) for response in output.response_events]
            return ChannelOutput(responded=True, response_events=deeper)

        result = await Board(bot(answer)).broadcast()
        assert texts(result.reentry_events) == (["answer"] if goes_on else [])
        if goes_on:
            assert (result.blocked_events, result.observations) == ([], [])
            return
        [blocked] = result.blocked_events
        assert (blocked.status, blocked.blocked_by) == ("blocked", "event_chain_depth_limit")
        [observation] = result.observations
        assert observation.id == f"obs_{blocked.id}"
        assert (observation.channel_id, observation.room_id) == ("bot", "room-1")
        assert observation.category == "event_chain_depth_exceeded"
        assert observation.metadata == {
            "chain_depth": depth,
            "max_chain_depth": 5,
            "source_channel": "source",
        }

    async def test_only_when_it_responded(self) -> None:
        def shy(said: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
            return ChannelOutput(
                response_events=reply(said, binding, "no").response_events,
                metadata_updates={"mood": "shy"},
            )

        result = await Board(bot(shy)).broadcast()
        assert result.reentry_events == []
        assert result.metadata_updates == {"mood": "shy"}

    async def test_a_muted_channels_effects_are_kept(self) -> None:
        def answer(
            said: RoomEvent, binding: ChannelBinding, context: RoomContext
        ) -> ChannelOutput:
            return ChannelOutput(
                responded=True,
                response_events=reply(said, binding, "no").response_events,
                tasks=[Task(id="t", room_id="room-1", title="t")],
                observations=[
                    Observation(id="o", room_id="room-1", channel_id="bot", content="o")
                ],
            )

        board = Board()
        muted = SimpleChannel("x", react_script=[answer])
        board.channels["x"] = muted
        board.bind(muted, muted=True)
        result = await board.broadcast()
        assert result.reentry_events == []
        assert [task.id for task in result.tasks] == ["t"]
        assert [observation.id for observation in result.observations] == ["o"]
        assert texts(muted.delivered) == ["hello"]

    async def test_an_ai_called_without_an_engine_contains_its_failure(self) -> None:
        board = Board(AIChannel("ai", MockAIProvider.failing()))
        result = await board.broadcast()
        assert (result.errors, result.reentry_events) == ({}, [])

    async def test_an_answer_knows_its_cause(self) -> None:
        said = event()
        result = await Board(AIChannel("ai", MockAIProvider(["fine"]))).broadcast(said)
        [answer] = result.reentry_events
        assert (text(answer), answer.chain_depth) == ("fine", 1)
        assert answer.parent_event_id == said.id
