"""The models: fields in order, defaults, what is refused, what the helpers give."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ValidationError

import roomkit
from roomkit import (
    Access,
    AudioContent,
    ChannelBinding,
    ChannelCapabilities,
    ChannelCategory,
    ChannelMediaType,
    ChannelOutput,
    ChannelType,
    CompositeContent,
    DeleteContent,
    DeliveryStatus,
    EditContent,
    EventSource,
    HookResult,
    HookTrigger,
    Identity,
    IdentityHookResult,
    InboundMessage,
    InboundResult,
    InjectedEvent,
    LocationContent,
    MediaContent,
    Observation,
    Participant,
    RateLimit,
    RetryPolicy,
    RichContent,
    Room,
    RoomContext,
    RoomEvent,
    SystemContent,
    Task,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit.models import enums
from roomkit.testing import make_binding, make_event

if TYPE_CHECKING:
    import enum

_FIELDS = {
    "TextContent": "type body language",
    "RichContent": "type body format plain_text buttons cards quick_replies",
    "MediaContent": "type url mime_type filename size_bytes caption",
    "LocationContent": "type latitude longitude label address",
    "AudioContent": "type url mime_type duration_seconds transcript",
    "VideoContent": "type url mime_type duration_seconds thumbnail_url",
    "CompositeContent": "type parts",
    "SystemContent": "type body code data",
    "TemplateContent": "type template_id language parameters body",
    "EditContent": "type target_event_id new_content edit_source",
    "DeleteContent": "type target_event_id delete_type reason",
    "ChannelData": "provider external_id thread_id extra",
    "EventSource": (
        "channel_id channel_type direction participant_id external_id provider "
        "raw_payload provider_message_id "
    ),
    "RoomEvent": (
        "id room_id type source content status blocked_by visibility index chain_depth "
        "parent_event_id correlation_id idempotency_key created_at metadata channel_data "
        "delivery_results "
    ),
    "RateLimit": "max_per_second max_per_minute max_per_hour",
    "RetryPolicy": "max_retries base_delay_seconds max_delay_seconds exponential_base",
    "ChannelCapabilities": (
        "media_types max_length supports_threading supports_reactions supports_edit "
        "supports_delete supports_read_receipts supports_typing supports_templates "
        "supports_rich_text supports_buttons max_buttons supports_cards "
        "supports_quick_replies supports_media supported_media_types max_media_size_bytes "
        "supports_audio max_audio_duration_seconds supported_audio_formats supports_video "
        "max_video_duration_seconds supported_video_formats delivery_mode custom "
    ),
    "ChannelBinding": (
        "channel_id room_id channel_type category direction access muted visibility "
        "participant_id last_read_index attached_at capabilities rate_limit retry_policy "
        "metadata "
    ),
    "ChannelOutput": "responded response_events tasks observations metadata_updates",
    "RoomTimers": "inactive_after_seconds closed_after_seconds last_activity_at",
    "Room": (
        "id organization_id status created_at updated_at closed_at timers metadata "
        "event_count latest_index "
    ),
    "Participant": (
        "id room_id channel_id display_name role status identification identity_id "
        "candidates connected_via external_id resolved_at resolved_by joined_at metadata "
    ),
    "Identity": (
        "id organization_id display_name email phone channel_addresses external_id "
        "external_ids metadata "
    ),
    "IdentityResult": ("status identity candidates address channel_type challenge_type message "),
    "IdentityHookResult": (
        "status identity display_name candidates inject reason challenge_type message "
    ),
    "ProviderResult": "success provider_message_id error metadata",
    "InboundMessage": (
        "channel_id sender_id content event_type external_id thread_id idempotency_key metadata "
    ),
    "InboundResult": "event blocked reason",
    "DeliveryResult": "channel_id success provider_result error",
    "DeliveryStatus": (
        "provider message_id status recipient sender error_code error_message timestamp raw "
    ),
    "InjectedEvent": "event target_channel_ids",
    "HookResult": "action event reason injected_events tasks observations metadata",
    "RoomContext": "room bindings participants recent_events",
    "Task": "id room_id title description assigned_to status created_at metadata",
    "Observation": "id room_id channel_id content category confidence created_at metadata",
    "FrameworkEvent": "type room_id channel_id event_id timestamp data",
}
_ENUMS = {
    "ChannelType": (
        "sms mms rcs email whatsapp whatsapp_personal websocket ai voice realtime_voice "
        "push messenger teams webhook system "
    ),
    "ChannelCategory": "transport intelligence",
    "ChannelDirection": "inbound outbound bidirectional",
    "ChannelMediaType": "text rich media audio video location template",
    "EventType": (
        "message system typing read_receipt delivery_receipt presence reaction edit "
        "delete participant_joined participant_left participant_identified "
        "channel_attached channel_detached channel_muted channel_unmuted channel_updated "
        "task_created observation "
    ),
    "DeleteType": "sender system admin",
    "EventStatus": "pending delivered read failed blocked",
    "Access": "read_write read_only write_only none",
    "IdentificationStatus": "identified pending ambiguous unknown challenge_sent rejected",
    "ParticipantRole": "owner agent member observer bot",
    "ParticipantStatus": "active inactive left banned",
    "TaskStatus": "pending in_progress completed failed cancelled",
    "RoomStatus": "active paused closed archived",
    "DeliveryMode": "broadcast direct round_robin",
    "HookTrigger": (
        "before_broadcast after_broadcast on_channel_attached on_channel_detached "
        "on_channel_muted on_channel_unmuted on_room_created on_room_paused "
        "on_room_closed on_identity_ambiguous on_identity_unknown "
        "on_participant_identified on_task_created on_error on_delivery_status "
        "on_speech_start on_speech_end on_transcription before_tts after_tts on_barge_in "
        "on_tts_cancelled on_partial_transcription on_vad_silence on_vad_audio_level "
        "on_speaker_change on_realtime_tool_call on_realtime_text_injected "
    ),
    "HookExecution": "sync async",
}
_SOURCE = EventSource(channel_id="a", channel_type=ChannelType.SMS)
_MINIMAL: dict[str, dict[str, Any]] = {
    "TextContent": {"body": "x"},
    "RichContent": {"body": "x"},
    "MediaContent": {"url": "https://x", "mime_type": "m"},
    "LocationContent": {"latitude": 0, "longitude": 0},
    "AudioContent": {"url": "https://x"},
    "VideoContent": {"url": "https://x"},
    "SystemContent": {"body": "x"},
    "TemplateContent": {"template_id": "t"},
    "DeleteContent": {"target_event_id": "e"},
    "EventSource": {"channel_id": "a", "channel_type": "sms"},
    "RoomEvent": {"room_id": "r", "source": _SOURCE, "content": TextContent(body="x")},
    "ChannelBinding": {"channel_id": "a", "room_id": "r", "channel_type": "sms"},
    "Participant": {"id": "p", "room_id": "r", "channel_id": "a"},
    "Identity": {"id": "i"},
    "InboundMessage": {"channel_id": "a", "sender_id": "s", "content": TextContent(body="x")},
    "DeliveryStatus": {"provider": "p", "message_id": "m", "status": "s"},
    "Task": {"id": "t", "room_id": "r", "title": "x"},
    "Observation": {"id": "o", "room_id": "r", "channel_id": "a", "content": "x"},
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "TextContent": {"type": "text", "language": None},
    "RichContent": {"format": "markdown", "plain_text": None, "buttons": [], "quick_replies": []},
    "MediaContent": {"filename": None, "size_bytes": None, "caption": None},
    "AudioContent": {"mime_type": "audio/ogg", "duration_seconds": None, "transcript": None},
    "VideoContent": {"mime_type": "video/mp4", "thumbnail_url": None},
    "SystemContent": {"code": None, "data": {}},
    "TemplateContent": {"language": "en", "parameters": {}, "body": None},
    "DeleteContent": {"delete_type": "sender", "reason": None},
    "EventSource": {"direction": "inbound", "participant_id": None, "raw_payload": {}},
    "RoomEvent": {
        "type": "message",
        "status": "pending",
        "blocked_by": None,
        "visibility": "all",
        "index": 0,
        "chain_depth": 0,
        "idempotency_key": None,
        "metadata": {},
        "delivery_results": {},
    },
    "ChannelBinding": {
        "category": "transport",
        "direction": "bidirectional",
        "access": "read_write",
        "muted": False,
        "visibility": "all",
        "last_read_index": None,
        "capabilities": ChannelCapabilities(),
        "rate_limit": None,
        "retry_policy": None,
    },
    "Participant": {
        "role": "member",
        "status": "active",
        "identification": "pending",
        "candidates": None,
        "connected_via": [],
    },
    "Identity": {"channel_addresses": {}, "external_ids": {}, "display_name": None},
    "InboundMessage": {"event_type": "message", "idempotency_key": None, "metadata": {}},
    "DeliveryStatus": {"recipient": "", "sender": "", "error_code": None, "raw": {}},
    "Task": {"status": "pending", "assigned_to": None},
    "Observation": {"confidence": 1.0, "category": None},
    "RetryPolicy": {
        "max_retries": 3,
        "base_delay_seconds": 1.0,
        "max_delay_seconds": 60.0,
        "exponential_base": 2.0,
    },
    "ChannelOutput": {"responded": False, "response_events": [], "metadata_updates": {}},
    "InboundResult": {"event": None, "blocked": False, "reason": None},
    "RoomTimers": {"inactive_after_seconds": None, "closed_after_seconds": None},
    "Room": {"status": "active", "event_count": 0, "latest_index": 0, "closed_at": None},
}


class TestFields:
    """Names in the documented order; the defaults are each instance's own."""

    @pytest.mark.parametrize("name", sorted(_FIELDS))
    def test_names(self, name: str) -> None:
        model: type[BaseModel] = getattr(roomkit, name)
        assert list(model.model_fields) == _FIELDS[name].split()

    @pytest.mark.parametrize("name", sorted(_DEFAULTS))
    def test_defaults(self, name: str) -> None:
        model: type[BaseModel] = getattr(roomkit, name)
        made, other = (model(**_MINIMAL.get(name, {})) for _ in range(2))
        for field, default in _DEFAULTS[name].items():
            assert getattr(made, field) == default
            if isinstance(default, (list, dict)):
                assert getattr(made, field) is not getattr(other, field)

    def test_media_types_of_a_plain_channel(self) -> None:
        assert ChannelCapabilities().media_types == [ChannelMediaType.TEXT]

    def test_ids_and_times(self) -> None:
        first, second = make_event(), make_event()
        assert first.id != second.id
        assert (len(first.id), int(first.id, 16) >= 0) == (32, True)
        assert first.created_at.tzinfo is UTC
        assert first.created_at <= second.created_at <= datetime.now(UTC)
        assert len(Room().id) == 32

    @pytest.mark.parametrize("name", sorted(_MINIMAL))
    def test_unknown_keys_are_ignored_and_json_comes_back(self, name: str) -> None:
        model: type[BaseModel] = getattr(roomkit, name)
        made = model(**_MINIMAL[name], unheard_of=1)
        assert not hasattr(made, "unheard_of")
        assert model.model_validate_json(made.model_dump_json()) == made


class TestEnums:
    """Values in order; a member is called like its value, in capitals."""

    @pytest.mark.parametrize("name", sorted(_ENUMS))
    def test_values(self, name: str) -> None:
        members: type[enum.StrEnum] = getattr(enums, name)
        wanted = _ENUMS[name].split()
        if name == "HookTrigger":
            wanted += [
                "on_observation",
                "on_turn_complete",
                "on_turn_incomplete",
                "on_dtmf",
                "on_recording_started",
                "on_recording_stopped",
            ]
        assert [m.value for m in members] == wanted
        assert [m.name for m in members] == [value.upper() for value in wanted]

    def test_all_of_them(self) -> None:
        ours = {n for n, v in vars(enums).items() if isinstance(v, type) and n != "StrEnum"}
        assert ours == set(_ENUMS)

    def test_plain_strings_compare(self) -> None:
        assert str(HookTrigger.BEFORE_BROADCAST) == "before_broadcast"
        assert "read_only" in {Access.READ_ONLY}


def _nested(depth: int) -> dict[str, Any]:
    content: dict[str, Any] = {"type": "text", "body": "x"}
    for _ in range(depth):
        content = {"type": "composite", "parts": [content]}
    return content


class TestContent:
    """What no content may be."""

    @pytest.mark.parametrize(
        ("model", "fields"),
        [
            (MediaContent, {"url": "ftp://x", "mime_type": "m"}),
            (MediaContent, {"url": "https://x", "mime_type": "m", "size_bytes": -1}),
            (AudioContent, {"url": "file:///x"}),
            (AudioContent, {"url": "https://x", "duration_seconds": -0.1}),
            (VideoContent, {"url": "data:video/mp4;base64,AA"}),
            (VideoContent, {"url": "https://x", "thumbnail_url": "data:image/png;base64,AA"}),
            (LocationContent, {"latitude": 90.1, "longitude": 0}),
            (LocationContent, {"latitude": 0, "longitude": -180.1}),
            (RichContent, {"body": "x", "format": "rtf"}),
            (RateLimit, {"max_per_second": 0}),
            (RateLimit, {"max_per_minute": 0}),
            (RateLimit, {"max_per_hour": -1}),
            (RetryPolicy, {"max_retries": -1}),
            (RetryPolicy, {"base_delay_seconds": 0}),
            (ChannelCapabilities, {"max_length": 0}),
            (ChannelCapabilities, {"max_buttons": 0}),
            (Observation, {**_MINIMAL["Observation"], "confidence": 1.1}),
            (RoomEvent, {**_MINIMAL["RoomEvent"], "index": -1}),
            (RoomEvent, {**_MINIMAL["RoomEvent"], "chain_depth": -1}),
            (ChannelBinding, {**_MINIMAL["ChannelBinding"], "last_read_index": -1}),
            (Room, {"event_count": -1}),
        ],
    )
    def test_refused(self, model: type[BaseModel], fields: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            model(**fields)

    @pytest.mark.parametrize("url", ["http://x", "https://x", "data:image/png;base64,AA"])
    def test_urls(self, url: str) -> None:
        assert MediaContent(url=url, mime_type="m").url == AudioContent(url=url).url == url

    def test_a_composite_needs_parts(self) -> None:
        with pytest.raises(ValidationError, match="at least one part"):
            CompositeContent(parts=[])
        made = CompositeContent.model_construct(type="composite", parts=[])
        assert made.parts == []

    def test_nesting(self) -> None:
        assert CompositeContent.model_validate(_nested(5)).parts
        with pytest.raises(ValidationError, match="nesting depth"):
            CompositeContent.model_validate(_nested(6))

    def test_the_type_decides(self) -> None:
        for content in (
            SystemContent(body="x"),
            TemplateContent(template_id="t"),
            DeleteContent(target_event_id="e"),
            EditContent(target_event_id="e", new_content=TextContent(body="y")),
        ):
            message = InboundMessage.model_validate(
                {"channel_id": "a", "sender_id": "s", "content": content.model_dump()}
            )
            assert message.content == content
        with pytest.raises(ValidationError):
            InboundMessage.model_validate(
                {"channel_id": "a", "sender_id": "s", "content": {"type": "smell"}}
            )


class TestHookResult:
    """Three decisions, each whole or refused."""

    def test_the_three(self) -> None:
        event = make_event()
        injected = [InjectedEvent(event=event)]
        assert HookResult.allow().action == "allow"
        assert HookResult.allow(injected).injected_events == injected
        blocked = HookResult.block("no", injected)
        assert (blocked.action, blocked.reason) == ("block", "no")
        assert blocked.injected_events == injected
        modified = HookResult.modify(event, injected)
        assert (modified.action, modified.event) == ("modify", event)

    def test_a_payload_may_be_text(self) -> None:
        assert HookResult.modify("text").event == "text"

    @pytest.mark.parametrize("action", ["modify", "block"])
    def test_incomplete(self, action: Any) -> None:
        with pytest.raises(ValidationError, match=action):
            HookResult(action=action)


class TestShared:
    """What all callers share refuses to be changed."""

    def test_assignment(self) -> None:
        assert HookResult.allow() is HookResult.allow()
        assert ChannelOutput.empty() is ChannelOutput.empty()
        with pytest.raises(TypeError, match="shared"):
            HookResult.allow().reason = "x"
        with pytest.raises(TypeError, match="shared"):
            ChannelOutput.empty().responded = True

    @pytest.mark.parametrize("name", ["tasks", "observations"])
    def test_filling(self, name: str) -> None:
        for shared in (HookResult.allow(), ChannelOutput.empty()):
            values: Any = getattr(shared, name)
            assert values == []
            with pytest.raises(TypeError, match="shared"):
                values.append("x")
            with pytest.raises(TypeError, match="shared"):
                values += ["x"]
            assert values == []

    @pytest.mark.parametrize(
        ("shared", "own"),
        [
            (HookResult.allow(), HookResult(action="allow")),
            (ChannelOutput.empty(), ChannelOutput()),
        ],
    )
    def test_it_is_like_one_of_ones_own(self, shared: Any, own: Any) -> None:
        """It compares, dumps and copies as what it says it is; a copy can be changed."""
        assert shared == own
        assert own == shared
        assert shared != 1
        assert shared.model_dump() == own.model_dump()
        for mine in (copy.copy(shared), copy.deepcopy(shared), shared.model_copy()):
            assert type(mine) is type(own)
            mine.tasks.append(Task(id="t", room_id="r", title="x"))
            assert mine != shared
        assert shared == own

    def test_one_of_ones_own_can_be_filled(self) -> None:
        mine = ChannelOutput()
        mine.tasks.append(Task(id="t", room_id="r", title="x"))
        assert len(mine.tasks) == 1
        assert len(ChannelOutput().tasks) == 0

    @pytest.mark.parametrize("name", ["metadata", "metadata_updates"])
    def test_mappings(self, name: str) -> None:
        shared: Any = HookResult.allow() if name == "metadata" else ChannelOutput.empty()
        mapping: dict[str, Any] = getattr(shared, name)
        with pytest.raises(TypeError, match="shared"):
            mapping["x"] = 1
        with pytest.raises(TypeError, match="shared"):
            mapping.update(x=1)
        with pytest.raises(TypeError, match="shared"):
            mapping |= {"x": 1}
        assert mapping == {}
        assert copy.deepcopy(mapping) == {}


class TestHelpers:
    """Small questions a model answers itself."""

    def test_context(self) -> None:
        a = make_binding("a")
        b = make_binding("b", channel_type=ChannelType.AI, category=ChannelCategory.INTELLIGENCE)
        context = RoomContext(room=Room(id="r"), bindings=[a, b])
        assert context.other_channels("a") == [b]
        assert context.channels_by_type(ChannelType.AI) == [b]
        assert context.get_binding("a") is a
        assert context.get_binding("ghost") is None

    def test_identity_answers(self) -> None:
        identity = Identity(id="i")
        question = InjectedEvent(event=make_event())
        assert IdentityHookResult.resolved(identity).identity == identity
        pending = IdentityHookResult.pending("n", [identity])
        assert (pending.status, pending.display_name) == ("pending", "n")
        asked = IdentityHookResult.challenge(question, "m")
        assert (asked.status, asked.inject, asked.message) == ("challenge_sent", question, "m")
        assert IdentityHookResult.reject("r").reason == "r"

    def test_changes_leave_the_original(self) -> None:
        event = make_event()
        assert event.numbered(3).index == 3
        assert event.with_metadata(k=1).metadata == {"k": 1}
        assert (event.index, event.metadata) == (0, {})

    def test_a_status_word_may_be_assigned(self) -> None:
        task = Task(id="t", room_id="r", title="x")
        task.status = "completed"  # type: ignore[assignment]
        assert task.status == "completed"

    def test_retry_delays(self) -> None:
        policy = RetryPolicy(base_delay_seconds=1, max_delay_seconds=5)
        assert [policy.delay_for(n) for n in range(4)] == [1, 2, 4, 5]
        assert policy.delay_for(10_000) == 5

    def test_words_are_checked_when_made(self) -> None:
        with pytest.raises(ValidationError):
            Participant(id="p", room_id="r", channel_id="a", role="king")  # type: ignore[arg-type]
        assert DeliveryStatus(provider="p", message_id="m", status="new").status == "new"
        assert InboundResult(event=make_event()).event is not None
