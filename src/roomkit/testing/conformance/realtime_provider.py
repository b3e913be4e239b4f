"""What every provider of live models must do."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from roomkit.testing.conformance._suite import PATIENCE, Suite
from roomkit.voice.realtime.base import RealtimeSession, RealtimeSessionState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.realtime.provider import RealtimeVoiceProvider


class RealtimeProviderConformance(Suite, ABC):
    """What the realtime voice channel counts on. Implement ``make_provider``."""

    @abstractmethod
    async def make_provider(self) -> RealtimeVoiceProvider:
        """Return a new provider whose ``connect`` succeeds."""

    @pytest_asyncio.fixture
    async def provider(self) -> AsyncIterator[RealtimeVoiceProvider]:
        """A provider of the test's own."""
        provider = await self.make_provider()
        yield provider
        await provider.close()

    def session(self, session_id: str = "s-1") -> RealtimeSession:
        """Return a session nobody knows yet."""
        return RealtimeSession(session_id, "room-1", "ann", "live")

    async def test_it_has_a_name(self, provider: RealtimeVoiceProvider) -> None:
        """For logs and ``voice_connected``; always the same."""
        assert provider.name
        assert provider.name == provider.name

    async def test_connect_makes_active(self, provider: RealtimeVoiceProvider) -> None:
        """With every setting left out, or given."""
        plain, full = self.session("s-1"), self.session("s-2")
        async with asyncio.timeout(PATIENCE):
            await provider.connect(plain)
            await provider.connect(
                full,
                system_prompt="be kind",
                tools=[{"name": "t", "description": "d", "parameters": {"type": "object"}}],
                input_sample_rate=16000,
                output_sample_rate=24000,
                server_vad=True,
                provider_config={},
            )
        assert plain.state is RealtimeSessionState.ACTIVE
        assert full.state is RealtimeSessionState.ACTIVE

    async def test_disconnect_is_terminal(self, provider: RealtimeVoiceProvider) -> None:
        """The state is ENDED, a second call does nothing, and no error is told."""
        session, told = self.session(), list[tuple[Any, ...]]()
        provider.on_error(lambda *values: told.append(values))
        async with asyncio.timeout(PATIENCE):
            await provider.connect(session)
            await provider.disconnect(session)
            await provider.disconnect(session)
        assert session.state is RealtimeSessionState.ENDED
        assert told == []

    async def test_an_ended_session_takes_nothing(self, provider: RealtimeVoiceProvider) -> None:
        """Every method does nothing and raises nothing; the state stays."""
        session = self.session()
        async with asyncio.timeout(PATIENCE):
            await provider.connect(session)
            await provider.disconnect(session)
            await self._use(provider, session)
        assert session.state is RealtimeSessionState.ENDED

    async def test_an_unknown_session_takes_nothing(self, provider: RealtimeVoiceProvider) -> None:
        """Every method does nothing and raises nothing."""
        async with asyncio.timeout(PATIENCE):
            await self._use(provider, self.session("never connected"))

    async def test_a_live_session_takes_everything(self, provider: RealtimeVoiceProvider) -> None:
        """Audio in odd pieces, text of any role, an interruption of nothing."""
        session = self.session()
        async with asyncio.timeout(PATIENCE):
            await provider.connect(session)
            for size in (0, 1, 3, 640, 32_000):
                await provider.send_audio(session, bytes(size))
            await provider.inject_text(session, "hello", role="narrator")
            await provider.interrupt(session)
            assert session.state is RealtimeSessionState.ACTIVE
            await provider.disconnect(session)

    async def test_sessions_are_apart(self, provider: RealtimeVoiceProvider) -> None:
        """The end of one leaves the other alone."""
        one, two = self.session("s-1"), self.session("s-2")
        async with asyncio.timeout(PATIENCE):
            await provider.connect(one)
            await provider.connect(two)
            await provider.disconnect(one)
            await provider.send_audio(two, bytes(640))
        assert two.state is RealtimeSessionState.ACTIVE

    async def test_callbacks_of_both_kinds_are_taken(
        self, provider: RealtimeVoiceProvider
    ) -> None:
        """Plain and async ones, several of a kind."""

        async def later(*values: Any) -> None:
            return

        for kind in (
            "audio",
            "transcription",
            "speech_start",
            "speech_end",
            "tool_call",
            "response_start",
            "response_end",
            "error",
        ):
            register = getattr(provider, f"on_{kind}")
            register(lambda *values: None)
            register(later)

    async def test_close_is_idempotent(self, provider: RealtimeVoiceProvider) -> None:
        """And ends what is live."""
        session = self.session()
        async with asyncio.timeout(2 * PATIENCE):
            await provider.connect(session)
            await provider.disconnect(session)
            await provider.close()
            await provider.close()
        assert session.state is RealtimeSessionState.ENDED

    @staticmethod
    async def _use(provider: RealtimeVoiceProvider, session: RealtimeSession) -> None:
        await provider.send_audio(session, bytes(640))
        await provider.inject_text(session, "hello")
        await provider.submit_tool_result(session, "call-1", "{}")
        await provider.interrupt(session)
        await provider.disconnect(session)
