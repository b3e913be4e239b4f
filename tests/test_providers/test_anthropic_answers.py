"""Claude: reading its answers, errors and streams, with a fake of the SDK."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from roomkit.exceptions import ProviderError
from roomkit.providers.ai.base import (
    AIThinkingPart,
    AIToolCallPart,
    AIToolResultPart,
    StreamDone,
    StreamEvent,
    StreamToolCall,
)
from tests.test_providers._fake_anthropic import (
    APIStatusError,
    FakeSDK,
    asking,
    block,
    message,
    provider,
    said,
    sent,
)


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> FakeSDK:
    """A fake SDK in place of the real one."""
    fake = FakeSDK()
    monkeypatch.setitem(sys.modules, "anthropic", fake.module)
    return fake


class TestAnswers:
    """What becomes of the vendor's answers."""

    async def test_the_plain_case(self, sdk: FakeSDK) -> None:
        """Text, reason, exactly two counters and the model."""
        answer = await provider().generate(asking())
        assert (answer.content, answer.finish_reason) == ("hello", "end_turn")
        assert answer.usage == {"input_tokens": 7, "output_tokens": 3}
        assert answer.metadata == {"model": "claude-x"}

    async def test_a2_all_text_blocks_count(self, sdk: FakeSDK) -> None:
        """A2: in their order, around tool calls too; unknown blocks are passed over."""
        sdk.create.return_value = message(
            block("text", text="Let me "),
            block("tool_use", id="t1", name="search", input={"q": "x"}),
            block("something_new"),
            block("text", text="look."),
            stop_reason="tool_use",
        )
        answer = await provider().generate(asking())
        assert answer.content == "Let me look."
        (call,) = answer.tool_calls
        assert (call.id, call.name, call.arguments) == ("t1", "search", {"q": "x"})

    async def test_a8_further_counters_are_details(self, sdk: FakeSDK) -> None:
        """A8: ``usage`` keeps its two keys."""
        usage = SimpleNamespace(input_tokens=7, output_tokens=3, cache_read_input_tokens=5)
        sdk.create.return_value = message(usage=usage)
        answer = await provider().generate(asking())
        assert answer.usage == {"input_tokens": 7, "output_tokens": 3}
        assert answer.metadata["usage_details"] == {"cache_read_input_tokens": 5}

    async def test_thoughts(self, sdk: FakeSDK) -> None:
        """With their seal."""
        sdk.create.return_value = message(block("thinking", thinking="hm", signature="seal"))
        answer = await provider().generate(asking())
        assert (answer.thinking, answer.thinking_signature) == ("hm", "seal")
        assert "thinking_blocks" not in answer.metadata

    async def test_several_thoughts_go_back_as_they_came(self, sdk: FakeSDK) -> None:
        """Seals hold one by one; hidden thoughts have nothing but their data."""
        sdk.create.return_value = message(
            block("thinking", thinking="a", signature="s1"),
            block("redacted_thinking", data="hidden"),
            block("thinking", thinking="b", signature="s2"),
            block("tool_use", id="t1", name="search", input={}),
        )
        answer = await provider().generate(asking())
        assert (answer.thinking, answer.thinking_signature) == ("ab", "s2")
        again = said(
            AIThinkingPart(thinking="ab", signature="s2"),
            AIToolCallPart(id="t1", name="search"),
            role="assistant",
            metadata=answer.metadata,
        )
        result = AIToolResultPart(tool_call_id="t1", name="search", result="42")
        messages = await sent(sdk, said("q"), again, said(result, role="tool"))
        assert messages[1]["content"][:3] == [
            {"type": "thinking", "thinking": "a", "signature": "s1"},
            {"type": "redacted_thinking", "data": "hidden"},
            {"type": "thinking", "thinking": "b", "signature": "s2"},
        ]
        assert messages[1]["content"][3]["type"] == "tool_use"

    @pytest.mark.parametrize("answer", ["<html>", None, message(block("tool_use", id=1))])
    async def test_what_cannot_be_read_is_a_typed_error(self, sdk: FakeSDK, answer: Any) -> None:
        """Interpretation never lets another error out."""
        sdk.create.return_value = answer
        with pytest.raises(ProviderError, match="could not be read") as caught:
            await provider().generate(asking())
        assert not caught.value.retryable

    @pytest.mark.parametrize(
        ("status", "again"),
        [(s, True) for s in (408, 409, 429, 500, 502, 503, 504, 529)]
        + [(s, False) for s in (400, 401, 402, 403, 404, 413, 422)],
    )
    async def test_a7_statuses(self, sdk: FakeSDK, status: int, again: bool) -> None:
        """A7: which may be tried again."""
        sdk.create.side_effect = APIStatusError("the text", status)
        with pytest.raises(ProviderError, match="the text") as caught:
            await provider().generate(asking())
        error = caught.value
        assert (error.retryable, error.status_code) == (again, status)
        assert error.provider == "anthropic"
        assert isinstance(error.__cause__, APIStatusError)

    @pytest.mark.parametrize(
        ("kind", "again"),
        [
            ("rate_limit_error", True),
            ("overloaded_error", True),
            ("api_error", True),
            ("timeout_error", True),
            ("invalid_request_error", False),
        ],
    )
    async def test_a7_errors_inside_a_stream(self, sdk: FakeSDK, kind: str, again: bool) -> None:
        """A7: they come with status 200; their type tells."""
        sdk.stream(APIStatusError("x", 200, kind))
        with pytest.raises(ProviderError) as caught:
            await streamed()
        assert (caught.value.retryable, caught.value.error_type) == (again, kind)

    async def test_connection_errors_are_known_by_name(self, sdk: FakeSDK) -> None:
        """They may be tried again; any other exception of the call may not."""
        timeout = type("APITimeoutError", (Exception,), {})
        sdk.create.side_effect = timeout("Request timed out.")
        with pytest.raises(ProviderError, match="timed out") as caught:
            await provider().generate(asking())
        assert (caught.value.retryable, caught.value.status_code) == (True, None)
        sdk.create.side_effect = RuntimeError("broken")
        with pytest.raises(ProviderError, match="broken") as caught:
            await provider().generate(asking())
        assert (caught.value.retryable, caught.value.status_code) == (False, None)


async def streamed() -> list[StreamEvent]:
    return [event async for event in provider().generate_structured_stream(asking())]


def tool_events(*pieces: str, tool_input: Any = None) -> list[Any]:
    start = block("tool_use", id="t1", name="search", input=tool_input or {})
    deltas = [block("input_json_delta", partial_json=piece) for piece in pieces]
    return [
        block("message_start", message=message()),
        block("content_block_start", index=0, content_block=start),
        *(block("content_block_delta", index=0, delta=delta) for delta in deltas),
    ]


STOP = block("content_block_stop", index=0)
ENDED = block("message_delta", delta=SimpleNamespace(stop_reason="tool_use"))


class TestStreams:
    """Rare turns of a stream; the usual ones are tested on the wire."""

    @pytest.mark.parametrize(
        ("pieces", "given", "arguments"),
        [
            (["", '{"q":', ' "x"}'], None, {"q": "x"}),
            ([], None, {}),
            ([], {"q": "y"}, {"q": "y"}),
        ],
    )
    async def test_arguments_are_put_together(
        self, sdk: FakeSDK, pieces: list[str], given: Any, arguments: Any
    ) -> None:
        """In pieces, none, or whole at the start as compatible servers send them."""
        sdk.stream(*tool_events(*pieces, tool_input=given), STOP, ENDED)
        call, done = await streamed()
        assert isinstance(call, StreamToolCall)
        assert call.arguments == arguments
        assert isinstance(done, StreamDone)

    @pytest.mark.parametrize("text", ['{"q": "unfin', "[1]", "[" * 100_000])
    async def test_broken_arguments_are_marked(self, sdk: FakeSDK, text: str) -> None:
        """Cut by max_tokens, most often; the call has no arguments then, and says why."""
        sdk.stream(*tool_events(text), ENDED)
        call, done = await streamed()
        assert isinstance(call, StreamToolCall)
        assert (call.arguments, call.metadata) == ({}, {"raw_arguments": text})
        assert isinstance(done, StreamDone)
        assert done.metadata["invalid_tool_arguments"] == ["t1"]

    async def test_arguments_have_a_bound(self, sdk: FakeSDK) -> None:
        """A model run wild cannot fill the memory."""
        sdk.stream(*tool_events(*["x" * 1024 * 1024] * 5), STOP, ENDED)
        with pytest.raises(ProviderError, match="too long"):
            await streamed()

    async def test_hidden_thoughts_are_kept(self, sdk: FakeSDK) -> None:
        """They go back with the next request."""
        hidden = block("redacted_thinking", data="hidden")
        start = block("content_block_start", index=0, content_block=hidden)
        sdk.stream(start, STOP, ENDED)
        (done,) = await streamed()
        assert isinstance(done, StreamDone)
        kept = [{"type": "redacted_thinking", "data": "hidden"}]
        assert done.metadata["thinking_blocks"] == kept

    async def test_events_out_of_place_do_no_harm(self, sdk: FakeSDK) -> None:
        """Deltas and ends of blocks nobody began, and kinds nobody knows."""
        lost = block("input_json_delta", partial_json="{}")
        sdk.stream(
            block("content_block_delta", index=3, delta=lost),
            block("content_block_stop", index=3),
            block("brand_new"),
            ENDED,
        )
        (done,) = await streamed()
        assert isinstance(done, StreamDone)

    async def test_an_event_that_cannot_be_read(self, sdk: FakeSDK) -> None:
        """A typed error from the iterator."""
        sdk.stream(block("content_block_delta"))
        with pytest.raises(ProviderError, match="event of the stream could not be read"):
            await streamed()
