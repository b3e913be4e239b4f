"""A stand-in for Microsoft Teams: login, keys, the Bot Connector and what it sends to a bot.

Source: Microsoft's "Bot Connector REST API reference" and "Authentication with the Bot
Connector API".
"""

from __future__ import annotations

import base64
import json
import re
import time
from typing import TYPE_CHECKING, Any

from roomkit._lazy import require
from roomkit.simulators._base import SentMessage, SimReply, SimRequest, VendorSimulator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roomkit.simulators._base import Step, WebhookAnswer

_ISSUER = "https://api.botframework.com"
_ACTIVITY = re.compile(r"/v3/conversations/([^/]+)/activities(?:/([^/]+))?")
_KEY_ID = "sim-key-1"
_CODES = {400: "BadSyntax", 403: "BotNotInConversationRoster", 404: "ConversationNotFound"}


class TeamsSimulator(VendorSimulator):
    """One bot in one tenant.

    Args:
        app_id: The bot's application id.
        app_password: Its secret.
        tenant_id: Its tenant.
        port: The port; 0 takes a free one.

    Attributes:
        conversations: The ids a bot may write into.
        edited: Activity id to the activity it was changed to.
        deleted: The activities taken back.
        tokens: How many tokens were given out.
    """

    vendor = "teams"

    def __init__(
        self,
        *,
        app_id: str = "11111111-2222-3333-4444-555555555555",
        app_password: str = "sim-teams-password",  # nosec B107 - nobody's
        tenant_id: str = "22222222-3333-4444-5555-666666666666",
        port: int = 0,
    ) -> None:
        super().__init__(port=port)
        self.conversations: set[str] = set()
        self.edited: dict[str, dict[str, Any]] = {}
        self.deleted: list[str] = []
        self.tokens: int = 0
        self._app_id = app_id
        self._app_password = app_password
        self._tenant_id = tenant_id
        self._valid: set[str] = set()
        self._key: Any = None

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments for ``TeamsConfig``."""
        return {
            "app_id": self._app_id,
            "app_password": self._app_password,
            "tenant_id": self._tenant_id,
            "api_base": self.api_base,
        }

    @property
    def service_url(self) -> str:
        """The ``serviceUrl`` of the tenant's activities."""
        return f"{self.api_base}/amer/"

    def revoke_tokens(self) -> None:
        """Let no token given out so far count any more."""
        self._valid.clear()

    def scripted(self, request: SimRequest) -> bool:
        """Misfortune strikes at the connector, not at login and keys."""
        return "/v3/" in request.path

    async def handle(self, request: SimRequest) -> SimReply:
        """Answer as login, metadata and connector do."""
        if request.path.endswith("/oauth2/v2.0/token"):
            return self._login(request)
        if request.path == "/v1/.well-known/openidconfiguration":
            return SimReply.of_json({"jwks_uri": f"{self.api_base}/v1/.well-known/keys"})
        if request.path == "/v1/.well-known/keys":
            return SimReply.of_json({"keys": [self._public_key()]})
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self._valid:
            return _error(401, "Unauthorized", "the token is not valid")
        path = request.path.removeprefix("/amer")
        if path == "/v3/conversations" and request.method == "POST":
            return self._create(request)
        found = _ACTIVITY.fullmatch(path)
        if found is None:
            return _error(404, "ResourceNotFound", "no such resource")
        return self._activity(request, found[1], found[2])

    def failure(self, step: Step) -> SimReply:
        """Return an error as the connector gives it."""
        headers = {}
        if step.retry_after is not None:
            headers["retry-after"] = f"{step.retry_after:.0f}"
        code = step.code or _CODES.get(step.status, "ServiceError")
        return _error(step.status, code, "scripted", headers)

    def _login(self, request: SimRequest) -> SimReply:
        form = request.form
        expected = {
            "grant_type": ["client_credentials"],
            "client_id": [self._app_id],
            "client_secret": [self._app_password],
            "scope": ["https://api.botframework.com/.default"],
        }
        if request.path != f"/{self._tenant_id}/oauth2/v2.0/token" or form != expected:
            text = "AADSTS700016: the application was not found in the directory"
            return SimReply.of_json(
                {"error": "unauthorized_client", "error_description": text}, 400
            )
        self.tokens += 1
        token = f"sim-token-{self.tokens}"
        self._valid.add(token)
        return SimReply.of_json({"expires_in": 3600, "access_token": token})

    def _create(self, request: SimRequest) -> SimReply:
        body = request.json
        if not body.get("bot") or not body.get("tenantId"):
            return _error(400, "BadSyntax", "bot and tenantId are needed")
        if body.get("isGroup"):
            channel = body.get("channelData", {}).get("channel", {}).get("id")
            root = body.get("activity")
            if not channel or not root or not root.get("text"):
                return _error(400, "BadSyntax", "a channel and a first message are needed")
            activity = self.new_id("a-")
            conversation = f"{channel};messageid={activity}"
            self.sent.append(SentMessage(activity, conversation, root["text"], data=root))
        else:
            if len(body.get("members") or ()) != 1:
                return _error(400, "BadSyntax", "exactly one member is needed")
            activity, conversation = "", self.new_id("a:")
        self.conversations.add(conversation)
        answer = {"id": conversation, "serviceUrl": self.service_url}
        return SimReply.of_json({**answer, "activityId": activity} if activity else answer, 201)

    def _activity(
        self, request: SimRequest, conversation: str, activity_id: str | None
    ) -> SimReply:
        if conversation not in self.conversations:
            return _error(404, "ConversationNotFound", "the bot was never there")
        if request.method == "DELETE" and activity_id:
            self.deleted.append(activity_id)
            return SimReply()
        body = request.json
        if body.get("type") not in ("message", "typing"):
            return _error(400, "BadSyntax", "the activity has no type")
        empty = not body.get("text") and not body.get("attachments")
        if body["type"] == "message" and empty:
            return _error(400, "BadSyntax", "the activity is empty")
        if request.method == "PUT" and activity_id:
            self.edited[activity_id] = body
            return SimReply.of_json({"id": activity_id})
        new = self.new_id("a-")
        if body["type"] == "message":
            media = tuple(
                a["contentUrl"] for a in body.get("attachments", ()) if "contentUrl" in a
            )
            self.sent.append(SentMessage(new, conversation, body.get("text", ""), media, body))
        return SimReply.of_json({"id": new}, 201)

    # -- towards the bot -----------------------------------------------------------------

    def activity(
        self,
        kind: str = "message",
        *,
        sender: str = "29:person",
        sender_name: str = "Ana",
        conversation: str = "a:personal",
        conversation_type: str = "personal",
        **fields: Any,
    ) -> dict[str, Any]:
        """Return an activity of the tenant; the bot may write into its conversation then."""
        self.conversations.add(conversation)
        return {
            "type": kind,
            "id": self.new_id("in-"),
            "timestamp": "2026-01-01T00:00:00.000Z",
            "channelId": "msteams",
            "serviceUrl": self.service_url,
            "from": {"id": sender, "name": sender_name, "aadObjectId": "aad-1"},
            "recipient": {"id": f"28:{self._app_id}", "name": "Bot"},
            "conversation": {"id": conversation, "conversationType": conversation_type},
            "channelData": {"tenant": {"id": self._tenant_id}},
            **fields,
        }

    async def receive(
        self,
        url: str,
        text: str | None = None,
        *,
        sender: str = "29:person",
        raw: Mapping[str, Any] | None = None,
        claims: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> WebhookAnswer:
        """Send an activity to the bot's endpoint, with a token for it.

        Args:
            url: The endpoint.
            text: What a person says.
            sender: The person.
            raw: A whole activity to send instead.
            claims: Claims of the token other than the right ones.
            fields: Further fields of ``activity``.
        """
        activity = dict(raw) if raw is not None else self.activity(sender=sender, **fields)
        if text is not None:
            activity["text"] = text
        body = json.dumps(activity).encode()
        token = self.token(service_url=activity.get("serviceUrl"), **(claims or {}))
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        return await self.post(url, body, headers)

    async def react(self, url: str, message_id: str, reaction: str = "like") -> WebhookAnswer:
        """Let the person react to a message."""
        added = [{"type": reaction}]
        activity = self.activity("messageReaction", replyToId=message_id, reactionsAdded=added)
        return await self.receive(url, raw=activity)

    def token(self, *, service_url: str | None = None, **claims: Any) -> str:
        """Return a token as the connector makes them (RS256, RFC 7519)."""
        now = int(time.time())
        said = {
            "iss": _ISSUER,
            "aud": self._app_id,
            "nbf": now - 60,
            "exp": now + 3600,
            "serviceurl": service_url or self.service_url,
            **claims,
        }
        head = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        signed = f"{_part(head)}.{_part(said)}"
        return f"{signed}.{_url_base64(self._sign(signed.encode()))}"

    def _private_key(self) -> Any:
        if self._key is None:
            name = "cryptography.hazmat.primitives.asymmetric.rsa"
            rsa = require(name, user="TeamsSimulator", extra="teams", dist="cryptography")
            self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return self._key

    def _sign(self, data: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        signature: bytes = self._private_key().sign(data, PKCS1v15(), SHA256())
        return signature

    def _public_key(self) -> dict[str, Any]:
        """Return the key as JWK (RFC 7517)."""
        numbers = self._private_key().public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "kid": _KEY_ID,
            "n": _url_base64(numbers.n.to_bytes(256, "big")),
            "e": _url_base64(numbers.e.to_bytes(3, "big")),
            "endorsements": ["msteams"],
        }


def _part(data: Mapping[str, Any]) -> str:
    return _url_base64(json.dumps(data, separators=(",", ":")).encode())


def _url_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _error(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> SimReply:
    return SimReply.of_json({"error": {"code": code, "message": message}}, status, headers)
