"""Rooms in which an AI answers; the model is a mock that answers at once."""

from __future__ import annotations

from benchmarks.floors import MessageFloor
from benchmarks.measure import each, race
from benchmarks.model import Figure, check, scenario
from benchmarks.worlds import Room
from roomkit.channels.ai import AIChannel
from roomkit.models.enums import EventStatus
from roomkit.providers.ai.base import AIContext
from roomkit.providers.ai.mock import MockAIProvider

CALLS = 600


def _ai(name: str) -> AIChannel:
    provider = MockAIProvider(["certainly"])
    # The mock remembers every call; here that would be all that is measured in the end.
    provider.calls = _Forgetful()
    return AIChannel(name, provider)


class _Forgetful(list[AIContext]):
    """A list that keeps nothing."""

    def append(self, item: AIContext) -> None:
        """Do nothing."""


@scenario("ai_turn", "AI turn (mock)", target=110.0)
async def ai_turn() -> Figure:
    """A message and its answer."""
    room = await Room.make(targets=(_ai("ai"),))
    spent, floor = await race(CALLS, room.say, each(MessageFloor(), MessageFloor()))
    await room.verify(answers=1)
    return Figure(spent, floor)


@scenario("two_ais", "two AIs answering each other to the depth limit", target=900.0)
async def two_ais() -> Figure:
    """A message, and answers to answers until the limit of five stops them."""
    room = await Room.make(targets=(_ai("ai-1"), _ai("ai-2")))
    (spent,) = await race(60, room.say)
    events = await room.kit.store.list_events("room", limit=100_000)
    answers, left = divmod(len(events) - room.before - room.said, room.said)
    check(left == 0, "not the same number of answers to each message")
    await room.verify(answers=answers)
    blocked = [event for event in events if event.status == EventStatus.BLOCKED]
    check(len(blocked) >= room.said and {e.chain_depth for e in blocked} == {5}, "no limit")
    return Figure(spent)
