"""A program as a user types it: the kit, hooks of every kind, results, durable work.

Never run: `scripts/typed.py` has it checked by mypy --strict and by pyright against an installed
wheel. `assert_type` fixes what a call is known to give.
"""

from __future__ import annotations

from typing import assert_type

from pydantic import SecretStr

from roomkit import (
    AcceptResult,
    AIChannel,
    ChannelBinding,
    ConversationStore,
    EventStatus,
    FrameworkEvent,
    HookExecution,
    HookResult,
    HookTrigger,
    Identity,
    IdentityHookResult,
    IdentityResult,
    InboundMessage,
    InboundResult,
    KitStats,
    MockAIProvider,
    Reason,
    RetryPolicy,
    Room,
    RoomContext,
    RoomEvent,
    RoomKit,
    RoomKitError,
    SMSChannel,
    SQLiteStore,
    TextContent,
    TransportChannel,
    TwilioConfig,
    TwilioSMSProvider,
    WebSocketChannel,
)

kit = RoomKit(store=SQLiteStore("rooms.db"), timer_interval=30.0)


@kit.hook(HookTrigger.BEFORE_BROADCAST, priority=10, fail_closed=True)
async def keep_it_polite(event: RoomEvent, context: RoomContext) -> HookResult[RoomEvent]:
    assert_type(context.recent_events, list[RoomEvent])
    if isinstance(event.content, TextContent) and "fool" in event.content.body:
        return HookResult.block("be kind")
    return HookResult.allow()


@kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)
async def count(event: RoomEvent, context: RoomContext) -> None:
    assert_type(event.status, EventStatus)


@kit.identity_hook(HookTrigger.ON_IDENTITY_UNKNOWN)
async def ask(
    event: RoomEvent, context: RoomContext, result: IdentityResult
) -> IdentityHookResult | None:
    return IdentityHookResult.resolved(Identity(id="ana", display_name="Ana"))


@kit.on("room_created")
async def welcome(event: FrameworkEvent) -> None:
    assert_type(event.room_id, str | None)


async def hear(connection_id: str, event: RoomEvent) -> None:
    """Take what a socket is sent."""


async def main() -> None:
    """Use the kit as the tutorial does."""
    twilio = TwilioConfig(account_sid="AC", auth_token=SecretStr("t"), from_number="+15550100")
    sms = SMSChannel("sms", provider=TwilioSMSProvider(twilio))
    assert_type(sms, TransportChannel)
    async with kit:
        kit.register_channel(sms)
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(
            AIChannel("bot", MockAIProvider(["Hello."]), system_prompt="Be brief")
        )
        room = await kit.create_room(metadata={"shop": 1})
        assert_type(room, Room)
        binding = await kit.attach_channel(room.id, "sms", retry_policy=RetryPolicy(max_retries=2))
        assert_type(binding, ChannelBinding)
        await kit.connect_websocket("web", "tab-1", hear, room_id=room.id)
        message = InboundMessage(
            channel_id="web", sender_id="ana", content=TextContent(body="Hi"), idempotency_key="1"
        )
        result = await kit.process_inbound(message, room_id=room.id)
        assert_type(result, InboundResult)
        if result.event is None or result.reason == Reason.ROOM_CLOSED:
            return
        assert_type(result.event.index, int)
        assert_type(await kit.accept(message), AcceptResult)
        assert_type(await kit.get_timeline(room.id, limit=10), list[RoomEvent])
        assert_type(await kit.stats(), KitStats)
        assert_type(kit.store, ConversationStore)
        try:
            said = await kit.send_event(room.id, "bot", TextContent(body="Bye"))
        except RoomKitError:
            return
        assert_type(said, RoomEvent)
