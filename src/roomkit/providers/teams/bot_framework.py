"""A Teams bot over the Bot Connector's REST API; no SDK of Microsoft's is needed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._clock import SystemClock
from roomkit._http import Refusal, Reply, VendorHTTP, answered, failed, refused
from roomkit._lazy import require
from roomkit.exceptions import ProviderDeliveryError, WebhookRefused
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import ChannelMediaType
from roomkit.providers.teams._activity import activity_of
from roomkit.providers.teams._connector import TeamsConnector
from roomkit.providers.teams._jwt import Authenticator, KeySet
from roomkit.providers.teams.base import TeamsProvider
from roomkit.providers.teams.conversation_store import InMemoryConversationReferenceStore
from roomkit.providers.teams.webhook import TeamsWebhook, reference_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from roomkit._clock import Clock
    from roomkit.models.content import EventContent
    from roomkit.models.event import RoomEvent
    from roomkit.providers.teams.config import TeamsConfig
    from roomkit.providers.teams.conversation_store import ConversationReferenceStore
    from roomkit.providers.webhook import WebhookHandler

logger: logging.Logger = logging.getLogger("roomkit.providers.teams")

_CAN = ChannelCapabilities(
    media_types=[ChannelMediaType.TEXT, ChannelMediaType.RICH],
    max_length=28000,
    supports_threading=True,
    supports_edit=True,
    supports_delete=True,
    supports_rich_text=True,
    supports_typing=True,
    supports_buttons=True,
    supports_cards=True,
    supports_quick_replies=True,
)


class BotFrameworkTeamsProvider(VendorHTTP, TeamsProvider):
    """Writes into Teams conversations, answers and unasked.

    A bot may only write where it has been: every verified activity that comes in leaves a
    reference of its conversation in ``conversation_store``, and ``create_*_conversation``
    open new ones. Keep the store in a database to reach conversations after a restart.

    Args:
        config: The bot.
        conversation_store: Remembers conversations; by default as long as the process lives.
        client: An httpx client to use instead of one of our own.
        transport: What carries our own client's requests, for tests.
        clock: Times tokens and keys; the system's by default.

    Raises:
        MissingDependencyError: (an ImportError) PyJWT or httpx is not installed.
    """

    timeouts_safe: ClassVar[frozenset[int]] = frozenset({504})

    def __init__(
        self,
        config: TeamsConfig,
        *,
        conversation_store: ConversationReferenceStore | None = None,
        client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        jwt = require("jwt", user=type(self).__name__, extra="teams", dist="PyJWT")
        # PyJWT checks RSA signatures with it; alone it cannot.
        require("cryptography", user=type(self).__name__, extra="teams")
        self._open(config, client=client, transport=transport, extra="teams")
        clock = clock or SystemClock()
        self._conversation_store = conversation_store or InMemoryConversationReferenceStore()
        self._adapter = TeamsConnector(config, self._call, clock)
        self._authenticator = Authenticator(config, jwt, KeySet(config, self._fetch, clock))
        self._handler = TeamsWebhook(self._authenticator, self.save_conversation_reference)
        if config.tenant_id == "common":
            logger.warning(
                "tenant_id is 'common': new bots are single-tenant, and theirs must be set"
            )

    @property
    def adapter(self) -> TeamsConnector:
        """The connector's REST API."""
        return self._adapter

    @property
    def conversation_store(self) -> ConversationReferenceStore:
        """Where conversations are remembered."""
        return self._conversation_store

    def capabilities(self) -> ChannelCapabilities:
        """Return text, formatted text, buttons and cards; a bot cannot react."""
        return _CAN

    def webhook(self) -> WebhookHandler:
        """Return the reader of activities; it checks their tokens."""
        return self._handler

    @answered
    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        """Send the content of an event to a conversation; see ``Provider.send``.

        ``event.metadata["mentions"]`` (``{"id", "name"}`` each) notifies people. A
        conversation the bot was never in gives ``no_conversation_reference``.
        """
        activity = activity_of(event.content, event.metadata)
        if activity is None:
            return refused("empty_message")
        service = await self._service_of(to)
        sent = await self._retrying_token(lambda: self._adapter.send(service, to, activity))
        return ProviderResult(success=True, provider_message_id=sent)

    @answered
    async def edit_message(
        self, to: str, message_id: str, content: EventContent
    ) -> ProviderResult:
        """Change a message of the bot; see ``Provider.edit_message``."""
        activity = activity_of(content)
        if activity is None:
            return refused("empty_message")
        service = await self._service_of(to)
        sent = await self._retrying_token(
            lambda: self._adapter.update(service, to, message_id, activity)
        )
        return ProviderResult(success=True, provider_message_id=sent)

    @answered
    async def delete_message(self, to: str, message_id: str) -> ProviderResult:
        """Take a message of the bot back; see ``Provider.delete_message``."""
        service = await self._service_of(to)
        await self._retrying_token(lambda: self._adapter.delete(service, to, message_id))
        return ProviderResult(success=True, provider_message_id=message_id)

    async def send_typing(self, to: str, *, is_typing: bool = True) -> bool:
        """Show "typing" for some seconds; there is no signal that takes it back.

        Raises:
            ProviderDeliveryError: It was not taken.
        """
        if not is_typing:
            return False
        await self._adapter.send(await self._service_of(to), to, {"type": "typing"})
        return True

    async def save_conversation_reference(self, activity_dict: dict[str, Any]) -> None:
        """Remember the conversation of an incoming activity, to write into it later.

        Nothing is kept of an activity without a conversation.
        """
        reference = reference_of(activity_dict)
        if reference is not None:
            await self._conversation_store.save(reference["conversation"]["id"], reference)

    async def authenticate(self, auth_header: str, activity: dict[str, Any]) -> bool:
        """Tell whether an incoming activity really comes from Teams.

        Args:
            auth_header: The Authorization header.
            activity: The body, parsed.

        Raises:
            ProviderError: The keys cannot be fetched now.
        """
        try:
            self._authenticator.match(await self._authenticator.claims(auth_header), activity)
        except WebhookRefused:
            return False
        return True

    async def create_channel_conversation(
        self,
        service_url: str,
        channel_id: str,
        *,
        tenant_id: str | None = None,
        text: str = "Hello",
    ) -> str:
        """Open a thread in a team's channel and return the conversation's id.

        Args:
            service_url: The connector's URL for the tenant, of an earlier activity.
            channel_id: The team's channel, ``19:...``.
            tenant_id: The tenant; the config's by default.
            text: The thread's first message, which Teams insists on.

        Raises:
            RuntimeError: It could not be opened.
        """
        parameters: dict[str, Any] = {
            "isGroup": True,
            "channelData": {"channel": {"id": channel_id}},
            "activity": {"type": "message", "text": text, "textFormat": "plain"},
        }
        return await self._create(service_url, parameters, channel_id, tenant_id, "channel")

    async def create_personal_conversation(
        self, service_url: str, user_id: str, *, tenant_id: str | None = None
    ) -> str:
        """Open the conversation with one person and return its id.

        The bot must be installed for that person; nothing is written yet.

        Args:
            service_url: The connector's URL for the tenant, of an earlier activity.
            user_id: The person, ``29:...``.
            tenant_id: The tenant; the config's by default.

        Raises:
            RuntimeError: It could not be opened.
        """
        parameters: dict[str, Any] = {"isGroup": False, "members": [{"id": user_id}]}
        return await self._create(service_url, parameters, user_id, tenant_id, "personal")

    async def _create(
        self,
        service_url: str,
        parameters: dict[str, Any],
        whom: str,
        tenant_id: str | None,
        kind: str,
    ) -> str:
        bot = {"id": f"28:{self._config.app_id}"}
        tenant = tenant_id or self._config.tenant_id
        request = {**parameters, "bot": bot, "tenantId": tenant}
        try:
            made = await self._retrying_token(
                lambda: self._adapter.create_conversation(service_url, request)
            )
        except ProviderDeliveryError as exc:
            raise RuntimeError(f"no conversation with {whom}: {exc.code}") from exc
        conversation = {
            "id": made["id"],
            "conversationType": kind,
            "isGroup": kind == "channel",
            "tenantId": tenant,
        }
        # The connector may name a better URL; it counts only where a token may go.
        better = made.get("serviceUrl")
        allowed = isinstance(better, str) and self._config.allows_service(better)
        reference = {
            "activityId": made.get("activityId"),
            "bot": bot,
            "conversation": conversation,
            "channelId": "msteams",
            "serviceUrl": better if allowed else service_url,
        }
        await self._conversation_store.save(made["id"], reference)
        return str(made["id"])

    async def _service_of(self, conversation_id: str) -> str:
        reference = await self._conversation_store.get(conversation_id)
        service = None if reference is None else reference.get("serviceUrl")
        if not isinstance(service, str):
            raise failed(
                "no_conversation_reference",
                retryable=False,
                provider=self.name,
                details={"conversation_id": conversation_id},
            )
        return service

    async def _retrying_token[T](self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask; once more with a new token when the connector no longer knows this one."""
        try:
            return await ask()
        except ProviderDeliveryError as exc:
            if exc.status_code != 401:
                raise
        self._adapter.forget_token()
        return await ask()

    async def _fetch(self, url: str) -> Any:
        return (await self._call("get", url)).json

    def _refusal(self, reply: Reply) -> Refusal | None:
        """Return what the connector, or the login, says went wrong."""
        login = reply.find("error_description")
        if login is not None:
            # The description quotes ids of the tenant; its first word is the AADSTS code.
            code = str(login).partition(":")[0][:40]
            return Refusal("auth_error", vendor_code=code, message=str(reply.find("error")))
        return Refusal(
            vendor_code=reply.find("error", "code"),
            message=reply.find("error", "message"),
            retryable=True if reply.status == 412 else None,
        )
