"""Gemini's Live API against its simulator, over a real socket and TLS."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from roomkit.exceptions import InvalidInputError, ProviderError
from roomkit.providers.gemini.realtime import DEFAULT_LIVE_MODEL, GeminiLiveProvider
from roomkit.simulators.gemini_live import GeminiLiveSimulator, LiveTurn, tone
from roomkit.voice.realtime import RealtimeSessionState
from tests.test_voice._gemini_live import TOOL, Call, calling, knows
from tests.test_voice._realtime import until
from tests.test_voice._realtime_calls import QUIET, RATE


class TestSettings:
    """What the server is asked for."""

    async def test_every_setting_lands_where_the_vendor_wants_it(self) -> None:
        """Ours by their names, the rest through ``raw``, which is merged in last."""
        thinking = knows("LiveConnectConfig", "thinking_config")
        settings = {
            "system_prompt": "be kind",
            "voice": "Puck",
            "temperature": 0.7,
            "provider_config": {
                "language": "en-US",
                "top_p": 0.5,
                "top_k": 3,
                "max_output_tokens": 100,
                "seed": 7,
                "enable_affective_dialog": True,
                **({"thinking_budget": 64} if thinking else {}),
                "proactive_audio": True,
                "silence_duration_ms": 300,
                "prefix_padding_ms": 20,
                "no_interruption": True,
                "context_window_compression": True,
                "raw": {"speech_config": {"language_code": "fr-FR"}},
            },
        }
        async with calling(settings) as call:
            setup = call.sim.setup
            generation = setup["generationConfig"]
            assert generation["responseModalities"] == ["AUDIO"]
            assert (generation["temperature"], generation["topP"]) == (0.7, 0.5)
            assert (generation["topK"], generation["maxOutputTokens"]) == (3, 100)
            assert (generation["seed"], generation["enableAffectiveDialog"]) == (7, True)
            assert generation.get("thinkingConfig") == (
                {"thinkingBudget": 64} if thinking else None
            )
            assert generation["speechConfig"] == {
                "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Puck"}},
                "languageCode": "fr-FR",
            }
            assert setup["systemInstruction"]["parts"] == [{"text": "be kind"}]
            assert setup["inputAudioTranscription"] == setup["outputAudioTranscription"] == {}
            assert setup["proactivity"] == {"proactiveAudio": True}
            assert setup["sessionResumption"] == {}
            assert setup["contextWindowCompression"] == {"slidingWindow": {}}
            assert setup["realtimeInputConfig"] == {
                "automaticActivityDetection": {"silenceDurationMs": 300, "prefixPaddingMs": 20},
                "activityHandling": "NO_INTERRUPTION",
            }

    async def test_the_session_is_active_and_has_the_vendors_id(self) -> None:
        """Audio may flow as soon as ``connect`` has returned."""
        async with calling() as call:
            assert call.session.state is RealtimeSessionState.ACTIVE
            assert call.sim.connections == 1

    @pytest.mark.parametrize("word", ["high", "HIGH", "START_SENSITIVITY_HIGH"])
    async def test_sensitivities_by_any_of_their_names(self, word: str) -> None:
        """The vendor takes the whole word only."""
        config = {"start_of_speech_sensitivity": word, "end_of_speech_sensitivity": "low"}
        async with calling({"provider_config": config}) as call:
            assert call.sim.setup["realtimeInputConfig"]["automaticActivityDetection"] == {
                "startOfSpeechSensitivity": "START_SENSITIVITY_HIGH",
                "endOfSpeechSensitivity": "END_SENSITIVITY_LOW",
            }

    async def test_tools_keep_their_schema(self) -> None:
        """Also keys that Google's own form of a schema does not know; none means none."""
        tools = [TOOL, {"name": "now", "parameters": {"type": "object", "properties": {}}}]
        async with calling({"tools": tools}) as call:
            declared = [f for t in call.sim.setup["tools"] for f in t["functionDeclarations"]]
            assert declared[0]["parametersJsonSchema"] == TOOL["parameters"]
            assert declared[1] == {"name": "now"}

    async def test_thinking_in_levels(self) -> None:
        """The newer models' word for a budget; an SDK without it says so."""
        config = {"provider_config": {"thinking_level": "low"}}
        if not knows("ThinkingConfig", "thinking_level"):
            with pytest.raises(InvalidInputError, match="no thinking_level"):
                async with calling(config):
                    pytest.fail("it was taken")
            return
        async with calling(config) as call:
            generation = call.sim.setup["generationConfig"]
            assert generation["thinkingConfig"] == {"thinkingLevel": "LOW"}

    async def test_without_resumption(self) -> None:
        """Then no handles are asked for."""
        async with calling({"provider_config": {"session_resumption": False}}) as call:
            assert "sessionResumption" not in call.sim.setup

    @pytest.mark.parametrize(
        "config",
        [
            {"start_of_speech_sensitivity": "medium"},
            {"top_p": "much"},
            {"raw": {"no_such_field": 1}},
        ],
    )
    async def test_settings_that_make_no_sense(self, config: dict[str, Any]) -> None:
        """They are refused before anything is opened, without being quoted."""
        async with GeminiLiveSimulator() as sim:
            call = Call(sim)
            with pytest.raises(InvalidInputError) as caught:
                await call.connect(system_prompt="top secret", provider_config=config)
            assert "secret" not in str(caught.value)
            assert "much" not in str(caught.value)
            assert sim.handshakes == 0
            assert call.session.state is RealtimeSessionState.ENDED

    async def test_what_the_sdk_cannot_express(self) -> None:
        """A setting of Google's other platform fails the connect, for good."""
        async with GeminiLiveSimulator() as sim:
            call = Call(sim)
            config = {"raw": {"session_resumption": {"transparent": True}}}
            with pytest.raises(ProviderError) as caught:
                await call.connect(provider_config=config)
            assert not caught.value.retryable

    async def test_an_unknown_key_is_named(self, caplog: pytest.LogCaptureFixture) -> None:
        """A slip of the pen is not silent."""
        async with calling({"provider_config": {"tongue": "fr"}}):
            assert "provider_config has no tongue" in caplog.text

    async def test_a_refused_setting_fails_the_connect(self) -> None:
        """With the vendor's words; nothing stays open."""
        async with GeminiLiveSimulator() as sim:
            call = Call(sim)
            with pytest.raises(ProviderError, match=r"1008.*voice") as caught:
                await call.connect(voice="Nobody")
            assert not caught.value.retryable
            assert call.session.state is RealtimeSessionState.ENDED
            assert call.heard.all == []
            await sim.connected(0)

    async def test_a_wrong_key_is_refused(self) -> None:
        """The simulator knows one key only; the given one is not repeated."""
        async with GeminiLiveSimulator() as sim:
            call = Call(sim, api_key="wrong-gemini-key")
            with pytest.raises(ProviderError, match="API key not valid") as caught:
                await call.connect()
            assert "wrong-gemini-key" not in str(caught.value)

    async def test_nobody_there(self) -> None:
        """A server that does not answer is told by kind."""
        async with GeminiLiveSimulator() as sim:
            call = Call(sim)
        with pytest.raises(ProviderError, match="cannot be reached") as caught:
            await call.connect()
        assert caught.value.retryable

    async def test_a_server_with_another_certificate(self) -> None:
        """Without ``ca_file`` the simulator's is trusted by nobody."""
        async with GeminiLiveSimulator() as sim:
            call = Call(sim, ca_file=None)
            with pytest.raises(ProviderError, match="cannot be reached"):
                await call.connect()

    async def test_a_session_is_connected_once(self) -> None:
        """A second connect is a mistake, and the first link lives on."""
        async with calling() as call:
            with pytest.raises(InvalidInputError, match="already"):
                await call.connect()
            await call.provider.inject_text(call.session, "hello")
            await call.answered()

    async def test_options_of_the_sdk(self) -> None:
        """A mapping or the SDK's own object: headers and sockets are as it says."""
        from google.genai import types

        for options in ({"headers": {"x-one": "1"}}, types.HttpOptions(headers={"x-one": "1"})):
            async with calling(http_options=options) as call:
                await call.provider.inject_text(call.session, "hello")
                await call.answered()

    def test_a_provider_that_makes_no_sense(self) -> None:
        """A bad URL, number or option is refused at once."""
        for options in (
            {"api_base": "x"},
            {"max_reconnects": -1},
            {"send_timeout": 0},
            {"http_options": {"no_such_option": 1}},
            {"api_key": ""},
        ):
            with pytest.raises(InvalidInputError):
                GeminiLiveProvider(**{"api_key": "k", **options})
        with pytest.raises(OSError, match="No such file"):
            GeminiLiveProvider(api_key="k", ca_file="/nowhere.pem")

    def test_the_default_model(self) -> None:
        """The one programs know."""
        assert DEFAULT_LIVE_MODEL == "gemini-2.5-flash-native-audio-preview-12-2025"

    async def test_no_secret_in_logs_or_repr(self, caplog: pytest.LogCaptureFixture) -> None:
        """Not even at DEBUG, the WebSocket library's loggers included."""
        with caplog.at_level(logging.DEBUG):
            async with calling() as call:
                await call.speak()
                await call.answered()
                assert "sim-gemini-key" not in repr(call.provider)
        assert "sim-gemini-key" not in caplog.text


class TestConversation:
    """Said, heard, answered."""

    async def test_an_utterance_and_its_answer(self) -> None:
        """Transcripts and audio are told in their order, pieces first, each whole once."""
        async with calling() as call:
            call.sim.hears("What time is it?")
            call.sim.answers("It is nine.")
            await call.speak()
            await call.answered()
            assert call.heard.finals == [
                ("user", "What time is it?"),
                ("assistant", "It is nine."),
            ]
            pieces = [text for text, role, final in call.heard.of("transcription") if not final]
            assert pieces == ["What ", "time ", "is ", "it?", "It ", "is ", "nine."]
            assert call.heard.audio == tone(11 * 60)
            assert call.heard.kinds == ["response_start", "response_end"]

    async def test_the_vendors_signals(self) -> None:
        """Where it says when the caller speaks, that is told, once each."""
        if not knows("LiveServerMessage", "voice_activity"):
            pytest.skip("this google-genai does not know the signals")
        async with calling(sim={"signals": True}) as call:
            await call.speak()
            await call.answered()
            assert call.heard.kinds == [
                "speech_start",
                "speech_end",
                "response_start",
                "response_end",
            ]

    async def test_audio_goes_out_at_the_sessions_rate(self) -> None:
        """The vendor is told the rate, and hears every byte."""
        async with calling({"input_sample_rate": 8000}) as call:
            sound = tone(400, rate=8000) + bytes(8000 * 2)
            await call.provider.send_audio(call.session, sound)
            await call.answered()
            told = {event["audio"]["mimeType"] for event in call.sim.of("realtimeInput")}
            assert told == {"audio/pcm;rate=8000"}

    async def test_the_answer_comes_at_the_sessions_rate(self) -> None:
        """8 kHz out: a third of the bytes, the same duration."""
        async with calling({"output_sample_rate": 8000}) as call:
            call.sim.answers("Hello there.")
            await call.speak()
            await call.answered()
            assert len(call.heard.audio) == 12 * 60 * 8 * 2

    async def test_odd_pieces_of_audio(self) -> None:
        """Samples cut in two arrive whole."""
        async with calling() as call:
            sound = tone(400, rate=RATE) + QUIET
            for start in range(0, len(sound), 777):
                await call.provider.send_audio(call.session, sound[start : start + 777])
            await call.answered()
            assert call.heard.of("error") == []

    async def test_written_text_is_answered(self) -> None:
        """Roles are the user's or the model's; others count as the user's."""
        async with calling() as call:
            for count, role in enumerate(("user", "model", "system"), 1):
                await call.provider.inject_text(call.session, f"text {count}", role=role)
                await call.answered(count)
            roles = [event["turns"][0]["role"] for event in call.sim.of("clientContent")]
            assert roles == ["user", "model", "user"]

    async def test_models_that_take_text_as_realtime_input(self) -> None:
        """The 3.1 family closes the connection for anything else."""
        async with calling(sim={"model": "gemini-3.1-flash-live-preview"}) as call:
            await call.provider.inject_text(call.session, "one")
            await call.answered(1)
            await call.provider.inject_text(call.session, "two")
            await call.answered(2)
            texts = [event.get("text") for event in call.sim.of("realtimeInput")]
            assert texts == ["one", "two"]
            assert call.sim.handshakes == 1

    async def test_without_turn_detection_the_caller_ends_the_turn(self) -> None:
        """Audio begins it, ``commit_audio`` ends it, again and again."""
        async with calling({"server_vad": False}) as call:
            for count in (1, 2):
                await call.provider.send_audio(call.session, tone(300, rate=RATE))
                await call.provider.commit_audio(call.session)
                await call.answered(count)
            await call.provider.commit_audio(call.session)
            marks = [
                key
                for event in call.sim.of("realtimeInput")
                for key in event
                if key.startswith("activity")
            ]
            assert marks == ["activityStart", "activityEnd"] * 2
            assert call.sim.heard == [tone(300, rate=RATE)] * 2

    async def test_with_turn_detection_a_commit_ends_the_stream(self) -> None:
        """The model need not wait for a silence that will not be sent."""
        async with calling() as call:
            await call.provider.send_audio(call.session, tone(300, rate=RATE))
            await call.provider.commit_audio(call.session)
            await call.answered()
            assert {"audioStreamEnd": True} in call.sim.of("realtimeInput")

    async def test_a_model_that_writes(self) -> None:
        """Text in place of sound is the assistant's transcript."""
        config = {"response_modalities": ["TEXT"]}
        async with calling({"provider_config": config}) as call:
            call.sim.answers("In writing.")
            await call.speak()
            await call.answered()
            assert call.heard.finals[-1] == ("assistant", "In writing.")
            assert call.heard.audio == b""

    async def test_a_turn_that_was_not_said_to_its_end(self) -> None:
        """The reason is told as an error's code."""
        if not knows("LiveServerContent", "turn_complete_reason"):
            pytest.skip("this google-genai does not know the reason")
        async with calling() as call:
            call.sim.answers(LiveTurn("Well,", reason="RESPONSE_REJECTED"))
            await call.speak()
            await until(lambda: call.heard.of("error"))
            assert call.heard.of("error")[0][0] == "response_rejected"
            assert call.session.state is RealtimeSessionState.ACTIVE

    async def test_transcripts_marked_as_finished(self) -> None:
        """The mark ends a text, whatever comes after begins another one."""
        async with calling() as call:
            for text, finished in (("One ", False), ("two.", True), ("Three.", True)):
                transcription = {"text": text, "finished": finished}
                await call.sim.emit({"serverContent": {"inputTranscription": transcription}})
            await until(lambda: len(call.heard.finals) == 2)
            assert call.heard.finals == [("user", "One two."), ("user", "Three.")]

    @pytest.mark.parametrize(
        "message",
        [
            "no json",
            "[]",
            "7",
            "{}",
            {"something": {"new": 1}},
            {"serverContent": {"modelTurn": {"parts": [{"inlineData": {"data": 7}}]}}},
            {"serverContent": {"modelTurn": {"parts": [{"inlineData": {"data": "%%"}}]}}},
            {"serverContent": {"modelTurn": {"parts": 3}}},
            {"serverContent": {"inputTranscription": {}}},
            {"toolCall": {"functionCalls": [{}]}},
            {"toolCallCancellation": {"ids": ["nobody"]}},
            {"goAway": {"timeLeft": "soon"}},
            {"sessionResumptionUpdate": {"newHandle": "", "resumable": True}},
        ],
    )
    async def test_odd_messages_do_no_harm(self, message: Any) -> None:
        """Whatever comes, the next answer is heard."""
        async with calling() as call:
            await call.sim.emit(message)
            await call.sim.connected(1)
            await call.speak()
            await until(lambda: ("assistant", "All right.") in call.heard.finals)
            assert call.session.state is RealtimeSessionState.ACTIVE

    async def test_audio_of_another_rate(self) -> None:
        """The piece says which; without one it is 24 kHz."""
        async with calling() as call:
            for kind in ("audio/pcm;rate=48000", "audio/pcm", "image/png"):
                blob = {"mimeType": kind, "data": "AAAA" * 640}
                parts = [{"inlineData": blob}]
                await call.sim.emit({"serverContent": {"modelTurn": {"parts": parts}}})
            await call.sim.emit({"serverContent": {"turnComplete": True}})
            await call.answered()
            # Half of the first; a resampler keeps a little back.
            assert 1920 + 800 <= len(call.heard.audio) <= 1920 + 960

    async def test_a_transcript_that_comes_late(self) -> None:
        """It begins no answer: the caller would wait for its end."""
        async with calling() as call:
            await call.speak()
            await call.answered()
            await call.sim.emit({"serverContent": {"outputTranscription": {"text": "late"}}})
            await until(lambda: ("late", "assistant", False) in call.heard.of("transcription"))
            assert call.heard.kinds == ["response_start", "response_end"]
