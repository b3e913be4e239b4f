"""RCS through Telnyx, with SMS and MMS to fall back on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from roomkit._http import answered, refused
from roomkit.exceptions import ProviderDeliveryError
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import ChannelMediaType
from roomkit.providers._parts import others_apart
from roomkit.providers.rcs.base import RCSDeliveryResult, RCSProvider
from roomkit.providers.sms.meta import unsendable_reason
from roomkit.providers.telnyx import _api
from roomkit.providers.telnyx._agent import AgentMessage, agent_messages
from roomkit.providers.telnyx._provider import TelnyxSender
from roomkit.providers.telnyx.config import TelnyxRCSConfig
from roomkit.providers.telnyx.webhook import TelnyxWebhook, parse_telnyx_rcs_webhook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit._http import Reply
    from roomkit.models.event import RoomEvent

__all__ = ["TelnyxRCSConfig", "TelnyxRCSProvider", "parse_telnyx_rcs_webhook"]

_CAPABILITIES = ChannelCapabilities(
    media_types=[
        ChannelMediaType.TEXT,
        ChannelMediaType.RICH,
        ChannelMediaType.MEDIA,
        ChannelMediaType.AUDIO,
        ChannelMediaType.VIDEO,
    ],
    supports_read_receipts=True,
    supports_typing=True,
    supports_buttons=True,
    max_buttons=11,
    supports_quick_replies=True,
    supports_cards=True,
    supports_media=True,
    supports_audio=True,
    supports_video=True,
)


class TelnyxRCSProvider(TelnyxSender[TelnyxRCSConfig], RCSProvider):
    """Sends RCS messages by Telnyx' API v2; reads and verifies its callbacks.

    Buttons, suggested answers and cards of a RichContent are shown as such. Text with files
    is several messages. Telnyx recognises repeats of a request, so a send of unclear outcome
    may be repeated.

    Args:
        config: The account and its agent.
        public_key: The account's public key (base64), to verify callbacks with;
            without one they count as unsigned.
        tolerance_seconds: How old, or how far ahead, a signature checked by
            ``verify_signature`` may be; None for any. ``webhook()`` always allows 300.
        client: An HTTP client to use instead of one of its own; it is not closed.
        transport: What carries the requests, for tests.

    Raises:
        MissingDependencyError: (also an ImportError) httpx is not installed.
    """

    sends_idempotency_key = True
    _code_prefix = "telnyx_"
    _capabilities = _CAPABILITIES

    def _reader(self) -> TelnyxWebhook:
        return TelnyxWebhook(self._keys, parse_telnyx_rcs_webhook)

    @property
    def sender_id(self) -> str:
        """The agent messages come from."""
        return self._config.agent_id

    async def send(self, event: RoomEvent, to: str, *, fallback: bool = True) -> RCSDeliveryResult:
        """Send an event's files, text, buttons and cards.

        Args:
            event: What to send.
            to: The recipient's number in E.164.
            fallback: Whether an SMS or MMS from the config's ``fallback_from`` may stand in.

        Returns:
            Telnyx' id of the message; of several the first's, the others in
            ``metadata["additional_message_ids"]``. Errors: ``empty_message``,
            ``unsupported_media``, ``telnyx_<code>``, ``invalid_request``, ``auth_error``,
            ``rate_limit``, ``timeout``, ``invalid_response``, ``http_<n>``.
        """
        kinds: list[str] = []
        result = others_apart(await self._deliver(event, to, fallback, kinds))
        stood_in = any(kind != "RCS" for kind in kinds)
        return RCSDeliveryResult(
            success=result.success,
            provider_message_id=result.provider_message_id,
            error=result.error,
            metadata=result.metadata,
            channel_used="sms" if stood_in else "rcs",
            fallback=stood_in,
        )

    @answered
    async def _deliver(
        self, event: RoomEvent, to: str, fallback: bool, kinds: list[str]
    ) -> ProviderResult:
        """Send the messages an event is; ``kinds`` gets the way each of them took."""
        messages = agent_messages(event.content)
        if not messages:
            return refused(unsendable_reason(event.content))
        sender = self._config.fallback_from if fallback else None

        async def post(message: AgentMessage, part_key: str | None) -> ProviderResult:
            body = self._body(to, {"content_message": message.content})
            if sender:
                body |= message.fallback(sender)
            reply = await self._post(body, part_key)
            kinds.append(_api.text_of(reply.find("data", "type")) or "RCS")
            message_id = _api.text_of(reply.find("data", "id"))
            return ProviderResult(success=True, provider_message_id=message_id)

        return await self._ledger.send(messages, post)

    def _body(self, to: str, agent_message: dict[str, Any]) -> dict[str, Any]:
        """Return the request for one message or event of the agent."""
        return {
            "agent_id": self._config.agent_id,
            "to": to,
            "type": "RCS",
            "agent_message": agent_message,
        }

    async def _post(self, body: dict[str, Any], part_key: str | None) -> Reply:
        reply = await self._ask("post", "/v2/messages/rcs", body, part_key=part_key)
        if not isinstance(reply.find("data"), dict):
            raise self._unreadable(reply)
        return reply

    async def check_capability(self, phone_number: str) -> bool:
        """Tell whether a phone can receive RCS from this agent; False when Telnyx cannot say.

        Args:
            phone_number: The number in E.164.
        """
        agent, phone = quote(self._config.agent_id, safe=""), quote(phone_number, safe="+")
        try:
            reply = await self._ask("get", f"/v2/messaging/rcs/capabilities/{agent}/{phone}")
        except ProviderDeliveryError:
            return False
        data = reply.find("data")
        if not isinstance(data, dict):
            return False
        return bool(data["rcs_enabled"] if "rcs_enabled" in data else data.get("features"))

    async def send_typing(self, to: str, *, is_typing: bool = True) -> bool:
        """Show that the agent is typing; it ends by itself, and cannot be taken back.

        Returns:
            False for ``is_typing=False``.

        Raises:
            ProviderDeliveryError: Telnyx refused it or could not be reached.
        """
        if is_typing:
            await self._post(self._body(to, {"event": {"event_type": "IS_TYPING"}}), None)
        return is_typing

    async def mark_read(self, message_ids: Sequence[str], chat: str, sender: str) -> bool:
        """Tell a person that the agent has read the messages.

        Telnyx' event names no message: it holds for all the person has sent.

        Returns:
            False without message ids.

        Raises:
            ProviderDeliveryError: Telnyx refused it or could not be reached.
        """
        if message_ids:
            body = self._body(sender or chat, {"event": {"event_type": "READ"}})
            await self._post(body, None)
        return bool(message_ids)
