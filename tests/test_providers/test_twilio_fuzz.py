"""Whatever Twilio, or somebody else, sends: a message, a status or a WebhookError."""

from __future__ import annotations

import inspect
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from roomkit.exceptions import WebhookError, WebhookRefused
from roomkit.providers.sms.meta import extract_twilio_meta
from roomkit.providers.twilio import (
    TwilioConfig,
    parse_twilio_rcs_webhook,
    parse_twilio_webhook,
)
from roomkit.providers.twilio.webhook import TwilioWebhook
from roomkit.providers.webhook import WebhookRequest

PHONE = "+14155550100"
OWN = "+14155550199"
MESSAGE = {
    "MessageSid": "SM1",
    "AccountSid": "AC1",
    "From": PHONE,
    "To": OWN,
    "Body": "Caf\u00e9 \U0001f600",
    "NumMedia": "1",
    "MediaUrl0": "https://files.test/a",
    "SmsStatus": "received",
    "FromCity": "SAN FRANCISCO",
}
STATUS = {
    "MessageSid": "SM1",
    "MessageStatus": "undelivered",
    "SmsStatus": "undelivered",
    "ErrorCode": "30005",
    "From": OWN,
    "To": PHONE,
}
HANDLER = TwilioWebhook(
    TwilioConfig(account_sid="AC1", auth_token=SecretStr("t"), from_number=OWN)
)


def request(body: bytes, kind: str = "application/x-www-form-urlencoded") -> WebhookRequest:
    headers = {"content-type": kind, "x-twilio-signature": "x"}
    url = "https://hooks.test/webhooks/sms"
    return WebhookRequest("POST", url, headers, {}, body, channel_id="sms")


STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["\x00", "\ud800", "9" * 5000, "1e400", "x" * 100_000]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
FIELDS = [
    *MESSAGE,
    *STATUS,
    *("MediaUrl0", "MediaContentType0", "Latitude", "Longitude", "ButtonText", "OptOutType"),
    *("Channel", "MessagingServiceSid", "EventType", "RawDlrDoneDate", "Label", "Address"),
]


class TestFuzz:
    """Whatever a payload holds, it gives a message or a WebhookError."""

    @settings(max_examples=400, deadline=None)
    @given(
        base=st.sampled_from([MESSAGE, STATUS, {}]),
        changes=st.dictionaries(st.sampled_from(FIELDS), STRANGE, max_size=6),
    )
    def test_mutated_payloads(self, base: dict[str, Any], changes: dict[str, Any]) -> None:
        """Valid payloads with some fields of other types, lengths and alphabets."""
        payload = {**base, **changes}
        for parse in (parse_twilio_webhook, parse_twilio_rcs_webhook):
            try:
                message = parse(payload, "sms")
            except WebhookError:
                continue
            message.model_dump_json()
        try:
            meta = extract_twilio_meta(payload)
        except WebhookError:
            return
        assert meta.is_inbound is not meta.is_status
        meta.to_status()

    @pytest.mark.parametrize("payload", [None, [], "text", 5, [("From", PHONE)]])
    def test_payloads_that_are_no_mapping(self, payload: Any) -> None:
        """They are refused with a reason."""
        for parse in (parse_twilio_webhook, parse_twilio_rcs_webhook):
            with pytest.raises(WebhookError, match="mapping"):
                parse(payload, "sms")

    @settings(max_examples=300, deadline=None)
    @given(body=st.binary(max_size=200), kind=st.sampled_from(["", "application/json", "x"]))
    def test_bodies(self, body: bytes, kind: str) -> None:
        """Bytes of any kind are read or refused, by type of body too."""
        try:
            found = HANDLER.read(request(body, kind))
        except WebhookError:
            return
        assert found

    @pytest.mark.parametrize(
        "body",
        [
            b"From=1&Body=" + b"x" * 2**18,
            b"From=1&Body=" + b"%41" * (2**18 // 3),
            b"From=1&Body=" + b"%" * 2**18,
            b"&" * 2**18,
            b"=" * 2**18,
        ],
        ids=["plain", "escaped", "broken", "names", "values"],
    )
    async def test_long_bodies(self, body: bytes) -> None:
        """They are refused or read at once: no work grows faster than the body."""
        started = time.process_time()
        for act in (HANDLER.verify, HANDLER.read):
            try:
                found = act(request(body))
                if inspect.isawaitable(found):
                    await found
            except (WebhookError, WebhookRefused):
                continue
        assert time.process_time() - started < 2.0
