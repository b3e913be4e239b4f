"""The Teams bot at its simulator: sends, conversations, edits, tokens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from roomkit import EditContent, MediaContent, RichContent, TextContent
from roomkit.models.content import CompositeContent
from roomkit.providers.teams import (
    BotFrameworkTeamsProvider,
    InMemoryConversationReferenceStore,
    TeamsConfig,
)
from roomkit.simulators import TeamsSimulator, error
from roomkit.testing import ManualClock, make_event
from roomkit.testing.conformance import ProviderConformance
from tests.support.vendors import VendorSuite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.providers.base import Provider
    from roomkit.simulators import VendorSimulator

PERSON = "a:personal"


def bot(sim: TeamsSimulator, **fields: Any) -> BotFrameworkTeamsProvider:
    """Return a bot of the simulator's tenant."""
    return BotFrameworkTeamsProvider(TeamsConfig(**{**sim.settings, **fields}))


@pytest.fixture
async def sim() -> AsyncIterator[TeamsSimulator]:
    async with TeamsSimulator() as sim:
        yield sim


@pytest.fixture
async def provider(sim: TeamsSimulator) -> AsyncIterator[BotFrameworkTeamsProvider]:
    """A bot that has been written to."""
    provider = bot(sim)
    await provider.save_conversation_reference(sim.activity())
    yield provider
    await provider.close()


class TestVendorSuite(VendorSuite):
    """What every provider must do."""

    recipient = PERSON
    secrets: ClassVar[tuple[str, ...]] = ("canary-secret", "sim-token-1")

    tries: ClassVar[dict[int, int]] = {401: 2}

    def make_simulator(self) -> VendorSimulator:
        return TeamsSimulator(app_password="canary-secret")

    def make_provider(self, settings: dict[str, Any]) -> Provider:
        store = InMemoryConversationReferenceStore()
        provider = BotFrameworkTeamsProvider(TeamsConfig(**settings), conversation_store=store)
        # As an activity that came in would leave it.
        reference = {"serviceUrl": f"{settings['api_base']}/amer/", "conversation": {"id": PERSON}}
        run = store.save(PERSON, reference)
        with pytest.raises(StopIteration):
            run.send(None)
        return provider

    @pytest.fixture
    async def sim(self) -> AsyncIterator[VendorSimulator]:
        async with TeamsSimulator(app_password="canary-secret") as sim:
            sim.conversations.add(PERSON)
            yield sim


class TestConformance(ProviderConformance):
    """What every provider must do, alone."""

    recipient = PERSON
    secrets = ("sim-teams-password",)

    @pytest.fixture(autouse=True)
    async def vendor(self) -> AsyncIterator[None]:
        async with TeamsSimulator() as sim:
            self.sim = sim
            yield

    async def make_provider(self) -> Provider:
        provider = bot(self.sim)
        await provider.save_conversation_reference(self.sim.activity())
        return provider


class TestSending:
    """What the connector gets."""

    async def test_text(self, sim: TeamsSimulator, provider: BotFrameworkTeamsProvider) -> None:
        """Plain text stays plain: Teams would read it as markdown otherwise."""
        result = await provider.send(make_event(body="2 * 3 * 4"), to=PERSON)
        assert result.provider_message_id == sim.sent[0].id
        assert sim.sent[0].data == {
            "type": "message",
            "text": "2 * 3 * 4",
            "textFormat": "plain",
        }
        request = sim.requests[-1]
        assert request.path == f"/amer/v3/conversations/{PERSON}/activities"

    async def test_an_unknown_conversation(
        self, sim: TeamsSimulator, provider: BotFrameworkTeamsProvider
    ) -> None:
        """The bot was never there: nothing is asked."""
        result = await provider.send(make_event(body="x"), to="nowhere")
        assert (result.success, result.error) == (False, "no_conversation_reference")
        assert result.metadata == {"conversation_id": "nowhere", "retryable": False}
        assert not sim.requests

    async def test_nothing_to_say(self, provider: BotFrameworkTeamsProvider) -> None:
        """Empty content is ``empty_message``, also as an edit."""
        assert (await provider.send(make_event(body=""), to=PERSON)).error == "empty_message"
        edited = await provider.edit_message(PERSON, "a-1", TextContent(body=""))
        assert edited.error == "empty_message"

    async def test_rich(self, sim: TeamsSimulator, provider: BotFrameworkTeamsProvider) -> None:
        """Buttons and cards as Adaptive Cards, quick replies as suggested actions."""
        rich = RichContent(
            body="<b>Choose</b>",
            format="html",
            buttons=[
                {"text": "Site", "url": "https://example.org"},
                {"text": "Yes", "payload": "y"},
            ],
            cards=[
                {
                    "title": "T",
                    "description": "D",
                    "image_url": "https://example.org/i.png",
                    "buttons": [{"title": "B", "id": "b"}],
                },
                {"type": "AdaptiveCard", "version": "1.5", "body": []},
            ],
            quick_replies=["Red", "Blue"],
        )
        assert (await provider.send(make_event(content=rich), to=PERSON)).success
        sent = sim.sent[0].data
        assert (sent["textFormat"], sent["text"]) == ("xml", "<b>Choose</b>")
        assert [a["value"] for a in sent["suggestedActions"]["actions"]] == ["Red", "Blue"]
        buttons, card, native = (a["content"] for a in sent["attachments"])
        assert buttons["actions"][0] == {
            "type": "Action.OpenUrl",
            "title": "Site",
            "url": "https://example.org",
        }
        assert buttons["actions"][1]["data"]["msteams"] == {"type": "imBack", "value": "y"}
        assert [b.get("text") or b["url"] for b in card["body"]] == [
            "https://example.org/i.png",
            "T",
            "D",
        ]
        assert card["actions"][0]["data"]["payload"] == "b"
        assert native == {"type": "AdaptiveCard", "version": "1.5", "body": []}

    async def test_media_and_mentions(
        self, sim: TeamsSimulator, provider: BotFrameworkTeamsProvider
    ) -> None:
        """Files by URL go along; people are mentioned by tag and entity."""
        picture = MediaContent(
            url="https://example.org/a.png", mime_type="image/png", filename="a.png"
        )
        content = CompositeContent(parts=[TextContent(body="look"), picture])
        people = [{"id": "29:x", "name": "A & B"}, {"id": ""}, "nobody"]
        event = make_event(content=content, metadata={"mentions": people})
        assert (await provider.send(event, to=PERSON)).success
        sent = sim.sent[0]
        assert sent.media == ("https://example.org/a.png",)
        assert sent.text == "<at>A &amp; B</at> look"
        assert sent.data["entities"][0]["mentioned"] == {"id": "29:x", "name": "A & B"}
        assert sent.data["textFormat"] == "markdown"

    async def test_edits_and_deletes(
        self, sim: TeamsSimulator, provider: BotFrameworkTeamsProvider
    ) -> None:
        """What was sent is changed and taken back by its id."""
        sent = await provider.send(make_event(body="helo"), to=PERSON)
        message = sent.provider_message_id
        assert message is not None
        edited = await provider.edit_message(PERSON, message, TextContent(body="hello"))
        assert (edited.success, edited.provider_message_id) == (True, message)
        assert sim.edited[message]["text"] == "hello"
        assert (await provider.delete_message(PERSON, message)).success
        assert sim.deleted == [message]

    async def test_an_edit_as_content(
        self, sim: TeamsSimulator, provider: BotFrameworkTeamsProvider
    ) -> None:
        """Sent as it is, an edit is its new text."""
        edit = EditContent(target_event_id="e", new_content=TextContent(body="new"))
        assert (await provider.send(make_event(content=edit), to=PERSON)).success
        assert sim.sent[0].text == "new"

    async def test_typing(self, sim: TeamsSimulator, provider: BotFrameworkTeamsProvider) -> None:
        """It is an activity of its own; there is none that takes it back."""
        assert await provider.send_typing(PERSON)
        assert sim.requests[-1].json == {"type": "typing"}
        assert not await provider.send_typing(PERSON, is_typing=False)

    @pytest.mark.parametrize(("status", "again"), [(412, True), (502, True), (504, True)])
    async def test_what_may_be_repeated(
        self, sim: TeamsSimulator, provider: BotFrameworkTeamsProvider, status: int, again: bool
    ) -> None:
        """The connector says of 412, 502 and 504 that they may be tried again."""
        sim.script(error(status))
        result = await provider.send(make_event(body="x"), to=PERSON)
        assert result.metadata["retryable"] is again
        assert "ambiguous" not in result.metadata

    async def test_error_details(
        self, sim: TeamsSimulator, provider: BotFrameworkTeamsProvider
    ) -> None:
        """The connector's own code is kept."""
        sim.script(error(403))
        result = await provider.send(make_event(body="x"), to=PERSON)
        assert result.error == "http_403"
        assert result.metadata["code"] == "BotNotInConversationRoster"


class TestTokens:
    """One token for many requests, and only for Teams."""

    async def test_it_is_kept_and_renewed(self, sim: TeamsSimulator) -> None:
        """Asked for once, again five minutes before its end."""
        clock = ManualClock()
        provider = BotFrameworkTeamsProvider(TeamsConfig(**sim.settings), clock=clock)
        await provider.save_conversation_reference(sim.activity())
        for seconds in (0.0, 3000.0, 299.0):
            await clock.advance(seconds)
            assert (await provider.send(make_event(body="x"), to=PERSON)).success
            assert sim.tokens == 1
        await clock.advance(2.0)
        assert (await provider.send(make_event(body="x"), to=PERSON)).success
        assert sim.tokens == 2
        await provider.close()

    async def test_a_token_that_no_longer_counts(
        self, sim: TeamsSimulator, provider: BotFrameworkTeamsProvider
    ) -> None:
        """It is replaced, and the message goes out."""
        assert (await provider.send(make_event(body="1"), to=PERSON)).success
        sim.revoke_tokens()
        assert (await provider.send(make_event(body="2"), to=PERSON)).success
        assert [m.text for m in sim.sent] == ["1", "2"]

    async def test_a_wrong_tenant(self, sim: TeamsSimulator) -> None:
        """AADSTS700016 tells of a tenant that is not the bot's."""
        provider = bot(sim, tenant_id="common")
        await provider.save_conversation_reference(sim.activity())
        result = await provider.send(make_event(body="x"), to=PERSON)
        await provider.close()
        assert result.error == "auth_error"
        assert result.metadata["code"] == "AADSTS700016"
        assert result.metadata["retryable"] is False

    async def test_common_is_warned_of(
        self, sim: TeamsSimulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """New registrations are single-tenant: one line says so."""
        await bot(sim, tenant_id="common").close()
        assert "tenant_id" in caplog.text

    @pytest.mark.parametrize(
        "service",
        [
            "https://evil.example/",
            "http://smba.trafficmanager.net/amer/",
            "https://smba.trafficmanager.net.evil.example/",
            "https://user@smba.trafficmanager.net/",
            "https://smba.trafficmanager.net:8443/",
            "https://smba.trafficmanager.net@evil.example/",
            "http://169.254.169.254/",
            "http://[",
        ],
    )
    async def test_it_goes_to_teams_only(self, sim: TeamsSimulator, service: str) -> None:
        """A conversation elsewhere gets no token, nor anything else."""
        provider = bot(sim)
        activity = {**sim.activity(), "serviceUrl": service}
        await provider.save_conversation_reference(activity)
        result = await provider.send(make_event(body="x"), to=PERSON)
        await provider.close()
        assert result.error == "service_not_allowed"
        assert not sim.requests

    def test_where_it_may_go(self) -> None:
        """The connector's hosts of both clouds."""
        config = TeamsConfig(app_id="a", app_password="p")
        assert config.allows_service("https://smba.trafficmanager.net/emea/")
        assert config.token_url.startswith("https://login.microsoftonline.com/botframework.com/")
        gov = TeamsConfig(app_id="a", app_password="p", tenant_id="t", government=True)
        assert gov.token_url == "https://login.microsoftonline.us/t/oauth2/v2.0/token"
        assert gov.openid_url.startswith("https://login.botframework.azure.us/")
        assert gov.issuer == "https://api.botframework.us"


class TestConversations:
    """Opening new ones."""

    async def test_a_channel_thread(
        self, sim: TeamsSimulator, provider: BotFrameworkTeamsProvider
    ) -> None:
        """[V] A thread begins with a message, and can be written into afterwards."""
        made = await provider.create_channel_conversation(
            sim.service_url, "19:general", text="News"
        )
        assert made.startswith("19:general;messageid=")
        assert sim.sent[0].text == "News"
        assert (await provider.send(make_event(body="more"), to=made)).success
        reference = await provider.conversation_store.get(made)
        assert reference is not None
        assert reference["channelId"] == "msteams"
        assert reference["conversation"]["conversationType"] == "channel"

    async def test_a_person(
        self, sim: TeamsSimulator, provider: BotFrameworkTeamsProvider
    ) -> None:
        """The conversation with one person; nothing is written yet."""
        made = await provider.create_personal_conversation(sim.service_url, "29:ana")
        assert not sim.sent
        assert (await provider.send(make_event(body="hi"), to=made)).success

    async def test_it_fails(
        self, sim: TeamsSimulator, provider: BotFrameworkTeamsProvider
    ) -> None:
        """A RuntimeError names the channel, and leads nowhere else."""
        sim.script(error(403))
        with pytest.raises(RuntimeError, match="19:general"):
            await provider.create_channel_conversation(sim.service_url, "19:general")
        with pytest.raises(RuntimeError, match="service_not_allowed"):
            await provider.create_channel_conversation("https://evil.example", "19:general")

    async def test_properties(self, provider: BotFrameworkTeamsProvider) -> None:
        """The connector and the store can be looked at; neither shows a secret."""
        assert "password" not in repr(provider.adapter)
        assert await provider.conversation_store.list_all()


class TestWithoutItsPackages:
    """Importing works, constructing says what to install."""

    @pytest.mark.parametrize(
        ("missing", "text"),
        [
            ("jwt", "PyJWT is required for BotFrameworkTeamsProvider"),
            ("cryptography", "cryptography is required for BotFrameworkTeamsProvider"),
            ("httpx", "httpx is required for BotFrameworkTeamsProvider"),
        ],
    )
    def test_import_errors(self, monkeypatch: pytest.MonkeyPatch, missing: str, text: str) -> None:
        """The error names package, class and extra."""
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(ImportError, match=text) as caught:
            BotFrameworkTeamsProvider(TeamsConfig(app_id="a", app_password="p", tenant_id="t"))
        assert "roomkit[teams]" in str(caught.value)
