"""SendGrid on this machine: Mail Send, Inbound Parse and the signed Event Webhook."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._lazy import require
from roomkit.simulators._base import SentMessage, SimReply, VendorSimulator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roomkit.simulators._base import SimRequest, Step, WebhookAnswer

_BOUNDARY = "xYzZY-sim"
_FORM = {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}
_LARGEST = 30 * 1024 * 1024
_FIELDS = frozenset(
    {
        "asm", "attachments", "batch_id", "categories", "content", "custom_args", "from",
        "headers", "ip_pool_name", "mail_settings", "personalizations", "reply_to", "send_at",
        "subject", "template_id", "tracking_settings",
    }
)  # fmt: skip
_RESERVED = frozenset(
    {
        "x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type",
        "content-transfer-encoding", "to", "from", "subject", "reply-to", "cc", "bcc",
    }
)  # fmt: skip
_TEXTS = {
    400: "Bad Request",
    401: "The provided authorization grant is invalid, expired, or revoked",
    403: "The from address does not match a verified Sender Identity",
    404: "not found",
    413: "Payload too large",
    429: "too many requests",
}
_WORDS = {"queued": "processed", "failed": "bounce"}


class SendGridSimulator(VendorSimulator):
    """Accepts mail as SendGrid does, and posts mail and events signed as SendGrid does.

    Args:
        api_key: The key requests must bring.
        from_email: The verified sender.
        private_key: The scalar of the P-256 key events are signed with.
        events_url: Where ``status`` posts to.
        port: The port; 0 takes a free one.
    """

    vendor: ClassVar[str] = "sendgrid"

    def __init__(
        self,
        *,
        api_key: str = "SG.made-up.not-a-real-key",
        from_email: str = "bot@in.example.com",
        private_key: int = 0x1F2E3D4C5B6A79880123456789ABCDEF0123456789ABCDEF0123456789ABCDE1,
        events_url: str | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(port=port)
        self.events_url = events_url
        self._api_key = api_key
        self._from_email = from_email
        self._scalar = private_key

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of SendGridConfig; with a public key when cryptography is installed."""
        found: dict[str, Any] = {
            "api_key": self._api_key,
            "from_email": self._from_email,
            "default_subject": "A message for you",
            "api_base": self.api_base,
        }
        with contextlib.suppress(ImportError):
            found["webhook_public_key"] = self.public_key
        return found

    @property
    def public_key(self) -> str:
        """The public key as the console shows it: base64 of its SPKI form.

        Raises:
            ImportError: (a MissingDependencyError) cryptography is not installed.
        """
        serialization = require(
            "cryptography.hazmat.primitives.serialization",
            user="SendGridSimulator",
            extra="signatures",
            dist="cryptography",
        )
        raw: bytes = (
            self._private_key()
            .public_key()
            .public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        return base64.b64encode(raw).decode("ascii")

    async def handle(self, request: SimRequest) -> SimReply:
        """Answer as the vendor."""
        if request.path != "/v3/mail/send":
            return _error(404, "not found")
        if request.method != "POST":
            return _error(405, "method not allowed")
        if request.headers.get("authorization") != f"Bearer {self._api_key}":
            return _error(401, _TEXTS[401])
        if len(request.body) > _LARGEST:
            return _error(413, _TEXTS[413])
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _error(415, "Content-Type should be application/json.")
        try:
            mail = request.json
        except ValueError:
            return _error(400, "Bad Request")
        wrong = _wrong(mail)
        if wrong is not None:
            return _error(400, wrong[1], wrong[0])
        if mail["from"]["email"] != self._from_email:
            return _error(403, _TEXTS[403], "from")
        return self._accept(mail)

    def _accept(self, mail: dict[str, Any]) -> SimReply:
        mail_id = self.new_id("sgsim")
        if mail.get("mail_settings", {}).get("sandbox_mode", {}).get("enable"):
            return SimReply(200, b"", {"x-message-id": mail_id})
        bodies = {part["type"]: part["value"] for part in mail.get("content", ())}
        to = mail["personalizations"][0]["to"][0]["email"]
        text = bodies.get("text/plain", bodies.get("text/html", ""))
        self.sent.append(SentMessage(mail_id, to, text, (), mail))
        return SimReply(202, b"", {"x-message-id": mail_id})

    def failure(self, step: Step) -> SimReply:
        """Return the vendor's error; the wait is a moment in ``X-RateLimit-Reset``."""
        headers = {}
        if step.retry_after is not None:
            headers["x-ratelimit-reset"] = str(int(time.time() + step.retry_after))
            headers["x-ratelimit-remaining"] = "0"
        if step.status >= 500:
            return SimReply(step.status, b"", headers)
        return _error(step.status, step.code or _TEXTS.get(step.status, "error"), None, headers)

    async def receive(
        self,
        url: str,
        *,
        text: str = "",
        sender: str = "ana@example.org",
        sender_name: str = "",
        to: str = "",
        subject: str = "",
        html: str = "",
        message_id: str = "",
        in_reply_to: str = "",
        references: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        envelope_from: str | None = None,
        attachments: Sequence[tuple[str, str, bytes]] = (),
        charset: str = "UTF-8",
        raw: bytes | None = None,
        timestamp: int | None = None,
    ) -> WebhookAnswer:
        """Post a mail that came in to an endpoint, as Inbound Parse does.

        Args:
            url: The endpoint.
            text: Its plain text.
            sender: Who sent it.
            sender_name: The name beside the address.
            to: To whom; by default our own address.
            subject: Its subject.
            html: Its HTML.
            message_id: Without angle brackets; by default a new one.
            in_reply_to: The id it answers.
            references: The ids before.
            headers: More header lines.
            envelope_from: The envelope's sender; by default the same. Empty for a bounce.
            attachments: ``(filename, type, bytes)`` each.
            charset: The charset of the fields.
            raw: The whole mail: raw mode.
            timestamp: The moment of the signature; by default now.
        """
        to = to or self._from_email
        author = f"{sender_name} <{sender}>" if sender_name else sender
        message_id = message_id or f"{self.new_id('mail-')}@example.org"
        lines = _header_lines(message_id, in_reply_to, references)
        lines |= {"From": author, "To": to, "Subject": subject, **(headers or {})}
        envelope = {"to": [to], "from": sender if envelope_from is None else envelope_from}
        fields: dict[str, str | bytes] = {
            "to": to,
            "from": author,
            "subject": subject,
            "envelope": json.dumps(envelope),
        }
        if raw is not None:
            fields["email"] = raw
        else:
            fields["headers"] = "".join(f"{name}: {value}\n" for name, value in lines.items())
            fields |= {k: v for k, v in (("text", text), ("html", html)) if v}
        body = form(fields, attachments, charset)
        return await self.post(url, body, {**_FORM, **self.signature(body, timestamp)})

    async def status(
        self,
        message_id: str,
        status: str,
        url: str | None = None,
        *,
        timestamp: int | None = None,
        **fields: Any,
    ) -> WebhookAnswer:
        """Post one signed event about a mail.

        Args:
            message_id: The mail's id (``sent[n].id``).
            status: The vendor's event, such as ``delivered``, ``bounce`` or ``open``.
            url: The endpoint; by default ``events_url``.
            timestamp: The moment of event and signature; by default now.
            fields: More of the event, such as ``reason``.

        Raises:
            ValueError: There is no URL.
        """
        if url is None and self.events_url is None:
            raise ValueError("name the endpoint: url= or SendGridSimulator(events_url=...)")
        moment = int(time.time()) if timestamp is None else timestamp
        known = {mail.id: mail.to for mail in self.sent}
        event = {
            "email": known.get(message_id, "ana@example.org"),
            "timestamp": moment,
            "smtp-id": f"<{message_id}@geopod-sim>",
            "event": _WORDS.get(status, status),
            "sg_event_id": self.new_id("ev"),
            "sg_message_id": f"{message_id}.recvd-sim-1-0.0",
            **fields,
        }
        return await self.events(url or self.events_url or "", [event], timestamp=moment)

    async def events(
        self, url: str, events: Sequence[Any], *, timestamp: int | None = None
    ) -> WebhookAnswer:
        """Post signed events as they are; the vendor ends the body with CR LF."""
        body = json.dumps(list(events), separators=(",", ":")).encode() + b"\r\n"
        head = {"content-type": "application/json; charset=utf-8"}
        return await self.post(url, body, {**head, **self.signature(body, timestamp)})

    def signature(self, body: bytes, timestamp: int | None = None) -> dict[str, str]:
        """Return the headers that sign a body; none without cryptography."""
        moment = str(int(time.time()) if timestamp is None else timestamp)
        try:
            key = self._private_key()
        except ImportError:
            return {}
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        seal: bytes = key.sign(moment.encode() + body, ECDSA(SHA256()))
        return {
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(seal).decode("ascii"),
            "X-Twilio-Email-Event-Webhook-Timestamp": moment,
        }

    def _private_key(self) -> Any:
        ec = require(
            "cryptography.hazmat.primitives.asymmetric.ec",
            user="SendGridSimulator",
            extra="signatures",
            dist="cryptography",
        )
        return ec.derive_private_key(self._scalar, ec.SECP256R1())


def form(
    fields: Mapping[str, str | bytes],
    attachments: Sequence[tuple[str, str, bytes]],
    charset: str = "UTF-8",
) -> bytes:
    """Return the body of an Inbound Parse form; its boundary is ``xYzZY-sim``."""
    charsets = {
        name: charset for name in fields if name in ("to", "from", "subject", "text", "html")
    }
    info = {
        f"attachment{n}": {"filename": name, "name": name, "type": kind}
        for n, (name, kind, _) in enumerate(attachments, 1)
    }
    extra: dict[str, str | bytes] = {
        "dkim": "{@example.org : pass}",
        "SPF": "pass",
        "sender_ip": "192.0.2.7",
        "charsets": json.dumps(charsets),
    }
    if "email" not in fields:
        extra["attachments"] = str(len(attachments))
    if info:
        extra["attachment-info"] = json.dumps(info)
    pieces = []
    for name, value in {**fields, **extra}.items():
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        coding = charset if name in charsets else "utf-8"
        data = value if isinstance(value, bytes) else value.encode(coding, "replace")
        pieces.append(head.encode() + data + b"\r\n")
    for n, (name, kind, data) in enumerate(attachments, 1):
        head = (
            f"--{_BOUNDARY}\r\nContent-Disposition: form-data; "
            f'name="attachment{n}"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
        )
        pieces.append(head.encode() + data + b"\r\n")
    return b"".join(pieces) + f"--{_BOUNDARY}--\r\n".encode()


def _header_lines(message_id: str, in_reply_to: str, references: Sequence[str]) -> dict[str, str]:
    lines = {"Message-ID": f"<{message_id}>"}
    if in_reply_to:
        lines["In-Reply-To"] = f"<{in_reply_to}>"
    if references:
        lines["References"] = " ".join(f"<{one}>" for one in references)
    return lines


def _error(
    status: int, message: str, field: str | None = None, headers: Mapping[str, str] | None = None
) -> SimReply:
    return SimReply.of_json(
        {"errors": [{"message": message, "field": field, "help": None}]}, status, headers
    )


def _wrong(mail: Any) -> tuple[str | None, str] | None:
    """Return field and text of the first thing the vendor would refuse."""
    if not isinstance(mail, dict):
        return None, "Bad Request"
    unknown = sorted(set(mail) - _FIELDS)
    if unknown:
        return unknown[0], f"Additional property {unknown[0]} is not allowed"
    for check in (_wrong_people, _wrong_content, _wrong_attachments, _wrong_extras):
        found = check(mail)
        if found is not None:
            return found
    return None


def _wrong_people(mail: dict[str, Any]) -> tuple[str, str] | None:
    people = mail.get("personalizations")
    if not isinstance(people, list) or not 1 <= len(people) <= 1000:
        return "personalizations", "The personalizations field is required"
    for n, person in enumerate(people):
        to = person.get("to") if isinstance(person, dict) else None
        if not isinstance(to, list) or not to:
            return f"personalizations.{n}.to", "The to array is required"
        if not all("@" in str(one.get("email", "")) for one in to):
            return f"personalizations.{n}.to.0.email", "Does not contain a valid address."
    sender = mail.get("from")
    if not isinstance(sender, dict) or "@" not in str(sender.get("email", "")):
        return "from.email", "The from object must be provided for every email send"
    if not mail.get("subject") and not mail.get("template_id"):
        return "subject", "The subject is required. You can get around this with a template."
    return None


def _wrong_content(mail: dict[str, Any]) -> tuple[str, str] | None:
    content = mail.get("content", [])
    if not isinstance(content, list) or not (content or mail.get("template_id")):
        return "content", "Unless a valid template_id is provided, the content is required"
    kinds = [part.get("type") for part in content]
    if "text/plain" in kinds[1:]:
        return "content", "If present, text/plain must be first, followed by text/html"
    if not all(isinstance(part.get("value"), str) and part["value"] for part in content):
        return "content.0.value", "The content value must be a string at least one character long"
    return None


def _wrong_attachments(mail: dict[str, Any]) -> tuple[str, str] | None:
    for n, file in enumerate(mail.get("attachments", ())):
        try:
            data = base64.b64decode(file.get("content", ""), validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if not data:
            return f"attachments.{n}.content", "The attachment content must be base64 encoded."
        if not file.get("filename"):
            return f"attachments.{n}.filename", "The filename is required"
    return None


def _wrong_extras(mail: dict[str, Any]) -> tuple[str, str] | None:
    headers = mail.get("headers", {})
    for name, value in headers.items():
        if name.lower() in _RESERVED or not isinstance(value, str) or "\n" in value:
            return f"headers.{name}", f"The header {name} cannot be set"
    categories = mail.get("categories", [])
    if len(categories) > 10 or len(set(categories)) != len(categories):
        return "categories", "At most 10 unique categories are allowed"
    if len(json.dumps(mail.get("custom_args", {}))) > 10_000:
        return "custom_args", "Custom arguments cannot exceed 10000 bytes"
    return None
