"""Answers with a store that keeps records: neither lost nor given twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from roomkit import (
    AIChannel,
    ChannelCategory,
    ChannelOutput,
    EditContent,
    EventStatus,
    EventType,
    HookResult,
    HookTrigger,
    MockAIProvider,
    ProviderError,
    RoomKit,
    StoreUnavailableError,
    Task,
    TextContent,
)
from roomkit.testing import SimpleChannel
from roomkit.testing.channel import reply
from tests.support.kits import Ears, inbound, messages, observe, open_room, texts
from tests.test_durable._world import World, settle, world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit import RoomContext, RoomEvent

AI = ChannelCategory.INTELLIGENCE


@pytest_asyncio.fixture(name="here")
async def _here() -> AsyncIterator[World]:
    """A world of the test's own."""
    async with world() as here:
        yield here


class Thinker(SimpleChannel):
    """A channel that thinks until the test lets it answer."""

    def __init__(self, text: str = "hi", channel_id: str = "ai") -> None:
        super().__init__(channel_id, category=AI)
        self.text = text
        self.thinking = 0
        self.tasks: list[Task] = []
        self.gate = asyncio.Event()

    async def on_event(self, *args: Any) -> ChannelOutput:
        """Wait, then answer."""
        self.thinking += 1
        await self.gate.wait()
        event, binding, _ = args
        events = reply(event, binding, self.text).response_events
        return ChannelOutput(responded=True, response_events=events, tasks=self.tasks)


async def ask(kit: RoomKit, body: str = "hello") -> None:
    """Bring a message into the room."""
    result = await kit.process_inbound(inbound(body), room_id="r")
    assert not result.blocked


class TestOnce:
    """One answer a cause, whoever gives it."""

    async def test_an_answer_ends_its_record(self, here: World) -> None:
        """The answer and the end of the reaction are one commit."""
        bot, phone = SimpleChannel("ai", category=AI, react_script=["hi"]), SimpleChannel("b")
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), bot, phone)
        here.views[kit].raising["finish_deliveries"] = StoreUnavailableError("away")
        await ask(kit)
        assert texts(await messages(kit)) == ["hello", "hi"]
        records = here.store.deliveries.work.values()
        assert [r.status for r in records if r.kind == "react"] == ["done"]
        here.kill(kit)
        await here.kit(SimpleChannel("a"), bot, phone)
        await here.pass_time(8)
        assert texts(await messages(here.kits[-1])) == ["hello", "hi"]

    async def test_silence_ends_its_record_too(self, here: World) -> None:
        """A channel with nothing to say is not asked again."""
        bot = SimpleChannel("ai", category=AI)
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), bot)
        await ask(kit)
        await settle()
        assert (await kit.stats()).deliveries.depth == 0
        assert len(bot.received) == 1

    async def test_a_process_dies_while_thinking(self, here: World) -> None:
        """Another one thinks again and answers."""
        lost, other = Thinker(), SimpleChannel("ai", category=AI, react_script=["hi"])
        first = await here.kit(settle_timeout=0.01)
        await open_room(first, SimpleChannel("a"), lost)
        second = await here.kit(SimpleChannel("a"), other)
        await ask(first)
        here.kill(first)
        await here.until(lambda: len(other.received) == 1)
        await settle()
        said = await messages(second)
        assert texts(said) == ["hello", "hi"]
        assert said[1].parent_event_id == said[0].id

    async def test_the_late_answer_is_dropped(self, here: World) -> None:
        """A process that was paused while thinking finds its answer given by another."""
        slow, quick = Thinker("late"), Thinker("in time")
        first = await here.kit(settle_timeout=0.01)
        await open_room(first, SimpleChannel("a"), slow)
        second = await here.kit(SimpleChannel("a"), quick)
        await ask(first)
        view = here.views[first]
        view.dead = True
        await here.until(lambda: quick.thinking)
        view.revive()
        slow.gate.set()
        await settle()
        quick.gate.set()
        await here.until(lambda: not here.store.deliveries.lanes())
        await here.pass_time(2)
        assert texts(await messages(second)) == ["hello", "in time"]

    async def test_effects_exist_with_the_end_only(self, here: World) -> None:
        """A reaction whose commit fails leaves nothing; made again, it leaves its effects once."""
        bot = Thinker()
        bot.tasks = [Task(id="t", room_id="r", title="call back")]
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), bot)
        view = here.views[kit]
        kit.on("delivery_scheduled")(lambda event: view.raising.clear())
        waiting = asyncio.ensure_future(ask(kit))
        await here.until(lambda: bot.thinking)
        view.raising["commit"] = StoreUnavailableError("away")
        bot.gate.set()
        await waiting
        assert texts(await messages(kit)) == ["hello"]
        assert await kit.list_tasks("r") == []
        await here.until(lambda: bot.thinking == 2)
        await settle()
        assert texts(await messages(kit)) == ["hello", "hi"]
        assert [task.id for task in await kit.list_tasks("r")] == ["t"]

    async def test_two_edits_in_one_reaction(self, here: World) -> None:
        """Answers that need several commits end the record with the last of them."""
        kit = await here.kit()
        bot = SimpleChannel("ai", category=AI, react_script=["hi"])
        await open_room(kit, SimpleChannel("a"), bot)
        await ask(kit)
        own = (await messages(kit))[-1]

        async def edits(event: RoomEvent, binding: Any, context: RoomContext) -> Any:
            answers = []
            for body in ("one", "two"):
                content = EditContent(target_event_id=own.id, new_content=TextContent(body=body))
                answer = reply(event, binding, body).response_events[0]
                answers.append(answer.cleaned(content=content, type=EventType.EDIT))
            return ChannelOutput(responded=True, response_events=answers)

        kit.register_channel(SimpleChannel("ai", category=AI, react_script=edits))
        await ask(kit, "change it")
        await settle()
        now = await here.store.get_event(own.id)
        assert now is not None
        assert now.content == TextContent(body="two")
        assert (await kit.stats()).deliveries.depth == 0


class TestFailures:
    """What a reaction fails with decides whether it is made again."""

    async def test_a_busy_model_is_asked_again(self, here: World) -> None:
        """A retryable error of an AI provider waits, and the answer comes."""

        class Busy(MockAIProvider):
            asked = 0

            async def generate(self, context: Any) -> Any:
                self.asked += 1
                if self.asked == 1:
                    raise ProviderError("overloaded", retryable=True, retry_after=2.0)
                return await super().generate(context)

        provider = Busy(responses=["hi"])
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), AIChannel("ai", provider=provider))
        errors = observe(kit, HookTrigger.ON_ERROR)
        await ask(kit)
        assert texts(await messages(kit)) == ["hello"]
        await here.pass_time(1.5)
        assert provider.asked == 1
        await here.until(lambda: provider.asked == 2)
        await settle()
        assert texts(await messages(kit)) == ["hello", "hi"]
        assert errors == []

    async def test_a_model_that_refuses_is_dead(self, here: World) -> None:
        """A permanent error ends in the dead letters, and ON_ERROR hears of it."""

        class Refusing(MockAIProvider):
            async def generate(self, context: Any) -> Any:
                raise ProviderError("bad key", retryable=False)

        kit = await here.kit()
        provider = Refusing(responses=["hi"])
        await open_room(kit, SimpleChannel("a"), AIChannel("ai", provider=provider))
        errors, ears = observe(kit, HookTrigger.ON_ERROR), Ears(kit)
        await ask(kit)
        await settle()
        (letter,) = await kit.list_dead_letters(kind="react")
        assert (letter.channel_id, letter.attempts) == ("ai", 1)
        assert len(errors) == 1
        assert ears.of("delivery_dead")[0].data["kind"] == "react"

    async def test_a_transport_that_reacts(self, here: World) -> None:
        """A retry of the delivery does not repeat the reaction, nor the other way round."""
        both = SimpleChannel(
            "b",
            react_script=["hi"],
            deliver_script=[ProviderError("busy", retryable=True)],
        )
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), both)
        await ask(kit)
        await here.until(lambda: len(both.delivered) == 2)
        await here.pass_time(2)
        assert len(both.received) == 1
        assert texts(await messages(kit)) == ["hello", "hi"]


class TestClosed:
    """An answer that comes too late for its room."""

    async def test_another_process_closes_the_room(self, here: World) -> None:
        """The answer is stored BLOCKED, as if this process had closed it."""
        bot = Thinker()
        first, second = await here.kit(settle_timeout=0.01), await here.kit()
        await open_room(first, SimpleChannel("a"), bot)
        await ask(first)
        await second.close_room("r")
        bot.gate.set()
        await here.until(lambda: not here.store.deliveries.lanes())
        late = (await messages(first))[-1]
        assert (late.status, late.blocked_by) == (EventStatus.BLOCKED, "room_closed")

    async def test_it_closes_between_look_and_commit(self, here: World) -> None:
        """Even when it closes just before the commit."""
        bot = SimpleChannel("ai", category=AI, react_script=["hi"])
        first, second = await here.kit(), await here.kit()
        await open_room(first, SimpleChannel("a"), bot)

        @first.hook(HookTrigger.BEFORE_BROADCAST)
        async def close_it(event: RoomEvent, context: RoomContext) -> HookResult:
            if event.chain_depth and context.room.is_open:
                await second.close_room("r")
            return HookResult.allow()

        await ask(first)
        await settle()
        late = (await messages(first))[-1]
        assert texts([late]) == ["hi"]
        assert (late.status, late.blocked_by) == (EventStatus.BLOCKED, "room_closed")
        assert (await first.stats()).deliveries.depth == 0


class TestBacklog:
    """Many questions left by a process that is gone."""

    async def test_a_long_backlog_is_answered_without_pauses(self, here: World) -> None:
        """A reaction ends in its answer's commit; the lane goes on from there at once."""
        lost = Thinker()
        bot = SimpleChannel("ai", category=AI, react_script=lambda *args: "hi")
        first = await here.kit(settle_timeout=0.001)
        await open_room(first, SimpleChannel("a"), lost)
        for number in range(70):
            await ask(first, str(number))
        here.kill(first)
        await here.kit(SimpleChannel("a"), bot)
        await here.until(lambda: bot.received, 8)
        for _ in range(200):  # no time passes on the clock: no round is due
            await settle(1)
            if len(bot.received) >= 70:
                break
        assert texts(bot.received)[:70] == [str(number) for number in range(70)]
