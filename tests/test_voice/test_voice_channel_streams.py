"""Answers spoken while they are still being written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from roomkit import AIChannel, ChannelCategory, HookResult, HookTrigger, RoomKit, TextContent
from roomkit.channels.voice import VoiceChannel
from roomkit.models.streaming import StreamDelta, StreamEnd
from roomkit.providers.ai.base import AIProvider, AIResponse
from roomkit.testing import SimpleChannel
from roomkit.voice.base import AudioChunk
from roomkit.voice.tts.mock import MockTTSProvider
from tests.support.kits import messages, texts
from tests.test_voice._voice_rooms import (
    ROOM,
    Backend,
    HookEars,
    SlowTTS,
    open_call,
    settle,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.providers.ai.base import AIContext


class Writer(AIProvider):
    """Writes an answer in pieces; the last one only when it is let go."""

    supports_streaming = True
    model_name = "writer"

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def generate(self, context: AIContext) -> AIResponse:
        """Return the whole."""
        return AIResponse(content="We are open. Come in!")

    async def generate_stream(self, context: AIContext) -> AsyncIterator[str]:
        """Yield the pieces."""
        yield "We are "
        yield "open. Come"
        await self.go.wait()
        yield " in!"


async def answered(kit: RoomKit, backend: Backend, writer: Writer, **options: Any) -> Any:
    """Open a call in a room with the writer and a desk that asks; return channel and session."""
    channel = VoiceChannel("voice", tts=MockTTSProvider(), backend=backend, **options)
    session = await open_call(kit, channel)
    kit.register_channel(AIChannel("ai", writer))
    await kit.attach_channel(ROOM, "ai", category=ChannelCategory.INTELLIGENCE)
    kit.register_channel(SimpleChannel("desk"))
    await kit.attach_channel(ROOM, "desk")
    return channel, session


def ears_without_gates(kit: RoomKit) -> HookEars:
    """Return ears that do not hold the stream back: a BEFORE_BROADCAST gate would."""
    kit_hook = kit.hook

    def hook(trigger: Any, *args: Any, **options: Any) -> Any:
        if trigger is HookTrigger.BEFORE_BROADCAST:
            return lambda function: function
        return kit_hook(trigger, *args, **options)

    class Kit:
        """The kit without one trigger."""

    shown: Any = Kit()
    shown.hook = hook
    return HookEars(shown)


class TestStreamedAnswers:
    """The first sentence sounds before the second is written."""

    async def test_sentence_by_sentence(self) -> None:
        """BEFORE_TTS once a sentence, AFTER_TTS once, and nothing is said twice."""
        backend, writer = Backend(), Writer()
        async with RoomKit(voice=backend) as kit:
            ears = ears_without_gates(kit)
            await answered(kit, backend, writer)
            asking = asyncio.create_task(kit.send_event(ROOM, "desk", TextContent(body="Open?")))
            await until(lambda: b"mock-audio-open." in [data for _, data in backend.chunks])
            assert texts(await messages(kit)) == ["Open?"]
            writer.go.set()
            await asking
            await until(lambda: ears.of(HookTrigger.AFTER_TTS)[-1:] == ["We are open. Come in!"])
            assert ears.of(HookTrigger.BEFORE_TTS) == ["Open?", "We are open.", "Come in!"]
            assert [data for _, data in backend.chunks] == [
                b"mock-audio-Open?",
                b"mock-audio-We",
                b"mock-audio-are",
                b"mock-audio-open.",
                b"mock-audio-Come",
                b"mock-audio-in!",
            ]
            assert texts(await messages(kit)) == ["Open?", "We are open. Come in!"]

    async def test_a_refused_sentence_is_left_out(self) -> None:
        """BEFORE_TTS decides about each sentence alone."""
        backend, writer = Backend(), Writer()
        writer.go.set()
        async with RoomKit(voice=backend) as kit:

            @kit.hook(HookTrigger.BEFORE_TTS)
            async def gate(text: str, context: Any) -> HookResult[str]:
                return HookResult.block("no") if "open" in text.lower() else HookResult.allow()

            await answered(kit, backend, writer)
            await kit.send_event(ROOM, "desk", TextContent(body="Open?"))
            await until(lambda: len(backend.chunks) == 2)
            said = [data for _, data in backend.chunks]
            assert said == [b"mock-audio-Come", b"mock-audio-in!"]

    async def test_an_interruption_before_the_answer_is_stored(self) -> None:
        """It is noted at the event as soon as there is one."""
        backend, writer = Backend(), Writer()
        async with RoomKit(voice=backend) as kit:
            channel, session = await answered(kit, backend, writer)
            asking = asyncio.create_task(kit.send_event(ROOM, "desk", TextContent(body="Open?")))
            await until(lambda: b"mock-audio-open." in [data for _, data in backend.chunks])
            assert await channel.interrupt(session)
            writer.go.set()
            await asking
            await settle()
            assert (await messages(kit))[-1].metadata["interrupted"] is True
            assert b"mock-audio-Come" not in [data for _, data in backend.chunks]

    async def test_a_synthesiser_fed_with_text(self) -> None:
        """One that speaks while it is written to gets the approved sentences in one stream."""

        class Fed(MockTTSProvider):
            supports_streaming_input = True

            async def synthesize_stream_input(
                self, text_stream: AsyncIterator[str], *, voice: str | None = None
            ) -> AsyncIterator[AudioChunk]:
                async for text in text_stream:
                    yield AudioChunk(text.encode())

        backend, writer = Backend(), Writer()
        writer.go.set()
        async with RoomKit(voice=backend) as kit:
            channel = VoiceChannel("voice", tts=Fed(), backend=backend)
            await open_call(kit, channel)
            kit.register_channel(AIChannel("ai", writer))
            await kit.attach_channel(ROOM, "ai", category=ChannelCategory.INTELLIGENCE)
            kit.register_channel(SimpleChannel("desk"))
            await kit.attach_channel(ROOM, "desk", visibility="intelligence")
            await kit.send_event(ROOM, "desk", TextContent(body="Open?"))
            await until(lambda: len(backend.chunks) == 2)
            assert [data for _, data in backend.chunks] == [b"We are open. ", b"Come in! "]


class TestRetraction:
    """A late refusal."""

    async def test_a_refused_answer_falls_silent(self) -> None:
        """delta_end with ``retracted`` stops what is being said."""
        backend, tts = Backend(), SlowTTS()
        channel = VoiceChannel("voice", tts=tts, backend=backend)
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            session = await open_call(kit, channel)
            binding: Any = await kit.store.get_binding(ROOM, "voice")
            await channel.deliver_delta(StreamDelta(ROOM, "ai", "s", 0, "Hello. You"), binding)
            await until(lambda: backend.chunks)
            await channel.deliver_delta(StreamEnd(ROOM, "ai", "s", None, True), binding)
            await until(lambda: ears.of(HookTrigger.ON_TTS_CANCELLED))
            assert channel.playback(session) is None
            assert tts.closed == 1

    async def test_who_comes_late_gets_the_whole(self) -> None:
        """Pieces of an answer whose beginning nobody heard are not said."""
        backend = Backend()
        channel = VoiceChannel("voice", tts=MockTTSProvider(), backend=backend)
        async with RoomKit(voice=backend) as kit:
            await open_call(kit, channel)
            binding: Any = await kit.store.get_binding(ROOM, "voice")
            await channel.deliver_delta(StreamDelta(ROOM, "ai", "s", 3, "rest."), binding)
            await channel.deliver_delta(StreamEnd(ROOM, "ai", "s", "e"), binding)
            await settle()
            assert backend.chunks == []
