"""Ends a stream of the google-genai SDK now, not whenever its memory is collected.

The SDK's stream is a chain of async generators that do not close each other, around a response
that refers to its own reader. Closing the outermost alone leaves the connection open until the
garbage collector finds that circle; until then the vendor goes on generating, and charging.
"""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from roomkit.providers.ai._sdk import open_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_LONGEST = 16
"""How many generators are looked for; the SDK chains five."""


@asynccontextmanager
async def opened(stream: Any) -> AsyncIterator[AsyncIterator[Any]]:
    """Give the items of a stream; leaving the block early ends it down to its connection."""
    async with open_stream(stream) as items:
        try:
            yield items
        finally:
            # The innermost first, while the outer ones still hold it: what is closed lets go.
            for generator in reversed(_chain(stream)):
                await generator.aclose()


def _chain(stream: Any) -> list[Any]:
    """Return the generators of a stream, the outermost first; none of one that has ended."""
    found: list[Any] = []
    waiting = [stream]
    while waiting and len(found) < _LONGEST:
        thing = waiting.pop(0)
        if inspect.isasyncgen(thing):
            if thing in found:
                continue
            found.append(thing)
            held = thing.ag_frame.f_locals if thing.ag_frame is not None else {}
        else:
            held = getattr(thing, "__dict__", {})
        waiting += [value for value in held.values() if _leads_on(value)]
    return found


def _leads_on(value: Any) -> bool:
    """Tell whether a value may be, or hold, the next generator."""
    return inspect.isasyncgen(value) or (
        type(value).__name__ == "HttpResponse" and hasattr(value, "segment_iterator")
    )
