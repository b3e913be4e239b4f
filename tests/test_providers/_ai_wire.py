"""What every provider of a language model must do at its vendor's simulator."""

from __future__ import annotations

import asyncio
import logging
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from roomkit import AIChannel, InboundMessage, RoomKit, TextContent, WebSocketChannel
from roomkit.exceptions import ProviderError
from roomkit.providers.ai.base import (
    AIContext,
    AIImagePart,
    AIMessage,
    AIProvider,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamToolCall,
    collect_stream,
)
from roomkit.simulators import cut, error, not_json, slow
from roomkit.simulators.openai import ModelAnswer
from tests.test_providers._streams import endless_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit import RoomEvent
    from roomkit.simulators.anthropic import AnthropicSimulator
    from roomkit.simulators.openai import OpenAISimulator

    type Simulator = AnthropicSimulator | OpenAISimulator

PNG = "data:image/png;base64,iVBORw0KGgo="
TEXT = "Caf\u00e9 at nine? \u2615"
SEARCH = AITool(
    name="search",
    description="Look something up.",
    parameters={"type": "object", "properties": {"q": {"type": "string"}}},
)
TWO_CALLS = ModelAnswer("Let me look.", calls=(("search", {"q": "x"}), ("search", {})))


def asking(text: str = TEXT, **fields: Any) -> AIContext:
    return AIContext(messages=[AIMessage(role="user", content=text)], **fields)


class ModelWireSuite(ABC):
    """Inherit it, name the subclass ``Test...``, and say how to make the two ends."""

    secret: ClassVar[str]
    """The key in the simulator's settings."""

    path: ClassVar[str]
    """Where the vendor takes questions."""

    beginning: ClassVar[bytes]
    """The first events of a stream, one piece of text in them."""

    usage: ClassVar[tuple[str, str]]
    """The vendor's names of the tokens heard and said."""

    @abstractmethod
    def make_simulator(self) -> Simulator:
        """Return a new simulator, not started."""

    @abstractmethod
    def make_provider(self, settings: dict[str, Any]) -> AIProvider:
        """Return a provider of a config with these settings."""

    @pytest.fixture
    async def sim(self) -> AsyncIterator[Simulator]:
        """The vendor."""
        async with self.make_simulator() as sim:
            yield sim

    @pytest.fixture
    async def provider(self, sim: Simulator) -> AsyncIterator[AIProvider]:
        """The provider, at the vendor; the SDK repeats nothing by itself."""
        provider = self.make_provider({**sim.settings, "max_retries": 0, "timeout": 5.0})
        yield provider
        await provider.close()

    async def test_a_question_is_answered(self, sim: Simulator, provider: AIProvider) -> None:
        """Text both ways, unharmed, and the tokens under the vendor's names."""
        answer = await provider.generate(asking(system_prompt="Be kind."))
        assert answer.content == f"You said: {TEXT}"
        assert tuple(answer.usage) == self.usage
        assert answer.metadata["model"] == provider.model_name
        assert answer.finish_reason

    async def test_images_are_taken(self, sim: Simulator, provider: AIProvider) -> None:
        """Data and http URLs, and what is no image at all."""
        parts = [
            AITextPart(text="look"),
            AIImagePart(url=PNG),
            AIImagePart(url="https://example.org/a.png", mime_type="image/png"),
            AIImagePart(url="data:application/zip;base64,AAAA"),
        ]
        await provider.generate(AIContext(messages=[AIMessage(role="user", content=parts)]))
        assert len(sim.sent) == 1

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_a_round_of_tools(
        self, sim: Simulator, provider: AIProvider, streamed: bool
    ) -> None:
        """Calls come complete; the vendor takes them back with their results."""
        sim.answer(TWO_CALLS)
        context = asking(tools=[SEARCH])
        answer = await self._ask(provider, context, streamed=streamed)
        assert answer.content == "Let me look."
        first, second = answer.tool_calls
        assert (first.name, first.arguments, second.arguments) == ("search", {"q": "x"}, {})
        assert first.id != second.id
        made = [
            AIToolCallPart(id=c.id, name=c.name, arguments=c.arguments, metadata=c.metadata)
            for c in answer.tool_calls
        ]
        results = [
            AIToolResultPart(tool_call_id=first.id, name="search", result="42"),
            AIToolResultPart(
                tool_call_id=second.id,
                name="search",
                result=[AITextPart(text="see"), AIImagePart(url=PNG)],
                is_error=True,
            ),
        ]
        follow = context.continued(
            [
                AIMessage(
                    role="assistant",
                    content=[AITextPart(text=answer.content), *made],
                    metadata=answer.metadata,
                ),
                AIMessage(role="tool", content=[*results]),
            ],
            without_tools=True,
        )
        sim.answer("It is 42.")
        assert (await self._ask(provider, follow, streamed=streamed)).content == "It is 42."

    async def test_thoughts_go_back_with_their_calls(
        self, sim: Simulator, provider: AIProvider
    ) -> None:
        """Whole and streamed answers tell them; a vendor that seals them takes them back."""
        thinking = ModelAnswer("", calls=(("search", {}),), thinking="Let me think about it.")
        sim.answer(thinking, thinking)
        whole = await provider.generate(asking(tools=[SEARCH]))
        answer = await self._ask(provider, asking(tools=[SEARCH]), streamed=True)
        assert answer.thinking == whole.thinking == "Let me think about it."
        (call,) = answer.tool_calls
        said = [
            AIThinkingPart(thinking=answer.thinking, signature=answer.thinking_signature),
            AIToolCallPart(id=call.id, name=call.name),
        ]
        result = AIToolResultPart(tool_call_id=call.id, name="search", result="42")
        await provider.generate(
            asking(tools=[SEARCH]).continued(
                [
                    AIMessage(role="assistant", content=[*said]),
                    AIMessage(role="tool", content=[result]),
                ]
            )
        )
        assert len(sim.sent) == 3

    async def test_a_stream_in_order(self, sim: Simulator, provider: AIProvider) -> None:
        """Text in pieces as it is made, calls complete, one end and nothing after it."""
        sim.answer(TWO_CALLS)
        events = [e async for e in provider.generate_structured_stream(asking(tools=[SEARCH]))]
        texts = [e.text for e in events if isinstance(e, StreamTextDelta)]
        assert len(texts) > 1
        assert "".join(texts) == "Let me look."
        assert [type(e) for e in events[len(texts) :]] == [
            StreamToolCall,
            StreamToolCall,
            StreamDone,
        ]
        done = events[-1]
        assert isinstance(done, StreamDone)
        assert tuple(done.usage) == self.usage
        assert done.metadata["model"] == provider.model_name

    async def test_the_text_view_of_a_stream(self, sim: Simulator, provider: AIProvider) -> None:
        """``generate_stream`` gives the text alone."""
        assert "".join([t async for t in provider.generate_stream(asking("hi"))]) == "You said: hi"

    async def test_leaving_a_stream_closes_it_on_the_wire(self) -> None:
        """The vendor stops working for a reader who has gone."""
        async with endless_stream(self.beginning) as stream:
            settings = self.make_simulator_settings(stream.api_base)
            provider = self.make_provider(settings)
            events = provider.generate_structured_stream(asking())
            first = await anext(events)
            assert isinstance(first, StreamTextDelta)
            assert not stream.left.is_set()
            await events.aclose()  # type: ignore[attr-defined]
            await asyncio.wait_for(stream.left.wait(), 5)
            await provider.close()

    async def test_cancelling_a_stream_closes_it_on_the_wire(self) -> None:
        """And the cancellation passes."""
        async with endless_stream(self.beginning) as stream:
            provider = self.make_provider(self.make_simulator_settings(stream.api_base))
            begun = asyncio.Event()

            async def read() -> None:
                async for _ in provider.generate_structured_stream(asking()):
                    begun.set()

            task = asyncio.create_task(read())
            await asyncio.wait_for(begun.wait(), 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(stream.left.wait(), 5)
            await provider.close()

    @abstractmethod
    def make_simulator_settings(self, api_base: str) -> dict[str, Any]:
        """Return settings for a provider at another server."""

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize(
        ("status", "again"),
        [(400, False), (401, False), (403, False), (404, False), (429, True), (500, True)],
    )
    async def test_a_refusal(
        self, sim: Simulator, provider: AIProvider, status: int, again: bool, streamed: bool
    ) -> None:
        """A typed error that says whether to try again; the provider goes on."""
        sim.script(error(status))
        with pytest.raises(ProviderError) as caught:
            await self._ask(provider, asking(), streamed=streamed)
        refused = caught.value
        assert (refused.status_code, refused.retryable) == (status, again)
        assert (refused.request_id or "").startswith("req_")
        assert refused.error_type
        assert (await self._ask(provider, asking(), streamed=streamed)).content

    async def test_a_wait(self, sim: Simulator, provider: AIProvider) -> None:
        """The time the vendor asks to wait is passed on."""
        sim.script(error(429, retry_after=7))
        with pytest.raises(ProviderError) as caught:
            await provider.generate(asking())
        assert caught.value.retry_after == 7

    async def test_the_sdk_repeats_only_as_told(self, sim: Simulator) -> None:
        """``max_retries`` is the config's to say."""
        provider = self.make_provider({**sim.settings, "max_retries": 1})
        sim.script(error(500))
        assert (await provider.generate(asking(temperature=None))).content
        await provider.close()
        assert len(sim.requests) == 2

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_half_an_answer(
        self, sim: Simulator, provider: AIProvider, streamed: bool
    ) -> None:
        """A cut connection may be tried again."""
        sim.script(cut())
        with pytest.raises(ProviderError) as caught:
            await self._ask(provider, asking(), streamed=streamed)
        assert caught.value.retryable

    @pytest.mark.parametrize("ending", ["early", "error"])
    async def test_a_stream_that_breaks(
        self, sim: Simulator, provider: AIProvider, ending: Any
    ) -> None:
        """What came is given, then the error; never an end as if all were well."""
        sim.answer(ModelAnswer("half of it", ending=ending))
        seen: list[StreamEvent] = []

        async def read() -> None:
            events = provider.generate_structured_stream(asking())
            async for event in events:
                seen.append(event)  # noqa: PERF401 - the failure comes after some of them

        with pytest.raises(ProviderError) as caught:
            await read()
        assert caught.value.retryable
        assert "".join(e.text for e in seen if isinstance(e, StreamTextDelta)) == "half of it"
        assert not any(isinstance(e, StreamDone) for e in seen)

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_an_answer_that_is_none(
        self, sim: Simulator, provider: AIProvider, streamed: bool
    ) -> None:
        """A page of HTML is a typed error."""
        sim.script(not_json())
        with pytest.raises(ProviderError):
            await self._ask(provider, asking(), streamed=streamed)

    async def test_no_answer_in_time(self, sim: Simulator) -> None:
        """It may be tried again."""
        provider = self.make_provider({**sim.settings, "max_retries": 0, "timeout": 0.2})
        sim.script(slow(30))
        with pytest.raises(ProviderError) as caught:
            await provider.generate(asking())
        await provider.close()
        assert (caught.value.retryable, caught.value.status_code) == (True, None)

    async def test_nobody_there(self, sim: Simulator) -> None:
        """An error to connect has a text and may be tried again."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            nobody = f"http://127.0.0.1:{sock.getsockname()[1]}"
            provider = self.make_provider({**sim.settings, "api_base": nobody, "max_retries": 0})
            with pytest.raises(ProviderError) as caught:
                await provider.generate(asking())
            await provider.close()
        assert caught.value.retryable
        assert str(caught.value)

    async def test_no_secret_and_no_text_gets_out(
        self, sim: Simulator, provider: AIProvider, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Not in errors, representations or logs; what was said is in no log above DEBUG."""
        caplog.set_level(logging.DEBUG)
        said = [repr(provider), repr(provider.__dict__)]
        for step in (error(401), error(400), error(429), cut(), not_json()):
            sim.script(step)
            with pytest.raises(ProviderError) as caught:
                await provider.generate(asking())
            said += [str(caught.value), repr(caught.value)]
        await self._ask(provider, asking(), streamed=True)
        assert not any(self.secret in text for text in [*said, caplog.text])
        loud = [r.getMessage() for r in caplog.records if r.levelno > logging.DEBUG]
        assert not any(TEXT in line for line in loud)

    @pytest.mark.parametrize("messages", ['"x"', "[]", '["x"]', '[{"role": 5}]', "{"])
    async def test_a_request_of_the_wrong_shape(self, sim: Simulator, messages: str) -> None:
        """The simulator refuses it with the vendor's error, whatever it is."""
        body = f'{{"model": "{sim.settings["model"]}", "max_tokens": 5, "messages": {messages}}}'
        headers = {"authorization": f"Bearer {self.secret}", "anthropic-version": "x"}
        answer = await sim.post(f"{sim.api_base}{self.path}", body.encode(), headers)
        assert answer.status == 400
        assert b'"invalid_request_error"' in answer.body

    async def test_closing_twice(self, sim: Simulator) -> None:
        """Closing again does nothing."""
        provider = self.make_provider(sim.settings)
        await provider.generate(asking())
        await provider.close()
        await provider.close()

    async def test_in_a_room(self, sim: Simulator, provider: AIProvider) -> None:
        """The channel asks it, runs the tool it calls, and its answer is an event."""
        sim.answer(ModelAnswer("", calls=(("search", {"q": "hours"}),)), "We open at nine.")
        seen: list[str] = []

        async def look_up(name: str, arguments: dict[str, Any]) -> str:
            return f"{name}: {arguments['q']} from nine"

        def send(connection_id: str, event: RoomEvent) -> None:
            seen.append(getattr(event.content, "body", ""))

        async with RoomKit() as kit:
            kit.register_channel(WebSocketChannel("web"))
            kit.register_channel(AIChannel("ai", provider, tool_handler=look_up))
            room = await kit.create_room()
            await kit.attach_channel(room.id, "web")
            tools = [SEARCH.model_dump()]
            await kit.attach_channel(room.id, "ai", metadata={"tools": tools})
            await kit.connect_websocket("web", "tab", send, room_id=room.id)
            question = TextContent(body="When do you open?")
            await kit.process_inbound(
                InboundMessage(channel_id="web", sender_id="ana", content=question),
                room_id=room.id,
            )
        assert seen == ["We open at nine."]
        assert "search: hours from nine" in sim.sent[-1].text

    async def _ask(self, provider: AIProvider, context: AIContext, *, streamed: bool) -> Any:
        if streamed:
            return await collect_stream(provider.generate_structured_stream(context))
        return await provider.generate(context)
