"""A stand-in for VoiceMeUp. Its vendor publishes no documentation: it plays what is known."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from roomkit.simulators._base import SentMessage, SimReply, VendorSimulator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roomkit.simulators._base import SimRequest, Step, WebhookAnswer

_NUMBER = re.compile(r"[0-9]{3,15}", re.ASCII)
_FIELDS = frozenset({"source_number", "destination_number", "message", "attachment"})
_LONGEST_TEXT = 1000


class VoiceMeUpSimulator(VendorSimulator):
    """VoiceMeUp on a socket of this machine.

    Args:
        username: The account's name.
        auth_token: The account's token.
        from_number: The account's number.
        as_list: Whether answers hold their messages as a list even when there is one.
        port: The port; 0 takes a free one.
    """

    vendor: ClassVar[str] = "voicemeup"

    def __init__(
        self,
        *,
        username: str = "simulated",
        auth_token: str = "simulated-voicemeup-token",
        from_number: str = "+15145550199",
        as_list: bool = True,
        port: int = 0,
    ) -> None:
        super().__init__(port=port)
        self._username = username
        self._token = auth_token
        self._from_number = from_number
        self._as_list = as_list

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments for ``VoiceMeUpConfig``."""
        return {
            "username": self._username,
            "auth_token": self._token,
            "from_number": self._from_number,
            "api_base": self.api_base,
        }

    async def handle(self, request: SimRequest) -> SimReply:
        """Answer a request as VoiceMeUp would."""
        if request.path != "/api/v1.1/json/queue_sms":
            return SimReply(404)
        if request.method != "POST":
            return SimReply(405)
        known = {"username": self._username, "auth_token": self._token}
        if request.query != known:
            return _refusal("authentication_failed", "The user or the token is wrong")
        form = {name: values[-1] for name, values in request.form.items()}
        problem = _problem(form)
        if problem:
            return _refusal(*problem)
        message_id = self.new_id("vmu")
        media = (form["attachment"],) if "attachment" in form else ()
        text = form.get("message", "")
        self.sent.append(
            SentMessage(message_id, form["destination_number"], text, media, data=form)
        )
        message: Any = {"code": "queued_sms_hash", "_content": message_id}
        if self._as_list:
            message = [{"code": "queued_sms", "_content": "The message was queued"}, message]
        return _answer("success", message)

    def failure(self, step: Step) -> SimReply:
        """Return an error: of the transport, or with ``code`` and status 200 of the API."""
        if step.status == 200:
            return _refusal(step.code or "error", "It failed")
        return SimReply.of_text("error", step.status)

    # -- callbacks ---------------------------------------------------------------------------

    def inbound(
        self,
        text: str = "",
        *,
        sender: str = "14155550100",
        attachment: str | None = None,
        mime_type: str = "image/jpeg",
        message_id: str | None = None,
        sent_at: str = "2026-01-01 00:00:00",
        **more: Any,
    ) -> dict[str, Any]:
        """Return the fields of a message to the account's number.

        Args:
            text: What it says.
            sender: Who says it.
            attachment: The URL of its file.
            mime_type: Of that file.
            message_id: Its hash.
            sent_at: When it was sent; both halves of an MMS have the same.
            more: Further fields.
        """
        fields = {
            "sms_hash": message_id or self.new_id("in"),
            "direction": "inbound",
            "source_number": sender,
            "destination_number": self._from_number.lstrip("+"),
            "message": text,
            "datetime_transmission": sent_at,
        }
        if attachment is not None:
            fields |= {"attachment": attachment, "attachment_mime_type": mime_type}
        return {**fields, **more}

    def halves(
        self,
        text: str,
        attachment: str,
        *,
        sender: str = "14155550100",
        sent_at: str = "2026-01-01 00:00:00",
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the two callbacks one MMS comes in: the text's, then the file's."""
        page = "https://clients.voicemeup.com/files/simulated.mms.html"
        first = self.inbound(
            text, sender=sender, attachment=page, mime_type="text/html", sent_at=sent_at
        )
        second = self.inbound("", sender=sender, attachment=attachment, sent_at=sent_at)
        return first, second

    @staticmethod
    def callback(
        fields: Mapping[str, Any], *, as_json: bool = False
    ) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of a callback, a form or JSON, without sending it."""
        if as_json:
            body = json.dumps(fields, ensure_ascii=False).encode()
            return body, {"content-type": "application/json"}
        form = urlencode({name: value for name, value in fields.items() if value is not None})
        return form.encode(), {"content-type": "application/x-www-form-urlencoded"}

    async def receive(
        self,
        url: str,
        text: str = "",
        *,
        fields: Mapping[str, Any] | None = None,
        raw: bytes | None = None,
        as_json: bool = False,
        **more: Any,
    ) -> WebhookAnswer:
        """Send a message to an endpoint; nothing is signed.

        Args:
            url: The endpoint.
            text: What the message says.
            fields: The whole callback, such as one of ``halves``, instead of the next.
            raw: A body to send instead.
            as_json: Send JSON rather than a form.
            more: For ``inbound``: ``sender``, ``attachment``, ...
        """
        held = self.inbound(text, **more) if fields is None else fields
        body, headers = self.callback(held, as_json=as_json)
        return await self.post(url, body if raw is None else raw, headers)


def _answer(status: str, message: Any) -> SimReply:
    details = {"response_status": status, "response_messages": {"message": message}}
    return SimReply.of_json({"response_details": details})


def _refusal(code: str, text: str) -> SimReply:
    return _answer("error", {"code": code, "_content": text})


def _problem(form: Mapping[str, str]) -> tuple[str, str] | None:
    """Return code and explanation of what would not be taken."""
    unknown = form.keys() - _FIELDS
    if unknown:
        return "unknown_parameter", f"unknown: {', '.join(sorted(unknown))}"
    for field in ("source_number", "destination_number"):
        if not _NUMBER.fullmatch(form.get(field, "")):
            return "invalid_number", f"{field} must be digits only"
    if not form.get("message") and not form.get("attachment"):
        return "missing_message", "there is neither message nor attachment"
    if "attachment" not in form and len(form["message"]) > _LONGEST_TEXT:
        return "message_too_long", "message has up to 1000 characters"
    return None
