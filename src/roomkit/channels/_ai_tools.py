"""The tool loop of one answer: ask the model, run what it calls, ask again.

Each round adds one assistant message (thoughts, text and calls, as the model gave them) and
one ``tool`` message with every result, in the order of the calls. Everything is bounded:
rounds, calls a round, width, time and size of a result.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from roomkit._aio import DeadlineExceeded, bounded
from roomkit._sanitize import clean_json, clean_text
from roomkit.exceptions import InvalidMetadataError
from roomkit.providers.ai.base import (
    AIMessage,
    AITextPart,
    AIThinkingPart,
    AIToolCallPart,
    AIToolResultPart,
)

if TYPE_CHECKING:
    from roomkit.models.task import Observation, Task
    from roomkit.providers.ai.base import AIContext, AIPart, AIResponse, AIToolCall

logger = logging.getLogger("roomkit.channels.ai")

MAX_CALLS_RUN = 64
"""Calls of one round that are run; the next ones get an error as their result."""
MAX_CALLS_ANSWERED = 256
"""Calls of one round that get any result; later ones are forgotten."""
MAX_RESULT_BYTES = 64 * 1024
"""The longest result a model is shown, in bytes of UTF-8; the rest is cut off."""
MAX_NOTED_BYTES = 2 * 1024
"""Longer results and arguments are left out of ``metadata["tool_rounds"]``."""

_CUT = "\n[cut]"
_MAX_NAME = 200

AIToolHandler = Callable[
    [str, dict[str, Any]], Awaitable[str | dict[str, Any]] | str | dict[str, Any]
]
"""Runs a tool: ``async (name, arguments)`` giving text or a dict for the model."""


@dataclass(frozen=True, slots=True)
class ToolPolicy:
    """Who runs the tools, and within which bounds.

    Attributes:
        handler: Runs a tool.
        max_rounds: How often the model gets results; then it must answer without tools.
        timeout: Seconds a call may take; None: no bound.
        width: How many calls of a round run at once.
    """

    handler: AIToolHandler
    max_rounds: int = 8
    timeout: float | None = 30.0
    width: int = 8


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a call came to: text for the model, and whether it tells of a failure."""

    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """A model's whole turn.

    Attributes:
        response: Its last answer; tool calls in it were not run.
        usage: Tokens of all its answers together.
        rounds: What it called on the way, for the event's metadata.
        tasks: Of all answers.
        observations: Of all answers.
    """

    response: AIResponse
    usage: dict[str, int]
    rounds: list[dict[str, Any]]
    tasks: Sequence[Task]
    observations: Sequence[Observation]


@dataclass(frozen=True, slots=True)
class _Call:
    """A tool call made fit: a distinct id, arguments that are a dict."""

    id: str
    name: str
    arguments: dict[str, Any]
    metadata: dict[str, Any]


_TOO_MANY = ToolOutcome(f"not run: at most {MAX_CALLS_RUN} calls at a time", failed=True)


async def run_turn(
    ask: Callable[[AIContext], Awaitable[AIResponse]],
    prompt: AIContext,
    policy: ToolPolicy | None,
) -> Turn:
    """Ask until the model answers without calling a tool.

    Without a policy, or without tools in the prompt, nothing is run: the first answer is the
    last one. Only tools the prompt offers are run. After ``max_rounds`` rounds the model is
    asked once more, with no tools offered.

    Raises:
        Exception: What ``ask`` raises. Failures of tools go to the model instead.
    """
    if policy is not None and policy.max_rounds <= 0 and prompt.tools:
        prompt = prompt.continued([], without_tools=True)
    response = await ask(prompt)
    if policy is None or not response.tool_calls or not prompt.tools:
        return Turn(response, response.usage, [], response.tasks, response.observations)
    usage = Counter(response.usage)
    tasks, observations = list(response.tasks), list(response.observations)
    rounds: list[dict[str, Any]] = []
    while response.tool_calls and prompt.tools:
        calls = _made_fit(response.tool_calls[:MAX_CALLS_ANSWERED], len(rounds))
        outcomes = await _run_round(policy, calls, {tool.name for tool in prompt.tools})
        rounds.append(_noted(response, calls, outcomes))
        prompt = prompt.continued(
            [_assistant_message(response, calls), _results_message(calls, outcomes)],
            without_tools=len(rounds) >= policy.max_rounds,
        )
        response = await ask(prompt)
        usage.update(response.usage)
        tasks += response.tasks
        observations += response.observations
    return Turn(response, dict(usage), rounds, tasks, observations)


def describe_calls(calls: Sequence[AIToolCall]) -> list[dict[str, Any]]:
    """Return calls nobody ran as plain dicts, for the application to run them."""
    described = []
    for call in _made_fit(calls[:MAX_CALLS_ANSWERED], 0):
        plain = {"id": call.id, "name": call.name, "arguments": _jsonable(call.arguments)}
        if call.metadata:
            plain["metadata"] = _jsonable(call.metadata)
        described.append(plain)
    return described


def _made_fit(calls: Sequence[AIToolCall], round_number: int) -> list[_Call]:
    """Return the calls with distinct ids and arguments of the one type handlers expect."""
    taken: set[str] = set()
    fit = []
    for position, call in enumerate(calls):
        call_id = call.id or ""
        if not call_id or call_id in taken:
            call_id = f"{call_id or 'call'}_{round_number}_{position}"
        taken.add(call_id)
        fit.append(_Call(call_id, call.name, _as_arguments(call.arguments), call.metadata))
    return fit


def _as_arguments(value: Any) -> dict[str, Any]:
    """Return what a model gave as arguments as a dict, whatever it is."""
    if isinstance(value, dict):
        return value
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except ValueError:
            return {"input": value}
        return parsed if isinstance(parsed, dict) else {"input": parsed}
    return {"input": value}


async def _run_round(
    policy: ToolPolicy, calls: Sequence[_Call], offered: set[str]
) -> list[ToolOutcome]:
    """Run the calls of one round, several at once, and return their outcomes in order."""
    outcomes = [_TOO_MANY] * len(calls)
    waiting = iter(list(enumerate(calls[:MAX_CALLS_RUN])))

    async def work() -> None:
        for position, call in waiting:
            outcomes[position] = await _run_tool(policy, call, offered)

    if len(calls) == 1:
        await work()
    else:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(policy.width, len(calls), MAX_CALLS_RUN)):
                group.create_task(work())
    return outcomes


async def _run_tool(policy: ToolPolicy, call: _Call, offered: set[str]) -> ToolOutcome:
    """Run one call. A failure becomes an outcome that names its kind only.

    An exception's text is kept from the model, which may repeat it to anybody: a handler
    that wants to explain returns the explanation.
    """
    if call.name not in offered:
        # The name is the model's invention, so it does not go into the log.
        logger.warning("the model called a tool the room does not offer")
        return ToolOutcome("there is no such tool", failed=True)
    try:
        return ToolOutcome(_as_text(await bounded(_invoke(policy.handler, call), policy.timeout)))
    except DeadlineExceeded:
        text, kind = "the tool took too long", "timeout"
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Nobody cancelled us: the tool awaited something that somebody cancelled.
        text, kind = "the tool was cancelled", "cancelled"
    except Exception as exc:
        logger.debug("tool failure", exc_info=exc)
        kind = type(exc).__name__
        text = f"the tool failed ({kind})"
    logger.warning("tool %s failed: %s", call.name, kind)
    return ToolOutcome(text, failed=True)


async def _invoke(handler: AIToolHandler, call: _Call) -> Any:
    result = handler(call.name, deepcopy(call.arguments))
    return await result if inspect.isawaitable(result) else result


def _as_text(result: Any) -> str:
    """Return a tool's result as text of bounded size that every wire can carry."""
    text = result if isinstance(result, str) else json.dumps(result, default=_plain)
    text = clean_text(text)
    if len(text) * 4 <= MAX_RESULT_BYTES or _size(text) <= MAX_RESULT_BYTES:
        return text
    room = MAX_RESULT_BYTES - len(_CUT)
    return text.encode()[:room].decode(errors="ignore") + _CUT


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


def _assistant_message(response: AIResponse, calls: Sequence[_Call]) -> AIMessage:
    parts: list[AIPart] = []
    if response.thinking or response.thinking_signature:
        parts.append(
            AIThinkingPart(thinking=response.thinking or "", signature=response.thinking_signature)
        )
    if response.content:
        parts.append(AITextPart(text=response.content))
    parts.extend(
        AIToolCallPart(
            id=call.id, name=call.name, arguments=call.arguments, metadata=call.metadata
        )
        for call in calls
    )
    return AIMessage.of("assistant", parts, response.metadata)


def _results_message(calls: Sequence[_Call], outcomes: Sequence[ToolOutcome]) -> AIMessage:
    return AIMessage.of(
        "tool",
        [
            AIToolResultPart(
                tool_call_id=call.id, name=call.name, result=done.text, is_error=done.failed
            )
            for call, done in zip(calls, outcomes, strict=True)
        ],
    )


def _noted(
    response: AIResponse, calls: Sequence[_Call], outcomes: Sequence[ToolOutcome]
) -> dict[str, Any]:
    """Return a round as the response event's metadata keeps it."""
    noted: dict[str, Any] = {
        "calls": [_noted_call(call, done) for call, done in zip(calls, outcomes, strict=True)][
            :MAX_CALLS_RUN
        ]
    }
    if response.content and _size(response.content) <= MAX_NOTED_BYTES:
        noted["text"] = response.content
    left_out = len(response.tool_calls) - len(noted["calls"])
    if left_out:
        noted["calls_left_out"] = left_out
    return noted


def _noted_call(call: _Call, outcome: ToolOutcome) -> dict[str, Any]:
    noted: dict[str, Any] = {"id": call.id, "name": call.name[:_MAX_NAME]}
    arguments = _jsonable(call.arguments)
    if _size(json.dumps(arguments)) <= MAX_NOTED_BYTES:
        noted["arguments"] = arguments
    noted["error"] = outcome.failed
    if _size(outcome.text) <= MAX_NOTED_BYTES:
        noted["result"] = outcome.text
    return noted


def _jsonable(value: dict[str, Any]) -> Any:
    """Return ``value`` in a form every store takes; empty when there is none."""
    try:
        return clean_json(value)
    except InvalidMetadataError:
        pass
    try:
        return clean_json(json.loads(json.dumps(value, default=_plain, skipkeys=True)))
    except (InvalidMetadataError, TypeError, ValueError, RecursionError):
        return {}
