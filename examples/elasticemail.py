"""Mail through Elastic Email: formatted text, a file, a refusal, and what became of it.

    python examples/elasticemail.py

Prints the mail as it was sent, the status that came later, and a refusal. It needs
``roomkit[simulators]``.

With ELASTICEMAIL_API_KEY, ELASTICEMAIL_FROM and ELASTICEMAIL_TO set it sends one real mail and
says what Elastic Email answered. Without, a simulator on this machine plays the vendor.
"""

from __future__ import annotations

import asyncio
import os

from pydantic import SecretStr

from roomkit import CompositeContent, MediaContent, RichContent
from roomkit.providers.elasticemail import ElasticEmailConfig, ElasticEmailProvider
from roomkit.providers.webhook import WebhookRequest
from roomkit.simulators import ElasticEmailSimulator
from roomkit.testing import make_event

LETTER = RichContent(
    body="<p>Your order <b>42</b> has left.</p>",
    format="html",
    plain_text="Your order 42 has left.",
)
BILL = MediaContent(
    url="data:text/csv;base64,aXRlbSxwcmljZQpjdXAsNwo=", mime_type="text/csv", filename="bill.csv"
)


async def for_real() -> None:
    """Send one mail with the account of the environment."""
    config = ElasticEmailConfig(
        api_key=SecretStr(os.environ["ELASTICEMAIL_API_KEY"]),
        from_email=os.environ["ELASTICEMAIL_FROM"],
    )
    provider = ElasticEmailProvider(config)
    event = make_event(content=LETTER)
    result = await provider.send(event, to=os.environ["ELASTICEMAIL_TO"], subject="Your order")
    await provider.close()
    print("Elastic Email says:", result.success, result.error)


async def simulated() -> None:
    """Send a letter with a file, and one with a wrong key."""
    async with ElasticEmailSimulator() as vendor:
        provider = ElasticEmailProvider(ElasticEmailConfig(**vendor.settings))
        event = make_event(content=CompositeContent(parts=[LETTER, BILL]))
        result = await provider.send(event, to="ana@example.org", subject="Your order")
        sent = vendor.sent[0]
        print("accepted:", result.provider_message_id == sent.id)
        print("text:", sent.data["bodyText"])
        print("html:", sent.data["bodyHtml"])
        print("file:", sent.data["attachment:bill.csv"])

        # The vendor calls your endpoint with a GET; roomkit.asgi does this for a channel.
        notified = WebhookRequest(
            method="GET",
            url="https://hooks.example.org/webhooks/mail",
            headers={},
            query={"transaction": sent.id, "status": "Error", "category": "NoMailbox"},
            body=b"",
            channel_id="mail",
        )
        for status in provider.webhook().read(notified):
            print("later:", getattr(status, "status", ""), getattr(status, "error_code", ""))
        await provider.close()

        wrong = ElasticEmailProvider(
            ElasticEmailConfig(
                api_key=SecretStr("wrong"), from_email="a@example.com", api_base=vendor.api_base
            )
        )
        print("refused:", (await wrong.send(event, to="ana@example.org")).error)
        await wrong.close()


if __name__ == "__main__":
    asyncio.run(for_real() if "ELASTICEMAIL_API_KEY" in os.environ else simulated())
