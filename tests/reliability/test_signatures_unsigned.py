"""T9, further: who cannot tell refuses, and how the code compares what is secret."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import roomkit
from roomkit.exceptions import WebhookError, WebhookRefused
from roomkit.providers.elasticemail import ElasticEmailWebhook
from roomkit.providers.http import HTTPProviderConfig, HTTPWebhook
from roomkit.providers.messenger import MessengerConfig, MessengerWebhook
from roomkit.providers.sendgrid import SendGridConfig
from roomkit.providers.sendgrid.webhook import SendGridEvents, SendGridWebhook
from roomkit.providers.sinch.webhook import SinchWebhook
from roomkit.providers.telnyx.webhook import TelnyxWebhook
from roomkit.providers.twilio import TwilioConfig
from roomkit.providers.twilio.webhook import TwilioWebhook
from roomkit.providers.voicemeup.mms import MMSPairs
from roomkit.providers.voicemeup.webhook import VoiceMeUpWebhook
from roomkit.providers.whatsapp.config import WhatsAppCloudConfig
from roomkit.providers.whatsapp.webhook import WhatsAppWebhook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roomkit.providers.webhook import WebhookHandler


from tests.reliability.test_signatures import NAMED, Served

SOURCE = Path(roomkit.__file__).parent


def unconfigured() -> dict[str, WebhookHandler]:
    """Return the reader of every vendor that was given no secret."""
    mail = SendGridConfig(api_key="k", from_email="a@b.example")
    meta = {"app_secret": "", "previous_secrets": ["", ""]}
    account = {"account_sid": "AC1", "from_number": "+1415"}
    return {
        "twilio": TwilioWebhook(TwilioConfig(auth_token="", signing_keys={"K1": ""}, **account)),
        "telnyx": TelnyxWebhook(["", ""]),
        "sinch": SinchWebhook([]),
        "voicemeup": VoiceMeUpWebhook(MMSPairs()),
        "messenger": MessengerWebhook(MessengerConfig(page_access_token="t", **meta)),
        "whatsapp": WhatsAppWebhook(
            WhatsAppCloudConfig(access_token="t", phone_number_id="444", **meta)
        ),
        "sendgrid": SendGridWebhook(mail),
        "sendgrid-events": SendGridEvents(mail),
        "elasticemail": ElasticEmailWebhook(),
        "http": HTTPWebhook(HTTPProviderConfig(webhook_url="https://x.example", secret="")),
        "standard-webhooks": HTTPWebhook(
            HTTPProviderConfig(webhook_url="https://x.example", standard_webhooks=True)
        ),
    }


class TestUnsigned:
    """Who cannot tell refuses, unless the URL has a secret."""

    TOKEN = "mX2v9qJ7tKc4WbYz"

    @pytest.mark.parametrize("name", list(unconfigured()))
    async def test_without_a_secret(self, name: str) -> None:
        """Everything is refused, a signature under the empty secret too."""
        reader = unconfigured()[name]
        assert not reader.signed
        callback = NAMED.get(name, NAMED["http"])
        headers = (
            callback.headers() if callback.asymmetric else callback.headers(_EMPTY.get(name, ""))
        )
        method = min(reader.methods - {"POST"}, default="POST")
        for how in {method, *reader.methods}:
            served = Served(reader)
            answered = await served.request(
                how, "/webhooks/ch?status=Sent", callback.body, headers=headers.items()
            )
            assert answered.status == 401
            assert served.spy.done == []

    @pytest.mark.parametrize("name", ["voicemeup", "elasticemail"])
    @pytest.mark.parametrize(
        ("tail", "expected"),
        [
            ("?token={t}", True),
            ("/{t}", True),
            ("?token={t}x", False),
            ("?token=", False),
            ("", False),
            ("?token={u}", False),
            ("?TOKEN={t}", False),
            ("?token=%C3%A9", False),
            ("?token=x&token={t}", False),
        ],
    )
    async def test_a_token_in_the_url(self, name: str, tail: str, expected: bool) -> None:
        """The whole token, in its case, once."""
        reader = unconfigured()[name]
        served = Served(reader, unsigned={"ch": self.TOKEN})
        target = "/webhooks/ch" + tail.format(t=self.TOKEN, u=self.TOKEN.swapcase())
        method = "GET" if name == "elasticemail" else "POST"
        body = b'{"source_number":"1415","destination_number":"1514","message":"hi"}'
        headers = [("content-type", "application/json")]
        answered = await served.request(method, target, body, headers=headers)
        assert (answered.status in (200, 204)) if expected else answered.status == 401
        assert bool(served.spy.done) is expected

    async def test_tokens_are_rotated(self) -> None:
        """Of several tokens any will do."""
        served = Served(unconfigured()["elasticemail"], unsigned={"ch": [self.TOKEN, "b" * 16]})
        for token, expected in ((self.TOKEN, 200), ("b" * 16, 200), ("c" * 16, 401)):
            assert (await served.get(f"/webhooks/ch?token={token}")).status == expected


_EMPTY = {"standard-webhooks": "whsec_"}
"""What stands for an empty secret, where that is not an empty text."""


class TestSource:
    """How the code compares, as far as a program can see."""

    SECRET_WORDS = ("signature", "digest", "token", "secret", "seal", "hmac", "proof")
    ALLOWED = frozenset({"providers/_signature.py", "asgi/_tokens.py"})

    def modules(self) -> Iterator[tuple[str, ast.Module]]:
        """Yield the modules that check who calls."""
        for folder in ("providers", "asgi"):
            for path in sorted((SOURCE / folder).rglob("*.py")):
                yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text())

    def test_one_place_compares(self) -> None:
        """``compare_digest`` is called in two modules, which the others use."""
        found = {
            name
            for name, tree in self.modules()
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute | ast.Name)
            and (node.attr if isinstance(node, ast.Attribute) else node.id) == "compare_digest"
        }
        assert found == self.ALLOWED

    def test_no_secret_is_compared_otherwise(self) -> None:
        """``==`` and ``in`` tell by their time how much was right."""
        found = [
            f"{name}:{node.lineno}: {ast.unparse(node)}"
            for name, tree in self.modules()
            for node in ast.walk(tree)
            if isinstance(node, ast.Compare) and self.compares_secrets(node)
        ]
        assert found == []

    def compares_secrets(self, node: ast.Compare) -> bool:
        """Return whether a comparison has a secret on one side and something secret-like on both.

        Lengths, None and the like are no secrets.
        """
        if not all(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops):
            return False
        if all(isinstance(op, ast.In | ast.NotIn) for op in node.ops):
            return self.is_secret(node.left)
        sides = [node.left, *node.comparators]
        if any(isinstance(side, ast.Constant) for side in sides):
            return False
        return any(self.is_secret(side) for side in sides)

    def is_secret(self, node: ast.expr) -> bool:
        """Return whether a name says that it is a secret, or what is compared with one."""
        name = ""
        if isinstance(node, ast.Name):
            name = node.id
        elif isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.Call):
            return self.is_secret(node.func) and "length" not in ast.unparse(node.func)
        return any(word in name.lower() for word in self.SECRET_WORDS)

    def test_the_check_finds_one(self) -> None:
        """It would see what it looks for."""
        for text in ("signature == given", "a.digest != b", "token in tokens", "hmac_hex(s) == x"):
            node = ast.parse(text, mode="eval").body
            assert isinstance(node, ast.Compare)
            assert self.compares_secrets(node), text
        for text in ("token is None", "len(signature) > 9", "kind == 'token'", "a == b"):
            node = ast.parse(text, mode="eval").body
            assert isinstance(node, ast.Compare)
            assert not self.compares_secrets(node), text


def test_the_readers_errors_are_two() -> None:
    """A refusal is no malformed body: an endpoint answers them differently."""
    assert not issubclass(WebhookRefused, WebhookError)
    assert not issubclass(WebhookError, WebhookRefused)
