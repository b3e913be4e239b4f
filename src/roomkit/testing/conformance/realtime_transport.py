"""What every transport of live audio must do."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from roomkit.testing.conformance._suite import PATIENCE, Suite
from roomkit.voice.realtime.base import RealtimeSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from roomkit.voice.realtime.transport import RealtimeAudioTransport


class RealtimeClient(ABC):
    """A caller, as the suite drives one.

    Attributes:
        connection: What the transport's ``accept`` is given.
    """

    connection: Any

    @abstractmethod
    async def say(self, audio: bytes) -> None:
        """Send PCM to the transport."""

    @abstractmethod
    async def leave(self) -> None:
        """Hang up."""

    @abstractmethod
    def audio(self) -> bytes:
        """Return the PCM received so far, joined."""

    @abstractmethod
    def messages(self) -> list[dict[str, Any]]:
        """Return the messages received so far, audio left out."""


class RealtimeTransportConformance(Suite, ABC):
    """What the realtime voice channel counts on. Implement both factories."""

    @abstractmethod
    async def make_transport(self) -> RealtimeAudioTransport:
        """Return a new transport."""

    @abstractmethod
    async def make_client(self, transport: RealtimeAudioTransport) -> RealtimeClient:
        """Return a caller who is there, but not accepted yet."""

    @pytest_asyncio.fixture
    async def transport(self) -> AsyncIterator[RealtimeAudioTransport]:
        """A transport of the test's own."""
        transport = await self.make_transport()
        yield transport
        await transport.close()

    def session(self, session_id: str = "s-1") -> RealtimeSession:
        """Return a session nobody knows yet."""
        return RealtimeSession(session_id, "room-1", "ann", "live")

    @staticmethod
    async def until(true: Callable[[], Any]) -> None:
        """Let others run until something is true.

        Raises:
            TimeoutError: It does not come.
        """
        async with asyncio.timeout(PATIENCE):
            while not true():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.002)

    async def test_it_has_a_name(self, transport: RealtimeAudioTransport) -> None:
        """For logs."""
        assert transport.name

    async def test_audio_comes_in_order(self, transport: RealtimeAudioTransport) -> None:
        """Of the session it belongs to, to plain and async callbacks."""
        heard, later = bytearray(), bytearray()

        async def hear_later(session: RealtimeSession, audio: bytes) -> None:
            await asyncio.sleep(0)
            later.extend(audio)

        transport.on_audio_received(lambda _, audio: heard.extend(audio))
        transport.on_audio_received(hear_later)
        client = await self.make_client(transport)
        await transport.accept(self.session(), client.connection)
        pieces = [bytes([number, 0]) * 160 for number in range(20)]
        for piece in pieces:
            await client.say(piece)
        await self.until(lambda: len(later) == 6400)
        assert bytes(heard) == bytes(later) == b"".join(pieces)

    async def test_audio_goes_out_in_order(self, transport: RealtimeAudioTransport) -> None:
        """All of it."""
        client = await self.make_client(transport)
        session = self.session()
        await transport.accept(session, client.connection)
        pieces = [bytes([number, 0]) * 480 for number in range(10)]
        for piece in pieces:
            await transport.send_audio(session, piece)
        await self.until(lambda: len(client.audio()) >= 9600)
        assert client.audio() == b"".join(pieces)

    async def test_messages_go_out(self, transport: RealtimeAudioTransport) -> None:
        """As they are, in order."""
        client = await self.make_client(transport)
        session = self.session()
        await transport.accept(session, client.connection)
        messages: list[dict[str, Any]] = [{"type": "clear_audio"}]
        messages.append({"type": "speaking", "speaking": True, "who": "user"})
        for message in messages:
            await transport.send_message(session, message)
        await self.until(lambda: len(client.messages()) == 2)
        assert client.messages() == messages

    async def test_a_caller_who_leaves_is_told_once(
        self, transport: RealtimeAudioTransport
    ) -> None:
        """And what is sent afterwards goes nowhere."""
        left: list[RealtimeSession] = []
        transport.on_client_disconnected(left.append)
        client = await self.make_client(transport)
        session = self.session()
        await transport.accept(session, client.connection)
        await client.leave()
        await self.until(lambda: left)
        await transport.send_audio(session, bytes(960))
        await transport.disconnect(session)
        assert left == [session]

    async def test_our_own_disconnect_is_told_to_nobody(
        self, transport: RealtimeAudioTransport
    ) -> None:
        """Neither the first nor the second."""
        left: list[RealtimeSession] = []
        transport.on_client_disconnected(left.append)
        client = await self.make_client(transport)
        session = self.session()
        await transport.accept(session, client.connection)
        await transport.disconnect(session)
        await transport.disconnect(session)
        await transport.close()
        assert left == []

    async def test_one_leaver_leaves_the_other(self, transport: RealtimeAudioTransport) -> None:
        """Who stays is heard."""
        heard: list[str] = []
        transport.on_audio_received(lambda session, _: heard.append(session.id))
        one, two = await self.make_client(transport), await self.make_client(transport)
        await transport.accept(self.session("s-1"), one.connection)
        await transport.accept(self.session("s-2"), two.connection)
        await one.leave()
        await two.say(bytes(640))
        await self.until(lambda: heard)
        assert set(heard) == {"s-2"}

    async def test_an_unknown_session_gets_nothing(
        self, transport: RealtimeAudioTransport
    ) -> None:
        """Every method does nothing and raises nothing."""
        session = self.session("never accepted")
        await transport.send_audio(session, bytes(960))
        await transport.send_message(session, {"type": "clear_audio"})
        await transport.disconnect(session)

    async def test_close_is_idempotent(self, transport: RealtimeAudioTransport) -> None:
        """And ends what is live."""
        client = await self.make_client(transport)
        await transport.accept(self.session(), client.connection)
        await transport.close()
        await transport.close()
