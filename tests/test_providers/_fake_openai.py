"""A fake of the SDK ``openai``, and prompts for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock

from pydantic import SecretStr

from roomkit.providers.ai.base import AIContext, AIMessage, AIPart, AITool
from roomkit.providers.openai import OpenAIAIProvider, OpenAIConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "sk-a-secret-key"
SEARCH = AITool(
    name="search",
    description="Look it up.",
    parameters={"type": "object", "properties": {"q": {"type": "string"}}},
)
PNG = "data:image/png;base64,iVBORw0KGgo="


class APIStatusError(Exception):
    """The one real class of the fake SDK."""

    def __init__(self, text: str, status: int, **body: Any) -> None:
        super().__init__(text)
        self.status_code = status
        self.body = body
        self.__dict__.update(body)


class FakeSDK:
    """Stands in for the module ``openai``.

    Attributes:
        module: What an import gives.
        create: The one method called.
    """

    def __init__(self) -> None:
        self.module = MagicMock()
        self.module.APIStatusError = APIStatusError
        self.create = AsyncMock(return_value=completion("hello"))
        self.module.AsyncOpenAI.return_value.chat.completions.create = self.create

    def stream(self, *chunks: Any) -> None:
        """Let the next call stream these."""

        async def items() -> AsyncIterator[Any]:
            for chunk in chunks:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk

        self.create.return_value = items()

    @property
    def request(self) -> dict[str, Any]:
        """The keyword arguments of the last call."""
        assert self.create.call_args.args == ()
        return dict(self.create.call_args.kwargs)


def completion(content: str | None = None, **fields: Any) -> SimpleNamespace:
    """Return a whole answer; fields go to its message."""
    message = SimpleNamespace(content=content, **({"tool_calls": None} | fields))
    usage = SimpleNamespace(prompt_tokens=7, completion_tokens=3)
    choice = SimpleNamespace(message=message, finish_reason="stop")
    return SimpleNamespace(choices=[choice], usage=usage, model="gpt-x")


def function_call(arguments: Any, call_id: str = "c1") -> SimpleNamespace:
    function = SimpleNamespace(name="search", arguments=arguments)
    return SimpleNamespace(id=call_id, type="function", function=function)


def chunk(finish: str | None = None, **delta: Any) -> SimpleNamespace:
    choice = SimpleNamespace(delta=SimpleNamespace(**delta), finish_reason=finish)
    return SimpleNamespace(choices=[choice], model="gpt-x")


def piece(arguments: str, **fields: Any) -> SimpleNamespace:
    """Return a chunk with a fragment of a tool call."""
    function = SimpleNamespace(name=fields.pop("name", None), arguments=arguments)
    return chunk(tool_calls=[SimpleNamespace(function=function, **fields)])


def said(*parts: AIPart | str, role: str = "user", **fields: Any) -> AIMessage:
    if len(parts) == 1 and isinstance(parts[0], str):
        return AIMessage(role=role, content=parts[0], **fields)
    return AIMessage(role=role, content=[p for p in parts if not isinstance(p, str)], **fields)


def asking(*messages: AIMessage, **fields: Any) -> AIContext:
    return AIContext(messages=list(messages) or [said("hi")], **fields)


def provider(**config: Any) -> OpenAIAIProvider:
    return OpenAIAIProvider(OpenAIConfig(api_key=SecretStr(KEY), **config))


async def sent(sdk: FakeSDK, *messages: AIMessage) -> Any:
    """Return the messages of the request."""
    await provider().generate(asking(*messages))
    return sdk.request["messages"]
