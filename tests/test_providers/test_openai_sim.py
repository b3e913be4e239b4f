"""The simulator of OpenAI refuses what the vendor refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.simulators.openai import ModelAnswer, OpenAISimulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.simulators import WebhookAnswer

KEY = {"authorization": "Bearer sk-simulated-key"}
HI = {"role": "user", "content": "hi"}
FUNCTION = {"name": "search", "arguments": "{}"}
CALL = {"id": "c1", "type": "function", "function": FUNCTION}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "42"}
SCHEMA = {"type": "object", "properties": {}}


def tool(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "search", "parameters": SCHEMA, **fields}}


def image(url: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}


@pytest.fixture
async def sim() -> AsyncIterator[OpenAISimulator]:
    """The vendor."""
    async with OpenAISimulator() as sim:
        yield sim


async def ask(
    sim: OpenAISimulator,
    *messages: Any,
    path: str = "/v1/chat/completions",
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> WebhookAnswer:
    """Send a good request but for what is given."""
    body: dict[str, Any] = {"model": "gpt-4o", "messages": list(messages) or [HI], **fields}
    data = json.dumps(body).encode()
    return await sim.post(f"{sim.api_base}{path}", data, KEY if headers is None else headers)


async def test_a_good_request(sim: OpenAISimulator) -> None:
    """Old names of parameters for old models, new ones for new."""
    old = {"max_tokens": 9, "temperature": 0.5, "tools": [tool()], "tool_choice": "auto"}
    assert (await ask(sim, **old)).status == 200
    new = await ask(sim, model="o3", max_completion_tokens=9)
    choice = json.loads(new.body)["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "You said: hi"}
    sim.answer("never given")
    sim.reset()
    assert not sim.requests
    assert b"You said: hi" in (await ask(sim)).body


async def test_a_round_of_tools(sim: OpenAISimulator) -> None:
    """Pairs and images as the vendor wants them."""
    sim.answer(ModelAnswer("done", stop="length"))
    shown = image("data:image/png;base64,AAAA")
    answer = await ask(sim, HI, CALLING, RESULT, shown)
    assert json.loads(answer.body)["choices"][0]["finish_reason"] == "length"


async def test_a_stream_counts_only_when_asked(sim: OpenAISimulator) -> None:
    """And ends with its word for the end."""
    plain = (await ask(sim, stream=True)).text
    counted = (await ask(sim, stream=True, stream_options={"include_usage": True})).text
    assert '"usage"' not in plain
    assert '"usage"' in counted
    assert plain.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"path": "/v1/completions"}, 404, "unknown_url"),
        ({"headers": {}}, 401, "invalid_api_key"),
        ({"model": "claude-opus-5-5"}, 404, "model_not_found"),
        ({"model": ""}, 400, None),
        ({"max_output": 1}, 400, "unknown_parameter"),
        ({"model": "o3", "max_tokens": 9}, 400, "unsupported_parameter"),
        ({"model": "gpt-5.5", "temperature": 0.7}, 400, "unsupported_value"),
        ({"stream_options": {}}, 400, None),
        ({"tool_choice": "none"}, 400, None),
        ({"tools": [tool(name="a b")]}, 400, "invalid_value"),
        ({"tools": [tool(parameters={})]}, 400, "invalid_function_parameters"),
        ({"tools": [tool(parameters={"type": "object"})]}, 400, "invalid_function_parameters"),
    ],
)
async def test_wrong_fields(
    sim: OpenAISimulator, fields: dict[str, Any], status: int, code: str | None
) -> None:
    """Each with the vendor's code."""
    answer = await ask(sim, **fields)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (status, code)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([{"role": "narrator", "content": "x"}], "Invalid value: 'narrator'"),
        ([HI, RESULT], "must be a response to a preceding message"),
        ([HI, CALLING, HI], "No response for: c1"),
        ([HI, CALLING], "No response for: c1"),
        ([{"role": "user", "content": None}], "Invalid value for 'content'"),
        ([{"role": "user", "content": []}], "Invalid value for 'content'"),
        ([{"role": "user", "content": [{"type": "video"}]}], "Invalid value: 'video'"),
        ([{**image("https://example.org/a"), "role": "system"}], "Invalid value: 'image_url'"),
        ([image("data:application/pdf;base64,AAAA")], "Invalid image"),
        ([image("ftp://example.org/a")], "Invalid image"),
        (
            [HI, {**CALLING, "tool_calls": [{**CALL, "function": {**FUNCTION, "arguments": {}}}]}],
            "Invalid tool call",
        ),
    ],
)
async def test_wrong_messages(sim: OpenAISimulator, messages: list[Any], text: str) -> None:
    """Roles, pairs, parts and images."""
    answer = await ask(sim, *messages)
    assert answer.status == 400
    assert text in json.loads(answer.body)["error"]["message"]
    assert not sim.sent
