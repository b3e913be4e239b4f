"""GPT: reading its answers, errors and streams, with a fake of the SDK."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from roomkit.exceptions import ProviderError
from roomkit.providers.ai.base import (
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from tests.test_providers._fake_openai import (
    APIStatusError,
    FakeSDK,
    asking,
    chunk,
    completion,
    function_call,
    piece,
    provider,
)


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> FakeSDK:
    """A fake SDK in place of the real one."""
    fake = FakeSDK()
    monkeypatch.setitem(sys.modules, "openai", fake.module)
    return fake


async def streamed() -> list[StreamEvent]:
    return [event async for event in provider().generate_structured_stream(asking())]


class TestAnswers:
    """What becomes of the vendor's answers."""

    async def test_the_plain_case(self, sdk: FakeSDK) -> None:
        """Text, reason, exactly two counters and the model."""
        answer = await provider().generate(asking())
        assert (answer.content, answer.finish_reason) == ("hello", "stop")
        assert answer.usage == {"prompt_tokens": 7, "completion_tokens": 3}
        assert answer.metadata == {"model": "gpt-x"}

    async def test_a_server_that_does_not_count(self, sdk: FakeSDK) -> None:
        """``usage`` is empty then."""
        answer = completion("x")
        answer.usage = None
        sdk.create.return_value = answer
        assert (await provider().generate(asking())).usage == {}

    async def test_further_counters_are_details(self, sdk: FakeSDK) -> None:
        """``usage`` keeps its two keys."""
        answer = completion("x")
        answer.usage.completion_tokens_details = SimpleNamespace(reasoning_tokens=9)
        sdk.create.return_value = answer
        read = await provider().generate(asking())
        assert read.usage == {"prompt_tokens": 7, "completion_tokens": 3}
        assert read.metadata["usage_details"] == {"reasoning_tokens": 9}

    async def test_tool_calls(self, sdk: FakeSDK) -> None:
        """Arguments are JSON in a string."""
        sdk.create.return_value = completion(tool_calls=[function_call('{"q": "x"}')])
        answer = await provider().generate(asking())
        (call,) = answer.tool_calls
        assert (call.id, call.name, call.arguments) == ("c1", "search", {"q": "x"})
        assert answer.content == ""

    @pytest.mark.parametrize("text", ["", " ", None])
    async def test_o3_no_arguments(self, sdk: FakeSDK, text: str | None) -> None:
        """O3: nothing is an empty object."""
        sdk.create.return_value = completion(tool_calls=[function_call(text)])
        answer = await provider().generate(asking())
        assert answer.tool_calls[0].arguments == {}
        assert "invalid_tool_arguments" not in answer.metadata

    @pytest.mark.parametrize("text", ['{"q": ', "[1]", '"x"', "null", "[" * 100_000])
    async def test_o3_broken_arguments(self, sdk: FakeSDK, text: str) -> None:
        """O3: marked, never raised."""
        calls = [function_call("{}", "good"), function_call(text, "bad")]
        sdk.create.return_value = completion(tool_calls=calls)
        answer = await provider().generate(asking())
        bad = answer.tool_calls[1]
        assert (bad.arguments, bad.metadata) == ({}, {"raw_arguments": text})
        assert answer.metadata["invalid_tool_arguments"] == ["bad"]

    async def test_o4_custom_calls(self, sdk: FakeSDK) -> None:
        """O4: the text is the argument ``input``."""
        custom = SimpleNamespace(name="run", input="ls")
        call = SimpleNamespace(id="c1", type="custom", custom=custom)
        sdk.create.return_value = completion(tool_calls=[call])
        (made,) = (await provider().generate(asking())).tool_calls
        assert (made.name, made.arguments) == ("run", {"input": "ls"})
        assert made.metadata == {"type": "custom"}

    @pytest.mark.parametrize("choices", [[], None])
    async def test_o5_no_choices(self, sdk: FakeSDK, choices: Any) -> None:
        """O5: a filter in front of the model does that."""
        answer = completion("x")
        answer.choices = choices
        sdk.create.return_value = answer
        with pytest.raises(ProviderError, match="no choices") as caught:
            await provider().generate(asking())
        assert not caught.value.retryable

    async def test_o6_a_refusal(self, sdk: FakeSDK) -> None:
        """O6: no content, and the refusal beside it."""
        sdk.create.return_value = completion(None, refusal="I will not.")
        answer = await provider().generate(asking())
        assert (answer.content, answer.metadata["refusal"]) == ("", "I will not.")

    async def test_thoughts(self, sdk: FakeSDK) -> None:
        """Some servers tell them."""
        sdk.create.return_value = completion("x", reasoning_content="hm")
        assert (await provider().generate(asking())).thinking == "hm"

    @pytest.mark.parametrize("answer", ["<html>", None, completion(tool_calls=[object()])])
    async def test_what_cannot_be_read_is_a_typed_error(self, sdk: FakeSDK, answer: Any) -> None:
        """Interpretation never lets another error out."""
        sdk.create.return_value = answer
        with pytest.raises(ProviderError, match="could not be read") as caught:
            await provider().generate(asking())
        assert not caught.value.retryable

    @pytest.mark.parametrize(
        ("status", "again"),
        [(s, True) for s in (408, 409, 429, 500, 502, 503, 504)]
        + [(s, False) for s in (400, 401, 403, 404, 422)],
    )
    async def test_statuses(self, sdk: FakeSDK, status: int, again: bool) -> None:
        """Which may be tried again."""
        sdk.create.side_effect = APIStatusError("the text", status)
        with pytest.raises(ProviderError, match="the text") as caught:
            await provider().generate(asking())
        assert (caught.value.retryable, caught.value.status_code) == (again, status)
        assert caught.value.provider == "openai"

    async def test_o8_an_empty_account_is_permanent(self, sdk: FakeSDK) -> None:
        """O8: a 429 that no waiting heals."""
        sdk.create.side_effect = APIStatusError("x", 429, code="insufficient_quota")
        with pytest.raises(ProviderError) as caught:
            await provider().generate(asking())
        assert not caught.value.retryable
        assert caught.value.error_type == "insufficient_quota"

    async def test_connection_errors_are_known_by_name(self, sdk: FakeSDK) -> None:
        """They may be tried again; any other exception of the call may not."""
        sdk.create.side_effect = type("APIConnectionError", (Exception,), {})("Connection error.")
        with pytest.raises(ProviderError) as caught:
            await provider().generate(asking())
        assert (caught.value.retryable, caught.value.status_code) == (True, None)
        sdk.create.side_effect = RuntimeError("broken")
        with pytest.raises(ProviderError, match="broken") as caught:
            await provider().generate(asking())
        assert (caught.value.retryable, caught.value.status_code) == (False, None)


class TestStreams:
    """Rare turns of a stream; the usual ones are tested on the wire."""

    async def test_counters_come_last_or_with_the_end(self, sdk: FakeSDK) -> None:
        """Servers differ; one that does not count is fine too."""
        usage = SimpleNamespace(prompt_tokens=4, completion_tokens=2)
        end = chunk("stop", content="b")
        end.usage = usage
        last = SimpleNamespace(choices=[], usage=usage)
        for chunks in ([end], [chunk("stop"), last]):
            sdk.stream(chunk(content="a"), *chunks)
            done = (await streamed())[-1]
            assert isinstance(done, StreamDone)
            assert done.usage == {"prompt_tokens": 4, "completion_tokens": 2}
        sdk.stream(chunk("length", content="a"))
        text, done = await streamed()
        assert isinstance(text, StreamTextDelta)
        assert isinstance(done, StreamDone)
        assert (done.usage, done.finish_reason) == ({}, "length")

    @pytest.mark.parametrize(
        "pieces",
        [
            pytest.param(
                [
                    piece("", index=0, id="c1", name="search"),
                    piece('{"q":', index=0),
                    piece("", index=1, id="c2", name="search"),
                    piece(' "x"}', index=0),
                    piece('{"q": "y"}', index=1),
                ],
                id="the vendor: an index, the id first",
            ),
            pytest.param(
                [
                    piece('{"q":', id="c1", name="search"),
                    piece(' "x"}'),
                    piece('{"q": "y"}', id="c2", name="search"),
                ],
                id="no index",
            ),
            pytest.param(
                [
                    piece('{"q":', id="c1", name="search"),
                    piece('{"q":', id="c2", name="search"),
                    piece(' "x"}', id="c1", name="search"),
                    piece(' "y"}', id="c2", name="search"),
                ],
                id="no index, the id in each",
            ),
            pytest.param(
                [
                    piece('{"q": "x"}', index=0, id="c1", name="search"),
                    piece('{"q": "y"}', index=0, id="c2", name="search"),
                ],
                id="one index for all",
            ),
        ],
    )
    async def test_fragments_find_their_call(self, sdk: FakeSDK, pieces: list[Any]) -> None:
        """Each server has its own idea of what tells calls apart."""
        sdk.stream(*pieces, chunk("tool_calls"))
        calls = [e for e in await streamed() if isinstance(e, StreamToolCall)]
        assert [(c.id, c.name, c.arguments) for c in calls] == [
            ("c1", "search", {"q": "x"}),
            ("c2", "search", {"q": "y"}),
        ]

    async def test_o4_custom_calls(self, sdk: FakeSDK) -> None:
        """O4: in pieces too."""
        first = SimpleNamespace(index=0, id="c1", custom=SimpleNamespace(name="run", input="l"))
        second = SimpleNamespace(index=0, id=None, custom=SimpleNamespace(name=None, input="s"))
        sdk.stream(chunk(tool_calls=[first]), chunk(tool_calls=[second]), chunk("tool_calls"))
        call = (await streamed())[0]
        assert isinstance(call, StreamToolCall)
        assert (call.name, call.arguments) == ("run", {"input": "ls"})
        assert call.metadata == {"type": "custom"}

    async def test_o6_a_refusal(self, sdk: FakeSDK) -> None:
        """O6: in pieces too."""
        sdk.stream(chunk(refusal="I will "), chunk(refusal="not."), chunk("stop"))
        (done,) = await streamed()
        assert isinstance(done, StreamDone)
        assert done.metadata["refusal"] == "I will not."

    async def test_thoughts(self, sdk: FakeSDK) -> None:
        """Under either name that vLLM has used."""
        sdk.stream(chunk(reasoning_content="a"), chunk(reasoning="b"), chunk("stop"))
        thoughts = [e.thinking for e in await streamed() if isinstance(e, StreamThinkingDelta)]
        assert thoughts == ["a", "b"]

    @pytest.mark.parametrize(
        "pieces",
        [
            [piece("x" * 1024 * 1024, index=0, id="c1", name="s")] * 5,
            [piece("", index=n, id=f"c{n}", name="s") for n in range(1026)],
        ],
    )
    async def test_calls_have_a_bound(self, sdk: FakeSDK, pieces: list[Any]) -> None:
        """A model run wild cannot fill the memory."""
        sdk.stream(*pieces, chunk("tool_calls"))
        with pytest.raises(ProviderError, match="too long"):
            await streamed()

    async def test_a_chunk_that_cannot_be_read(self, sdk: FakeSDK) -> None:
        """A typed error from the iterator."""
        sdk.stream(SimpleNamespace(choices=7))
        with pytest.raises(ProviderError, match="chunk of the stream could not be read"):
            await streamed()

    async def test_an_error_inside_has_no_status(self, sdk: FakeSDK) -> None:
        """Its kind tells whether to try again."""
        error = Exception("The server had an error")
        error.body = {"type": "server_error", "code": None}  # type: ignore[attr-defined]
        sdk.stream(chunk(content="a"), error)
        with pytest.raises(ProviderError) as caught:
            await streamed()
        assert (caught.value.retryable, caught.value.error_type) == (True, "server_error")
