"""Turns of Gemini Live that do not go straight on: interruptions, tools, the end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from roomkit.simulators.gemini_live import LiveTurn
from tests.test_voice._gemini_live import TOOL, calling
from tests.test_voice._realtime import until


class TestInterruption:
    """The caller speaks, the answer ends."""

    async def test_speech_stops_the_answer(self) -> None:
        """Told once, and what was said so far is final."""
        async with calling() as call:
            call.sim.answers(LiveTurn("One moment please", hold=True), "Now.")
            await call.provider.inject_text(call.session, "go on")
            await until(lambda: call.heard.audio)
            await call.speak()
            await call.answered(2)
            assert call.heard.kinds == [
                "response_start",
                "speech_start",
                "response_end",
                "speech_end",
                "response_start",
                "response_end",
            ]
            assert call.heard.finals == [
                ("assistant", "One moment please"),
                ("user", "Hello."),
                ("assistant", "Now."),
            ]

    async def test_signals_and_an_interruption_are_one_start(self) -> None:
        """``speech_start`` once, although the vendor says it twice."""
        async with calling(sim={"signals": True}) as call:
            call.sim.answers(LiveTurn("x" * 50, hold=True))
            await call.provider.inject_text(call.session, "go on")
            await until(lambda: call.heard.audio)
            await call.speak()
            await call.answered(2)
            assert call.heard.kinds.count("speech_start") == 1
            assert call.heard.kinds.count("speech_end") == 1

    async def test_interrupt_silences_the_answer_in_flight(self) -> None:
        """The vendor cannot be stopped, but nobody hears the rest; the next one is heard."""
        async with calling() as call:
            call.sim.answers(LiveTurn("x" * 10, hold=True), "Next.")
            await call.provider.interrupt(call.session)
            await call.provider.inject_text(call.session, "go on")
            await until(lambda: len(call.heard.audio) == 10 * 60 * 48)
            await call.provider.interrupt(call.session)
            blob = {"mimeType": "audio/pcm;rate=24000", "data": "AAAA"}
            parts = [{"inlineData": blob}]
            await call.sim.emit({"serverContent": {"modelTurn": {"parts": parts}}})
            await call.sim.release()
            await call.answered(1)
            assert len(call.heard.audio) == 10 * 60 * 48
            await call.provider.inject_text(call.session, "next")
            await call.answered(2)
            assert len(call.heard.audio) == 15 * 60 * 48


class TestTools:
    """Called, answered, and then the model goes on."""

    async def test_a_tool_is_called_and_its_result_used(self) -> None:
        """The question is final before; the result carries the call's id and name."""
        async with calling({"tools": [TOOL]}) as call:
            call.sim.hears("Weather in Brest?")
            call.sim.answers(LiveTurn(calls=(("weather", {"city": "Brest"}),)), "Clear.")
            await call.speak()
            await until(lambda: call.heard.of("tool_call"))
            assert call.heard.finals == [("user", "Weather in Brest?")]
            call_id, name, arguments = call.heard.of("tool_call")[0]
            assert (name, arguments) == ("weather", {"city": "Brest"})
            await call.provider.submit_tool_result(call.session, call_id, '{"sky": "clear"}')
            await call.answered()
            assert call.heard.finals[-1] == ("assistant", "Clear.")
            sent = call.sim.of("toolResponse")[0]["functionResponses"]
            assert sent == [{"id": call_id, "name": "weather", "response": {"sky": "clear"}}]

    @pytest.mark.parametrize(
        ("result", "sent"),
        [
            ("[1, 2]", {"result": [1, 2]}),
            ("7", {"result": 7}),
            ('"text"', {"result": "text"}),
            ("no json", {"result": "no json"}),
            ("null", {"result": None}),
        ],
    )
    async def test_results_that_are_no_objects(self, result: str, sent: dict[str, Any]) -> None:
        """The vendor takes objects only."""
        async with calling({"tools": [TOOL]}) as call:
            call.sim.answers(LiveTurn(calls=(("weather", {}),)))
            await call.speak()
            await until(lambda: call.heard.of("tool_call"))
            call_id = call.heard.of("tool_call")[0][0]
            await call.provider.submit_tool_result(call.session, call_id, result)
            await call.answered()
            assert call.sim.known[1] == ("tool", json.dumps(sent))

    async def test_several_calls_beside_each_other(self) -> None:
        """Each by its own id; the model goes on after the last result."""
        async with calling({"tools": [TOOL]}) as call:
            call.sim.answers(
                LiveTurn(calls=(("weather", {"city": "A"}), ("weather", {}))), "Done."
            )
            await call.speak()
            await until(lambda: len(call.heard.of("tool_call")) == 2)
            for call_id, _, _ in reversed(call.heard.of("tool_call")):
                await call.provider.submit_tool_result(call.session, call_id, "{}")
            await call.answered()
            assert call.heard.finals[-1] == ("assistant", "Done.")

    async def test_a_cancelled_call(self) -> None:
        """Its result comes too late: the vendor would close the connection for it."""
        async with calling({"tools": [TOOL]}) as call:
            call.sim.answers(LiveTurn(calls=(("weather", {}),)), "Never mind.")
            await call.provider.inject_text(call.session, "weather?")
            await until(lambda: call.heard.of("tool_call"))
            await call.speak()
            await call.answered()
            call_id = call.heard.of("tool_call")[0][0]
            await call.provider.submit_tool_result(call.session, call_id, "{}")
            await call.provider.submit_tool_result(call.session, "never-made", "{}")
            await call.provider.inject_text(call.session, "still there?")
            await call.answered(2)
            assert call.sim.of("toolResponse") == []
            assert call.sim.handshakes == 1

    async def test_a_call_told_again_by_the_next_link(self) -> None:
        """The tool does not run again, and the link that asked last gets the result."""
        async with calling({"tools": [TOOL]}) as call:
            call.sim.answers(LiveTurn(calls=(("weather", {"city": "Paris"}),)))
            await call.provider.inject_text(call.session, "Weather?")
            await until(lambda: call.heard.of("tool_call"))
            call_id, name, arguments = call.heard.of("tool_call")[0]
            await call.cut()
            await call.back()
            again = {"id": call_id, "name": name, "args": arguments}
            await call.sim.emit({"toolCall": {"functionCalls": [again]}})
            # What is told next was read behind it.
            await call.sim.emit({"serverContent": {"inputTranscription": {"text": "So"}}})
            await until(lambda: ("So", "user", False) in call.heard.of("transcription"))
            await call.provider.submit_tool_result(call.session, call_id, '{"sky": "clear"}')
            await call.sim.arrived("toolResponse")
            [answer] = call.sim.of("toolResponse")[0]["functionResponses"]
            assert (answer["id"], answer["response"]) == (call_id, {"sky": "clear"})
            assert len(call.heard.of("tool_call")) == 1


class TestEnd:
    """Ended by us: quietly, in every state."""

    async def test_nothing_is_left(self) -> None:
        """No task outlives ``close``; a callback after it is told nothing."""
        before = asyncio.all_tasks()
        async with calling() as call:
            call.sim.answers(LiveTurn("x" * 50, hold=True))
            await call.speak()
            await until(lambda: call.heard.audio)
            await call.provider.close()
            await call.provider.close()
            told = len(call.heard.all)
            await call.sim.connected(0)
            assert len(call.heard.all) == told
        await until(lambda: asyncio.all_tasks() == before)
