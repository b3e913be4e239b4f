"""Who sent a message: every status, every answer of a hook, and what follows for the room."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    ChannelDirection,
    ChannelType,
    HookExecution,
    HookTrigger,
    IdentificationStatus,
    Identity,
    IdentityHookResult,
    IdentityResolver,
    IdentityResult,
    InboundMessage,
    InboundResult,
    InjectedEvent,
    InvalidReturnError,
    MockIdentityResolver,
    Participant,
    RoomContext,
    RoomEvent,
    RoomKit,
    SMSChannel,
)
from roomkit.testing import SimpleChannel, make_event
from tests.support.kits import ROOM, inbound, messages, observe, open_room, system, text, texts

if TYPE_CHECKING:
    from collections.abc import Callable

Status = IdentificationStatus
AMBIGUOUS, UNKNOWN = HookTrigger.ON_IDENTITY_AMBIGUOUS, HookTrigger.ON_IDENTITY_UNKNOWN
PAT = Identity(id="pat", display_name="Pat")
CANDIDATES = [Identity(id="i-1"), Identity(id="i-2")]


class Says(IdentityResolver):
    """Finds what it is told to, and remembers whom it was asked about."""

    def __init__(self, status: Status, **fields: Any) -> None:
        self.result = IdentityResult(status=status, **fields)
        self.asked: list[InboundMessage] = []

    async def resolve(self, message: InboundMessage, context: RoomContext) -> IdentityResult:
        self.asked.append(message)
        return self.result


def answering(
    kit: RoomKit, answer: IdentityHookResult | None, **filters: Any
) -> list[tuple[RoomEvent, IdentityResult]]:
    """Register an identity hook on both triggers; return what it is asked."""
    asked: list[tuple[RoomEvent, IdentityResult]] = []

    async def hook(
        event: RoomEvent, context: RoomContext, found: IdentityResult
    ) -> IdentityHookResult | None:
        assert context.room.id == ROOM
        asked.append((event, found))
        return answer

    for trigger in (AMBIGUOUS, UNKNOWN):
        kit.identity_hook(trigger, **filters)(hook)
    return asked


async def receive(kit: RoomKit, **fields: Any) -> InboundResult:
    """Open the room if need be, and let Alice say hi."""
    if await kit.store.get_room(ROOM) is None:
        await open_room(kit, SimpleChannel("a", ChannelType.SMS))
    return await kit.process_inbound(inbound("hi", **fields), room_id=ROOM)


async def people(kit: RoomKit) -> list[tuple[str, str, str | None]]:
    """Return the room's participants: id, identification, display name."""
    found = await kit.store.list_participants(ROOM)
    return [(p.id, p.identification, p.display_name) for p in found]


async def joined(kit: RoomKit) -> list[tuple[str | None, dict[str, Any]]]:
    """Return code and data of the room's joined events."""
    timeline = await kit.get_timeline(ROOM)
    return [system(e) for e in timeline if e.type == "participant_joined"]


def challenge() -> IdentityHookResult:
    """Return an answer that asks who it is."""
    question = make_event(ROOM, "who are you?", channel_id="system")
    return IdentityHookResult.challenge(
        InjectedEvent(event=question, target_channel_ids=["a"]), "asked"
    )


_AS_PENDING = [Status.AMBIGUOUS, Status.PENDING]
_AS_UNKNOWN = [Status.UNKNOWN, Status.REJECTED]
_UNCLEAR = [*_AS_PENDING, *_AS_UNKNOWN]


class TestIdentified:
    """A known sender is named on the event and takes part in the room."""

    async def test_event_participant_and_joined(self) -> None:
        async with RoomKit(identity_resolver=Says(Status.IDENTIFIED, identity=PAT)) as kit:
            asked = answering(kit, IdentityHookResult.reject())
            result = await receive(kit)
            assert result.event is not None
            assert result.event.source.participant_id == "pat"
            assert asked == []
            [participant] = await kit.store.list_participants(ROOM)
            assert participant.id == participant.identity_id == "pat"
            assert participant.channel_id == "a"
            assert participant.display_name == "Pat"
            assert participant.identification == Status.IDENTIFIED
            data = {"participant_id": "pat", "status": "identified"}
            assert await joined(kit) == [("participant_joined_identified", data)]
            assert result.event.index == 2

    async def test_they_join_once(self) -> None:
        async with RoomKit(identity_resolver=Says(Status.IDENTIFIED, identity=PAT)) as kit:
            await receive(kit)
            await receive(kit)
            assert len(await joined(kit)) == 1

    async def test_a_pending_participant_of_this_id_becomes_identified(self) -> None:
        async with RoomKit(identity_resolver=Says(Status.IDENTIFIED, identity=PAT)) as kit:
            await open_room(kit, SimpleChannel("a"))
            await kit.store.add_participant(Participant(id="pat", room_id=ROOM, channel_id="x"))
            await receive(kit)
            [participant] = await kit.store.list_participants(ROOM)
            assert (participant.identity_id, participant.channel_id) == ("pat", "x")
            assert (participant.identification, participant.display_name) == ("identified", "Pat")
            assert await joined(kit) == []

    @pytest.mark.parametrize("status", [Status.IDENTIFIED, Status.CHALLENGE_SENT])
    async def test_a_status_that_says_nothing_lets_the_message_go_on(self, status: Status) -> None:
        async with RoomKit(identity_resolver=Says(status)) as kit:
            asked = answering(kit, IdentityHookResult.reject())
            result = await receive(kit)
            assert result.event is not None
            assert result.event.source.participant_id == "alice"
            assert await people(kit) == []
            assert asked == []

    async def test_one_person_over_two_channels(self) -> None:
        resolver = MockIdentityResolver({"+1555": PAT, "pat@example.org": PAT})
        async with RoomKit(identity_resolver=resolver) as kit:
            await open_room(kit, SimpleChannel("sms"), SimpleChannel("mail"))
            for channel_id, sender in (("sms", "+1555"), ("mail", "pat@example.org")):
                result = await kit.process_inbound(inbound("hi", channel_id, sender), room_id=ROOM)
                assert result.event is not None
                assert result.event.source.participant_id == "pat"
            assert await people(kit) == [("pat", "identified", "Pat")]


class TestWithoutHooks:
    """An ambiguous sender joins as pending; an unknown one is let in as before."""

    @pytest.mark.parametrize("status", _AS_PENDING)
    async def test_pending(self, status: Status) -> None:
        async with RoomKit(identity_resolver=Says(status, candidates=CANDIDATES)) as kit:
            result = await receive(kit)
            assert not result.blocked
            [participant] = await kit.store.list_participants(ROOM)
            assert (participant.id, participant.identification) == ("alice", Status.PENDING)
            assert participant.candidates == ["i-1", "i-2"]
            assert participant.identity_id is None
            data = {"participant_id": "alice", "status": "pending"}
            assert await joined(kit) == [("participant_joined_pending", data)]

    async def test_no_candidates(self) -> None:
        async with RoomKit(identity_resolver=Says(Status.PENDING)) as kit:
            await receive(kit)
            [participant] = await kit.store.list_participants(ROOM)
            assert participant.candidates is None

    async def test_a_nameless_sender_gets_a_name(self) -> None:
        async with RoomKit(identity_resolver=Says(Status.PENDING)) as kit:
            result = await receive(kit, sender="")
            [participant] = await kit.store.list_participants(ROOM)
            word, _, digits = participant.id.partition("-")
            assert (word, len(digits)) == ("pending", 8)
            assert int(digits, 16) >= 0
            assert result.event is not None
            assert result.event.source.participant_id == participant.id

    async def test_a_known_pending_participant_stays(self) -> None:
        async with RoomKit(identity_resolver=Says(Status.PENDING, candidates=CANDIDATES)) as kit:
            await open_room(kit, SimpleChannel("a"))
            known = Participant(id="alice", room_id=ROOM, channel_id="x", display_name="A")
            await kit.store.add_participant(known)
            await receive(kit)
            assert await kit.store.list_participants(ROOM) == [known]

    @pytest.mark.parametrize("status", _AS_UNKNOWN)
    async def test_unknown(self, status: Status) -> None:
        async with RoomKit(identity_resolver=Says(status)) as kit:
            result = await receive(kit)
            assert not result.blocked
            assert result.event is not None
            assert result.event.source.participant_id == "alice"
            assert await people(kit) == []
            assert await joined(kit) == []


class TestAnswers:
    """The four answers of a hook mean the same for every unclear status."""

    @pytest.mark.parametrize("status", _UNCLEAR)
    async def test_resolved(self, status: Status) -> None:
        async with RoomKit(identity_resolver=Says(status)) as kit:
            answering(kit, IdentityHookResult.resolved(PAT))
            result = await receive(kit)
            assert result.event is not None
            assert result.event.source.participant_id == "pat"
            assert await people(kit) == [("pat", "identified", "Pat")]

    @pytest.mark.parametrize("status", _UNCLEAR)
    async def test_pending(self, status: Status) -> None:
        async with RoomKit(identity_resolver=Says(status, candidates=CANDIDATES)) as kit:
            answering(kit, IdentityHookResult.pending("Maybe Pat", [PAT]))
            assert not (await receive(kit)).blocked
            assert await people(kit) == [("alice", "pending", "Maybe Pat")]
            [participant] = await kit.store.list_participants(ROOM)
            assert participant.candidates == ["pat"]

    @pytest.mark.parametrize("status", _UNCLEAR)
    async def test_pending_without_data_keeps_the_resolvers_candidates(
        self, status: Status
    ) -> None:
        async with RoomKit(identity_resolver=Says(status, candidates=CANDIDATES)) as kit:
            answering(kit, IdentityHookResult.pending())
            await receive(kit)
            [participant] = await kit.store.list_participants(ROOM)
            assert (participant.display_name, participant.candidates) == (None, ["i-1", "i-2"])

    @pytest.mark.parametrize("status", _UNCLEAR)
    async def test_challenge(self, status: Status) -> None:
        async with RoomKit(identity_resolver=Says(status)) as kit:
            asker = SimpleChannel("a")
            await open_room(kit, asker, SimpleChannel("b"))
            answering(kit, challenge())
            result = await receive(kit)
            assert result.event is None
            assert (result.blocked, result.reason) == (True, "identity_challenge_sent")
            assert texts(asker.delivered) == ["who are you?"]
            [question] = await messages(kit)
            assert (text(question), question.index, question.status) == (
                "who are you?",
                2,
                "delivered",
            )
            assert await people(kit) == []
            room = await kit.get_room(ROOM)
            assert room.event_count == 3

    async def test_a_challenge_without_a_question(self) -> None:
        async with RoomKit(identity_resolver=Says(Status.UNKNOWN)) as kit:
            answering(kit, IdentityHookResult(status=Status.CHALLENGE_SENT))
            assert (await receive(kit)).reason == "identity_challenge_sent"
            assert await messages(kit) == []

    @pytest.mark.parametrize("status", _UNCLEAR)
    async def test_reject(self, status: Status) -> None:
        async with RoomKit(identity_resolver=Says(status)) as kit:
            answering(kit, IdentityHookResult.reject("not on the list"))
            result = await receive(kit)
            assert (result.event, result.blocked) == (None, True)
            assert result.reason == "not on the list"
            assert await messages(kit) == []
            assert await people(kit) == []

    @pytest.mark.parametrize(
        ("status", "reason"),
        [
            (Status.AMBIGUOUS, "identity_rejected"),
            (Status.PENDING, "identity_rejected"),
            (Status.UNKNOWN, "unknown_sender"),
            (Status.REJECTED, "unknown_sender"),
        ],
    )
    async def test_reject_without_a_reason(self, status: Status, reason: str) -> None:
        async with RoomKit(identity_resolver=Says(status)) as kit:
            answering(kit, IdentityHookResult(status=Status.REJECTED))
            assert (await receive(kit)).reason == reason

    def test_the_default_reason_of_reject(self) -> None:
        assert IdentityHookResult.reject().reason == "Unknown sender"

    @pytest.mark.parametrize("status", _AS_PENDING)
    @pytest.mark.parametrize(
        "answer", [None, IdentityHookResult(status=Status.IDENTIFIED)], ids=["none", "nobody"]
    )
    async def test_no_decision_about_an_ambiguous_sender(
        self, status: Status, answer: IdentityHookResult | None
    ) -> None:
        async with RoomKit(identity_resolver=Says(status)) as kit:
            answering(kit, answer)
            assert not (await receive(kit)).blocked
            assert await people(kit) == [("alice", "pending", None)]

    @pytest.mark.parametrize("status", _AS_UNKNOWN)
    async def test_no_decision_about_an_unknown_sender(self, status: Status) -> None:
        async with RoomKit(identity_resolver=Says(status)) as kit:
            answering(kit, None)
            assert not (await receive(kit)).blocked
            assert await people(kit) == []


async def _raises(*args: object) -> IdentityHookResult:
    raise LookupError("lost")


async def _hangs(*args: object) -> IdentityHookResult:
    await asyncio.Event().wait()
    return IdentityHookResult.reject()


async def _says_nonsense(*args: object) -> str:
    return "reject"


def _plain(*args: object) -> IdentityHookResult:
    return IdentityHookResult.reject("plainly")


class TestHooks:
    """The first hook that answers decides; a failing one counts as none."""

    async def test_the_first_answer_decides(self) -> None:
        async with RoomKit(identity_resolver=Says(Status.UNKNOWN)) as kit:
            first = answering(kit, None)
            second = answering(kit, IdentityHookResult.resolved(PAT))
            third = answering(kit, IdentityHookResult.reject())
            assert not (await receive(kit)).blocked
            assert (len(first), len(second), len(third)) == (1, 1, 0)

    @pytest.mark.parametrize("fn", [_raises, _hangs, _says_nonsense])
    async def test_failures_count_as_none(
        self, fn: Callable[..., Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        async with RoomKit(identity_resolver=Says(Status.UNKNOWN)) as kit:
            errors = observe(kit, HookTrigger.ON_ERROR)
            kit.identity_hook(UNKNOWN, timeout=0.01)(fn)
            answering(kit, IdentityHookResult.reject("second"))
            assert (await receive(kit)).reason == "second"
            assert len(errors) == 1
            assert fn.__name__ in caplog.text

    async def test_a_plain_function_works(self) -> None:
        async with RoomKit(identity_resolver=Says(Status.UNKNOWN)) as kit:
            kit.identity_hook(UNKNOWN)(_plain)
            assert (await receive(kit)).reason == "plainly"

    async def test_what_a_hook_gets(self) -> None:
        async with RoomKit(identity_resolver=Says(Status.UNKNOWN)) as kit:
            asked = answering(kit, None)
            await receive(kit)
            [(event, found)] = asked
            assert text(event) == "hi"
            assert (found.address, found.channel_type) == ("alice", "sms")

    async def test_what_the_resolver_named_stays(self) -> None:
        resolver = Says(Status.UNKNOWN, address="+1555", channel_type="mms")
        async with RoomKit(identity_resolver=resolver) as kit:
            asked = answering(kit, None)
            await receive(kit)
            assert (asked[0][1].address, asked[0][1].channel_type) == ("+1555", "mms")

    @pytest.mark.parametrize(
        ("filters", "runs"),
        [
            ({"channel_types": {ChannelType.SMS}}, True),
            ({"channel_types": {ChannelType.EMAIL}}, False),
            ({"channel_ids": {"a"}}, True),
            ({"channel_ids": {"b"}}, False),
            ({"directions": {ChannelDirection.INBOUND}}, True),
            ({"directions": {ChannelDirection.OUTBOUND}}, False),
            ({"channel_ids": {"a"}, "channel_types": {ChannelType.EMAIL}}, False),
        ],
    )
    async def test_filters(self, filters: dict[str, Any], runs: bool) -> None:
        async with RoomKit(identity_resolver=Says(Status.UNKNOWN)) as kit:
            answering(kit, IdentityHookResult.reject("seen"), **filters)
            assert (await receive(kit)).reason == ("seen" if runs else None)

    @pytest.mark.parametrize("status", _UNCLEAR)
    async def test_observers_run_even_when_the_message_is_refused(self, status: Status) -> None:
        async with RoomKit(identity_resolver=Says(status)) as kit:
            ambiguous, unknown = observe(kit, AMBIGUOUS), observe(kit, UNKNOWN)
            answering(kit, IdentityHookResult.reject())
            await receive(kit)
            assert (len(ambiguous), len(unknown)) == ((1, 0) if status in _AS_PENDING else (0, 1))

    async def test_observers_cannot_decide(self) -> None:
        async with RoomKit(identity_resolver=Says(Status.UNKNOWN)) as kit:

            @kit.hook(UNKNOWN, HookExecution.ASYNC)
            async def observer(event: RoomEvent, context: RoomContext) -> IdentityHookResult:
                return IdentityHookResult.reject()

            assert not (await receive(kit)).blocked


class TestResolver:
    """When it runs, and what becomes of its failures."""

    @pytest.mark.parametrize(
        ("types", "runs"),
        [(None, True), ({ChannelType.SMS}, True), ({ChannelType.EMAIL}, False), (set(), False)],
    )
    async def test_only_for_some_channel_types(
        self, types: set[ChannelType] | None, runs: bool
    ) -> None:
        resolver = Says(Status.UNKNOWN)
        async with RoomKit(identity_resolver=resolver, identity_channel_types=types) as kit:
            await receive(kit)
            assert len(resolver.asked) == (1 if runs else 0)

    async def test_the_channels_type_counts_also_for_mms(self) -> None:
        resolver = Says(Status.UNKNOWN)
        kit = RoomKit(identity_resolver=resolver, identity_channel_types={ChannelType.SMS})
        async with kit:
            await open_room(kit, SMSChannel("a"))
            await receive(kit)
            assert len(resolver.asked) == 1

    async def test_its_error_comes_out_and_nothing_is_stored(self) -> None:
        class Broken(IdentityResolver):
            async def resolve(
                self, message: InboundMessage, context: RoomContext
            ) -> IdentityResult:
                raise ConnectionError("directory down")

        async with RoomKit(identity_resolver=Broken()) as kit:
            errors = observe(kit, HookTrigger.ON_ERROR)
            with pytest.raises(ConnectionError, match="directory down"):
                await receive(kit)
            assert await messages(kit) == []
            [told] = errors
            _, data = system(told.event)
            assert (data["where"], data["channel_id"]) == ("identity resolver", "a")

    async def test_a_wrong_return_is_an_error(self) -> None:
        class Wrong(IdentityResolver):
            async def resolve(
                self, message: InboundMessage, context: RoomContext
            ) -> IdentityResult:
                return None  # type: ignore[return-value]

        async with RoomKit(identity_resolver=Wrong()) as kit:
            with pytest.raises(InvalidReturnError, match="NoneType"):
                await receive(kit)

    async def test_without_one_nobody_joins(self) -> None:
        async with RoomKit() as kit:
            result = await receive(kit)
            assert result.event is not None
            assert result.event.source.participant_id == "alice"
            assert await people(kit) == []

    async def test_a_refused_duplicate_asks_nobody(self) -> None:
        resolver = Says(Status.UNKNOWN)
        async with RoomKit(identity_resolver=resolver) as kit:
            await receive(kit, idempotency_key="k")
            await receive(kit, idempotency_key="k")
            assert len(resolver.asked) == 1

    async def test_resolved_by_hand_afterwards(self) -> None:
        async with RoomKit(identity_resolver=Says(Status.AMBIGUOUS, candidates=[PAT])) as kit:
            await kit.store.create_identity(PAT)
            await receive(kit)
            await kit.resolve_participant(ROOM, "alice", "pat")
            assert await people(kit) == [("alice", "identified", "Pat")]
            await receive(kit)
            assert await people(kit) == [("alice", "identified", "Pat")]
