"""What the failures of agents become."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit.exceptions import ProviderError
from roomkit.providers.ai.base import AIContext, AIMessage
from roomkit.providers.pydantic_ai import PydanticAIProvider

pytest.importorskip("pydantic_ai")

from pydantic_ai import Agent, ModelResponse, ToolCallPart
from pydantic_ai.exceptions import (
    FallbackExceptionGroup,
    ModelAPIError,
    ModelHTTPError,
    UnexpectedModelBehavior,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

HI = AIContext(messages=[AIMessage(role="user", content="hi")])


def failing(error: Exception) -> FunctionModel:
    """A model that always fails so."""

    def fail(messages: list[Any], info: AgentInfo) -> ModelResponse:
        raise error

    return FunctionModel(fail)


class TestFailures:
    """What an agent's failures become."""

    async def failed(self, error: Exception) -> ProviderError:
        """The error of a run in which the model fails so."""
        with pytest.raises(ProviderError) as caught:
            await PydanticAIProvider(Agent(failing(error))).generate(HI)
        assert caught.value.provider == "pydantic-ai"
        assert caught.value.__cause__ is not None
        return caught.value

    @pytest.mark.parametrize(
        ("status", "retryable"),
        [(400, False), (401, False), (404, False), (429, True), (500, True), (529, True)],
    )
    async def test_statuses(self, status: int, retryable: bool) -> None:
        """The model's own status counts."""
        failed = await self.failed(ModelHTTPError(status, "scripted", {"type": "some_error"}))
        assert (failed.status_code, failed.retryable) == (status, retryable)
        assert failed.error_type == "some_error"

    async def test_a_quota_does_not_heal(self) -> None:
        """Waiting is no use."""
        body = {"code": "insufficient_quota", "message": "pay"}
        assert not (await self.failed(ModelHTTPError(429, "scripted", body))).retryable

    async def test_no_connection(self) -> None:
        """It may come back."""
        failed = await self.failed(ModelAPIError("scripted", "Connection error."))
        assert (failed.status_code, failed.retryable) == (None, True)

    async def test_a_model_that_makes_no_sense(self) -> None:
        """What it said is not repeated."""
        failed = await self.failed(UnexpectedModelBehavior("odd answer", "canary text"))
        assert not failed.retryable
        assert str(failed) == "odd answer"

    async def test_the_wait_stands_in_the_error_of_the_sdk(self) -> None:
        """Older releases do not take it over."""

        class Response:
            headers = {"Retry-After": "7"}  # noqa: RUF012

        cause = Exception("429")
        cause.response = Response()  # type: ignore[attr-defined]
        limited = ModelHTTPError(429, "scripted")
        limited.__cause__ = cause
        assert (await self.failed(limited)).retry_after == 7.0

    async def test_a_tool_that_raises(self) -> None:
        """Only the kind is told: the text may quote anything."""
        calling = FunctionModel(lambda _m, _i: ModelResponse(parts=[ToolCallPart("own", {})]))
        agent = Agent(calling)

        @agent.tool_plain
        def own() -> str:
            raise KeyError("canary")

        with pytest.raises(ProviderError, match=r"the agent failed \(KeyError\)") as caught:
            await PydanticAIProvider(agent).generate(HI)
        assert not caught.value.retryable
        assert "canary" not in str(caught.value)

    async def test_several_models_that_fail(self) -> None:
        """One failure that may pass is enough to try again."""
        group = FallbackExceptionGroup(
            "all failed", [ModelHTTPError(400, "one"), ModelHTTPError(503, "two")]
        )
        failed = await self.failed(group)
        assert (failed.status_code, failed.retryable) == (503, True)
        assert "model_name: one" in str(failed)

    async def test_cancelling_passes(self) -> None:
        """A cancelled run is cancelled, not failed."""
        entered = asyncio.Event()

        async def wait(messages: list[Any], info: AgentInfo) -> ModelResponse:
            entered.set()
            await asyncio.Event().wait()
            raise AssertionError

        provider = PydanticAIProvider(Agent(FunctionModel(wait)))
        task = asyncio.create_task(provider.generate(HI))
        async with asyncio.timeout(10):
            await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
