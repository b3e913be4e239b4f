"""The model's side of a live session."""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from roomkit._aio import cancelled_from_within
from roomkit._logging import ids, log_failure
from roomkit.voice.realtime.base import RealtimeSession

if TYPE_CHECKING:
    from collections.abc import Iterable

logger: logging.Logger = logging.getLogger("roomkit.voice.realtime")

RealtimeAudioCallback = Callable[[RealtimeSession, bytes], Any]
"""``(session, audio)``: PCM of the model at the session's output rate."""

RealtimeTranscriptionCallback = Callable[[RealtimeSession, str, str, bool], Any]
"""``(session, text, role, is_final)``; role is ``user`` or ``assistant``."""

RealtimeSpeechStartCallback = Callable[[RealtimeSession], Any]
"""``(session)``: the caller begins to speak."""

RealtimeSpeechEndCallback = Callable[[RealtimeSession], Any]
"""``(session)``: the caller has spoken."""

RealtimeToolCallCallback = Callable[[RealtimeSession, str, str, dict[str, Any]], Any]
"""``(session, call_id, name, arguments)``: the model waits for the result of a tool."""

RealtimeResponseStartCallback = Callable[[RealtimeSession], Any]
"""``(session)``: the model begins to answer."""

RealtimeResponseEndCallback = Callable[[RealtimeSession], Any]
"""``(session)``: the model has answered."""

RealtimeErrorCallback = Callable[[RealtimeSession, str, str], Any]
"""``(session, code, message)``. When the session's state is ENDED it will not come back."""

_Kind = Literal[
    "audio",
    "transcription",
    "speech_start",
    "speech_end",
    "tool_call",
    "response_start",
    "response_end",
    "error",
]


class RealtimeVoiceProvider(ABC):
    """A live model, for any number of sessions.

    Callbacks may be plain or async; those of one session are called in order. What they raise
    is logged. A session the provider does not know, or that has ended, makes every method do
    nothing. A link that is lost for good is told by ``on_error`` with the state at ENDED.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call it in logs and in ``voice_connected``."""

    @abstractmethod
    async def connect(
        self,
        session: RealtimeSession,
        *,
        system_prompt: str | None = None,
        voice: str | None = None,
        tools: list[dict[str, Any]] | None = None,
        temperature: float | None = None,
        input_sample_rate: int = 16000,
        output_sample_rate: int = 24000,
        server_vad: bool = True,
        provider_config: dict[str, Any] | None = None,
    ) -> None:
        """Open the session's link; its state is ACTIVE afterwards.

        Args:
            session: New, and never connected before.
            system_prompt: How to behave; None leaves it to the vendor.
            voice: The vendor's name of the voice.
            tools: Each a mapping with ``name``, ``description`` and ``parameters``.
            temperature: How freely to choose words.
            input_sample_rate: Hertz of what ``send_audio`` will be given.
            output_sample_rate: Hertz of what ``on_audio`` shall give.
            server_vad: Whether the vendor finds out who speaks when.
            provider_config: The vendor's own settings.

        Raises:
            ProviderError: There is no link; nothing is left open.
        """

    @abstractmethod
    async def send_audio(self, session: RealtimeSession, audio: bytes) -> None:
        """Let the model hear PCM of the caller, at the session's input rate."""

    @abstractmethod
    async def inject_text(
        self, session: RealtimeSession, text: str, *, role: str = "user"
    ) -> None:
        """Tell the model something in writing, and let it answer.

        Args:
            session: Whose.
            text: What to say.
            role: ``user`` or ``system``; what a vendor does not know counts as ``user``.
        """

    @abstractmethod
    async def submit_tool_result(
        self, session: RealtimeSession, call_id: str, result: str
    ) -> None:
        """Give the model the result of a tool, as JSON text."""

    @abstractmethod
    async def interrupt(self, session: RealtimeSession) -> None:
        """Make the model stop its answer, where the vendor can."""

    @abstractmethod
    async def disconnect(self, session: RealtimeSession) -> None:
        """End a session's link; its state is ENDED afterwards. Again does nothing."""

    async def close(self) -> None:
        """End every link; the default holds none. Idempotent."""

    def on_audio(self, callback: RealtimeAudioCallback) -> None:
        """Call ``callback`` with what the model says."""

    def on_transcription(self, callback: RealtimeTranscriptionCallback) -> None:
        """Call ``callback`` with what was said, in writing."""

    def on_speech_start(self, callback: RealtimeSpeechStartCallback) -> None:
        """Call ``callback`` when the caller begins to speak."""

    def on_speech_end(self, callback: RealtimeSpeechEndCallback) -> None:
        """Call ``callback`` when the caller has spoken."""

    def on_tool_call(self, callback: RealtimeToolCallCallback) -> None:
        """Call ``callback`` when the model calls a tool."""

    def on_response_start(self, callback: RealtimeResponseStartCallback) -> None:
        """Call ``callback`` when the model begins to answer."""

    def on_response_end(self, callback: RealtimeResponseEndCallback) -> None:
        """Call ``callback`` when the model has answered."""

    def on_error(self, callback: RealtimeErrorCallback) -> None:
        """Call ``callback`` when something failed."""


class CallbackRealtimeProvider(RealtimeVoiceProvider):
    """A provider that keeps its callbacks: what implementations inherit.

    Several callbacks a kind are called in the order of their registration, one after the other.
    """

    def __init__(self) -> None:
        self._callbacks: dict[_Kind, list[Callable[..., Any]]] = {}

    def _add(self, kind: _Kind, callback: Callable[..., Any]) -> None:
        self._callbacks.setdefault(kind, []).append(callback)

    async def _tell(self, kind: _Kind, session: RealtimeSession, *values: Any) -> None:
        """Call every callback of a kind, whatever the others do."""
        await call_all(self._callbacks.get(kind, ()), session, *values, what=f"on_{kind}")

    def on_audio(self, callback: RealtimeAudioCallback) -> None:
        """Call ``callback`` with what the model says."""
        self._add("audio", callback)

    def on_transcription(self, callback: RealtimeTranscriptionCallback) -> None:
        """Call ``callback`` with what was said, in writing."""
        self._add("transcription", callback)

    def on_speech_start(self, callback: RealtimeSpeechStartCallback) -> None:
        """Call ``callback`` when the caller begins to speak."""
        self._add("speech_start", callback)

    def on_speech_end(self, callback: RealtimeSpeechEndCallback) -> None:
        """Call ``callback`` when the caller has spoken."""
        self._add("speech_end", callback)

    def on_tool_call(self, callback: RealtimeToolCallCallback) -> None:
        """Call ``callback`` when the model calls a tool."""
        self._add("tool_call", callback)

    def on_response_start(self, callback: RealtimeResponseStartCallback) -> None:
        """Call ``callback`` when the model begins to answer."""
        self._add("response_start", callback)

    def on_response_end(self, callback: RealtimeResponseEndCallback) -> None:
        """Call ``callback`` when the model has answered."""
        self._add("response_end", callback)

    def on_error(self, callback: RealtimeErrorCallback) -> None:
        """Call ``callback`` when something failed."""
        self._add("error", callback)


async def call_all(
    callbacks: Iterable[Callable[..., Any]], session: RealtimeSession, *values: Any, what: str
) -> None:
    """Call callbacks in order, await what is awaitable, log what fails.

    Args:
        callbacks: Plain or async; those registered meanwhile are left for the next time.
        session: Their first argument.
        values: The others.
        what: What to call them in logs.
    """
    for callback in tuple(callbacks):
        try:
            answer = callback(session, *values)
            if inspect.isawaitable(answer):
                await answer
        except asyncio.CancelledError as exc:
            if not cancelled_from_within():
                raise
            log_failure(logger, exc, "a callback of %s", what, extra=ids(session_id=session.id))
        except Exception as exc:  # noqa: BLE001 - a border where foreign code runs
            log_failure(logger, exc, "a callback of %s", what, extra=ids(session_id=session.id))
