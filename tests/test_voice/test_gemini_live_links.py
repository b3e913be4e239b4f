"""Links of Gemini Live that are lost, or soon will be: nothing is missed, nothing said twice."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from roomkit.simulators.gemini_live import LiveTurn, tone
from roomkit.voice.realtime import RealtimeSessionState
from tests.test_voice._gemini_live import Call, calling
from tests.test_voice._realtime import until
from tests.test_voice._realtime_calls import QUIET, RATE

if TYPE_CHECKING:
    import pytest

TOOLS = {"tools": [{"name": "weather", "parameters": {}}]}
FORGETFUL = {"provider_config": {"session_resumption": False}}


async def introduced(call: Call) -> None:
    """Say who is calling, and be greeted."""
    call.sim.hears("I am Ana.")
    call.sim.answers("Hello Ana.")
    await call.speak()
    await call.answered()


class TestLost:
    """A link that breaks without a word."""

    async def test_it_goes_on_from_the_newest_handle(self) -> None:
        """The session knows what was said, once; the settings are the same."""
        async with calling({"system_prompt": "be kind"}) as call:
            await introduced(call)
            await call.settled()
            await call.cut()
            assert call.session.state is RealtimeSessionState.CONNECTING
            await call.back()
            assert call.sim.setup["sessionResumption"]["handle"] in call.sim.memory
            assert call.sim.setup["systemInstruction"]["parts"] == [{"text": "be kind"}]
            await call.speak()
            await call.answered(2)
            assert call.sim.known[:2] == [("user", "I am Ana."), ("model", "Hello Ana.")]
            assert len(call.sim.known) == 4
            assert call.heard.of("error") == []

    async def test_without_handles_it_is_told_what_was_said(self) -> None:
        """In writing, and without asking for an answer."""
        async with calling(FORGETFUL) as call:
            await introduced(call)
            await call.cut()
            await call.back()
            await call.sim.arrived("clientContent")
            assert call.sim.known == [("user", "I am Ana."), ("model", "Hello Ana.")]
            assert call.sim.of("clientContent")[0]["turnComplete"] is False
            await call.speak()
            await call.answered(2)
            assert len(call.heard.of("response_start")) == 2

    async def test_a_handle_the_vendor_has_forgotten(self) -> None:
        """The next attempt begins anew, and tells what was said."""
        async with calling() as call:
            await introduced(call)
            await call.settled()
            call.sim.memory.clear()
            await call.cut()
            await call.clock.advance(1)
            await until(lambda: call.sim.handshakes == 2 and call.clock.sleepers)
            await call.back()
            await call.sim.arrived("clientContent")
            assert call.sim.known == [("user", "I am Ana."), ("model", "Hello Ana.")]
            assert call.heard.of("error") == []

    async def test_half_an_utterance_is_heard_again(self) -> None:
        """What the caller had said of it when the link broke is not lost, nor doubled."""
        async with calling() as call:
            await introduced(call)
            await call.settled()
            before, after = tone(300, rate=RATE), tone(200, rate=RATE)
            await call.provider.send_audio(call.session, before)
            await call.cut()
            await call.back()
            await call.provider.send_audio(call.session, after + QUIET)
            await call.answered(2)
            silence = bytes(RATE * 2 // 2)
            assert call.sim.heard[-1] == before + after + silence
            assert call.heard.of("error") == []

    async def test_what_came_before_the_first_handle_is_heard_again(self) -> None:
        """Also without any handle; audio while the link was down is dropped."""
        async with calling(FORGETFUL) as call:
            before, after = tone(300, rate=RATE), tone(200, rate=RATE)
            await call.provider.send_audio(call.session, before)
            await call.cut()
            await call.provider.send_audio(call.session, tone(500, hertz=200, rate=RATE))
            await call.back()
            await call.provider.send_audio(call.session, after + QUIET)
            await call.answered()
            assert call.sim.heard == [before + after + bytes(RATE)]

    async def test_at_most_ten_seconds_are_heard_again(self) -> None:
        """The newest; memory has a bound."""
        async with calling(FORGETFUL) as call:
            for _ in range(15):
                await call.provider.send_audio(call.session, bytes(RATE * 2))
            await call.cut()
            sent = len(call.sim.of("realtimeInput"))
            await call.back()
            await call.sim.arrived("realtimeInput", sent + 10)
            await call.provider.inject_text(call.session, "done")
            await call.answered()
            assert len(call.sim.of("realtimeInput")) == sent + 10

    async def test_an_answer_that_was_cut_off_is_asked_for_again(self) -> None:
        """The caller does not wait for ever; what they heard of it is final."""
        async with calling() as call:
            call.sim.hears("When do you open?")
            call.sim.answers(LiveTurn("At ni", hold=True), "At nine.")
            await call.speak()
            await until(
                lambda: (
                    ("At ni", "assistant", False) in call.heard.of("transcription")
                    or ("ni", "assistant", False) in call.heard.of("transcription")
                )
            )
            await call.cut()
            assert call.heard.kinds == ["response_start", "response_end"]
            await call.back()
            await call.answered(2)
            assert call.heard.finals == [
                ("user", "When do you open?"),
                ("assistant", "At ni"),
                ("assistant", "At nine."),
            ]
            assert call.sim.known == [("user", "When do you open?"), ("model", "At nine.")]

    async def test_a_result_that_comes_while_the_link_is_down(self) -> None:
        """The new link is told it in words: it knows nothing of the call. The tool runs once."""
        async with calling(TOOLS) as call:
            call.sim.hears("Weather?")
            call.sim.answers(LiveTurn(calls=(("weather", {}),)), "Clear.")
            await call.speak()
            await until(lambda: call.heard.of("tool_call"))
            await call.cut()
            call_id = call.heard.of("tool_call")[0][0]
            await call.provider.submit_tool_result(call.session, call_id, '{"sky": "clear"}')
            await call.back()
            await call.answered()
            assert call.sim.known == [
                ("user", "Weather?"),
                ("user", 'The tool weather has answered: {"sky": "clear"}'),
                ("model", "Clear."),
            ]
            assert len(call.heard.of("tool_call")) == 1

    async def test_a_result_that_comes_when_the_link_is_back(self) -> None:
        """The answer is asked for with the last result, not before."""
        async with calling(TOOLS) as call:
            call.sim.hears("Weather?")
            call.sim.answers(LiveTurn(calls=(("weather", {}), ("weather", {}))), "Clear.")
            await call.speak()
            await until(lambda: len(call.heard.of("tool_call")) == 2)
            await call.cut()
            await call.back()
            first, second = (values[0] for values in call.heard.of("tool_call"))
            await call.provider.submit_tool_result(call.session, first, "1")
            await call.provider.submit_tool_result(call.session, second, "2")
            await call.answered()
            assert call.sim.known == [
                ("user", "Weather?"),
                (
                    "user",
                    "The tool weather has answered: 1\nThe tool weather has answered: 2",
                ),
                ("model", "Clear."),
            ]

    async def test_text_that_comes_while_the_link_is_down(self) -> None:
        """It is told the new link once, and answered once."""
        async with calling() as call:
            await call.cut()
            await call.provider.inject_text(call.session, "one")
            await call.provider.inject_text(call.session, "two")
            await call.back()
            await call.answered()
            assert call.sim.known == [("user", "one"), ("user", "two"), ("model", "All right.")]

    async def test_models_that_take_text_as_realtime_input(self) -> None:
        """History goes in front, where they take it; the question is asked anew."""
        model = {"model": "gemini-3.1-flash-live-preview"}
        async with calling(FORGETFUL, sim=model) as call:
            await introduced(call)
            await call.cut()
            await call.provider.inject_text(call.session, "Are you open?")
            await call.back()
            await call.answered(2)
            history = [("user", "I am Ana."), ("model", "Hello Ana.")]
            # An SDK that cannot say so has to leave the history out.
            told = history if "historyConfig" in call.sim.setup else []
            assert call.sim.known[:-1] == [*told, ("user", "Are you open?")]
            assert call.heard.of("error") == []

    async def test_turns_that_the_caller_ends(self) -> None:
        """Without turn detection the new link is told that one has begun."""
        async with calling({"server_vad": False, **FORGETFUL}) as call:
            sound = tone(300, rate=RATE)
            await call.provider.send_audio(call.session, sound)
            await call.cut()
            await call.back()
            await call.provider.send_audio(call.session, sound)
            await call.provider.commit_audio(call.session)
            await call.answered()
            assert call.sim.heard == [sound + sound]

    async def test_a_turn_the_handle_knows_the_beginning_of(self) -> None:
        """It is begun again on the new link, or nothing more of it would be heard."""
        async with calling({"server_vad": False}) as call:
            sound = tone(300, rate=RATE)
            await call.provider.send_audio(call.session, sound)
            await call.sim.arrived("realtimeInput", 2)
            call.sim.memory["mid-turn"] = call.sim.known
            update = {"newHandle": "mid-turn", "resumable": True}
            await call.sim.emit({"sessionResumptionUpdate": update})
            await call.settled()
            await call.cut()
            await call.back()
            await call.provider.send_audio(call.session, sound)
            await call.provider.commit_audio(call.session)
            await call.answered()
            assert call.sim.heard == [sound]


class TestExpected:
    """The vendor says beforehand that it will close the connection."""

    async def test_it_is_left_between_two_turns(self) -> None:
        """At once when nobody speaks: the state stays ACTIVE, no pause, no word lost."""
        async with calling() as call:
            await introduced(call)
            await call.settled()
            await call.clock.advance(600)
            await call.sim.go_away(10)
            await until(lambda: call.sim.handshakes == 2)
            await call.sim.connected(1)
            assert call.session.state is RealtimeSessionState.ACTIVE
            await call.speak()
            await call.answered(2)
            assert call.sim.known[:2] == [("user", "I am Ana."), ("model", "Hello Ana.")]
            assert len(call.sim.known) == 4
            assert not call.clock.sleepers

    async def test_an_answer_is_heard_to_its_end(self) -> None:
        """The connection is left after it, and the new one knows it."""
        async with calling() as call:
            call.sim.answers(LiveTurn("A long story", hold=True))
            await call.speak()
            await until(lambda: call.heard.audio)
            await call.sim.go_away(30)
            await until(lambda: call.clock.sleepers)
            assert call.sim.handshakes == 1
            await call.sim.release()
            await until(lambda: call.sim.handshakes == 2)
            await call.sim.connected(1)
            assert call.heard.audio == tone(12 * 60)
            assert call.heard.kinds == ["response_start", "response_end"]

    async def test_an_answer_that_takes_too_long(self) -> None:
        """A second before the vendor would, we leave; the answer is asked for again."""
        async with calling() as call:
            call.sim.answers(LiveTurn("A story", hold=True), "The end.")
            await call.speak()
            await until(lambda: call.heard.audio)
            await call.sim.go_away(30)
            await until(lambda: call.clock.sleepers)
            await call.clock.advance(28)
            assert call.sim.handshakes == 1
            await call.clock.advance(1.5)
            await call.answered(2)
            assert call.sim.handshakes == 2
            assert call.heard.finals[-1] == ("assistant", "The end.")

    async def test_audio_of_the_change_is_heard(self) -> None:
        """What the caller says while one connection follows the other arrives, in order."""
        async with calling() as call:
            await introduced(call)
            await call.settled()
            sound = b"".join(tone(100, hertz=200 + 40 * n, rate=RATE) for n in range(20))
            for start in range(0, len(sound), 640):
                if start == 640 * 20:
                    await call.sim.go_away(10)
                await call.provider.send_audio(call.session, sound[start : start + 640])
                await asyncio.sleep(0.001)
            await call.provider.send_audio(call.session, QUIET)
            await call.answered(2)
            assert call.sim.handshakes == 2
            assert call.sim.heard[-1] == sound + bytes(RATE)

    async def test_a_server_that_sends_everybody_away(self) -> None:
        """It is asked a bounded number of times, then the end is told."""
        async with calling() as call:
            for count in (2, 3, 4):
                await call.sim.go_away(10)
                await until(lambda count=count: call.sim.handshakes == count)  # type: ignore[misc]
                await call.sim.connected(1)
            await call.sim.go_away(10)
            await until(lambda: call.heard.of("error"))
            assert call.session.state is RealtimeSessionState.ENDED
            assert call.sim.handshakes == 4

    async def test_a_session_that_expires_goes_on(self) -> None:
        """The vendor's 15 minutes are no error of ours."""
        async with calling() as call:
            await introduced(call)
            await call.settled()
            await call.sim.expire()
            await until(lambda: call.clock.sleepers)
            await call.back()
            await call.speak()
            await call.answered(2)
            assert call.heard.of("error") == []


class TestGivenUp:
    """Attempts are bounded, and the end is never silent."""

    async def test_the_end_is_told_once(self) -> None:
        """After three attempts, 0.5, 1 and 2 seconds apart, a quarter more or less."""
        async with calling() as call:
            call.sim.refuse(503, 503, 503)
            await call.cut()
            for count, longest in ((2, 0.625), (3, 1.25), (4, 2.5)):
                await call.clock.advance(longest * 0.59)
                assert call.sim.handshakes == count - 1
                await call.clock.advance(longest * 0.42)
                await until(lambda count=count: call.sim.handshakes == count)  # type: ignore[misc]
                await until(lambda: call.clock.sleepers or call.heard.of("error"))
            await until(lambda: call.heard.of("error"))
            assert [code for code, _ in call.heard.of("error")] == ["connection_lost"]
            assert call.session.state is RealtimeSessionState.ENDED
            await call.provider.send_audio(call.session, QUIET)
            await call.provider.disconnect(call.session)
            assert len(call.heard.of("error")) == 1

    async def test_a_refused_key_is_not_tried_again(self) -> None:
        """No waiting heals that."""
        async with calling() as call:
            call.sim.refuse(401)
            await call.cut()
            await call.clock.advance(1)
            await until(lambda: call.heard.of("error"))
            assert call.sim.handshakes == 2

    async def test_without_reconnects_the_end_is_told_at_once(self) -> None:
        """``max_reconnects=0``; a warning from the vendor changes nothing."""
        async with calling(max_reconnects=0) as call:
            await call.sim.go_away(10)
            await call.speak()
            await call.answered()
            await call.sim.expire()
            await until(lambda: call.heard.of("error"))
            assert "1008: The operation was aborted." in call.heard.of("error")[0][1]
            assert call.session.state is RealtimeSessionState.ENDED
            assert call.sim.handshakes == 1

    async def test_a_link_that_lasted_starts_the_count_anew(self) -> None:
        """Four losses, each after more than a minute."""
        async with calling() as call:
            for _ in range(4):
                await call.clock.advance(61)
                await call.cut()
                await call.back()
            assert call.heard.of("error") == []

    async def test_a_link_that_flaps_is_given_up(self) -> None:
        """Opened and lost within a minute, again and again."""
        async with calling() as call:
            for _ in range(3):
                await call.cut()
                await call.back()
            call.sim.cut()
            await until(lambda: call.heard.of("error"))
            assert call.sim.handshakes == 4

    async def test_nothing_but_garbage(self) -> None:
        """A server that makes no sense twenty times in a row is left."""
        async with calling() as call:
            for _ in range(20):
                await call.sim.emit("no json")
            await until(lambda: call.clock.sleepers)
            await call.back()
            await call.speak()
            await call.answered()

    async def test_our_own_disconnect_tells_nobody(self) -> None:
        """Neither at once nor later, also while the link is down."""
        async with calling() as call:
            await call.cut()
            await call.provider.disconnect(call.session)
            await call.provider.disconnect(call.session)
            await call.clock.advance(10)
            assert call.heard.all == []
            assert call.session.state is RealtimeSessionState.ENDED
            await call.sim.connected(0)

    async def test_a_disconnect_while_a_new_link_is_opened(self) -> None:
        """The opening is given up, and the connection with it."""
        before = asyncio.all_tasks()
        async with calling() as call:
            call.sim.stall()
            await call.cut()
            await call.clock.advance(1)
            await until(lambda: call.sim.connections == 1)
            await call.provider.disconnect(call.session)
            await until(lambda: call.sim.connections == 0)
            assert call.session.state is RealtimeSessionState.ENDED
            assert call.heard.of("error") == []
        await until(lambda: asyncio.all_tasks() == before)

    async def test_text_and_audio_while_a_new_link_is_opened(self) -> None:
        """Text is told once the link is there; nothing is sent twice, nothing blocks."""
        async with calling() as call:
            await introduced(call)
            await call.settled()
            await call.clock.advance(600)
            call.sim.stall()
            await call.sim.go_away(10)
            await until(lambda: call.sim.handshakes == 2)
            sound = tone(300, rate=RATE)
            work = asyncio.gather(
                call.provider.send_audio(call.session, sound + QUIET),
                call.provider.inject_text(call.session, "Are you there?"),
            )
            call.sim.cut()
            await until(lambda: call.clock.sleepers)
            await call.back()
            await asyncio.wait_for(work, 5)
            await call.answered(3)
            assert call.sim.heard[-1] == sound + bytes(RATE)
            assert sorted(call.sim.known).count(("user", "Are you there?")) == 1

    async def test_a_disconnect_while_the_connection_changes(self) -> None:
        """The timer of a connection that will be left ends with the session."""
        before = asyncio.all_tasks()
        async with calling() as call:
            call.sim.answers(LiveTurn("A story", hold=True))
            await call.speak()
            await until(lambda: call.heard.audio)
            await call.sim.go_away(30)
            await until(lambda: call.clock.sleepers)
            await call.provider.disconnect(call.session)
            await call.sim.connected(0)
            assert call.session.state is RealtimeSessionState.ENDED
        await until(lambda: asyncio.all_tasks() == before)


class TestSilent:
    """Connections that stand and say nothing."""

    @staticmethod
    def pinging(**options: Any) -> dict[str, Any]:
        """Options of the SDK for a WebSocket that notices soon, or never."""
        return {"async_client_args": options}

    async def test_a_half_open_connection_is_found_out(self) -> None:
        """Nothing answers its pings: a new one is opened."""
        options = self.pinging(ping_interval=0.1, ping_timeout=0.2, close_timeout=0.1)
        async with calling(http_options=options) as call:
            call.sim.freeze()
            await until(lambda: call.clock.sleepers)
            assert call.session.state is RealtimeSessionState.CONNECTING
            await call.clock.advance(1)
            await until(lambda: call.session.state is RealtimeSessionState.ACTIVE)
            await call.speak()
            await call.answered()

    async def test_a_server_that_takes_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        """After ``send_timeout`` it counts as lost; what it did not take is heard again."""
        options = self.pinging(ping_interval=None, close_timeout=0.1)
        async with calling(http_options=options, send_timeout=0.2) as call:
            call.sim.freeze()
            with caplog.at_level(logging.WARNING):
                for _ in range(400):
                    await call.provider.send_audio(call.session, bytes(64_000))
                    if call.session.state is not RealtimeSessionState.ACTIVE:
                        break
            assert "takes nothing" in caplog.text
            await until(lambda: call.clock.sleepers)
            await call.clock.advance(1)
            await until(lambda: call.session.state is RealtimeSessionState.ACTIVE)
            await call.speak()
            await call.answered()
