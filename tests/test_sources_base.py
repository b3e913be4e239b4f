"""What every source does the same way: state, counting, parsing, stopping."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

import roomkit.sources
from roomkit._clock import ManualClock
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.sources import (
    BaseSourceProvider,
    EmitCallback,
    SourceHealth,
    SourceProvider,
    SourceStatus,
)
from roomkit.sources.base import message_from_json
from tests.support.sources import Collector, Held, Stopper


def said(text: str) -> InboundMessage:
    return InboundMessage(
        channel_id="ch", sender_id="ann", content=TextContent(body=text), external_id=text
    )


class QueueSource(BaseSourceProvider):
    """A source of one's own: emits what is put into its queue; None means the end."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        super().__init__(clock=clock)
        self.incoming = asyncio.Queue[InboundMessage | None]()
        self.connected = asyncio.Event()

    @property
    def name(self) -> str:
        return "queue"

    async def start(self, emit: EmitCallback) -> None:
        await self._run(lambda: self._session(emit))

    async def _session(self, emit: EmitCallback) -> None:
        self._set_status(SourceStatus.CONNECTED)
        self.connected.set()
        while not self._should_stop():
            message = await self._or_stop(self.incoming.get())
            if message is None:
                raise ConnectionError("lost")
            await self._pass_on(message, emit)


class TestSourceProvider:
    """The smallest source has a name, a start and a stop."""

    async def test_status_and_health_have_defaults(self) -> None:
        class Smallest(SourceProvider):
            @property
            def name(self) -> str:
                return "smallest"

            async def start(self, emit: EmitCallback) -> None:
                return

            async def stop(self) -> None:
                return

        source = Smallest()
        assert source.status is SourceStatus.STOPPED
        assert await source.healthcheck() == SourceHealth(status=SourceStatus.STOPPED)

    def test_the_states_are_the_documented_ones(self) -> None:
        assert [status.value for status in SourceStatus] == [
            "stopped",
            "connecting",
            "connected",
            "reconnecting",
            "error",
        ]


class TestHealth:
    """Health tells the state, the times and the counts, without any I/O."""

    async def test_a_new_source_has_done_nothing(self) -> None:
        health = await QueueSource().healthcheck()
        assert health == SourceHealth()
        assert health.metadata == {}

    async def test_messages_and_times_are_noted(self) -> None:
        clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
        source, emit = QueueSource(clock), Collector()
        task = asyncio.create_task(source.start(emit))
        await source.connected.wait()
        await clock.advance(5)
        source.incoming.put_nowait(said("1"))
        assert await emit.texts(1) == ["1"]
        await clock.advance(2)
        source.incoming.put_nowait(said("2"))
        assert await emit.texts(1) == ["2"]
        await source.stop()
        await task
        health = await source.healthcheck()
        assert health.connected_at == datetime(2026, 5, 1, tzinfo=UTC)
        assert health.last_message_at == health.connected_at + timedelta(seconds=7)
        assert health.messages_received == 2
        assert health.status is SourceStatus.STOPPED
        assert health.error is None

    async def test_connecting_again_clears_the_error(self) -> None:
        source = QueueSource()
        source.incoming.put_nowait(None)
        with pytest.raises(ConnectionError):
            await source.start(Collector())
        assert (await source.healthcheck()).error == "lost"
        source.connected.clear()
        task = asyncio.create_task(source.start(Collector()))
        await source.connected.wait()
        assert (await source.healthcheck()).error is None
        assert source.status is SourceStatus.CONNECTED
        await source.stop()
        await task


class TestRunning:
    """``start`` ends normally when told to stop, and raises when the connection is lost."""

    async def test_stop_ends_a_wait_at_once(self) -> None:
        source = QueueSource()
        task = asyncio.create_task(source.start(Collector()))
        await source.connected.wait()
        await source.stop()
        assert source.status is SourceStatus.STOPPED
        async with asyncio.timeout(1):
            await task

    async def test_a_loss_is_an_error_and_is_raised(self) -> None:
        source = QueueSource()
        source.incoming.put_nowait(None)
        with pytest.raises(ConnectionError, match="lost"):
            await source.start(Collector())
        assert source.status is SourceStatus.ERROR

    async def test_a_failure_after_stop_is_a_clean_end(self) -> None:
        class Fragile(QueueSource):
            async def _session(self, emit: EmitCallback) -> None:
                await self.stop()
                raise ConnectionError("closed by ourselves")

        source = Fragile()
        await source.start(Collector())
        assert source.status is SourceStatus.STOPPED

    async def test_a_wait_begun_after_stop_ends_too(self) -> None:
        class Late(QueueSource):
            async def _session(self, emit: EmitCallback) -> None:
                await self.stop()
                await self._or_stop(asyncio.Event().wait())
                raise AssertionError("it waited to the end")

        source = Late()
        async with asyncio.timeout(5):
            await source.start(Collector())
        assert source.status is SourceStatus.STOPPED

    async def test_cancellation_passes_and_leaves_it_stopped(self) -> None:
        source = QueueSource()
        task = asyncio.create_task(source.start(Collector()))
        await source.connected.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert source.status is SourceStatus.STOPPED

    async def test_it_can_be_started_again_after_stop(self) -> None:
        source, emit = QueueSource(), Collector()
        for text in ("1", "2"):
            source.connected.clear()
            task = asyncio.create_task(source.start(emit))
            await source.connected.wait()
            source.incoming.put_nowait(said(text))
            assert await emit.texts(1) == [text]
            await source.stop()
            await task
        assert emit.taken == ["1", "2"]

    async def test_stop_from_inside_emit_ends_it(self) -> None:
        source = QueueSource()
        emit = Stopper(source)
        source.incoming.put_nowait(said("1"))
        source.incoming.put_nowait(said("2"))
        async with asyncio.timeout(1):
            await source.start(emit)
        assert emit.taken == 1
        assert (await source.healthcheck()).messages_received == 1

    async def test_a_timeout_of_the_awaited_itself_is_its_own(self) -> None:
        class Slow(QueueSource):
            async def _session(self, emit: EmitCallback) -> None:
                await self._or_stop(self._time_out())

            async def _time_out(self) -> None:
                raise TimeoutError("no answer")

        source = Slow()
        with pytest.raises(TimeoutError, match="no answer"):
            await source.start(Collector())
        assert source.status is SourceStatus.ERROR


class TestRefusals:
    """One message that is refused does not end the connection."""

    async def test_the_stream_goes_on_and_it_is_counted(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        source, emit = QueueSource(), Collector(refused="secret")
        for text in ("1", "secret", "2"):
            source.incoming.put_nowait(said(text))
        source.incoming.put_nowait(None)
        with caplog.at_level(logging.INFO, "roomkit.sources"), pytest.raises(ConnectionError):
            await source.start(emit)
        assert emit.taken == ["1", "2"]
        health = await source.healthcheck()
        assert health.messages_received == 2
        assert health.metadata == {"emit_errors": "1"}
        (record,) = caplog.records
        assert record.__dict__["channel_id"] == "ch"
        assert "LookupError" in record.getMessage()
        assert "cannot take" not in caplog.text

    async def test_a_cancellation_during_emit_passes(self) -> None:
        source, emit = QueueSource(), Held()
        source.incoming.put_nowait(said("1"))
        task = asyncio.create_task(source.start(emit))
        await emit.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await source.healthcheck()).messages_received == 0


class TestMessageFromJson:
    """A JSON object with a sender is a message; nothing else is, and nothing raises."""

    def test_a_whole_object(self) -> None:
        message = message_from_json(
            "ch",
            '{"sender_id": "ann", "text": "hi", "external_id": "x1", "metadata": {"a": [1]}}',
        )
        assert message == InboundMessage(
            channel_id="ch",
            sender_id="ann",
            content=TextContent(body="hi"),
            external_id="x1",
            metadata={"a": [1]},
        )

    def test_what_is_missing_is_empty(self) -> None:
        message = message_from_json("ch", b'{"sender_id": "ann"}', external_id="given")
        assert message is not None
        assert message.content == TextContent(body="")
        assert message.external_id == "given"
        assert message.metadata == {}

    def test_ids_may_be_numbers(self) -> None:
        message = message_from_json("ch", '{"sender_id": 7, "external_id": 8}')
        assert message is not None
        assert (message.sender_id, message.external_id) == ("7", "8")

    @pytest.mark.parametrize(
        "data",
        [
            "",
            "hello",
            "[1]",
            '"text"',
            "null",
            "{}",
            '{"text": "hi"}',
            '{"sender_id": ""}',
            '{"sender_id": null}',
            '{"sender_id": true}',
            '{"sender_id": ["ann"]}',
            '{"sender_id": "ann", "text": {"a": 1}}',
            '{"sender_id": "ann", "metadata": [1]}',
            b"\xff\xfe\x00",
            "[" * 200_000,
        ],
    )
    def test_anything_else_is_no_message(self, data: str | bytes) -> None:
        assert message_from_json("ch", data) is None


class TestPackage:
    """Naming a source costs nothing until it is used."""

    def test_every_public_name_resolves(self) -> None:
        for name in roomkit.sources.__all__:
            assert getattr(roomkit.sources, name) is not None
            assert name in dir(roomkit.sources)

    def test_an_unknown_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="Carrier"):
            _ = roomkit.sources.CarrierPigeonSource  # type: ignore[attr-defined]

    def test_importing_it_loads_no_optional_package(self) -> None:
        code = (
            "import sys, roomkit.sources, roomkit.sources.base\n"
            "loaded = {'websockets', 'httpx', 'httpx_sse', 'neonize'} & set(sys.modules)\n"
            "assert not loaded, loaded\n"
        )
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=50)

    def test_the_modules_import_without_their_packages(self) -> None:
        code = (
            "import sys\n"
            "for name in ('websockets', 'httpx', 'httpx_sse', 'neonize'):\n"
            "    sys.modules[name] = None\n"
            "from roomkit.sources import SSESource, WebSocketSource\n"
            "from roomkit.sources import NeonizeSource, WhatsAppPersonalSourceProvider\n"
            "from roomkit.sources import neonize, sse, websocket\n"
            "assert not neonize.HAS_NEONIZE and neonize.NewAClient is None\n"
            "assert not sse.HAS_SSE and not websocket.HAS_WEBSOCKETS\n"
            "WebSocketSource('ws://x', 'c'), SSESource('http://x', 'c'), NeonizeSource()\n"
        )
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=50)
