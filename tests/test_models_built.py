"""Models made without validation are what validation would have made, field by field."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelType, EventType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.task import Observation, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

AT = datetime(2026, 1, 2, tzinfo=UTC)
SOURCE = EventSource(channel_id="ai", channel_type=ChannelType.AI)


def cause(**fields: Any) -> RoomEvent:
    return RoomEvent(room_id="room-1", source=SOURCE, content=TextContent(body="?"), **fields)


def reply(to: RoomEvent | None = None) -> RoomEvent:
    return (to or cause()).reply(SOURCE, TextContent(body="!"), {"a": 1}, AT)


def output() -> ChannelOutput:
    task = Task(id="t", room_id="room-1", title="call back")
    seen = Observation(id="o", room_id="room-1", channel_id="ai", content="angry")
    return ChannelOutput.answer(reply(), [task], [seen])


MADE: dict[str, Callable[[], BaseModel]] = {
    "reply": reply,
    "output": output,
    "source": lambda: EventSource.of_framework("system"),
    "participant": lambda: Participant.known(
        Identity(id="ada", display_name="Ada"), "room-1", "sms"
    ),
    "notice": lambda: RoomEvent.notice(
        "room-1", EventType.SYSTEM, SOURCE, "said", "code", {"a": 1}, AT
    ),
}


class TestBuilt:
    """No field is missing, none too many, and each is of the right type."""

    @pytest.mark.parametrize("name", MADE)
    def test_like_validated(self, name: str) -> None:
        """Validating its fields again gives an equal model with the same fields."""
        model = MADE[name]()
        again = type(model).model_validate(model.model_dump())
        assert model == again
        assert set(model.__dict__) == set(type(model).model_fields)
        assert model.model_dump_json() == again.model_dump_json()


class TestReply:
    """An answer continues what it answers."""

    def test_follows_its_cause(self) -> None:
        """Room, parent, depth and correlation are taken over; the id is new."""
        asked = cause(chain_depth=2, correlation_id="c-1")
        answer = reply(asked)
        assert (answer.room_id, answer.parent_event_id) == (asked.room_id, asked.id)
        assert (answer.chain_depth, answer.correlation_id) == (3, "c-1")
        assert answer.id != asked.id

    def test_answering_again_changes_nothing(self) -> None:
        """What is marked as the answer already is not copied once more."""
        asked = cause()
        answer = reply(asked).answering(asked, outbound=True)
        assert answer.answering(asked, outbound=True) is answer
        deeper = cause(chain_depth=4)
        assert answer.answering(deeper, outbound=True).chain_depth == 5


def run(code: str) -> Any:
    """Run a program in a fresh process and return what it prints, as JSON."""
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return json.loads(child.stdout)


class TestFirstUse:
    """Importing is quick: how a model is validated is worked out when somebody needs it."""

    def test_import_works_out_nothing(self) -> None:
        """Importing the kit leaves every model for later; making one gets the usual ready."""
        code = """
import json
from pydantic import BaseModel
from roomkit import RoomKit
from roomkit import models

def ready():
    found = [getattr(models, name) for name in models.__all__]
    found = [one for one in found if isinstance(one, type) and issubclass(one, BaseModel)]
    return [one.__name__ for one in found if one.__pydantic_complete__]

before = ready()
RoomKit()
print(json.dumps([before, ready()]))
"""
        before, after = run(code)
        assert before == []
        assert {"RoomEvent", "InboundMessage", "TextContent", "Room", "ChannelBinding"} <= {*after}

    def test_names_of_the_first_user_do_not_matter(self) -> None:
        """Local variables called like our types are not taken for them."""
        code = """
import json

def use():
    datetime = Any = Literal = EventType = ChannelData = EventContent = str = list = None
    from roomkit import CompositeContent, EditContent, EventSource, Room, RoomEvent
    text = {"type": "text", "body": "x"}
    edit = EditContent(target_event_id="e", new_content=text)
    composite = CompositeContent(parts=[text, edit])
    source = EventSource(channel_id="c", channel_type="sms")
    event = RoomEvent(room_id=Room(id="r").id, source=source, content=composite)
    return event.model_dump(mode="json")["content"]["parts"]

print(json.dumps([part["type"] for part in use()]))
"""
        assert run(code) == ["text", "edit"]
