"""A model of one's own behind vLLM answers in a room of a browser and a telephone.

    python examples/vllm_ai.py

Prints what the browser and the telephone get. It needs ``roomkit[vllm,simulators]``.

With VLLM_BASE_URL set (such as http://localhost:8000/v1; VLLM_MODEL names the model, VLLM_API_KEY
is its key, if it wants one) it asks that server. Without, a simulator on this machine speaks the
same protocol.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

from roomkit import (
    AIChannel,
    InboundMessage,
    MockSMSProvider,
    RoomKit,
    SMSChannel,
    TextContent,
    VLLMConfig,
    WebSocketChannel,
    create_vllm_provider,
)
from roomkit.simulators.openai import OpenAISimulator


async def server(stack: AsyncExitStack) -> VLLMConfig:
    """Return the config of the real server, or of a simulator that lasts as long as ``stack``."""
    model = os.environ.get("VLLM_MODEL", "my-model")
    if url := os.environ.get("VLLM_BASE_URL"):
        return VLLMConfig(model, base_url=url, api_key=os.environ.get("VLLM_API_KEY", "none"))
    vendor = await stack.enter_async_context(OpenAISimulator(model=model, api_key="none"))
    vendor.answer("We open at nine.")
    return VLLMConfig(model, base_url=f"{vendor.api_base}/v1")


async def main() -> None:
    """Ask by text message, and see who hears the answer."""
    async with AsyncExitStack() as stack:
        config = await server(stack)
        phone = MockSMSProvider()
        kit = await stack.enter_async_context(RoomKit())
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(SMSChannel("sms", provider=phone))
        kit.register_channel(AIChannel("clerk", create_vllm_provider(config)))

        room = await kit.create_room()
        await kit.attach_channel(room.id, "web")
        await kit.attach_channel(room.id, "clerk")
        await kit.attach_channel(room.id, "sms", metadata={"phone_number": "+15550100"})
        await kit.connect_websocket(
            "web", "tab-1", lambda _, event: print("browser:", event.content.body), room_id=room.id
        )
        question = InboundMessage(
            channel_id="sms", sender_id="+15550100", content=TextContent(body="When do you open?")
        )
        await kit.process_inbound(question, room_id=room.id)
        print("telephone:", phone.sent[0]["event"].content.body)


if __name__ == "__main__":
    asyncio.run(main())
