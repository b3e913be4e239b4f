"""Webhooks: believed before they are read, kept before they are answered."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import HookResult, HookTrigger, RoomKit
from roomkit.asgi import create_app
from roomkit.exceptions import (
    CommitOutcomeUnknown,
    ConfigurationError,
    KitClosedError,
    ProviderError,
    StoreUnavailableError,
    WebhookRefused,
)
from roomkit.providers.webhook import WebhookResponse
from roomkit.store.memory import InMemoryStore
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing import FaultStore, ManualClock, SimpleChannel
from tests.support.kits import texts
from tests.test_asgi._driver import ORIGIN, Client
from tests.test_asgi._vendor import (
    KindsHandler,
    MailHandler,
    UnsignedHandler,
    VendorChannel,
    VendorHandler,
    callback,
    message,
    sign,
    status,
)
from tests.test_durable._kits import until

if TYPE_CHECKING:
    from pathlib import Path

    from roomkit.models.delivery import DeliveryStatus


async def said(kit: RoomKit) -> list[str]:
    """Return the texts of all rooms, room by room."""
    found: list[str] = []
    for room in await kit.store.list_rooms():
        found += texts(await kit.get_timeline(room.id, limit=1000))
    return found


class TestAccepting:
    """What a vendor sends is in the kit when it is told so."""

    async def test_a_signed_message_is_stored_and_answered_200(
        self, client: Client, kit: RoomKit
    ) -> None:
        """The answer comes after the commit."""
        answered = await client.call(message("hello"))
        assert (answered.status, answered.body) == (200, b"")
        assert await said(kit) == ["hello"]

    async def test_a_batch_is_taken_in_its_order(self, client: Client, kit: RoomKit) -> None:
        """Several messages of one body keep their order."""
        answered = await client.call(*(message(f"number {n}") for n in range(5)))
        assert answered.status == 200
        assert await said(kit) == [f"number {n}" for n in range(5)]

    @pytest.mark.parametrize("fields", [{"id": "m-1"}, {"key": "k-1"}, {}], ids=str)
    async def test_a_replay_is_answered_200_and_changes_nothing(
        self, client: Client, kit: RoomKit, fields: dict[str, Any]
    ) -> None:
        """Known by its key, by the vendor's id, or by the body it came in."""
        for _ in range(3):
            answered = await client.call(message("once", **fields))
            assert answered.status == 200
        assert await said(kit) == ["once"]

    async def test_the_same_words_in_one_body_are_two_messages(
        self, client: Client, kit: RoomKit
    ) -> None:
        """Without an id the position in the body tells them apart."""
        await client.call(message("again"), message("again"))
        assert await said(kit) == ["again", "again"]

    async def test_a_message_in_the_query_of_a_get_is_known_by_it(
        self, client: Client, kit: RoomKit
    ) -> None:
        """Two calls without bodies are not one message."""
        for text in ("one", "two", "two"):
            target = f"/webhooks/sms?text={text}"
            signature = sign(f"{ORIGIN}{target}", b"")
            answered = await client.get(target, headers=[("x-signature", signature)])
            assert answered.status == 200
        assert await said(kit) == ["one", "two"]

    async def test_what_a_hook_blocks_is_answered_200(self, client: Client, kit: RoomKit) -> None:
        """The vendor could only send the same again."""

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: Any, context: Any) -> HookResult:
            return HookResult.block("no shouting")

        assert (await client.call(message("HELLO"))).status == 200

    async def test_an_empty_batch_is_answered_200(self, client: Client, kit: RoomKit) -> None:
        """It concerns nothing of ours."""
        assert (await client.call()).status == 200
        assert await said(kit) == []

    async def test_with_a_durable_store_it_waits_in_the_inbox(
        self, durable: RoomKit, tmp_path: Path
    ) -> None:
        """The answer does not wait for gates; a started kit takes it in."""
        client = Client(create_app(durable))
        for _ in range(2):
            assert (await client.call(message("kept", id="m1"), message("too"))).status == 200
        stats = await durable.stats()
        assert stats.counters["accepted"] == 2
        await until(lambda: _is(durable, ["kept", "too"]))


async def _is(kit: RoomKit, expected: list[str]) -> bool:
    return await said(kit) == expected


class TestStatuses:
    """Delivery statuses reach the kit's handlers."""

    async def test_statuses_alone_are_answered_204(self, client: Client, kit: RoomKit) -> None:
        """There is nothing to say about them."""
        heard: list[DeliveryStatus] = []
        kit.on_delivery_status(heard.append)
        answered = await client.call(status("m1", "sent"), status("m1", "delivered"))
        assert (answered.status, answered.body) == (204, b"")
        assert "content-length" not in answered.headers
        assert [one.status for one in heard] == ["sent", "delivered"]

    async def test_beside_a_message_they_are_answered_200(self, client: Client) -> None:
        """204 is for statuses alone."""
        assert (await client.call(status(), message())).status == 200

    async def test_the_handlers_own_answer_goes_before_204(
        self, client: Client, handler: VendorHandler
    ) -> None:
        """A vendor that wants a body gets it."""
        handler.said = WebhookResponse(body=b"<Response/>", content_type="text/xml")
        answered = await client.call(status())
        assert (answered.status, answered.body) == (200, b"<Response/>")
        assert answered.headers["content-type"] == "text/xml"

    async def test_a_reaction_about_nothing_we_know_is_answered_200(
        self, client: Client, kit: RoomKit
    ) -> None:
        """A repeat would not make it known."""
        reaction = {"is": "reaction", "from": "+15550100", "about": "m9", "emoji": "+1"}
        assert (await client.call(reaction)).status == 200
        assert await said(kit) == []

    async def test_in_a_durable_kit_signals_go_through_the_inbox(self, durable: RoomKit) -> None:
        """They keep their place behind the message they are about."""
        client = Client(create_app(durable))
        reaction = {"is": "reaction", "from": "+15550100", "about": "m9", "emoji": "+1"}
        assert (await client.call(reaction)).status == 200
        assert (await durable.stats()).counters["accepted"] == 1


class TestBelieving:
    """Nobody but the vendor is heard."""

    async def test_a_wrong_signature_is_answered_401_and_nothing_is_read(
        self, client: Client, kit: RoomKit, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log names the channel and says no word of the body."""
        caplog.set_level(logging.INFO)
        body = callback(message("secret words"))
        headers = [("x-signature", sign(f"{ORIGIN}/webhooks/sms", b"other"))]
        answered = await client.request("POST", "/webhooks/sms?k=hidden", body, headers=headers)
        assert answered.status == 401
        assert await said(kit) == []
        assert "webhook of channel sms was answered 401" in caplog.text
        assert all(word not in caplog.text for word in ("secret words", "hidden", "+15550100"))

    async def test_what_is_not_believed_is_not_parsed(self, client: Client) -> None:
        """Nonsense without a signature is 401, with one 400."""
        assert (await client.request("POST", "/webhooks/sms", b"{")).status == 401
        assert (await client.call(body=b"{")).status == 400
        assert (await client.call(body=b"{}")).status == 400

    async def test_a_challenge_is_answered_with_its_text(self, client: Client) -> None:
        """Vendors ask with GET whether the endpoint is ours."""
        answered = await client.get("/webhooks/sms?challenge=1234&verify=me")
        assert (answered.status, answered.body) == (200, b"1234")
        assert answered.headers["content-type"].startswith("text/plain")

    async def test_a_challenge_of_somebody_else_is_answered_403(self, client: Client) -> None:
        """The challenge is not repeated to those who do not know the secret."""
        answered = await client.get("/webhooks/sms?challenge=1234&verify=you")
        assert (answered.status, b"1234" in answered.body) == (403, False)

    async def test_the_time_a_request_came_is_the_apps(
        self, kit: RoomKit, handler: VendorHandler
    ) -> None:
        """Freshness is checked against the injected clock."""
        clock = ManualClock()
        await clock.advance(60)
        await Client(create_app(kit, clock=clock)).call(message())
        assert handler.seen[0].received_at == clock.now().timestamp()

    async def test_an_odd_status_of_a_handler_becomes_401(
        self, client: Client, handler: VendorHandler
    ) -> None:
        """Only a refusal may come of a refusal."""
        handler.problem = WebhookRefused("no", status=200)
        assert (await client.call(message())).status == 401


class TestUrls:
    """Signatures cover the URL the vendor called."""

    async def test_the_public_url_counts_and_no_header_does(
        self, kit: RoomKit, handler: VendorHandler
    ) -> None:
        """Behind a proxy the host and scheme of the request are not the vendor's."""
        client = Client(create_app(kit, public_url="https://hooks.example.org/in/"))
        target = "/webhooks/sms?a=%7E1&b=%2f+x"
        base = "https://hooks.example.org/in"
        assert (await client.call(message("1"), target=target, base=base)).status == 200
        assert handler.seen[0].url == f"{base}{target}"
        assert handler.seen[0].query == {"a": "~1", "b": "/ x"}
        body = callback(message("2"))
        forged = await client.request(
            "POST",
            "/webhooks/sms",
            body,
            headers=[
                ("x-forwarded-host", "evil.example"),
                ("x-forwarded-proto", "https"),
                ("forwarded", "host=evil.example;proto=https"),
                ("x-signature", sign("https://evil.example/webhooks/sms", body)),
            ],
        )
        assert forged.status == 401

    async def test_the_escapes_of_the_path_are_kept(
        self, kit: RoomKit, handler: VendorHandler
    ) -> None:
        """A signature covers the bytes, not what they mean."""
        kit.register_channel(VendorChannel("a b~", handler))
        client = Client(create_app(kit, public_url="https://x.example"), root_path="/api")
        target = "/webhooks/%61%20b%7E"
        answered = await client.request(
            "POST",
            f"/api{target}",
            callback(message()),
            headers=[("x-signature", sign(f"https://x.example{target}", callback(message())))],
        )
        assert answered.status == 200

    @pytest.mark.parametrize("public_url", [None, "https://x.example/api"])
    @pytest.mark.parametrize(
        "scope",
        [{}, {"path": "/webhooks/sms"}, {"path": "/webhooks/sms/", "root_path": ""}],
        ids=["kept", "stripped", "stripped and with a slash"],
    )
    async def test_mounted_it_is_found_whatever_the_framework_does_to_the_path(
        self, kit: RoomKit, scope: dict[str, Any], public_url: str | None
    ) -> None:
        """The URL that is signed is the one that was called."""
        client = Client(create_app(kit, public_url=public_url), root_path="/api")
        body = callback(message())
        url = f"{public_url or f'{ORIGIN}/api'}/webhooks/sms"
        answered = await client.request(
            "POST",
            "/api/webhooks/sms",
            body,
            headers=[("x-signature", sign(url, body))],
            scope=scope,
        )
        assert answered.status == 200

    @pytest.mark.parametrize("public_url", [None, "https://x.example"])
    async def test_a_slash_at_the_end_is_part_of_the_url_alone(
        self, kit: RoomKit, public_url: str | None
    ) -> None:
        """People write it, and then the vendor signs it."""
        client = Client(create_app(kit, public_url=public_url))
        base = public_url or ORIGIN
        answered = await client.call(message(), target="/webhooks/sms/", base=base)
        assert answered.status == 200

    async def test_without_raw_path_and_host_the_scope_tells(
        self, kit: RoomKit, handler: VendorHandler
    ) -> None:
        """Both are optional in ASGI."""
        scope = {"raw_path": None, "headers": [], "server": ("10.0.0.1", 81)}
        await Client(create_app(kit)).request("POST", "/webhooks/sms", b"", scope=scope)
        assert handler.seen[0].url == "http://10.0.0.1:81/webhooks/sms"

    @pytest.mark.parametrize("url", ["hooks.example.org", "ftp://x.y", "https://x.y/?a=1", "/a"])
    def test_a_public_url_that_cannot_be_one_is_refused(self, url: str) -> None:
        """At once, not at the first webhook."""
        with pytest.raises(ConfigurationError, match="public_url"):
            create_app(RoomKit(), public_url=url)

    async def test_too_many_query_parameters_are_answered_400(self, client: Client) -> None:
        """Reading them is bounded."""
        assert (await client.get("/webhooks/sms?" + "a=1&" * 1000)).status == 400


class TestPlaces:
    """Only what is there is found, and nothing tells more than that."""

    @pytest.mark.parametrize(
        "target",
        [
            "/",
            "/webhooks",
            "/webhooks/",
            "/webhooks/nobody",
            "/webhooks/plain",
            "/webhooks/sms//",
            "/webhooks//sms",
            "/webhooks/sms/unknown",
            "/webhooks/sms/a/b/c",
            "/ws/sms",
            "/health",
            "/health/well",
            "/docs",
        ],
    )
    async def test_everything_else_gets_the_same_404(
        self, client: Client, kit: RoomKit, target: str
    ) -> None:
        """An unknown channel looks like one without a webhook."""
        kit.register_channel(SimpleChannel("plain"))
        answered = await client.request("POST", target, b"x")
        assert (answered.status, answered.body) == (404, b"Not Found")

    async def test_an_unknown_path_is_never_logged(
        self, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It may say anything."""
        caplog.set_level(logging.DEBUG)
        await client.get("/webhooks/my-password")
        await client.get("/my-password")
        assert "my-password" not in caplog.text

    async def test_a_kind_is_the_second_segment(self, kit: RoomKit) -> None:
        """A vendor with several kinds of callbacks has a URL for each."""
        handler = KindsHandler()
        kit.register_channel(VendorChannel("kinds", handler))
        client = Client(create_app(kit))
        assert (await client.call(status(), target="/webhooks/kinds/status")).status == 204
        assert (await client.call(message(), target="/webhooks/kinds")).status == 200
        assert (await client.call(message(), target="/webhooks/kinds/other")).status == 404
        assert [request.kind for request in handler.seen] == ["status", ""]

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
    async def test_a_wrong_method_is_answered_405(self, client: Client, method: str) -> None:
        """With the right ones."""
        answered = await client.request(method, "/webhooks/sms")
        assert (answered.status, answered.headers["allow"]) == (405, "GET, POST")

    async def test_get_is_wrong_where_the_vendor_does_not_use_it(self, kit: RoomKit) -> None:
        """Each vendor's handler says what it uses."""
        kit.register_channel(VendorChannel("mail", MailHandler()))
        answered = await Client(create_app(kit)).get("/webhooks/mail")
        assert (answered.status, answered.headers["allow"]) == (405, "POST")


class TestTypes:
    """Bodies are what the vendor sends, and not compressed."""

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("application/json", 401),
            ("Application/JSON; charset=utf-8", 401),
            ("text/xml", 415),
            ("", 415),
        ],
    )
    async def test_another_type_is_answered_415(
        self, kit: RoomKit, kind: str, expected: int
    ) -> None:
        """Before anything else is looked at; 401 means it went on to the signature."""
        kit.register_channel(VendorChannel("mail", MailHandler()))
        client = Client(create_app(kit))
        headers = [("content-type", kind)] if kind else []
        answered = await client.request("POST", "/webhooks/mail", b"[]", headers=headers)
        assert answered.status == expected

    @pytest.mark.parametrize(("coding", "expected"), [("gzip", 415), ("identity", 401)])
    async def test_a_compressed_body_is_answered_415(
        self, client: Client, coding: str, expected: int
    ) -> None:
        """It could be a thousand times longer than it looks."""
        headers = [("content-encoding", coding)]
        answered = await client.request("POST", "/webhooks/sms", b"[]", headers=headers)
        assert answered.status == expected


class TestTokens:
    """Vendors that do not sign need a secret in their URL."""

    TOKEN = "a-token-nobody-guesses"

    @pytest.fixture
    def unsigned(self, kit: RoomKit) -> Client:
        """A client of an app with a channel that has a token and one that has none."""
        for channel_id in ("quiet", "bare"):
            kit.register_channel(VendorChannel(channel_id, UnsignedHandler()))
        return Client(create_app(kit, unsigned={"quiet": self.TOKEN}))

    async def test_without_a_token_everything_is_refused_and_the_log_says_how_to_mend_it(
        self, unsigned: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Once, not at every request."""
        for _ in range(3):
            answered = await unsigned.request("POST", "/webhooks/bare?token=x", callback())
            assert answered.status == 401
        assert caplog.text.count("unsigned={'bare': token}") == 1

    @pytest.mark.parametrize(
        ("tail", "expected"),
        [
            (f"?token={TOKEN}", 200),
            (f"/{TOKEN}", 200),
            ("", 401),
            ("?token=", 401),
            ("?token=wrong", 401),
            (f"/{TOKEN}x", 401),
            (f"/{TOKEN}?token=wrong", 404),
            (f"/kind/{TOKEN}", 404),
        ],
    )
    async def test_the_token_stands_in_the_query_or_at_the_end_of_the_path(
        self, unsigned: Client, kit: RoomKit, tail: str, expected: int
    ) -> None:
        """In the query it goes first; a path then has none."""
        body = callback(message("let in"))
        answered = await unsigned.request("POST", f"/webhooks/quiet{tail}", body)
        assert answered.status == expected
        assert await said(kit) == (["let in"] if expected == 200 else [])

    async def test_a_token_beside_a_signature_must_be_right_too(self, kit: RoomKit) -> None:
        """Who sets one means it; any of several is right."""
        client = Client(create_app(kit, unsigned={"sms": ["the-older-token-0001", self.TOKEN]}))
        assert (await client.call(message())).status == 401
        for token in ("the-older-token-0001", self.TOKEN):
            target = f"/webhooks/sms?token={token}"
            assert (await client.call(message(), target=target)).status == 200
        wrong = await client.request("POST", f"/webhooks/sms?token={self.TOKEN}", b"[]")
        assert wrong.status == 401

    async def test_a_token_may_follow_a_kind(self, kit: RoomKit) -> None:
        """The last segment is the token, the one before it the kind."""
        handler = KindsHandler()
        kit.register_channel(VendorChannel("kinds", handler))
        client = Client(create_app(kit, unsigned={"kinds": self.TOKEN}))
        answered = await client.call(status(), target=f"/webhooks/kinds/status/{self.TOKEN}")
        assert (answered.status, handler.seen[0].kind) == (204, "status")

    @pytest.mark.parametrize("token", ["", [], ["good-enough-token", ""]])
    def test_an_empty_token_is_refused(self, token: Any) -> None:
        """It would let everybody in."""
        with pytest.raises(ConfigurationError, match="empty token"):
            create_app(RoomKit(), unsigned={"sms": token})

    def test_a_short_token_is_warned_of(self, caplog: pytest.LogCaptureFixture) -> None:
        """Without being shown."""
        create_app(RoomKit(), unsigned={"sms": "hunter2"})
        assert "can be guessed" in caplog.text
        assert "hunter2" not in caplog.text


class TestTrouble:
    """What fails is answered so that the vendor does the right thing."""

    @pytest.mark.parametrize(
        "error",
        [StoreUnavailableError("gone"), CommitOutcomeUnknown("who knows"), ConnectionError("cut")],
        ids=lambda error: type(error).__name__,
    )
    async def test_a_store_that_is_down_is_answered_503_and_nothing_is_lost(
        self, handler: VendorHandler, tmp_path: Path, error: Exception
    ) -> None:
        """The vendor comes again: what was kept is known, the rest is taken in."""
        store = FaultStore(SQLiteStore(tmp_path / "kit.db"))
        kit = RoomKit(store)
        kit.register_channel(VendorChannel("sms", handler))
        async with kit:
            client = Client(create_app(kit))
            store.fail_at(store.counts["accept"] + 2, error, method="accept")
            batch = [message(f"number {n}") for n in range(3)]
            answered = await client.call(*batch)
            assert (answered.status, int(answered.headers["retry-after"]) > 0) == (503, True)
            assert (await client.call(*batch)).status == 200
            await until(lambda: _has(kit, 3))

    async def test_in_memory_one_bad_item_does_not_stop_the_others(
        self, client: Client, kit: RoomKit
    ) -> None:
        """The good ones are stored once, however often the vendor comes again."""
        bad = message("bad", key="k" * 5000)
        for _ in range(2):
            assert (await client.call(message("one"), bad, message("two"))).status == 400
        assert await said(kit) == ["one", "two"]

    async def test_foreign_code_that_fails_is_answered_500_and_logged_by_kind(
        self, client: Client, handler: VendorHandler, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its text may quote anything."""
        caplog.set_level(logging.INFO)
        handler.problem = RuntimeError("the password is hunter2")
        assert (await client.call(message())).status == 500
        assert "RuntimeError" in caplog.text
        assert "hunter2" not in caplog.text

    @pytest.mark.parametrize(("retryable", "expected"), [(True, 503), (False, 500)])
    async def test_a_vendor_that_cannot_be_asked_is_503(
        self, client: Client, handler: VendorHandler, retryable: bool, expected: int
    ) -> None:
        """Such as one whose keys must be fetched to check a signature."""
        handler.problem = ProviderError("no keys", retryable=retryable)
        assert (await client.call(message())).status == expected

    async def test_a_closed_kit_is_503(self, client: Client, handler: VendorHandler) -> None:
        """Another process may take it."""
        handler.problem = KitClosedError("closed")
        answered = await client.call(message())
        assert (answered.status, "retry-after" in answered.headers) == (503, True)

    async def test_a_full_room_is_answered_429(self, handler: VendorHandler) -> None:
        """Nothing was stored; the vendor comes again."""
        kit = RoomKit(InMemoryStore(), lane_limit=1, settle_timeout=0.05)
        hold = _Held("held")
        kit.register_channel(VendorChannel("sms", handler))
        kit.register_channel(hold)
        client = Client(create_app(kit))
        await kit.create_room("r")
        await kit.attach_channel("r", "sms")
        await kit.attach_channel("r", "held")
        statuses = [(await client.call(message(f"number {n}"))).status for n in range(6)]
        assert statuses[0] == 200
        assert statuses[-1] == 429
        hold.release()
        await kit.close()


async def _has(kit: RoomKit, count: int) -> bool:
    return len(await said(kit)) == count


class _Held(SimpleChannel):
    """A channel whose deliveries wait until they are let go."""

    def __init__(self, channel_id: str) -> None:
        super().__init__(channel_id)
        self._gate = asyncio.Event()

    def release(self) -> None:
        self._gate.set()

    async def deliver(self, event: Any, binding: Any, context: Any) -> Any:
        await self._gate.wait()
        return await super().deliver(event, binding, context)
