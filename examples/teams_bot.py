"""A Teams bot: somebody writes, the bot answers, corrects itself, and sees the thumb.

    python examples/teams_bot.py

Prints the bot's answer before and after its correction, the reaction, and the refusal of a token
meant for another bot. It needs ``roomkit[teams,simulators]``.

With TEAMS_APP_ID, TEAMS_APP_PASSWORD and TEAMS_TENANT_ID set it serves the bot's endpoint on port
8000. Without, a simulator on this machine plays Teams and a person: it checks tokens as strictly
as the vendor, and signs its own.
"""

from __future__ import annotations

import asyncio
import os

from pydantic import SecretStr

from roomkit import (
    AIChannel,
    EditContent,
    EphemeralEvent,
    EventType,
    MockAIProvider,
    RoomKit,
    TeamsChannel,
    TextContent,
)
from roomkit.asgi import create_app
from roomkit.providers.teams import BotFrameworkTeamsProvider, TeamsConfig
from roomkit.simulators import TeamsSimulator, served


def make_kit(config: TeamsConfig) -> RoomKit:
    """Return a kit with a Teams channel and somebody to answer."""
    kit = RoomKit()
    kit.register_channel(TeamsChannel("teams", provider=BotFrameworkTeamsProvider(config)))
    kit.register_channel(AIChannel("clerk", MockAIProvider(["We open at ten."])))
    return kit


async def conversation(teams: TeamsSimulator, kit: RoomKit, endpoint: str) -> None:
    """Let a person write, and show what comes back."""
    answer = await teams.receive(endpoint, "When do you open?")
    print("first message:", answer.status)
    room = (await kit.store.find_rooms())[0]
    await kit.attach_channel(room.id, "clerk")
    await teams.receive(endpoint, "Hello?")
    await kit.drain()
    reply = teams.sent[-1]
    print("the bot said:", reply.text)

    said = (await kit.get_timeline(room.id))[-1]
    better = EditContent(target_event_id=said.id, new_content=TextContent(body="We open at nine."))
    await kit.send_event(room.id, "clerk", better, EventType.EDIT)
    await kit.drain()
    print("corrected to:", teams.edited[reply.id]["text"])

    seen: asyncio.Queue[EphemeralEvent] = asyncio.Queue()

    async def note(event: EphemeralEvent) -> None:
        seen.put_nowait(event)

    await kit.subscribe_room(room.id, note)
    await teams.react(endpoint, reply.id)
    print("reaction:", (await seen.get()).data["emoji"])

    forged = await teams.receive(endpoint, "Let me in", claims={"aud": "another-bot"})
    print("a token for another bot:", forged.status)


async def main() -> None:
    """Serve for real, or play it through."""
    if "TEAMS_APP_ID" in os.environ:
        config = TeamsConfig(
            app_id=os.environ["TEAMS_APP_ID"],
            app_password=SecretStr(os.environ["TEAMS_APP_PASSWORD"]),
            tenant_id=os.environ["TEAMS_TENANT_ID"],
        )
        async with served(create_app(make_kit(config)), port=8000):
            await asyncio.Event().wait()
    async with TeamsSimulator() as teams:
        kit = make_kit(TeamsConfig(**teams.settings))
        async with served(create_app(kit)) as url:
            await conversation(teams, kit, f"{url}/webhooks/teams")


if __name__ == "__main__":
    asyncio.run(main())
