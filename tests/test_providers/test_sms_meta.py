"""WebhookMeta and the content helpers of SMS."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import WebhookError
from roomkit.models.event import (
    AudioContent,
    CompositeContent,
    DeleteContent,
    EditContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit.providers.sms import extract_sms_meta, meta
from roomkit.providers.sms.meta import (
    VendorStatus,
    WebhookMeta,
    build_inbound_content,
    extract_media_urls,
    extract_text_body,
    inbound_of,
    unsendable_reason,
)

if TYPE_CHECKING:
    from roomkit.models.event import EventContent

PNG = "https://files.test/a.png"
DATA = "data:image/png;base64,AAAA"
MOMENT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def a_meta(
    direction: str | None = None, event_type: str | None = None, **more: Any
) -> WebhookMeta:
    fields: dict[str, Any] = {
        "provider": "telnyx",
        "sender": "+15145550100",
        "recipient": "+15145550199",
        "body": "Hello",
        "external_id": "m-1",
        "timestamp": MOMENT,
        "raw": {},
    }
    return WebhookMeta(**(fields | more), direction=direction, event_type=event_type)


class TestWebhookMeta:
    """One callback, in the order of fields programs rely on."""

    def test_fields_by_position(self) -> None:
        raw = {"a": 1}
        media: list[dict[str, str | None]] = [{"url": PNG, "mime_type": None}]
        meta = WebhookMeta(
            "sinch", "from", "to", "text", "id", MOMENT, raw, media, "inbound", "message.received"
        )
        assert (meta.provider, meta.sender, meta.recipient) == ("sinch", "from", "to")
        assert (meta.body, meta.external_id, meta.timestamp) == ("text", "id", MOMENT)
        assert meta.raw is raw
        assert meta.media_urls is media
        assert (meta.direction, meta.event_type) == ("inbound", "message.received")

    def test_defaults(self) -> None:
        one = WebhookMeta("p", "s", "r", "b", None, None, {})
        other = WebhookMeta("p", "s", "r", "b", None, None, {})
        assert (one.media_urls, one.direction, one.event_type) == ([], None, None)
        assert one.media_urls is not other.media_urls
        assert one == other

    def test_it_shows_neither_text_nor_address(self) -> None:
        shown = repr(a_meta(raw={"text": "Hello"}))
        assert "m-1" in shown
        assert "Hello" not in shown
        assert "5145550" not in shown

    @pytest.mark.parametrize(
        ("direction", "event_type", "inbound", "status"),
        [
            (None, None, True, False),
            ("inbound", None, True, False),
            ("inbound", "message.sent", True, False),
            ("outbound", None, False, False),
            ("outbound", "message.received", False, False),
            (None, "message.received", True, False),
            (None, "message.sent", False, False),
            (None, "message.finalized", False, False),
            (None, "something.else", True, False),
            ("outbound", "message.sent", False, True),
            ("outbound", "message.delivered", False, True),
            ("outbound", "message.failed", False, True),
            ("outbound", "message.finalized", False, True),
            ("outbound", "message.read", False, True),
            ("outbound", "other.sent", False, False),
        ],
    )
    def test_what_it_is(
        self, direction: str | None, event_type: str | None, inbound: bool, status: bool
    ) -> None:
        meta = a_meta(direction, event_type)
        assert meta.is_inbound is inbound
        assert meta.is_status is status


class TestToInbound:
    """A callback becomes the message of a channel."""

    def test_every_field_of_the_message(self) -> None:
        message = a_meta("inbound", "message.received").to_inbound("sms-main")
        assert message.channel_id == "sms-main"
        assert message.sender_id == "+15145550100"
        assert message.content == TextContent(body="Hello")
        assert message.external_id == message.idempotency_key == "m-1"
        assert message.metadata == {
            "provider": "telnyx",
            "recipient": "+15145550199",
            "timestamp": "2026-03-01T12:30:00+00:00",
        }

    @pytest.mark.parametrize(("text", "keyword"), [("STOP", "stop"), ("help?", "help")])
    def test_keywords_are_reported(self, text: str, keyword: str) -> None:
        """The metadata name what the sender asks for; a sentence names nothing."""
        message = a_meta(body=text).to_inbound("sms-main")
        assert message.metadata["keyword"] == keyword
        assert message.content == TextContent(body=text)
        assert "keyword" not in a_meta(body=f"please {text}").to_inbound("s").metadata

    def test_media_and_a_missing_timestamp(self) -> None:
        meta = a_meta(timestamp=None, media_urls=[{"url": PNG, "mime_type": "image/png"}])
        message = meta.to_inbound("sms-main")
        assert message.content == MediaContent(url=PNG, mime_type="image/png", caption="Hello")
        assert message.metadata["timestamp"] is None

    def test_our_own_message_is_refused(self) -> None:
        with pytest.raises(
            ValueError, match=r"^Cannot convert outbound webhook to InboundMessage"
        ) as caught:
            a_meta("outbound", "message.sent").to_inbound("sms-main")
        assert isinstance(caught.value, WebhookError)
        assert all(word in str(caught.value) for word in ("telnyx", "outbound", "message.sent"))
        assert "5145550" not in str(caught.value)


class TestToStatus:
    """A callback becomes a delivery status, whatever it is about."""

    def test_every_field_of_the_status(self) -> None:
        raw = {"data": {"payload": {"errors": [{"code": 40300, "detail": "Blocked"}, {}]}}}
        status = a_meta("outbound", "message.failed", raw=raw).to_status()
        assert (status.provider, status.message_id) == ("telnyx", "m-1")
        assert (status.status, status.error_code) == ("failed", "40300")
        assert status.error_message == "Blocked"
        assert (status.sender, status.recipient) == ("+15145550100", "+15145550199")
        assert status.timestamp == "2026-03-01T12:30:00+00:00"
        assert status.raw == raw

    def test_absent_facts_are_empty(self) -> None:
        status = a_meta(external_id=None, timestamp=None).to_status()
        assert (status.status, status.message_id, status.timestamp) == ("unknown", "", None)
        assert (status.error_code, status.error_message) == (None, None)

    @pytest.mark.parametrize(
        "raw",
        [
            {"data": None},
            {"data": {"payload": []}},
            {"data": {"payload": {"errors": {}}}},
            {"data": {"payload": {"errors": []}}},
            {"data": {"payload": {"errors": ["text"]}}},
            {"data": {"payload": {"errors": [{}]}}},
        ],
    )
    def test_errors_of_any_shape_are_read_as_none(self, raw: dict[str, Any]) -> None:
        status = a_meta("outbound", "message.sent", raw=raw).to_status()
        assert (status.error_code, status.error_message) == (None, None)

    def test_the_vendors_own_words_come_first(self) -> None:
        meta = a_meta(
            "outbound",
            "message.finalized",
            raw={"data": {"payload": {"errors": [{"code": 1, "detail": "general"}]}}},
            vendor_status=VendorStatus(
                status="failed", error_code="30007", timestamp="2026-03-02T00:00:00+00:00"
            ),
        )
        status = meta.to_status()
        assert (status.status, status.error_code) == ("failed", "30007")
        assert status.error_message == "general"
        assert status.timestamp == "2026-03-02T00:00:00+00:00"


def media(url: str = PNG, caption: str | None = None) -> MediaContent:
    return MediaContent(url=url, mime_type="image/png", caption=caption)


def nested_edit(depth: int) -> EventContent:
    content: EventContent = TextContent(body="deep")
    for _ in range(depth):
        content = EditContent.model_construct(
            type="edit", target_event_id="e", new_content=content, edit_source=None
        )
    return content


class TestExtractTextBody:
    """Every content says on a phone what it can say."""

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (TextContent(body="Hi"), "Hi"),
            (RichContent(body="<b>Hi</b>"), "<b>Hi</b>"),
            (SystemContent(body="Joined"), "Joined"),
            (TemplateContent(template_id="t", body="Filled"), "Filled"),
            (TemplateContent(template_id="t"), ""),
            (media(caption="Look"), "Look"),
            (media(), ""),
            (AudioContent(url="https://files.test/a.ogg", transcript="hm"), ""),
            (VideoContent(url="https://files.test/a.mp4"), ""),
            (DeleteContent(target_event_id="e"), ""),
        ],
    )
    def test_simple_contents(self, content: EventContent, text: str) -> None:
        assert extract_text_body(content) == text

    def test_a_composite_says_all_its_parts(self) -> None:
        """Captions included, nested parts too, one space between, none for silent parts."""
        inner = CompositeContent(parts=[media(caption="three"), media()])
        content = CompositeContent(
            parts=[TextContent(body="one"), RichContent(body="two"), inner, TextContent(body="4")]
        )
        assert extract_text_body(content) == "one two three 4"

    def test_an_edit_says_its_new_content(self) -> None:
        edit = EditContent(target_event_id="e", new_content=TextContent(body="right"))
        assert extract_text_body(edit) == "right"
        captioned = EditContent(target_event_id="e", new_content=media(caption="now"))
        assert extract_text_body(captioned) == "now"

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (LocationContent(latitude=45.5, longitude=-73.56), "45.5,-73.56"),
            (
                LocationContent(latitude=45.5, longitude=-73.56, label="Office"),
                "Office \u2013 45.5,-73.56",
            ),
            (
                LocationContent(latitude=45.5, longitude=-73.0, label="Office", address="1 Main"),
                "Office \u2013 1 Main \u2013 45.5,-73.0",
            ),
            (LocationContent(latitude=0.00001, longitude=-0.00002), "0.0000100,-0.0000200"),
        ],
    )
    def test_a_location_says_where_it_is(self, content: LocationContent, text: str) -> None:
        assert extract_text_body(content) == text

    def test_depth_costs_no_stack(self) -> None:
        assert extract_text_body(nested_edit(50_000)) == "deep"


class TestExtractMediaUrls:
    """URLs in order, and only those an MMS can carry when asked."""

    def test_contents_with_and_without_media(self) -> None:
        assert extract_media_urls(media()) == [PNG]
        assert extract_media_urls(TextContent(body="x")) == []
        assert extract_media_urls(VideoContent(url="https://v.test/1")) == ["https://v.test/1"]
        assert extract_media_urls(AudioContent(url="https://a.test/1")) == ["https://a.test/1"]
        assert extract_media_urls(AudioContent(url="data:audio/ogg;base64,AAAA")) == []

    def test_composites_are_opened_at_any_depth(self) -> None:
        inner = CompositeContent(parts=[media("https://files.test/2"), TextContent(body="x")])
        outer = CompositeContent(
            parts=[media("https://files.test/1"), inner, media("https://files.test/3")]
        )
        assert extract_media_urls(outer) == [f"https://files.test/{n}" for n in (1, 2, 3)]

    def test_an_edit_carries_the_new_media(self) -> None:
        edit = EditContent(target_event_id="e", new_content=media())
        assert extract_media_urls(edit) == [PNG]

    def test_data_urls_are_left_out_on_request(self) -> None:
        both = CompositeContent(parts=[media(DATA), media()])
        assert extract_media_urls(both) == [DATA, PNG]
        assert extract_media_urls(both, http_only=True) == [PNG]


class TestUnsendableReason:
    """What to answer when nothing can be sent."""

    def test_media_that_cannot_be_fetched_and_nothing_at_all(self) -> None:
        assert unsendable_reason(media(DATA)) == "unsupported_media"
        nested = CompositeContent(parts=[CompositeContent(parts=[media(DATA)])])
        assert unsendable_reason(nested) == "unsupported_media"
        assert unsendable_reason(TextContent(body="")) == "empty_message"
        assert unsendable_reason(DeleteContent(target_event_id="e")) == "empty_message"


class TestBuildInboundContent:
    """The smallest content that holds text and attachments."""

    def test_text_alone(self) -> None:
        assert build_inbound_content("Hi", []) == TextContent(body="Hi")
        assert build_inbound_content("", []) == TextContent(body="")
        assert build_inbound_content(None, []) == TextContent(body="")

    def test_one_attachment(self) -> None:
        entry = {"url": PNG, "mime_type": "image/png"}
        assert build_inbound_content("", [entry]) == media()
        assert build_inbound_content("Hi", [entry]) == media(caption="Hi")

    def test_several_attachments_come_after_the_text(self) -> None:
        entries: list[dict[str, str | None]] = [
            {"url": PNG, "mime_type": "image/png"},
            {"url": "https://files.test/b", "mime_type": None},
        ]
        parts = [
            media(),
            MediaContent(url="https://files.test/b", mime_type="application/octet-stream"),
        ]
        text = TextContent(body="Hi")
        assert build_inbound_content("Hi", entries) == CompositeContent(parts=[text, *parts])
        assert build_inbound_content("", entries) == CompositeContent(parts=[*parts])

    def test_entries_without_url_are_dropped(self) -> None:
        entries: list[dict[str, str | None]] = [{"url": ""}, {"url": None}, {}, {"url": PNG}]
        assert build_inbound_content("", entries) == MediaContent(
            url=PNG, mime_type="application/octet-stream"
        )

    def test_unusable_urls_are_skipped_with_a_warning(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The text still arrives, and the log does not repeat the URL."""
        entries = [{"url": "ftp://files.test/secret"}, {"url": "/relative"}]
        with caplog.at_level(logging.WARNING, logger="roomkit.providers.sms"):
            content = build_inbound_content("Hi", entries)
        assert content == TextContent(body="Hi")
        assert len(caplog.records) == 2
        assert "secret" not in caplog.text


class TestExtractors:
    """The way from a vendor's name to its reader."""

    @pytest.mark.parametrize("name", ["sinch", "telnyx", "twilio", "voicemeup"])
    def test_every_vendor_has_one(self, name: str) -> None:
        """In any case of the name, and as a function of its own."""
        of_vendor = getattr(meta, f"extract_{name}_meta")
        payloads: list[dict[str, Any]] = [{}, {"data": {"payload": {}}}]
        for payload in payloads:
            found = extract_sms_meta(name.upper(), payload)
            assert found.provider == name
            assert found == of_vendor(payload)
            assert (found.sender, found.body, found.external_id) == ("", "", None)

    @pytest.mark.parametrize("name", ["", "vonage", "Twilio "])
    def test_others_are_refused(self, name: str) -> None:
        """The error names what was asked for and what there is."""
        with pytest.raises(
            ValueError, match="Supported: sinch, telnyx, twilio, voicemeup"
        ) as caught:
            extract_sms_meta(name, {})
        assert str(caught.value).startswith(f"Unknown SMS provider: {name}. ")

    def test_only_the_vendor_asked_for_is_imported(self) -> None:
        """Readers are found by name when they are used."""
        program = (
            "import sys; from roomkit.providers.sms.meta import extract_sms_meta\n"
            "assert 'roomkit.providers.twilio' not in sys.modules\n"
            "extract_sms_meta('twilio', {})\n"
            "assert 'roomkit.providers.twilio' in sys.modules\n"
            "assert not {'roomkit.providers.telnyx', 'httpx'} & {*sys.modules}"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


class TestInboundOf:
    """What all vendors' readers make their messages with."""

    def test_a_keyword_of_the_vendor_wins(self) -> None:
        """The text's keyword stands in where the metadata name none; they are not changed."""
        found = a_meta(body="STOP")
        given = {"a": 1}
        assert inbound_of(found, "sms", given).metadata == {"a": 1, "keyword": "stop"}
        assert given == {"a": 1}
        said = inbound_of(found, "sms", {"keyword": "help"})
        assert said.metadata == {"keyword": "help"}

    def test_content_of_its_own(self) -> None:
        """A reader that knows better says what was said; else it is the text."""
        place = LocationContent(latitude=1.0, longitude=2.0)
        assert inbound_of(a_meta(), "sms", {}, content=place).content == place
        assert inbound_of(a_meta(), "sms", {}).content == TextContent(body="Hello")
