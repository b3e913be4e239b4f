"""How a voice channel listens, and the order in which it does what follows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roomkit.channels._voice_hooks import contained
from roomkit.voice.interruption import InterruptionStrategy

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from roomkit._aio import TaskSet
    from roomkit.voice.interruption import InterruptionHandler
    from roomkit.voice.pipeline.vad_provider import VADConfig
    from roomkit.voice.stt.base import STTProvider
    from roomkit.voice.turn_detector import TurnDetector

    type Work = Callable[[], Coroutine[Any, Any, None]]


_BY_DURATION = (InterruptionStrategy.CONFIRMED, InterruptionStrategy.SEMANTIC)


@dataclass(frozen=True, slots=True)
class Hearing:
    """How a channel listens.

    Attributes:
        stt: Turns speech into text.
        stt_timeout: Seconds an utterance may take.
        live: Recognise while somebody still speaks, where ``stt`` can.
        handler: Decides about interruptions.
        turns: Decides when a turn is over; None: each utterance is one.
        most_ms: The longest utterance, in milliseconds.
        silence_timeout: Seconds of silence on both sides that are told; None: none are.
        vad: How utterances are cut, where that was said.
    """

    stt: STTProvider | None
    stt_timeout: float
    live: bool
    handler: InterruptionHandler
    turns: TurnDetector | None
    most_ms: float
    silence_timeout: float | None = None
    vad: VADConfig | None = None

    @property
    def streaming(self) -> bool:
        """Whether somebody is recognised while they still speak."""
        return self.live and getattr(self.stt, "supports_streaming", False) is True

    @property
    def preroll_ms(self) -> float:
        """Audio from before the first word, for a streaming recogniser."""
        return 300.0 if self.vad is None else float(self.vad.speech_pad_ms)

    @property
    def silence_ms(self) -> float:
        """The silence that ends an utterance."""
        return 500.0 if self.vad is None else float(self.vad.silence_threshold_ms)

    @property
    def by_duration(self) -> bool:
        """Whether it matters how long somebody speaks over a playback."""
        return self.handler.config.strategy in _BY_DURATION


class Lane:
    """Work in order, in a task that lives while there is any."""

    __slots__ = ("_name", "_running", "_tasks", "_waiting")

    def __init__(self, name: str, tasks: TaskSet) -> None:
        self._name = name
        self._tasks = tasks
        self._waiting: deque[Work] = deque()
        self._running = False

    @property
    def idle(self) -> bool:
        """Whether nothing is done and nothing waits."""
        return not self._running

    def put(self, work: Work, most: int) -> bool:
        """Do something after what came before; False when ``most`` wait already."""
        if len(self._waiting) >= most:
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
