"""SendGrid: mail that comes in, and events about mail that went out."""

from __future__ import annotations

import base64
import copy
import json
import sys
from contextlib import suppress
from dataclasses import replace
from email.message import EmailMessage
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit.exceptions import InvalidInputError, WebhookError, WebhookRefused
from roomkit.models.content import CompositeContent, MediaContent, TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.providers.sendgrid import (
    SendGridConfig,
    SendGridProvider,
    parse_sendgrid_events,
    parse_sendgrid_inbound,
)
from roomkit.providers.webhook import WebhookRequest
from roomkit.simulators import SendGridSimulator
from roomkit.simulators.sendgrid import form
from roomkit.testing.conformance import WebhookHandlerConformance

if TYPE_CHECKING:
    from roomkit.providers.webhook import WebhookHandler

PUBLIC_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEFhUEnPU+Z7Zh/P7rBcMeG1xJ7GZPvFJ3x0ApyMeTRNO9Y5wUrr3fVz3"
    "oEZy9UVcSKlq/RmPQWKVVwDmt77S0g=="
)
SCALAR = 0x5BA7DCA7857E1CA884B81E671F86B9B47A7D6B08B6555ABA11DD7A50C3CE86C3
MOMENT = "1735689600"
BODY = (
    b'[{"email":"ana@example.org","timestamp":1735689600,"smtp-id":"<x@geopod>",'
    b'"event":"delivered","sg_event_id":"ev1",'
    b'"sg_message_id":"14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0","response":"250 OK"}]'
    b"\r\n"
)
SIGNATURES = (
    "MEUCIAYc7ebHFZfBE+OgBcOrFsYrcp9mJ7XWwrzNnDSrvLv2AiEA2mNpdFUpY5S9Z8edDENTV0tZYTQTRXxX6VjDhgRA"
    "hEc=",
    "MEQCIE2uFVn+QS9HBdPXZxNQjbv/aorLVorFOvp2I/kCcKGQAiBSiDHtRkTqX4/tGUqEMX1+fCTSYFXJ/ceQvWYT9L9i"
    "Ug==",
)
SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
FORM_TYPE = "multipart/form-data; boundary=xYzZY-sim"
SAMPLE = {
    "from": "Ana <ana@example.org>",
    "to": "bot@in.example.com",
    "subject": "Re: hi",
    "text": "hello",
    "envelope": '{"to":["bot@in.example.com"],"from":"ana@example.org"}',
    "headers": "Message-ID: <abc@example.org>\nIn-Reply-To: <out1@x>\n"
    "References: <root@x> <out1@x>\n",
}


def provider(**settings: Any) -> SendGridProvider:
    """Return a provider with the vector's public key."""
    given_settings = {"webhook_public_key": PUBLIC_KEY, **settings}
    return SendGridProvider(SendGridConfig(api_key="k", from_email="a@b.test", **given_settings))


def handler(kind: str = "", **settings: Any) -> WebhookHandler:
    """Return the reader of one kind."""
    found = provider(**settings).webhook().for_kind(kind)
    assert found is not None
    return found


def events_request(body: bytes = BODY, **changes: Any) -> WebhookRequest:
    """Return the vector as a request, at the moment it was signed."""
    request = WebhookRequest(
        method="POST",
        url="https://hooks.test/webhooks/mail/events",
        headers={
            SIGNATURE: SIGNATURES[0],
            TIMESTAMP: MOMENT,
            "content-type": "application/json",
        },
        query={},
        body=body,
        channel_id="mail",
        kind="events",
        received_at=float(MOMENT),
    )
    return replace(request, **changes)


def form_request(fields: dict[str, Any] | None = None, **options: Any) -> WebhookRequest:
    """Return a form as a request; by default the contract's sample."""
    body = form(SAMPLE if fields is None else fields, options.pop("attachments", ()), **options)
    return events_request(body, headers={"content-type": FORM_TYPE}, kind="")


def read_one(fields: dict[str, Any] | None = None, **options: Any) -> InboundMessage:
    """Return the message a form holds."""
    (message,) = handler().read(form_request(fields, **options))
    assert isinstance(message, InboundMessage)
    return message


class TestEventsHandler(WebhookHandlerConformance):
    """The reader of signed events does what every reader does."""

    def make_handler(self) -> WebhookHandler:
        return handler("events")

    def good_request(self) -> WebhookRequest:
        return events_request()


class TestInboundHandler(WebhookHandlerConformance):
    """So does the reader of mail, unsigned."""

    def make_handler(self) -> WebhookHandler:
        return handler()

    def good_request(self) -> WebhookRequest:
        return form_request()


class TestSignedInboundHandler(WebhookHandlerConformance):
    """And signed, with a security policy attached."""

    def make_handler(self) -> WebhookHandler:
        return handler("inbound", inbound_public_key=SendGridSimulator(private_key=7).public_key)

    def good_request(self) -> WebhookRequest:
        request = form_request()
        signed = SendGridSimulator(private_key=7).signature(request.body, int(MOMENT))
        headers = {name.lower(): value for name, value in signed.items()}
        return replace(request, headers={**request.headers, **headers})


class TestSignature:
    """The worked vector is good, everything else is not."""

    def test_the_vector(self) -> None:
        """Both signatures of the vector, and one the simulator makes with the same key."""
        vendor = provider()
        for signature in SIGNATURES:
            assert vendor.verify_signature(BODY, signature, MOMENT)
        sim = SendGridSimulator(private_key=SCALAR)
        assert sim.public_key == PUBLIC_KEY
        made = list(sim.signature(BODY, int(MOMENT)).values())
        assert vendor.verify_signature(BODY, made[0], made[1])

    def test_every_changed_byte(self) -> None:
        """One bit anywhere in the body, the timestamp or the signature is enough."""
        vendor = provider()
        for place in range(0, len(BODY), 7):
            changed = bytearray(BODY)
            changed[place] ^= 1
            assert not vendor.verify_signature(bytes(changed), SIGNATURES[0], MOMENT)
        for place in range(len(MOMENT)):
            other = f"{MOMENT[:place]}{(int(MOMENT[place]) + 1) % 10}{MOMENT[place + 1 :]}"
            assert not vendor.verify_signature(BODY, SIGNATURES[0], other)
        seal = base64.b64decode(SIGNATURES[0])
        for place in range(len(seal)):
            changed = bytearray(seal)
            changed[place] ^= 1
            text = base64.b64encode(changed).decode()
            assert not vendor.verify_signature(BODY, text, MOMENT)

    @pytest.mark.parametrize(
        ("body", "signature", "timestamp"),
        [
            (BODY.rstrip(), SIGNATURES[0], MOMENT),
            (json.dumps(json.loads(BODY)).encode() + b"\r\n", SIGNATURES[0], MOMENT),
            (BODY, "", MOMENT),
            (BODY, SIGNATURES[0][:-4], MOMENT),
            (BODY, SIGNATURES[0] + "AAAA", MOMENT),
            (BODY, SIGNATURES[0] + "A" * 10_000, MOMENT),
            (BODY, SIGNATURES[0].replace("=", ""), MOMENT),
            (BODY, "\u00e9\u2615", MOMENT),
            (BODY, SIGNATURES[0], None),
            (BODY, SIGNATURES[0], ""),
            (BODY, SIGNATURES[0], f"-{MOMENT}"),
            (BODY, SIGNATURES[0], f"{MOMENT}.0"),
            (BODY, SIGNATURES[0], "\u0661" * 10),
            (BODY, SIGNATURES[0], "now"),
        ],
    )
    def test_what_is_refused(self, body: bytes, signature: str, timestamp: str | None) -> None:
        """The line break at the body's end counts; nothing malformed raises."""
        assert provider().verify_signature(body, signature, timestamp) is False

    @pytest.mark.parametrize(
        "key", ["x", "AAAA", base64.b64encode(b"\x30" * 91).decode(), PUBLIC_KEY[:-8], "\u00e9"]
    )
    def test_a_key_that_is_none(self, key: str) -> None:
        """It verifies nothing, and nothing raises."""
        vendor = provider(webhook_public_key=key)
        assert vendor.verify_signature(BODY, SIGNATURES[0], MOMENT) is False

    def test_another_kind_of_key(self) -> None:
        """Ed25519 and other curves are not what the vendor signs with."""
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        for other in (
            ed25519.Ed25519PrivateKey.generate(),
            ec.generate_private_key(ec.SECP384R1()),
        ):
            raw = other.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            vendor = provider(webhook_public_key=base64.b64encode(raw).decode())
            assert vendor.verify_signature(BODY, SIGNATURES[0], MOMENT) is False

    def test_old_and_new_key(self) -> None:
        """While keys are rotated both count; a stranger's never. PEM is a key too."""
        stranger = SendGridSimulator(private_key=99).public_key
        rotated = provider(webhook_public_key=stranger, previous_public_keys=[PUBLIC_KEY])
        assert rotated.verify_signature(BODY, SIGNATURES[0], MOMENT)
        assert not provider(webhook_public_key=stranger).verify_signature(
            BODY, SIGNATURES[0], MOMENT
        )

        pem = f"-----BEGIN PUBLIC KEY-----\n{PUBLIC_KEY[:64]}\n{PUBLIC_KEY[64:]}\n-----END"
        assert provider(webhook_public_key=pem).verify_signature(BODY, SIGNATURES[1], MOMENT)
        assert not provider().verify_signature(BODY, SIGNATURES[0], MOMENT, tolerance_seconds=300)

    def test_without_a_key(self) -> None:
        """A ValueError says where it comes from."""
        assert issubclass(InvalidInputError, ValueError)
        with pytest.raises(InvalidInputError, match="webhook_public_key must be provided"):
            provider(webhook_public_key=None).verify_signature(BODY, SIGNATURES[0], MOMENT)

    def test_without_cryptography(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error names the package."""
        monkeypatch.setitem(sys.modules, "cryptography", None)
        text = "cryptography is required for SendGrid signature verification"
        with pytest.raises(ImportError, match=text):
            provider().verify_signature(BODY, SIGNATURES[0], MOMENT)


class TestFreshness:
    """The endpoint takes five minutes either way."""

    @pytest.mark.parametrize(
        ("off", "good"), [(0, True), (299, True), (-299, True), (301, False), (-301, False)]
    )
    async def test_age(self, off: int, good: bool) -> None:
        """By the clock of whoever hosts it."""
        request = events_request(received_at=float(MOMENT) + off)
        if good:
            await handler("events").verify(request)
            return
        with pytest.raises(WebhookRefused):
            await handler("events").verify(request)

    @pytest.mark.parametrize("missing", [SIGNATURE, TIMESTAMP])
    async def test_a_missing_header(self, missing: str) -> None:
        """The refusal names it."""
        headers = {k: v for k, v in events_request().headers.items() if k != missing}
        with pytest.raises(WebhookRefused, match=missing):
            await handler("events").verify(events_request(headers=headers))


class TestKinds:
    """One provider, two kinds of callbacks."""

    def test_which_there_are(self) -> None:
        """Mail under no word or ``inbound``, events under theirs, nothing else."""
        webhook = provider().webhook()
        assert webhook.for_kind("") is webhook.for_kind("inbound") is webhook
        assert webhook.for_kind("other") is None
        assert webhook.max_body == 30 * 1024 * 1024
        assert webhook.content_types == {"multipart/form-data"}
        assert handler("events").content_types == {"application/json"}

    async def test_which_are_signed(self) -> None:
        """Each by its own key; without one there is nothing to check."""
        assert not handler().signed
        assert handler("events").signed
        assert not handler("events", webhook_public_key=None).signed
        assert handler(inbound_public_key=PUBLIC_KEY).signed
        await handler().verify(form_request())
        await handler("events", webhook_public_key=None).verify(events_request(headers={}))


class TestEvents:
    """What became of mail we sent."""

    def test_the_vector(self) -> None:
        """As the contract expects it."""
        (status,) = handler("events").read(events_request())
        facts = {"status": "delivered", "recipient": "ana@example.org"}
        assert status == DeliveryStatus(
            provider="sendgrid",
            message_id="14c5d75ce93",
            **facts,
            timestamp="2025-01-01T00:00:00+00:00",
            raw=json.loads(BODY)[0],
        )

    @pytest.mark.parametrize(
        ("event", "status"),
        [
            ("processed", "queued"),
            ("deferred", "deferred"),
            ("delivered", "delivered"),
            ("bounce", "failed"),
            ("dropped", "failed"),
            ("open", "opened"),
            ("click", "clicked"),
            ("spamreport", "complained"),
            ("unsubscribe", "unsubscribed"),
            ("group_unsubscribe", "unsubscribed"),
            ("group_resubscribe", "resubscribed"),
            ("something_new", "something_new"),
        ],
    )
    def test_words(self, event: str, status: str) -> None:
        """The vendor's words in ours; reasons only where something went wrong."""
        (found,) = parse_sendgrid_events(
            [{"event": event, "status": "5.1.1", "reason": "no user"}]
        )
        assert found.status == status
        wrong = status in ("failed", "deferred")
        assert found.error_code == ("5.1.1" if wrong else None)
        assert found.error_message == ("no user" if wrong else None)

    def test_what_is_absent_is_empty(self) -> None:
        """An asynchronous bounce has no message id; a deferral gives the server's response."""
        (found,) = parse_sendgrid_events([{"event": "deferred", "response": "try later"}])
        assert (found.message_id, found.recipient, found.timestamp) == ("", "", None)
        assert found.error_message == "try later"

    @pytest.mark.parametrize("payload", [None, {}, "x", [1], [None], [{"event": {}}]])
    def test_wrong_shapes(self, payload: Any) -> None:
        """They are a WebhookError, which is a ValueError."""
        with pytest.raises(WebhookError):
            parse_sendgrid_events(payload)

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_mutated_events(self, data: st.DataObject) -> None:
        """A wrong value anywhere gives statuses or a WebhookError."""
        strange = st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(),
            st.just([]),
            st.just({}),
        )
        events = copy.deepcopy(json.loads(BODY))
        name = data.draw(st.sampled_from(sorted(events[0])))
        events[0][name] = data.draw(strange)
        with suppress(WebhookError):
            assert len(parse_sendgrid_events(events)) == 1


@cache
def mixed() -> tuple[WebhookHandler, WebhookRequest]:
    """Return a reader and a form with a file: making them takes more time than reading."""
    return handler(), form_request(attachments=[("a.png", "image/png", b"png")])


class TestInbound:
    """A mail that came in, as a message."""

    async def test_the_contracts_sample(self) -> None:
        """From the form's fields, with or without a web framework."""
        assert (await provider().parse_inbound(SAMPLE)).channel_id == ""
        for message in (read_one(), parse_sendgrid_inbound(SAMPLE, "mail")):
            assert message.channel_id == "mail"
            assert message.sender_id == "ana@example.org"
            assert message.content == TextContent(body="hello")
            assert message.external_id == message.idempotency_key == "abc@example.org"
            assert message.thread_id == "root@x"
            facts = message.metadata
            assert facts["provider"] == "sendgrid"
            assert facts["subject"] == "Re: hi"
            assert facts["to"] == facts["envelope_to"] == ["bot@in.example.com"]
            assert (facts["cc"], facts["from_name"]) == ([], "Ana")
            assert facts["in_reply_to"] == "out1@x"
            assert facts["references"] == ["root@x", "out1@x"]
            assert (facts["auto_submitted"], facts["spam_score"]) == (False, None)
            assert (facts["num_attachments"], facts["quoted"]) == (0, "")

    def test_a_first_mail_names_its_thread(self) -> None:
        """Its own id."""
        message = read_one({**SAMPLE, "headers": "Message-Id: <first@x>\n"})
        assert (message.external_id, message.thread_id) == ("first@x", "first@x")

    def test_only_the_new_text(self) -> None:
        """What is quoted stands aside; HTML is read when there is no text."""
        text = "Yes\n\nOn 1 May 2026, Bot <b@x.test> wrote:\n> Hi"
        message = read_one({**SAMPLE, "text": text})
        assert message.content == TextContent(body="Yes")
        assert message.metadata["quoted"].endswith("> Hi")
        html = "<p>Yes</p><div>On 1 May 2026, Bot wrote:<blockquote>Hi</blockquote></div>"
        message = read_one({**SAMPLE, "text": " ", "html": html})
        assert message.content == TextContent(body="Yes")
        assert message.metadata["html"] == html

    def test_who_sent_it(self) -> None:
        """The envelope's sender, else the header's; a bounce is automatic."""
        envelope = '{"to":[],"from":"bounce+1@x.test;victim@y.test"}'
        assert read_one({**SAMPLE, "envelope": envelope}).sender_id == "bounce+1@x.test"
        empty = read_one({**SAMPLE, "envelope": '{"from":""}'})
        assert (empty.sender_id, empty.metadata["auto_submitted"]) == ("ana@example.org", True)
        odd = [read_one({**SAMPLE, "envelope": one}) for one in ("", "[]", "{", '{"from":3}')]
        assert {message.sender_id for message in odd} == {"ana@example.org"}
        with pytest.raises(WebhookError, match="from is missing"):
            read_one({"text": "x"})

    def test_automatic_mail(self) -> None:
        """Nobody should answer it."""
        automatic = read_one({**SAMPLE, "headers": "Auto-Submitted: auto-replied\n"})
        assert automatic.metadata["auto_submitted"] is True

    def test_charsets(self) -> None:
        """Each field is read in its own."""
        fields = {**SAMPLE, "text": "caf\u00e9", "subject": "\u00e9t\u00e9"}
        message = read_one(fields, charset="iso-8859-1")
        assert message.content == TextContent(body="caf\u00e9")
        assert message.metadata["subject"] == "\u00e9t\u00e9"

    def test_attachments(self) -> None:
        """They come as ``data:`` URLs up to a limit; of larger ones only the facts."""
        files = [("a.png", "image/png", b"png"), ("b.bin", "application/x", b"b" * 100)]
        request = form_request(attachments=files)
        (message,) = handler(attachment_limit=50).read(request)
        assert isinstance(message, InboundMessage)
        assert message.content == MediaContent(
            url="data:image/png;base64,cG5n", mime_type="image/png", caption="hello"
        )
        assert message.metadata["num_attachments"] == 2
        assert message.metadata["attachments"] == [
            {"filename": "a.png", "mime_type": "image/png", "size_bytes": 3, "carried": True},
            {
                "filename": "b.bin",
                "mime_type": "application/x",
                "size_bytes": 100,
                "carried": False,
            },
        ]
        (both,) = handler().read(request)
        assert isinstance(both, InboundMessage)
        assert isinstance(both.content, CompositeContent)

    def test_attachments_that_were_stored(self) -> None:
        """The caller may give their URLs."""
        stored = [{"url": "https://files.test/a.png", "mime_type": "image/png"}]
        content = parse_sendgrid_inbound(SAMPLE, "mail", attachments=stored).content
        assert isinstance(content, MediaContent)
        assert content.url == "https://files.test/a.png"

    def test_raw_mode(self) -> None:
        """The whole mail in one field gives the same."""
        mail = EmailMessage()
        mail["From"] = "Ana \u00c5 <ana@example.org>"
        mail["Subject"] = "\u00e9t\u00e9"
        mail["Message-ID"] = "<raw@x>"
        mail.set_content("caf\u00e9", charset="iso-8859-1")
        mail.add_attachment(b"png", maintype="image", subtype="png", filename="a.png")
        fields = {name: SAMPLE[name] for name in ("from", "to", "envelope")}
        message = read_one({**fields, "email": mail.as_bytes()})
        assert isinstance(message.content, MediaContent)
        assert message.content.caption == "caf\u00e9"
        assert message.metadata["subject"] == "\u00e9t\u00e9"
        assert message.metadata["from_name"] == "Ana \u00c5"
        assert message.external_id == "raw@x"
        text = {**fields, "email": mail.as_string()}
        assert parse_sendgrid_inbound(text, "mail").external_id == "raw@x"

    def test_a_subject_is_no_header_of_another(self) -> None:
        """A line break in a field does not make a header of what follows."""
        fields = {**SAMPLE, "subject": "x\nIn-Reply-To: <evil@x>", "headers": "References: <a@x>"}
        message = read_one(fields)
        assert message.metadata["in_reply_to"] is None
        assert message.thread_id == "a@x"

    @pytest.mark.parametrize("name", ["text", "from", "headers", "envelope", "html", "to"])
    def test_wrong_types(self, name: str) -> None:
        """A field that is no text is a WebhookError that names it; null is absent."""
        with pytest.raises(WebhookError, match=name):
            parse_sendgrid_inbound({**SAMPLE, name: ["x"]}, "mail")
        parse_sendgrid_inbound({**SAMPLE, name: None, "from": "a@x"}, "mail")

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 2**16), st.integers(0, 9), st.binary(max_size=9)),
            min_size=1,
            max_size=5,
        )
    )
    def test_mutated_forms(self, changes: list[tuple[int, int, bytes]]) -> None:
        """Bytes changed anywhere give a message or a WebhookError."""
        reader, request = mixed()
        body = bytearray(request.body)
        for place, length, new in changes:
            start = place % len(body)
            body[start : start + length] = new
        with suppress(WebhookError):
            assert len(reader.read(replace(request, body=bytes(body)))) == 1
