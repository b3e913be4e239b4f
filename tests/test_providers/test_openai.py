"""GPT: making the provider and its requests, with a fake of the SDK."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

import roomkit.providers.openai.ai as openai_ai
from roomkit.exceptions import MissingDependencyError, ProviderError
from roomkit.providers.ai.base import (
    AIContext,
    AIImagePart,
    AIMessage,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
)
from roomkit.providers.openai import OpenAIConfig
from tests.test_providers._fake_openai import (
    KEY,
    PNG,
    SEARCH,
    APIStatusError,
    FakeSDK,
    asking,
    completion,
    provider,
    said,
    sent,
)


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> FakeSDK:
    """A fake SDK in place of the real one."""
    fake = FakeSDK()
    monkeypatch.setitem(sys.modules, "openai", fake.module)
    return fake


class TestMaking:
    """The provider and its config."""

    def test_defaults_are_the_specifications(self) -> None:
        """Programs written against the reference see the same values."""
        config = OpenAIConfig(api_key=SecretStr(KEY))
        assert (config.model, config.base_url) == ("gpt-4o", None)
        assert (config.max_tokens, config.temperature) == (1024, 0.7)
        assert KEY not in repr(config)

    def test_options_reach_the_client_only_when_set(self, sdk: FakeSDK) -> None:
        """The SDK's own defaults stay in force."""
        provider()
        sdk.module.AsyncOpenAI.assert_called_once_with(api_key=KEY, base_url=None)
        provider(base_url="http://h:1/v1", max_retries=0, timeout=2.5)
        sdk.module.AsyncOpenAI.assert_called_with(
            api_key=KEY, base_url="http://h:1/v1", max_retries=0, timeout=2.5
        )

    @pytest.mark.parametrize(
        ("base_url", "url"),
        [(None, "http://h:1/v1"), ("https://other.example/openai/v3", "http://h:1/openai/v3")],
    )
    def test_another_server(self, base_url: str | None, url: str) -> None:
        """``api_base`` takes the place of scheme, host and port; the path stays."""
        key = SecretStr(KEY)
        config = OpenAIConfig(api_key=key, base_url=base_url, api_base="http://h:1/")
        assert config.endpoint() == url

    @pytest.mark.parametrize("wrong", [{"max_retries": -1}, {"timeout": 0}, {"api_base": "x"}])
    def test_a_wrong_setting_is_refused(self, wrong: dict[str, Any]) -> None:
        """Before anything is sent, without the key in the text."""
        with pytest.raises(ValidationError) as caught:
            OpenAIConfig(api_key=SecretStr(KEY), **wrong)
        assert KEY not in str(caught.value)

    def test_without_the_sdk_it_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The module itself loads, and even reloads."""
        monkeypatch.setitem(sys.modules, "openai", None)
        module = importlib.reload(openai_ai)
        config = OpenAIConfig(api_key=SecretStr(KEY))
        with pytest.raises(ImportError, match="openai is required for OpenAIAIProvider") as caught:
            module.OpenAIAIProvider(config)
        assert isinstance(caught.value, MissingDependencyError)
        assert caught.value.extra == "openai"

    @pytest.mark.parametrize(
        "model",
        [
            "gpt-4o",
            "gpt-4o-mini",
            "gpt-4-turbo",
            "gpt-4.1",
            "gpt-4.5",
            "gpt-5.5",
            "gpt-6",
            "o1",
            "o3",
            "o4-mini",
            "chatgpt-4o-latest",
        ],
    )
    def test_vision_by_name(self, sdk: FakeSDK, model: str) -> None:
        """The families that see."""
        assert provider(model=model).supports_vision

    @pytest.mark.parametrize(
        "model",
        [
            "gpt-4",
            "gpt-3.5-turbo",
            "o1-mini",
            "o1-preview",
            "o3-mini",
            "gpt-4o-audio-preview",
            "gpt-4o-search",
            "llama",
        ],
    )
    def test_no_vision_by_name(self, sdk: FakeSDK, model: str) -> None:
        """Those that do not, and names nobody knows."""
        assert not provider(model=model).supports_vision

    def test_vision_as_configured(self, sdk: FakeSDK) -> None:
        """The config's word counts more than the name."""
        assert provider(model="llama", vision=True).supports_vision
        assert not provider(vision=False).supports_vision

    def test_names(self, sdk: FakeSDK) -> None:
        """What it is called, and that it streams."""
        made = provider()
        assert (made.name, made.model_name) == ("OpenAIAIProvider", "gpt-4o")
        assert made.supports_streaming
        assert made.supports_structured_streaming


class TestRequests:
    """What the vendor is sent."""

    async def test_the_plain_case(self, sdk: FakeSDK) -> None:
        """The prompt first, a string stays a string, tools are declared."""
        await provider().generate(asking(system_prompt="Be brief.", tools=[SEARCH]))
        assert sdk.request == {
            "model": "gpt-4o",
            "max_tokens": 1024,
            "temperature": 0.7,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "hi"},
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "search",
                        "description": "Look it up.",
                        "parameters": SEARCH.parameters,
                    },
                }
            ],
        }

    async def test_a_config_set_on_purpose_stands_in(self, sdk: FakeSDK) -> None:
        """For contexts that say nothing; a context's own word wins."""
        made = provider(max_tokens=99, temperature=0.1)
        await made.generate(asking())
        assert (sdk.request["max_tokens"], sdk.request["temperature"]) == (99, 0.1)
        await made.generate(asking(max_tokens=5, temperature=0.9))
        assert (sdk.request["max_tokens"], sdk.request["temperature"]) == (5, 0.9)
        await made.generate(asking(max_tokens=None, temperature=None))
        assert sdk.request["max_tokens"] == 99
        assert "temperature" not in sdk.request

    @pytest.mark.parametrize(
        ("model", "base_url", "length"),
        [
            ("gpt-3.5-turbo", None, "max_tokens"),
            ("gpt-4.1", None, "max_tokens"),
            ("chatgpt-4o-latest", None, "max_tokens"),
            ("ft:gpt-4o:me", None, "max_tokens"),
            ("o3", None, "max_completion_tokens"),
            ("gpt-5.5", None, "max_completion_tokens"),
            ("ft:gpt-5:me", None, "max_completion_tokens"),
            ("gpt-5.5", "http://localhost/v1", "max_tokens"),
        ],
    )
    async def test_o1_the_name_of_the_length(
        self, sdk: FakeSDK, model: str, base_url: str | None, length: str
    ) -> None:
        """O1: by the model at the vendor, the old one at other servers."""
        await provider(model=model, base_url=base_url).generate(asking())
        names = {"max_tokens", "max_completion_tokens"}
        assert names & sdk.request.keys() == {length}
        assert sdk.request[length] == 1024

    async def test_o2_models_that_reason_get_no_temperature(self, sdk: FakeSDK) -> None:
        """O2: unless the config names one on purpose; ``AIChannel`` always names one."""
        await provider(model="gpt-5.5").generate(asking(temperature=0.7))
        assert "temperature" not in sdk.request
        await provider(model="gpt-5.5", temperature=1.0).generate(asking(temperature=0.7))
        assert sdk.request["temperature"] == 1.0

    async def test_o1_a_refused_parameter_is_left_out_and_remembered(self, sdk: FakeSDK) -> None:
        """O1: asked once more at once, and never again with it."""
        refusal = APIStatusError("no", 400, param="temperature", code="unsupported_value")
        sdk.create.side_effect = [refusal, completion("a"), completion("b")]
        made = provider()
        assert (await made.generate(asking())).content == "a"
        assert (await made.generate(asking())).content == "b"
        given = ["temperature" in call.kwargs for call in sdk.create.call_args_list]
        assert given == [True, False, False]

    @pytest.mark.parametrize(
        ("status", "param", "code"),
        [
            (400, "messages", "unsupported_value"),
            (400, "temperature", "invalid_value"),
            (429, "temperature", "unsupported_value"),
            (400, None, None),
        ],
    )
    async def test_other_refusals_stay_refusals(
        self, sdk: FakeSDK, status: int, param: str | None, code: str | None
    ) -> None:
        """Only parameters we can do without are dropped, and only when that is the reason."""
        sdk.create.side_effect = APIStatusError("no", status, param=param, code=code)
        with pytest.raises(ProviderError):
            await provider().generate(asking())
        assert sdk.create.await_count == 1

    async def test_a_vendor_that_refuses_everything_is_not_asked_for_ever(
        self, sdk: FakeSDK
    ) -> None:
        """Each parameter is dropped once."""

        async def create(**request: Any) -> Any:
            name = "max_tokens" if "max_tokens" in request else "temperature"
            raise APIStatusError("no", 400, param=name, code="unsupported_parameter")

        sdk.create.side_effect = create
        with pytest.raises(ProviderError):
            await provider().generate(asking())
        assert sdk.create.await_count == 3

    async def test_a_stream_is_asked_for_with_its_counters(self, sdk: FakeSDK) -> None:
        """Otherwise the vendor does not count."""
        sdk.stream()
        with pytest.raises(ProviderError):
            await anext(provider().generate_structured_stream(asking()))
        assert sdk.request["stream"] is True
        assert sdk.request["stream_options"] == {"include_usage": True}

    async def test_images(self, sdk: FakeSDK) -> None:
        """Data and http URLs as they are; what is none is named instead."""
        (only,) = await sent(
            sdk,
            said(
                AITextPart(text="look"),
                AITextPart(text=" "),
                AIImagePart(url=PNG),
                AIImagePart(url="https://example.org/a"),
                AIImagePart(url="https://example.org/a.pdf", mime_type="application/pdf"),
                AIImagePart(url="data:text/plain,hello"),
            ),
        )
        text = "[attachment of type {}, which cannot be shown to you]"
        assert only == {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": PNG}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a"}},
                {"type": "text", "text": text.format("application/pdf")},
                {"type": "text", "text": text.format("unknown")},
            ],
        }

    async def test_a_round_of_tools(self, sdk: FakeSDK) -> None:
        """One message per result; their images follow once all results are there."""
        messages = await sent(
            sdk,
            said("find"),
            said(
                AIThinkingPart(thinking="hm"),
                AIToolCallPart(id="c1", name="search", arguments={"q": "x"}),
                AIToolCallPart(id="c2", name="search"),
                role="assistant",
            ),
            said(
                AIToolResultPart(
                    tool_call_id="c1",
                    name="search",
                    result=[AITextPart(text="see"), AIImagePart(url=PNG)],
                ),
                role="tool",
            ),
            said(
                AIToolResultPart(tool_call_id="c2", name="search", result="no", is_error=True),
                role="tool",
            ),
            said("and?"),
        )
        call = {"type": "function", "function": {"name": "search", "arguments": '{"q":"x"}'}}
        assert messages[1] == {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", **call},
                {
                    "id": "c2",
                    "type": "function",
                    "function": {"name": "search", "arguments": "{}"},
                },
            ],
        }
        assert messages[2:] == [
            {"role": "tool", "tool_call_id": "c1", "content": "see"},
            {"role": "tool", "tool_call_id": "c2", "content": "Error: no"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What the tool search showed:"},
                    {"type": "image_url", "image_url": {"url": PNG}},
                ],
            },
            {"role": "user", "content": "and?"},
        ]

    async def test_results_and_words_in_one_message(self, sdk: FakeSDK) -> None:
        """The results, then their images, then the words."""
        call = AIToolCallPart(id="c1", name="search")
        result = AIToolResultPart(tool_call_id="c1", name="search", result=[AIImagePart(url=PNG)])
        messages = await sent(
            sdk, said("q"), said(call, role="assistant"), said(AITextPart(text="so?"), result)
        )
        assert [m["role"] for m in messages[2:]] == ["tool", "user", "user"]
        assert messages[4]["content"] == [{"type": "text", "text": "so?"}]

    async def test_o4_a_custom_call_goes_back_as_one(self, sdk: FakeSDK) -> None:
        """O4: a call of plain text keeps its kind."""
        call = AIToolCallPart(
            id="c1", name="run", arguments={"input": "ls"}, metadata={"type": "custom"}
        )
        result = AIToolResultPart(tool_call_id="c1", name="run", result="a b")
        messages = await sent(
            sdk, said("q"), said(call, role="assistant"), said(result, role="tool")
        )
        custom = {"name": "run", "input": "ls"}
        assert messages[1]["tool_calls"] == [{"id": "c1", "type": "custom", "custom": custom}]

    async def test_system_messages_stay_where_they_are(self, sdk: FakeSDK) -> None:
        """The vendor takes them anywhere; of parts they are text."""
        messages = await sent(sdk, said("a"), said(AITextPart(text="b"), role="system"))
        assert messages[1] == {"role": "system", "content": "b"}

    @pytest.mark.parametrize("messages", [[], [said(" ")], [said("x", role="system")]])
    async def test_nothing_to_answer_is_an_error(
        self, sdk: FakeSDK, messages: list[AIMessage]
    ) -> None:
        """A typed one, and no request is made."""
        with pytest.raises(ProviderError, match="no message with content") as caught:
            await provider().generate(AIContext(messages=messages, system_prompt="x"))
        assert not caught.value.retryable
        sdk.create.assert_not_called()

    async def test_an_unknown_role_is_an_error(self, sdk: FakeSDK) -> None:
        """It names the role."""
        with pytest.raises(ProviderError, match="'narrator'"):
            await provider().generate(asking(said("x", role="narrator")))

    @pytest.mark.parametrize(
        ("parameters", "schema"),
        [
            ({}, {"type": "object", "properties": {}}),
            ({"properties": {}}, {"type": "object", "properties": {}}),
        ],
    )
    async def test_a_tool_without_parameters(
        self, sdk: FakeSDK, parameters: dict[str, Any], schema: dict[str, Any]
    ) -> None:
        """The vendor wants the schema of an object."""
        await provider().generate(asking(tools=[AITool(name="now", parameters=parameters)]))
        assert sdk.request["tools"][0]["function"]["parameters"] == schema
