"""What holds for every model, at Gemini; and the simulator's own strictness."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import ProviderError
from roomkit.providers.ai.base import (
    AIMessage,
    AIThinkingPart,
    AIToolCallPart,
    AIToolResultPart,
)
from roomkit.providers.gemini import GeminiAIProvider, GeminiConfig
from roomkit.simulators import GeminiSimulator, error
from roomkit.simulators.gemini import ModelAnswer
from tests.test_providers._ai_wire import SEARCH, ModelWireSuite, asking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.providers.ai.base import AIProvider

KEY = "sim-gemini-key"
MODEL = "gemini-3.5-flash"
PATH = f"/v1beta/models/{MODEL}:generateContent"
_CHUNK = {"candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}}]}

HELLO = {"role": "user", "parts": [{"text": "hi"}]}
CALL = {"role": "model", "parts": [{"functionCall": {"name": "search", "args": {}}}]}
RESULT = {
    "role": "user",
    "parts": [{"functionResponse": {"name": "search", "response": {"output": "1"}}}],
}


class TestGeminiWire(ModelWireSuite):
    """The installed SDK at the simulator."""

    secret = KEY
    path = PATH
    usage = ("prompt_tokens", "completion_tokens")
    beginning = f"data: {json.dumps(_CHUNK)}\r\n\r\n".encode()

    def make_simulator(self) -> Any:
        return GeminiSimulator()

    def make_simulator_settings(self, api_base: str) -> dict[str, Any]:
        return {"api_key": KEY, "model": MODEL, "api_base": api_base}

    def make_provider(self, settings: dict[str, Any]) -> AIProvider:
        return GeminiAIProvider(GeminiConfig(**settings, include_thoughts=True))

    async def test_thoughts_go_back_with_their_calls(self, sim: Any, provider: AIProvider) -> None:
        """They are told whole and streamed; what goes back is the seal in the call's metadata."""
        thinking = ModelAnswer("", calls=(("search", {}),), thinking="Let me think about it.")
        sim.answer(thinking, thinking)
        whole = await provider.generate(asking(tools=[SEARCH]))
        answer = await self._ask(provider, asking(tools=[SEARCH]), streamed=True)
        assert answer.thinking == whole.thinking == "Let me think about it."
        (call,) = answer.tool_calls
        result = AIToolResultPart(tool_call_id=call.id, name="search", result="42")
        said = [
            AIThinkingPart(thinking=answer.thinking, signature=answer.thinking_signature),
            AIToolCallPart(**call.model_dump()),
        ]
        await provider.generate(
            asking(tools=[SEARCH]).continued(
                [
                    AIMessage(role="assistant", content=said, metadata=answer.metadata),
                    AIMessage(role="tool", content=[result]),
                ]
            )
        )
        assert len(sim.sent) == 3

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize(
        ("status", "again"), [(401, False), (403, False), (429, True), (503, True)]
    )
    async def test_a_refusal(
        self, sim: Any, provider: AIProvider, status: int, again: bool, streamed: bool
    ) -> None:
        """A typed error that says whether to try again; Google gives no id of a request."""
        sim.script(error(status))
        with pytest.raises(ProviderError) as caught:
            await self._ask(provider, asking(), streamed=streamed)
        assert (caught.value.status_code, caught.value.retryable) == (status, again)
        assert caught.value.error_type
        assert (await self._ask(provider, asking(), streamed=streamed)).content

    @pytest.mark.parametrize("messages", ['"x"', "[]", '["x"]', '[{"role": 5}]', "{"])
    async def test_a_request_of_the_wrong_shape(self, sim: Any, messages: str) -> None:
        """The simulator refuses it in Google's shape, whatever it is."""
        answer = await sim.post(
            sim.api_base + PATH, f'{{"contents": {messages}}}'.encode(), {"x-goog-api-key": KEY}
        )
        assert answer.status == 400
        assert b'"INVALID_ARGUMENT"' in answer.body


def tool(**declaration: Any) -> dict[str, Any]:
    """A request that declares a tool."""
    return {"contents": [HELLO], "tools": [{"functionDeclarations": [declaration]}]}


REFUSED = {
    "no contents": ({}, "contents is not specified"),
    "an unknown field": ({"contents": [HELLO], "messages": []}, 'Unknown name "messages"'),
    "an unknown role": ({"contents": [{**HELLO, "role": "assistant"}]}, "valid role"),
    "no parts": ({"contents": [{"role": "user", "parts": []}]}, "must not be empty"),
    "an empty part": ({"contents": [{"role": "user", "parts": [{}]}]}, "required oneof"),
    "broken bytes": (
        {"contents": [{"parts": [{"inlineData": {"mimeType": "a/b", "data": "?"}}]}]},
        "Base64 decoding failed",
    ),
    "a result without a call": (
        {"contents": [HELLO, RESULT]},
        "immediately after a function",
    ),
    "a call without a result": (
        {"contents": [HELLO, CALL, HELLO]},
        "number of function response parts",
    ),
    "a call at the start": ({"contents": [CALL, RESULT]}, "immediately after a user turn"),
    "a call without its seal": (
        {"contents": [HELLO, CALL, RESULT]},
        "is missing a thought",
    ),
    "a seal that is none": (
        {
            "contents": [
                HELLO,
                {**CALL, "parts": [{**CALL["parts"][0], "thoughtSignature": "AAAA"}]},  # type: ignore[dict-item]
                RESULT,
            ]
        },
        "signature is not valid",
    ),
    "a name with blanks": (tool(name="two words"), "Invalid function name"),
    "a schema OpenAPI does not have": (
        tool(name="a", parameters={"type": "OBJECT", "additionalProperties": False}),
        "additionalProperties",
    ),
    "an object without properties": (
        tool(name="a", parametersJsonSchema={"type": "object", "properties": {}}),
        "non-empty for OBJECT",
    ),
    "two schemas": (
        tool(name="a", parameters={"type": "STRING"}, parametersJsonSchema={"type": "string"}),
        "only one of",
    ),
    "a heat no model bears": (
        {"contents": [HELLO], "generationConfig": {"temperature": 3}},
        "range [0.0, 2.0]",
    ),
    "no room for an answer": (
        {"contents": [HELLO], "generationConfig": {"maxOutputTokens": 0}},
        "must be positive",
    ),
    "a list": ([], "must be an object"),
}


class TestStrictness:
    """The simulator refuses what Google refuses."""

    @pytest.fixture
    async def sim(self) -> AsyncIterator[GeminiSimulator]:
        """A Gemini of this test's own."""
        async with GeminiSimulator() as running:
            yield running

    async def ask(
        self, sim: GeminiSimulator, body: Any, path: str = PATH, **headers: str
    ) -> tuple[int, str]:
        """Status and text of the answer to a request of any shape."""
        sent = {"x-goog-api-key": KEY, **{k.replace("_", "-"): v for k, v in headers.items()}}
        answer = await sim.post(sim.api_base + path, json.dumps(body).encode(), sent)
        return answer.status, answer.text

    @pytest.mark.parametrize("what", sorted(REFUSED))
    async def test_requests(self, sim: GeminiSimulator, what: str) -> None:
        """Each in words that say what is wrong; nothing is answered."""
        body, words = REFUSED[what]
        status, text = await self.ask(sim, body)
        assert status == 400
        assert words in json.loads(text)["error"]["message"]
        assert not sim.sent

    @pytest.mark.parametrize(
        ("path", "headers", "status", "words"),
        [
            (PATH, {"x_goog_api_key": ""}, 403, "unregistered callers"),
            (PATH, {"x_goog_api_key": "other"}, 400, "API_KEY_INVALID"),
            (PATH, {"x_server_timeout": "5"}, 400, "deadline 5s is too short"),
            (PATH.replace(MODEL, "gpt-4o"), {}, 404, "is not found"),
            (PATH.replace("generate", "invent"), {}, 404, "Not Found"),
            (f"/v1/models/{MODEL}:streamGenerateContent", {}, 400, "alt=sse"),
            ("/v2" + PATH[3:], {}, 404, "Not Found"),
        ],
    )
    async def test_callers_and_paths(
        self, sim: GeminiSimulator, path: str, headers: dict[str, str], status: int, words: str
    ) -> None:
        """Keys, deadlines, models and methods."""
        answered, text = await self.ask(sim, {"contents": [HELLO]}, path, **headers)
        assert answered == status
        assert words in text

    async def test_either_spelling_is_read(self, sim: GeminiSimulator) -> None:
        """Google takes both; what is the caller's own keeps its letters."""
        declared = {"name": "a", "parameters_json_schema": {"properties": {"my_field": {}}}}
        body = {
            "contents": [HELLO],
            "generation_config": {"max_output_tokens": 5},
            "tools": [{"function_declarations": [declared]}],
        }
        assert (await self.ask(sim, body))[0] == 200
        read = sim.sent[-1].data
        assert read["generationConfig"] == {"maxOutputTokens": 5}
        (kept,) = read["tools"][0]["functionDeclarations"]
        assert kept["parametersJsonSchema"] == {"properties": {"my_field": {}}}

    async def test_a_model_that_does_not_think_wants_no_seals(self) -> None:
        """Older models never gave any."""
        async with GeminiSimulator(thinking=False) as sim:
            assert (await self.ask(sim, {"contents": [HELLO, CALL, RESULT]}))[0] == 200

    async def test_forgetting(self, sim: GeminiSimulator) -> None:
        """Requests, answers and seals are gone."""
        sim.answer("queued")
        await self.ask(sim, {"contents": [HELLO]})
        sim.answer("queued")
        sim.reset()
        assert (len(sim.requests), len(sim.sent)) == (0, 0)
        assert "You said: hi" in (await self.ask(sim, {"contents": [HELLO]}))[1]
