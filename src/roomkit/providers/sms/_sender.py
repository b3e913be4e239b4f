"""What providers of SMS vendors have in common that take a text and the URLs of files."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from roomkit._http import answered, refused
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType
from roomkit.providers._sender import VendorSender
from roomkit.providers.sms.base import SMSProvider
from roomkit.providers.sms.meta import extract_media_urls, extract_text_body, unsendable_reason
from roomkit.providers.webhook import WebhookHandler

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent


class SMSAccount(Protocol):
    """A vendor's config, as far as all of them agree."""

    @property
    def from_number(self) -> str:
        """The number messages come from."""


class VendorSMS[C: SMSAccount, W: WebhookHandler](VendorSender[C, W], SMSProvider):
    """The sending half of an SMS provider.

    A subclass says what its requests are (``_requests``) and posts them one by one (``_post``);
    its ``send`` calls ``_deliver`` and says what the vendor answers.
    """

    _ids_key: ClassVar[str] = "message_ids"
    """Where the metadata holds the vendor's ids of several messages."""

    _capabilities = ChannelCapabilities(
        media_types=[
            ChannelMediaType.TEXT,
            ChannelMediaType.MEDIA,
            ChannelMediaType.AUDIO,
            ChannelMediaType.VIDEO,
        ],
        supports_media=True,
        supports_audio=True,
        supports_video=True,
    )

    @property
    def from_number(self) -> str:
        """The number messages come from unless ``send`` is told another."""
        return self._config.from_number

    @answered
    async def _deliver(self, event: RoomEvent, to: str, from_: str | None) -> ProviderResult:
        """Send the messages an event is and return one answer; see ``PartLedger.send``."""
        text = extract_text_body(event.content)
        media = extract_media_urls(event.content, http_only=True)
        if not text and not media:
            return refused(unsendable_reason(event.content))
        requests = self._requests(text, media, from_ or self.from_number, to)
        return await self._ledger.send(requests, self._post, ids_key=self._ids_key)

    @abstractmethod
    def _requests(self, text: str, media: list[str], sender: str, to: str) -> list[dict[str, Any]]:
        """Return the vendor's requests, at least one; there is a text or a file's URL."""

    @abstractmethod
    async def _post(self, request: dict[str, Any], part_key: str | None) -> ProviderResult:
        """Send one of them; see ``PartLedger.send``."""
