"""Every method of the kit, as the contract spells it."""

from __future__ import annotations

import inspect

import pytest

from roomkit import EventType, HookTrigger, RoomKit

_SIGNATURES = {
    "process_inbound": "message, *, room_id=None",
    "process_webhook": "meta, channel_id",
    "process_delivery_status": "status",
    "register_channel": "channel",
    "detach_channel": "room_id, channel_id",
    "mute": "room_id, channel_id",
    "unmute": "room_id, channel_id",
    "set_visibility": "room_id, channel_id, visibility",
    "set_access": "room_id, channel_id, access",
    "update_binding_metadata": "room_id, channel_id, metadata",
    "get_channel": "channel_id",
    "list_channels": "",
    "get_binding": "room_id, channel_id",
    "list_bindings": "room_id",
    "create_room": "room_id=None, metadata=None",
    "get_room": "room_id",
    "close_room": "room_id",
    "check_room_timers": "room_id",
    "check_all_timers": "",
    "update_room_metadata": "room_id, metadata",
    "ensure_participant": "room_id, channel_id, participant_id, display_name=None",
    "resolve_participant": "room_id, participant_id, identity_id, resolved_by='manual'",
    "get_timeline": "room_id, offset=0, limit=50, visibility_filter=None",
    "list_tasks": "room_id, status=None",
    "list_observations": "room_id",
    "connect_websocket": "channel_id, connection_id, send_fn",
    "disconnect_websocket": "channel_id, connection_id",
    "mark_read": "room_id, channel_id, event_id",
    "mark_all_read": "room_id, channel_id",
    "publish_typing": "room_id, user_id, is_typing=True, data=None",
    "publish_presence": "room_id, user_id, status",
    "publish_read_receipt": "room_id, user_id, event_id",
    "publish_reaction": "room_id, user_id, target_event_id, emoji, action='add'",
    "subscribe_room": "room_id, callback",
    "unsubscribe_room": "subscription_id",
    "attach_source": (
        "channel_id, source, *, auto_restart=True, restart_delay=5.0, max_restart_delay=300.0, "
        "max_restart_attempts=None, max_concurrent_emits=10"
    ),
    "detach_source": "channel_id",
    "source_health": "channel_id",
    "list_sources": "",
    "on": "event_type",
    "identity_hook": "trigger, channel_types=None, channel_ids=None, directions=None",
    "on_delivery_status": "fn",
    "add_room_hook": "room_id, trigger, execution, fn, priority=0, name=''",
    "remove_room_hook": "room_id, name",
    "connect_voice": "room_id, participant_id, channel_id, metadata=None",
    "disconnect_voice": "session",
    "connect_realtime_voice": (
        "room_id, participant_id, channel_id, connection, *, metadata=None"
    ),
    "disconnect_realtime_voice": "session",
    "transcribe": "audio",
    "synthesize": "text, voice=None",
    "close": "",
}
_SYNC_METHODS = {
    "register_channel", "get_channel", "list_channels", "list_sources", "on", "identity_hook",
    "on_delivery_status", "add_room_hook", "remove_room_hook", "hook",
}  # fmt: skip


class TestMethods:
    """Every method of the contract is there, with its parameters and their defaults."""

    @pytest.mark.parametrize("name", sorted(_SIGNATURES))
    def test_signature(self, name: str) -> None:
        have = inspect.signature(getattr(RoomKit, name)).parameters
        shown = []
        star = False
        wanted = _SIGNATURES[name]
        names = [part.split("=")[0] for part in wanted.split(", ") if part not in ("*", "")]
        for parameter in have.values():
            if parameter.name not in names:
                # Ours are additions: they need not be given.
                assert parameter.name == "self" or parameter.default is not parameter.empty
                assert parameter.name == "self" or parameter.kind is parameter.KEYWORD_ONLY
                continue
            if parameter.kind is parameter.KEYWORD_ONLY and not star:
                shown.append("*")
                star = True
            default = parameter.default
            end = "" if default is parameter.empty else f"={default!r}"
            shown.append(parameter.name + end)
        assert ", ".join(shown) == wanted

    @pytest.mark.parametrize("name", sorted({*_SIGNATURES, "attach_channel", "send_event"}))
    def test_async_or_not(self, name: str) -> None:
        is_async = inspect.iscoroutinefunction(getattr(RoomKit, name))
        assert is_async is (name not in _SYNC_METHODS)

    def test_attach_channel(self) -> None:
        have = inspect.signature(RoomKit.attach_channel).parameters
        assert list(have) == [
            "self", "room_id", "channel_id", "channel_type", "category", "access", "visibility",
            "kwargs",
        ]  # fmt: skip
        assert have["access"].default == "read_write"
        assert have["visibility"].default == "all"

    def test_send_event(self) -> None:
        have = inspect.signature(RoomKit.send_event).parameters
        assert list(have)[1:9] == [
            "room_id", "channel_id", "content", "event_type", "chain_depth", "participant_id",
            "metadata", "visibility",
        ]  # fmt: skip
        defaults = [have[name].default for name in list(have)[4:9]]
        assert defaults == [EventType.MESSAGE, 0, None, None, "all"]

    def test_hook(self) -> None:
        have = inspect.signature(RoomKit.hook).parameters
        assert {
            name: p.default for name, p in have.items() if name not in ("self", "trigger")
        } == {
            "execution": "sync",
            "priority": 0,
            "name": "",
            "timeout": 30.0,
            "channel_types": None,
            "channel_ids": None,
            "directions": None,
            "fail_closed": False,
        }

    def test_decorators_return_the_function(self) -> None:
        kit = RoomKit()

        async def fn(*args: object) -> None:
            raise AssertionError("never called")

        assert kit.hook(HookTrigger.AFTER_BROADCAST)(fn) is fn
        assert kit.on("room_created")(fn) is fn
        assert kit.identity_hook(HookTrigger.ON_IDENTITY_UNKNOWN)(fn) is fn
        assert kit.on_delivery_status(fn) is fn
