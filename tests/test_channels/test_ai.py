"""AIChannel: what a model is told, and what becomes of its answer."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from roomkit._clock import ManualClock
from roomkit.channels.ai import AIChannel
from roomkit.exceptions import ConfigurationError, InvalidInputError
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    EditContent,
    EventContent,
    MediaContent,
    RichContent,
    SystemContent,
    TextContent,
)
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import (
    ChannelCategory,
    ChannelDirection,
    ChannelMediaType,
    ChannelType,
    EventStatus,
    EventType,
)
from roomkit.models.task import Observation, Task
from roomkit.providers.ai.base import (
    AIContext,
    AIImagePart,
    AIMessage,
    AIResponse,
    AITextPart,
    AITool,
    AIToolCall,
    ProviderError,
)
from roomkit.providers.ai.mock import MockAIProvider
from tests.test_channels._ai_room import ai_binding, delivering, room, said, tool_spec, transport

PICTURE = MediaContent(url="https://x.test/a.png", mime_type="image/png")
CAPTIONED = MediaContent(url="https://x.test/b.pdf", mime_type="application/pdf", caption="see")


async def told(
    *recent: Any,
    now: Any = "now",
    channel: AIChannel | None = None,
    vision: bool = False,
    **options: Any,
) -> list[AIMessage]:
    """Return the messages a model gets for an event after some history."""
    provider = MockAIProvider(vision=vision)
    channel = AIChannel("ai", provider, **options)
    event = now if not isinstance(now, (str, TextContent)) else said(now)
    await channel.on_event(event, ai_binding(), room(*recent, event))
    return provider.calls[0].messages


class TestFacts:
    """What the channel says about itself."""

    def test_kind(self) -> None:
        channel = AIChannel("ai", MockAIProvider())
        assert channel.channel_type == ChannelType.AI
        assert channel.category == ChannelCategory.INTELLIGENCE
        assert channel.direction == ChannelDirection.BIDIRECTIONAL
        assert channel.info == {"provider": "MockAIProvider"}
        assert channel.reacts
        assert channel.backlog == "each"

    @pytest.mark.parametrize("vision", [False, True])
    def test_capabilities_follow_the_providers_eyes(self, vision: bool) -> None:
        channel = AIChannel("ai", MockAIProvider(vision=vision))
        capabilities = channel.capabilities()
        assert capabilities.supports_rich_text
        assert capabilities.supports_media is vision
        assert ChannelMediaType.TEXT in capabilities.media_types
        assert ChannelMediaType.RICH in capabilities.media_types
        assert (ChannelMediaType.MEDIA in capabilities.media_types) is vision
        assert channel.capabilities() is capabilities

    async def test_nothing_comes_in_and_nothing_is_delivered(self) -> None:
        provider = MockAIProvider()
        channel = AIChannel("ai", provider)
        message = InboundMessage(channel_id="ai", sender_id="x", content=TextContent(body="x"))
        with pytest.raises(NotImplementedError):
            await channel.handle_inbound(message, room())
        output = await channel.deliver(said("hi"), ai_binding(), room())
        assert not output.responded
        assert provider.calls == []

    async def test_close_closes_the_provider_once(self) -> None:
        class Counting(MockAIProvider):
            closings = 0

            async def close(self) -> None:
                self.closings += 1

        provider = Counting()
        channel = AIChannel("ai", provider)
        await channel.close()
        await channel.close()
        assert provider.closings == 1

    @pytest.mark.parametrize(
        "options", [{"max_tool_rounds": -1}, {"max_parallel_tools": 0}, {"backlog": "some"}]
    )
    def test_settings_that_cannot_work_are_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError):
            AIChannel("ai", MockAIProvider(), **options)

    def test_positional_settings(self) -> None:
        channel = AIChannel("ai", MockAIProvider(), "be kind", 0.1, 9, 3, backlog="latest")
        assert channel.backlog == "latest"


class TestAnswer:
    """One event comes out, joined to the one it answers."""

    async def test_the_event(self) -> None:
        clock = ManualClock()
        channel = AIChannel("ai", MockAIProvider(["Hello"]), clock=clock)
        event = said("hi", chain_depth=2, correlation_id="case-7")
        output = await channel.on_event(event, ai_binding(), room(event))
        assert output.responded
        (answer,) = output.response_events
        assert answer.content == TextContent(body="Hello")
        assert answer.room_id == event.room_id
        assert answer.type == EventType.MESSAGE
        assert answer.status == EventStatus.PENDING
        assert answer.source.channel_id == "ai"
        assert answer.source.channel_type == ChannelType.AI
        assert answer.source.direction == ChannelDirection.OUTBOUND
        assert answer.chain_depth == 3
        assert answer.parent_event_id == event.id
        assert answer.correlation_id == "case-7"
        assert answer.created_at == clock.now()
        assert answer.metadata == {"ai_usage": {"prompt_tokens": 10, "completion_tokens": 5}}

    async def test_never_answers_itself(self) -> None:
        provider = MockAIProvider()
        own = said("mine", by="ai")
        output = await AIChannel("ai", provider).on_event(own, ai_binding(), room(own))
        assert not output.responded
        assert provider.calls == []

    @pytest.mark.parametrize(
        "event",
        [
            said(SystemContent(body="joined"), type=EventType.SYSTEM),
            said(
                EditContent(target_event_id="e", new_content=TextContent(body="x")),
                type=EventType.EDIT,
            ),
            said("psst", visibility="internal"),
        ],
    )
    async def test_answers_whatever_the_engine_shows_it(self, event: Any) -> None:
        output = await AIChannel("ai", MockAIProvider()).on_event(event, ai_binding(), room(event))
        assert output.responded

    async def test_an_empty_answer_is_an_event_too(self) -> None:
        event = said("hi")
        channel = AIChannel("ai", MockAIProvider([""]))
        output = await channel.on_event(event, ai_binding(), room(event))
        assert [e.content for e in output.response_events] == [TextContent(body="")]

    async def test_tasks_and_observations_go_along(self) -> None:
        task = Task(id="t", room_id="r", title="call back")
        seen = Observation(id="o", room_id="r", channel_id="ai", content="happy")
        answer = AIResponse(content="ok", tasks=[task], observations=[seen])
        event = said("hi")
        channel = AIChannel("ai", MockAIProvider(script=[answer]))
        output = await channel.on_event(event, ai_binding(), room(event))
        assert output.tasks == [task]
        assert output.observations == [seen]

    async def test_calls_nobody_runs_stay_with_the_answer(self) -> None:
        call = AIToolCall(
            id="c1", name="search", arguments={"q": {1}}, metadata={"thought_signature": "s"}
        )
        event = said("hi")
        channel = AIChannel("ai", MockAIProvider(tool_calls=[call]))
        output = await channel.on_event(
            event, ai_binding(tools=[tool_spec("search")]), room(event)
        )
        (answer,) = output.response_events
        assert answer.content == TextContent(body="")
        assert answer.metadata["tool_calls"] == [
            {
                "id": "c1",
                "name": "search",
                "arguments": {"q": "{1}"},
                "metadata": {"thought_signature": "s"},
            }
        ]
        assert "tool_rounds" not in answer.metadata


class TestFailure:
    """A failure is the engine's matter inside a delivery, and a log line outside of one."""

    @pytest.mark.parametrize(
        "error", [ProviderError("busy: hush", retryable=True, status_code=429), ValueError("hush")]
    )
    async def test_called_directly_it_is_logged_and_empty(
        self, error: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        channel = AIChannel("ai", MockAIProvider(script=[error]))
        event = said("hi")
        with caplog.at_level(logging.INFO, "roomkit"):
            output = await channel.on_event(event, ai_binding(), room(event))
        assert not output.responded
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert type(error).__name__ in record.getMessage()
        assert "hush" not in caplog.text
        assert vars(record)["event_id"] == event.id
        assert vars(record).get("status_code") == getattr(error, "status_code", None)

    async def test_inside_a_delivery_it_is_raised(self) -> None:
        error = ProviderError("busy", retryable=True, status_code=429)
        channel = AIChannel("ai", MockAIProvider(script=[error]))
        event = said("hi")
        with delivering(), pytest.raises(ProviderError) as caught:
            await channel.on_event(event, ai_binding(), room(event))
        assert caught.value is error

    async def test_cancellation_passes(self) -> None:
        asked = asyncio.Event()

        class Silent(MockAIProvider):
            async def generate(self, context: AIContext) -> AIResponse:
                asked.set()
                await asyncio.Event().wait()
                return await super().generate(context)

        channel = AIChannel("ai", Silent())
        event = said("hi")
        task = asyncio.ensure_future(channel.on_event(event, ai_binding(), room(event)))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class TestHistory:
    """The model sees the newest visible events, oldest first, and the present one last."""

    async def test_roles(self) -> None:
        messages = await told(said("one"), said("two", by="ai"), said("three", by="ai-2"))
        assert [(m.role, m.content) for m in messages] == [
            ("user", "one"),
            ("assistant", "two"),
            ("user", "three"),
            ("user", "now"),
        ]

    async def test_the_current_message_stands_once_regression_d2(self) -> None:
        """The reference told every message twice, since the history ends with it."""
        assert [m.content for m in await told(now="hi")] == ["hi"]

    async def test_the_current_message_is_last_even_when_others_came_after_it(self) -> None:
        event = said("now")
        provider = MockAIProvider()
        context = room(said("before"), event, said("late answer", by="ai"))
        await AIChannel("ai", provider).on_event(event, ai_binding(), context)
        contents = [m.content for m in provider.calls[0].messages]
        assert contents == ["before", "late answer", "now"]

    async def test_only_the_newest_are_told(self) -> None:
        history = [said(str(number)) for number in range(10)]
        messages = await told(*history, max_context_events=3)
        assert [m.content for m in messages] == ["7", "8", "9", "now"]

    @pytest.mark.parametrize("limit", [0, -5])
    async def test_no_history_at_zero_regression_d12(self, limit: int) -> None:
        """In the reference 0 meant everything."""
        messages = await told(said("old"), max_context_events=limit)
        assert [m.content for m in messages] == ["now"]

    async def test_deleted_and_blocked_events_are_not_told(self) -> None:
        messages = await told(
            said("kept"),
            said("gone").deleted(),
            said("refused").blocked("gate"),
            max_context_events=1,
        )
        assert [m.content for m in messages] == ["kept", "now"]

    async def test_an_edit_shows(self) -> None:
        messages = await told(said("old words").edited(TextContent(body="typo")))
        assert [m.content for m in messages] == ["typo", "now"]

    async def test_events_without_text_are_left_out_yet_count(self) -> None:
        notice = said(SystemContent(body="attached"), type=EventType.SYSTEM)
        messages = await told(said("far"), said("near"), notice, max_context_events=2)
        assert [m.content for m in messages] == ["near", "now"]


class TestSight:
    """Pictures reach only a model that can see."""

    @pytest.mark.parametrize(
        "content",
        [
            PICTURE,
            CAPTIONED,
            CompositeContent(parts=[TextContent(body="a"), PICTURE]),
            RichContent(body="**a**"),
        ],
    )
    async def test_without_sight_only_text_counts(self, content: EventContent) -> None:
        assert await told(now=said(content)) == []

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (TextContent(body="a"), "a"),
            (PICTURE, [AIImagePart(url=PICTURE.url, mime_type="image/png")]),
            (
                CAPTIONED,
                [
                    AITextPart(text="see"),
                    AIImagePart(url=CAPTIONED.url, mime_type="application/pdf"),
                ],
            ),
            (
                CompositeContent(parts=[TextContent(body="a"), PICTURE, RichContent(body="b")]),
                [AITextPart(text="a"), AIImagePart(url=PICTURE.url, mime_type="image/png")],
            ),
        ],
    )
    async def test_with_sight(self, content: EventContent, expected: Any) -> None:
        (message,) = await told(now=said(content), vision=True)
        assert (message.role, message.content) == ("user", expected)

    @pytest.mark.parametrize(
        "content",
        [
            CompositeContent(parts=[RichContent(body="b")]),
            RichContent(body="b"),
            AudioContent(url="https://x.test/a.ogg", transcript="spoken"),
        ],
    )
    async def test_other_kinds_give_nothing(self, content: EventContent) -> None:
        assert await told(now=said(content), vision=True) == []


class TestRoomSettings:
    """A room's binding may change the settings for itself alone."""

    async def ask(self, metadata: dict[str, Any], provider: MockAIProvider) -> Any:
        channel = AIChannel("ai", provider, "be kind", 0.5, 99)
        event = said("hi")
        with delivering():
            await channel.on_event(event, ai_binding(**metadata), room(event))
        return provider.calls[-1]

    async def test_the_channels_hold_without_any(self) -> None:
        context = await self.ask({}, MockAIProvider())
        assert (context.system_prompt, context.temperature, context.max_tokens) == (
            "be kind",
            0.5,
            99,
        )
        assert context.tools == []
        assert {"temperature", "max_tokens"} <= context.model_fields_set

    async def test_the_rooms_win(self) -> None:
        metadata = {
            "system_prompt": "be brief",
            "temperature": 1,
            "max_tokens": "7",
            "tools": [tool_spec("search"), {"name": "bare"}, AITool(name="ready")],
        }
        context = await self.ask(metadata, MockAIProvider())
        assert (context.system_prompt, context.temperature, context.max_tokens) == (
            "be brief",
            1.0,
            7,
        )
        assert context.tools == [
            AITool(name="search", description="does search", parameters={"type": "object"}),
            AITool(name="bare", description="", parameters={}),
            AITool(name="ready"),
        ]

    async def test_even_none_wins(self) -> None:
        metadata = {"system_prompt": None, "temperature": None, "max_tokens": None, "tools": None}
        context = await self.ask(metadata, MockAIProvider())
        assert (context.system_prompt, context.temperature, context.max_tokens) == (
            None,
            None,
            None,
        )
        assert context.tools == []

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("temperature", "hot"),
            ("max_tokens", float("inf")),
            ("max_tokens", []),
            ("system_prompt", 7),
            ("tools", "search"),
            ("tools", [{"description": "nameless"}]),
            ("tools", ["search"]),
        ],
    )
    async def test_what_cannot_be_used_is_named(self, key: str, value: Any) -> None:
        provider = MockAIProvider()
        with pytest.raises(InvalidInputError, match=key):
            await self.ask({key: value}, provider)
        assert provider.calls == []


class TestTargets:
    """The model is told what the channels that will carry its answer can show."""

    async def ask(self, *bindings: Any) -> Any:
        provider = MockAIProvider()
        event = said("hi")
        context = room(event, bindings=[ai_binding(), *bindings])
        await AIChannel("ai", provider).on_event(event, ai_binding(), context)
        assert provider.calls[0].room is context
        return provider.calls[0]

    async def test_nobody(self) -> None:
        context = await self.ask()
        assert context.target_capabilities is None
        assert context.target_media_types == []

    async def test_what_all_transports_have_in_common(self) -> None:
        kinds = ChannelMediaType
        first = ChannelCapabilities(media_types=[kinds.TEXT, kinds.RICH, kinds.MEDIA])
        other = ChannelCapabilities(media_types=[kinds.MEDIA, kinds.TEXT], max_length=160)
        silent = ChannelCapabilities(media_types=[])
        context = await self.ask(
            transport("web", capabilities=first),
            transport("web-2", capabilities=first),
            transport("mms", capabilities=other),
            transport("critic", capabilities=silent, category=ChannelCategory.INTELLIGENCE),
            transport("ai", capabilities=silent),
        )
        assert context.target_capabilities is first
        assert set(context.target_media_types) == {kinds.TEXT, kinds.MEDIA}
