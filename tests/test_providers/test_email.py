"""E-mail: the base class and the mock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roomkit.providers.email.mock import MockEmailProvider
from tests.test_providers._events import an_event

if TYPE_CHECKING:
    from roomkit.providers.email.base import EmailProvider


class TestMockEmailProvider:
    """``sent`` has event, recipient, sender and subject."""

    async def test_sender_and_subject_are_what_send_was_told(self) -> None:
        provider = MockEmailProvider()
        event = an_event()
        await provider.send(event, to="a@mail.test")
        await provider.send(event, to="a@mail.test", from_="us@mail.test", subject="Hello")
        assert provider.sent == [
            {"event": event, "to": "a@mail.test", "from": "", "subject": ""},
            {"event": event, "to": "a@mail.test", "from": "us@mail.test", "subject": "Hello"},
        ]

    async def test_it_reads_no_mail_and_no_signature(self) -> None:
        provider: EmailProvider = MockEmailProvider()
        with pytest.raises(NotImplementedError):
            await provider.parse_inbound({})
        with pytest.raises(NotImplementedError, match="MockEmailProvider does not support"):
            provider.verify_signature(b"", "")
