"""WhatsApp Business: the Cloud API of one number, its media, and its callbacks."""

from __future__ import annotations

import hashlib
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from roomkit.simulators._base import SentMessage, SimReply
from roomkit.simulators._graph import (
    GraphAccount,
    GraphRefusal,
    GraphSimulator,
    only_keys,
    require,
)
from roomkit.simulators._whatsapp_checks import check_message

if TYPE_CHECKING:
    from roomkit.simulators._base import SimRequest, WebhookAnswer

_ENVELOPE = {"messaging_product", "recipient_type", "to", "recipient", "type", "context"}
_LIMITS = {"image": 5, "audio": 16, "video": 16, "application": 100, "text": 100}
_MEBIBYTE = 1024 * 1024
_FAILURES = {131047: ("Re-engagement message", "24 hours"), 131026: ("Message undeliverable", "")}


class WhatsAppSimulator(GraphSimulator):
    """A business number that anybody may write to.

    Args:
        access_token: The token calls must carry.
        phone_number_id: Meta's id of the number.
        display_phone_number: The number.
        account: ``app_secret`` and ``verify_token`` of the app, ``callback_url`` for callbacks
            that name no URL, and ``port``; 0 takes a free one.

    Attributes:
        outside_window: Numbers that have not written for 24 hours: they get templates only.
        templates: Names of the templates Meta approved; None: whatever is asked for.
        media: Bytes and type of each file by its id, sent or received.
        read: Ids of messages that were marked as read.
        typing: Ids of messages that "typing" was shown under.
    """

    vendor: ClassVar[str] = "whatsapp"
    codes: ClassVar[dict[int, int]] = {  # type: ignore[misc]
        400: 131009,
        401: 190,
        403: 131031,
        404: 100,
        429: 130429,
        500: 131000,
        503: 131016,
    }

    def __init__(
        self,
        *,
        access_token: str = "EAAsim-system-user-token",
        phone_number_id: str = "444",
        display_phone_number: str = "14155550199",
        **account: Unpack[GraphAccount],
    ) -> None:
        super().__init__(access_token=access_token, **account)
        self._number_id = phone_number_id
        self._number = display_phone_number
        self.templates: set[str] | None = None
        self.media: dict[str, tuple[bytes, str]] = {}
        self.read: list[str] = []
        self.typing: list[str] = []

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments for ``WhatsAppCloudConfig``."""
        return {
            "access_token": self._token,
            "phone_number_id": self._number_id,
            "app_secret": self._secret,
            "verify_token": self._verify_token,
            "api_base": self.api_base,
        }

    async def serve(self, request: SimRequest, path: list[str]) -> SimReply:
        """Take a message, a read mark or a file; tell of a file; give its bytes."""
        if path == [self._number_id, "messages"]:
            return self._message(self.read_body(request))
        if path == [self._number_id, "media"]:
            return self._upload(request)
        if len(path) == 2 and path[0] == "bytes":
            data, mime = self._file(path[1])
            return SimReply(200, data, {"content-type": mime})
        require(len(path) == 1 and request.method == "GET", "Unknown path", status=404)
        return self._about(request, path[0])

    def _message(self, body: dict[str, Any]) -> SimReply:
        require(body.get("messaging_product") == "whatsapp", "messaging_product is required")
        if "status" in body:
            return self._mark(body)
        kind = body.get("type", "text")
        require(isinstance(kind, str), "Param type must be a string")
        only_keys(body, _ENVELOPE | {kind}, "body")
        require(body.get("recipient_type", "individual") == "individual", "recipient_type")
        to = self._recipient(body)
        if "context" in body:
            quoted = only_keys(body["context"], {"message_id"}, "context").get("message_id")
            require(isinstance(quoted, str) and quoted, "context[message_id]", code=131009)
        text, media = check_message(kind, body.get(kind), known=set(self.media))
        if kind == "template":
            self._check_template(body[kind]["name"])
        elif to in self.outside_window:
            require(False, "Re-engagement message", code=131047, details="24 hours")
        sent = SentMessage(self.new_id("wamid."), to, text, media, body)
        self.sent.append(sent)
        return SimReply.of_json(
            {
                "messaging_product": "whatsapp",
                "contacts": [{"input": to, "wa_id": to}],
                "messages": [{"id": sent.id}],
            }
        )

    def _recipient(self, body: dict[str, Any]) -> str:
        to = body.get("to", body.get("recipient"))
        require(isinstance(to, str) and to, "The parameter to is required", code=131008)
        fine = "to" not in body or str(to).isdecimal()
        require(fine, "Recipient phone number not in digits", code=131009)
        require(to != self._number, "Sender and recipient are the same", code=131021)
        return str(to)

    def _check_template(self, name: str) -> None:
        known = self.templates is None or name in self.templates
        require(known, "Template name does not exist", code=132001, status=404)

    def _mark(self, body: dict[str, Any]) -> SimReply:
        allowed = {"messaging_product", "status", "message_id", "typing_indicator"}
        found = only_keys(body, allowed, "body")
        require(found["status"] == "read", "Invalid status", code=131009)
        require(isinstance(found.get("message_id"), str), "message_id", code=131008)
        if "typing_indicator" in found:
            require(found["typing_indicator"] == {"type": "text"}, "typing_indicator")
            self.typing.append(found["message_id"])
        self.read.append(found["message_id"])
        return SimReply.of_json({"success": True})

    def _upload(self, request: SimRequest) -> SimReply:
        kind = request.headers.get("content-type", "")
        require(kind.startswith("multipart/form-data"), "A file must be uploaded")
        head = f"Content-Type: {kind}\r\n\r\n".encode("latin-1")
        parsed = message_from_bytes(head + request.body, policy=policy.HTTP)
        parts = {part.get_param("name", header="content-disposition"): part
                 for part in parsed.iter_parts()}  # fmt: skip
        require({"messaging_product", "type", "file"} <= set(parts), "A parameter is missing")
        product = parts["messaging_product"].get_payload(decode=True)
        require(product == b"whatsapp", "messaging_product is required")
        data = parts["file"].get_payload(decode=True)
        mime = parts["file"].get_content_type()
        require(isinstance(data, bytes) and data, "The file is empty", code=131053)
        limit = _LIMITS.get(mime.partition("/")[0], 100) * _MEBIBYTE
        require(len(data) <= limit, "The file is too large", code=131053)
        return SimReply.of_json({"id": self.keep(bytes(data), mime)})

    def keep(self, data: bytes, mime_type: str) -> str:
        """Keep a file, as if a person had sent it, and return its media id."""
        media_id = self.new_id("90")
        self.media[media_id] = (data, mime_type)
        return media_id

    def _file(self, media_id: str) -> tuple[bytes, str]:
        if media_id not in self.media:
            raise GraphRefusal(100, "Unsupported get request", status=404, subcode=33)
        return self.media[media_id]

    def _about(self, request: SimRequest, media_id: str) -> SimReply:
        data, mime = self._file(media_id)
        version = request.path.strip("/").partition("/")[0]
        return SimReply.of_json(
            {
                "messaging_product": "whatsapp",
                "url": f"{self.api_base}/{version}/bytes/{media_id}",
                "mime_type": mime,
                "sha256": hashlib.sha256(data).hexdigest(),
                "file_size": len(data),
                "id": media_id,
            }
        )

    async def receive(
        self,
        url: str | None = None,
        *,
        text: str = "hello",
        sender: str = "14155550100",
        name: str = "Ana",
        media: tuple[bytes, str] | None = None,
        button: str | None = None,
        message_id: str | None = None,
        raw: Any = None,
        **fields: Any,
    ) -> WebhookAnswer:
        """Post a message of a person.

        Args:
            url: The endpoint.
            text: The text, the caption, or the label of the button that was pressed.
            sender: The person's number; one with a point is a user id whose number is hidden.
            name: The profile's name.
            media: Bytes and type of a file; it can then be downloaded.
            button: The id of the button that was pressed.
            message_id: The message's id; a new one by default.
            raw: The whole payload (or body bytes) instead.
            fields: The message itself by its own fields (``type`` and what goes with it), or
                more of it, such as ``context``.
        """
        message = self._person(sender, message_id)
        if "type" not in fields:
            message.update(self._said(text, media, button))
        message.update(fields)
        return await self._post_value({"messages": [message]}, sender, name, url, raw)

    def _said(
        self, text: str, media: tuple[bytes, str] | None, button: str | None
    ) -> dict[str, Any]:
        if media is not None:
            data, mime = media
            family = mime.partition("/")[0]
            kind = family if family in ("image", "audio", "video") else "document"
            about: dict[str, Any] = {"id": self.keep(data, mime), "mime_type": mime}
            about["sha256"] = hashlib.sha256(data).hexdigest()
            if text and kind != "audio":
                about["caption"] = text
            return {"type": kind, kind: about}
        if button is not None:
            reply = {"type": "button_reply", "button_reply": {"id": button, "title": text}}
            return {"type": "interactive", "interactive": reply}
        return {"type": "text", "text": {"body": text}}

    def _person(self, sender: str, message_id: str | None) -> dict[str, Any]:
        return {
            "from_user_id" if "." in sender else "from": sender,
            "id": message_id or self.new_id("wamid.in"),
            "timestamp": str(self.tick() // 1000),
        }

    async def reaction(
        self,
        url: str | None = None,
        *,
        message_id: str,
        emoji: str = "\U0001f44d",
        sender: str = "14155550100",
    ) -> WebhookAnswer:
        """Post a reaction to a message; an empty emoji takes it back."""
        reaction = {"message_id": message_id, **({"emoji": emoji} if emoji else {})}
        return await self.receive(url, sender=sender, type="reaction", reaction=reaction)

    async def edit(
        self, url: str | None = None, *, message_id: str, text: str, sender: str = "14155550100"
    ) -> WebhookAnswer:
        """Post that a person changed a message of theirs."""
        new = {"type": "text", "text": {"body": text}}
        edit = {"original_message_id": message_id, "message": new}
        return await self.receive(url, sender=sender, type="edit", edit=edit)

    async def revoke(
        self, url: str | None = None, *, message_id: str, sender: str = "14155550100"
    ) -> WebhookAnswer:
        """Post that a person took a message back."""
        revoke = {"original_message_id": message_id}
        return await self.receive(url, sender=sender, type="revoke", revoke=revoke)

    async def status(
        self,
        message_id: str,
        status: str = "delivered",
        url: str | None = None,
        *,
        error: int | None = None,
    ) -> WebhookAnswer:
        """Post what became of a message: sent, delivered, read, played or failed.

        Args:
            message_id: The message.
            status: What became of it.
            url: The endpoint.
            error: The code of a failure; 131047 by default.
        """
        to = self.recipient_of(message_id, "14155550100")
        said: dict[str, Any] = {
            "id": message_id,
            "status": status,
            "timestamp": str(self.tick() // 1000),
            "recipient_id": to,
        }
        if status == "failed":
            code = error or 131047
            title, details = _FAILURES.get(code, ("Message failed", ""))
            about = {"details": details} if details else {}
            said["errors"] = [
                {"code": code, "title": title, "message": title, "error_data": about}
            ]
        return await self._post_value({"statuses": [said]}, None, "", url, None)

    async def _post_value(
        self,
        value: dict[str, Any],
        sender: str | None,
        name: str,
        url: str | None,
        raw: Any,
    ) -> WebhookAnswer:
        if sender is not None:
            key = "user_id" if "." in sender else "wa_id"
            value = {"contacts": [{"profile": {"name": name}, key: sender}], **value}
        value = {
            "messaging_product": "whatsapp",
            "metadata": {
                "display_phone_number": self._number,
                "phone_number_id": self._number_id,
            },
            **value,
        }
        entry = {"id": "333", "changes": [{"field": "messages", "value": value}]}
        whole = {"object": "whatsapp_business_account", "entry": [entry]}
        return await self.deliver(url, raw or whole)
