"""OpenAI's Realtime API against its simulator, over a real socket."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import InvalidInputError, ProviderError
from roomkit.providers.openai.realtime import DEFAULT_REALTIME_MODEL, OpenAIRealtimeProvider
from roomkit.simulators.openai_realtime import OpenAIRealtimeSimulator, RealtimeTurn, tone
from roomkit.voice.realtime import RealtimeSession, RealtimeSessionState
from tests.test_voice._realtime import until
from tests.test_voice._realtime_calls import QUIET, LiveCall

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Call(LiveCall[OpenAIRealtimeProvider, OpenAIRealtimeSimulator]):
    """A provider connected to a simulator."""

    def __init__(self, sim: OpenAIRealtimeSimulator, **options: Any) -> None:
        super().__init__(OpenAIRealtimeProvider, sim, **options)


@asynccontextmanager
async def calling(
    settings: dict[str, Any] | None = None, protocol: Any = "ga", **options: Any
) -> AsyncIterator[Call]:
    """A simulator and a connected session."""
    async with OpenAIRealtimeSimulator(protocol=protocol) as sim:
        call = Call(sim, **options)
        await call.connect(**(settings or {}))
        try:
            yield call
        finally:
            await call.provider.close()


class TestSettings:
    """What the server is asked for."""

    async def test_the_session_of_the_general_form(self) -> None:
        """Every setting lands where the vendor wants it; no temperature."""
        settings = {
            "system_prompt": "be kind",
            "voice": "marin",
            "tools": [{"name": "weather", "description": "d", "parameters": {}}],
            "temperature": 0.7,
            "provider_config": {
                "turn_detection": "semantic_vad",
                "transcription_language": "en",
                "noise_reduction": "near_field",
                "speed": 1.2,
                "max_output_tokens": 100,
                "tool_choice": "auto",
                "session": {"audio": {"output": {"speed": 1.1}}, "truncation": "auto"},
            },
        }
        async with calling(settings) as call:
            session = call.sim.session
            assert session["type"] == "realtime"
            assert session["output_modalities"] == ["audio"]
            assert session["instructions"] == "be kind"
            assert session["tools"][0]["type"] == "function"
            assert session["max_output_tokens"] == 100
            assert session["truncation"] == "auto"
            assert "temperature" not in session
            heard = session["audio"]["input"]
            assert heard["format"] == {"type": "audio/pcm", "rate": 24000}
            assert heard["turn_detection"] == {"type": "semantic_vad"}
            assert heard["noise_reduction"] == {"type": "near_field"}
            assert heard["transcription"]["language"] == "en"
            assert session["audio"]["output"]["speed"] == 1.1
            assert session["audio"]["output"]["voice"] == "marin"

    async def test_the_session_is_active_and_has_the_vendors_id(self) -> None:
        """The id is the server's."""
        async with calling() as call:
            assert call.session.state is RealtimeSessionState.ACTIVE
            assert str(call.session.provider_session_id).startswith("sess_")

    async def test_a_refused_setting_fails_the_connect(self) -> None:
        """With the vendor's code; nothing stays open."""
        async with OpenAIRealtimeSimulator() as sim:
            call = Call(sim)
            with pytest.raises(ProviderError, match="invalid_value") as caught:
                await call.connect(voice="nobody")
            assert not caught.value.retryable
            assert call.session.state is RealtimeSessionState.ENDED
            assert call.heard.all == []
            await sim.connected(0)

    async def test_a_wrong_key_is_refused(self) -> None:
        """The simulator knows one key only."""
        async with OpenAIRealtimeSimulator() as sim:
            provider = OpenAIRealtimeProvider(api_key="sk-wrong", api_base=sim.api_base)
            with pytest.raises(ProviderError, match="401"):
                await provider.connect(RealtimeSession("s", "r", "p", "c"))

    async def test_nobody_there(self) -> None:
        """A server that does not answer is told by kind."""
        async with OpenAIRealtimeSimulator() as sim:
            base = sim.api_base
        provider = OpenAIRealtimeProvider(api_key="sk-x", api_base=base)
        with pytest.raises(ProviderError, match="cannot be reached") as caught:
            await provider.connect(RealtimeSession("s", "r", "p", "c"))
        assert caught.value.retryable

    async def test_a_session_is_connected_once(self) -> None:
        """A second connect is a mistake, and the first link lives on."""
        async with calling() as call:
            with pytest.raises(InvalidInputError, match="already"):
                await call.connect()
            await call.provider.inject_text(call.session, "hello")
            await until(lambda: call.heard.of("response_end"))

    async def test_no_secret_in_logs_or_repr(self, caplog: pytest.LogCaptureFixture) -> None:
        """Not even at DEBUG, the WebSocket library's loggers included."""
        with caplog.at_level(logging.DEBUG):
            async with calling() as call:
                await call.speak()
                await until(lambda: call.heard.of("response_end"))
                assert "sk-simulated" not in repr(call.provider)
        assert "sk-simulated" not in caplog.text

    def test_urls(self) -> None:
        """A bad one is refused at once."""
        for options in ({"base_url": "ftp://x"}, {"api_base": "x"}, {"protocol": "alpha"}):
            with pytest.raises(InvalidInputError):
                OpenAIRealtimeProvider(api_key="k", **options)  # type: ignore[arg-type]

    def test_the_default_model_is_of_the_current_family(self) -> None:
        """The preview models have been switched off."""
        assert "preview" not in DEFAULT_REALTIME_MODEL

    async def test_the_beta_form_is_refused_by_the_vendor(self) -> None:
        """Whoever asks for it gets the vendor's error."""
        async with OpenAIRealtimeSimulator() as sim:
            settings = {**sim.settings, "protocol": "beta"}
            provider = OpenAIRealtimeProvider(**settings)
            with pytest.raises(ProviderError, match="beta_api_shape_disabled"):
                await provider.connect(RealtimeSession("s", "r", "p", "c"))

    async def test_servers_of_the_beta_form(self) -> None:
        """Settings and names of the older form, temperature included."""
        settings = {"temperature": 0.8, "voice": "ash"}
        async with calling(settings, protocol="beta") as call:
            assert call.sim.session["temperature"] == 0.8
            assert call.sim.session["input_audio_format"] == "pcm16"
            call.sim.answers("Hi.")
            await call.speak()
            await until(lambda: call.heard.of("response_end"))
            assert call.heard.finals == [("user", "Hello."), ("assistant", "Hi.")]
            assert call.heard.audio == tone(3 * 60)


class TestConversation:
    """Said, heard, answered."""

    async def test_an_utterance_and_its_answer(self) -> None:
        """Speech, transcripts and audio are told in their order."""
        async with calling() as call:
            call.sim.hears("What time is it?")
            call.sim.answers("Nine.")
            await call.speak()
            await until(lambda: call.heard.of("response_end"))
            assert call.heard.finals == [("user", "What time is it?"), ("assistant", "Nine.")]
            assert call.heard.audio == tone(5 * 60)
            kinds = [kind for kind, *_ in call.heard.all if kind not in ("audio", "transcription")]
            assert kinds == ["speech_start", "speech_end", "response_start", "response_end"]

    async def test_16_khz_is_never_sent_as_24_khz(self) -> None:
        """The server hears the tone as long as it was, not two thirds of it."""
        async with calling() as call:
            await call.speak(600)
            await until(lambda: call.sim.heard)
            milliseconds = len(call.sim.heard[0]) / 2 / 24
            assert 1050 <= milliseconds <= 1150  # 600 of tone, 500 of silence

    async def test_the_answer_comes_at_the_sessions_rate(self) -> None:
        """8 kHz out: a third of the bytes, the same duration."""
        async with calling({"output_sample_rate": 8000}) as call:
            call.sim.answers("Hello there.")
            await call.speak()
            await until(lambda: call.heard.of("response_end"))
            assert len(call.heard.audio) == 12 * 60 * 8 * 2

    async def test_odd_pieces_of_audio(self) -> None:
        """Samples cut in two arrive whole."""
        async with calling() as call:
            sound = tone(400, rate=16000) + QUIET
            for start in range(0, len(sound), 777):
                await call.provider.send_audio(call.session, sound[start : start + 777])
            await until(lambda: call.heard.of("response_end"))
            assert call.heard.of("error") == []

    async def test_written_text_is_answered(self) -> None:
        """Roles the vendor does not know count as the user's."""
        async with calling() as call:
            await call.provider.inject_text(call.session, "one", role="system")
            await until(lambda: call.heard.of("response_end"))
            await call.provider.inject_text(call.session, "two", role="tool")
            await until(lambda: len(call.heard.of("response_end")) == 2)
            roles = [e["item"]["role"] for e in call.sim.of("conversation.item.create")]
            assert roles == ["system", "user"]

    async def test_one_response_at_a_time(self) -> None:
        """What is asked for meanwhile follows when the answer has ended, once."""
        async with calling() as call:
            call.sim.answers(RealtimeTurn("Wait.", hold=True), "Now.")
            await call.provider.inject_text(call.session, "one")
            await until(lambda: call.heard.of("response_start"))
            await call.provider.inject_text(call.session, "two")
            await call.provider.inject_text(call.session, "three")
            await call.sim.arrived("conversation.item.create", 3)
            assert len(call.sim.of("response.create")) == 1
            await call.sim.release()
            await until(lambda: len(call.heard.of("response_end")) == 2)
            assert len(call.sim.of("response.create")) == 2
            assert call.heard.of("error") == []

    async def test_without_turn_detection_the_caller_ends_the_turn(self) -> None:
        """``commit_audio`` makes the model answer."""
        async with calling({"server_vad": False}) as call:
            await call.provider.send_audio(call.session, tone(300, rate=16000))
            await call.provider.commit_audio(call.session)
            await until(lambda: call.heard.of("response_end"))
            assert call.heard.of("speech_start") == []
            assert call.heard.finals[0] == ("user", "Hello.")

    async def test_a_failed_response_is_told(self) -> None:
        """The answer ends, and why."""
        async with calling() as call:
            call.sim.answers(RealtimeTurn(fails="server_overloaded"))
            await call.provider.inject_text(call.session, "hello")
            await until(lambda: call.heard.of("error"))
            assert call.heard.of("error") == [("server_overloaded", "it failed")]
            assert call.heard.of("response_end") == [()]

    async def test_an_error_of_the_server_is_told(self) -> None:
        """With its code, or ``unknown``."""
        async with calling() as call:
            await call.sim.emit({"type": "error", "error": {"message": "odd"}})
            await until(lambda: call.heard.of("error"))
            assert call.heard.of("error") == [("unknown", "odd")]

    @pytest.mark.parametrize(
        "event",
        [
            {"type": "response.output_audio.delta", "delta": "%%%"},
            {"type": "response.output_audio.delta", "delta": 7},
            {"type": "response.output_audio.delta"},
            {"type": "response.created", "response": None},
            {"type": "response.done"},
            {"type": "response.done", "response": {"status_details": [], "status": "failed"}},
            {"type": "conversation.item.input_audio_transcription.completed"},
            {"type": "response.function_call_arguments.done", "arguments": None},
            {"type": "error"},
            {"type": []},
            {"kind": "nothing"},
            {"type": "some.thing.new"},
        ],
    )
    async def test_odd_events_do_no_harm(self, event: dict[str, Any]) -> None:
        """Whatever comes, the next answer is heard."""
        async with calling() as call:
            await call.sim.emit(event)
            await call.sim.emit({"type": "response.done"})
            await call.speak()
            await until(lambda: call.heard.finals)
            assert call.session.state is RealtimeSessionState.ACTIVE


class TestInterruption:
    """Stopped at once, and the server knows what was heard."""

    async def test_speech_stops_the_answer_and_truncates_it(self) -> None:
        """The server is told how much of its 6 seconds was played."""
        async with calling() as call:
            call.sim.answers(RealtimeTurn("x" * 100, hold=True))
            await call.provider.inject_text(call.session, "go on")
            await until(lambda: len(call.heard.audio) == 6 * 48000)
            await call.clock.advance(1.5)
            await call.speak()
            await call.sim.arrived("conversation.item.truncate")
            assert call.sim.of("conversation.item.truncate")[0]["audio_end_ms"] == 1500
            await until(lambda: call.heard.of("speech_end"))
            assert call.heard.of("error") == []

    async def test_interrupt_cancels_only_what_runs(self) -> None:
        """Without an answer nothing is sent."""
        async with calling() as call:
            await call.provider.interrupt(call.session)
            call.sim.answers(RealtimeTurn("x" * 100, hold=True))
            await call.provider.inject_text(call.session, "go on")
            await until(lambda: len(call.heard.audio) == 6 * 48000)
            await call.provider.interrupt(call.session)
            await until(lambda: call.heard.of("response_end"))
            assert len(call.sim.of("response.cancel")) == 1
            assert call.sim.of("conversation.item.truncate")[0]["audio_end_ms"] == 0
            assert call.heard.of("error") == []

    async def test_an_answer_heard_to_its_end_is_not_truncated(self) -> None:
        """Its playing time has passed."""
        async with calling() as call:
            await call.speak()
            await until(lambda: call.heard.of("response_end"))
            await call.clock.advance(60)
            await call.speak()
            await until(lambda: len(call.heard.of("response_end")) == 2)
            assert call.sim.of("conversation.item.truncate") == []

    async def test_audio_of_a_stopped_answer_is_not_passed_on(self) -> None:
        """What was on its way when the caller spoke is dropped."""
        async with calling() as call:
            call.sim.answers(RealtimeTurn("x", hold=True))
            await call.provider.inject_text(call.session, "go on")
            await until(lambda: call.heard.audio)
            before = len(call.heard.audio)
            response = {"type": "response.output_audio.delta", "delta": "AAAA"}
            await call.sim.emit({"type": "response.created", "response": {"id": "r-9"}})
            await call.sim.emit({"type": "input_audio_buffer.speech_started"})
            await call.sim.emit({**response, "response_id": "r-9"})
            await call.sim.emit({"type": "input_audio_buffer.speech_stopped"})
            await until(lambda: call.heard.of("speech_end"))
            assert len(call.heard.audio) == before


class TestTools:
    """Called, answered, and then the model goes on."""

    async def test_a_tool_is_called_and_its_result_used(self) -> None:
        """The result is asked about only after the calling response has ended."""
        async with calling() as call:
            call.sim.answers(
                RealtimeTurn(calls=(("weather", {"city": "Brest"}),), hold=True), "Clear."
            )
            await call.provider.inject_text(call.session, "weather?")
            await until(lambda: call.heard.of("tool_call"))
            call_id, name, arguments = call.heard.of("tool_call")[0]
            assert (name, arguments) == ("weather", {"city": "Brest"})
            await call.provider.submit_tool_result(call.session, call_id, '{"sky": "clear"}')
            await call.sim.arrived("conversation.item.create", 2)
            assert len(call.sim.of("response.create")) == 1
            await call.sim.release()
            await until(lambda: call.heard.finals)
            assert call.heard.finals == [("assistant", "Clear.")]
            assert call.heard.of("error") == []

    async def test_several_results_make_one_answer(self) -> None:
        """The model is asked once the last result is there."""
        async with calling() as call:
            call.sim.answers(RealtimeTurn(calls=(("a", {}), ("b", {}))), "Done.")
            await call.provider.inject_text(call.session, "both")
            await until(lambda: call.heard.of("response_end"))
            first, second = (values[0] for values in call.heard.of("tool_call"))
            await call.provider.submit_tool_result(call.session, first, "1")
            await call.sim.arrived("conversation.item.create", 2)
            assert len(call.sim.of("response.create")) == 1
            await call.provider.submit_tool_result(call.session, second, "2")
            await until(lambda: call.heard.finals)
            assert len(call.sim.of("response.create")) == 2

    async def test_older_payloads_without_a_name(self) -> None:
        """It is remembered from the item; arguments that are no JSON come as they are."""
        async with calling() as call:
            item = {"type": "function_call", "id": "i", "call_id": "c", "name": "weather"}
            await call.sim.emit({"type": "response.output_item.added", "item": item})
            done = {"type": "response.function_call_arguments.done", "call_id": "c"}
            await call.sim.emit({**done, "arguments": "not json"})
            await call.sim.emit({**done, "arguments": "[1]"})
            await until(lambda: len(call.heard.of("tool_call")) == 2)
            assert call.heard.of("tool_call") == [
                ("c", "weather", {"raw": "not json"}),
                ("c", "weather", {"raw": "[1]"}),
            ]


class TestLostLinks:
    """Opened again, a bounded number of times; never silent."""

    async def test_a_cut_link_comes_back_with_the_conversation(self) -> None:
        """What was said is told again; the settings are the same."""
        async with calling({"system_prompt": "be kind"}) as call:
            call.sim.hears("I am Ana.")
            call.sim.answers("Hello Ana.")
            await call.speak()
            await until(lambda: call.heard.of("response_end"))
            call.sim.cut()
            await until(lambda: call.clock.sleepers)
            assert call.session.state is RealtimeSessionState.CONNECTING
            await call.clock.advance(0.5)
            await until(lambda: call.session.state is RealtimeSessionState.ACTIVE)
            await call.sim.arrived("conversation.item.create", 2)
            items = [event["item"] for event in call.sim.of("conversation.item.create")]
            told = [(item["role"], item["content"][0]["text"]) for item in items]
            assert told == [("user", "I am Ana."), ("assistant", "Hello Ana.")]
            assert call.sim.session["instructions"] == "be kind"
            assert call.heard.of("error") == []

    async def test_a_session_that_expires_goes_on(self) -> None:
        """The vendor's 60 minutes are no error of ours."""
        async with calling() as call:
            await call.sim.expire()
            await until(lambda: call.clock.sleepers)
            await call.clock.advance(0.5)
            await call.sim.connected(1)
            await call.speak()
            await until(lambda: call.heard.of("response_end"))
            assert call.heard.of("error") == []

    async def test_an_answer_that_was_cut_off_is_asked_for_again(self) -> None:
        """The caller does not wait for ever."""
        async with calling() as call:
            call.sim.answers(RealtimeTurn("One mo", hold=True), "Here I am again.")
            await call.provider.inject_text(call.session, "hello")
            await until(lambda: call.heard.audio)
            call.sim.cut()
            await until(lambda: call.clock.sleepers)
            assert call.heard.of("response_end") == [()]
            await call.clock.advance(0.5)
            await until(lambda: call.heard.finals)
            assert call.heard.finals == [("assistant", "Here I am again.")]

    async def test_a_result_that_comes_while_the_link_is_down(self) -> None:
        """It reaches the new link, after the call it belongs to."""
        async with calling() as call:
            call.sim.answers(RealtimeTurn(calls=(("weather", {"city": "Brest"}),)), "Clear.")
            await call.provider.inject_text(call.session, "weather?")
            await until(lambda: call.heard.of("response_end"))
            call_id = call.heard.of("tool_call")[0][0]
            call.sim.cut()
            await until(lambda: call.clock.sleepers)
            await call.provider.submit_tool_result(call.session, call_id, '"clear"')
            await call.clock.advance(0.5)
            await until(lambda: call.heard.finals)
            kinds = [event["item"]["type"] for event in call.sim.of("conversation.item.create")]
            assert kinds[-2:] == ["function_call", "function_call_output"]
            assert call.heard.of("error") == []

    async def test_text_that_comes_while_the_link_is_down(self) -> None:
        """It is told the new link once, and answered."""
        async with calling() as call:
            call.sim.cut()
            await until(lambda: call.clock.sleepers)
            await call.provider.inject_text(call.session, "one")
            await call.provider.inject_text(call.session, "two")
            await call.clock.advance(0.5)
            await until(lambda: call.heard.finals)
            items = [event["item"] for event in call.sim.of("conversation.item.create")]
            assert [item["content"][0]["text"] for item in items] == ["one", "two"]
            assert len(call.sim.of("response.create")) == 1
            assert call.heard.of("error") == []

    async def test_a_result_the_old_link_took_with_it(self) -> None:
        """Sent, but never answered: it is told again, with its call."""
        async with calling() as call:
            waits = RealtimeTurn("Let me see", calls=(("weather", {}),), hold=True)
            call.sim.answers(waits, "Clear.")
            await call.provider.inject_text(call.session, "weather?")
            await until(lambda: call.heard.of("tool_call"))
            call_id = call.heard.of("tool_call")[0][0]
            await call.provider.submit_tool_result(call.session, call_id, '"clear"')
            await call.sim.arrived("conversation.item.create", 2)
            call.sim.cut()
            await until(lambda: call.clock.sleepers)
            await call.clock.advance(0.5)
            await until(lambda: call.heard.finals)
            items = [event["item"] for event in call.sim.of("conversation.item.create")]
            told = [item["type"] for item in items]
            assert told[2:] == ["message", "function_call", "function_call_output"]
            assert call.heard.finals == [("assistant", "Clear.")]
            assert call.heard.of("error") == []

    async def test_after_failed_attempts_the_end_is_told(self) -> None:
        """Once, with the state ENDED; three attempts at 0.5, 1 and 2 seconds."""
        async with calling() as call:
            call.sim.refuse(503, 503, 503)
            call.sim.cut()
            for delay in (0.5, 1.0, 2.0):
                await until(lambda: call.clock.sleepers)
                assert call.heard.of("error") == []
                await call.clock.advance(delay)
                await until(lambda: call.clock.sleepers or call.heard.of("error"))
            await until(lambda: call.heard.of("error"))
            assert [code for code, _ in call.heard.of("error")] == ["connection_closed"]
            assert call.session.state is RealtimeSessionState.ENDED
            assert call.sim.handshakes == 4
            await call.provider.send_audio(call.session, b"ab")
            await call.provider.inject_text(call.session, "hello")
            await call.provider.disconnect(call.session)

    async def test_a_server_that_flaps_is_given_up(self) -> None:
        """Links that last less than a minute count as failed attempts."""
        async with calling() as call:
            for delay in (0.5, 1.0, 2.0):
                call.sim.cut()
                await until(lambda: call.clock.sleepers)
                await call.clock.advance(delay)
                await call.sim.connected(1)
                await until(lambda: call.session.state is RealtimeSessionState.ACTIVE)
            call.sim.cut()
            await until(lambda: call.heard.of("error"))
            assert call.session.state is RealtimeSessionState.ENDED

    async def test_a_link_that_lasted_has_all_attempts_again(self) -> None:
        """A minute of health forgives."""
        async with calling(max_reconnects=1) as call:
            for _ in range(3):
                await call.clock.advance(60)
                call.sim.cut()
                await until(lambda: call.clock.sleepers)
                await call.clock.advance(0.5)
                await call.sim.connected(1)
                await until(lambda: call.session.state is RealtimeSessionState.ACTIVE)
            assert call.heard.of("error") == []

    async def test_a_key_that_is_refused_is_not_tried_again(self) -> None:
        """401 is final."""
        async with calling() as call:
            call.sim.refuse(401)
            call.sim.cut()
            await until(lambda: call.clock.sleepers)
            await call.clock.advance(0.5)
            await until(lambda: call.heard.of("error"))
            assert call.sim.handshakes == 2

    async def test_without_reconnects_the_end_is_told_at_once(self) -> None:
        """``max_reconnects=0``."""
        async with calling(max_reconnects=0) as call:
            call.sim.cut()
            await until(lambda: call.heard.of("error"))
            assert call.session.state is RealtimeSessionState.ENDED
