"""One message in two callbacks: the first half waits, whatever keeps it waiting."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import InboundMessage, RoomKit, SMSChannel, SMSProvider, TextContent
from roomkit.asgi import create_app
from roomkit.models.delivery import ACCEPT_NOT_BEFORE, ACCEPT_REPLACE, ProviderResult
from roomkit.providers.webhook import WebhookHandler
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing import ManualClock
from tests.test_asgi._driver import Client
from tests.test_asgi.test_webhooks import said
from tests.test_durable._kits import idle

if TYPE_CHECKING:
    from pathlib import Path

    from roomkit.models.event import RoomEvent
    from roomkit.providers.webhook import WebhookItem, WebhookRequest


class Halves(WebhookHandler):
    """Reads ``{"key", "text", "wait", "replace"}``."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    async def verify(self, request: WebhookRequest) -> None:
        return

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        body = json.loads(request.body)
        metadata: dict[str, Any] = {"kept": True}
        if body.get("wait") == "soon":
            metadata[ACCEPT_NOT_BEFORE] = "soon"
        elif "wait" in body:
            due = self._clock.now() + timedelta(seconds=body["wait"])
            metadata[ACCEPT_NOT_BEFORE] = due.isoformat()
        if "replace" in body:
            metadata[ACCEPT_REPLACE] = True
        return [
            InboundMessage(
                channel_id=request.channel_id,
                sender_id="ana",
                content=TextContent(body=body["text"]),
                idempotency_key=body["key"],
                metadata=metadata,
            )
        ]


class Provider(SMSProvider):
    """Sends nothing, reads halves."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    @property
    def from_number(self) -> str:
        return "+1"

    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        return ProviderResult(success=True)

    def webhook(self) -> WebhookHandler:
        return Halves(self._clock)


class Served:
    """An app, its kit and their clock."""

    def __init__(self, store: Any = None) -> None:
        self.clock = ManualClock()
        self.kit = RoomKit(store=store, clock=self.clock)
        self.kit.register_channel(SMSChannel("ch", provider=Provider(self.clock)))
        self.app = create_app(self.kit, clock=self.clock)
        self.client = Client(self.app)

    async def post(self, key: str, text: str, **wishes: Any) -> int:
        """Send a callback; return the status."""
        body = json.dumps({"key": key, "text": text, **wishes}).encode()
        return (await self.client.request("POST", "/webhooks/ch", body)).status


class TestInMemory:
    """Without an inbox the app holds the half."""

    async def test_the_whole_takes_its_place(self) -> None:
        """Nothing is said until the second half comes, and then once."""
        served = Served()
        assert await served.post("k", "half", wait=8) == 200
        assert await said(served.kit) == []
        assert await served.post("k", "whole", replace=True) == 200
        await served.clock.advance(20)
        assert await said(served.kit) == ["whole"]

    async def test_a_half_that_stays_alone(self) -> None:
        """It is taken in when its time has come; a repeat meanwhile changes nothing."""
        served = Served()
        for _ in range(3):
            assert await served.post("k", "half", wait=8) == 200
        await served.clock.advance(7.9)
        assert await said(served.kit) == []
        await served.clock.advance(0.2)
        await served.kit.drain()
        assert await said(served.kit) == ["half"]
        assert await served.post("k", "half", wait=8) == 200
        await served.clock.advance(9)
        await served.kit.drain()
        assert await said(served.kit) == ["half"]

    async def test_a_time_that_has_come(self) -> None:
        """Then there is nothing to wait for; the wish itself is not stored."""
        served = Served()
        assert await served.post("k", "half", wait=-1) == 200
        assert await said(served.kit) == ["half"]
        [room] = await served.kit.store.list_rooms()
        events = await served.kit.get_timeline(room.id)
        stored = [event for event in events if event.type == "message"]
        assert stored[0].metadata == {"kept": True}

    async def test_it_is_bounded(self) -> None:
        """More than a thousand halves are not held back: they are taken in at once."""
        served = Served()
        for number in range(1001):
            assert await served.post(f"k-{number}", f"half {number}", wait=8) == 200
        assert await said(served.kit) == ["half 1000"]
        await served.app.shutdown(drain_timeout=0.0)

    async def test_a_time_that_is_none(self) -> None:
        """A reader's mistake is answered like any wrong shape, and nothing is kept."""
        served = Served()
        assert await served.post("k", "half", wait="soon") == 400
        assert await said(served.kit) == []

    async def test_the_second_half_alone(self) -> None:
        """There is nothing to replace: it is a message."""
        served = Served()
        assert await served.post("k", "whole", replace=True) == 200
        assert await said(served.kit) == ["whole"]


class TestDurable:
    """A durable inbox keeps the half, through a crash too."""

    @pytest.mark.parametrize("crash", [False, True])
    async def test_the_whole_takes_its_place(self, tmp_path: Path, crash: bool) -> None:
        """The row of the half is replaced, by the next process as well."""
        path = tmp_path / "kit.db"
        served = Served(SQLiteStore(path))
        await served.kit.start()
        assert await served.post("k", "half", wait=3600) == 200
        if crash:
            await served.kit.close()
            served = Served(SQLiteStore(path))
            await served.kit.start()
        assert await served.post("k", "whole", replace=True) == 200
        await idle(served.kit)
        assert await said(served.kit) == ["whole"]
        await served.kit.close()

    async def test_too_late(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A half that was taken in stays; a line says that the second came too late."""
        served = Served(SQLiteStore(tmp_path / "kit.db"))
        await served.kit.start()
        assert await served.post("k", "half", wait=-1) == 200
        await idle(served.kit)
        assert await served.post("k", "whole", replace=True) == 200
        assert await said(served.kit) == ["half"]
        assert "second half" in caplog.text
        await served.kit.close()
