"""A conversation over real sockets, which checks itself.

Alice and Bob talk over WebSockets, Carol by a phone whose gateway posts webhooks, and an assistant
looks up an order. On the way one message is blocked, one is redacted, one is edited and one
webhook comes twice.

    python examples/demo.py

Prints what each of them saw, what is stored, and whether that is as it should be: exits with 0
then, with 1 and the differences otherwise. `make demo` does the same. It needs
``roomkit[httpx,websocket]``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httpx
from _demo import gates
from _demo.report import Checks, line, show, words
from _demo.sockets import ChatServer, Person
from _demo.webhooks import Gateway, PhoneProvider

from roomkit import AIChannel, HTTPChannel, MockAIProvider, RoomKit, WebSocketChannel
from roomkit.models.content import EditContent
from roomkit.testing import assert_invariants

MAIN, OTHER = "order-4711", "order-4712"
TIME_LIMIT = 60.0
"""Seconds after which the demo gives up."""

ALICE_SEES = [
    "bob: I will lok.",
    "bob: (edit) I will look.",
    "assistant: Order 4711 is in Lyon and arrives tomorrow.",
    "carol: Charge [card number] please.",
]
BOB_SEES = [
    "alice: Hello, where is my order?",
    "alice: @assistant what is the status of order 4711?",
    "assistant: Order 4711 is in Lyon and arrives tomorrow.",
    "carol: Charge [card number] please.",
    "carol: This is about another order.",
]
CAROL_SEES = [
    "Hello, where is my order?",
    "I will lok.",
    "Correction: I will look.",
    "@assistant what is the status of order 4711?",
    "Order 4711 is in Lyon and arrives tomorrow.",
]
TIMELINE = [
    " 0  delivered  system     a channel was attached",
    " 1  delivered  system     a channel was attached",
    " 2  delivered  system     a channel was attached",
    " 3  delivered  system     a channel was attached",
    " 4  delivered  alice      Hello, where is my order?",
    " 5  delivered  bob        I will look.  [edited]",
    " 6  delivered  bob        (edit) I will look.",
    " 7  delivered  alice      @assistant what is the status of order 4711?",
    " 8  delivered  assistant  Order 4711 is in Lyon and arrives tomorrow.  [used a tool]",
    " 9  blocked    alice      My password is hunter2.  [by moderation]",
    "10  delivered  carol      Charge [card number] please.",
]


class Demo:
    """The scene and everybody in it."""

    def __init__(self, kit: RoomKit) -> None:
        self.kit = kit
        self.model = MockAIProvider(script=gates.SCRIPT, streaming=True)
        self.provider = PhoneProvider()
        self.alice = Person("alice", MAIN)
        self.bob = Person("bob", MAIN)
        self.checks = Checks()

    async def set_up(self) -> None:
        """Register channels and gates, create both rooms and attach everybody."""
        kit = self.kit
        gates.install(kit)
        kit.register_channel(WebSocketChannel("shop"))
        kit.register_channel(WebSocketChannel("desk"))
        kit.register_channel(HTTPChannel("phone", provider=self.provider))
        kit.register_channel(AIChannel("assistant", self.model, tool_handler=gates.run_tool))
        for room in (MAIN, OTHER):
            await kit.create_room(room)
            await kit.attach_channel(room, "shop")
            await kit.attach_channel(room, "desk")
            await kit.attach_channel(room, "phone", metadata={"recipient_id": "carol"})
            await kit.attach_channel(room, "assistant", metadata={"tools": [gates.ORDER_TOOL]})

    async def talk(self, post: httpx.AsyncClient) -> None:
        """Play the conversation, one step after the other."""
        equal = self.checks.equal
        await self.alice.say("Hello, where is my order?")
        typo = await self.bob.say("I will lok.")
        await self.bob.edit(typo["event_id"], "I will look.")
        await self.alice.say(f"{gates.ASSISTANT} what is the status of order 4711?")

        refused = await self.alice.say("My password is hunter2.")
        equal("why the password was blocked", refused["reason"], "passwords do not belong here")

        card = _posted("m-1", MAIN, "Charge 4111 1111 1111 1111 please.")
        first = (await post.post("/webhook", json=card)).json()
        again = (await post.post("/webhook", json=card)).json()
        equal("first webhook", (first["accepted"], first["reason"]), (True, None))
        equal("repeated webhook", again, {**first, "accepted": False, "reason": "duplicate"})
        await post.post("/webhook", json=_posted("m-2", OTHER, "This is about another order."))

    async def check(self, phone: list[str]) -> list[str]:
        """Compare everything with what it should be; return the timeline."""
        equal = self.checks.equal
        stored = await self.kit.get_timeline(MAIN)
        lines = [line(event) for event in stored]
        room = await self.kit.get_room(MAIN)
        equal("what Alice saw", seen_by(self.alice), ALICE_SEES)
        equal("what Bob saw", seen_by(self.bob), BOB_SEES)
        equal("what Carol saw", phone, CAROL_SEES)
        equal("the timeline", lines, TIMELINE)
        equal("event_count", (room.event_count, room.latest_index), (11, 10))
        equal("stored card numbers", [e.id for e in stored if "4111" in e.model_dump_json()], [])
        equal("answer's parent", stored[8].parent_event_id, stored[7].id)
        edit = stored[6].content
        equal("edited event", isinstance(edit, EditContent) and edit.target_event_id, stored[5].id)
        sent = {key: value["status"] for key, value in stored[7].delivery_results.items()}
        equal("deliveries of Alice's question", sent, {"desk": "sent", "phone": "sent"})
        equal("times the model was asked", len(self.model.calls), 2)
        results = [m for m in self.model.calls[-1].messages if m.role == "tool"]
        equal("tool results the model got", len(results), 1)
        whole = words(stored[8].content)
        equal("how Alice got the answer", _watched(self.alice), ["delta", "delta_end", whole])
        await assert_invariants(self.kit.store)
        return lines


def _posted(message_id: str, room: str, text: str) -> dict[str, Any]:
    """Return what the gateway posts for a message of Carol's."""
    return {"id": message_id, "from": "carol", "room": room, "text": text}


def seen_by(person: Person) -> list[str]:
    """Return the events a person saw, as text."""
    seen = []
    for event in person.events():
        content, source = event["content"], event["source"]
        edit = content["type"] == "edit"
        text = f"(edit) {content['new_content']['body']}" if edit else content["body"]
        seen.append(f"{source['participant_id'] or source['channel_id']}: {text}")
    return seen


def _watched(person: Person) -> list[str]:
    """Return how an answer came that was shown while it was written: pieces, end, whole."""
    came: list[str] = []
    for frame in person.frames:
        if frame["type"] in ("delta", "delta_end"):
            came.append(frame["type"])
        elif frame["type"] == "event" and "stream_id" in frame["event"]["metadata"]:
            came.append(frame["event"]["content"]["body"])
    return came


async def main() -> int:
    """Run the demo; return the exit code."""
    async with asyncio.timeout(TIME_LIMIT), RoomKit() as kit:
        demo = Demo(kit)
        await demo.set_up()
        async with (
            ChatServer(kit, {"alice": "shop", "bob": "desk"}) as chat,
            Gateway(kit, "phone") as gateway,
            httpx.AsyncClient(base_url=gateway.url) as post,
            asyncio.TaskGroup() as tasks,
        ):
            demo.provider.url = gateway.url
            await demo.alice.join(chat.url, [MAIN], tasks)
            await demo.bob.join(chat.url, [MAIN, OTHER], tasks)
            await demo.talk(post)
            await demo.alice.has_seen(len(ALICE_SEES))
            await demo.bob.has_seen(len(BOB_SEES))
            await kit.drain(5)
            lines = await demo.check(gateway.phone)
            await demo.alice.leave()
            await demo.bob.leave()
        checks = demo.checks
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    checks.equal("tasks left behind", left, [])

    show("Alice saw, on a WebSocket", seen_by(demo.alice))
    show("Bob saw, on a WebSocket that hears both rooms", seen_by(demo.bob))
    show("Carol saw, on a phone reached over HTTP", gateway.phone)
    show(f"Stored in room {MAIN}", lines)
    if checks.failed:
        show("NOT AS IT SHOULD BE", checks.failed)
        return 1
    print(f"\nAll {checks.made} checks passed.")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
