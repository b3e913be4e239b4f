"""What every reader of a vendor's callbacks must do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from roomkit.exceptions import WebhookError, WebhookRefused
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.providers.webhook import Signal, WebhookResponse
from roomkit.testing.conformance._suite import Suite

if TYPE_CHECKING:
    from roomkit.providers.webhook import WebhookHandler, WebhookRequest

_STRANGE = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b"[[[[",
    b'"text"',
    b"\xff\xfe\x00",
    b"a=1&b=2",
    b"[" * 100_000,
    b'{"a":' * 20_000,
    b'{"entry": 3, "data": [1], "from": {}, "messages": "x"}',
    b'{"data": {"payload": [[]], "event_type": 7}}',
    b"1" * 5_000,
    b'{"n": NaN}',
)


class WebhookHandlerConformance(Suite, ABC):
    """Good requests pass, all others are refused with a reason."""

    @abstractmethod
    def make_handler(self) -> WebhookHandler:
        """Return a handler with a secret configured, where the vendor signs."""

    @abstractmethod
    def good_request(self) -> WebhookRequest:
        """Return a request with a message in it, as the vendor would make it (signed)."""

    async def test_a_good_request_passes(self) -> None:
        """It is believed, and every item belongs to the channel it came by."""
        handler, request = self.make_handler(), self.good_request()
        await handler.verify(request)
        found = handler.read(request)
        assert found
        for item in found:
            assert isinstance(item, InboundMessage | DeliveryStatus | Signal)
            if not isinstance(item, DeliveryStatus):
                assert item.channel_id == request.channel_id
                assert item.sender_id
        assert isinstance(handler.response(request), WebhookResponse)

    async def test_reading_changes_nothing(self) -> None:
        """The same request read again gives the same items, keys included."""
        handler, request = self.make_handler(), self.good_request()
        assert handler.read(request) == handler.read(request)

    async def test_a_changed_body_is_refused(self) -> None:
        """One byte more and the signature is wrong; vendors without one are passed over."""
        handler, request = self.make_handler(), self.good_request()
        if not handler.signed:
            pytest.skip("the vendor does not sign")
        with pytest.raises(WebhookRefused):
            await handler.verify(replace(request, body=request.body + b" "))

    async def test_no_header_no_entry(self) -> None:
        """Without the vendor's headers, or with strange ones, a request is refused."""
        handler, request = self.make_handler(), self.good_request()
        if not handler.signed:
            pytest.skip("the vendor does not sign")
        with pytest.raises(WebhookRefused):
            await handler.verify(replace(request, headers={}))
        for value in ("", "\u00e9", "0" * 10_000, "sha256=", "-1"):
            headers = dict.fromkeys(request.headers, value)
            with pytest.raises(WebhookRefused):
                await handler.verify(replace(request, headers=headers))

    @pytest.mark.parametrize("body", _STRANGE, ids=range(len(_STRANGE)))
    async def test_strange_bodies(self, body: bytes) -> None:
        """Whatever a body is, it gives items or a WebhookError, nothing else."""
        handler, request = self.make_handler(), self.good_request()
        try:
            found = handler.read(replace(request, body=body))
        except WebhookError:
            return
        assert isinstance(found, list)
