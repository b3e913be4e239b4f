"""Claude: making the provider and its requests, with a fake of the SDK."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

import roomkit.providers.anthropic.ai as anthropic_ai
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
from roomkit.providers.anthropic import AnthropicConfig
from tests.test_providers._fake_anthropic import (
    KEY,
    PNG,
    SEARCH,
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


class TestMaking:
    """The provider and its config."""

    def test_defaults_are_the_specifications(self) -> None:
        """Programs written against the reference see the same values."""
        config = AnthropicConfig(api_key=SecretStr(KEY))
        assert config.model == "claude-sonnet-4-20250514"
        assert (config.max_tokens, config.temperature) == (1024, 0.7)
        assert KEY not in repr(config)

    def test_options_reach_the_client_only_when_set(self, sdk: FakeSDK) -> None:
        """The SDK's own defaults stay in force."""
        provider()
        sdk.module.AsyncAnthropic.assert_called_once_with(api_key=KEY)
        provider(api_base="http://127.0.0.1:9/", max_retries=0, timeout=2.5)
        sdk.module.AsyncAnthropic.assert_called_with(
            api_key=KEY, base_url="http://127.0.0.1:9", max_retries=0, timeout=2.5
        )

    @pytest.mark.parametrize(
        "wrong", [{"max_retries": -1}, {"timeout": 0}, {"api_base": "x"}, {"sampling": "often"}]
    )
    def test_a_wrong_setting_is_refused(self, wrong: dict[str, Any]) -> None:
        """Before anything is sent, without the key in the text."""
        with pytest.raises(ValidationError) as caught:
            AnthropicConfig(api_key=SecretStr(KEY), **wrong)
        assert KEY not in str(caught.value)

    def test_without_the_sdk_it_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The module itself loads, and even reloads."""
        monkeypatch.setitem(sys.modules, "anthropic", None)
        module = importlib.reload(anthropic_ai)
        with pytest.raises(
            ImportError, match="anthropic is required for AnthropicAIProvider"
        ) as e:
            module.AnthropicAIProvider(AnthropicConfig(api_key=SecretStr(KEY)))
        assert isinstance(e.value, MissingDependencyError)
        assert e.value.extra == "anthropic"

    @pytest.mark.parametrize(
        ("model", "sees"),
        [
            ("claude-3-haiku-20240307", True),
            ("claude-sonnet-4-20250514", True),
            ("claude-haiku-4-5", True),
            ("claude-opus-5-5", True),
            ("claude-2.1", False),
            ("claude-instant-1.2", False),
            ("my-own", False),
        ],
    )
    def test_vision_by_name(self, sdk: FakeSDK, model: str, sees: bool) -> None:
        """Every Claude but the oldest sees."""
        assert provider(model=model).supports_vision is sees

    def test_vision_as_configured(self, sdk: FakeSDK) -> None:
        """The config's word counts more than the name."""
        assert provider(model="my-own", vision=True).supports_vision
        assert not provider(vision=False).supports_vision

    def test_names(self, sdk: FakeSDK) -> None:
        """What it is called, and that it streams."""
        made = provider()
        assert (made.name, made.model_name) == ("AnthropicAIProvider", "claude-sonnet-5-5")
        assert made.supports_streaming
        assert made.supports_structured_streaming

    def test_a6_a_retired_model_is_warned_of_once(
        self, sdk: FakeSDK, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A6: the default among them; a current one is not."""
        provider(model="claude-sonnet-4-20250514")
        provider(model="claude-sonnet-5-5")
        assert [r.levelno for r in caplog.records] == [logging.WARNING]
        assert "claude-sonnet-4-20250514" in caplog.text

    async def test_closing_closes_the_client(self, sdk: FakeSDK) -> None:
        """A fake's ``close`` need not be awaitable."""
        await provider().close()
        sdk.module.AsyncAnthropic.return_value.close.assert_called_once_with()


class TestRequests:
    """What the vendor is sent."""

    async def test_the_plain_case(self, sdk: FakeSDK) -> None:
        """A string stays a string, the prompt stands over it, tools are declared."""
        context = asking(said("hi"), system_prompt="Be brief.", tools=[SEARCH])
        await provider().generate(context)
        assert sdk.request == {
            "model": "claude-sonnet-5-5",
            "max_tokens": 1024,
            "temperature": 0.7,
            "messages": [{"role": "user", "content": "hi"}],
            "system": "Be brief.",
            "tools": [
                {
                    "name": "search",
                    "description": "Look it up.",
                    "input_schema": {"type": "object"},
                }
            ],
        }

    async def test_nothing_is_sent_that_is_not_there(self, sdk: FakeSDK) -> None:
        """No system without a prompt, no tools without tools, no temperature of None."""
        await provider().generate(asking(temperature=None))
        assert sorted(sdk.request) == ["max_tokens", "messages", "model"]

    async def test_a_config_set_on_purpose_stands_in(self, sdk: FakeSDK) -> None:
        """For contexts that say nothing; a context's own word wins."""
        made = provider(max_tokens=99, temperature=0.1)
        await made.generate(asking())
        assert (sdk.request["max_tokens"], sdk.request["temperature"]) == (99, 0.1)
        await made.generate(asking(max_tokens=5, temperature=0.9))
        assert (sdk.request["max_tokens"], sdk.request["temperature"]) == (5, 0.9)
        await made.generate(asking(max_tokens=None))
        assert sdk.request["max_tokens"] == 99

    async def test_a1_an_sdk_without_temperature_is_not_given_one(self, sdk: FakeSDK) -> None:
        """A1: later SDKs lack the parameter; ``always`` sends it past them."""
        seen: list[dict[str, Any]] = []

        async def create(
            *, model: str, max_tokens: int, messages: Any, extra_body: Any = None
        ) -> Any:
            seen.append({"extra_body": extra_body})
            return message(block("text", text="x"))

        sdk.module.AsyncAnthropic.return_value.messages.create = create
        await provider().generate(asking())
        await provider(sampling="always").generate(asking())
        await provider(thinking={"type": "adaptive"}).generate(asking())
        assert [call["extra_body"] for call in seen] == [
            None,
            {"temperature": 0.7},
            {"thinking": {"type": "adaptive"}},
        ]

    async def test_a1_sampling_never(self, sdk: FakeSDK) -> None:
        """A1: nothing is sent even where the SDK would take it."""
        await provider(sampling="never").generate(asking(temperature=0.2))
        assert "temperature" not in sdk.request

    async def test_a1_a_refused_temperature_is_left_out_from_then_on(self, sdk: FakeSDK) -> None:
        """A1: an old SDK still has the parameter, a new model does not take it."""
        answer = message(block("text", text="x"))
        refusal = APIStatusError("temperature: not supported by this model", 400)
        sdk.create.side_effect = [refusal, answer, answer]
        made = provider()
        await made.generate(asking())
        await made.generate(asking())
        given = ["temperature" in call.kwargs for call in sdk.create.call_args_list]
        assert given == [True, False, False]

    @pytest.mark.parametrize(
        ("status", "text", "sampling"),
        [
            (400, "max_tokens: too many", "auto"),
            (429, "the temperature rises", "auto"),
            (400, "temperature: not supported", "always"),
            (400, "temperature: not supported", "never"),
        ],
    )
    async def test_other_refusals_stay_refusals(
        self, sdk: FakeSDK, status: int, text: str, sampling: str
    ) -> None:
        """And a temperature asked for on purpose is not dropped."""
        sdk.create.side_effect = APIStatusError(text, status)
        with pytest.raises(ProviderError):
            await provider(sampling=sampling).generate(asking())
        assert sdk.create.await_count == 1

    async def test_thinking_goes_without_temperature(self, sdk: FakeSDK) -> None:
        """The vendor refuses both together."""
        await provider(thinking={"type": "adaptive"}).generate(asking())
        assert sdk.request["thinking"] == {"type": "adaptive"}
        assert "temperature" not in sdk.request

    async def test_a3_data_urls_become_base64(self, sdk: FakeSDK) -> None:
        """A3: the vendor fetches http(s) and takes base64; ``jpg`` is no type to it."""
        parts = [
            AITextPart(text="look"),
            AIImagePart(url="https://example.org/a.png", mime_type="image/png"),
            AIImagePart(url="https://example.org/a"),
            AIImagePart(url=f"data:image/png;base64,{PNG}"),
            AIImagePart(url="data:image/jpg;base64,AAAA"),
            AIImagePart(url="data:application/pdf;base64,AAAA"),
            AIImagePart(url="https://example.org/a.pdf", mime_type="application/pdf"),
        ]
        (only,) = await sent(sdk, said(*parts))
        kinds = [(b["type"], b.get("source")) for b in only["content"]]
        base64 = {"type": "base64"}
        assert kinds == [
            ("text", None),
            ("image", {"type": "url", "url": "https://example.org/a.png"}),
            ("image", {"type": "url", "url": "https://example.org/a"}),
            ("image", {**base64, "media_type": "image/png", "data": PNG}),
            ("image", {**base64, "media_type": "image/jpeg", "data": "AAAA"}),
            ("document", {**base64, "media_type": "application/pdf", "data": "AAAA"}),
            ("document", {"type": "url", "url": "https://example.org/a.pdf"}),
        ]

    @pytest.mark.parametrize(
        "part",
        [
            AIImagePart(url="https://example.org/a.zip", mime_type="application/zip"),
            AIImagePart(url="data:application/zip;base64,AAAA"),
            AIImagePart(url="data:text/plain,hello", mime_type="text/plain"),
        ],
    )
    async def test_a3_what_cannot_be_seen_is_named(self, sdk: FakeSDK, part: AIImagePart) -> None:
        """A3: the model learns that there was something, instead of a refusal for all."""
        (only,) = await sent(sdk, said(part))
        (text,) = only["content"]
        assert text["text"].startswith("[attachment of type ")

    async def test_a4_system_messages_move_up(self, sdk: FakeSDK) -> None:
        """A4: the vendor knows no such role inside a conversation."""
        instruct = said(AITextPart(text="And kind."), role="system")
        await provider().generate(
            asking(said("hi"), instruct, said("x", role="developer"), system_prompt="Be brief.")
        )
        assert sdk.request["system"] == "Be brief.\n\nAnd kind.\n\nx"
        assert [m["role"] for m in sdk.request["messages"]] == ["user"]

    async def test_a5_empty_text_is_left_out(self, sdk: FakeSDK) -> None:
        """A5: the vendor refuses empty text blocks."""
        parts = said(AITextPart(text=" "), AITextPart(text="b"))
        assert await sent(sdk, said("a"), said("  "), said(AITextPart(text="")), parts) == [
            {"role": "user", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "b"}]},
        ]

    @pytest.mark.parametrize("messages", [[], [said("")], [said("x", role="system")]])
    async def test_a5_nothing_to_answer_is_an_error(
        self, sdk: FakeSDK, messages: list[AIMessage]
    ) -> None:
        """A5: a typed one, and no request is made."""
        with pytest.raises(ProviderError, match="no message with content") as caught:
            await provider().generate(AIContext(messages=messages))
        assert not caught.value.retryable
        sdk.create.assert_not_called()

    async def test_an_unknown_role_is_an_error(self, sdk: FakeSDK) -> None:
        """It names the role."""
        with pytest.raises(ProviderError, match="'narrator'"):
            await provider().generate(asking(said("x", role="narrator")))

    async def test_the_models_words_do_not_come_first(self, sdk: FakeSDK) -> None:
        """The vendor refuses that; a conversation cut to its newest messages has it often."""
        messages = await sent(sdk, said("welcome", role="assistant"), said("hi"))
        assert [m["role"] for m in messages] == ["user", "assistant", "user"]

    async def test_a_round_of_tools(self, sdk: FakeSDK) -> None:
        """Thoughts with their seal first; all results in one message, before other blocks."""
        messages = await sent(
            sdk,
            said("find x and y"),
            said(
                AIThinkingPart(thinking="hm", signature="seal"),
                AITextPart(text="Looking."),
                AIToolCallPart(id="t1", name="search", arguments={"q": "x"}),
                AIToolCallPart(id="t2", name="search"),
                role="assistant",
            ),
            said(
                AITextPart(text="here"),
                AIToolResultPart(tool_call_id="t1", name="search", result="42"),
                role="tool",
            ),
            said(
                AIToolResultPart(
                    tool_call_id="t2",
                    name="search",
                    result=[AITextPart(text="no"), AIImagePart(url="https://example.org/a")],
                    is_error=True,
                ),
                role="tool",
            ),
        )
        assert messages[1]["content"] == [
            {"type": "thinking", "thinking": "hm", "signature": "seal"},
            {"type": "text", "text": "Looking."},
            {"type": "tool_use", "id": "t1", "name": "search", "input": {"q": "x"}},
            {"type": "tool_use", "id": "t2", "name": "search", "input": {}},
        ]
        image = {"type": "image", "source": {"type": "url", "url": "https://example.org/a"}}
        assert messages[2:] == [
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "42"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "t2",
                        "content": [{"type": "text", "text": "no"}, image],
                        "is_error": True,
                    },
                    {"type": "text", "text": "here"},
                ],
            }
        ]

    async def test_thoughts_without_a_seal_stay_here(self, sdk: FakeSDK) -> None:
        """The vendor refuses them."""
        parts = (AIThinkingPart(thinking="hm"), AITextPart(text="a"))
        messages = await sent(sdk, said("q"), said(*parts, role="assistant"), said("r"))
        assert messages[1]["content"] == [{"type": "text", "text": "a"}]

    async def test_an_empty_result_is_a_result(self, sdk: FakeSDK) -> None:
        """Its call must be answered, but empty text is refused."""
        call = AIToolCallPart(id="t1", name="search")
        result = AIToolResultPart(tool_call_id="t1", name="search", result="")
        messages = await sent(
            sdk, said("q"), said(call, role="assistant"), said(result, role="tool")
        )
        assert messages[2]["content"] == [{"type": "tool_result", "tool_use_id": "t1"}]

    async def test_withheld_tools_are_declared_and_forbidden(self, sdk: FakeSDK) -> None:
        """The vendor insists on declarations once the conversation mentions tools."""
        context = asking(tools=[SEARCH]).continued([], without_tools=True)
        await provider().generate(context)
        assert [tool["name"] for tool in sdk.request["tools"]] == ["search"]
        assert sdk.request["tool_choice"] == {"type": "none"}

    async def test_a_tool_without_parameters(self, sdk: FakeSDK) -> None:
        """The vendor wants the schema of an object at least."""
        await provider().generate(asking(tools=[AITool(name="now")]))
        schema = sdk.request["tools"][0]["input_schema"]
        assert schema == {"type": "object", "properties": {}}
