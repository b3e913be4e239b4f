"""What the simulators of Messenger and WhatsApp share: Meta's Graph API."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlencode

from roomkit.simulators._base import SimReply, VendorSimulator

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.simulators._base import SimRequest, Step, WebhookAnswer

SECOND = 1000
START = 1_735_689_600_000
"""The first event's time, in milliseconds: 1 January 2025."""

_VERSION = re.compile(r"v\d{1,2}\.\d")
_SECONDS_A_MINUTE = 60


class GraphRefusal(Exception):
    """What Graph would refuse.

    Attributes:
        reply: Its answer.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: int = 400,
        subcode: int | None = None,
        details: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reply = graph_error(code, message, status=status, subcode=subcode, details=details)


def graph_error(
    code: int,
    message: str,
    *,
    status: int = 400,
    subcode: int | None = None,
    details: str | None = None,
    headers: dict[str, str] | None = None,
) -> SimReply:
    """Return an error in Graph's shape."""
    error: dict[str, Any] = {
        "message": f"(#{code}) {message}",
        "type": "OAuthException",
        "code": code,
        "fbtrace_id": "AbCdEf0123456789",
    }
    if subcode is not None:
        error["error_subcode"] = subcode
    if details is not None:
        error["error_data"] = {"messaging_product": "whatsapp", "details": details}
    return SimReply.of_json({"error": error}, status, headers)


def require(fine: object, message: str, *, code: int = 100, **more: Any) -> None:
    """Refuse what is not fine."""
    if not fine:
        raise GraphRefusal(code, message, **more)


def text_of(value: Any, limit: int, what: str) -> str:
    """Return a text of 1 to ``limit`` characters; refuse anything else."""
    require(isinstance(value, str) and value, f"Param {what} must be a non-empty string")
    require(len(value) <= limit, f"Length of param {what} must be no more than {limit}")
    return str(value)


def only_keys(value: Any, allowed: set[str], what: str) -> dict[str, Any]:
    """Return an object that has no keys but these; refuse anything else."""
    require(isinstance(value, dict), f"Param {what} must be an object")
    strange = sorted(set(value) - allowed)
    require(not strange, f"Unexpected key {strange[:1]} on param {what}")
    return dict(value)


def link_of(value: Any, what: str) -> str:
    """Return a URL Meta could fetch; refuse anything else."""
    require(
        isinstance(value, str) and value.startswith(("http://", "https://")),
        f"Param {what} must be a valid URI",
    )
    return str(value)


class GraphAccount(TypedDict, total=False):
    """What every door of Graph is opened with; see ``GraphSimulator``."""

    app_secret: str
    verify_token: str
    callback_url: str | None
    port: int


class GraphSimulator(VendorSimulator):
    """A door of the Graph API: its token, its errors, its signed callbacks.

    Args:
        access_token: The token calls must carry, as bearer or in the query.
        app_secret: What callbacks are signed with.
        verify_token: The word of the challenge.
        callback_url: Where callbacks go that name no URL.
        port: The port; 0 takes a free one.

    Attributes:
        statuses_url: As ``callback_url``; may be changed.
        outside_window: People who have not written for 24 hours; they get little.
    """

    codes: dict[int, int]
    """The Graph code that goes with an HTTP status."""

    def __init__(
        self,
        *,
        access_token: str,
        app_secret: str = "0123456789abcdef0123456789abcdef",
        verify_token: str = "sim-verify-word",
        callback_url: str | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(port=port)
        self._token = access_token
        self._secret = app_secret
        self._verify_token = verify_token
        self.statuses_url = callback_url
        self.outside_window: set[str] = set()
        self._ticks = 0

    async def handle(self, request: SimRequest) -> SimReply:
        """Check the token and the path, then do what is asked."""
        try:
            self._check_token(request)
            version, *rest = request.path.strip("/").split("/")
            require(_VERSION.fullmatch(version), "Unknown path components", code=2500, status=404)
            return await self.serve(request, rest)
        except GraphRefusal as refusal:
            return refusal.reply

    @abstractmethod
    async def serve(self, request: SimRequest, path: list[str]) -> SimReply:
        """Answer a call whose token was good; ``path`` is what follows the version."""

    def failure(self, step: Step) -> SimReply:
        """Return Graph's error for a status, or for the Graph code ``step.code`` names.

        A wait is told as Graph tells it, in minutes of ``X-Business-Use-Case-Usage``; one that
        is no whole minute goes into ``Retry-After`` too, and only there.
        """
        code = int(step.code) if step.code else self.codes.get(step.status, 1)
        message = "Something went wrong"
        if code == 190:
            message = f"Malformed access token {self._token}"
        return graph_error(
            code, message, status=step.status, headers=self._waiting(step.retry_after)
        )

    async def challenge(
        self, url: str, *, token: str | None = None, challenge: str = "1158201444"
    ) -> WebhookAnswer:
        """Ask an endpoint to prove that it was meant, as when it is entered at Meta."""
        query = {
            "hub.mode": "subscribe",
            "hub.challenge": challenge,
            "hub.verify_token": self._verify_token if token is None else token,
        }
        return await self.post(f"{url}?{urlencode(query)}", b"", {}, method="GET")

    async def deliver(self, url: str | None, payload: Any) -> WebhookAnswer:
        """Post a signed callback: a payload, or bytes that are sent as they are.

        Raises:
            ValueError: No URL was given, now or to the constructor.
        """
        target = url or self.statuses_url
        if target is None:
            raise ValueError("no URL: pass url=, or callback_url= to the simulator")
        body = payload if isinstance(payload, bytes) else self.encode(payload)
        return await self.post(
            target,
            body,
            {
                "content-type": "application/json",
                "user-agent": "facebookexternalua",
                "x-hub-signature": f"sha1={self.sign(body, 'sha1')}",
                "x-hub-signature-256": f"sha256={self.sign(body)}",
            },
        )

    @staticmethod
    def encode(payload: Any) -> bytes:
        """Return a payload as Meta writes it: compact, all but ASCII escaped."""
        return json.dumps(payload, separators=(",", ":")).encode("ascii")

    def sign(self, body: bytes, algorithm: str = "sha256") -> str:
        """Return the hex HMAC of a body under the app secret."""
        return hmac.new(self._secret.encode(), body, algorithm).hexdigest()

    def tick(self) -> int:
        """Return the time of the next event, in milliseconds; a second after the last."""
        self._ticks += 1
        return START + (self._ticks - 1) * SECOND

    def read_body(self, request: SimRequest) -> dict[str, Any]:
        """Return a call's JSON object; refuse anything else."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        require(request.method == "POST", "Unsupported request method", code=100)
        require(kind == "application/json", "The request body must be JSON")
        try:
            body = request.json
        except ValueError:
            raise GraphRefusal(100, "The request body is no JSON") from None
        require(isinstance(body, dict), "The request body must be an object")
        return dict(body)

    def _check_token(self, request: SimRequest) -> None:
        header = request.headers.get("authorization", "")
        given = header.removeprefix("Bearer ") if header else request.query.get("access_token")
        if given != self._token:
            raise GraphRefusal(190, "Invalid OAuth access token", status=401)
        proof = request.query.get("appsecret_proof")
        expected = hmac.new(self._secret.encode(), self._token.encode(), hashlib.sha256)
        if proof is not None and proof != expected.hexdigest():
            raise GraphRefusal(100, "Invalid appsecret_proof provided in the API argument")

    @staticmethod
    def _waiting(seconds: float | None) -> dict[str, str]:
        if seconds is None:
            return {}
        if seconds % _SECONDS_A_MINUTE:
            return {"retry-after": str(math.ceil(seconds))}
        usage = {
            "type": "messenger",
            "call_count": 100,
            "total_cputime": 25,
            "total_time": 30,
            "estimated_time_to_regain_access": int(seconds // _SECONDS_A_MINUTE),
        }
        return {"x-business-use-case-usage": json.dumps({"1234567890": [usage]})}


def each[T](values: Any, read: Callable[[Any], T], least: int, most: int, what: str) -> list[T]:
    """Return what ``read`` makes of every entry of a list; refuse one of another length."""
    require(isinstance(values, list), f"Param {what} must be an array")
    require(least <= len(values) <= most, f"Param {what} must have {least} to {most} elements")
    return [read(value) for value in values]
