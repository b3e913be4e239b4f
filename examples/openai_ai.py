"""GPT in a room: the answer comes piece by piece, and a busy vendor is asked again.

    python examples/openai_ai.py

Prints the refusal of the first attempt, the answer of the second, whether it came in pieces and
how it ended. It needs ``roomkit[openai,simulators]``.

With OPENAI_API_KEY set it asks the vendor (OPENAI_MODEL names the model, OPENAI_BASE_URL another
server, such as vLLM). Without, it asks a simulator on this machine, which first answers that there
were too many requests.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Any

from roomkit import AIContext, AIMessage, ProviderError
from roomkit.providers.ai.base import StreamDone, StreamTextDelta
from roomkit.providers.openai import OpenAIAIProvider, OpenAIConfig
from roomkit.simulators import error
from roomkit.simulators.openai import OpenAISimulator

ATTEMPTS = 3


async def settings(stack: AsyncExitStack) -> dict[str, Any]:
    """Return the config of the vendor, or of a simulator that lasts as long as ``stack``."""
    model = os.environ.get("OPENAI_MODEL", "gpt-5.5")
    if key := os.environ.get("OPENAI_API_KEY"):
        base_url = os.environ.get("OPENAI_BASE_URL")
        return {"api_key": key, "model": model, "base_url": base_url}
    vendor = await stack.enter_async_context(OpenAISimulator(model=model))
    vendor.script(error(429, retry_after=0.1))
    vendor.answer("We open at nine.")
    return vendor.settings


async def ask(model: OpenAIAIProvider, context: AIContext) -> tuple[list[str], StreamDone]:
    """Return the pieces of the answer and its end."""
    pieces: list[str] = []
    end = StreamDone()
    async for event in model.generate_structured_stream(context):
        if isinstance(event, StreamTextDelta):
            pieces.append(event.text)
        elif isinstance(event, StreamDone):
            end = event
    return pieces, end


async def main() -> None:
    """Ask one question, as often as the vendor wants to be asked again."""
    question = AIMessage(role="user", content="When do you open?")
    context = AIContext(messages=[question], system_prompt="You are the clerk of a shop.")
    async with AsyncExitStack() as stack:
        # The SDK repeats by itself too; here it shall not, to show what an error tells.
        config = OpenAIConfig(**await settings(stack), max_retries=0)
        model = OpenAIAIProvider(config)
        stack.push_async_callback(model.close)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                pieces, end = await ask(model, context)
                break
            except ProviderError as refused:
                print(f"attempt {attempt}:", refused.status_code, refused.error_type)
                if not refused.retryable or attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(refused.retry_after or 1.0)

    print("answer:", "".join(pieces))
    print("in pieces:", len(pieces) > 1)
    print("ended with:", end.finish_reason, sorted(end.usage))


if __name__ == "__main__":
    asyncio.run(main())
