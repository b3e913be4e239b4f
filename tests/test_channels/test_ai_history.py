"""What a model is shown of the past, and that it is made of each event once."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from roomkit.channels import _ai_prompt
from roomkit.channels._ai_prompt import ShownEvents
from roomkit.models.content import LocationContent, MediaContent, TextContent
from roomkit.providers.ai.base import AIImagePart, AIMessage
from tests.test_channels._ai_room import said

if TYPE_CHECKING:
    import pytest

    from roomkit.models.event import RoomEvent

NOW = said("now")


def shown(
    memory: ShownEvents, *past: RoomEvent, limit: int = 50, vision: bool = False
) -> list[AIMessage]:
    """Return what the model is shown before the present message."""
    messages = memory.conversation(NOW, list(past), limit, vision=vision)
    assert messages[-1].content == "now"
    return messages[:-1]


def texts(messages: list[AIMessage]) -> list[object]:
    return [message.content for message in messages]


class TestConversation:
    """The newest events a model may see, oldest first, and the present one last."""

    def test_roles(self) -> None:
        """The AI's own words are the assistant's, everybody else's the user's."""
        messages = shown(ShownEvents("ai"), said("a"), said("b", by="ai"), said("c", by="ai-2"))
        assert [message.role for message in messages] == ["user", "assistant", "user"]

    def test_limit(self) -> None:
        """The newest count; those that say nothing to the model count as well."""
        place = said(LocationContent(latitude=0.0, longitude=0.0))
        past = [said("a"), said("b"), place, said("c")]
        memory = ShownEvents("ai")
        assert texts(shown(memory, *past, limit=3)) == ["b", "c"]
        assert texts(shown(memory, *past, limit=0)) == []

    def test_refused_and_deleted(self) -> None:
        """What is no part of the conversation is passed over and takes no place."""
        past = [said("a"), said("b").blocked("gate"), said("c").deleted(), said("d")]
        assert texts(shown(ShownEvents("ai"), *past, limit=2)) == ["a", "d"]

    def test_present_message_stands_once(self) -> None:
        """Also when it is among the past, in an earlier form."""
        assert texts(shown(ShownEvents("ai"), said("a"), NOW.numbered(7))) == ["a"]


class TestMemory:
    """An event that did not change is not looked at again."""

    def test_made_once(self) -> None:
        """The same event gives the same message, a new one a new one."""
        memory, a, b = ShownEvents("ai"), said("a"), said("b")
        first = shown(memory, a)
        second = shown(memory, a, b)
        assert second[0] is first[0]
        assert texts(second) == ["a", "b"]

    def test_changed_events(self) -> None:
        """An edit shows, and what is deleted is gone."""
        memory, event = ShownEvents("ai"), said("a")
        assert texts(shown(memory, event)) == ["a"]
        edited = event.edited(TextContent(body="b"))
        assert texts(shown(memory, edited)) == ["b"]
        assert texts(shown(memory, edited.deleted())) == []

    def test_sight_comes_and_goes(self) -> None:
        """A model that sees from now on gets the images of the past too."""
        memory = ShownEvents("ai")
        image = said(MediaContent(url="https://example.org/a.png", mime_type="image/png"))
        assert shown(memory, image) == []
        (message,) = shown(memory, image, vision=True)
        assert message.content == [
            AIImagePart(url="https://example.org/a.png", mime_type="image/png")
        ]
        assert shown(memory, image) == []

    def test_kept_no_longer_than_the_event(self) -> None:
        """Nothing is held that nobody else holds."""
        memory, kept = ShownEvents("ai"), said("kept")
        shown(memory, kept, said("let go"))
        gc.collect()
        assert len(memory) == 1
        assert texts(shown(memory, kept)) == ["kept"]

    def test_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many events there are, only so many are remembered."""
        monkeypatch.setattr(_ai_prompt, "MAX_SHOWN", 10)
        memory, past = ShownEvents("ai"), [said(str(number)) for number in range(25)]
        assert texts(shown(memory, *past)) == [str(number) for number in range(25)]
        assert len(memory) <= 10
        assert texts(shown(memory, *past)) == [str(number) for number in range(25)]
