"""The smallest Teams bot: whatever somebody writes comes back, in every chat it is added to.

The echo is a channel of its own, a few lines long: replace what it says, and it is your bot.

    python examples/teams_echo.py

Prints what two people wrote and what the bot said to each. It needs ``roomkit[teams,simulators]``.

A simulator on this machine plays Teams and the people. With TEAMS_APP_ID, TEAMS_APP_PASSWORD and
TEAMS_TENANT_ID set it serves your bot instead, on port 8000 (path /webhooks/teams; put TLS in
front), until it is interrupted.
"""

from __future__ import annotations

import asyncio
import os

from pydantic import SecretStr

from roomkit import (
    Channel,
    ChannelBinding,
    ChannelCategory,
    ChannelOutput,
    ChannelType,
    EventSource,
    HookExecution,
    HookTrigger,
    InboundMessage,
    RoomContext,
    RoomEvent,
    RoomKit,
    TeamsChannel,
    TextContent,
)
from roomkit.asgi import create_app
from roomkit.providers.teams import BotFrameworkTeamsProvider, TeamsConfig
from roomkit.simulators import TeamsSimulator, served

GREETINGS = {"19:ana": "Good morning", "19:bob": "Is this thing on?"}


class EchoChannel(Channel):
    """Says back what it hears. Nothing comes to it from outside, and nothing goes out by it."""

    channel_type = ChannelType.SYSTEM
    category = ChannelCategory.INTELLIGENCE

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Return a message as an event of a room, should a program ever send one."""
        source = EventSource(channel_id=self.channel_id, channel_type=self.channel_type)
        return RoomEvent(room_id=context.room.id, source=source, content=message.content)

    async def deliver(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Deliver nothing: there is nobody behind this channel."""
        return ChannelOutput.empty()

    async def on_event(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Answer a text with the same text."""
        if not isinstance(event.content, TextContent):
            return ChannelOutput.empty()
        source = EventSource(channel_id=self.channel_id, channel_type=self.channel_type)
        echo = RoomEvent(
            room_id=event.room_id,
            source=source,
            content=TextContent(body=f"You said: {event.content.body}"),
        )
        return ChannelOutput(responded=True, response_events=[echo])


def make_kit(config: TeamsConfig) -> RoomKit:
    """Return a kit with a Teams channel, and an echo in each of its rooms."""
    kit = RoomKit()
    kit.register_channel(TeamsChannel("teams", provider=BotFrameworkTeamsProvider(config)))
    kit.register_channel(EchoChannel("echo"))

    @kit.hook(HookTrigger.ON_ROOM_CREATED, HookExecution.ASYNC)
    async def join(event: RoomEvent, context: RoomContext) -> None:
        """Come to every room that a first message opens, in time to hear that message."""
        await kit.attach_channel(event.room_id, "echo")

    return kit


async def simulated() -> None:
    """Let two people write, each in a chat of their own."""
    async with TeamsSimulator() as teams:
        kit = make_kit(TeamsConfig(**teams.settings))
        async with served(create_app(kit)) as url:
            for chat, text in GREETINGS.items():
                await teams.receive(f"{url}/webhooks/teams", text, conversation=chat)
                print(f"{chat}: {text}")
            await kit.drain()
            for message in teams.sent:
                print(f"to {message.to}: {message.text}")
    said = {(message.to, message.text) for message in teams.sent}
    assert said == {(chat, f"You said: {text}") for chat, text in GREETINGS.items()}, said


async def for_real() -> None:
    """Serve the bot of the environment until interrupted."""
    config = TeamsConfig(
        app_id=os.environ["TEAMS_APP_ID"],
        app_password=SecretStr(os.environ["TEAMS_APP_PASSWORD"]),
        tenant_id=os.environ["TEAMS_TENANT_ID"],
    )
    async with served(create_app(make_kit(config)), port=8000) as url:
        print("serving", f"{url}/webhooks/teams")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(for_real() if "TEAMS_APP_ID" in os.environ else simulated())
