"""What the providers of live models share: opening in time, and attempts to come back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit._clock import ManualClock
from roomkit.exceptions import InvalidInputError, ProviderError
from roomkit.providers.gemini.realtime import GeminiLiveProvider
from roomkit.providers.openai.realtime import OpenAIRealtimeProvider
from roomkit.simulators.gemini_live import GeminiLiveSimulator
from roomkit.simulators.openai_realtime import OpenAIRealtimeSimulator
from roomkit.voice.realtime import RealtimeSessionState
from roomkit.voice.realtime._links import Attempts, merge
from tests.reliability._calls import nothing_left
from tests.test_voice._cloud import mute
from tests.test_voice._realtime import until
from tests.test_voice._realtime_calls import LiveCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.voice.realtime import RealtimeSession

VENDORS: dict[str, tuple[Any, Any]] = {
    "openai": (OpenAIRealtimeProvider, OpenAIRealtimeSimulator),
    "gemini": (GeminiLiveProvider, GeminiLiveSimulator),
}
CODES = {"openai": "connection_closed", "gemini": "connection_lost"}

vendors = pytest.mark.parametrize("vendor", sorted(VENDORS))


def calls(vendor: str) -> tuple[Callable[..., LiveCall[Any, Any]], Any]:
    """Return what makes a call, and a simulator of the vendor."""
    provider, simulator = VENDORS[vendor]
    return lambda sim, **options: LiveCall(provider, sim, **options), simulator()


class TestOpening:
    """A server that accepts and then says nothing."""

    @vendors
    async def test_nobody_answers_the_handshake(self, vendor: str) -> None:
        """It is given up in time, as something that may work later; nothing is left."""
        make, simulator = calls(vendor)
        async with nothing_left(), simulator as sim, mute() as base:
            call = make(sim, open_timeout=0.1, api_base=base)
            with pytest.raises(ProviderError, match="cannot be reached") as caught:
                await call.connect()
            assert caught.value.retryable
            assert call.session.state is RealtimeSessionState.ENDED
            await call.provider.close()

    async def test_gemini_never_takes_the_settings(self) -> None:
        """The same: without its answer there is no session."""
        make, simulator = calls("gemini")
        async with nothing_left(), simulator as sim:
            sim.stall()
            call = make(sim, open_timeout=0.3)
            with pytest.raises(ProviderError, match="cannot be reached") as caught:
                await call.connect()
            assert caught.value.retryable
            assert sim.handshakes == 1
            await call.provider.close()

    async def test_openai_never_takes_the_settings(self) -> None:
        """It is believed: servers that speak the protocol may confirm nothing."""
        make, simulator = calls("openai")
        async with nothing_left(), simulator as sim:
            sim.stall()
            call = make(sim, confirm_timeout=0.1)
            await call.connect()
            assert call.session.state is RealtimeSessionState.ACTIVE
            await call.provider.disconnect(call.session)
            assert call.session.state is RealtimeSessionState.ENDED
            await call.provider.close()

    async def test_openai_confirms(self) -> None:
        """Who is confirmed is not waited for any longer."""
        make, simulator = calls("openai")
        async with simulator as sim:
            call = make(sim, confirm_timeout=3600)
            async with asyncio.timeout(10):
                await call.connect()
            await call.provider.close()

    @vendors
    @pytest.mark.parametrize(
        ("status", "retryable"), [(401, False), (404, False), (429, True), (503, True)]
    )
    async def test_a_refused_handshake(self, vendor: str, status: int, retryable: bool) -> None:
        """The status is told, and whether trying again may help; never the key."""
        make, simulator = calls(vendor)
        async with simulator as sim:
            sim.refuse(status)
            call = make(sim)
            with pytest.raises(ProviderError, match=str(status)) as caught:
                await call.connect()
            assert caught.value.retryable is retryable
            assert caught.value.status_code == status
            assert sim.settings["api_key"] not in str(caught.value)
            await call.provider.close()

    @vendors
    async def test_ended_while_opening(self, vendor: str) -> None:
        """Who hangs up meanwhile waits for nobody."""
        make, simulator = calls(vendor)
        async with nothing_left(), simulator as sim:
            sim.stall()
            call = make(sim)
            opening = asyncio.create_task(call.connect())
            await until(lambda: sim.connections)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            assert call.session.state is RealtimeSessionState.ENDED
            await until(lambda: not sim.connections)
            await call.provider.close()

    @vendors
    @pytest.mark.parametrize("name", ["open_timeout", "send_timeout", "max_reconnects"])
    def test_what_makes_no_sense(self, vendor: str, name: str) -> None:
        """It is refused before anything is opened."""
        with pytest.raises(InvalidInputError):
            VENDORS[vendor][0](api_key="made-up", **{name: -1})

    @pytest.mark.parametrize("name", ["confirm_timeout", "keepalive_seconds"])
    def test_what_makes_no_sense_to_openai(self, name: str) -> None:
        """The same for its own."""
        with pytest.raises(InvalidInputError):
            OpenAIRealtimeProvider(api_key="made-up", **{name: 0})


class TestEnding:
    """A session that we end."""

    @vendors
    async def test_a_callback_may_disconnect(self, vendor: str) -> None:
        """Nothing waits for itself."""
        make, simulator = calls(vendor)
        async with nothing_left(), simulator as sim:
            call = make(sim)
            await call.connect()
            ended = asyncio.Event()

            async def hang_up(session: RealtimeSession) -> None:
                await call.provider.disconnect(session)
                ended.set()

            call.provider.on_response_start(hang_up)
            await call.speak()
            await asyncio.wait_for(ended.wait(), 5)
            await sim.connected(0)
            assert call.session.state is RealtimeSessionState.ENDED
            await call.provider.close()

    @vendors
    async def test_again_and_while_the_link_is_down(self, vendor: str) -> None:
        """Neither at once nor later is anybody told."""
        make, simulator = calls(vendor)
        async with nothing_left(), simulator as sim:
            call = make(sim)
            await call.connect()
            sim.cut()
            await until(lambda: call.clock.sleepers)
            for _ in range(2):
                await call.provider.disconnect(call.session)
            await call.clock.advance(10)
            assert call.heard.all == []
            assert call.session.state is RealtimeSessionState.ENDED
            assert sim.handshakes == 1
            await call.provider.close()
            await call.provider.close()


class TestComingBack:
    """A link that is lost."""

    @vendors
    async def test_lost_for_good(self, vendor: str) -> None:
        """The error says after how many attempts; each was asked for."""
        make, simulator = calls(vendor)
        async with simulator as sim:
            call = make(sim, max_reconnects=2)
            await call.connect()
            sim.refuse(503, 503)
            sim.cut()
            for _ in range(2):
                await until(lambda: call.clock.sleepers)
                await call.clock.advance(6)
            await until(lambda: call.heard.of("error"))
            [(code, message)] = call.heard.of("error")
            assert code == CODES[vendor]
            assert "2 attempts" in message
            assert call.session.state is RealtimeSessionState.ENDED
            assert sim.handshakes == 3
            await call.provider.close()

    async def test_pauses(self) -> None:
        """They double up to four seconds, by chance shorter or longer."""
        clock = Told()
        attempts = Attempts(clock, 6, (0.5, 1.5))
        while attempts.left:
            await attempts.begin()
        full = [0.5, 1, 2, 4, 4, 4]
        assert len(clock.asked) == attempts.made == 6
        assert all(0.5 * f <= p <= 1.5 * f for f, p in zip(full, clock.asked, strict=True))
        assert clock.asked != full

    async def test_at_once(self) -> None:
        """A planned change waits for nothing, and counts."""
        clock = Told()
        attempts = Attempts(clock, 1, (1, 1))
        await attempts.begin(at_once=True)
        assert (clock.asked, attempts.left) == ([], False)

    async def test_the_count(self) -> None:
        """Only a link that lasted a minute starts it anew."""
        clock = Told()
        attempts = Attempts(clock, 1, (1, 1))
        await attempts.begin()
        await clock.advance(59)
        attempts.lost(0)
        assert not attempts.left
        await clock.advance(1)
        attempts.lost(0)
        assert attempts.left


class Told(ManualClock):
    """A clock that writes down what it is asked, and lets nobody wait."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Note."""
        self.asked.append(seconds)


def test_settings_are_merged_field_by_field() -> None:
    """Objects are merged, everything else is replaced."""
    into: dict[str, Any] = {"a": {"b": 1, "c": [1]}, "d": {"e": 1}}
    merge(into, {"a": {"c": [2], "f": None}, "d": 3})
    assert into == {"a": {"b": 1, "c": [2], "f": None}, "d": 3}
