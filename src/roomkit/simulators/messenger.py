"""Facebook Messenger: the Send API, and the callbacks of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from roomkit.simulators._base import SentMessage, SimReply
from roomkit.simulators._graph import (
    GraphAccount,
    GraphSimulator,
    each,
    link_of,
    only_keys,
    require,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.simulators._base import SimRequest, WebhookAnswer

_PURPOSES = {"RESPONSE", "UPDATE", "MESSAGE_TAG", "UTILITY"}
_ACTIONS = {"typing_on", "typing_off", "mark_seen"}
_FREE_OF_WINDOW = {"MESSAGE_TAG", "UTILITY"}
_KINDS = {"image", "audio", "video", "file", "template"}


class MessengerSimulator(GraphSimulator):
    """A page that anybody may write from.

    Args:
        access_token: The page's token.
        page_id: The page.
        account: ``app_secret`` and ``verify_token`` of the app, ``callback_url`` for callbacks
            that name no URL, and ``port``; 0 takes a free one.

    Attributes:
        outside_window: People who have not written for 24 hours: they get tagged messages only.
        actions: ``(recipient, sender_action)`` in the order they came.
    """

    vendor: ClassVar[str] = "messenger"
    codes: ClassVar[dict[int, int]] = {  # type: ignore[misc]
        400: 100,
        401: 190,
        403: 200,
        404: 803,
        429: 613,
        500: 2,
        503: 2,
    }

    def __init__(
        self,
        *,
        access_token: str = "EAAsim-page-token",
        page_id: str = "111",
        **account: Unpack[GraphAccount],
    ) -> None:
        super().__init__(access_token=access_token, **account)
        self._page = page_id
        self.actions: list[tuple[str, str]] = []

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments for ``MessengerConfig``."""
        return {
            "page_access_token": self._token,
            "app_secret": self._secret,
            "verify_token": self._verify_token,
            "api_base": self.api_base,
        }

    async def serve(self, request: SimRequest, path: list[str]) -> SimReply:
        """Take a message or a sender action."""
        known = len(path) == 2 and path[0] in ("me", self._page) and path[1] == "messages"
        require(known, "Unknown path components", code=2500, status=404)
        body = self.read_body(request)
        recipient = only_keys(body.get("recipient"), {"id"}, "recipient").get("id")
        if not (isinstance(recipient, str) and recipient.isdecimal()):
            require(False, "No matching user found", subcode=2018001)
        if "sender_action" in body:
            return self._act(body, str(recipient))
        return self._take(body, str(recipient))

    def _act(self, body: dict[str, Any], recipient: str) -> SimReply:
        only_keys(body, {"recipient", "sender_action"}, "body")
        require(body["sender_action"] in _ACTIONS, "Invalid sender_action")
        self.actions.append((recipient, body["sender_action"]))
        return SimReply.of_json({"recipient_id": recipient})

    def _take(self, body: dict[str, Any], recipient: str) -> SimReply:
        only_keys(body, {"recipient", "messaging_type", "message", "tag", "reply_to"}, "body")
        purpose = body.get("messaging_type")
        require(purpose in _PURPOSES, "Param messaging_type must be one of the known types")
        require(purpose != "MESSAGE_TAG" or body.get("tag"), "A tag is required")
        if recipient in self.outside_window and purpose not in _FREE_OF_WINDOW:
            require(
                False, "This message is sent outside of allowed window", code=10, subcode=2018278
            )
        if "reply_to" in body:
            text_of(only_keys(body["reply_to"], {"mid"}, "reply_to").get("mid"), 500, "mid")
        text, media = _message(body.get("message"))
        sent = SentMessage(self.new_id("m_"), recipient, text, media, body)
        self.sent.append(sent)
        return SimReply.of_json({"recipient_id": recipient, "message_id": sent.id})

    async def receive(
        self,
        url: str | None = None,
        *,
        text: str | None = "hello",
        sender: str = "222",
        media: Sequence[tuple[str, str]] = (),
        mid: str | None = None,
        raw: Any = None,
        **fields: Any,
    ) -> WebhookAnswer:
        """Post a message of a person.

        Args:
            url: The endpoint.
            text: The text; None leaves it out.
            sender: The person's page-scoped id.
            media: ``(type, url)`` of each attachment.
            mid: The message's id; a new one by default.
            raw: The whole payload (or body bytes) instead.
            fields: More of ``message``, such as ``quick_reply`` or ``is_echo``.
        """
        message: dict[str, Any] = {"mid": mid or self.new_id("m_in_"), **fields}
        if text is not None:
            message["text"] = text
        if media:
            message["attachments"] = [
                {"type": kind, "payload": {"url": link}} for kind, link in media
            ]
        return await self.event(url, sender=sender, message=message, raw=raw)

    async def status(
        self, message_id: str, status: str = "delivered", url: str | None = None
    ) -> WebhookAnswer:
        """Post the receipt of a message: ``delivered`` or ``read``.

        Raises:
            ValueError: Messenger has no such receipt.
        """
        if status not in ("delivered", "read"):
            raise ValueError(f"Messenger reports delivered and read, not {status!r}")
        to = self.recipient_of(message_id, "222")
        watermark = self.tick()
        if status == "read":
            return await self.event(url, sender=to, read={"watermark": watermark})
        delivery = {"mids": [message_id], "watermark": watermark}
        return await self.event(url, sender=to, delivery=delivery)

    async def postback(
        self,
        url: str | None = None,
        *,
        title: str,
        payload: str,
        sender: str = "222",
        mid: str | None = None,
    ) -> WebhookAnswer:
        """Post that a button was pressed."""
        pressed = {"title": title, "payload": payload, "mid": mid or self.new_id("m_in_")}
        return await self.event(url, sender=sender, postback=pressed)

    async def reaction(
        self,
        url: str | None = None,
        *,
        message_id: str,
        emoji: str = "\u2764",
        sender: str = "222",
    ) -> WebhookAnswer:
        """Post a reaction to a message; an empty emoji takes it back."""
        react: dict[str, Any] = {"mid": message_id, "action": "unreact"}
        if emoji:
            react.update(action="react", emoji=emoji, reaction="other")
        return await self.event(url, sender=sender, reaction=react)

    async def edit(
        self, url: str | None = None, *, message_id: str, text: str, sender: str = "222"
    ) -> WebhookAnswer:
        """Post that a person changed a message of theirs."""
        edit = {"mid": message_id, "text": text, "num_edit": 1}
        return await self.event(url, sender=sender, message_edit=edit)

    async def echo(self, url: str | None = None, *, message_id: str, text: str) -> WebhookAnswer:
        """Post one of the page's own messages back, as Meta does where echoes are subscribed."""
        return await self.event(
            url,
            sender=self._page,
            recipient="222",
            message={"mid": message_id, "text": text, "is_echo": True, "app_id": 7},
        )

    async def event(
        self,
        url: str | None = None,
        *,
        sender: str = "222",
        recipient: str | None = None,
        raw: Any = None,
        **fields: Any,
    ) -> WebhookAnswer:
        """Post any event of ``messaging``; its fields are given by name."""
        moment = self.tick()
        event = {
            "sender": {"id": sender},
            "recipient": {"id": recipient or self._page},
            "timestamp": moment,
            **fields,
        }
        entry = {"id": self._page, "time": moment, "messaging": [event]}
        return await self.deliver(url, raw or {"object": "page", "entry": [entry]})


def _message(message: Any) -> tuple[str, tuple[str, ...]]:
    """Return a message's text and media; refuse what Meta would."""
    found = only_keys(message, {"text", "attachment", "quick_replies", "metadata"}, "message")
    require(("text" in found) != ("attachment" in found), "Send either text or an attachment")
    if "quick_replies" in found:
        each(found["quick_replies"], _quick_reply, 1, 13, "quick_replies")
    if "text" in found:
        return text_of(found["text"], 2000, "message[text]"), ()
    attachment = only_keys(found["attachment"], {"type", "payload"}, "attachment")
    require(attachment.get("type") in _KINDS, "Invalid attachment type")
    if attachment["type"] == "template":
        return _template(attachment.get("payload")), ()
    payload = only_keys(attachment.get("payload"), {"url", "is_reusable"}, "payload")
    return "", (link_of(payload.get("url"), "payload[url]"),)


def _quick_reply(reply: Any) -> None:
    found = only_keys(reply, {"content_type", "title", "payload", "image_url"}, "quick_reply")
    require(found.get("content_type") == "text", "Invalid content_type")
    text_of(found.get("title"), 20, "quick_reply[title]")
    text_of(found.get("payload"), 1000, "quick_reply[payload]")


def _template(payload: Any) -> str:
    kind = payload.get("template_type") if isinstance(payload, dict) else None
    if kind == "button":
        found = only_keys(payload, {"template_type", "text", "buttons"}, "payload")
        each(found.get("buttons"), _button, 1, 3, "buttons")
        return text_of(found.get("text"), 640, "payload[text]")
    require(kind == "generic", "Unknown template_type")
    found = only_keys(payload, {"template_type", "elements"}, "payload")
    return "\n".join(each(found.get("elements"), _element, 1, 10, "elements"))


def _element(element: Any) -> str:
    found = only_keys(element, {"title", "subtitle", "image_url", "buttons"}, "element")
    require(len(found) > 1, "An element needs more than a title")
    if "subtitle" in found:
        text_of(found["subtitle"], 80, "element[subtitle]")
    if "image_url" in found:
        link_of(found["image_url"], "element[image_url]")
    if "buttons" in found:
        each(found["buttons"], _button, 1, 3, "buttons")
    return text_of(found.get("title"), 80, "element[title]")


def _button(button: Any) -> None:
    found = only_keys(button, {"type", "title", "url", "payload"}, "button")
    text_of(found.get("title"), 20, "button[title]")
    kind = found.get("type")
    require(kind in ("web_url", "postback", "phone_number"), "Invalid button type")
    if kind == "web_url":
        link_of(found.get("url"), "button[url]")
    else:
        text_of(found.get("payload"), 1000, "button[payload]")
