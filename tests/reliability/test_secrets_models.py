"""T12: secrets of language models and of sources stay where they are, whatever goes wrong.

As in ``test_secrets_providers``: canaries, every way to fail, and a search of everything said.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import serve as serve_websocket

from roomkit import (
    AIChannel,
    InboundMessage,
    RoomKit,
    TextContent,
)
from roomkit import simulators as sims
from roomkit._http import quiet_loggers
from roomkit.providers.ai.base import AIContext, AIMessage, AIProvider
from roomkit.providers.anthropic import AnthropicAIProvider, AnthropicConfig
from roomkit.providers.gemini import GeminiAIProvider, GeminiConfig
from roomkit.providers.openai import OpenAIAIProvider, OpenAIConfig
from roomkit.providers.pydantic_ai import PydanticAIConfig, PydanticAIProvider
from roomkit.providers.vllm import VLLMConfig, create_vllm_provider
from roomkit.simulators import cut, error, not_json, slow
from roomkit.sources import SSESource, WebSocketSource
from roomkit.testing import SimpleChannel
from tests.reliability._vendors import canary
from tests.support.kits import ROOM, Ears
from tests.test_durable._kits import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

from tests.reliability._evidence import SAID, Evidence, evidence, nobody

KEY = canary("model")
__all__ = ["evidence"]

MODELS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[[Any], AIProvider]]] = {
    "anthropic": (
        sims.AnthropicSimulator,
        lambda s, **o: AnthropicConfig(**s, max_retries=0, **o),
        AnthropicAIProvider,
    ),
    "openai": (
        sims.OpenAISimulator,
        lambda s, **o: OpenAIConfig(**s, max_retries=0, **o),
        OpenAIAIProvider,
    ),
    "vllm": (
        sims.OpenAISimulator,
        lambda s, **o: VLLMConfig(**s, max_retries=0, **o),
        create_vllm_provider,
    ),
    "gemini": (sims.GeminiSimulator, lambda s, **o: GeminiConfig(**s, **o), GeminiAIProvider),
    "pydantic-ai": (
        sims.AnthropicSimulator,
        lambda s, **o: PydanticAIConfig(**{**s, "model": f"anthropic:{s['model']}"}, **o),
        lambda config: PydanticAIProvider(config=config),
    ),
}


class TestModels:
    """Language models: the key, and what was asked."""

    FAILURES = (error(401), error(400), error(429, retry_after=60), error(500), cut(), not_json())
    AT_ONCE = (error(401), error(400), not_json())
    """Those no SDK repeats by itself, which takes its time."""

    async def ask(self, provider: AIProvider, evidence: Evidence) -> int:
        """Ask whole and streaming; return how often that failed."""
        context = AIContext(messages=[AIMessage(role="user", content=SAID)])
        failures = 0
        try:
            evidence.add(await provider.generate(context))
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is looked at
            evidence.add(exc)
            failures += 1
        try:
            async for event in provider.generate_structured_stream(context):
                evidence.add(event)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is looked at
            evidence.add(exc)
            failures += 1
        return failures

    @pytest.mark.parametrize("name", list(MODELS))
    async def test_failures(self, name: str, evidence: Evidence) -> None:
        """Refused, throttled, down, cut, unreadable, late, with a wrong key, not there."""
        simulate, configure, provide = MODELS[name]
        patient = name == "pydantic-ai"
        async with simulate(api_key=KEY) as sim, simulate(api_key="another") as strange:
            config = configure(sim.settings, timeout=5.0)
            provider = provide(config)
            for step in self.AT_ONCE if patient else self.FAILURES:
                sim.script(step, step)
                assert await self.ask(provider, evidence)
                sim.reset()
            evidence.texts += [repr(config), str(config), repr(provider)]
            await provider.close()
            others = [{**strange.settings, "api_key": KEY}, {**sim.settings, "api_base": nobody()}]
            for settings in others[: 1 if patient else 2]:
                provider = provide(configure(settings, timeout=5.0))
                assert await self.ask(provider, evidence) == 2
                await provider.close()
            if patient:
                evidence.check((KEY,))
                return
            provider = provide(configure(sim.settings, timeout=0.2))
            sim.script(slow(30), slow(30))
            assert await self.ask(provider, evidence) == 2
            await provider.close()
        evidence.check((KEY,))

    @pytest.mark.parametrize("name", list(MODELS))
    async def test_in_a_room(self, name: str, evidence: Evidence) -> None:
        """The room hears that something failed, and not what."""
        simulate, configure, provide = MODELS[name]
        async with simulate(api_key=KEY) as sim:
            sim.script(error(401), error(400), error(403))
            provider = provide(configure(sim.settings, timeout=5.0))
            kit = RoomKit()
            ears, desk = Ears(kit), SimpleChannel("desk")
            kit.register_channel(desk)
            kit.register_channel(AIChannel("ai", provider, system_prompt=SAID))
            await kit.create_room(ROOM)
            for channel_id in ("desk", "ai"):
                await kit.attach_channel(ROOM, channel_id)
            for number in range(3):
                message = InboundMessage(
                    channel_id="desk",
                    sender_id="ana",
                    content=TextContent(body=SAID),
                    idempotency_key=str(number),
                )
                await kit.process_inbound(message, room_id=ROOM)
            await kit.drain(5)
            assert len(sim.requests) >= 3
            evidence.add(*ears.heard, *desk.delivered, await kit.stats(), provider)
            evidence.add(*(await kit.get_timeline(ROOM, limit=500)))
            await kit.close()
        evidence.check((KEY,))


class TestSources:
    """Sources: what libraries log of a connection, and of what comes by it."""

    TOKEN = canary("source")

    @pytest.fixture
    async def server(self) -> AsyncIterator[str]:
        """A WebSocket server that says something and goes."""

        async def talk(connection: Any) -> None:
            await connection.send(f'{{"sender_id": "ana", "text": "{SAID}"}}')
            await connection.send(f"{SAID} {{")
            await connection.close(1011, "gone")

        quiet_loggers()
        async with serve_websocket(talk, "127.0.0.1", 0) as running:
            port = next(iter(running.sockets)).getsockname()[1]
            yield f"ws://127.0.0.1:{port}/live"

    async def test_websocket(self, server: str, evidence: Evidence) -> None:
        """A token in a header, and one in the URL's query, good and refused."""
        headers = {"Authorization": self.TOKEN}
        heard = await self.run(
            evidence,
            WebSocketSource(f"{server}?token={self.TOKEN}", "ch", headers=headers),
            WebSocketSource(nobody().replace("http", "ws"), "ch", headers=headers),
        )
        assert SAID in heard
        evidence.check((self.TOKEN,))

    async def test_sse(self, evidence: Evidence) -> None:
        """A token in a header and in the parameters; the server refuses, or is not there."""
        headers, params = {"Authorization": self.TOKEN}, {"token": self.TOKEN}
        async with sims.TwilioSimulator() as sim:
            url = f"{sim.api_base}/events"
            await self.run(
                evidence,
                SSESource(url, "ch", headers=headers, params=params),
                SSESource(nobody(), "ch", headers=headers, params=params),
            )
            assert sim.requests[0].query == params
        evidence.check((self.TOKEN,))

    async def run(self, evidence: Evidence, *sources: Any) -> list[str]:
        """Run sources in a kit until they have failed; return what was heard."""
        heard: list[str] = []
        for source in sources:
            kit = RoomKit()
            ears, desk = Ears(kit), SimpleChannel("ch")
            kit.register_channel(desk)
            listener = SimpleChannel("desk")
            kit.register_channel(listener)
            await kit.create_room(ROOM)
            for channel_id in ("ch", "desk"):
                await kit.attach_channel(ROOM, channel_id)
            await kit.attach_source("ch", source, max_restart_attempts=0, restart_delay=0.01)
            await until(functools.partial(_has_failed, ears))
            await kit.drain(5)
            heard += [e.content.body for e in listener.delivered]
            evidence.add(*ears.heard, await kit.stats(), await kit.source_health("ch"))
            await kit.close()
            evidence.add(*ears.heard)
        return heard


def _has_failed(ears: Ears) -> bool:
    return bool({"source_exhausted", "source_error"} & set(ears.types))
