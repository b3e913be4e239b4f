"""Sessions of different rooms on one channel: each is what it would be alone.

Their frames are mixed by dice with a seed. Whatever a session causes (texts, events, hooks,
sound) must carry its own value, be in its own room, and be the same as when nobody else calls.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    AIChannel,
    ChannelCategory,
    HookExecution,
    HookResult,
    HookTrigger,
    RoomKit,
)
from roomkit.channels.realtime_voice import RealtimeVoiceChannel
from roomkit.channels.voice import VoiceChannel
from roomkit.voice.pipeline import AudioPipelineConfig
from roomkit.voice.realtime import MockRealtimeProvider, MockRealtimeTransport
from tests.reliability._calls import nothing_left, until
from tests.reliability._speakers import (
    Loudness,
    Parrot,
    Speller,
    Writer,
    frame,
    repeated,
    spoken,
    utterance,
    written,
)
from tests.support.kits import inbound, messages, texts
from tests.test_voice._voice_rooms import ASYNC, SYNC, Backend, heard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.base import VoiceSession
    from roomkit.voice.realtime import RealtimeSession

SPOKEN = 3
"""Utterances of each caller."""


def room(number: int) -> str:
    """Return the room of a caller."""
    return f"room-{number}"


def plan(number: int) -> list[tuple[int, int]]:
    """Return what a caller says: a value of their own, for so many frames."""
    dice = random.Random(number)
    return [(number * 100 + turn + 1, dice.randint(1, 6)) for turn in range(SPOKEN)]


class House:
    """Rooms with a voice channel and a model, all of them shared.

    Attributes:
        hooks: Room to ``(trigger, payload)``, in order.
        sessions: Number of a caller to the session.
    """

    def __init__(self, kit: RoomKit) -> None:
        self.kit = kit
        self.backend = Backend()
        self.hooks: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self.sessions: dict[int, VoiceSession] = {}
        self.stt, self.tts, self.ai = Writer(), Speller(), Parrot()
        self.channel = VoiceChannel(
            "voice",
            backend=self.backend,
            stt=self.stt,
            tts=self.tts,
            pipeline=AudioPipelineConfig(vad=Loudness()),
            enable_barge_in=False,
        )
        kit.register_channel(self.channel)
        kit.register_channel(AIChannel("ai", self.ai))
        for trigger in (*ASYNC, *SYNC):
            kind = HookExecution.ASYNC if trigger in ASYNC else HookExecution.SYNC
            kit.hook(trigger, kind, name=f"ear {trigger}")(self._ear(trigger))

    def _ear(self, trigger: HookTrigger) -> Any:
        async def hear(payload: Any, context: Any) -> HookResult[Any]:
            told = payload if isinstance(payload, str) else getattr(payload, "room_id", "")
            self.hooks[context.room.id].append((trigger.value, told))
            return HookResult.allow()

        return hear

    async def open(self, numbers: list[int]) -> None:
        """Let these callers in, each in a room of their own."""
        for number in numbers:
            await self.kit.create_room(room(number))
            await self.kit.attach_channel(room(number), "voice")
            await self.kit.attach_channel(
                room(number), "ai", category=ChannelCategory.INTELLIGENCE
            )
            self.sessions[number] = await self.kit.connect_voice(
                room(number), f"caller-{number}", "voice"
            )

    async def talk(self, numbers: list[int], dice: random.Random) -> None:
        """Let everybody say everything, their frames mixed by the dice."""
        left = {
            number: [f for value, count in plan(number) for f in utterance(value, count)]
            for number in numbers
        }
        while left:
            number = dice.choice(sorted(left))
            await self.backend.simulate_audio_received(self.sessions[number], left[number].pop(0))
            if not left[number]:
                del left[number]
            if dice.random() < 0.3:
                await asyncio.sleep(0)

    async def quiet(self, numbers: list[int]) -> None:
        """Wait until everything is said and heard."""
        whole = {
            number: sum(len(spoken(repeated(written(v, n)))) for v, n in plan(number))
            for number in numbers
        }
        await until(lambda: all(len(self.sound(number)) >= whole[number] for number in numbers))
        assert await self.kit.drain(10)
        await until(lambda: self.tts.open_streams == 0)

    def sound(self, number: int) -> bytes:
        """Return what a caller was played."""
        mine = self.sessions[number].id
        return b"".join(data for session_id, data in self.backend.chunks if session_id == mine)

    async def record(self, number: int) -> dict[str, Any]:
        """Return everything that happened in a caller's room."""
        events = await messages(self.kit, room(number))
        mine = self.sessions[number].id
        hooks = self.hooks[room(number)]
        return {
            "asked": texts(event for event in events if event.source.participant_id),
            "said": sorted(texts(events)),
            "speakers": sorted(str(event.source.participant_id) for event in events),
            "sessions": {
                event.metadata["voice_session_id"] == mine
                for event in events
                if "voice_session_id" in event.metadata
            },
            "sound": sorted(self.sound(number).decode("utf-16-le").split(".")),
            "shown": sorted(
                (text, role)
                for session_id, text, role in self.backend.sent_transcriptions
                if session_id == mine
            ),
            "hooks": sorted(hooks),
        }


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    """A kit with everything but rooms."""
    async with nothing_left(), RoomKit() as kit:
        yield House(kit)


async def alone(number: int) -> dict[str, Any]:
    """Return what happens to a caller when nobody else calls."""
    async with house() as world:
        await world.open([number])
        await world.talk([number], random.Random(0))
        await world.quiet([number])
        return await world.record(number)


class TestVoiceChannel:
    """One VoiceChannel, many rooms."""

    @pytest.mark.parametrize(
        ("callers", "seed"), [(2, 1), (2, 2), (2, 3), (2, 4), (20, 5), (20, 6)]
    )
    async def test_each_is_what_it_is_alone(self, callers: int, seed: int) -> None:
        """Texts, events, hooks, what is shown and what is played."""
        numbers = list(range(1, callers + 1))
        expected = {number: await alone(number) for number in numbers}
        async with house() as world:
            await world.open(numbers)
            await world.talk(numbers, random.Random(seed))
            await world.quiet(numbers)
            for number in numbers:
                assert await world.record(number) == expected[number]
            assert set(world.hooks) == set(map(room, numbers))

    async def test_the_answers_are_those_to_what_was_said(self) -> None:
        """Alone, everything is as planned: otherwise equal mistakes would look right."""
        record = await alone(7)
        questions = [written(value, count) for value, count in plan(7)]
        assert record["asked"] == questions
        assert record["said"] == sorted([*questions, *map(repeated, questions)])
        assert record["sound"] == sorted(["", *(f"You said {each}" for each in questions)])
        assert record["sessions"] == {True}
        assert [hook for hook in record["hooks"] if hook[0] == "on_speech_end"] == [
            ("on_speech_end", room(7))
        ] * SPOKEN
        assert record["speakers"].count("caller-7") == SPOKEN

    async def test_one_leaves_in_the_middle(self) -> None:
        """What the other one said and heard is the same; the leaver's room hears no more."""
        expected = await alone(2)
        async with house() as world:
            await world.open([1, 2])
            first, second = world.sessions[1], world.sessions[2]
            frames = [f for value, count in plan(2) for f in utterance(value, count)]
            for number, each in enumerate(frames):
                await world.backend.simulate_audio_received(second, each)
                await world.backend.simulate_audio_received(first, frame(99))
                if number == len(frames) // 2:
                    await world.kit.disconnect_voice(first)
            await world.quiet([2])
            assert await world.record(2) == expected
            told = {trigger for trigger, _ in world.hooks[room(1)]}
            # Speech that was cut off by the end of its session may still be told as ended.
            assert told - {"on_speech_start"} <= {"on_speech_end", "on_transcription",
                                                         "before_broadcast", "after_broadcast",
                                                         "before_tts"}  # fmt: skip
            assert world.sound(1) == b""
            assert world.channel.dropped_frames > 0

    async def test_a_slow_room_holds_up_nobody(self) -> None:
        """While one caller's words wait for the recogniser, another one is answered."""
        async with house() as world:
            await world.open([1])
            world.stt.gate.shut()
            for each in utterance(101, 2):
                await world.backend.simulate_audio_received(world.sessions[1], each)
            await until(lambda: world.stt.gate.waiting == 1)
            await world.open([2])
            world.ai.gate.open()
            written_there = inbound("hello", channel_id="voice", sender="somebody")
            await world.kit.process_inbound(written_there, room_id=room(2))
            await until(lambda: world.sound(2))
            assert world.sound(1) == b""
            world.stt.gate.open()
            await until(lambda: world.sound(1))


class TestRealtimeVoiceChannel:
    """One RealtimeVoiceChannel, many rooms."""

    @pytest.mark.parametrize(("callers", "seed"), [(2, 1), (2, 2), (20, 3)])
    async def test_nothing_crosses(self, callers: int, seed: int) -> None:
        """Sound both ways, transcripts, tools, hooks: each has its session's own number."""
        dice = random.Random(seed)
        provider, transport = MockRealtimeProvider(), MockRealtimeTransport()
        hooks: dict[str, set[str]] = defaultdict(set)

        async def tool(session: Any, name: str, arguments: dict[str, Any]) -> str:
            await asyncio.sleep(0)
            return f"{session.room_id} {arguments['of']}"

        async with nothing_left(), RoomKit() as kit:
            channel = RealtimeVoiceChannel(
                "live", provider=provider, transport=transport, tool_handler=tool
            )
            kit.register_channel(channel)

            @kit.hook(HookTrigger.ON_TRANSCRIPTION)
            async def transcribed(event: Any, context: Any) -> HookResult[Any]:
                hooks[context.room.id].add(event.text)
                return HookResult.allow()

            sessions = []
            for number in range(callers):
                await kit.create_room(room(number))
                await kit.attach_channel(room(number), "live")
                sessions.append(
                    await kit.connect_realtime_voice(room(number), f"p{number}", "live", object())
                )
            await self._mixed(sessions, provider, transport, dice)
            await until(lambda: len(provider.tool_results) == callers)
            await until(lambda: len(transport.sent_audio) == callers)
            await until(lambda: len(provider.sent_audio) == callers)
            for number, session in enumerate(sessions):
                mark = number.to_bytes(2, "little")
                assert (session.id, mark * 10) in provider.sent_audio
                assert (session.id, mark * 20) in transport.sent_audio
                result = (session.id, f"c{number}", f"{room(number)} {number}")
                assert result in provider.tool_results
            assert await kit.drain(10)
            for number in range(callers):
                said = texts(await heard(kit, 1, room(number)))
                assert said == [f"text {number}"]
                assert hooks[room(number)] == set(said)

    async def _mixed(
        self,
        sessions: list[RealtimeSession],
        provider: MockRealtimeProvider,
        transport: MockRealtimeTransport,
        dice: random.Random,
    ) -> None:
        steps = [(n, step) for n in range(len(sessions)) for step in range(4)]
        dice.shuffle(steps)
        for number, step in steps:
            session, mark = sessions[number], number.to_bytes(2, "little")
            if step == 0:
                await transport.simulate_client_audio(session, mark * 10)
            elif step == 1:
                await provider.simulate_audio(session, mark * 20)
            elif step == 2:
                await provider.simulate_transcription(session, f"text {number}", "user")
            else:
                await provider.simulate_tool_call(session, f"c{number}", "t", {"of": number})
            if dice.random() < 0.5:
                await asyncio.sleep(0)
