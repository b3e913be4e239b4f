"""What one voice session says: hooks, transcription, and on into its room.

Two lanes keep the order: hooks are told of speech in one, utterances become messages in the
other. What has to stop a playback waits in neither.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit._aio import DeadlineExceeded, TaskSet, cancelled_from_within
from roomkit._logging import ids
from roomkit.channels._voice_barge_in import BargeIn, Over
from roomkit.channels._voice_faults import Fault
from roomkit.channels._voice_hearing import Lane
from roomkit.channels._voice_hooks import RoomHooks, contained
from roomkit.channels._voice_silence import SilenceWatch
from roomkit.channels._voice_turns import Turns
from roomkit.channels._voice_words import LiveTranscript, PreRoll, transcribe
from roomkit.exceptions import InvalidReturnError
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import HookTrigger
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.dtmf import DTMFDetectedEvent
from roomkit.voice.events import (
    PartialTranscriptionEvent,
    SpeakerChangeEvent,
    VADAudioLevelEvent,
    VADSilenceEvent,
)

if TYPE_CHECKING:
    from roomkit.channels._voice_faults import Faults
    from roomkit.channels._voice_hearing import Hearing, Work
    from roomkit.channels._voice_session import Speaker, VoiceParts
    from roomkit.models.channel import ChannelBinding
    from roomkit.voice.base import VoiceSession
    from roomkit.voice.pipeline.contract import AudioFormat

logger = logging.getLogger("roomkit.voice")

MOST_HOOKS = 1024
"""Hooks that wait for their turn; a further one is dropped and counted."""
MOST_LEVELS = 32
"""Waiting hooks beyond which silences, levels and partial texts are dropped."""
MOST_UTTERANCES = 16
"""Utterances that wait to become text; a further one is dropped and counted."""
MOST_INBOUND = 8
"""Messages on their way into the room at once; the next utterance waits."""

_ORDER_SECONDS = 1.0
_HOLD_SECONDS = 5.0


@dataclass(slots=True)
class _Speech:
    """What is known of an utterance when it ends."""

    audio: AudioFrame
    lasted_ms: float
    live: LiveTranscript | None
    over: Over | None


class Listener:
    """Listens to one session.

    Args:
        parts: What the channel shares.
        hearing: How to listen.
        session: The session.
        room_id: Its room, the only one its words go to.
        binding: The channel's place there.
        speaker: What is said to the session.
        faults: Counts what goes wrong.
    """

    def __init__(
        self,
        parts: VoiceParts,
        hearing: Hearing,
        session: VoiceSession,
        room_id: str,
        binding: ChannelBinding,
        speaker: Speaker,
        faults: Faults,
    ) -> None:
        self.binding = binding
        self._parts = parts
        self._how = hearing
        self._session = session
        self._room_id = room_id
        self._faults = faults
        self._hooks = hooks = RoomHooks(parts, room_id)
        self._tasks = TaskSet(f"voice_inbound:{session.id}")
        self._telling = Lane(f"voice_hooks:{session.id}", self._tasks)
        self._talking = Lane(f"voice_words:{session.id}", self._tasks)
        self._barge_in = BargeIn(parts, hearing.handler, session, hooks, speaker)
        self._entering = f"voice_inbound:{session.id}"
        self._going: set[asyncio.Task[Any]] = set()
        self._latest: asyncio.Task[Any] | None = None
        self._began: float | None = None
        self._live: LiveTranscript | None = None
        self._streaming = hearing.streaming
        self._ending = TaskSet(f"voice_stt_end:{session.id}")
        self._preroll = PreRoll(hearing.preroll_ms)
        self._closed = False
        self._turns: Turns | None = None
        if hearing.turns is not None:
            say, silence = self._say_in_room, hearing.silence_ms
            self._turns = Turns(parts, hearing.turns, session, hooks, self._telling, say, silence)
        self._silence: SilenceWatch | None = None

    @property
    def _deaf(self) -> bool:
        return self._closed or self._parts.host is None

    def _silenced(self) -> bool:
        return self._deaf or not self.binding.can_send

    def watch_silence(self) -> None:
        """Begin to watch for silence on both sides, if that is asked for; needs a loop."""
        limit = self._how.silence_timeout
        if limit is not None and self._silence is None:
            self._silence = SilenceWatch(limit, self._parts.clock, self._speaks, self._silent)
            self._ending.start(self._silence.run(), name=f"voice_silence:{self._session.id}")

    def _speaks(self) -> bool:
        return self._began is not None or self._session.id in self._parts.playing

    def _silent(self, seconds: float) -> None:
        self.silence(round(seconds * 1000))

    # -- what is heard ------------------------------------------------------------------------

    def frame(self, frame: AudioFrame) -> None:
        """Take a frame as the stages before the VAD left it."""
        self._barge_in.frame()
        if not self._streaming:
            return
        if self._live is not None:
            self._live.feed(frame)
        else:
            self._preroll.add(frame)

    def started(self) -> None:
        """Note that somebody begins to speak: a playback may have to stop at once."""
        if self._deaf:
            return
        if self._began is not None:
            self._faults.note(
                Fault.SPEECH_ENDLESS, "speech begins whose end before was never reported"
            )
        self._began = self._parts.clock.monotonic()
        if self._turns is not None:
            self._turns.hold()
            self._ending.start(self._let_go(self._began), name="voice_turn_hold")
        if not self._silenced():
            self._barge_in.speech_started()
        if self._streaming:
            self._open_stream()
        if self._hooks.watched(HookTrigger.ON_SPEECH_START):
            self._later(self._tell_start)

    def ended(
        self, audio: bytes | None, form: AudioFormat, spoken_ms: float | None = None
    ) -> None:
        """Note that somebody has spoken.

        Args:
            audio: The utterance as PCM; None or empty where there is nothing to recognise.
            form: Its format.
            spoken_ms: How long they spoke, where that is known.
        """
        live, self._live = self._live, None
        over = self._barge_in.speech_ended(spoken_ms)
        lasted = self._lasted(spoken_ms)
        if self._deaf:
            self._forget(live)
            return
        block = form.channels * form.sample_width
        whole = b"" if audio is None else audio[: len(audio) - len(audio) % block]
        if not whole:
            self._no_words(live)
            if self._hooks.watched(HookTrigger.ON_SPEECH_END):
                self._later(self._tell_end)
            return
        most = int(self._how.most_ms * form.sample_rate / 1000) * block
        if len(whole) > most:
            self._faults.note(Fault.UTTERANCE_CUT, "an utterance is too long and is cut")
            whole = whole[:most]
        frame = AudioFrame(whole, form.sample_rate, form.channels, form.sample_width)
        self._take(_Speech(frame, lasted, live, over))

    def _lasted(self, spoken_ms: float | None) -> float:
        """Return how long the speech that ends now lasted, in milliseconds."""
        began, self._began = self._began, None
        if self._silence is not None:
            self._silence.noise()
        if spoken_ms is not None:
            return spoken_ms
        return 0.0 if began is None else (self._parts.clock.monotonic() - began) * 1000

    def _take(self, speech: _Speech) -> None:
        """Let an utterance become text, after the hooks of its begin and end."""
        if self._telling.idle and not self._hooks.watched(HookTrigger.ON_SPEECH_END):
            self._recognise(speech)
        elif not self._later(partial(self._spoken, speech)):
            self._forget(speech.live)

    def partial(self, text: str, confidence: float, is_stable: bool) -> None:
        """Note speech so far."""
        if self._silenced():
            return
        self._barge_in.heard(text)
        if self._hooks.watched(HookTrigger.ON_PARTIAL_TRANSCRIPTION):
            event = PartialTranscriptionEvent(self._session, text, confidence, is_stable)
            self._tell(HookTrigger.ON_PARTIAL_TRANSCRIPTION, event)

    def silence(self, milliseconds: int) -> None:
        """Note that it is silent."""
        if not self._closed and self._hooks.watched(HookTrigger.ON_VAD_SILENCE):
            self._tell(HookTrigger.ON_VAD_SILENCE, VADSilenceEvent(self._session, milliseconds))

    @property
    def wants_levels(self) -> bool:
        """Whether anybody wants to know how loud it is."""
        return not self._closed and self._hooks.watched(HookTrigger.ON_VAD_AUDIO_LEVEL)

    def level(self, level_db: float, is_speech: bool) -> None:
        """Note how loud it is."""
        if self.wants_levels:
            event = VADAudioLevelEvent(self._session, level_db, is_speech)
            self._tell(HookTrigger.ON_VAD_AUDIO_LEVEL, event)

    def speaker_changed(self, speaker_id: str, confidence: float, is_new: bool) -> None:
        """Note that another person speaks."""
        if not self._closed and self._hooks.watched(HookTrigger.ON_SPEAKER_CHANGE):
            event = SpeakerChangeEvent(self._session, speaker_id, confidence, is_new)
            self._later(partial(self._hooks.tell, HookTrigger.ON_SPEAKER_CHANGE, event))

    def key(self, digit: str, duration_ms: float, confidence: float) -> None:
        """Note that a telephone key was pressed."""
        if not self._deaf and self._hooks.watched(HookTrigger.ON_DTMF):
            event = DTMFDetectedEvent(self._session, digit, duration_ms, confidence)
            self._later(partial(self._tell_key, event))

    def barged_in(self) -> None:
        """Note that the backend says somebody speaks over the playback."""
        if not self._silenced():
            self._barge_in.reported()

    def said(self, text: str) -> None:
        """Remember what was said to the session, for the turn detector."""
        if self._turns is not None:
            self._turns.answered(text)

    def _tell(self, trigger: HookTrigger, event: object) -> None:
        self._later(partial(self._hooks.tell, trigger, event), MOST_LEVELS)

    def _later(self, work: Work, most: int = MOST_HOOKS) -> bool:
        """Tell hooks of something after what came before; False when too much waits."""
        put = self._telling.put(work, most)
        if not put:
            self._faults.note(Fault.HOOK_DROPPED, "hooks are too slow: one is not told")
        return put

    # -- hooks --------------------------------------------------------------------------------

    async def _tell_start(self) -> None:
        if await self._may_listen():
            await self._hooks.tell(HookTrigger.ON_SPEECH_START, self._session)

    async def _tell_end(self) -> None:
        if self.binding.can_send:
            await self._hooks.tell(HookTrigger.ON_SPEECH_END, self._session)

    async def _tell_key(self, event: DTMFDetectedEvent) -> None:
        if await self._may_listen():
            await self._hooks.tell(HookTrigger.ON_DTMF, event)

    async def _may_listen(self) -> bool:
        """Learn whether the channel may still say something in the room."""
        host = self._parts.host
        if host is not None:
            found = await contained(
                host.find_binding(self._room_id, self._parts.channel_id), "looking up a binding"
            )
            self.binding = found or self.binding
        return self.binding.can_send

    # -- words --------------------------------------------------------------------------------

    def _open_stream(self) -> None:
        stt = self._how.stt
        self._forget(self._live)
        self._live = None
        if stt is None or self._silenced():
            return
        self._live = LiveTranscript(
            stt, self._session, self.partial, self._how.most_ms, self._may_listen, self._faults
        )
        for frame in self._preroll.take():
            self._live.feed(frame)

    def _forget(self, live: LiveTranscript | None) -> None:
        if live is not None:
            self._ending.start(live.cancel(), name="voice_stt_end")

    def _no_words(self, live: LiveTranscript | None = None) -> None:
        """Go on as if nothing had been said."""
        self._forget(live)
        if self._turns is not None:
            self._turns.resume()

    async def _spoken(self, speech: _Speech) -> None:
        if self._hooks.watched(HookTrigger.ON_SPEECH_END):
            if not await self._may_listen():
                self._no_words(speech.live)
                return
            await self._hooks.tell(HookTrigger.ON_SPEECH_END, self._session)
        self._recognise(speech)

    def _recognise(self, speech: _Speech) -> None:
        if self._how.stt is None:
            extra = ids(session_id=self._session.id, room_id=self._room_id)
            logger.warning("nothing turns speech into text: stt is missing", extra=extra)
            self._no_words(speech.live)
        elif not self._talking.put(partial(self._utterance, speech), MOST_UTTERANCES):
            self._faults.note(
                Fault.UTTERANCE_DROPPED, "an utterance is dropped: too many wait for the stt"
            )
            self._no_words(speech.live)

    async def _utterance(self, speech: _Speech) -> None:
        """Turn an utterance into text, and the text into a message of the room."""
        if not await self._may_listen():
            self._no_words(speech.live)
            return
        text = await self._recognised(speech)
        if not text.strip():
            logger.debug("nothing was said")
            self._no_words()
            return
        await self._barge_in.judge_words(speech.over, text)
        await self._parts.show(self._session, text, "user")
        left = await self._hooks.ask(HookTrigger.ON_TRANSCRIPTION, text)
        if left is None or not left.strip():
            self._no_words()
        elif self._turns is None:
            await self._say_in_room(left)
        else:
            await self._turns.add(left, speech.lasted_ms)

    async def _recognised(self, speech: _Speech) -> str:
        """Return the words of an utterance; none when the recogniser failed."""
        timeout, stt = self._how.stt_timeout, self._how.stt
        if speech.live is not None:
            text = await speech.live.finish(timeout)
            if text is not None:
                return text
        if stt is None:
            return ""
        try:
            return await transcribe(stt, speech.audio, timeout)
        except asyncio.CancelledError as exc:
            if not cancelled_from_within():
                raise
            self._faults.note(Fault.STT_FAILED, "an utterance is lost: stt failed", exc)
        except DeadlineExceeded as exc:
            self._faults.note(Fault.STT_TIMEOUT, "an utterance is lost: stt is too slow", exc)
        except InvalidReturnError as exc:
            self._faults.note(Fault.STT_GARBAGE, "an utterance is lost: stt gave no text", exc)
        except Exception as exc:  # noqa: BLE001 - a border: the next utterance may be understood
            self._faults.note(Fault.STT_FAILED, "an utterance is lost: stt failed", exc)
        return ""

    async def _let_go(self, began: float) -> None:
        """Let an unfinished turn go on waiting when no end of the speech is ever reported."""
        await self._parts.clock.sleep(_HOLD_SECONDS)
        if self._turns is not None and self._began == began:
            self._turns.resume()

    async def _say_in_room(self, text: str) -> None:
        """Bring a text into the room; the next utterance need not wait for the answer to it."""
        while len(self._going) >= MOST_INBOUND:
            await asyncio.wait(self._going, return_when=asyncio.FIRST_COMPLETED)
        latest = self._latest
        if latest is not None and not latest.done():
            # In the order in which they were said: a commit takes far less than this.
            await asyncio.wait((latest,), timeout=_ORDER_SECONDS)
        task = self._tasks.start(self._inbound(text), name=self._entering)
        if not task.done():
            self._latest = task
            self._going.add(task)
            task.add_done_callback(self._going.discard)

    async def _inbound(self, text: str) -> None:
        host = self._parts.host
        if host is None:
            return
        message = InboundMessage(
            channel_id=self._parts.channel_id,
            sender_id=self._session.participant_id,
            content=TextContent(body=text),
            metadata={"voice_session_id": self._session.id, "source": "voice"},
        )
        await contained(
            host.process_inbound(message, room_id=self._room_id),
            "bringing an utterance into its room",
            self._session,
        )

    # -- the end ------------------------------------------------------------------------------

    async def close(self, patience: float) -> None:
        """Stop listening; returns when nothing is left. Idempotent.

        Args:
            patience: Seconds that what was said before gets to reach the room.
        """
        self._closed = True
        live, self._live = self._live, None
        if live is not None:
            await live.cancel()
        mine = (asyncio.current_task(),)
        if patience > 0:
            await self._tasks.wait(patience, but=mine)
        if self._turns is not None:
            await self._turns.close(say=patience > 0)
            if patience > 0:
                await self._tasks.wait(patience, but=mine)
        await self._tasks.cancel(but=mine, timeout=2.0)
        await self._barge_in.close()
        await self._ending.cancel(but=mine, timeout=2.0)
