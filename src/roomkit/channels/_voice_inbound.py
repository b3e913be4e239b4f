"""What one voice session says: hooks, interruptions, transcription, and on into its room.

Two lanes keep the order: hooks are told of speech in one, utterances become messages in the
other. What has to stop a playback waits in neither.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit._aio import TaskSet
from roomkit._logging import ids
from roomkit.channels._voice_hooks import RoomHooks, contained
from roomkit.channels._voice_words import LiveTranscript, PreRoll, transcribe
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import HookTrigger
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.events import (
    BargeInEvent,
    PartialTranscriptionEvent,
    SpeakerChangeEvent,
    VADAudioLevelEvent,
    VADSilenceEvent,
)
from roomkit.voice.interruption import InterruptionStrategy
from roomkit.voice.turn_detector import TurnCollector, TurnDecision, TurnEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from roomkit.channels._voice_session import Speaker, TTSPlaybackState, VoiceParts
    from roomkit.models.channel import ChannelBinding
    from roomkit.voice.base import VoiceSession
    from roomkit.voice.interruption import InterruptionHandler, InterruptionWatch
    from roomkit.voice.stt.base import STTProvider
    from roomkit.voice.turn_detector import TurnDetector

    Work = Callable[[], Coroutine[Any, Any, None]]

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
_HISTORY = 12


@dataclass(frozen=True, slots=True)
class Hearing:
    """How a channel listens.

    Attributes:
        stt: Turns speech into text.
        stt_timeout: Seconds an utterance may take.
        streaming: Recognise while somebody still speaks.
        handler: Decides about interruptions.
        turns: Decides when a turn is over; None: each utterance is one.
        most_ms: The longest utterance, in milliseconds.
        preroll_ms: Audio from before the first word, for a streaming recogniser.
        silence_ms: The silence that ends an utterance.
    """

    stt: STTProvider | None
    stt_timeout: float
    streaming: bool
    handler: InterruptionHandler
    turns: TurnDetector | None
    most_ms: float
    preroll_ms: float
    silence_ms: float


class Lane:
    """Work in order, in a task that lives while there is any."""

    def __init__(self, name: str, tasks: TaskSet) -> None:
        self.dropped = 0
        self._name = name
        self._tasks = tasks
        self._waiting: deque[Work] = deque()
        self._running = False

    def put(self, work: Work, most: int) -> bool:
        """Do something after what came before; False when ``most`` wait already."""
        if len(self._waiting) >= most:
            self.dropped += 1
            return False
        self._waiting.append(work)
        if not self._running:
            self._running = True
            self._tasks.start(self._run(), name=self._name)
        return True

    async def _run(self) -> None:
        try:
            while self._waiting:
                await contained(self._waiting.popleft()(), self._name)
        finally:
            self._running = False


@dataclass(slots=True)
class _Speech:
    """What is known of an utterance when it ends."""

    audio: AudioFrame
    lasted_ms: int
    live: LiveTranscript | None
    watch: InterruptionWatch | None
    playback: TTSPlaybackState | None


class Listener:
    """Listens to one session.

    Args:
        parts: What the channel shares.
        hearing: How to listen.
        session: The session.
        room_id: Its room, the only one its words go to.
        binding: The channel's place there.
        speaker: What is said to the session.
    """

    def __init__(
        self,
        parts: VoiceParts,
        hearing: Hearing,
        session: VoiceSession,
        room_id: str,
        binding: ChannelBinding,
        speaker: Speaker,
    ) -> None:
        self.binding = binding
        self._parts = parts
        self._how = hearing
        self._session = session
        self._room_id = room_id
        self._speaker = speaker
        self._hooks = RoomHooks(parts, room_id)
        self._tasks = TaskSet(f"voice_inbound:{session.id}")
        self._watches = TaskSet(f"barge_in:{session.id}")
        self._telling = Lane(f"voice_hooks:{session.id}", self._tasks)
        self._talking = Lane(f"voice_words:{session.id}", self._tasks)
        self._going: set[asyncio.Task[Any]] = set()
        self._latest: asyncio.Task[Any] | None = None
        self._began: float | None = None
        self._watch: InterruptionWatch | None = None
        self._playback: TTSPlaybackState | None = None
        self._live: LiveTranscript | None = None
        self._preroll = PreRoll(hearing.preroll_ms)
        self._history: deque[TurnEntry] = deque(maxlen=_HISTORY)
        self._closed = False
        self._turns = None
        if hearing.turns is not None:
            self._turns = TurnCollector(
                hearing.turns, self._turn_over, clock=parts.clock, session_id=session.id
            )

    @property
    def dropped(self) -> int:
        """Hooks and utterances there was no room for."""
        return self._telling.dropped + self._talking.dropped

    def _silenced(self) -> bool:
        return self._closed or self._parts.host is None or not self.binding.can_send

    # -- what is heard ------------------------------------------------------------------------

    def frame(self, frame: AudioFrame) -> None:
        """Take a frame for a streaming recogniser."""
        if self._live is not None:
            self._live.feed(frame)
        else:
            self._preroll.add(frame)

    def started(self) -> None:
        """Note that somebody begins to speak: a playback may have to stop at once."""
        if self._closed or self._parts.host is None:
            return
        self._end_watch()
        self._began = self._parts.clock.monotonic()
        if self._turns is not None:
            self._turns.hold()
            self._watches.start(self._let_go(self._began), name="voice_turn_hold")
        playback = self._parts.playing.get(self._session.id)
        if playback is not None and not self._silenced():
            self._watch = self._how.handler.watch(
                lambda: playback.position_ms, clock=self._parts.clock
            )
            self._playback = playback
            self._watches.start(
                self._decide(self._watch, playback), name=f"barge_in:{self._session.id}"
            )
        self._open_stream()
        self._telling.put(self._tell_start, MOST_HOOKS)

    def ended(self, audio: bytes | None, sample_rate: int) -> None:
        """Note that somebody has spoken.

        Args:
            audio: The utterance, PCM mono; None when nobody kept it.
            sample_rate: Hertz.
        """
        watch, playback, live = self._watch, self._playback, self._live
        self._live = None
        now = self._parts.clock.monotonic()
        lasted = 0 if self._began is None else round((now - self._began) * 1000)
        self._began = None
        self._end_watch()
        if self._closed or self._parts.host is None:
            self._forget(live)
            return
        if audio is None:
            self._forget(live)
            if self._turns is not None:
                self._turns.resume()
            self._telling.put(self._tell_end, MOST_HOOKS)
            return
        most = int(self._how.most_ms * sample_rate / 1000) * 2
        if len(audio) > most:
            logger.warning("an utterance is too long and is cut", extra=self._ids())
            audio = audio[:most]
        frame = AudioFrame(data=audio, sample_rate=sample_rate, channels=1, sample_width=2)
        speech = _Speech(frame, lasted, live, watch, playback)
        if not self._telling.put(partial(self._spoken, speech), MOST_HOOKS):
            self._forget(live)

    def partial(self, text: str, confidence: float, is_stable: bool) -> None:
        """Note speech so far."""
        if self._silenced():
            return
        if self._watch is not None:
            self._watch.heard(text)
        event = PartialTranscriptionEvent(self._session, text, confidence, is_stable)
        self._tell(HookTrigger.ON_PARTIAL_TRANSCRIPTION, event)

    def silence(self, milliseconds: int) -> None:
        """Note that it is silent."""
        if not self._closed and self._hooks.watched(HookTrigger.ON_VAD_SILENCE):
            self._tell(HookTrigger.ON_VAD_SILENCE, VADSilenceEvent(self._session, milliseconds))

    def level(self, level_db: float, is_speech: bool) -> None:
        """Note how loud it is."""
        if not self._closed and self._hooks.watched(HookTrigger.ON_VAD_AUDIO_LEVEL):
            event = VADAudioLevelEvent(self._session, level_db, is_speech)
            self._tell(HookTrigger.ON_VAD_AUDIO_LEVEL, event)

    def speaker_changed(self, speaker_id: str, confidence: float, is_new: bool) -> None:
        """Note that another person speaks."""
        if not self._closed:
            event = SpeakerChangeEvent(self._session, speaker_id, confidence, is_new)
            self._telling.put(
                partial(self._hooks.tell, HookTrigger.ON_SPEAKER_CHANGE, event), MOST_HOOKS
            )

    def barged_in(self) -> None:
        """Note that the backend says somebody speaks over the playback."""
        playback = self._parts.playing.get(self._session.id)
        config = self._how.handler.config
        if playback is None or self._silenced():
            return
        if config.strategy is not InterruptionStrategy.DISABLED:
            self._watches.start(self._barge_in(playback), name=f"barge_in:{self._session.id}")

    def said(self, text: str) -> None:
        """Remember what was said to the session, for the turn detector."""
        if self._turns is not None:
            self._history.append(TurnEntry(text, "assistant"))

    def _tell(self, trigger: HookTrigger, event: object) -> None:
        self._telling.put(partial(self._hooks.tell, trigger, event), MOST_LEVELS)

    def _ids(self) -> dict[str, Any]:
        return ids(session_id=self._session.id, room_id=self._room_id)

    # -- interruptions ------------------------------------------------------------------------

    async def _decide(self, watch: InterruptionWatch, playback: TTSPlaybackState) -> None:
        decision = await watch.decided()
        if decision.should_interrupt:
            await self._barge_in(playback)

    async def _barge_in(self, playback: TTSPlaybackState) -> None:
        """Stop a playback, once, before any hook is told."""
        session = self._session
        if playback.barge_in_handled or self._parts.playing.get(session.id) is not playback:
            return
        playback.barge_in_handled = True

        async def tell(state: TTSPlaybackState, position: int) -> None:
            event = BargeInEvent(session, state.text, position)
            await self._hooks.tell(HookTrigger.ON_BARGE_IN, event)

        config = self._how.handler.config
        await self._speaker.stop(
            "barge_in",
            flush=config.flush_partial_tts,
            keep=config.keep_partial_transcript,
            before=tell,
        )

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.ended()
        self._watch = self._playback = None

    async def _judge_words(self, speech: _Speech, text: str) -> None:
        """Take the words themselves for a reason, where only they say whether it is one."""
        handler = self._how.handler
        if handler.config.strategy is not InterruptionStrategy.SEMANTIC:
            return
        if speech.playback is None or speech.watch is None:
            return
        decision = handler.evaluate(
            playback_position_ms=speech.playback.position_ms,
            speech_duration_ms=speech.watch.speech_duration_ms,
            speech_text=text,
        )
        if decision.should_interrupt:
            await self._barge_in(speech.playback)

    # -- words --------------------------------------------------------------------------------

    def _open_stream(self) -> None:
        stt = self._how.stt
        if self._live is not None:
            self._forget(self._live)
            self._live = None
        if stt is None or not self._how.streaming or self._silenced():
            return
        self._live = LiveTranscript(stt, self._session, self.partial, self._how.most_ms)
        for frame in self._preroll.take():
            self._live.feed(frame)

    def _forget(self, live: LiveTranscript | None) -> None:
        if live is not None:
            self._watches.start(live.cancel(), name="voice_stt_end")

    async def _tell_start(self) -> None:
        await self._refresh()
        if self.binding.can_send:
            await self._hooks.tell(HookTrigger.ON_SPEECH_START, self._session)

    async def _tell_end(self) -> None:
        if self.binding.can_send:
            await self._hooks.tell(HookTrigger.ON_SPEECH_END, self._session)

    async def _refresh(self) -> None:
        """Learn whether the channel may still say something in the room."""
        host = self._parts.host
        if host is not None:
            found = await contained(
                host.find_binding(self._room_id, self._parts.channel_id), "looking up a binding"
            )
            self.binding = found or self.binding

    async def _spoken(self, speech: _Speech) -> None:
        await self._refresh()
        if not self.binding.can_send:
            self._forget(speech.live)
            return
        await self._hooks.tell(HookTrigger.ON_SPEECH_END, self._session)
        if self._how.stt is None:
            logger.warning("nothing turns speech into text: stt is missing", extra=self._ids())
        elif not self._talking.put(partial(self._utterance, speech), MOST_UTTERANCES):
            logger.error("an utterance is dropped: too many wait", extra=self._ids())
            self._forget(speech.live)

    async def _utterance(self, speech: _Speech) -> None:
        """Turn an utterance into text, and the text into a message of the room."""
        text = await self._recognised(speech)
        if not text.strip():
            logger.debug("nothing was said", extra=self._ids())
            if self._turns is not None:
                self._turns.resume()
            return
        await self._judge_words(speech, text)
        await self._parts.show(self._session, text, "user")
        left = await self._hooks.ask(HookTrigger.ON_TRANSCRIPTION, text)
        if left is None or not left.strip():
            if self._turns is not None:
                self._turns.resume()
            return
        if self._turns is None:
            await self._say_in_room(left)
            return
        await self._turns.add(
            left,
            silence_duration_ms=self._how.silence_ms,
            speech_duration_ms=speech.lasted_ms,
            history=tuple(self._history),
        )

    async def _recognised(self, speech: _Speech) -> str:
        timeout = self._how.stt_timeout
        if speech.live is not None:
            text = await speech.live.finish(timeout)
            if text is not None:
                return text
        if self._how.stt is None:
            return ""
        return await transcribe(self._how.stt, speech.audio, timeout)

    async def _turn_over(self, text: str, decision: TurnDecision) -> None:
        self._history.append(TurnEntry(text, "user"))
        await self._say_in_room(text)

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
        task = self._tasks.start(self._inbound(text), name=f"voice_inbound:{self._session.id}")
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
        self._end_watch()
        live, self._live = self._live, None
        if live is not None:
            await live.cancel()
        mine = (asyncio.current_task(),)
        if patience > 0:
            await self._tasks.wait(patience, but=mine)
        if self._turns is not None:
            left = await self._turns.close()
            if left and patience > 0:
                await self._say_in_room(left)
                await self._tasks.wait(patience, but=mine)
        await self._tasks.cancel(but=mine, timeout=2.0)
        await self._watches.cancel(but=mine, timeout=2.0)
