"""The two halves of a VoiceMeUp MMS: joined, timed, bounded, and never lost."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import InboundMessage, RoomKit, SMSChannel
from roomkit.models.content import MediaContent, TextContent
from roomkit.models.delivery import ACCEPT_NOT_BEFORE, ACCEPT_REPLACE
from roomkit.providers.voicemeup import (
    VoiceMeUpConfig,
    VoiceMeUpMMSAggregator,
    VoiceMeUpSMSProvider,
    configure_voicemeup_mms,
    parse_voicemeup_webhook,
)
from roomkit.providers.voicemeup.mms import GRACE_SECONDS, MMSPairs
from roomkit.providers.voicemeup.sms import _mms_buffer
from roomkit.providers.webhook import WebhookRequest
from roomkit.simulators import VoiceMeUpSimulator
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing import ManualClock
from tests.test_durable._kits import idle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from roomkit.models.event import EventContent

PNG = "https://files.test/a.png"
WHOLE = MediaContent(url=PNG, mime_type="image/jpeg", caption="Look")
NOW = 1_800_000_000.0


def halves(text: str = "Look", attachment: str = PNG, **more: Any) -> Any:
    """Return the two callbacks of one MMS."""
    first, second = VoiceMeUpSimulator().halves(text, attachment, **more)
    return first | {"sms_hash": f"1-{text}"}, second | {"sms_hash": f"2-{attachment}"}


@pytest.fixture
async def clock() -> ManualClock:
    """A clock the test turns."""
    return ManualClock()


@pytest.fixture
async def alone() -> list[InboundMessage]:
    """First halves that were given away."""
    return []


@pytest.fixture
async def aggregator(
    clock: ManualClock, alone: list[InboundMessage]
) -> AsyncIterator[VoiceMeUpMMSAggregator]:
    """An aggregator that gives halves away after five seconds."""
    made = VoiceMeUpMMSAggregator(5.0, alone.append, clock=clock, max_entries=3)
    yield made
    made.pending.clear()
    await made.close()


class TestAggregator:
    """Halves held back in one process."""

    async def test_the_whole(
        self, aggregator: VoiceMeUpMMSAggregator, clock: ManualClock, alone: list[InboundMessage]
    ) -> None:
        """Text of the first, picture of the second, both hashes; nothing comes later."""
        first, second = halves()
        assert aggregator.take(first, "sms") is None
        assert len(aggregator.pending) == 1
        message = aggregator.take(second, "sms")
        assert message is not None
        assert message.content == WHOLE
        assert message.external_id == message.idempotency_key == f"1-Look+2-{PNG}"
        assert message.metadata["has_attachment"] is True
        assert not aggregator.pending
        await clock.advance(10)
        assert alone == []

    async def test_alone_after_the_time(
        self, aggregator: VoiceMeUpMMSAggregator, clock: ManualClock, alone: list[InboundMessage]
    ) -> None:
        """The text without the useless page; a second half that is late comes alone too."""
        first, second = halves()
        aggregator.take(first, "sms")
        await clock.advance(4.9)
        assert alone == []
        await clock.advance(0.1)
        assert [message.content for message in alone] == [TextContent(body="Look")]
        assert alone[0].metadata["has_attachment"] is False
        assert alone[0].external_id == "1-Look"
        late = aggregator.take(second, "sms")
        assert late is not None
        assert late.content == MediaContent(url=PNG, mime_type="image/jpeg")

    async def test_two_channels_never_merge(self, aggregator: VoiceMeUpMMSAggregator) -> None:
        """All other fields equal, the channel tells them apart [V]."""
        first, second = halves()
        assert aggregator.take(first, "one") is None
        other = aggregator.take(second, "two")
        assert other is not None
        assert other.content == MediaContent(url=PNG, mime_type="image/jpeg")
        assert len(aggregator.pending) == 1

    async def test_an_older_timer_spares_a_newer_half(
        self, aggregator: VoiceMeUpMMSAggregator, clock: ManualClock, alone: list[InboundMessage]
    ) -> None:
        """A second first half of the same key displaces the older, and has its whole time [V]."""
        aggregator.take(halves("old")[0], "sms")
        await clock.advance(3)
        aggregator.take(halves("new")[0], "sms")
        await clock.advance(3)
        assert [message.external_id for message in alone] == ["1-old"]
        assert len(aggregator.pending) == 1
        message = aggregator.take(halves("new")[1], "sms")
        assert message is not None
        assert message.content == MediaContent(url=PNG, mime_type="image/jpeg", caption="new")

    async def test_it_is_bounded(
        self, aggregator: VoiceMeUpMMSAggregator, alone: list[InboundMessage]
    ) -> None:
        """With too many the oldest is given away, not dropped."""
        for n in range(5):
            aggregator.take(halves(f"n{n}", sender=f"1415555010{n}")[0], "sms")
        await asyncio.sleep(0)
        assert len(aggregator.pending) == 3
        assert [message.external_id for message in alone] == ["1-n0", "1-n1"]

    async def test_a_text_of_the_same_second(self, aggregator: VoiceMeUpMMSAggregator) -> None:
        """A message without a file is no second half: its text would be lost."""
        first, second = halves()
        aggregator.take(first, "sms")
        text = VoiceMeUpSimulator().inbound("something else")
        message = aggregator.take(text, "sms")
        assert message is not None
        assert message.content == TextContent(body="something else")
        whole = aggregator.take(second, "sms")
        assert whole is not None
        assert whole.content == WHOLE

    @pytest.mark.parametrize(
        ("url", "mime", "first"),
        [
            ("https://v.test/1.mms.html", "text/html", True),
            ("https://v.test/1.mms.html", "", True),
            ("https://v.test/1.mms.php", "text/html", True),
            ("https://v.test/1.mms.php", "image/png", False),
            ("https://v.test/1.html", "text/html", False),
        ],
    )
    async def test_what_a_first_half_is(
        self, aggregator: VoiceMeUpMMSAggregator, url: str, mime: str, first: bool
    ) -> None:
        """The name of the page, or its type and a part of the name."""
        payload = VoiceMeUpSimulator().inbound("x", attachment=url, mime_type=mime)
        assert (aggregator.take(payload, "sms") is None) is first

    async def test_nobody_wants_it(
        self, clock: ManualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Then it is dropped with a warning that holds neither text nor number."""
        aggregator = VoiceMeUpMMSAggregator(1.0, clock=clock)
        aggregator.take(halves("secret words")[0], "sms")
        with caplog.at_level(logging.WARNING):
            await clock.advance(1)
        (record,) = caplog.records
        assert "configure_voicemeup_mms" in record.getMessage()
        assert "secret" not in record.getMessage()
        assert "1415" not in record.getMessage()

    async def test_a_callback_that_fails(
        self, clock: ManualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is logged, by its kind, and ends there; an async one is awaited."""

        async def fail(message: InboundMessage) -> None:
            raise ValueError(message.external_id)

        aggregator = VoiceMeUpMMSAggregator(1.0, fail, clock=clock)
        aggregator.take(halves()[0], "sms")
        with caplog.at_level(logging.ERROR):
            await clock.advance(1)
        assert "on_timeout failed" in caplog.text
        assert "ValueError" in caplog.text
        assert not aggregator.pending

    async def test_closing_gives_all_away(
        self, aggregator: VoiceMeUpMMSAggregator, clock: ManualClock, alone: list[InboundMessage]
    ) -> None:
        """Nothing held is lost, and no timer is left."""
        aggregator.take(halves()[0], "sms")
        await aggregator.close()
        await aggregator.close()
        assert [message.external_id for message in alone] == ["1-Look"]
        assert clock.sleepers == 0

    def test_without_a_loop(self) -> None:
        """It is held without a timer, and joined all the same."""
        aggregator = VoiceMeUpMMSAggregator()
        first, second = halves()
        assert aggregator.take(first, "sms") is None
        message = aggregator.take(second, "sms")
        assert message is not None
        assert message.content == WHOLE


class TestModuleFunctions:
    """``parse_voicemeup_webhook`` and ``configure_voicemeup_mms``: one aggregator for all."""

    @pytest.fixture(autouse=True)
    def fresh(self) -> Any:
        """Nothing held, nothing configured."""
        _mms_buffer.clear()
        configure_voicemeup_mms()
        yield
        _mms_buffer.clear()
        configure_voicemeup_mms()

    async def test_the_buffer_is_the_live_one(self) -> None:
        """``_mms_buffer`` shows what is held."""
        first, second = halves()
        assert parse_voicemeup_webhook(first, "sms") is None
        assert len(_mms_buffer) == 1
        message = parse_voicemeup_webhook(second, "sms")
        assert message is not None
        assert message.content == WHOLE
        assert len(_mms_buffer) == 0

    @pytest.mark.parametrize("kind", ["sync", "async"])
    async def test_on_timeout(self, kind: str) -> None:
        """A function of either kind gets the text alone."""
        got: asyncio.Queue[InboundMessage] = asyncio.Queue()
        configure_voicemeup_mms(
            timeout_seconds=0.01, on_timeout=got.put_nowait if kind == "sync" else got.put
        )
        assert parse_voicemeup_webhook(halves()[0], "sms") is None
        async with asyncio.timeout(5):
            message = await got.get()
        assert message.content == TextContent(body="Look")
        assert len(_mms_buffer) == 0

    async def test_nobody_sent_it(self) -> None:
        """The reference's error stays."""
        with pytest.raises(KeyError, match="source_number"):
            parse_voicemeup_webhook({"message": "x"}, "sms")


class TestPairs:
    """Halves handed on at once, with what the inbox must know."""

    def test_the_first_half_waits(self) -> None:
        """It may enter when the second would be too late; its key is its own."""
        message = MMSPairs(5.0).take(halves()[0], "sms", at=NOW)
        assert message.content == TextContent(body="Look")
        due = datetime.fromtimestamp(NOW + 5.0 + GRACE_SECONDS, UTC)
        assert message.metadata[ACCEPT_NOT_BEFORE] == due.isoformat()
        assert ACCEPT_REPLACE not in message.metadata
        assert message.idempotency_key is not None
        assert message.idempotency_key.startswith("voicemeup:")
        assert "1415" not in message.idempotency_key

    def test_the_whole_replaces_it(self) -> None:
        """The same key, and the word to take its place."""
        pairs = MMSPairs(5.0)
        first, second = halves()
        part = pairs.take(first, "sms", at=NOW)
        whole = pairs.take(second, "sms", at=NOW + 4.9)
        assert whole.content == WHOLE
        assert whole.idempotency_key == part.idempotency_key
        assert whole.external_id == f"1-Look+2-{PNG}"
        assert whole.metadata[ACCEPT_REPLACE] is True
        assert ACCEPT_NOT_BEFORE not in whole.metadata

    def test_repeats_give_the_same(self) -> None:
        """The vendor may send either half again."""
        pairs = MMSPairs(5.0)
        first, second = halves()
        part = pairs.take(first, "sms", at=NOW)
        whole = pairs.take(second, "sms", at=NOW + 1)
        assert pairs.take(second, "sms", at=NOW + 2) == whole
        assert pairs.take(first, "sms", at=NOW + 3) == part

    @pytest.mark.parametrize("at", [NOW + 5.0, NOW + 60, NOW - 60])
    def test_too_late(self, at: float) -> None:
        """The second half is then a message of its own, under its own key."""
        pairs = MMSPairs(5.0)
        first, second = halves()
        pairs.take(first, "sms", at=NOW)
        alone = pairs.take(second, "sms", at=at)
        assert alone.idempotency_key == f"2-{PNG}"
        assert ACCEPT_REPLACE not in alone.metadata
        assert len(pairs) == 0

    def test_another_process(self) -> None:
        """It does not hold the first half: two messages, nothing lost."""
        first, second = halves()
        part = MMSPairs(5.0).take(first, "sms", at=NOW)
        alone = MMSPairs(5.0).take(second, "sms", at=NOW + 1)
        assert alone.idempotency_key != part.idempotency_key
        assert alone.content == MediaContent(url=PNG, mime_type="image/jpeg")

    def test_two_of_one_second(self) -> None:
        """The second picture does not take the place of the first one."""
        pairs = MMSPairs(5.0)
        first, second = halves()
        other = halves(attachment="https://files.test/b.png")[1]
        pairs.take(first, "sms", at=NOW)
        assert ACCEPT_REPLACE in pairs.take(second, "sms", at=NOW + 1).metadata
        alone = pairs.take(other, "sms", at=NOW + 2)
        assert ACCEPT_REPLACE not in alone.metadata
        assert alone.idempotency_key == "2-https://files.test/b.png"
        keys = {
            pairs.take(halves(text)[0], "sms", at=NOW + 3).idempotency_key for text in ("a", "b")
        }
        assert len(keys) == 2

    def test_it_is_bounded(self) -> None:
        """The oldest is forgotten; its text has been handed on long since."""
        pairs = MMSPairs(5.0, max_entries=2)
        for n in range(5):
            pairs.take(halves(sender=f"1415555010{n}")[0], "sms", at=NOW)
        assert len(pairs) == 2


class TestInbox:
    """With a store that keeps an inbox nothing is lost, whatever dies between the halves."""

    @staticmethod
    def kit(path: Path) -> tuple[RoomKit, VoiceMeUpSMSProvider]:
        """Return a process: a kit on the file, with a provider."""
        config = VoiceMeUpConfig(username="u", auth_token="t", from_number="1")
        provider = VoiceMeUpSMSProvider(config)
        kit = RoomKit(store=SQLiteStore(path, synchronous="OFF"))
        kit.register_channel(SMSChannel("sms", provider=provider))
        return kit, provider

    @staticmethod
    async def take(kit: RoomKit, provider: VoiceMeUpSMSProvider, fields: dict[str, Any]) -> bool:
        """Accept a callback as the endpoint does; return whether it was a duplicate."""
        body, headers = VoiceMeUpSimulator.callback(fields)
        request = WebhookRequest("POST", "https://us.test/", headers, {}, body, channel_id="sms")
        (item,) = provider.webhook().read(request)
        assert isinstance(item, InboundMessage)
        metadata = dict(item.metadata)
        due = metadata.pop(ACCEPT_NOT_BEFORE, None)
        replace = metadata.pop(ACCEPT_REPLACE, False)
        kept = await kit.accept(
            item.cleaned(metadata=metadata),
            room_id="room",
            not_before=datetime.fromisoformat(due) if due else None,
            replace=replace,
        )
        return kept.duplicate

    @staticmethod
    async def said(kit: RoomKit) -> list[EventContent]:
        """Start the kit, wait for its inbox to be empty, and return what the room holds."""
        await kit.start()
        await idle(kit)
        events = await kit.get_timeline("room")
        return [event.content for event in events if event.type == "message"]

    async def test_one_process(self, tmp_path: Path) -> None:
        """The halves become one message, repeats change nothing."""
        kit, provider = self.kit(tmp_path / "rooms.db")
        async with kit:
            await kit.create_room("room")
            await kit.attach_channel("room", "sms")
        kit, provider = self.kit(tmp_path / "rooms.db")
        first, second = halves()
        assert not await self.take(kit, provider, first)
        assert await self.take(kit, provider, first)
        assert not await self.take(kit, provider, second)
        assert await self.said(kit) == [WHOLE]
        await self.take(kit, provider, second)
        assert await self.said(kit) == [WHOLE]
        await kit.close()

    async def test_a_crash_between_the_halves(self, tmp_path: Path) -> None:
        """The first half is kept; the second comes to another process as its own message."""
        kit, provider = self.kit(tmp_path / "rooms.db")
        async with kit:
            await kit.create_room("room")
            await kit.attach_channel("room", "sms")
            first, second = halves()
            await self.take(kit, provider, first)
        kit, provider = self.kit(tmp_path / "rooms.db")
        assert (await kit.stats()).inbox.depth == 1
        assert not await self.take(kit, provider, second)
        assert (await kit.stats()).inbox.depth == 2
        await kit.close()
