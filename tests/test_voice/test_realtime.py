"""The realtime voice channel between mocks: sessions, audio, speech, transcripts, tools."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    HookExecution,
    HookResult,
    HookTrigger,
    ProviderError,
    RoomKit,
    TextContent,
)
from roomkit.channels.host import GateAnswer
from roomkit.channels.realtime_voice import RealtimeVoiceChannel
from roomkit.core.services.host import EngineHost
from roomkit.exceptions import InvalidInputError
from roomkit.models.event import EventSource, RoomEvent
from roomkit.testing import SimpleChannel
from roomkit.voice.pipeline.config import AudioPipelineConfig
from roomkit.voice.pipeline.diarization_provider import DiarizationResult
from roomkit.voice.pipeline.mock import MockDenoiserProvider, MockDiarizationProvider
from roomkit.voice.realtime import (
    MockRealtimeProvider,
    MockRealtimeTransport,
    RealtimeSession,
    RealtimeSessionState,
)
from tests.support.kits import ROOM, messages, open_room, texts
from tests.test_voice._realtime import CONNECTION, Host, Live, live, until

if TYPE_CHECKING:
    from roomkit.voice.events import SpeakerChangeEvent


class TestSessions:
    """Begun once, ended once, and nothing left of a failure."""

    async def test_a_session_is_announced_and_its_end_too(self) -> None:
        """Both framework events carry what the contract says."""
        async with live() as world:
            session = world.session
            assert session.state is RealtimeSessionState.ACTIVE
            told = world.ears.of("voice_connected")[0]
            assert told.data == {
                "session_id": session.id,
                "participant_id": "pat",
                "provider": "MockRealtimeProvider",
            }
            await world.kit.disconnect_realtime_voice(session)
            assert session.state is RealtimeSessionState.ENDED
            await until(lambda: world.ears.of("voice_disconnected"))
            told = world.ears.of("voice_disconnected")[0]
            assert told.data == {"session_id": session.id, "participant_id": "pat"}
            assert world.channel.sessions == []

    async def test_voice_disconnected_is_told_once(self) -> None:
        """However often, and from wherever, a session is ended."""
        async with live() as world:
            session = world.session
            await asyncio.gather(*(world.channel.end_session(session) for _ in range(3)))
            await world.transport.simulate_client_disconnect(session)
            await world.channel.end_session(session)
        assert len(world.ears.of("voice_disconnected")) == 1
        calls = [call.method for call in world.provider.calls]
        assert calls.count("disconnect") == 1

    async def test_a_caller_who_leaves_ends_the_session(self) -> None:
        """The model's side is closed as well."""
        async with live() as world:
            await world.transport.simulate_client_disconnect(world.session)
            await until(lambda: world.ears.of("voice_disconnected"))
            assert world.session.state is RealtimeSessionState.ENDED
            assert world.provider.calls[-1].method == "disconnect"

    async def test_one_leaver_ends_only_his_session(self) -> None:
        """The other one of the same room goes on."""
        async with live() as world:
            other = await world.start()
            await world.transport.simulate_client_disconnect(world.session)
            await until(lambda: world.channel.sessions == [other])
            await world.transport.simulate_client_audio(other, b"ab")
            await until(lambda: world.provider.sent_audio == [(other.id, b"ab")])

    async def test_metadata_overrides_settings(self) -> None:
        """A key that is there wins, even with None."""
        async with live(system_prompt="be kind", voice="ash", temperature=0.5) as world:
            await world.start(system_prompt=None, voice="sage", provider_config={"speed": 1.2})
            args = [call.args for call in world.provider.calls if call.method == "connect"]
            assert args[0]["system_prompt"] == "be kind"
            assert args[0]["input_sample_rate"] == 16000
            assert args[0]["output_sample_rate"] == 24000
            assert args[1]["system_prompt"] is None
            assert (args[1]["voice"], args[1]["temperature"]) == ("sage", 0.5)

    async def test_metadata_is_kept_by_reference(self) -> None:
        """What the application changes later is seen."""
        given: dict[str, Any] = {}
        async with live() as world:
            session = await world.channel.start_session(ROOM, "x", CONNECTION, metadata=given)
            assert session.metadata is given

    async def test_a_failed_connect_is_rolled_back(self) -> None:
        """The transport is let go of, nothing is announced, the error is the provider's."""

        class Broken(MockRealtimeProvider):
            async def connect(self, session: RealtimeSession, **settings: Any) -> None:
                raise ProviderError("no such model")

        async with RoomKit() as kit:
            world = Live(kit, provider=Broken())
            await open_room(kit, world.channel)
            with pytest.raises(ProviderError, match="no such model"):
                await world.start()
            assert [call.method for call in world.transport.calls] == ["accept", "disconnect"]
            assert world.channel.sessions == []
            assert world.ears.of("voice_connected") == []
        assert world.ears.of("voice_disconnected") == []

    async def test_a_cancelled_start_is_rolled_back(self) -> None:
        """The cancellation passes, after both sides were let go of."""
        connecting = asyncio.Event()

        class Slow(MockRealtimeProvider):
            async def connect(self, session: RealtimeSession, **settings: Any) -> None:
                connecting.set()
                await asyncio.Event().wait()

        async with RoomKit() as kit:
            world = Live(kit, provider=Slow())
            await open_room(kit, world.channel)
            starting = asyncio.create_task(world.start())
            await connecting.wait()
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            assert world.channel.sessions == []
            assert world.transport.calls[-1].method == "disconnect"

    async def test_a_caller_who_leaves_while_connecting(self) -> None:
        """The start fails with a cause; nothing is announced."""
        world: Live

        class Leaving(MockRealtimeProvider):
            async def connect(self, session: RealtimeSession, **settings: Any) -> None:
                await super().connect(session, **settings)
                await world.transport.simulate_client_disconnect(session)

        async with RoomKit() as kit:
            world = Live(kit, provider=Leaving())
            await open_room(kit, world.channel)
            with pytest.raises(ProviderError, match="ended while"):
                await world.start()
            assert world.channel.sessions == []
        assert world.ears.of("voice_connected") == []

    async def test_a_session_is_registered_before_it_is_accepted(self) -> None:
        """Who leaves during accept is known; audio of that moment is counted, not sent."""
        seen: list[int] = []
        world: Live

        class Early(MockRealtimeTransport):
            async def accept(self, session: RealtimeSession, connection: Any) -> None:
                await super().accept(session, connection)
                await self.simulate_client_audio(session, b"xx")
                stats = world.channel.stats(session)
                seen.append(-1 if stats is None else stats.frames_in)

        async with RoomKit() as kit:
            world = Live(kit, transport=Early())
            await open_room(kit, world.channel)
            await world.start()
            assert seen == [1]
            assert world.provider.sent_audio == []

    async def test_the_kit_ends_all_sessions(self) -> None:
        """Provider and transport are closed once, after the sessions."""
        async with live() as world:
            await world.start()
        assert [call.method for call in world.provider.calls][-3:] == [
            "disconnect",
            "disconnect",
            "close",
        ]
        assert world.transport.calls[-1].method == "close"
        await world.channel.close()
        assert world.provider.calls[-2].method == "disconnect"

    async def test_a_closed_channel_takes_nobody(self) -> None:
        """It says so."""
        async with live() as world:
            pass
        with pytest.raises(InvalidInputError, match="closed"):
            await world.channel.start_session(ROOM, "pat", CONNECTION)

    async def test_a_side_that_hangs_does_not_keep_the_other(self) -> None:
        """A provider that fails to disconnect is logged; the transport is let go of."""

        class Failing(MockRealtimeProvider):
            async def disconnect(self, session: RealtimeSession) -> None:
                raise OSError("gone")

        async with live(provider=Failing()) as world:
            await world.channel.end_session(world.session)
            assert world.transport.calls[-1].method == "disconnect"
            assert world.session.state is RealtimeSessionState.ENDED

    async def test_a_hook_may_end_its_own_session(self) -> None:
        """Nothing waits for itself."""
        async with live() as world:

            @world.kit.hook(HookTrigger.ON_SPEECH_END, HookExecution.ASYNC)
            async def hang_up(session: RealtimeSession, context: Any) -> None:
                await world.channel.end_session(session)

            await world.provider.simulate_speech_end(world.session)
            await until(lambda: world.ears.of("voice_disconnected"))

    def test_senseless_rates_are_refused(self) -> None:
        """A rate of 0 is a mistake."""
        with pytest.raises(InvalidInputError, match="positive"):
            RealtimeVoiceChannel(
                "live",
                provider=MockRealtimeProvider(),
                transport=MockRealtimeTransport(),
                input_sample_rate=0,
            )

    def test_info_and_capabilities(self) -> None:
        """What people and the engine are told."""
        channel = RealtimeVoiceChannel(
            "live",
            provider=MockRealtimeProvider(),
            transport=MockRealtimeTransport(),
            system_prompt="",
            voice="ash",
        )
        assert channel.info == {
            "provider": "MockRealtimeProvider",
            "transport": "MockRealtimeTransport",
            "system_prompt": True,
            "voice": "ash",
        }
        assert channel.capabilities().custom == {"realtime": True, "server_vad": True}
        assert channel.capabilities().supports_audio


class TestAudio:
    """In order, bounded, and quiet at once when somebody speaks."""

    async def test_audio_flows_both_ways_in_order(self) -> None:
        """What one side says the other hears."""
        async with live() as world:
            for number in range(200):
                await world.transport.simulate_client_audio(world.session, bytes([number, 0]))
                await world.provider.simulate_audio(world.session, bytes([0, number]))
                await asyncio.sleep(0)
            await until(lambda: len(world.provider.sent_audio) == 200)
            assert [audio[0] for _, audio in world.provider.sent_audio] == list(range(200))
            assert [audio[1] for _, audio in world.transport.sent_audio] == list(range(200))

    async def test_audio_outside_active_is_counted(self) -> None:
        """While the provider connects again nothing is sent."""
        async with live() as world:
            world.session.state = RealtimeSessionState.CONNECTING
            await world.transport.simulate_client_audio(world.session, b"ab")
            stats = world.channel.stats(world.session)
            assert stats is not None
            assert stats.frames_in == 1
            assert world.provider.sent_audio == []

    async def test_a_slow_model_gets_the_newest_frames(self) -> None:
        """50 frames wait; older ones are dropped and counted."""
        gate = asyncio.Event()

        class Slow(MockRealtimeProvider):
            async def send_audio(self, session: RealtimeSession, audio: bytes) -> None:
                await gate.wait()
                await super().send_audio(session, audio)

        async with live(provider=Slow()) as world:
            for number in range(100):
                await world.transport.simulate_client_audio(world.session, bytes([number, 0]))
            stats = world.channel.stats(world.session)
            assert stats is not None
            assert stats.frames_in == 49
            gate.set()
            await until(lambda: len(world.provider.sent_audio) == 51)
            heard = [audio[0] for _, audio in world.provider.sent_audio]
            assert heard == [0, *range(50, 100)]

    async def test_speech_clears_what_the_caller_was_not_sent(self) -> None:
        """clear_audio goes out first, before any hook and before messages that wait."""
        gate, hooked = asyncio.Event(), asyncio.Event()

        class Slow(MockRealtimeTransport):
            async def send_audio(self, session: RealtimeSession, audio: bytes) -> None:
                await super().send_audio(session, audio)
                await gate.wait()

        async with live(transport=Slow()) as world:

            @world.kit.hook(HookTrigger.ON_SPEECH_START, HookExecution.ASYNC)
            async def slow(session: RealtimeSession, context: Any) -> None:
                await hooked.wait()

            for number in range(10):
                await world.provider.simulate_audio(world.session, bytes([number, 0]))
            await world.provider.simulate_response_end(world.session)
            await world.provider.simulate_speech_start(world.session)
            gate.set()
            await until(lambda: len(world.transport.sent_messages) == 3)
            assert [audio[0] for _, audio in world.transport.sent_audio] == [0]
            assert world.transport.sent_messages[0][1] == {"type": "clear_audio"}
            hooked.set()

    async def test_audio_for_a_caller_who_takes_none_is_bounded(self) -> None:
        """300 seconds wait; the rest is dropped and counted."""
        gate = asyncio.Event()

        class Slow(MockRealtimeTransport):
            async def send_audio(self, session: RealtimeSession, audio: bytes) -> None:
                await gate.wait()

        async with live(transport=Slow(), output_sample_rate=100) as world:
            for _ in range(400):
                await world.provider.simulate_audio(world.session, bytes(200))
            stats = world.channel.stats(world.session)
            assert stats is not None
            assert stats.frames_out == 99
            gate.set()

    async def test_another_rate_of_the_callers_is_converted(self) -> None:
        """8 kHz callers, a model of 16 and 24 kHz."""
        async with live(transport_sample_rate=8000) as world:
            await world.transport.simulate_client_audio(world.session, bytes(1600))
            await world.provider.simulate_audio(world.session, bytes(4800))
            await until(lambda: world.provider.sent_audio and world.transport.sent_audio)
            assert len(world.provider.sent_audio[0][1]) == 3200
            assert len(world.transport.sent_audio[0][1]) == 1600

    async def test_stages_of_a_pipeline_hear_the_caller_first(self) -> None:
        """The model gets what the denoiser left; a new speaker is told to hooks."""
        told: list[SpeakerChangeEvent] = []
        denoiser = MockDenoiserProvider()
        speakers = MockDiarizationProvider([DiarizationResult("ann", 0.9, True)])
        config = AudioPipelineConfig(denoiser=denoiser, diarization=speakers)
        async with live(pipeline=config, transport_sample_rate=8000) as world:

            @world.kit.hook(HookTrigger.ON_SPEAKER_CHANGE, HookExecution.ASYNC)
            async def hear(event: SpeakerChangeEvent, context: Any) -> None:
                told.append(event)

            await world.transport.simulate_client_audio(world.session, bytes(321))
            await until(lambda: told)
            assert told[0].speaker_id == "ann"
            assert told[0].session is world.session
            assert [len(frame.data) for frame in denoiser.frames] == [320]
            assert len(world.provider.sent_audio[0][1]) == 640
        assert denoiser.closed

    async def test_sessions_that_are_unknown_are_ignored(self) -> None:
        """Callbacks of another channel's sessions change nothing."""
        stranger = RealtimeSession("x", ROOM, "pat", "other")
        async with live() as world:
            await world.provider.simulate_audio(stranger, b"ab")
            await world.transport.simulate_client_audio(stranger, b"ab")
            await world.provider.simulate_speech_start(stranger)
            await world.provider.simulate_speech_end(stranger)
            await world.provider.simulate_response_start(stranger)
            await world.provider.simulate_transcription(stranger, "hello")
            await world.provider.simulate_tool_call(stranger, "c", "tool")
            await world.provider.simulate_error(stranger, "code", "text")
            await world.transport.simulate_client_disconnect(stranger)
            await world.channel.end_session(stranger)
            assert world.channel.stats(stranger) is None
            assert world.transport.sent_audio == []
            assert world.provider.sent_audio == []


class TestSpeech:
    """Who speaks is shown to the caller and told to hooks."""

    async def test_speech_start_and_end(self) -> None:
        """Hooks get the session; the caller is shown both moments."""
        heard: list[Any] = []
        async with live() as world:
            for trigger in (HookTrigger.ON_SPEECH_START, HookTrigger.ON_SPEECH_END):

                @world.kit.hook(trigger, HookExecution.ASYNC)
                async def hear(session: RealtimeSession, context: Any) -> None:
                    heard.append(session)

            await world.provider.simulate_speech_start(world.session)
            await world.provider.simulate_speech_end(world.session)
            await until(lambda: len(heard) == 2)
            assert heard == [world.session] * 2
            assert world.messages("clear_audio") == [{"type": "clear_audio"}]
            assert [m["speaking"] for m in world.messages("speaking")] == [True, False]
            assert {m["who"] for m in world.messages("speaking")} == {"user"}

    async def test_responses_are_shown(self) -> None:
        """The assistant's speaking comes and goes."""
        async with live() as world:
            await world.provider.simulate_response_start(world.session)
            await world.provider.simulate_response_end(world.session)
            await until(lambda: len(world.messages("speaking")) == 2)
            assert {m["who"] for m in world.messages("speaking")} == {"assistant"}


class TestTranscripts:
    """Asked for at the gates, shown to the caller, kept by the room."""

    async def test_final_transcripts_become_events(self) -> None:
        """The caller's under their name, the model's under none; partial ones are only shown."""
        async with live() as world:
            say = world.provider.simulate_transcription
            await say(world.session, "hel", "user", False)
            await say(world.session, "hello", "user")
            await say(world.session, "good morning")
            await until(lambda: len(world.messages("transcription")) == 3)
            await world.channel.end_session(world.session)
            events = await messages(world.kit)
            assert texts(events) == ["hello", "good morning"]
            assert [event.source.participant_id for event in events] == ["pat", None]
            assert events[0].metadata["source"] == "realtime_voice"
            assert events[0].metadata["role"] == "user"
            assert events[0].metadata["voice_session_id"] == world.session.id
            assert world.messages("transcription")[0] == {
                "type": "transcription",
                "text": "hel",
                "role": "user",
                "is_final": False,
            }

    async def test_a_blocked_transcript_is_neither_shown_nor_kept(self) -> None:
        """The gate sees every chunk."""
        seen: list[tuple[str, bool]] = []
        async with live() as world:

            @world.kit.hook(HookTrigger.ON_TRANSCRIPTION)
            async def gate(event: Any, context: Any) -> HookResult[Any]:
                seen.append((event.text, event.is_final))
                return HookResult.block("secret") if "pin" in event.text else HookResult.allow()

            await world.provider.simulate_transcription(world.session, "my pin", "user", False)
            await world.provider.simulate_transcription(world.session, "my pin is 1", "user")
            await world.provider.simulate_transcription(world.session, "I see")
            await until(lambda: len(seen) == 3)
            await world.channel.end_session(world.session)
            assert [m["text"] for m in world.messages("transcription")] == ["I see"]
            assert texts(await messages(world.kit)) == ["I see"]

    async def test_a_modified_transcript_is_what_counts(self) -> None:
        """A gate may answer with text."""
        async with live() as world:

            @world.kit.hook(HookTrigger.ON_TRANSCRIPTION)
            async def gate(event: Any, context: Any) -> HookResult[Any]:
                return HookResult.modify("[redacted]")

            await world.provider.simulate_transcription(world.session, "4111", "user")
            await until(lambda: world.messages("transcription"))
            await world.channel.end_session(world.session)
            assert texts(await messages(world.kit)) == ["[redacted]"]

    async def test_transcripts_are_only_shown_when_asked(self) -> None:
        """``emit_transcription_events=False`` keeps the timeline empty."""
        async with live(emit_transcription_events=False) as world:
            await world.provider.simulate_transcription(world.session, "hello", "user")
            await until(lambda: world.messages("transcription"))
            await world.channel.end_session(world.session)
            assert await messages(world.kit) == []

    async def test_the_last_words_are_kept(self) -> None:
        """A transcript that waits at a gate when the caller hangs up still arrives."""
        gate_open = asyncio.Event()
        async with live() as world:

            @world.kit.hook(HookTrigger.ON_TRANSCRIPTION)
            async def gate(event: Any, context: Any) -> HookResult[Any]:
                await gate_open.wait()
                return HookResult.allow()

            await world.provider.simulate_transcription(world.session, "bye", "user")
            ending = asyncio.create_task(world.channel.end_session(world.session))
            await until(lambda: world.provider.calls[-1].method == "disconnect")
            gate_open.set()
            await ending
            assert texts(await messages(world.kit)) == ["bye"]

    async def test_a_slow_gate_does_not_hold_up_the_sound(self) -> None:
        """Audio goes on while a transcript waits."""
        gate_open = asyncio.Event()
        async with live() as world:

            @world.kit.hook(HookTrigger.ON_TRANSCRIPTION)
            async def gate(event: Any, context: Any) -> HookResult[Any]:
                await gate_open.wait()
                return HookResult.allow()

            for _ in range(100):
                await world.provider.simulate_transcription(world.session, "p", "user", False)
            await world.provider.simulate_audio(world.session, b"ab")
            await until(lambda: world.transport.sent_audio)
            stats = world.channel.stats(world.session)
            assert stats is not None
            assert stats.messages == 35
            gate_open.set()


class TestTools:
    """Run beside everything else, answered always."""

    @staticmethod
    def results(world: Live) -> dict[str, Any]:
        """Return what the model was given, by call."""
        return {call: json.loads(text) for _, call, text in world.provider.tool_results}

    async def test_a_handler_runs_the_tools(self) -> None:
        """Dicts go as JSON, text as it is, and no hook is asked."""

        async def handler(session: RealtimeSession, name: str, arguments: Any) -> Any:
            return {"name": name, **arguments} if name == "a" else "plain"

        async with live(tool_handler=handler) as world:
            await world.provider.simulate_tool_call(world.session, "1", "a", {"x": 1})
            await world.provider.simulate_tool_call(world.session, "2", "b")
            await until(lambda: len(world.provider.tool_results) == 2)
            assert dict((c, r) for _, c, r in world.provider.tool_results) == {
                "1": '{"name": "a", "x": 1}',
                "2": "plain",
            }

    async def test_calls_run_at_the_same_time(self) -> None:
        """The second need not wait for the first."""
        gate = asyncio.Event()

        async def handler(session: RealtimeSession, name: str, arguments: Any) -> str:
            if name == "slow":
                await gate.wait()
            return name

        async with live(tool_handler=handler) as world:
            await world.provider.simulate_tool_call(world.session, "1", "slow")
            await world.provider.simulate_tool_call(world.session, "2", "quick")
            await until(lambda: world.provider.tool_results)
            assert world.provider.tool_results[0][1] == "2"
            gate.set()
            await until(lambda: len(world.provider.tool_results) == 2)

    async def test_too_many_calls_are_answered_with_an_error(self) -> None:
        """8 run at once, 64 are under way, the others are told."""
        gate, running = asyncio.Event(), []

        async def handler(session: RealtimeSession, name: str, arguments: Any) -> str:
            running.append(name)
            await gate.wait()
            return '"done"'

        async with live(tool_handler=handler) as world:
            for number in range(70):
                await world.provider.simulate_tool_call(world.session, str(number), "t")
            assert len(running) == 8
            gate.set()
            await until(lambda: len(world.provider.tool_results) == 70)
            refused = [r for r in self.results(world).values() if r != "done"]
            assert len(refused) == 6
            assert "64" in refused[0]["error"]

    async def test_a_failing_tool_is_told_by_its_kind(self) -> None:
        """The text of an error may hold what the model must not repeat."""

        async def handler(session: RealtimeSession, name: str, arguments: Any) -> str:
            raise LookupError("secret table")

        async with live(tool_handler=handler) as world:
            await world.provider.simulate_tool_call(world.session, "1", "a")
            await until(lambda: world.provider.tool_results)
            assert self.results(world) == {"1": {"error": "the tool failed (LookupError)"}}

    async def test_a_tool_that_hangs_is_ended(self) -> None:
        """After ``tool_timeout``."""

        async def handler(session: RealtimeSession, name: str, arguments: Any) -> str:
            await asyncio.Event().wait()
            return ""

        async with live(tool_handler=handler, tool_timeout=0.01) as world:
            await world.provider.simulate_tool_call(world.session, "1", "a")
            await until(lambda: world.provider.tool_results)
            assert self.results(world) == {"1": {"error": "the tool took too long"}}

    async def test_a_result_too_long_is_cut(self) -> None:
        """What is given stays JSON."""

        async def handler(session: RealtimeSession, name: str, arguments: Any) -> Any:
            return {"rows": "x" * 100_000} if name == "a" else "y" * 100_000

        async with live(tool_handler=handler) as world:
            await world.provider.simulate_tool_call(world.session, "1", "a")
            await world.provider.simulate_tool_call(world.session, "2", "b")
            await until(lambda: len(world.provider.tool_results) == 2)
            given = {call: text for _, call, text in world.provider.tool_results}
            assert json.loads(given["1"])["cut"] is True
            assert len(given["2"]) == 64 * 1024

    async def test_without_handler_a_hook_answers(self) -> None:
        """By modifying the call into an event whose metadata holds the result."""
        async with live() as world:

            @world.kit.hook(HookTrigger.ON_REALTIME_TOOL_CALL)
            async def answer(call: Any, context: Any) -> HookResult[Any]:
                if call.name == "forbidden":
                    return HookResult.block("not for you")
                if call.name == "allowed":
                    return HookResult.allow()
                event = RoomEvent(
                    room_id=ROOM,
                    source=EventSource(channel_id="live", channel_type="realtime_voice"),
                    content=TextContent(body=""),
                    metadata={"result": {"sky": "clear"}},
                )
                return HookResult(action="modify", event=event)

            for call_id, name in (("1", "weather"), ("2", "forbidden"), ("3", "allowed")):
                await world.provider.simulate_tool_call(world.session, call_id, name)
            await until(lambda: len(world.provider.tool_results) == 3)
            assert self.results(world) == {
                "1": {"sky": "clear"},
                "2": {"error": "not for you"},
                "3": {"status": "ok"},
            }

    async def test_without_handler_and_hook_a_call_is_fine(self) -> None:
        """The model is told that all is well."""
        async with live() as world:
            await world.provider.simulate_tool_call(world.session, "1", "a")
            await until(lambda: world.provider.tool_results)
            assert self.results(world) == {"1": {"status": "ok"}}

    async def test_a_tool_under_way_ends_with_its_session(self) -> None:
        """Nothing is submitted afterwards."""
        cancelled: list[bool] = []

        async def handler(session: RealtimeSession, name: str, arguments: Any) -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise
            return ""

        async with live(tool_handler=handler) as world:
            await world.provider.simulate_tool_call(world.session, "1", "a")
            await world.channel.end_session(world.session)
            assert cancelled == [True]
            assert world.provider.tool_results == []


class TestErrors:
    """Told, and the end when there is no way back."""

    async def test_a_passing_error_changes_nothing(self) -> None:
        """The session goes on."""
        async with live() as world:
            await world.provider.simulate_error(world.session, "rate_limit", "slow down")
            assert world.channel.sessions == [world.session]

    async def test_a_link_lost_for_good_ends_the_session(self) -> None:
        """The caller is told and let go, the room hears why; never silence."""
        async with live() as world:
            world.session.state = RealtimeSessionState.ENDED
            await world.provider.simulate_error(world.session, "connection_closed", "lost")
            await until(lambda: world.ears.of("voice_disconnected"))
            assert world.ears.of("voice_disconnected")[0].data["reason"] == "connection_closed"
            assert world.messages("session_ended") == [
                {"type": "session_ended", "code": "connection_closed"}
            ]
            assert world.transport.calls[-1].method == "disconnect"


class TestRoom:
    """What is written in the room reaches the model."""

    async def test_text_of_others_is_told_to_the_model(self) -> None:
        """Under the role its metadata names; hooks hear of it."""
        injected: list[Any] = []
        async with live() as world:
            world.kit.register_channel(SimpleChannel("chat"))
            await world.kit.attach_channel(ROOM, "chat")

            @world.kit.hook(HookTrigger.ON_REALTIME_TEXT_INJECTED, HookExecution.ASYNC)
            async def hear(event: RoomEvent, context: Any) -> None:
                injected.append(event)

            await world.kit.send_event(ROOM, "chat", TextContent(body="look at this"))
            await world.kit.send_event(
                ROOM, "chat", TextContent(body="as me"), metadata={"inject_role": "user"}
            )
            await until(lambda: len(injected) == 2)
            assert world.provider.injected_texts == [
                (world.session.id, "look at this", "system"),
                (world.session.id, "as me", "user"),
            ]

    async def test_its_own_words_are_not_told_back(self) -> None:
        """A transcript does not come back as text."""
        async with live() as world:
            await world.provider.simulate_transcription(world.session, "hello", "user")
            await world.channel.end_session(world.session)
            assert world.provider.injected_texts == []

    async def test_another_room_hears_nothing(self) -> None:
        """Text goes to the sessions of its room only."""
        async with live() as world:
            await world.kit.create_room("other")
            world.kit.register_channel(SimpleChannel("chat"))
            await world.kit.attach_channel("other", "live")
            await world.kit.attach_channel("other", "chat")
            await world.kit.send_event("other", "chat", TextContent(body="private"))
            assert world.provider.injected_texts == []

    async def test_a_failing_provider_is_contained(self) -> None:
        """The other session is told all the same."""

        class Picky(MockRealtimeProvider):
            async def inject_text(
                self, session: RealtimeSession, text: str, *, role: str = "user"
            ) -> None:
                if not self.injected_texts and not self.refused:
                    self.refused = True
                    raise OSError("gone")
                await super().inject_text(session, text, role=role)

            refused = False

        async with live(provider=Picky()) as world:
            other = await world.start()
            world.kit.register_channel(SimpleChannel("chat"))
            await world.kit.attach_channel(ROOM, "chat")
            await world.kit.send_event(ROOM, "chat", TextContent(body="hello"))
            await until(lambda: world.provider.injected_texts)
            assert world.provider.injected_texts == [(other.id, "hello", "system")]


class TestHost:
    """What the channel asks of the framework."""

    async def test_a_hosts_reason_and_metadata_reach_the_model(self) -> None:
        """The newer form: the hook's own metadata holds the result."""

        class Answering(Host):
            async def ask_gates(self, room_id: str, trigger: Any, payload: Any) -> GateAnswer:
                return GateAnswer(True, payload, metadata={"result": [1, 2]})

        provider, transport = MockRealtimeProvider(), MockRealtimeTransport()
        channel = RealtimeVoiceChannel("live", provider=provider, transport=transport)
        host = Answering()
        channel.set_framework(host)
        session = await channel.start_session(ROOM, "pat", CONNECTION)
        await provider.simulate_tool_call(session, "1", "a")
        await provider.simulate_response_start(session)
        await provider.simulate_response_end(session)
        await until(lambda: provider.tool_results and len(host.typing) == 2)
        assert provider.tool_results == [(session.id, "1", "[1, 2]")]
        data = {"session_id": session.id, "source": "realtime_voice"}
        assert host.typing == [
            (ROOM, "assistant", True, data),
            (ROOM, "assistant", False, data),
        ]
        await channel.close()

    async def test_a_channel_without_framework_works(self) -> None:
        """Audio flows; a tool call is answered with an error."""
        provider, transport = MockRealtimeProvider(), MockRealtimeTransport()
        channel = RealtimeVoiceChannel("live", provider=provider, transport=transport)
        session = await channel.start_session(ROOM, "pat", CONNECTION)
        await transport.simulate_client_audio(session, b"ab")
        await provider.simulate_transcription(session, "hello")
        await provider.simulate_tool_call(session, "1", "a")
        await until(lambda: provider.tool_results)
        assert "error" in json.loads(provider.tool_results[0][2])
        assert provider.sent_audio == [(session.id, b"ab")]
        await channel.close()

    async def test_the_engine_publishes_typing_where_it_is_told_how(self) -> None:
        """And tells nobody where it is not."""
        told: list[tuple[Any, ...]] = []

        async def publish(*values: Any) -> None:
            told.append(values)

        nothing: Any = None
        parts = [nothing] * 7
        await EngineHost(*parts).publish_typing(ROOM, "assistant")
        await EngineHost(*parts, publish).publish_typing(ROOM, "assistant", False, {"a": 1})
        assert told == [(ROOM, "assistant", False, {"a": 1})]
