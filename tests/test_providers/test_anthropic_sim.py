"""The simulator of Anthropic refuses what the vendor refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.simulators.anthropic import AnthropicSimulator, ModelAnswer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.simulators import WebhookAnswer

KEY = "sk-ant-simulated-key"
HI = {"role": "user", "content": "hi"}
CALL = {"type": "tool_use", "id": "t1", "name": "search", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "42"}
TOOL = {"name": "search", "input_schema": {"type": "object"}}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def model(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def image(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


@pytest.fixture
async def sim() -> AsyncIterator[AnthropicSimulator]:
    """The vendor."""
    async with AnthropicSimulator() as sim:
        yield sim


async def ask(
    sim: AnthropicSimulator,
    *messages: Any,
    path: str = "/v1/messages",
    headers: dict[str, str] | None = None,
    method: str = "POST",
    **fields: Any,
) -> WebhookAnswer:
    """Send a good request but for what is given."""
    good = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    body: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 9}
    body |= {"messages": list(messages) or [HI], **fields}
    body = {name: value for name, value in body.items() if value != "left out"}
    url = f"{sim.api_base}{path}"
    return await sim.post(
        url, json.dumps(body).encode(), good if headers is None else headers, method=method
    )


async def test_a_good_request(sim: AnthropicSimulator) -> None:
    """With the key in either of the places SDKs have put it."""
    bearer = {"authorization": f"Bearer {KEY}", "anthropic-version": "2026-10-21"}
    for headers in (None, bearer):
        answer = await ask(sim, headers=headers, system="x", temperature=0.5, tools=[TOOL])
        assert answer.status == 200
        assert json.loads(answer.body)["content"] == [{"type": "text", "text": "You said: hi"}]
    sim.answer("never given")
    sim.reset()
    assert not sim.requests
    assert not sim.sent
    assert b"You said: hi" in (await ask(sim)).body


async def test_a_round_of_tools(sim: AnthropicSimulator) -> None:
    """Pairs, seals and images as the vendor wants them."""
    sim.answer(ModelAnswer("done", stop="max_tokens"))
    thought = {"type": "thinking", "thinking": "hm", "signature": "seal"}
    seen = image(type="base64", media_type="image/png", data="AAAA")
    result = {**RESULT, "content": [{"type": "text", "text": "a"}, seen]}
    after = {"type": "text", "text": "and?"}
    answer = await ask(sim, HI, model(thought, CALL), user(result, after), tools=[TOOL])
    assert json.loads(answer.body)["stop_reason"] == "max_tokens"


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"path": "/v1/complete"}, 404, "not_found_error"),
        ({"method": "PUT"}, 405, "api_error"),
        ({"headers": {"anthropic-version": "x"}}, 401, "authentication_error"),
        ({"headers": {"x-api-key": KEY}}, 400, "invalid_request_error"),
        ({"model": "claude-sonnet-4-20250514"}, 404, "not_found_error"),
        ({"model": "gpt-4o"}, 404, "not_found_error"),
    ],
)
async def test_requests_it_does_not_know(
    sim: AnthropicSimulator, fields: dict[str, Any], status: int, kind: str
) -> None:
    """Paths, methods, keys and models."""
    answer = await ask(sim, **fields)
    error = json.loads(answer.body)
    assert (answer.status, error["type"], error["error"]["type"]) == (status, "error", kind)
    assert error["request_id"] == answer.headers["request-id"]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"max_tokens": "left out"}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "greater than or equal to 1"),
        ({"n": 2}, "n: Extra inputs are not permitted"),
        ({"temperature": 1.5}, "temperature"),
        ({"temperature": 0.5, "model": "claude-opus-5-5"}, "temperature"),
        ({"system": ""}, "system: text content blocks must be non-empty"),
        ({"tool_choice": {"type": "none"}}, "tool_choice"),
        ({"tool_choice": {"type": "some"}, "tools": [TOOL]}, "tool_choice"),
        ({"tools": [{**TOOL, "name": "a b"}]}, "name: String should match pattern"),
        ({"tools": [{"name": "x", "input_schema": {}}]}, "input_schema.type: Field required"),
    ],
)
async def test_wrong_fields(sim: AnthropicSimulator, fields: dict[str, Any], text: str) -> None:
    """Each with the vendor's class of error."""
    answer = await ask(sim, **fields)
    assert answer.status == 400
    assert text in json.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([model({"type": "text", "text": "a"}), HI], 'must use the "user" role'),
        ([HI, model({"type": "text", "text": "a"})], "prefill"),
        ([HI, {"role": "system", "content": "x"}, HI], 'Unexpected role "system"'),
        ([user()], "non-empty content"),
        ([{"role": "user", "content": " "}], "non-whitespace text"),
        ([HI, model(CALL), HI], "without `tool_result` blocks immediately after: t1"),
        ([HI, model(CALL), user({"type": "text", "text": "a"}, RESULT)], "without `tool_result`"),
        ([HI, model(CALL), user(RESULT, RESULT)], "a single result"),
        ([HI, user(RESULT)], "unexpected `tool_use_id`"),
        ([user(CALL)], "`tool_use` blocks are not permitted in user messages"),
        ([HI, model({"type": "thinking", "thinking": "a"}), HI], "Invalid `signature`"),
        ([HI, model({**CALL, "input": "{}"}), user(RESULT)], "valid dictionary"),
        ([user(image(type="url", url="data:image/png;base64,AAAA"))], "HTTP(S) URLs"),
        ([user(image(type="base64", media_type="image/jpg", data="AAAA"))], "media_type"),
        ([user(image(type="base64", media_type="image/png", data="A"))], "invalid base64"),
    ],
)
async def test_wrong_messages(sim: AnthropicSimulator, messages: list[Any], text: str) -> None:
    """Roles, pairs, seals, images and empty text."""
    answer = await ask(sim, *messages)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["type"]) == (400, "invalid_request_error")
    assert text in error["message"]
    assert not sim.sent
