"""Answers from an agent of the Pydantic AI framework."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from roomkit.exceptions import ConfigurationError, ProviderError
from roomkit.providers.ai._sdk import chosen, close_sdk
from roomkit.providers.ai.base import AIProvider, StreamTextDelta, StreamThinkingDelta
from roomkit.providers.pydantic_ai._agent import (
    can_see,
    load,
    make_model,
    name_of_model,
    own_settings,
    says_all_it_means,
    takes_temperature,
)
from roomkit.providers.pydantic_ai._errors import AgentErrors
from roomkit.providers.pydantic_ai._messages import (
    build_run,
    external_tools,
    instructions,
    read_result,
)
from roomkit.providers.pydantic_ai.config import PydanticAIConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from roomkit.providers.ai.base import AIContext, AIResponse, StreamEvent

__all__ = ["PydanticAIProvider"]


class PydanticAIProvider(AIProvider):
    """Runs an agent for every answer.

    The agent's own tools run inside it, in its own way. Tools of the room are shown to it
    too, and calls of those come back as ``tool_calls``: with the next round's results the
    agent goes on where it stopped. What it did until then travels in the response's
    ``metadata["pydantic_ai_messages"]``, so nothing is kept between calls.

    The room's system prompt is added to the agent's own. Settings the agent has itself
    (``model_settings``) win over the room's. Tools find ``{"room_id": ...}`` in the run's
    metadata.

    Output that is no text becomes JSON. An agent without tools, validators and structured
    output streams; every other answer comes whole, since words before a call of a tool, or
    before a validator's refusal, are no part of it.

    Args:
        agent: A ``pydantic_ai.Agent``. None: one is made of the config.
        config: The model and its settings. Given beside an agent, what is set in it on
            purpose counts: its ``model`` replaces the agent's.
        deps: What the agent's tools get as their dependencies, the same for every room.

    Raises:
        ConfigurationError: Neither agent nor config is given, or the config's model cannot be
            had.
        MissingDependencyError: pydantic-ai is not installed.
        ImportError: The SDK of the config's model is not installed.
    """

    def __init__(
        self, agent: Any = None, *, config: PydanticAIConfig | None = None, deps: Any = None
    ) -> None:
        if agent is None and config is None:
            raise ConfigurationError(
                "PydanticAIProvider needs an agent or a config: "
                "PydanticAIProvider(agent) or PydanticAIProvider(config=PydanticAIConfig(...))"
            )
        self._sdk = load()
        load("pydantic_ai.capabilities")
        self._config = config or PydanticAIConfig()
        self._deps = deps
        self._model: Any = None
        if agent is None or "model" in self._config.model_fields_set:
            self._model = make_model(self._config)
        self._agent = self._sdk.Agent(self._model) if agent is None else agent
        self._errors = AgentErrors(self._secrets)

    @property
    def model_name(self) -> str:
        """The config's model when it is used, else the agent's; empty when it has none."""
        return name_of_model(self._agent) if self._model is None else self._config.model

    @property
    def supports_vision(self) -> bool:
        """As configured, else guessed from the model's name."""
        vision = self._config.vision
        return can_see(self.model_name) if vision is None else vision

    @property
    def supports_streaming(self) -> bool:
        """Whether the agent's words can be told before it is done."""
        return says_all_it_means(self._agent)

    @property
    def supports_structured_streaming(self) -> bool:
        """Whether the agent's words can be told before it is done."""
        return says_all_it_means(self._agent)

    async def generate(self, context: AIContext) -> AIResponse:
        """Return what a run of the agent comes to.

        ``usage`` has ``input_tokens`` and ``output_tokens`` of all requests of the run,
        ``metadata`` the ``model`` that answered and ``usage_details``.

        Raises:
            ProviderError: The model failed, the agent gave up, or one of its tools raised.
        """
        with self._running():
            prompt, options = self._run(context)
            result = await self._agent.run(prompt, **options)
            return read_result(self._sdk, result, self.model_name)

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        """Yield the agent's words as its model finds them, where that is certain; else whole.

        Raises:
            ProviderError: From the iterator; see ``generate``.
        """
        if context.tools or not says_all_it_means(self._agent):
            response = await self.generate(context)
            for event in response.stream_events():
                yield event
            return
        with self._running():
            prompt, options = self._run(context)
            async with self._agent.run_stream_events(prompt, **options) as events:
                async for event in events:
                    if event.event_kind == "agent_run_result":
                        response = read_result(self._sdk, event.result, self.model_name)
                        break
                    for piece in _pieces(event):
                        yield piece
            yield response.stream_events()[-1]

    async def close(self) -> None:
        """Close the connections of a model made here; a given agent is left alone."""
        client = getattr(self._model, "client", None)
        try:
            await close_sdk(getattr(client, "aio", None))
        finally:
            await close_sdk(client)

    def _secrets(self) -> list[str]:
        key = self._config.api_key
        return [] if key is None else [key.get_secret_value()]

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Make a ProviderError of whatever a run raises inside the block."""
        try:
            yield
        except ProviderError:
            raise
        except Exception as exc:
            raise self._errors.error(exc) from exc

    def _run(self, context: AIContext) -> tuple[Any, dict[str, Any]]:
        """Return the user's words and the further arguments of a run."""
        sdk = self._sdk
        prompt, history = build_run(sdk, context)
        options: dict[str, Any] = {
            "message_history": history,
            "instructions": instructions(context),
            "deps": self._deps,
            "model_settings": self._settings(context),
            # An agent's system prompt is otherwise left out of every run with a history.
            "capabilities": [sdk.capabilities.ReinjectSystemPrompt()],
        }
        if self._model is not None:
            options["model"] = self._model
        if context.room is not None:
            options["metadata"] = {"room_id": context.room.room.id}
        if context.tools:
            options["toolsets"] = [external_tools(sdk, context.tools)]
            own = self._agent.output_type
            outputs = [*own] if isinstance(own, list | tuple) else [own]
            options["output_type"] = [*outputs, sdk.DeferredToolRequests]
        return prompt, options

    def _settings(self, context: AIContext) -> dict[str, Any]:
        """Return the settings of a run that the agent leaves open, or the config insists on."""
        values = {
            "temperature": chosen(context, self._config, "temperature"),
            "max_tokens": chosen(context, self._config, "max_tokens"),
            "timeout": self._config.timeout,
        }
        left_out = own_settings(self._agent)
        if left_out is None:
            return {}
        if not takes_temperature(self._model or self._agent.model):
            left_out |= {"temperature"}
        left_out -= self._config.model_fields_set
        return {
            name: value
            for name, value in values.items()
            if value is not None and name not in left_out
        }


def _pieces(event: Any) -> list[StreamEvent]:
    """Return the words or thoughts of an event of a run."""
    if event.event_kind == "part_start":
        kind, text = event.part.part_kind, getattr(event.part, "content", None)
    elif event.event_kind == "part_delta":
        kind = event.delta.part_delta_kind
        text = getattr(event.delta, "content_delta", None)
    else:
        return []
    if not isinstance(text, str) or not text:
        return []
    if kind == "text":
        return [StreamTextDelta(text=text)]
    return [StreamThinkingDelta(thinking=text)] if kind == "thinking" else []
