"""What Teams sends to a bot: reading it, and knowing who sent it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit import MediaContent, TextContent
from roomkit.exceptions import ProviderError, WebhookError, WebhookRefused
from roomkit.models.enums import EventType
from roomkit.providers.teams import (
    BotFrameworkTeamsProvider,
    TeamsConfig,
    is_bot_added,
    parse_teams_activity,
    parse_teams_webhook,
)
from roomkit.providers.webhook import Signal, WebhookRequest
from roomkit.simulators import TeamsSimulator
from roomkit.testing import ManualClock
from roomkit.testing.conformance import WebhookHandlerConformance
from tests.test_providers._teams_vectors import APP_ID, GOOD, JWK, OTHER_ISSUER, SERVICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.providers.webhook import WebhookHandler

MESSAGE: dict[str, Any] = {
    "type": "message",
    "id": "m-1",
    "text": "<at>Bot</at> hello &amp; goodbye",
    "from": {"id": "29:ana", "name": "Ana", "aadObjectId": "aad"},
    "recipient": {"id": "28:bot"},
    "conversation": {"id": "19:x;messageid=1", "conversationType": "channel", "isGroup": True},
    "channelId": "msteams",
    "serviceUrl": SERVICE,
    "channelData": {"tenant": {"id": "t"}, "team": {"id": "team"}, "channel": {"id": "19:x"}},
    "entities": [{"type": "mention", "mentioned": {"id": "28:bot"}, "text": "<at>Bot</at>"}],
    "replyToId": "m-0",
}


def changed(**fields: Any) -> dict[str, Any]:
    """Return the message with some fields replaced."""
    return {**MESSAGE, **fields}


class TestReading:
    """The pure functions."""

    def test_a_message(self) -> None:
        """Mention out, text unescaped, every fact in the metadata."""
        [message] = parse_teams_webhook(MESSAGE, "teams")
        assert message.content == TextContent(body="hello & goodbye")
        assert (message.sender_id, message.channel_id) == ("29:ana", "teams")
        assert message.external_id == message.idempotency_key == "m-1"
        assert message.metadata == {
            "sender_name": "Ana",
            "conversation_id": "19:x;messageid=1",
            "conversation_type": "channel",
            "is_group": True,
            "bot_mentioned": True,
            "service_url": SERVICE,
            "tenant_id": "t",
            "aad_object_id": "aad",
            "reply_to_id": "m-0",
            "team_id": "team",
            "teams_channel_id": "19:x",
        }

    def test_personal_chats_mention_the_bot_always(self) -> None:
        """And tags stay as they are there."""
        personal = changed(conversation={"id": "a:1"}, entities=None, text="<at>x</at> y")
        [message] = parse_teams_webhook(personal, "teams")
        assert message.metadata["bot_mentioned"] is True
        assert message.metadata["conversation_type"] == "personal"
        assert message.content == TextContent(body="<at>x</at> y")

    def test_other_mentions(self) -> None:
        """Somebody else was meant."""
        other = changed(entities=[{"type": "mention", "mentioned": {"id": "29:x"}}])
        assert parse_teams_webhook(other, "t")[0].metadata["bot_mentioned"] is False

    @pytest.mark.parametrize("text", [None, "", "  ", "<at>Bot</at> "])
    def test_nothing_said(self, text: str | None) -> None:
        """[V] A null text (a submitted card, attachments only) is no error and no message."""
        assert parse_teams_webhook(changed(text=text), "t") == []

    def test_a_submitted_card(self) -> None:
        """Asked for, it is an empty text with the card's values."""
        card = changed(text=None, value={"choice": 1})
        assert parse_teams_webhook(card, "t") == []
        [message] = parse_teams_webhook(card, "t", include_submits=True)
        assert message.content == TextContent(body="")
        assert message.metadata["value"] == {"choice": 1}

    def test_attachments(self) -> None:
        """Pictures and files are media; cards and the text's own copy are not."""
        attachments = [
            {"contentType": "image/png", "contentUrl": "https://x.example/i.png"},
            {
                "contentType": "application/vnd.microsoft.teams.file.download.info",
                "content": {"downloadUrl": "https://x.example/f"},
            },
            {"contentType": "text/html", "content": "<p>hello</p>"},
        ]
        [message] = parse_teams_webhook(changed(text=None, attachments=attachments[:1]), "t")
        assert isinstance(message.content, MediaContent)
        assert message.content.mime_type == "image/png"
        [message] = parse_teams_webhook(changed(attachments=attachments), "t")
        assert message.content.type == "composite"

    @pytest.mark.parametrize("kind", ["conversationUpdate", "typing", "", None])
    def test_other_activities_are_no_messages(self, kind: str | None) -> None:
        """Only messages are."""
        assert parse_teams_webhook(changed(type=kind), "t") == []

    def test_facts_of_nothing(self) -> None:
        """Everything missing is empty."""
        assert parse_teams_activity({}) == {
            "activity_type": "",
            "conversation_id": "",
            "conversation_type": "personal",
            "is_group": False,
            "service_url": "",
            "tenant_id": "",
            "sender_id": "",
            "sender_name": "",
            "bot_id": "",
            "members_added": [],
            "members_removed": [],
        }
        nulls = dict.fromkeys(("from", "conversation", "channelData", "entities", "recipient"))
        assert parse_teams_activity(nulls)["is_group"] is False

    def test_members(self) -> None:
        """Who came and who went, and whether the bot is among them."""
        update = {
            "type": "conversationUpdate",
            "recipient": {"id": "28:bot"},
            "membersAdded": [{"id": "28:bot"}, {"id": "29:x"}],
            "membersRemoved": [{"id": "29:y"}],
        }
        assert parse_teams_activity(update)["members_added"] == ["28:bot", "29:x"]
        assert parse_teams_activity(update)["members_removed"] == ["29:y"]
        assert is_bot_added(update)
        assert is_bot_added(update, "29:x")
        assert not is_bot_added(update, "29:z")
        assert not is_bot_added({**update, "type": "message"})
        assert not is_bot_added({**update, "recipient": None})

    def test_a_missing_sender_is_an_error(self) -> None:
        """The one field that must be there."""
        with pytest.raises(WebhookError, match=r"from\.id"):
            parse_teams_webhook(changed(**{"from": None}), "t")

    @given(st.data())
    def test_strange_shapes(self, data: st.DataObject) -> None:
        """T8: whatever stands where, it is messages or a WebhookError."""
        strange = st.sampled_from(
            [None, 1, 1.5, True, "x", [], {}, [1], {"id": 1}, {"id": []}, [[]], [{}], 10**5000]
        )
        keys = data.draw(st.lists(st.sampled_from(sorted(MESSAGE)), min_size=1, max_size=3))
        payload = changed(**{key: data.draw(strange) for key in keys})
        try:
            messages = parse_teams_webhook(payload, "t")
            facts = parse_teams_activity(payload)
            is_bot_added(payload)
        except WebhookError:
            return
        assert len(messages) <= 1
        assert facts["conversation_id"] is not None


@pytest.fixture
async def sim() -> AsyncIterator[TeamsSimulator]:
    async with TeamsSimulator() as sim:
        yield sim


@pytest.fixture
async def bot(sim: TeamsSimulator) -> AsyncIterator[BotFrameworkTeamsProvider]:
    provider = BotFrameworkTeamsProvider(TeamsConfig(**sim.settings))
    yield provider
    await provider.close()


def request_of(sim: TeamsSimulator, activity: dict[str, Any], **claims: Any) -> WebhookRequest:
    """Return an activity as the endpoint gets it."""
    token = sim.token(service_url=activity.get("serviceUrl"), **claims)
    return WebhookRequest(
        "POST",
        "https://bot.example/webhooks/teams",
        {"authorization": f"Bearer {token}"},
        {},
        json.dumps(activity).encode(),
        channel_id="teams",
    )


class TestHandler(WebhookHandlerConformance):
    """What every reader of callbacks must do."""

    @pytest.fixture(autouse=True)
    async def ends(self, sim: TeamsSimulator, bot: BotFrameworkTeamsProvider) -> None:
        self.sim, self.bot = sim, bot
        self.activity = sim.activity(text="hello")

    def make_handler(self) -> WebhookHandler:
        return self.bot.webhook()

    def good_request(self) -> WebhookRequest:
        return request_of(self.sim, self.activity)

    async def test_a_changed_body_is_refused(self) -> None:
        """A token covers the service's URL, not the whole body: another service is refused."""
        request = self.good_request()
        moved = json.dumps({**self.activity, "serviceUrl": SERVICE}).encode()
        with pytest.raises(WebhookRefused):
            await self.make_handler().verify(replace(request, body=moved))

    async def test_the_conversation_is_remembered(self) -> None:
        """After a verified activity the bot may write into its conversation."""
        await self.make_handler().verify(self.good_request())
        assert await self.bot.conversation_store.get("a:personal") is not None

    async def test_an_unverified_one_is_not(self) -> None:
        """A refused activity leaves nothing."""
        with pytest.raises(WebhookRefused):
            await self.make_handler().verify(
                request_of(self.sim, self.activity, aud="somebody-else")
            )
        assert await self.bot.conversation_store.list_all() == {}

    async def test_it_is_answered_with_a_body(self) -> None:
        """An invoke needs one."""
        answer = self.make_handler().response(self.good_request())
        assert (answer.status, answer.body) == (200, b"{}")


class TestSignals:
    """Reactions, edits and deletes."""

    async def test_reactions(self, sim: TeamsSimulator, bot: BotFrameworkTeamsProvider) -> None:
        """Added ones as emoji, removed ones as nothing; each with a key."""
        activity = sim.activity(
            "messageReaction",
            replyToId="a-7",
            reactionsAdded=[{"type": "heart"}, {"type": "custom"}],
            reactionsRemoved=[{"type": "like"}],
        )
        found = bot.webhook().read(request_of(sim, activity))
        signals = [item for item in found if isinstance(item, Signal)]
        assert [s.target_message_id for s in signals] == ["a-7"] * 3
        assert [s.content for s in signals] == [
            TextContent(body="\u2764\ufe0f"),
            TextContent(body="custom"),
            TextContent(body=""),
        ]
        assert len({s.idempotency_key for s in signals}) == 3
        assert all(s.type == EventType.REACTION for s in signals)

    async def test_changes(self, sim: TeamsSimulator, bot: BotFrameworkTeamsProvider) -> None:
        """An edit brings its text; both name the message."""
        edit = {**sim.activity("messageUpdate", text="better"), "id": "m-1"}
        [item] = bot.webhook().read(request_of(sim, edit))
        assert isinstance(item, Signal)
        assert (item.type, item.target_message_id) == (EventType.EDIT, "m-1")
        assert item.content == TextContent(body="better")
        delete = {**sim.activity("messageDelete"), "id": "m-1"}
        [item] = bot.webhook().read(request_of(sim, delete))
        assert isinstance(item, Signal)
        assert (item.type, item.content) == (EventType.DELETE, None)

    async def test_lifecycle(self, sim: TeamsSimulator, bot: BotFrameworkTeamsProvider) -> None:
        """Who joins is no message, and remembers the conversation."""
        update = request_of(sim, sim.activity("conversationUpdate", membersAdded=[{"id": "x"}]))
        await bot.webhook().verify(update)
        assert bot.webhook().read(update) == []
        assert await bot.conversation_store.get("a:personal")


class TestTokens:
    """T9: who may speak for Teams."""

    @pytest.mark.parametrize(
        "claims",
        [
            {"aud": "another-app"},
            {"iss": "https://sts.windows.net/tenant/"},
            {"iss": "https://login.microsoftonline.com/tenant/v2.0"},
            {"iss": "https://api.botframework.us"},
            {"exp": 1000},
            {"nbf": 4102444800},
            {"exp": None},
            {"aud": None},
            {"iss": None},
            {"serviceurl": "https://evil.example/"},
            {"serviceurl": None},
        ],
        ids=str,
    )
    async def test_wrong_claims(
        self, sim: TeamsSimulator, bot: BotFrameworkTeamsProvider, claims: dict[str, Any]
    ) -> None:
        """Another app, issuer, time or service: refused."""
        activity = sim.activity(text="x")
        token = sim.token(service_url=activity["serviceUrl"], **claims)
        with pytest.raises(WebhookRefused):
            await bot.webhook().verify(
                WebhookRequest(
                    "POST",
                    "u",
                    {"authorization": f"Bearer {token}"},
                    {},
                    json.dumps(activity).encode(),
                )
            )

    async def test_five_minutes_of_tolerance(
        self, sim: TeamsSimulator, bot: BotFrameworkTeamsProvider
    ) -> None:
        """Clocks differ: just ended, or not begun yet, still counts."""
        activity = sim.activity(text="x")
        now = int(time.time())
        await bot.webhook().verify(request_of(sim, activity, exp=now - 250))
        await bot.webhook().verify(request_of(sim, activity, nbf=now + 250))
        for claims in ({"exp": now - 350}, {"nbf": now + 350}):
            with pytest.raises(WebhookRefused):
                await bot.webhook().verify(request_of(sim, activity, **claims))

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "Bearer",
            "Bearer ",
            "Basic abc",
            "Bearer a.b.c",
            "Bearer \u00e9",
            "Bearer " + "a" * 20000,
            "Bearer eyJhbGciOiJub25lIn0.e30.",
        ],
        ids=range(8),
    )
    async def test_no_token(self, bot: BotFrameworkTeamsProvider, header: str) -> None:
        """Nothing, another scheme, unsigned, garbage: refused, never an error of ours."""
        request = WebhookRequest("POST", "u", {"authorization": header}, {}, b"{}")
        with pytest.raises(WebhookRefused):
            await bot.webhook().verify(request)

    async def test_another_bots_channel(
        self, sim: TeamsSimulator, bot: BotFrameworkTeamsProvider
    ) -> None:
        """The key is endorsed for Teams only."""
        with pytest.raises(WebhookRefused, match="endorsed"):
            await bot.webhook().verify(
                request_of(sim, sim.activity(text="x", channelId="webchat"))
            )

    async def test_a_service_that_is_not_allowed(
        self, sim: TeamsSimulator, bot: BotFrameworkTeamsProvider
    ) -> None:
        """A good token for a host we do not know is not good enough."""
        with pytest.raises(WebhookRefused, match="allowed"):
            await bot.webhook().verify(
                request_of(sim, sim.activity(serviceUrl="https://evil.example/"))
            )

    async def test_keys_are_cached(
        self, sim: TeamsSimulator, bot: BotFrameworkTeamsProvider
    ) -> None:
        """Asked for once; an unknown key asks again at most every five minutes."""
        for _ in range(3):
            assert await bot.authenticate(f"Bearer {sim.token()}", sim.activity(text="x"))
        assert len(sim.requests) == 2
        stranger = TeamsSimulator()
        for _ in range(20):
            forged = stranger.token(service_url=sim.service_url)
            assert await bot.authenticate(f"Bearer {forged}", sim.activity(text="x")) is False
        assert len(sim.requests) == 2

    async def test_keys_are_renewed(self, sim: TeamsSimulator) -> None:
        """After a day they are fetched again; until they can be, the old ones count."""
        clock = ManualClock()
        bot = BotFrameworkTeamsProvider(TeamsConfig(**sim.settings), clock=clock)
        assert await bot.authenticate(f"Bearer {sim.token()}", sim.activity())
        await clock.advance(86_401)
        assert await bot.authenticate(f"Bearer {sim.token()}", sim.activity())
        assert len(sim.requests) == 4
        await bot.close()

    async def test_keys_that_cannot_be_fetched(self) -> None:
        """Not the sender's fault: a ProviderError, so that the sender tries again."""
        config = TeamsConfig(app_id=APP_ID, app_password="p", api_base="http://127.0.0.1:9")
        bot = BotFrameworkTeamsProvider(config)
        with pytest.raises(ProviderError):
            await bot.authenticate(f"Bearer {GOOD}", {"serviceUrl": SERVICE})
        await bot.close()


class TestVectors:
    """The worked tokens of vendors.md, section 12.3."""

    @pytest.fixture
    async def bot(self) -> AsyncIterator[BotFrameworkTeamsProvider]:
        bot = BotFrameworkTeamsProvider(
            TeamsConfig(app_id=APP_ID, app_password="p", tenant_id="t"),
            transport=httpx.MockTransport(_keys),
        )
        yield bot
        await bot.close()

    async def test_good(self, bot: BotFrameworkTeamsProvider) -> None:
        """The first token is good for its service and channel."""
        activity = {"serviceUrl": SERVICE, "channelId": "msteams"}
        assert await bot.authenticate(f"Bearer {GOOD}", activity)

    async def test_bad(self, bot: BotFrameworkTeamsProvider) -> None:
        """Another issuer, another service, and each kind of tampering."""
        activity = {"serviceUrl": SERVICE, "channelId": "msteams"}
        assert not await bot.authenticate(f"Bearer {OTHER_ISSUER}", activity)
        other = {"serviceUrl": "https://smba.trafficmanager.net/emea/", "channelId": "msteams"}
        assert not await bot.authenticate(f"Bearer {GOOD}", other)
        head, body, seal = GOOD.split(".")
        for forged in (
            f"{head}.{body}.{seal[:-4]}AAAA",
            f"{head}.{body[:-4]}AAAA.{seal}",
            f"{head}.{body}.",
            f"{head}.{body}",
        ):
            assert not await bot.authenticate(f"Bearer {forged}", activity)

    async def test_another_app(self) -> None:
        """The same token says nothing to another bot."""
        bot = BotFrameworkTeamsProvider(
            TeamsConfig(app_id="other", app_password="p", tenant_id="t"),
            transport=httpx.MockTransport(_keys),
        )
        activity = {"serviceUrl": SERVICE, "channelId": "msteams"}
        assert not await bot.authenticate(f"Bearer {GOOD}", activity)
        await bot.close()

    async def test_keys_lie_where_the_metadata_does(self) -> None:
        """A place elsewhere is not believed."""

        def elsewhere(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json={"jwks_uri": "https://evil.example/keys"})

        bot = BotFrameworkTeamsProvider(
            TeamsConfig(app_id=APP_ID, app_password="p", tenant_id="t"),
            transport=httpx.MockTransport(elsewhere),
        )
        with pytest.raises(ProviderError, match="names no keys"):
            await bot.authenticate(f"Bearer {GOOD}", {"serviceUrl": SERVICE})
        await bot.close()


def _keys(request: httpx.Request) -> httpx.Response:
    """Answer as the connector's metadata does, with a few strange keys among the good."""
    if request.url.path.endswith("openidconfiguration"):
        uri = "https://login.botframework.com/v1/.well-known/keys"
        return httpx.Response(200, json={"jwks_uri": uri})
    return httpx.Response(200, json={"keys": [JWK, {"kid": 5}, "x"]})
