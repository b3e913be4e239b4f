"""AIChannel's tool loop: rounds, bounds and what becomes of failures."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from roomkit.channels.ai import AIChannel
from roomkit.models.content import TextContent
from roomkit.models.task import Task
from roomkit.providers.ai.base import (
    AIMessage,
    AIResponse,
    AITextPart,
    AIThinkingPart,
    AIToolCall,
    AIToolCallPart,
    AIToolResultPart,
    ProviderError,
)
from roomkit.providers.ai.mock import MockAIProvider
from tests.test_channels._ai_room import ai_binding, delivering, room, said, tool_spec

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelOutput
    from roomkit.models.event import RoomEvent


def call(name: str = "search", call_id: str = "c1", **arguments: Any) -> AIToolCall:
    return AIToolCall(id=call_id, name=name, arguments=arguments)


def calling(*calls: AIToolCall, **fields: Any) -> AIResponse:
    return AIResponse(content=fields.pop("content", ""), tool_calls=list(calls), **fields)


async def output_of(
    provider: MockAIProvider, handler: Any, *, tools: tuple[str, ...] = ("search",), **options: Any
) -> ChannelOutput:
    """Return what the channel puts out for one message, with tools on offer."""
    channel = AIChannel("ai", provider, tool_handler=handler, **options)
    event = said("hi")
    binding = ai_binding(tools=[tool_spec(name) for name in tools])
    with delivering():
        return await channel.on_event(event, binding, room(event))


async def answer_of(provider: MockAIProvider, handler: Any, **options: Any) -> RoomEvent:
    (answer,) = (await output_of(provider, handler, **options)).response_events
    return answer


def results(provider: MockAIProvider, ask: int = 1) -> list[AIToolResultPart]:
    """Return the results a model was shown at the end of its n-th prompt."""
    message = provider.calls[ask].messages[-1]
    assert message.role == "tool"
    parts = [part for part in message.content if isinstance(part, AIToolResultPart)]
    assert len(parts) == len(message.content)
    return parts


async def found(name: str, arguments: dict[str, Any]) -> str:
    return f"{name} found {arguments.get('q')}"


class TestRounds:
    """Each round adds the model's message and all results; the last text is the answer."""

    async def test_one_round(self) -> None:
        provider = MockAIProvider(
            ["It is sunny."],
            script=[
                calling(call(q="weather"), content="Let me look.", usage={"prompt_tokens": 1})
            ],
        )
        answer = await answer_of(provider, found)
        assert answer.content == TextContent(body="It is sunny.")
        first, second = provider.calls
        assert [m.role for m in first.messages] == ["user"]
        assert [m.role for m in second.messages] == ["user", "assistant", "tool"]
        assert second.messages[1].content == [
            AITextPart(text="Let me look."),
            AIToolCallPart(id="c1", name="search", arguments={"q": "weather"}),
        ]
        assert results(provider) == [
            AIToolResultPart(tool_call_id="c1", name="search", result="search found weather")
        ]
        assert second.tools == first.tools
        assert answer.metadata["ai_usage"] == {"prompt_tokens": 11, "completion_tokens": 5}
        assert answer.metadata["tool_rounds"] == [
            {
                "calls": [
                    {
                        "id": "c1",
                        "name": "search",
                        "arguments": {"q": "weather"},
                        "error": False,
                        "result": "search found weather",
                    }
                ],
                "text": "Let me look.",
            }
        ]
        assert "tool_calls" not in answer.metadata

    async def test_what_the_vendor_wants_back_goes_back(self) -> None:
        """Thoughts come first, with their seal; metadata of message and calls is kept."""
        signed = AIToolCall(id="c1", name="search", metadata={"thought_signature": "xyz"})
        provider = MockAIProvider(
            script=[
                calling(
                    signed, thinking="hm", thinking_signature="sealed", metadata={"model": "m"}
                )
            ]
        )
        await answer_of(provider, found)
        message = provider.calls[1].messages[1]
        assert message == AIMessage(
            role="assistant",
            content=[
                AIThinkingPart(thinking="hm", signature="sealed"),
                AIToolCallPart(id="c1", name="search", metadata={"thought_signature": "xyz"}),
            ],
            metadata={"model": "m"},
        )

    async def test_rounds_follow_each_other(self) -> None:
        provider = MockAIProvider(
            ["done"], script=[calling(call(q=1)), calling(call(q=2, call_id="c2"))]
        )
        answer = await answer_of(provider, found)
        assert answer.content == TextContent(body="done")
        roles = [m.role for m in provider.calls[2].messages]
        assert roles == ["user", "assistant", "tool", "assistant", "tool"]
        assert len(answer.metadata["tool_rounds"]) == 2

    async def test_after_the_last_round_no_tools_are_offered(self) -> None:
        """The model is asked once more, and what it still calls is not run."""
        ran: list[str] = []

        async def handler(name: str, arguments: dict[str, Any]) -> str:
            ran.append(name)
            return "again"

        endless = [calling(call(), content=f"try {number}") for number in range(9)]
        provider = MockAIProvider(script=endless)
        answer = await answer_of(provider, handler, max_tool_rounds=2)
        assert len(provider.calls) == 3
        assert [len(context.tools) for context in provider.calls] == [1, 1, 0]
        withheld = provider.calls[2].metadata["withheld_tools"]
        assert [tool.name for tool in withheld] == ["search"]
        assert ran == ["search", "search"]
        assert answer.content == TextContent(body="try 2")
        assert [c["name"] for c in answer.metadata["tool_calls"]] == ["search"]

    async def test_no_rounds_means_no_tools(self) -> None:
        provider = MockAIProvider(["plain"])
        answer = await answer_of(provider, found, max_tool_rounds=0)
        assert answer.content == TextContent(body="plain")
        assert provider.calls[0].tools == []

    async def test_effects_of_every_answer_are_kept(self) -> None:
        tasks = [Task(id=str(number), room_id="r", title="t") for number in range(2)]
        provider = MockAIProvider(
            script=[calling(call(), tasks=tasks[:1]), AIResponse(content="x", tasks=tasks[1:])]
        )
        assert (await output_of(provider, found)).tasks == tasks

    async def test_an_error_of_the_provider_ends_the_turn(self) -> None:
        provider = MockAIProvider(script=[calling(call()), ProviderError("down")])
        with pytest.raises(ProviderError, match="down"):
            await answer_of(provider, found)


class TestCalls:
    """Calls of one round run at once, within bounds, and only what the room offers."""

    async def test_they_run_at_once_and_answer_in_order(self) -> None:
        both = asyncio.Barrier(2)

        async def handler(name: str, arguments: dict[str, Any]) -> str:
            await both.wait()
            return str(arguments["n"])

        provider = MockAIProvider(script=[calling(call(n=1), call(n=2, call_id="c2"))])
        await answer_of(provider, handler)
        assert [(r.tool_call_id, r.result) for r in results(provider)] == [
            ("c1", "1"),
            ("c2", "2"),
        ]

    async def test_width_is_bounded(self) -> None:
        running = most = 0

        async def handler(name: str, arguments: dict[str, Any]) -> str:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return "ok"

        calls = [call(call_id=f"c{number}") for number in range(20)]
        provider = MockAIProvider(script=[calling(*calls)])
        await answer_of(provider, handler, max_parallel_tools=3)
        assert most == 3
        assert [r.result for r in results(provider)] == ["ok"] * 20

    async def test_a_model_run_wild_is_bounded(self) -> None:
        ran = 0

        async def handler(name: str, arguments: dict[str, Any]) -> str:
            nonlocal ran
            ran += 1
            return "ok"

        calls = [call(call_id=f"c{number}") for number in range(100_000)]
        wild = AIResponse(content="").model_copy(update={"tool_calls": calls})
        provider = MockAIProvider(script=[wild])
        answer = await answer_of(provider, handler)
        assert ran == 64
        shown = results(provider)
        assert len(shown) == 256
        assert [r.is_error for r in shown] == [False] * 64 + [True] * 192
        assert len(provider.calls[1].messages[1].content) == 256
        (noted,) = answer.metadata["tool_rounds"]
        assert len(noted["calls"]) == 64
        assert noted["calls_left_out"] == 100_000 - 64

    async def test_a_tool_the_room_does_not_offer_is_never_run(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        ran: list[str] = []

        async def handler(name: str, arguments: dict[str, Any]) -> str:
            ran.append(name)
            return "ok"

        provider = MockAIProvider(script=[calling(call("refund"), call(call_id="c2"))])
        await answer_of(provider, handler)
        assert ran == ["search"]
        assert [r.is_error for r in results(provider)] == [True, False]
        assert "refund" not in caplog.text

    async def test_a_room_without_tools_runs_none(self) -> None:
        """An empty offer is no permission for everything."""
        ran: list[str] = []

        async def handler(name: str, arguments: dict[str, Any]) -> str:
            ran.append(name)
            return "ok"

        provider = MockAIProvider(script=[calling(call())])
        answer = await answer_of(provider, handler, tools=())
        assert ran == []
        assert [c["name"] for c in answer.metadata["tool_calls"]] == ["search"]

    async def test_calls_without_an_id_of_their_own_get_one(self) -> None:
        calls = [call(call_id=""), call(call_id="same"), call(call_id="same")]
        provider = MockAIProvider(script=[calling(*calls)])
        await answer_of(provider, found)
        ids = [r.tool_call_id for r in results(provider)]
        assert len(set(ids)) == 3
        assert all(ids)
        sent = provider.calls[1].messages[1].content
        assert [p.id for p in sent if isinstance(p, AIToolCallPart)] == ids

    @pytest.mark.parametrize(
        ("given", "got"),
        [
            (None, {}),
            ('{"q": "x"}', {"q": "x"}),
            ("[1]", {"input": [1]}),
            ("{broken", {"input": "{broken"}),
            (7, {"input": 7}),
        ],
    )
    async def test_arguments_of_any_kind_become_a_dict(self, given: Any, got: Any) -> None:
        seen: list[Any] = []

        async def handler(name: str, arguments: dict[str, Any]) -> str:
            seen.append(arguments)
            return "ok"

        odd = call().model_copy(update={"arguments": given})
        provider = MockAIProvider(script=[calling().model_copy(update={"tool_calls": [odd]})])
        await answer_of(provider, handler)
        assert seen == [got]

    async def test_a_handler_cannot_change_what_the_model_said(self) -> None:
        async def handler(name: str, arguments: dict[str, Any]) -> str:
            arguments["deep"].append("changed")
            return "ok"

        provider = MockAIProvider(script=[calling(call(deep=[]))])
        await answer_of(provider, handler)
        part = provider.calls[1].messages[1].content[0]
        assert isinstance(part, AIToolCallPart)
        assert part.arguments == {"deep": []}


class TestResults:
    """Whatever a handler returns becomes text of bounded size."""

    async def result_of(self, value: Any) -> Any:
        provider = MockAIProvider(script=[calling(call())])
        answer = await answer_of(provider, lambda name, arguments: value)
        (shown,) = results(provider)
        assert not shown.is_error
        (noted,) = answer.metadata["tool_rounds"][0]["calls"]
        return shown.result, noted

    async def test_plain_functions_work_too(self) -> None:
        assert (await self.result_of("text"))[0] == "text"

    async def test_dicts_and_others_become_json(self) -> None:
        class Place(BaseModel):
            name: str

        value = {"day": date(2026, 1, 2), "place": Place(name="Rome"), "n": [1, None]}
        assert json.loads((await self.result_of(value))[0]) == {
            "day": "2026-01-02",
            "place": {"name": "Rome"},
            "n": [1, None],
        }

    async def test_long_results_are_cut_to_64_kib(self) -> None:
        shown, noted = await self.result_of("\u00e9" * 100_000)
        assert len(shown.encode()) <= 64 * 1024
        assert len(shown.encode()) > 64 * 1024 - 16
        assert shown.startswith("\u00e9" * 1000)
        assert shown.endswith("[cut]")
        assert "result" not in noted

    async def test_a_result_of_just_64_kib_is_whole(self) -> None:
        assert (await self.result_of("x" * 65_536))[0] == "x" * 65_536

    async def test_only_short_results_are_noted(self) -> None:
        assert (await self.result_of("x" * 2048))[1]["result"] == "x" * 2048
        assert "result" not in (await self.result_of("x" * 2049))[1]

    async def test_characters_no_wire_carries_are_dropped(self) -> None:
        assert (await self.result_of("a\x00b\ud800c"))[0] == "ab?c"

    async def test_notes_are_json_whatever_the_arguments(self) -> None:
        provider = MockAIProvider(script=[calling(call(day=date(2026, 1, 2), big="x" * 3000))])
        answer = await answer_of(provider, found)
        (noted,) = answer.metadata["tool_rounds"][0]["calls"]
        assert "arguments" not in noted
        provider = MockAIProvider(script=[calling(call(day=date(2026, 1, 2)))])
        answer = await answer_of(provider, found)
        assert json.loads(json.dumps(answer.metadata)) == answer.metadata
        (noted,) = answer.metadata["tool_rounds"][0]["calls"]
        assert noted["arguments"] == {"day": "2026-01-02"}

    async def test_arguments_without_any_json_form_are_left_empty(self) -> None:
        loop: dict[str, Any] = {}
        loop["self"] = loop
        odd = call().model_copy(update={"arguments": loop})
        provider = MockAIProvider(script=[calling().model_copy(update={"tool_calls": [odd]})])
        answer = await answer_of(provider, None)
        assert answer.metadata["tool_calls"] == [{"id": "c1", "name": "search", "arguments": {}}]


class TestFailures:
    """A failing tool is an answer to the model, not the end of the turn."""

    async def test_the_model_learns_the_kind_and_no_more(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def handler(name: str, arguments: dict[str, Any]) -> str:
            raise LookupError("postgres://user:secret@db")

        provider = MockAIProvider(["sorry"], script=[calling(call())])
        with caplog.at_level(logging.INFO, "roomkit"):
            answer = await answer_of(provider, handler)
        (shown,) = results(provider)
        assert shown.is_error
        assert "LookupError" in str(shown.result)
        assert "secret" not in str(shown.result) + caplog.text
        assert answer.content == TextContent(body="sorry")
        assert answer.metadata["tool_rounds"][0]["calls"][0]["error"] is True

    async def test_others_of_the_round_still_count(self) -> None:
        def handler(name: str, arguments: dict[str, Any]) -> str:
            return "ok" if arguments else str(1 / 0)

        provider = MockAIProvider(script=[calling(call(), call(call_id="c2", n=1))])
        await answer_of(provider, handler)
        assert [r.is_error for r in results(provider)] == [True, False]

    async def test_a_tool_gets_only_its_time(self) -> None:
        never = asyncio.Event()
        cancelled: list[str] = []

        async def handler(name: str, arguments: dict[str, Any]) -> str:
            try:
                await never.wait()
            except asyncio.CancelledError:
                cancelled.append(name)
                raise
            return "late"

        provider = MockAIProvider(["sorry"], script=[calling(call())])
        answer = await answer_of(provider, handler, tool_timeout=0.01)
        (shown,) = results(provider)
        assert (shown.is_error, shown.result) == (True, "the tool took too long")
        assert cancelled == ["search"]
        assert answer.content == TextContent(body="sorry")

    @pytest.mark.parametrize("calls", [1, 2])
    async def test_a_tool_whose_helper_was_cancelled_is_a_failed_tool(self, calls: int) -> None:
        async def handler(name: str, arguments: dict[str, Any]) -> str:
            helper = asyncio.get_running_loop().create_future()
            helper.cancel()
            await helper
            return "unreachable"

        wanted = [call(call_id=f"c{number}") for number in range(calls)]
        provider = MockAIProvider(["sorry"], script=[calling(*wanted)])
        answer = await answer_of(provider, handler)
        assert [r.is_error for r in results(provider)] == [True] * calls
        assert answer.content == TextContent(body="sorry")

    @pytest.mark.parametrize("calls", [1, 2])
    async def test_cancelling_the_turn_cancels_its_tools(self, calls: int) -> None:
        started, stopped = asyncio.Semaphore(0), 0

        async def handler(name: str, arguments: dict[str, Any]) -> str:
            nonlocal stopped
            started.release()
            try:
                await asyncio.Event().wait()
            finally:
                stopped += 1
            return "unreachable"

        wanted = [call(call_id=f"c{number}") for number in range(calls)]
        provider = MockAIProvider(script=[calling(*wanted)])
        turn = asyncio.ensure_future(answer_of(provider, handler))
        for _ in range(calls):
            await started.acquire()
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        assert stopped == calls
        assert len(provider.calls) == 1
