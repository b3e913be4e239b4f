"""The endpoint of vendors' callbacks: believed first, then read, kept, and only then answered."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roomkit._logging import ids, log_failure
from roomkit.asgi._body import Memory, Share, read_body
from roomkit.asgi._intake import refusal_of
from roomkit.asgi._respond import (
    RETRY_AFTER,
    Answer,
    ClientLeft,
    Refused,
    not_found,
    refused,
)
from roomkit.asgi._target import headers_of, query_of, url_of
from roomkit.models.delivery import DeliveryStatus
from roomkit.providers.webhook import WebhookRequest, WebhookResponse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roomkit._clock import Clock
    from roomkit.asgi._intake import Intake
    from roomkit.asgi._pulse import Pulse
    from roomkit.asgi._tokens import UrlTokens
    from roomkit.asgi._types import Receive, Scope
    from roomkit.core.framework import RoomKit
    from roomkit.providers.webhook import WebhookHandler, WebhookItem

logger = logging.getLogger("roomkit.asgi.webhooks")

BIG = 256 * 1024
"""Bytes from which on a body is read in a thread."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a webhook may cost.

    Attributes:
        max_body: Bytes of one body, where the vendor's handler names no figure of its own.
        body_timeout: Seconds for the whole body.
        max_requests: Requests in hand at once.
        max_memory: Bytes of all their bodies.
        max_backlog: Accepted messages that may wait for the kit.
    """

    max_body: int
    body_timeout: float
    max_requests: int
    max_memory: int
    max_backlog: int


class Webhooks:
    """Answers ``/webhooks/{channel_id}`` and what is below it.

    Args:
        kit: Has the channels.
        intake: Takes what was read.
        pulse: Knows the backlog.
        tokens: Secrets in URLs.
        bounds: What a request may cost.
        public_url: What the app is reached at; see ``url_of``.
        clock: When a request came.
    """

    def __init__(
        self,
        kit: RoomKit,
        intake: Intake,
        pulse: Pulse,
        tokens: UrlTokens,
        bounds: Bounds,
        *,
        public_url: str | None,
        clock: Clock,
    ) -> None:
        self._kit = kit
        self._intake = intake
        self._pulse = pulse
        self._tokens = tokens
        self._bounds = bounds
        self._public_url = public_url
        self._clock = clock
        self._memory = Memory(bounds.max_memory)
        self._requests = 0

    async def answer(
        self, scope: Scope, receive: Receive, path: str, channel_id: str, rest: Sequence[str]
    ) -> Answer:
        """Return the answer to one request.

        Args:
            scope: The request.
            receive: Gives its body.
            path: Its path within the app.
            channel_id: The channel it is for.
            rest: The path's further segments.

        Raises:
            Refused: It is answered otherwise.
            ClientLeft: Nobody is there to answer.
        """
        query = query_of(scope)
        kind, token = self._tokens.split(channel_id, rest, query)
        handler = self._handler(channel_id, kind)
        if scope["method"] not in handler.methods:
            raise refused(405, "the vendor does not use this method", allow=handler.methods)
        self._tokens.check(channel_id, handler, token)
        if self._requests >= self._bounds.max_requests:
            raise refused(429, "too many requests at once", retry_after=RETRY_AFTER)
        self._requests += 1
        try:
            headers = headers_of(scope)
            with self._memory.share() as share:
                body = await self._body(receive, headers, scope["method"], handler, share)
                request = WebhookRequest(
                    method=scope["method"],
                    url=url_of(scope, path, self._public_url),
                    headers=headers,
                    query=query,
                    body=body,
                    channel_id=channel_id,
                    kind=kind,
                    received_at=self._clock.now().timestamp(),
                )
                return await self._handle(handler, request)
        except (Refused, ClientLeft):
            raise
        except Exception as exc:
            raise _failed(exc, channel_id) from exc
        finally:
            self._requests -= 1

    def _handler(self, channel_id: str, kind: str) -> WebhookHandler:
        """Return who reads one kind of a channel's callbacks."""
        channel = self._kit.get_channel(channel_id)
        handler = None if channel is None else channel.webhook()
        of_kind = None if handler is None else handler.for_kind(kind)
        if of_kind is None:
            raise not_found()
        return of_kind

    async def _body(
        self,
        receive: Receive,
        headers: Mapping[str, str],
        method: str,
        handler: WebhookHandler,
        share: Share,
    ) -> bytes:
        """Check what can be checked without the body, then read it."""
        if method == "POST":
            _check_type(headers, handler)
        if self._pulse.backlog() >= self._bounds.max_backlog:
            raise refused(429, "too many messages wait", retry_after=RETRY_AFTER)
        return await read_body(
            receive,
            headers,
            limit=self._bounds.max_body if handler.max_body is None else handler.max_body,
            seconds=self._bounds.body_timeout,
            share=share,
        )

    async def _handle(self, handler: WebhookHandler, request: WebhookRequest) -> Answer:
        """Believe, read, keep, answer: in this order."""
        await handler.verify(request)
        if len(request.body) > BIG:
            # Others must not wait while a long mail is taken apart.
            items = await asyncio.to_thread(handler.read, request)
        else:
            items = handler.read(request)
        # What comes by GET has no body to be known by.
        raw = request.body or request.url.encode()
        await self._intake.take(items, raw, request.channel_id)
        return _answer_to(items, handler.response(request))


def _failed(error: Exception, channel_id: str) -> Refused:
    """Return what a vendor is answered when its request failed; log what we do not know."""
    refusal = refusal_of(error)
    if refusal.answer.status < 500:
        logger.debug("a webhook of channel %s was refused: %s", channel_id, error)
    elif refusal.answer.status == 500:
        log_failure(
            logger,
            error,
            "the webhook of channel %s failed",
            channel_id,
            extra=ids(channel_id=channel_id),
        )
    return refusal


def _check_type(headers: Mapping[str, str], handler: WebhookHandler) -> None:
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        raise refused(415, "the body is compressed")
    if not handler.content_types:
        return
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in handler.content_types:
        raise refused(415, "the body is of a type the vendor does not use")


def _answer_to(items: Sequence[WebhookItem], said: WebhookResponse) -> Answer:
    """Return the handler's answer; 204 for statuses alone where it has none of its own."""
    if said == WebhookResponse() and items and all(isinstance(i, DeliveryStatus) for i in items):
        return Answer(204)
    return Answer(said.status, said.body, said.content_type)
