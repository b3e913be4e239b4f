"""Two programs talk over plain HTTP, both sides signed by Standard Webhooks.

A program of yours posts a message to a kit's endpoint and gets the answers posted to its own.

    python examples/http_webhook.py

Prints the answers to a message that is posted twice, what was posted back, and what a stale
signature and a closed endpoint lead to. It needs ``roomkit[simulators]``.

A simulator on this machine plays the other program: it checks our signatures with code of its own.
With HOOK_URL (and HOOK_SECRET) set, one real message is posted there instead.
"""

from __future__ import annotations

import asyncio
import os

from pydantic import SecretStr

from roomkit import HTTPChannel, InboundMessage, RoomKit, TextContent, WebSocketChannel
from roomkit.asgi import create_app
from roomkit.providers.http import HTTPProviderConfig, WebhookHTTPProvider
from roomkit.simulators import WebhookSimulator, error, served
from roomkit.testing import make_event


async def for_real() -> None:
    """Post one message to the endpoint of the environment."""
    secret = os.environ.get("HOOK_SECRET")
    config = HTTPProviderConfig(
        webhook_url=os.environ["HOOK_URL"],
        secret=SecretStr(secret) if secret else None,
        standard_webhooks=bool(secret),
    )
    provider = WebhookHTTPProvider(config)
    result = await provider.send(make_event(body="Hello from RoomKit"), to="user-1")
    await provider.close()
    print("the endpoint says:", result.success, result.error)


async def simulated() -> None:
    """Post a message in, and get the answer posted out."""
    async with WebhookSimulator(standard_webhooks=True) as program:
        kit = RoomKit()
        kit.register_channel(WebSocketChannel("desk"))
        provider = WebhookHTTPProvider(HTTPProviderConfig(**program.settings))
        kit.register_channel(HTTPChannel("hook", provider=provider))
        async with served(create_app(kit)) as url:
            await visit(program, kit, f"{url}/webhooks/hook")
            program.script(error(410))
            gone = await provider.send(make_event(body="Still there?"), to="user-1")
            print("410:", gone.error, "try again:", gone.metadata["retryable"])


async def visit(program: WebhookSimulator, kit: RoomKit, endpoint: str) -> None:
    """Do what the other program and a forger do."""
    answer = await program.receive(endpoint, text="Is my order on its way?", request_id="req-1")
    print("posted:", answer.status)
    again = await program.receive(endpoint, text="Is my order on its way?", request_id="req-1")
    print("posted again:", again.status)
    (room,) = await kit.store.list_rooms()
    asked = [e for e in await kit.get_timeline(room.id) if e.source.channel_id == "hook"]
    print("on the timeline:", len(asked))
    await kit.attach_channel(room.id, "desk")
    reply = InboundMessage(
        channel_id="desk", sender_id="clerk", content=TextContent(body="It left this morning.")
    )
    await kit.process_inbound(reply, room_id=room.id)
    print(f"to {program.sent[0].to}: {program.sent[0].text}")
    stale = await program.receive(endpoint, text="Old news", timestamp=1735689600)
    print("an old signature:", stale.status)


if __name__ == "__main__":
    asyncio.run(for_real() if "HOOK_URL" in os.environ else simulated())
