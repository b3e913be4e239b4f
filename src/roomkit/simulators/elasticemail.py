"""Elastic Email on this machine: ``email/send`` of version 2, and its notifications."""

from __future__ import annotations

from email.parser import BytesParser
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from roomkit.simulators._base import SentMessage, SimReply, VendorSimulator

if TYPE_CHECKING:
    from roomkit.simulators._base import SimRequest, Step, WebhookAnswer

_WORDS = {
    "delivered": "Sent",
    "sent": "Sent",
    "failed": "Error",
    "opened": "Opened",
    "clicked": "Clicked",
    "complained": "AbuseReport",
    "unsubscribed": "Unsubscribed",
}


class ElasticEmailSimulator(VendorSimulator):
    """Accepts mail as Elastic Email does: nearly always with 200, the truth in the body.

    Args:
        api_key: The key requests must bring.
        from_email: The verified sender.
        notify_url: Where ``status`` calls.
        port: The port; 0 takes a free one.
    """

    vendor: ClassVar[str] = "elasticemail"

    def __init__(
        self,
        *,
        api_key: str = "MADE-UP-ELASTIC-KEY",
        from_email: str = "bot@in.example.com",
        notify_url: str | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(port=port)
        self.notify_url = notify_url
        self._api_key = api_key
        self._from_email = from_email

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of ElasticEmailConfig."""
        return {
            "api_key": self._api_key,
            "from_email": self._from_email,
            "api_base": self.api_base,
        }

    async def handle(self, request: SimRequest) -> SimReply:
        """Answer as the vendor."""
        if request.path != "/v2/email/send":
            return SimReply.of_text("Not found", 404)
        if request.method != "POST":
            return SimReply.of_text("Method not allowed", 405)
        fields = _fields(request)
        if fields is None:
            return _no("The request has no form")
        wrong = self._wrong(fields)
        if wrong is not None:
            return _no(wrong)
        number = self.new_id()
        mail_id = f"e1a5{number}-0000-4000-8000-00000000{number}"
        text = fields.get("bodyText") or fields.get("bodyHtml", "")
        shown = {name: value for name, value in fields.items() if name != "apikey"}
        self.sent.append(SentMessage(mail_id, fields["to"], text, (), shown))
        data = {"transactionid": mail_id, "messageid": f"sim{number}"}
        return SimReply.of_json({"success": True, "data": data})

    def _wrong(self, fields: dict[str, str]) -> str | None:
        """Return the vendor's text for the first thing it would refuse."""
        if fields.get("apikey") != self._api_key:
            return "Incorrect apikey"
        if fields.get("from", "") != self._from_email:
            return "The from address is not verified"
        if "@" not in fields.get("to", ""):
            return "One or more of the recipients are invalid"
        if not fields.get("bodyText") and not fields.get("bodyHtml"):
            return "Email body is required"
        if fields.get("isTransactional") not in ("true", "false"):
            return "isTransactional must be true or false"
        headers = (value for name, value in fields.items() if name.startswith("headers_"))
        return None if all(": " in value for value in headers) else "A custom header has no value"

    def failure(self, step: Step) -> SimReply:
        """Return an error status; the vendor gives no time to wait."""
        body = {"success": False, "error": step.code or f"Error {step.status}"}
        return SimReply.of_json(body, step.status)

    async def status(
        self, message_id: str, status: str, url: str | None = None, **fields: str
    ) -> WebhookAnswer:
        """Call an endpoint with one notification about a mail.

        Args:
            message_id: The mail's id (``sent[n].id``).
            status: ``sent``, ``opened``, ``clicked``, ``failed``, ``complained`` or
                ``unsubscribed``; another word goes out as it is.
            url: The endpoint; by default ``notify_url``.
            fields: More parameters, such as ``category``.

        Raises:
            ValueError: There is no URL.
        """
        url = url or self.notify_url
        if url is None:
            raise ValueError("name the endpoint: url= or ElasticEmailSimulator(notify_url=...)")
        known = {mail.id: mail.to for mail in self.sent}
        query = {
            "transaction": message_id,
            "to": known.get(message_id, "ana@example.org"),
            "from": self._from_email,
            "date": "11/21/2026 10:00:00 AM",
            "status": _WORDS.get(status, status),
            "channel": "HTTP API",
            "account": "account@example.com",
            "subject": "",
            "messageid": "sim",
            **fields,
        }
        joint = "&" if "?" in url else "?"
        return await self.post(f"{url}{joint}{urlencode(query)}", b"", {}, method="GET")


def _no(text: str) -> SimReply:
    return SimReply.of_json({"success": False, "error": text})


def _fields(request: SimRequest) -> dict[str, str] | None:
    """Return the texts of a form, of either kind; files as ``attachment:<name>``."""
    kind = request.headers.get("content-type", "")
    if kind.startswith("application/x-www-form-urlencoded"):
        return dict(request.form_pairs)
    if not kind.startswith("multipart/form-data"):
        return None
    whole = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + request.body)
    found: dict[str, str] = {}
    for part in whole.walk():
        name = part.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            continue
        data = part.get_payload(decode=True)
        filename = part.get_filename()
        if filename is not None:
            size = len(data) if isinstance(data, bytes) else 0
            found[f"attachment:{filename}"] = f"{part.get_content_type()} {size}"
        else:
            found[name] = data.decode("utf-8") if isinstance(data, bytes) else ""
    return found
