"""Programs replace the SDK by fakes of all kinds: the provider must work with them."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock, patch

import pytest

from roomkit.exceptions import MissingDependencyError, ProviderError
from roomkit.providers.ai.base import AIContext, AIMessage, AITool, AIToolCall
from roomkit.providers.gemini import ai as module
from roomkit.providers.gemini.config import GeminiConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

TO_THREAD = "roomkit.providers.gemini.ai.asyncio.to_thread"
CONTEXT = AIContext(messages=[AIMessage(role="user", content="hi")])


@pytest.fixture
def sdk() -> Iterator[MagicMock]:
    """The SDK as a mock, in the place of the real one."""
    google, genai = MagicMock(), MagicMock()
    with patch.dict(sys.modules, {"google": google, "google.genai": genai}):
        importlib.reload(module)
        yield genai
    importlib.reload(module)


def make(**fields: Any) -> Any:
    """A provider on whatever stands in for the SDK."""
    return module.GeminiAIProvider(GeminiConfig(api_key="key", model="gemini-3.5-flash", **fields))


def made(client: Any) -> Any:
    """Let the SDK make this client, and return it."""
    sys.modules["google"].genai.Client.return_value = client  # type: ignore[attr-defined]
    return client


def said(text: str | None = "Hello", **fields: Any) -> SimpleNamespace:
    """An answer with just the fields somebody thought of."""
    return SimpleNamespace(text=text, **{"usage_metadata": None, "candidates": None, **fields})


class TestMockedModules:
    """``google`` and ``google.genai`` are mocks in ``sys.modules``."""

    async def test_the_blocking_method_in_a_thread(self, sdk: MagicMock) -> None:
        """A client with nothing to await is asked in a thread, its method first."""
        usage = SimpleNamespace(prompt_token_count=5, candidates_token_count=None)
        provider = make()
        answer = said(usage_metadata=usage)
        with patch(TO_THREAD, AsyncMock(return_value=answer)) as to_thread:
            response = await provider.generate(CONTEXT)
        assert response.content == "Hello"
        assert response.usage == {"prompt_tokens": 5, "completion_tokens": 0}
        assert response.metadata == {"model": "gemini-3.5-flash"}
        asked, keywords = to_thread.call_args
        assert len(asked) == 1
        assert sorted(keywords) == ["config", "contents", "model"]

    async def test_a_client_of_blocking_methods_only(self, sdk: MagicMock) -> None:
        """It needs no ``aio``."""
        models = SimpleNamespace(generate_content=lambda **_: said("plain"))
        made(SimpleNamespace(models=models))
        assert (await make().generate(CONTEXT)).content == "plain"

    async def test_parts_and_declarations_are_made_by_keyword(self, sdk: MagicMock) -> None:
        """Whoever inspects the calls finds what the vendor's classes take."""
        context = AIContext(
            messages=CONTEXT.messages,
            system_prompt="Be brief.",
            tools=[AITool(name="search", description="d", parameters={})],
        )
        with patch(TO_THREAD, AsyncMock(return_value=said())) as to_thread:
            await make().generate(context)
        types = sdk.types
        types.Part.from_text.assert_called_once_with(text="hi")
        types.Content.assert_called_once_with(
            role="user", parts=[types.Part.from_text.return_value]
        )
        types.FunctionDeclaration.assert_called_once_with(
            name="search", description="d", parameters=None
        )
        config = to_thread.call_args.kwargs["config"]
        assert config.system_instruction == "Be brief."
        assert config.tools == [types.Tool.return_value]

    async def test_calls_of_tools(self, sdk: MagicMock) -> None:
        """The id is the name where there is no other."""
        call = SimpleNamespace(name="search", args={"q": "x"})
        content = SimpleNamespace(parts=[SimpleNamespace(function_call=call)])
        answer = said(text=None, candidates=[SimpleNamespace(content=content)])
        with patch(TO_THREAD, AsyncMock(return_value=answer)):
            response = await make().generate(CONTEXT)
        assert response.content == ""
        assert response.finish_reason is None
        assert response.tool_calls == [
            AIToolCall(id="search", name="search", arguments={"q": "x"})
        ]

    @pytest.mark.parametrize(
        ("text", "retryable"),
        [
            ("Rate limit exceeded 429", True),
            ("rate_limited", True),
            ("the limit is reached", True),
            ("upstream said 503", True),
            ("API error", False),
            ("generateContent is not for you", False),
            ("", False),
        ],
    )
    async def test_errors_without_a_code_are_read_by_their_words(
        self, sdk: MagicMock, text: str, retryable: bool
    ) -> None:
        """As far as words mean what they seem to."""
        with (
            patch(TO_THREAD, AsyncMock(side_effect=Exception(text))),
            pytest.raises(ProviderError) as caught,
        ):
            await make().generate(CONTEXT)
        assert caught.value.retryable is retryable
        assert (caught.value.provider, caught.value.status_code) == ("gemini", None)
        assert str(caught.value) == (text or "Exception")

    @pytest.mark.parametrize(
        ("text", "word", "wait"),
        [
            (
                '{"error": {"status": "RESOURCE_EXHAUSTED", '
                '"details": [{"retryDelay": "17s"}]}}\n',
                "RESOURCE_EXHAUSTED",
                17.0,
            ),
            ("{broken", "Too Many Requests", None),
            ('{"other": 1}', "Too Many Requests", None),
            ("busy", "Too Many Requests", None),
        ],
    )
    async def test_an_error_the_sdk_took_for_text(
        self, sdk: MagicMock, text: str, word: str, wait: float | None
    ) -> None:
        """Some releases wrap Google's JSON as the message of one of their own."""

        class APIError(Exception):
            code = 429
            details = {"message": text, "status": "Too Many Requests"}  # noqa: RUF012

        with (
            patch(TO_THREAD, AsyncMock(side_effect=APIError("429"))),
            pytest.raises(ProviderError) as caught,
        ):
            await make().generate(CONTEXT)
        assert (caught.value.status_code, caught.value.retryable) == (429, True)
        assert (caught.value.error_type, caught.value.retry_after) == (word, wait)

    async def test_an_answer_of_an_unknown_shape(self, sdk: MagicMock) -> None:
        """What cannot be read is our error, and quotes nothing."""
        answer = said(candidates=SimpleNamespace(secret="canary"))
        with (
            patch(TO_THREAD, AsyncMock(return_value=answer)),
            pytest.raises(ProviderError, match="could not be read") as caught,
        ):
            await make().generate(CONTEXT)
        assert not caught.value.retryable
        assert "canary" not in str(caught.value)

    async def test_a_prompt_the_sdk_refuses(self, sdk: MagicMock) -> None:
        """Its text would quote the conversation, so it is not repeated."""
        sdk.types.Content.side_effect = TypeError("hi is not good")
        with pytest.raises(ProviderError, match="TypeError") as caught:
            await make().generate(CONTEXT)
        assert "hi is" not in str(caught.value)

    async def test_options_of_the_connection(self, sdk: MagicMock) -> None:
        """Given only when set."""
        make()
        make(timeout=20, max_retries=1, api_base="https://x.example/")
        plain, full = sys.modules["google"].genai.Client.call_args_list  # type: ignore[attr-defined]
        assert plain.kwargs == {"api_key": "key"}
        assert full.kwargs["http_options"] is sdk.types.HttpOptions.return_value
        sdk.types.HttpOptions.assert_called_once_with(
            base_url="https://x.example", timeout=20_000, retry_options={"attempts": 2}
        )

    async def test_closing_a_mock(self, sdk: MagicMock) -> None:
        """Nothing to await is fine, and one call is enough."""
        provider = make()
        client = sys.modules["google"].genai.Client.return_value  # type: ignore[attr-defined]
        await provider.close()
        await provider.close()
        client.close.assert_called_once_with()
        client.aio.close.assert_called_once_with()


class TestAsyncFakes:
    """A fake that can be awaited is awaited."""

    async def test_an_async_mock(self, sdk: MagicMock) -> None:
        """No thread is used."""
        ask = AsyncMock(return_value=said("awaited"))
        made(MagicMock()).aio.models.generate_content = ask
        with patch(TO_THREAD, side_effect=AssertionError("a thread")):
            assert (await make().generate(CONTEXT)).content == "awaited"
        assert ask.call_args.args == ()

    @pytest.mark.parametrize("awaited", [True, False])
    async def test_a_stream(self, sdk: MagicMock, awaited: bool) -> None:
        """Handed over at once or after an await; pieces need no finish reason."""

        async def pieces() -> Any:
            yield said("one ")
            yield said("two", candidates=[SimpleNamespace(content=None)])

        opened = AsyncMock(side_effect=lambda **_: pieces())
        client = made(MagicMock())
        client.aio.models.generate_content_stream = opened if awaited else lambda **_: pieces()
        assert [text async for text in make().generate_stream(CONTEXT)] == ["one ", "two"]


class TestWithoutTheSdk:
    """google-genai is not installed."""

    @pytest.mark.parametrize("missing", [["google"], ["google.genai"], ["google", "google.genai"]])
    def test_the_constructor_says_what_to_install(self, missing: list[str]) -> None:
        """The module itself can be imported all the same."""
        with patch.dict(sys.modules, dict.fromkeys(missing)):
            reloaded = importlib.reload(module)
            with pytest.raises(ImportError, match="google-genai is required") as caught:
                reloaded.GeminiAIProvider(GeminiConfig(api_key="key"))
        importlib.reload(module)
        assert isinstance(caught.value, MissingDependencyError)
        assert "GeminiAIProvider" in str(caught.value)
        assert "roomkit[gemini]" in str(caught.value)
        assert isinstance(caught.value.__cause__, ImportError)

    def test_properties(self, sdk: MagicMock) -> None:
        """What is claimed of every Gemini model."""
        provider = make()
        assert provider.model_name == "gemini-3.5-flash"
        assert provider.supports_vision
        assert provider.supports_streaming
        assert provider.supports_structured_streaming
