"""Who gets in: authentication, origins, subprotocols, and the life of a connection."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from roomkit._clock import ManualClock
from roomkit.asgi._ws import WebSocketEndpoint
from roomkit.asgi.principal import Principal
from roomkit.channels.websocket import WebSocketChannel
from roomkit.exceptions import ConfigurationError, InvalidInputError
from roomkit.models.enums import ParticipantStatus
from roomkit.models.framework_event import FrameworkEventType
from roomkit.models.participant import Participant
from tests.support.kits import Ears, inbound
from tests.support.ws_clients import ROOM, Client, serving

if TYPE_CHECKING:
    from roomkit.asgi._types import Scope

ORIGIN = b"origin"


class TestPrincipal:
    """What a callback answers is checked where it is made."""

    def test_rooms_are_kept_as_a_set(self) -> None:
        """The caller's list may change afterwards."""
        rooms = ["a", "b"]
        principal = Principal("ana", rooms)
        rooms.append("c")
        assert principal.room_ids == frozenset({"a", "b"})
        assert Principal("ana").room_ids is None

    @pytest.mark.parametrize(("participant_id", "rooms"), [("", []), ("ana", "room"), ("a", [1])])
    def test_what_makes_no_sense_is_refused(self, participant_id: str, rooms: Any) -> None:
        """A lone id as rooms would let its characters in."""
        with pytest.raises(InvalidInputError):
            Principal(participant_id, rooms)


class TestAuthentication:
    """Nobody is in without the application's word."""

    async def test_a_header_lets_in(self) -> None:
        """``ready`` says as whom, and what is spoken."""
        async with serving() as (_, endpoint), Client(endpoint, "ana") as ana:
            assert await ana.next("ready") == {
                "type": "ready",
                "protocol": "roomkit.v1",
                "participant_id": "ana",
                "max_frame": 65536,
            }

    async def test_a_wrong_header_is_refused(self) -> None:
        """At once, and in a way a client can read."""
        async with serving() as (_, endpoint), Client(endpoint, "nobody") as client:
            assert await client.closed() == 4401
            assert client.accepted is not None

    async def test_a_first_frame_lets_in(self) -> None:
        """The callback finds the token as header and under a key of its own."""
        scopes: list[Scope] = []

        async def authenticate(scope: Scope) -> Principal | None:
            scopes.append(scope)
            token = scope.get("roomkit.token")
            return Principal(token, [ROOM]) if token else None

        async with (
            serving(authenticate=authenticate) as (_, endpoint),
            Client(endpoint, "") as client,
        ):
            client.say("auth", token="ana")
            assert (await client.next("ready"))["participant_id"] == "ana"
            assert (b"authorization", b"Bearer ana") in scopes[1]["headers"]
            assert "roomkit.token" not in scopes[0]
            assert (await client.join())["room_id"] == ROOM

    @pytest.mark.parametrize(
        "frame",
        [
            '{"type":"join","room_id":"r"}',
            '{"type":"auth","token":"nobody"}',
            '{"type":"auth","token":""}',
            '{"type":"auth","token":"a\\nb"}',
            '{"type":"auth","token":1}',
            "nonsense",
        ],
    )
    async def test_any_other_first_frame_is_refused(self, frame: str) -> None:
        """And nothing of it is done."""
        async with serving() as (_, endpoint), Client(endpoint, "") as client:
            client.raw(frame)
            assert await client.closed() == 4401
            assert client.frames == []

    async def test_a_first_frame_that_is_too_long(self) -> None:
        """It is not even read."""
        async with serving(max_frame=100) as (_, endpoint), Client(endpoint, "") as client:
            client.raw(" " * 101)
            assert await client.closed() == 1009

    async def test_a_silent_client_is_refused_in_time(self) -> None:
        """After ``auth_timeout`` of the clock."""
        clock = ManualClock()
        async with (
            serving(clock=clock, auth_timeout=3) as (_, endpoint),
            Client(endpoint, "") as client,
        ):
            await client.sending.wait()
            await clock.advance(2.9)
            assert client.code is None
            await clock.advance(0.2)
            assert await client.closed() == 4401

    async def test_a_client_that_leaves_before(self) -> None:
        """Nothing is left of it."""
        async with serving() as (_, endpoint):
            async with Client(endpoint, "") as client:
                await client.sending.wait()
            assert client.code is None
            assert endpoint.stats.connections == 0

    async def test_without_a_callback_nobody_gets_in(self) -> None:
        """Whatever token they have."""
        async with (
            serving(authenticate=None) as (_, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "") as bob,
        ):
            assert await ana.closed() == await bob.closed() == 4401

    @pytest.mark.parametrize("answer", ["ana", True, ValueError("the secret"), TimeoutError()])
    async def test_a_callback_that_fails(
        self, answer: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nobody gets in by it, and its text is not logged above DEBUG."""

        def authenticate(scope: Scope) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        with caplog.at_level(logging.INFO):
            async with (
                serving(authenticate=authenticate) as (_, endpoint),
                Client(endpoint) as client,
            ):
                assert await client.closed() == 1011
                assert "secret" not in client.reason
        assert "secret" not in caplog.text
        assert "authenticate" in caplog.text

    async def test_a_callback_that_hangs(self) -> None:
        """It has ``auth_timeout``."""
        clock = ManualClock()
        asked = asyncio.Event()

        async def authenticate(scope: Scope) -> Principal | None:
            asked.set()
            await asyncio.Event().wait()
            return None

        async with (
            serving(authenticate=authenticate, clock=clock, auth_timeout=3) as (_, endpoint),
            Client(endpoint) as client,
        ):
            await asked.wait()
            await clock.advance(3.1)
            assert await client.closed() == 1011

    @pytest.mark.parametrize(
        "query", [b"token=abc", b"x=1&access_token=abc", b"ACCESS_TOKEN=abc", b"jwt=abc"]
    )
    async def test_a_token_in_the_url_is_refused(
        self, query: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Even a right one, and the log line does not repeat it."""
        with caplog.at_level(logging.INFO):
            async with serving() as (_, endpoint), Client(endpoint, query=query) as client:
                assert await client.closed() == 4401
        assert "token in its URL" in caplog.text
        assert "abc" not in caplog.text

    async def test_other_queries_are_fine(self) -> None:
        """They are the application's."""
        async with serving() as (_, endpoint), Client(endpoint, query=b"page=1") as client:
            await client.next("ready")

    async def test_secrets_stay_out_of_logs(self, caplog: pytest.LogCaptureFixture) -> None:
        """At any level: neither the token nor what is said."""
        with caplog.at_level(logging.DEBUG, "roomkit"):
            async with serving() as (_, endpoint):
                async with Client(endpoint, "") as client:
                    client.say("auth", token="ana")
                    await client.next("ready")
                    client.say("auth", token="canary-token")
                    await client.next("error", code="already_authenticated")
                    await client.join()
                    await client.write("canary-words", "1")
                    client.raw('{"type":"canary-type"}')
                    await client.next("error")
                async with Client(endpoint, "") as client:
                    client.say("auth", token="nobody")
                    await client.closed()
        assert "canary" not in caplog.text
        assert "nobody" not in caplog.text


class TestOrigins:
    """A foreign page cannot use somebody's cookies."""

    @pytest.mark.parametrize(
        ("allowed", "origin", "code"),
        [
            ((), b"http://chat.test", None),
            ((), b"https://chat.test", None),
            ((), b"https://CHAT.test:443", None),
            ((), b"https://chat.test:8443", 4403),
            ((), b"https://evil.test", 4403),
            ((), b"https://chat.test.evil.test", 4403),
            ((), b"null", 4403),
            ((), b"https://[::1", 4403),
            ((), b"https://user@chat.test", 4403),
            (("https://app.test",), b"https://app.test", None),
            (("https://app.test/",), b"https://app.test:443", None),
            (("https://app.test",), b"http://app.test", 4403),
            (("https://app.test",), b"https://chat.test", 4403),
            ("https://app.test", b"https://app.test", None),
            (("*",), b"https://evil.test", None),
        ],
    )
    async def test_pages(self, allowed: Any, origin: bytes, code: int | None) -> None:
        """The page's host, or the hosts named; scheme and port count."""
        async with (
            serving(allowed_origins=allowed) as (_, endpoint),
            Client(endpoint, headers=((ORIGIN, origin),)) as client,
        ):
            if code is None:
                await client.next("ready")
            else:
                assert await client.closed() == code
                assert client.frames == []

    async def test_programs_name_none(self) -> None:
        """A client that is no browser has no page to protect."""
        async with (
            serving(allowed_origins=["https://app.test"]) as (_, endpoint),
            Client(endpoint) as client,
        ):
            await client.next("ready")

    async def test_two_origins_are_none(self) -> None:
        """No browser sends two."""
        both = ((ORIGIN, b"http://chat.test"), (ORIGIN, b"http://chat.test"))
        async with serving() as (_, endpoint), Client(endpoint, headers=both) as client:
            assert await client.closed() == 4403

    @pytest.mark.parametrize("origin", ["chat.test", "https://", "https://a/path", ""])
    async def test_what_is_no_origin_is_refused_at_once(self, origin: str) -> None:
        """A typing error must not lock everybody out in silence."""
        async with serving() as (kit, _):
            with pytest.raises(ConfigurationError):
                WebSocketEndpoint(kit, allowed_origins=[origin])


class TestSubprotocol:
    """``roomkit.v1`` is chosen when it is offered."""

    async def test_it_is_chosen(self) -> None:
        """Among others too."""
        async with (
            serving() as (_, endpoint),
            Client(endpoint, subprotocols=("other", "roomkit.v1")) as client,
        ):
            await client.next("ready")
            assert client.accepted == {
                "type": "websocket.accept",
                "subprotocol": "roomkit.v1",
            }

    async def test_others_are_not_spoken(self) -> None:
        """A client that wants another protocol is told so."""
        async with serving() as (_, endpoint), Client(endpoint, subprotocols=("x",)) as client:
            assert await client.closed() == 1002


class TestRooms:
    """Who may be in which room is decided again and again, and in doubt against it."""

    @pytest.mark.parametrize("room_id", ["other", "nowhere"])
    async def test_a_room_without_the_channel_or_without_being(self, room_id: str) -> None:
        """The answer does not tell which."""
        async with serving() as (kit, endpoint), Client(endpoint) as client:
            await kit.create_room("other")
            client.say("join", room_id=room_id)
            assert (await client.next("error"))["code"] == "forbidden"
            assert await client.closed() == 4403
            assert endpoint.stats.rooms == 0

    async def test_a_room_not_named(self) -> None:
        """The callback's rooms are all there are."""
        async with (
            serving(authenticate=lambda _: Principal("ana", [])) as (_, endpoint),
            Client(endpoint) as client,
        ):
            client.say("join", room_id=ROOM)
            assert await client.closed() == 4403

    @pytest.mark.parametrize("status", [None, *ParticipantStatus])
    async def test_rooms_by_membership(self, status: ParticipantStatus | None) -> None:
        """Without named rooms the store must know the participant as one of the room."""
        async with serving(authenticate=lambda _: Principal("ana")) as (kit, endpoint):
            if status is not None:
                await kit.store.add_participant(
                    Participant(id="ana", room_id=ROOM, channel_id="web", status=status)
                )
            async with Client(endpoint) as client:
                if status in (ParticipantStatus.ACTIVE, ParticipantStatus.INACTIVE):
                    await client.join()
                else:
                    client.say("join", room_id=ROOM)
                    assert await client.closed() == 4403

    async def test_a_binding_that_stands_for_somebody(self) -> None:
        """It lets them in without more, and nobody else."""
        async with serving(
            authenticate=lambda scope: Principal(scope["headers"][1][1].decode()[7:])
        ) as (kit, endpoint):
            await kit.attach_channel(ROOM, "web", participant_id="ana")
            async with Client(endpoint, "ana") as ana, Client(endpoint, "bob") as bob:
                await ana.join()
                bob.say("join", room_id=ROOM)
                assert await bob.closed() == 4403

    async def test_somebody_banned_while_in(self) -> None:
        """The next thing that happens puts them out instead."""
        async with serving() as (kit, endpoint), Client(endpoint, "ana") as ana:
            await ana.join()
            await kit.store.add_participant(
                Participant(
                    id="ana", room_id=ROOM, channel_id="web", status=ParticipantStatus.BANNED
                )
            )
            ana.say("message", room_id=ROOM, ref="1", content={"type": "text", "body": "x"})
            assert await ana.closed() == 4403
            assert ana.events() == []

    async def test_a_channel_detached_while_in(self) -> None:
        """Its clients are out of the room with it."""
        clock = ManualClock()
        async with serving(clock=clock, poll=5) as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            await kit.detach_channel(ROOM, "web")
            await clock.advance(5.1)
            assert await ana.closed() == 4403

    async def test_an_unknown_channel(self) -> None:
        """Whoever is authenticated learns no more than that."""
        async with serving() as (_kit, endpoint):
            for channel_id in ("nowhere", "phone"):
                async with Client(endpoint, channel_id=channel_id) as client:
                    assert await client.closed() == 4403


class TestLife:
    """Connections end as they should, and leave nothing behind."""

    async def test_the_kit_hears_of_connections(self) -> None:
        """As with sockets an application registers itself."""
        async with serving() as (kit, endpoint):
            ears = Ears(kit)
            async with Client(endpoint) as client:
                await client.next("ready")
                assert kit.get_channel("web").connection_count == 2
            assert kit.get_channel("web").connection_count == 1
            assert len(ears.of(FrameworkEventType.CHANNEL_CONNECTED)) == 2
            assert len(ears.of(FrameworkEventType.CHANNEL_DISCONNECTED)) == 1

    async def test_closing_the_endpoint(self) -> None:
        """Every client is told; what was queued still comes; again does nothing."""
        async with (
            serving() as (kit, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            await ana.join()
            await bob.join()
            await endpoint.close()
            assert (ana.code, bob.code) == (1001, 1001)
            await endpoint.close()
            assert kit.realtime.subscription_count == 0
            assert kit.get_channel("web").connection_count == 0
            async with Client(endpoint, "late") as late:
                assert await late.closed() == 1001

    async def test_closing_while_somebody_is_about_to_say_who_they_are(self) -> None:
        """Nobody waits for their first frame."""
        async with serving(auth_timeout=1e6) as (_, endpoint), Client(endpoint, "") as client:
            await client.sending.wait()
            await endpoint.close()
            assert client.code == 1001

    async def test_closing_the_kit_first(self) -> None:
        """The channel lets its clients go, and the endpoint still closes."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            await kit.close()
            assert await ana.closed() == 1001
            async with Client(endpoint) as late:
                assert await late.closed() in (1001, 4403)

    async def test_a_channel_that_is_replaced(self) -> None:
        """Clients of the new one hear what is delivered to it."""
        async with serving(poll=1e6) as (kit, endpoint):
            async with Client(endpoint) as ana:
                await ana.join()
            await kit.unregister_channel("web")
            kit.register_channel(WebSocketChannel("web"))
            async with Client(endpoint) as ana:
                await ana.join()
                await kit.process_inbound(inbound("hello", "phone"), room_id=ROOM)
                await ana.heard("hello")

    async def test_a_server_that_cancels(self) -> None:
        """The cancellation passes, and the room is left."""
        async with serving() as (_, endpoint):
            ana = await Client(endpoint).__aenter__()
            await ana.join()
            await ana.cancel()
            assert (endpoint.stats.connections, endpoint.stats.rooms) == (0, 0)

    async def test_nothing_is_left_behind(self) -> None:
        """Tasks, subscriptions and hooks end with the last client of a room."""
        async with serving() as (kit, endpoint):
            before = asyncio.all_tasks()
            for _ in range(3):
                async with Client(endpoint) as ana:
                    await ana.join()
                    await ana.write("x", "1")
            await kit.drain(5)
            left = asyncio.all_tasks() - before
            if left:
                await asyncio.wait(left, timeout=5)
            assert asyncio.all_tasks() == before
            assert kit.realtime.subscription_count == 0
            assert not kit.hook_engine.observed(ROOM, "after_broadcast")
            assert repr(endpoint) == "WebSocketEndpoint(connections=0, rooms=0)"
