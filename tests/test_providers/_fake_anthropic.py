"""A fake of the SDK ``anthropic``, and prompts for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock

from pydantic import SecretStr

from roomkit.providers.ai.base import AIContext, AIMessage, AIPart, AITool
from roomkit.providers.anthropic import AnthropicAIProvider, AnthropicConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "sk-ant-a-secret-key"
SEARCH = AITool(name="search", description="Look it up.", parameters={"type": "object"})
PNG = "iVBORw0KGgo="


class APIStatusError(Exception):
    """The one real class of the fake SDK."""

    def __init__(self, text: str, status: int, kind: str | None = None) -> None:
        super().__init__(text)
        self.status_code = status
        self.body = {"type": "error", "error": {"type": kind, "message": text}}


def block(kind: str, **fields: Any) -> SimpleNamespace:
    return SimpleNamespace(type=kind, **fields)


def message(*blocks: Any, **fields: Any) -> SimpleNamespace:
    usage = SimpleNamespace(input_tokens=7, output_tokens=3)
    defaults: dict[str, Any] = {"stop_reason": "end_turn", "usage": usage, "model": "claude-x"}
    return SimpleNamespace(content=list(blocks), **(defaults | fields))


def said(*parts: AIPart | str, role: str = "user", **fields: Any) -> AIMessage:
    if len(parts) == 1 and isinstance(parts[0], str):
        return AIMessage(role=role, content=parts[0], **fields)
    return AIMessage(role=role, content=[p for p in parts if not isinstance(p, str)], **fields)


def asking(*messages: AIMessage, **fields: Any) -> AIContext:
    return AIContext(messages=list(messages) or [said("hi")], **fields)


class FakeSDK:
    """Stands in for the module ``anthropic``.

    Attributes:
        module: What an import gives.
        create: The one method called.
    """

    def __init__(self) -> None:
        self.module = MagicMock()
        self.module.APIStatusError = APIStatusError
        self.create = AsyncMock(return_value=message(block("text", text="hello")))
        self.module.AsyncAnthropic.return_value.messages.create = self.create

    def stream(self, *events: Any) -> None:
        """Let the next call stream these."""

        async def items() -> AsyncIterator[Any]:
            for event in events:
                if isinstance(event, Exception):
                    raise event
                yield event

        self.create.return_value = items()

    @property
    def request(self) -> dict[str, Any]:
        """The keyword arguments of the last call."""
        assert self.create.call_args.args == ()
        return dict(self.create.call_args.kwargs)


def provider(**config: Any) -> AnthropicAIProvider:
    config.setdefault("model", "claude-sonnet-5-5")
    return AnthropicAIProvider(AnthropicConfig(api_key=SecretStr(KEY), **config))


async def sent(sdk: FakeSDK, *messages: AIMessage) -> Any:
    """Return the messages of the request."""
    await provider().generate(asking(*messages))
    return sdk.request["messages"]
