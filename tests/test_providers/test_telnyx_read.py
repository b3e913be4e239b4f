"""What Telnyx' callbacks say: RCS messages, statuses, signals, and anything strange."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings

from roomkit.exceptions import WebhookError
from roomkit.models.content import LocationContent, MediaContent, TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import EventType
from roomkit.providers.sms.meta import extract_sms_meta
from roomkit.providers.telnyx import (
    TelnyxRCSConfig,
    TelnyxRCSProvider,
    parse_telnyx_rcs_webhook,
    parse_telnyx_webhook,
)
from roomkit.providers.telnyx.webhook import read_telnyx
from roomkit.providers.webhook import Signal, WebhookHandler, WebhookItem, WebhookRequest
from roomkit.simulators import TelnyxSimulator
from tests.test_providers._json_mutations import reshaped

FILE = {"file_name": "a.png", "file_uri": "https://files.test/a.png", "mime_type": "image/png"}


def an_event(event_type: str, payload: dict[str, Any], **data: Any) -> dict[str, Any]:
    """Return a decoded callback."""
    return {"data": {"event_type": event_type, "payload": payload, **data}}


def an_rcs(**payload: Any) -> dict[str, Any]:
    """Return a decoded inbound RCS message, as documented."""
    fields = {
        "id": "m1",
        "direction": "inbound",
        "type": "RCS",
        "from": {"phone_number": "+14155550100"},
        "to": [{"agent_id": "agent-1", "agent_name": "Acme"}],
    }
    return an_event("message.received", fields | payload)


@cache
def reader() -> WebhookHandler:
    """Return one handler for all tests: making a provider takes its time."""
    return TelnyxRCSProvider(TelnyxRCSConfig(api_key="KEY", agent_id="agent-1")).webhook()


def read(payload: Any) -> list[WebhookItem]:
    """Return what the RCS provider's handler makes of a decoded callback."""
    request = WebhookRequest(
        "POST", "https://us.test/", {}, {}, json.dumps(payload).encode(), channel_id="rcs"
    )
    return reader().read(request)


class TestParseRCS:
    """``parse_telnyx_rcs_webhook``, in the documented shape and the reference's."""

    def test_the_documented_shape(self) -> None:
        """Content under ``body``, the agent in a list [V]."""
        message = parse_telnyx_rcs_webhook(an_rcs(body={"text": "hi"}), "rcs")
        assert (message.sender_id, message.external_id) == ("+14155550100", "m1")
        assert message.content == TextContent(body="hi")
        assert message.metadata == {
            "agent_id": "agent-1",
            "agent_name": "Acme",
            "received_at": "",
            "type": "RCS",
            "suggestion_response": None,
            "location": None,
        }

    def test_the_flat_shape(self) -> None:
        """Content beside the addresses, the agent an object."""
        payload = an_rcs(
            to={"agent_id": "agent-2", "agent_name": "B"},
            text="flat",
            user_file={"payload": FILE},
            received_at="2026-01-01T00:00:00Z",
        )
        message = parse_telnyx_rcs_webhook(payload, "rcs")
        expected = MediaContent(url=FILE["file_uri"], mime_type="image/png", caption="flat")
        assert message.content == expected
        assert message.metadata["agent_id"] == "agent-2"
        assert message.metadata["received_at"] == "2026-01-01T00:00:00Z"

    def test_the_agent_as_a_word(self) -> None:
        """A plain text in ``to`` is the agent's id."""
        message = parse_telnyx_rcs_webhook(an_rcs(to="agent-3", body={"text": "x"}), "rcs")
        assert message.metadata["agent_id"] == "agent-3"

    def test_a_tapped_suggestion(self) -> None:
        """Its label is the text where there is no other; the rest stands in the metadata."""
        tapped = {"postback_data": "yes", "text": "Yes please"}
        message = parse_telnyx_rcs_webhook(an_rcs(body={"suggestion_response": tapped}), "rcs")
        assert message.content == TextContent(body="Yes please")
        assert message.metadata["suggestion_response"] == tapped
        both = an_rcs(body={"suggestion_response": tapped, "text": "typed"})
        assert parse_telnyx_rcs_webhook(both, "rcs").content == TextContent(body="typed")

    def test_a_file(self) -> None:
        """A file under ``body``; text as an object with a body."""
        payload = an_rcs(body={"text": {"body": "see"}, "user_file": {"payload": FILE}})
        content = parse_telnyx_rcs_webhook(payload, "rcs").content
        assert content == MediaContent(url=FILE["file_uri"], mime_type="image/png", caption="see")

    @pytest.mark.parametrize(
        ("place", "content"),
        [
            (
                {"latitude": 45.5, "longitude": -73.5},
                LocationContent(latitude=45.5, longitude=-73.5),
            ),
            ({"longitude": 10}, LocationContent(latitude=0, longitude=10)),
            ({"latitude": 99.0, "longitude": 0}, TextContent(body="")),
            ({"latitude": "x"}, TextContent(body="")),
        ],
        ids=["place", "zero is left out", "not on earth", "no number"],
    )
    def test_a_place(self, place: dict[str, Any], content: Any) -> None:
        """Without text or file it is the content; the metadata has it as it came."""
        message = parse_telnyx_rcs_webhook(an_rcs(body={"location": place}), "rcs")
        assert message.content == content
        assert message.metadata["location"] == place

    def test_a_place_with_words(self) -> None:
        """Then the words are the content."""
        body = {"location": {"latitude": 1.0, "longitude": 2.0}, "text": "here"}
        message = parse_telnyx_rcs_webhook(an_rcs(body=body), "rcs")
        assert message.content == TextContent(body="here")
        assert message.metadata["location"] == body["location"]

    def test_not_strict(self) -> None:
        """Absent is empty, not an error."""
        message = parse_telnyx_rcs_webhook({"data": {"payload": {}}}, "rcs", strict=False)
        assert (message.sender_id, message.metadata["agent_id"]) == ("", "")


class TestStatuses:
    """What became of our messages."""

    @pytest.mark.parametrize(
        ("event", "word", "status"),
        [
            ("finalized", "delivered", "delivered"),
            ("finalized", "delivery_failed", "failed"),
            ("finalized", "sending_failed", "failed"),
            ("finalized", "expired", "failed"),
            ("finalized", "delivery_unconfirmed", "unconfirmed"),
            ("finalized", None, "finalized"),
            ("sent", "sent", "sent"),
            ("sent", None, "sent"),
            ("read", None, "read"),
            ("read", "delivered", "read"),
        ],
    )
    def test_words(self, event: str, word: str | None, status: str) -> None:
        """The recipient's status, in our words [V]."""
        to = {"phone_number": "+14155550100", **({"status": word} if word else {})}
        payload = an_event(f"message.{event}", {"direction": "outbound", "id": "m", "to": [to]})
        meta = extract_sms_meta("telnyx", payload)
        assert (meta.is_inbound, meta.is_status) == (False, True)
        assert meta.to_status().status == status

    def test_a_failure(self) -> None:
        """The sample of the vendor facts: code, explanation, time, and the raw callback."""
        payload = an_event(
            "message.finalized",
            {
                "direction": "outbound",
                "id": "m-9",
                "from": {"phone_number": "+15145550199"},
                "to": [{"phone_number": "+14155550100", "status": "delivery_failed"}],
                "errors": [{"code": "40001", "title": "Not routable", "detail": "Not routable"}],
                "completed_at": "2026-01-01T00:00:01Z",
            },
            occurred_at="2026-01-01T00:00:02Z",
        )
        (status,) = read(payload)
        assert status == DeliveryStatus(
            provider="telnyx",
            message_id="m-9",
            status="failed",
            recipient="+14155550100",
            sender="+15145550199",
            error_code="40001",
            error_message="Not routable",
            timestamp="2026-01-01T00:00:01+00:00",
            raw=payload,
        )

    @pytest.mark.parametrize(
        ("fields", "timestamp"),
        [
            ({"sent_at": "2026-01-01T00:00:01Z"}, "2026-01-01T00:00:01+00:00"),
            ({}, "2026-01-01T00:00:09+00:00"),
            ({"completed_at": "yesterday"}, None),
        ],
        ids=["sent", "occurred", "unreadable"],
    )
    def test_times(self, fields: dict[str, Any], timestamp: str | None) -> None:
        """The best time there is."""
        payload = an_event(
            "message.sent", {"direction": "outbound", **fields}, occurred_at="2026-01-01T00:00:09Z"
        )
        assert read_telnyx(payload).to_status().timestamp == timestamp

    @pytest.mark.parametrize(
        "payload",
        [
            {},
            {"data": {}},
            {"data": {"event_type": "call.initiated", "payload": {"direction": "incoming"}}},
            an_event("message.link_click", {"direction": "outbound"}),
            an_event("message.received", {"direction": "outbound"}),
        ],
    )
    def test_what_concerns_us_not(self, payload: dict[str, Any]) -> None:
        """Other events of the account give nothing."""
        assert read(payload) == []


class TestRecipients:
    """``from`` and ``to`` in every shape the vendor uses [V]."""

    @pytest.mark.parametrize(
        ("to", "expected"),
        [
            ([{"phone_number": "+1"}], "+1"),
            ({"phone_number": "+1"}, "+1"),
            ("+1", "+1"),
            (["+1"], "+1"),
            ([], ""),
            (None, ""),
            ([{"agent_id": "agent-1"}], "agent-1"),
        ],
    )
    def test_shapes(self, to: Any, expected: str) -> None:
        """All mean the same."""
        payload = an_event("message.received", {"direction": "inbound", "from": to, "to": to})
        meta = read_telnyx(payload)
        assert (meta.sender, meta.recipient) == (expected, expected)
        assert meta.raw is payload

    @pytest.mark.parametrize(
        "payload",
        [
            {"data": 7},
            {"data": {"payload": []}},
            an_event("message.received", {"to": 7}),
            an_event("message.received", {"to": [[7]]}),
            an_event("message.received", {"from": {"phone_number": {}}}),
            an_event("message.received", {"media": "x"}),
            an_event("message.received", {"media": [7]}),
            an_event("message.received", {"body": {"user_file": "x"}}),
            an_event("message.received", {"body": {"location": [1]}}),
            an_event("message.received", {"text": ["x"]}),
        ],
    )
    def test_wrong_types(self, payload: dict[str, Any]) -> None:
        """A wrong type is an error that names the place."""
        with pytest.raises(WebhookError, match=r"is |has "):
            parse_telnyx_rcs_webhook(payload, "rcs", strict=False)


class TestSignals:
    """Edits and withdrawals are no messages."""

    def test_an_edit(self) -> None:
        """The new text, and the message it is about."""
        edit = {"original_message_id": "m0", "message": {"text": {"body": "better"}}}
        (item,) = read(an_rcs(body={"edit": edit}))
        assert isinstance(item, Signal)
        assert (item.type, item.target_message_id) == (EventType.EDIT, "m0")
        assert item.content == TextContent(body="better")
        assert (item.channel_id, item.sender_id) == ("rcs", "+14155550100")
        assert item.idempotency_key == "m1"

    def test_a_withdrawal(self) -> None:
        """It has no content."""
        (item,) = read(an_rcs(body={"revoke": {"message_id": "m0"}}))
        assert isinstance(item, Signal)
        assert (item.type, item.target_message_id, item.content) == (EventType.DELETE, "m0", None)

    def test_by_nobody(self) -> None:
        """A signal needs a sender too."""
        payload = an_rcs(body={"revoke": {"message_id": "m0"}})
        payload["data"]["payload"].pop("from")
        with pytest.raises(WebhookError, match="nobody sent it"):
            read(payload)


EVERYTHING = an_rcs(
    text="hi",
    media=[{"url": FILE["file_uri"]}],
    body={"text": "x", "user_file": {"payload": FILE}, "edit": {"id": "1"}, "location": {}},
)


class TestFuzz:
    """T8: whatever comes, a message or the documented error."""

    @settings(max_examples=200)
    @given(reshaped([EVERYTHING]))
    def test_any_payload(self, payload: dict[str, Any]) -> None:
        """No parser and no reader raises anything but WebhookError."""
        for parse in (parse_telnyx_webhook, parse_telnyx_rcs_webhook):
            for strict in (True, False):
                try:
                    found = parse(payload, "rcs", strict=strict)
                except WebhookError:
                    continue
                assert isinstance(found, InboundMessage)
        try:
            items = read(payload)
        except WebhookError:
            return
        assert isinstance(items, list)


class TestAtTheSimulator:
    """The simulator's callbacks are read as they were meant."""

    async def test_a_send_and_its_fate(self) -> None:
        """The report on a message we sent names its id and recipient."""
        sim = TelnyxSimulator()
        event_type, payload = sim.report("m-1", "delivery_failed", "40002", "Blocked")
        (status,) = read(an_event(event_type, payload))
        assert isinstance(status, DeliveryStatus)
        assert (status.message_id, status.status) == ("m-1", "failed")
        assert (status.error_code, status.error_message) == ("40002", "Blocked")
