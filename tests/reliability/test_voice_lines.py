"""Lines that break, one peer at a time (T15): cut, half-open, stalled, refused, flapping, resent.

Every server is real, on a socket of this machine, and a relay in front of it breaks the line.
Each test ends with the tasks and sockets it began with.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from roomkit._clock import ManualClock
from roomkit.exceptions import ProviderError
from roomkit.simulators.deepgram import DeepgramSimulator
from roomkit.simulators.elevenlabs import ElevenLabsSimulator
from roomkit.simulators.openai_realtime import tone
from roomkit.voice.realtime import RealtimeSession, RealtimeSessionState
from roomkit.voice.stt.deepgram import DeepgramConfig, DeepgramSTTProvider
from roomkit.voice.tts.elevenlabs import ElevenLabsConfig, ElevenLabsTTSProvider
from tests.reliability._calls import Relay, nothing_left, until
from tests.reliability._live_vendors import LONGEST_PAUSE, VENDORS, LiveVendor
from tests.test_voice._cloud import halting, sound, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.base import AudioChunk

QUIET = bytes(16000 * 2)


class Recording(ManualClock):
    """A manual clock that remembers how long it was asked to sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Note, then wait for the test."""
        self.asked.append(seconds)
        await super().sleep(seconds)


class Model:
    """A provider whose line to its vendor is a relay.

    Attributes:
        told: ``(kind, ...)`` of everything it told, in order.
    """

    def __init__(self, vendor: LiveVendor, relay: Relay, sim: Any, **options: Any) -> None:
        self.vendor = vendor
        self.relay = relay
        self.sim = sim
        self.clock = Recording()
        self.provider = vendor.behind(relay, sim, clock=self.clock, **options)
        self.session = RealtimeSession("s", "r", "pat", "live")
        self.told: list[tuple[Any, ...]] = []
        for kind in ("error", "response_start", "response_end", "tool_call", "transcription"):
            getattr(self.provider, f"on_{kind}")(partial(self._note, kind))

    def _note(self, kind: str, session: RealtimeSession, *values: Any) -> None:
        self.told.append((kind, *values))

    @property
    def finals(self) -> list[tuple[str, str]]:
        """Final transcripts: role and text."""
        return [(told[2], told[1]) for told in self.told if told[0] == "transcription" and told[3]]

    async def speak(self) -> None:
        """Say something, then be quiet."""
        await self.provider.send_audio(self.session, tone(600, rate=16000))
        await self.provider.send_audio(self.session, QUIET)

    async def lost(self) -> None:
        """Wait until the link is known to be lost."""
        await until(lambda: self.clock.sleepers)
        assert self.session.state is RealtimeSessionState.CONNECTING

    async def back(self) -> None:
        """Let time pass until the link is back."""
        await self.clock.advance(LONGEST_PAUSE)
        await until(lambda: self.session.state is RealtimeSessionState.ACTIVE)

    async def answers(self) -> None:
        """Speak, and be answered."""
        count = self.told.count(("response_end",))
        await self.speak()
        await until(lambda: self.told.count(("response_end",)) > count)


@asynccontextmanager
async def model(
    name: str = "openai", rate: int = 16000, *, quick: bool = False, **options: Any
) -> AsyncIterator[Model]:
    """A connected session whose caller speaks at a rate; quick to miss a line that is dead."""
    vendor = VENDORS[name]
    async with nothing_left(), vendor.simulator() as sim, Relay(sim.api_base) as relay:
        world = Model(vendor, relay, sim, **(vendor.pings if quick else {}), **options)
        await world.provider.connect(world.session, input_sample_rate=rate)
        yield world
        await world.provider.close()


@pytest.mark.parametrize("vendor", sorted(VENDORS))
class TestLiveModels:
    """A link to a live model that is lost in any way is opened again, within a bound."""

    async def test_half_open(self, vendor: str) -> None:
        """A server that vanished without a word is missed by its keepalives."""
        async with model(vendor, quick=True) as world:
            world.sim.hears("I am Ana.")
            world.sim.answers("Hello Ana.")
            await world.answers()
            world.relay.swallow()
            await world.lost()
            world.relay.flow()
            await world.back()
            await until(lambda: world.vendor.remembers(world.sim, 2))
            assert world.finals == [("user", "I am Ana."), ("assistant", "Hello Ana.")]
            assert not [told for told in world.told if told[0] == "error"]

    async def test_a_server_that_takes_nothing(
        self, vendor: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Sending has an end: keepalives wait behind what is not taken."""
        async with model(vendor, 24000, send_timeout=0.05) as world:
            world.relay.stall()
            async with asyncio.timeout(10):
                while not world.clock.sleepers:
                    await world.provider.send_audio(world.session, bytes(1024 * 1024))
                    await asyncio.sleep(0)
            assert "takes nothing" in caplog.text
            world.relay.flow()
            await world.back()
            await world.answers()

    async def test_hanging_up_on_a_server_that_takes_nothing(self, vendor: str) -> None:
        """The end does not wait for it, and its socket does not stay."""
        async with model(vendor, send_timeout=0.05) as world:
            world.relay.swallow()
            async with asyncio.timeout(4):
                await world.provider.disconnect(world.session)
            assert world.session.state is RealtimeSessionState.ENDED
            assert not world.told

    async def test_the_pause_grows_with_jitter_up_to_a_cap(self, vendor: str) -> None:
        """Many sessions that are cut at once do not all come back at once."""
        async with model(vendor, max_reconnects=6) as world:
            others = [RealtimeSession(f"s{n}", "r", "pat", "live") for n in range(8)]
            for each in others:
                await world.provider.connect(each)
            world.relay.refuse()
            world.relay.cut()
            ended = [world.session, *others]
            for _ in range(20):
                await until(lambda: world.clock.sleepers or len(world.told) == 9)
                if len(world.told) == 9:
                    break
                await world.clock.advance(LONGEST_PAUSE)
                await asyncio.sleep(0.01)
            await until(lambda: len(world.told) == 9)
            assert {each.state for each in ended} == {RealtimeSessionState.ENDED}
            assert {told[:2] for told in world.told} == {("error", world.vendor.code)}
            pauses = sorted(world.clock.asked)
            shortest, longest = world.vendor.spread
            assert len(pauses) == 9 * 6
            assert pauses[0] >= shortest
            assert pauses[-1] <= 8 * longest
            assert len({pause for pause in pauses if pause <= longest}) >= 8

    async def test_it_flaps(self, vendor: str) -> None:
        """Cut after each word: it is given up after so many attempts, and says so once."""
        async with model(vendor, max_reconnects=2) as world:
            for _ in range(2):
                world.relay.cut()
                await world.lost()
                await world.back()
            world.relay.cut()
            await until(lambda: world.told)
            assert [told[:2] for told in world.told] == [("error", world.vendor.code)]
            assert world.relay.accepted == 3

    @pytest.mark.parametrize("when", ["handshake", "greeting"])
    async def test_lost_while_connecting(self, vendor: str, when: str) -> None:
        """The caller of ``connect`` hears of it; nothing stays behind."""
        known = VENDORS[vendor]
        async with nothing_left(), known.simulator() as sim, Relay(sim.api_base) as relay:
            relay.refuse(when == "handshake")
            sim.stall()
            provider = known.behind(relay, sim)
            session = RealtimeSession("s", "r", "pat", "live")
            connecting = asyncio.create_task(provider.connect(session))
            if when == "greeting":
                await until(lambda: sim.connections)
                sim.cut()
            with pytest.raises(ProviderError) as caught:
                await connecting
            assert caught.value.retryable
            assert session.state is RealtimeSessionState.ENDED
            # Ended is terminal: nothing of it can be said or heard any more.
            await provider.send_audio(session, bytes(640))
            await provider.inject_text(session, "hello")
            assert session.state is RealtimeSessionState.ENDED
            await provider.close()

    async def test_one_leaver_ends_only_his_session(self, vendor: str) -> None:
        """The other one's answer goes on."""
        async with model(vendor) as world:
            other = RealtimeSession("other", "r", "bob", "live")
            await world.provider.connect(other)
            world.sim.answers(world.vendor.turn("Wait a moment", hold=True))
            await world.provider.inject_text(world.session, "hello")
            await until(lambda: ("response_start",) in world.told)
            await world.provider.disconnect(other)
            await world.sim.release()
            await until(lambda: ("response_end",) in world.told)
            assert other.state is RealtimeSessionState.ENDED
            assert world.session.state is RealtimeSessionState.ACTIVE

    @pytest.mark.parametrize("state", ["idle", "answering"])
    @pytest.mark.parametrize("harm", ["cut", "freeze", "expire"])
    async def test_the_server_ends_it(self, vendor: str, harm: str, state: str) -> None:
        """However it goes, it is missed, and what was asked is answered by the next one."""
        async with model(vendor, quick=True) as world:
            if state == "answering":
                world.sim.answers(world.vendor.turn("Once upon a time", hold=True))
                await world.provider.inject_text(world.session, "Tell me a story")
                await until(lambda: ("response_start",) in world.told)
            going = getattr(world.sim, harm)()
            if going is not None:
                await going
            await world.lost()
            await world.back()
            if state == "answering":
                await until(lambda: world.told.count(("response_end",)) == 2)
            await world.answers()
            assert not [told for told in world.told if told[0] == "error"]

    async def test_refused_on_its_way_back(self, vendor: str) -> None:
        """A busy server is asked again, one that knows the key no more is not."""
        async with model(vendor) as world:
            world.sim.refuse(503, 401)
            world.sim.cut()
            for _ in range(2):
                await world.lost()
                await world.clock.advance(LONGEST_PAUSE)
            await until(lambda: world.told)
            assert [told[:2] for told in world.told] == [("error", world.vendor.code)]
            assert world.session.state is RealtimeSessionState.ENDED
            assert world.sim.handshakes == 3


class TestOpenAIRealtime:
    """What only OpenAI's line can do."""

    async def test_an_answer_told_twice(self) -> None:
        """A call of a tool that is sent again is not made again."""
        async with model() as world:
            done = {"type": "response.function_call_arguments.done", "call_id": "c", "name": "pay"}
            for arguments in ('{"n": 1}', '{"n": 1}', '{"n": 2}'):
                await world.sim.emit({**done, "arguments": arguments})
            await until(lambda: world.told and world.told[-1][-1] == {"n": 2})
            assert [told[-1] for told in world.told] == [{"n": 1}, {"n": 2}]


class TestGeminiLive:
    """What only Gemini's line can do."""

    async def test_an_answer_told_twice(self) -> None:
        """A call of a tool that is sent again is not made again."""
        async with model("gemini") as world:
            for call_id, number in (("a", 1), ("a", 1), ("b", 2)):
                call = {"id": call_id, "name": "pay", "args": {"n": number}}
                await world.sim.emit({"toolCall": {"functionCalls": [call]}})
            await until(lambda: world.told and world.told[-1][-1] == {"n": 2})
            calls = [told[-1] for told in world.told if told[0] == "tool_call"]
            assert calls == [{"n": 1}, {"n": 2}]

    async def test_stalled_on_its_way_back(self) -> None:
        """A server that takes the connection and answers nothing costs one attempt."""
        async with model("gemini", quick=True, open_timeout=0.3) as world:
            world.sim.stall()
            world.sim.cut()
            await world.lost()
            await world.clock.advance(LONGEST_PAUSE)
            await until(lambda: world.clock.sleepers)
            await world.back()
            await world.answers()
            assert world.sim.handshakes == 3

    async def test_sent_away_while_the_line_is_down(self) -> None:
        """The planned change of connections fails; it becomes a lost link, which comes back."""
        async with model("gemini", quick=True) as world:
            await world.answers()
            world.relay.refuse()
            await world.sim.go_away(10)
            await world.lost()
            world.relay.refuse(False)
            await world.back()
            await world.answers()
            assert not [told for told in world.told if told[0] == "error"]

    async def test_sent_away_and_cut(self) -> None:
        """What comes first counts: one new link, not two."""
        async with model("gemini", quick=True) as world:
            world.sim.answers(world.vendor.turn("Once upon a time", hold=True))
            await world.provider.inject_text(world.session, "Tell me a story")
            await until(lambda: ("response_start",) in world.told)
            await world.sim.go_away(10)
            await until(lambda: world.clock.sleepers)
            world.sim.cut()
            await until(lambda: world.told.count(("response_end",)) == 2)
            await world.clock.advance(60)
            await world.answers()
            assert world.relay.accepted == 2


@asynccontextmanager
async def behind[T: (DeepgramSimulator, ElevenLabsSimulator)](
    simulator: T,
) -> AsyncIterator[tuple[T, Relay]]:
    """A vendor and the line to it; nothing of either is left."""
    async with nothing_left(), simulator as sim, Relay(sim.api_base) as relay:
        yield sim, relay


def recogniser(relay: Relay, sim: DeepgramSimulator, **options: Any) -> DeepgramSTTProvider:
    """Return a Deepgram whose line is a relay, with short limits."""
    config = DeepgramConfig(**{**sim.settings, "api_base": relay.base}, keepalive_seconds=0.05)
    limits = {"first_answer_seconds": 1.0, "idle_seconds": 0.1, "reconnects": 2, **options}
    return DeepgramSTTProvider(config, **limits)


class TestDeepgram:
    """Deepgram: whatever the line does, each word comes once."""

    @pytest.mark.parametrize("harm", ["cut", "swallow"])
    async def test_lost_in_the_middle(self, harm: str) -> None:
        """Cut, or half-open: what was not heard is said again, what was heard is not."""
        async with behind(DeepgramSimulator()) as (sim, relay):
            sim.hear("one", "two", "three")
            go, heard = asyncio.Event(), []
            chunks = sound(1200)
            stt = recogniser(relay, sim)
            async for result in stt.transcribe_stream(halting(chunks[:30], go, chunks[30:])):
                if not result.is_final:
                    continue
                heard.append(result.text)
                if heard == ["one"]:
                    # What half-opens here is found out by the pings, then the line is back.
                    getattr(relay, harm)()
                    asyncio.get_running_loop().call_later(0.25, relay.flow)
                    go.set()
            assert heard == ["one", "two", "three"]
            assert relay.accepted == 2
            await stt.close()

    async def test_it_flaps(self) -> None:
        """Cut after every utterance: progress keeps it going, nothing is lost or doubled."""
        async with behind(DeepgramSimulator()) as (sim, relay):
            sim.hear("one", "two", "three")
            goes = [asyncio.Event() for _ in range(3)]
            chunks = sound(1200)

            async def source() -> AsyncIterator[AudioChunk]:
                for number, go in enumerate(goes):
                    for chunk in chunks[20 * number : 20 * number + 20]:
                        yield chunk
                    await go.wait()

            heard: list[str] = []
            stt = recogniser(relay, sim, reconnects=1)
            async for result in stt.transcribe_stream(source()):
                if result.is_final:
                    heard.append(result.text)
                    relay.cut()
                    goes[len(heard) - 1].set()
            assert heard == ["one", "two", "three"]
            await stt.close()

    async def test_nobody_is_there(self) -> None:
        """It is asked for as often as documented, then the error comes out."""
        async with behind(DeepgramSimulator()) as (sim, relay):
            relay.refuse()
            stt = recogniser(relay, sim, reconnects=1)
            with pytest.raises(ProviderError) as caught:
                [result async for result in stt.transcribe_stream(stream(sound(100)))]
            assert caught.value.retryable
            assert relay.accepted == 2
            await stt.close()

    async def test_the_listener_leaves(self) -> None:
        """Whoever stops listening in the middle leaves nothing, on a half-open line too."""
        async with behind(DeepgramSimulator()) as (sim, relay):
            sim.hear("one")
            stt = recogniser(relay, sim)
            results = stt.transcribe_stream(halting(sound(600), asyncio.Event()))
            assert (await anext(results)).text
            relay.stall()
            async with asyncio.timeout(3):
                await results.aclose()
            await stt.close()


class TestElevenLabs:
    """ElevenLabs: what was lost is told and never asked for again: it would be heard twice."""

    @pytest.mark.parametrize("harm", ["cut", "swallow", "stall"])
    async def test_lost_in_the_middle(self, harm: str) -> None:
        """The listener hears of it within the idle time, and nothing is left."""
        async with behind(ElevenLabsSimulator()) as (sim, relay):
            settings = {**sim.settings, "api_base": relay.base}
            config = ElevenLabsConfig(**settings, output_format="pcm_24000")
            tts = ElevenLabsTTSProvider(config, idle_seconds=0.1, flush_seconds=0.02)
            go = asyncio.Event()
            words = halting(["Hello there, this is a whole sentence. "], go, ["And more."])
            chunks = tts.synthesize_stream_input(words)
            assert (await anext(chunks)).data
            getattr(relay, harm)()
            go.set()
            with pytest.raises(ProviderError) as caught:
                async with asyncio.timeout(5):
                    [chunk async for chunk in chunks]
            assert caught.value.retryable
            assert relay.accepted == 1
            await tts.close()

    async def test_nobody_is_there(self) -> None:
        """One attempt, one error."""
        async with behind(ElevenLabsSimulator()) as (sim, relay):
            relay.refuse()
            config = ElevenLabsConfig(**{**sim.settings, "api_base": relay.base})
            tts = ElevenLabsTTSProvider(config)
            with pytest.raises(ProviderError):
                [c async for c in tts.synthesize_stream_input(stream(["hello "]))]
            assert relay.accepted == 1
            await tts.close()


async def test_the_relay_does_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    """A relay that broke nothing would make every test here pass."""
    caplog.set_level(logging.CRITICAL, "websockets")

    async def echo(ws: Any) -> None:
        async for frame in ws:
            await ws.send(frame)

    async with nothing_left(), serve(echo, "127.0.0.1", 0) as running:
        port = running.sockets[0].getsockname()[1]
        async with Relay(f"ws://127.0.0.1:{port}/x") as relay:
            async with connect(relay.base, close_timeout=0.05) as ws:
                await ws.send(json.dumps("here"))
                assert await ws.recv() == '"here"'
                relay.swallow()
                await ws.send("gone")
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await ws.recv()
                relay.flow()
                await ws.send("back")
                assert await ws.recv() == "back"
            relay.refuse()
            with pytest.raises((OSError, EOFError, Exception)):
                await connect(relay.base)
            assert relay.accepted == 2
