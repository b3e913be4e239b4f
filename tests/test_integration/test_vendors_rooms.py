"""Whom we write to, and who then answers: one room, whatever the vendor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from roomkit import RoomKit, TextContent
from roomkit.asgi import create_app
from roomkit.testing import SimpleChannel, assert_invariants
from tests.reliability._vendors import VENDORS, Vendor
from tests.support.kits import ROOM, messages, texts
from tests.test_asgi.test_server import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.asgi import App

TOKEN = "mX2v9qJ7tKc4WbYz"


@pytest.fixture
async def sim(vendor: Vendor) -> AsyncIterator[Any]:
    """The vendor's stand-in."""
    async with vendor.simulate() as running:
        if vendor.name == "teams":
            running.conversations.add(vendor.recipient)
        yield running


async def app_of(vendor: Vendor, sim: Any, recipient: str) -> App:
    """Return an app whose desk has written to somebody."""
    more = {"webhook_public_key": sim.public_key} if vendor.name == "sendgrid" else {}
    config = vendor.config(**{**vendor.settings(sim), **more})
    keys = (sim.public_key,) if vendor.name.startswith("telnyx") else ()
    kit = RoomKit()
    kit.register_channel(SimpleChannel("desk"))
    kit.register_channel(vendor.channel("ch", provider=vendor.make(config, *keys)))
    await kit.create_room(ROOM)
    await kit.attach_channel(ROOM, "desk")
    await kit.attach_channel(ROOM, "ch", metadata={vendor.key: recipient})
    await kit.send_event(ROOM, "desk", TextContent(body="Good morning"))
    bare = vendor.name in ("voicemeup", "sendgrid", "elasticemail")
    return create_app(kit, unsigned={"ch": TOKEN} if bare else {})


class TestAnswers:
    """A room we opened is where the answer goes."""

    @pytest.mark.parametrize("vendor", [v for v in VENDORS if v.hears], ids=str)
    async def test_who_was_written_to_answers(self, vendor: Vendor, sim: Any) -> None:
        """The vendor may write a number otherwise than we did; it is the same person."""
        app = await app_of(vendor, sim, vendor.recipient)
        async with serving(app) as port:
            url = f"http://127.0.0.1:{port}/webhooks/ch?token={TOKEN}"
            said: dict[str, Any] = {"text": "Hello"}
            if vendor.rcs:
                said["rcs"] = {} if vendor.name == "telnyx-rcs" else True
            if vendor.name in ("http", "messenger", "sendgrid"):
                said["sender"] = vendor.recipient
            assert (await sim.receive(url, **said)).status == 200
            assert len(await app.kit.store.list_rooms()) == 1, "the answer opened another room"
            assert texts(await messages(app.kit)) == ["Good morning", "Hello"]
            await assert_invariants(app.kit.store)

    @pytest.mark.parametrize("vendor", [v for v in VENDORS if v.status_kind is not None], ids=str)
    async def test_its_status_comes_back(self, vendor: Vendor, sim: Any) -> None:
        """What the vendor reports by its endpoint stands on the event that was sent."""
        app = await app_of(vendor, sim, vendor.recipient)
        async with serving(app) as port:
            tail = f"/{vendor.status_kind}" if vendor.status_kind else ""
            url = f"http://127.0.0.1:{port}/webhooks/ch{tail}?token={TOKEN}"
            assert len(sim.sent) == 1
            await sim.status(sim.sent[0].id, "delivered", url=url)
            [event] = await messages(app.kit)
            expected = "sent" if vendor.name == "elasticemail" else "delivered"
            assert event.delivery_results["ch"]["status"] == expected
            await assert_invariants(app.kit.store)
