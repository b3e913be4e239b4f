"""WhatsApp Business: what each kind of content is sent as, and its media."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from roomkit._fetch import FetchedMedia
from roomkit.exceptions import MediaFetchError, ProviderDeliveryError, UnsafeURLError
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    DeleteContent,
    EditContent,
    EventContent,
    LocationContent,
    MediaContent,
    RichContent,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit.providers.whatsapp import cloud
from roomkit.providers.whatsapp.cloud import WhatsAppCloudProvider
from roomkit.providers.whatsapp.config import WhatsAppCloudConfig
from roomkit.simulators import WhatsAppSimulator, cut, error
from tests.test_providers._events import an_event
from tests.test_providers.test_whatsapp_cloud import PERSON, a_provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FILE = "https://files.test/a"
ALL_BYTES = bytes(range(256)) * 3


@pytest.fixture
async def sim() -> AsyncIterator[WhatsAppSimulator]:
    """The Cloud API."""
    async with WhatsAppSimulator() as sim:
        yield sim


@pytest.fixture
async def provider(sim: WhatsAppSimulator) -> AsyncIterator[WhatsAppCloudProvider]:
    """The provider, at the simulator."""
    provider = WhatsAppCloudProvider(WhatsAppCloudConfig(**sim.settings))
    yield provider
    await provider.close()


async def sent(content: EventContent) -> list[dict[str, Any]]:
    """Return what stands under ``type`` of each message, the type first."""
    provider, seen = a_provider()
    result = await provider.send(an_event(content), to=PERSON)
    assert result.success is bool(seen)
    bodies = [json.loads(request.content) for request in seen]
    return [{"type": body["type"], **body[body["type"]]} for body in bodies]


class TestContent:
    """What each kind of content is sent as."""

    @pytest.mark.parametrize(
        ("content", "fields"),
        [
            (
                MediaContent(url=FILE, mime_type="image/jpeg", caption="c"),
                {"type": "image", "link": FILE, "caption": "c"},
            ),
            (
                MediaContent(url=FILE, mime_type="application/pdf", filename="a.pdf"),
                {"type": "document", "link": FILE, "filename": "a.pdf"},
            ),
            (MediaContent(url=FILE, mime_type="image/gif"), {"type": "document", "link": FILE}),
            (MediaContent(url=FILE, mime_type="video/mp4"), {"type": "video", "link": FILE}),
            (
                AudioContent(url=FILE, mime_type="audio/ogg; codecs=opus"),
                {"type": "audio", "link": FILE},
            ),
            (VideoContent(url=FILE), {"type": "video", "link": FILE}),
            (
                LocationContent(latitude=1, longitude=2, label="L", address="A"),
                {
                    "type": "location",
                    "latitude": 1.0,
                    "longitude": 2.0,
                    "name": "L",
                    "address": "A",
                },
            ),
            (
                LocationContent(latitude=1, longitude=2),
                {"type": "location", "latitude": 1.0, "longitude": 2.0},
            ),
            (RichContent(body="*b*"), {"type": "text", "body": "*b*", "preview_url": False}),
            (
                RichContent(body="<b>b</b>", format="html", plain_text="b"),
                {"type": "text", "body": "b", "preview_url": False},
            ),
        ],
    )
    async def test_one_message(self, content: EventContent, fields: dict[str, Any]) -> None:
        """The type follows the content; what a type does not take travels as a document."""
        assert await sent(content) == [fields]

    async def test_an_audio_file_has_no_caption(self) -> None:
        """Its words follow as a text."""
        voice = MediaContent(url=FILE, mime_type="audio/mpeg", caption="listen")
        assert [part["type"] for part in await sent(voice)] == ["audio", "text"]

    @pytest.mark.parametrize(
        ("parameters", "expected"),
        [
            ({"2": "b", "10": "c", "1": "a"}, [{}, {}, {}]),
            ({"name": "a"}, [{"parameter_name": "name"}]),
        ],
    )
    async def test_a_template(self, parameters: dict[str, str], expected: list[Any]) -> None:
        """Numbered parameters go by number, others by name."""
        template = TemplateContent(template_id="t", language="fr", parameters=parameters)
        found = (await sent(template))[0]
        assert (found["name"], found["language"]) == ("t", {"code": "fr"})
        body = found["components"][0]["parameters"]
        assert [p["text"] for p in body] == ["a", "b", "c"][: len(expected)]
        assert [p.get("parameter_name") for p in body] == [
            e.get("parameter_name") for e in expected
        ]

    async def test_a_composite(self) -> None:
        """The first text is the caption of the first media that can have one."""
        parts: list[EventContent] = [
            AudioContent(url=FILE),
            TextContent(body="look"),
            MediaContent(url=FILE, mime_type="image/png"),
            TextContent(body="more"),
        ]
        found = await sent(CompositeContent(parts=parts))
        assert [part["type"] for part in found] == ["audio", "image", "text"]
        assert found[1]["caption"] == "look"
        assert found[2]["body"] == "more"

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (TextContent(body=" \n"), "empty_message"),
            (
                EditContent(target_event_id="e", new_content=TextContent(body="x")),
                "Unsupported content type: EditContent",
            ),
            (DeleteContent(target_event_id="e"), "Unsupported content type: DeleteContent"),
            (
                MediaContent(url="data:image/png;base64,%%%", mime_type="image/png"),
                "unsupported_media",
            ),
        ],
    )
    async def test_nothing_to_send(self, content: EventContent, code: str) -> None:
        """It is answered without asking the vendor."""
        provider, seen = a_provider()
        result = await provider.send(an_event(content), to=PERSON)
        assert (result.error, result.metadata["retryable"], seen) == (code, False, [])


class TestChoices:
    """Buttons, lists, links and cards."""

    async def test_up_to_three_are_buttons(self) -> None:
        """Buttons and quick replies alike, labels cut to 20 characters."""
        rich = RichContent(
            body="Well?",
            buttons=[{"text": "Yes, the red one please", "payload": "y"}],
            quick_replies=["No"],
        )
        assert await sent(rich) == [
            {
                "type": "button",
                "body": {"text": "Well?"},
                "action": {
                    "buttons": [
                        {"type": "reply", "reply": {"id": "y", "title": "Yes, the red one ple"}},
                        {"type": "reply", "reply": {"id": "No", "title": "No"}},
                    ]
                },
            }
        ]

    async def test_more_are_lists(self) -> None:
        """Ten rows a list; the label of the button is the config's."""
        provider, seen = a_provider(list_button="Wahl")
        rich = RichContent(body="Pick", quick_replies=[f"choice {n}" for n in range(12)])
        assert (await provider.send(an_event(rich), to=PERSON)).success
        actions = [json.loads(request.content)["interactive"]["action"] for request in seen]
        assert [action["button"] for action in actions] == ["Wahl", "Wahl"]
        assert [len(action["sections"][0]["rows"]) for action in actions] == [10, 2]

    async def test_one_link_is_a_button_too(self) -> None:
        """Beside other buttons a link is written under the text."""
        link = {"text": "Shop", "url": "https://shop.test"}
        alone = await sent(RichContent(body="Go", buttons=[link]))
        assert alone[0]["action"] == {
            "name": "cta_url",
            "parameters": {"display_text": "Shop", "url": "https://shop.test"},
        }
        beside = await sent(RichContent(body="Go", buttons=[link, {"text": "No"}]))
        assert beside[0]["body"]["text"] == "Go\nShop: https://shop.test"

    async def test_the_vendor_takes_all_of_it(
        self, sim: WhatsAppSimulator, provider: WhatsAppCloudProvider
    ) -> None:
        """Long texts, twin labels, twin ids, cards: all within the vendor's limits."""
        twins = [{"text": "the same long label for all of us", "payload": "p" * 300}] * 2
        more = [{"text": f"the same long label for all {n}", "payload": "same"} for n in range(12)]
        card = {
            "title": "Boat",
            "subtitle": "s" * 2000,
            "image_url": FILE,
            "buttons": [{"text": "Book"}, {"text": "Open", "url": FILE}],
        }
        for content in (
            RichContent(body="b" * 9000, buttons=[*twins, *more[:1]]),
            RichContent(body="", buttons=more),
            RichContent(body="", quick_replies=["a" * 30, "a" * 31]),
            RichContent(body="x", cards=[card, {"title": "t", "image_url": FILE}, {"title": "t"}]),
            RichContent(body="x", cards=[{"title": "t" * 1500, "image_url": FILE}]),
            MediaContent(url=FILE, mime_type="image/png", caption="c" * 5000),
            MediaContent(url=FILE, mime_type="text/plain", filename="f" * 300),
        ):
            result = await provider.send(an_event(content), to=PERSON)
            assert result.success, result


class TestMedia:
    """Files in and out."""

    async def test_a_data_url_is_uploaded(
        self, sim: WhatsAppSimulator, provider: WhatsAppCloudProvider
    ) -> None:
        """Its bytes arrive as they are, and the message names the upload."""
        image = MediaContent(url="data:image/png;base64,iVBORw0KGgo=", mime_type="image/png")
        assert (await provider.send(an_event(image), to=PERSON)).success
        media_id = sim.sent[0].media[0]
        assert sim.media[media_id] == (b"\x89PNG\r\n\x1a\n", "image/png")

    async def test_a_failed_upload_may_be_repeated(
        self, sim: WhatsAppSimulator, provider: WhatsAppCloudProvider
    ) -> None:
        """Nobody was sent anything, so an answer cut off is no riddle; a refusal stays one."""
        image = an_event(MediaContent(url="data:image/png,x", mime_type="image/png"))
        sim.script(cut())
        broken = await provider.send(image, to=PERSON)
        assert broken.metadata["retryable"] is True
        assert "ambiguous" not in broken.metadata
        sim.script(error(400, code="131053"))
        refused = await provider.send(image, to=PERSON)
        assert (refused.error, refused.metadata["retryable"]) == ("graph_131053", False)

    async def test_up_and_down(
        self, sim: WhatsAppSimulator, provider: WhatsAppCloudProvider
    ) -> None:
        """What was uploaded can be looked at and fetched, byte for byte."""
        media_id = await provider.upload_media(ALL_BYTES, "application/pdf", "a.pdf")
        about = await provider.get_media(media_id)
        assert (about["mime_type"], about["file_size"]) == ("application/pdf", len(ALL_BYTES))
        assert await provider.download_media(media_id) == ALL_BYTES
        with pytest.raises(MediaFetchError, match="longer"):
            await provider.download_media(media_id, max_bytes=10)
        with pytest.raises(ProviderDeliveryError, match="graph_100"):
            await provider.get_media("../../444/messages")

    async def test_an_answer_without_what_was_asked_for(self) -> None:
        """An upload without id and a file without URL are unreadable answers."""
        provider, _ = a_provider(lambda _: httpx.Response(200, json={}))
        with pytest.raises(ProviderDeliveryError, match="invalid_response"):
            await provider.upload_media(b"x", "text/plain")
        with pytest.raises(ProviderDeliveryError, match="invalid_response"):
            await provider.get_media("1")

    @pytest.mark.parametrize(
        ("url", "told"),
        [
            ("https://93.184.215.14/f", False),
            ("https://lookaside.fbsbx.com.evil.test/f", None),
            ("http://127.0.0.1:1/f", None),
            ("file:///etc/passwd", None),
        ],
    )
    async def test_the_token_goes_to_meta_only(self, url: str, told: bool | None) -> None:
        """Whatever URL comes back: no other host sees the token, no private one is asked."""
        fetched: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.host == "graph.facebook.com":
                return httpx.Response(200, json={"url": url})
            fetched.append(request)
            return httpx.Response(200, content=b"x")

        provider, _ = a_provider(answer)
        if told is None:
            with pytest.raises(UnsafeURLError):
                await provider.download_media("1")
        else:
            assert await provider.download_media("1") == b"x"
        assert ["authorization" in request.headers for request in fetched] == [told] * len(fetched)

    @pytest.mark.parametrize(
        ("url", "trusted"),
        [
            ("https://lookaside.fbsbx.com/f", {"graph.facebook.com", "lookaside.fbsbx.com"}),
            ("https://scontent.xx.fbcdn.net/f", {"graph.facebook.com", "scontent.xx.fbcdn.net"}),
            ("https://notfbsbx.com/f", {"graph.facebook.com"}),
        ],
    )
    async def test_metas_own_hosts_get_the_token(
        self, monkeypatch: pytest.MonkeyPatch, url: str, trusted: set[str]
    ) -> None:
        """Only those, and none of them may be private."""
        asked: dict[str, Any] = {}

        async def fetch(url: str, **options: Any) -> FetchedMedia:
            asked.update(options, url=url)
            return FetchedMedia(b"x", "image/png")

        monkeypatch.setattr(cloud, "fetch_media", fetch)
        provider, _ = a_provider(lambda _: httpx.Response(200, json={"url": url}))
        assert await provider.download_media("1") == b"x"
        assert (asked["url"], asked["auth_hosts"], asked["allow_hosts"]) == (url, trusted, ())
