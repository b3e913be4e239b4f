"""HTTP and mail vendors' callbacks through a real endpoint; and what the stand-ins refuse."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from roomkit import (
    EmailChannel,
    HTTPChannel,
    InboundMessage,
    RoomKit,
    TextContent,
    WebSocketChannel,
)
from roomkit.asgi import create_app
from roomkit.providers.elasticemail import ElasticEmailConfig, ElasticEmailProvider
from roomkit.providers.http import HTTPProviderConfig, WebhookHTTPProvider
from roomkit.simulators import ElasticEmailSimulator, SendGridSimulator, WebhookSimulator
from roomkit.simulators._server import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "a-token-nobody-guesses"


@asynccontextmanager
async def served(kit: RoomKit, **options: Any) -> AsyncIterator[str]:
    """Serve a kit on a free port; give its URL."""
    app = create_app(kit, **options)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    async with app.lifespan(), serve(app, sock) as port:
        yield f"http://127.0.0.1:{port}"


async def say(kit: RoomKit, room_id: str, text: str) -> None:
    """Write from the desk."""
    content = TextContent(body=text)
    message = InboundMessage(channel_id="desk", sender_id="bob", content=content)
    await kit.process_inbound(message, room_id=room_id)


class TestHTTP:
    """A program posts, is answered, and posts again."""

    @pytest.mark.parametrize(
        "options", [{"standard_webhooks": True}, {"sign_timestamp": True}, {}], ids=str
    )
    async def test_both_ways(self, options: dict[str, bool]) -> None:
        """Signed in each way; a repeat, a forger and an old request change nothing."""
        async with WebhookSimulator(**options) as program:
            kit = RoomKit()
            kit.register_channel(WebSocketChannel("desk"))
            provider = WebhookHTTPProvider(HTTPProviderConfig(**program.settings))
            kit.register_channel(HTTPChannel("hook", provider=provider))
            async with served(kit) as url:
                endpoint = f"{url}/webhooks/hook"
                for _ in range(2):
                    answer = await program.receive(
                        endpoint, text="Hi \u2615", external_id="m-1", metadata={"k": 1}
                    )
                    assert answer.status == 200
                (room,) = await kit.store.list_rooms()
                asked = [e for e in await kit.get_timeline(room.id) if e.source.external_id]
                assert [e.metadata["k"] for e in asked] == [1]
                await kit.attach_channel(room.id, "desk")
                await say(kit, room.id, "Hello")
                assert [(m.to, m.text) for m in program.sent] == [("user-1", "Hello")]
                forger = WebhookSimulator(secret="whsec_" + "YQ" * 16, **options)
                assert (await forger.receive(endpoint, text="x")).status == 401
                if options:
                    old = await program.receive(endpoint, text="x", timestamp=1735689600)
                    assert old.status == 401
                assert (await program.receive(endpoint, raw=b"{}")).status == 400

    async def test_without_a_secret(self) -> None:
        """The endpoint believes nobody; with a token in the URL, whoever knows it."""
        async with WebhookSimulator(secret=None) as program:
            kit = RoomKit()
            provider = WebhookHTTPProvider(HTTPProviderConfig(**program.settings))
            kit.register_channel(HTTPChannel("hook", provider=provider))
            async with served(kit, unsigned={"hook": TOKEN}) as url:
                assert (await program.receive(f"{url}/webhooks/hook", text="x")).status == 401
                known = f"{url}/webhooks/hook?token={TOKEN}"
                assert (await program.receive(known, text="x")).status == 200


class TestElasticEmail:
    """Notifications reach the mail they are about."""

    async def test_a_status(self) -> None:
        """By GET, with a token in the URL; the call that tries the URL is answered too."""
        async with ElasticEmailSimulator() as vendor:
            kit = RoomKit()
            kit.register_channel(WebSocketChannel("desk"))
            provider = ElasticEmailProvider(ElasticEmailConfig(**vendor.settings))
            kit.register_channel(EmailChannel("mail", provider=provider))
            async with served(kit, unsigned={"mail": TOKEN}) as url:
                room = await kit.create_room()
                await kit.attach_channel(room.id, "desk")
                to = {"email_address": "ana@example.org"}
                await kit.attach_channel(room.id, "mail", metadata=to)
                await say(kit, room.id, "Hello")
                endpoint = f"{url}/webhooks/mail"
                vendor.notify_url = f"{endpoint}?token={TOKEN}"
                mail_id = vendor.sent[0].id
                answer = await vendor.status(mail_id, "failed", category="NoMailbox")
                assert answer.status == 204
                stored = (await kit.get_timeline(room.id))[-1].delivery_results["mail"]
                assert stored["status"] == "failed"
                assert (await vendor.status(mail_id, "sent", endpoint)).status == 401
                tried = await vendor.post(vendor.notify_url, b"", {}, method="GET")
                assert tried.status == 200
        with pytest.raises(ValueError, match="name the endpoint"):
            await ElasticEmailSimulator().status("x", "sent")


async def answered(url: str, body: bytes = b"", method: str = "POST", **headers: str) -> int:
    """Return the status a stand-in answers."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.request(method, url, content=body, headers=names)).status_code


MAIL: dict[str, Any] = {
    "personalizations": [{"to": [{"email": "ana@example.org"}]}],
    "from": {"email": "bot@in.example.com"},
    "subject": "Hi",
    "content": [{"type": "text/plain", "value": "Hello"}],
}
FILE = {"content": "aGk=", "filename": "a.txt"}


class TestStrictness:
    """The stand-ins take no request their vendors would refuse."""

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({}, 202),
            ({"attachments": [FILE]}, 202),
            ({"template_id": "d-1", "content": None, "subject": ""}, 202),
            ({"unknown": 1}, 400),
            ({"personalizations": []}, 400),
            ({"personalizations": [{}]}, 400),
            ({"personalizations": [{"to": [{"email": "ana"}]}]}, 400),
            ({"from": {}}, 400),
            ({"from": {"email": "other@x.test"}}, 403),
            ({"subject": ""}, 400),
            ({"content": []}, 400),
            ({"content": [{"type": "text/plain", "value": ""}]}, 400),
            ({"content": [{"type": "text/html", "value": "x"}, *MAIL["content"]]}, 400),
            ({"attachments": [{**FILE, "content": "%"}]}, 400),
            ({"attachments": [{"content": "aGk="}]}, 400),
            ({"headers": {"Subject": "x"}}, 400),
            ({"headers": {"X-A": "x\ny"}}, 400),
            ({"categories": ["a", "a"]}, 400),
            ({"custom_args": {"a": "x" * 10_001}}, 400),
        ],
        ids=str,
    )
    async def test_sendgrid(self, change: dict[str, Any], status: int) -> None:
        """Field by field."""
        mail = {name: value for name, value in {**MAIL, **change}.items() if value is not None}
        async with SendGridSimulator(api_key="k") as sim:
            url = f"{sim.api_base}/v3/mail/send"
            head = {"authorization": "Bearer k", "content_type": "application/json"}
            assert await answered(url, json.dumps(mail).encode(), **head) == status
            assert len(sim.sent) == (status == 202)

    async def test_sendgrids_door(self) -> None:
        """Path, method, key, type and size."""
        async with SendGridSimulator(api_key="k") as sim:
            url = f"{sim.api_base}/v3/mail/send"
            head = {"authorization": "Bearer k", "content_type": "application/json"}
            assert await answered(f"{sim.api_base}/v2") == 404
            assert await answered(url, method="GET") == 405
            assert await answered(url) == 401
            assert await answered(url, authorization="Bearer k") == 415
            for body in (b"{", b"[]"):
                assert await answered(url, body, **head) == 400
            assert await answered(url, b"x" * (30 * 1024 * 1024 + 1), **head) == 413
        with pytest.raises(ValueError, match="name the endpoint"):
            await sim.status("x", "delivered")

    async def test_elastic_email(self) -> None:
        """Path, method and form."""
        form = {
            "apikey": "k",
            "from": "bot@in.example.com",
            "to": "ana@example.org",
            "bodyText": "x",
            "isTransactional": "true",
        }
        changes: list[dict[str, str]] = [
            {},
            {"to": "ana"},
            {"bodyText": ""},
            {"isTransactional": "yes"},
            {"headers_x": "no colon"},
        ]
        async with ElasticEmailSimulator(api_key="k") as sim:
            url = f"{sim.api_base}/v2/email/send"
            assert await answered(f"{sim.api_base}/v4") == 404
            assert await answered(url, method="GET") == 405
            async with httpx.AsyncClient(trust_env=False) as client:
                answers = [await client.post(url, data={**form, **one}) for one in changes]
                answers.append(await client.post(url, json=form))
            taken = [answer.json()["success"] for answer in answers]
            assert taken == [True, False, False, False, False, False]

    async def test_an_endpoint(self) -> None:
        """Path, method, type, signature and document."""
        async with WebhookSimulator(secret=None) as sim:
            url = f"{sim.api_base}/hook"
            assert await answered(f"{sim.api_base}/x") == 404
            assert await answered(url, method="PUT") == 405
            assert await answered(url) == 415
            for body in (b"{", b"{}", b"[]", b'{"content": 1}'):
                assert await answered(url, body, content_type="application/json") == 400
