"""One conversation with Gemini's Live API: what its messages mean, and what a new link is told.

Shapes follow the vendor's reference "Live API (WebSockets)" and the SDK's types. Everything is
read by name, so that older SDKs, which know fewer messages, do as well.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from roomkit._logging import ids
from roomkit.providers.gemini._realtime_parts import (
    Audio,
    activity_of,
    audio_of,
    refusal_of,
    seconds_of,
    text_of,
    texts_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.voice.realtime._links import Told

logger = logging.getLogger("roomkit.providers.gemini.realtime")

_MOST_REMEMBERED = 20
_LONGEST_REMEMBERED = 2000
_LONGEST_BUFFER = 16_000
_MOST_CALLS = 64
_MOST_WAITING = 1024
_JOURNAL_SECONDS = 10
_MARGIN_SECONDS = 1.0


class Out(NamedTuple):
    """Something to send: its kind and what it holds."""

    kind: Literal["audio", "start", "end", "text", "result"]
    value: Any = None


@dataclass(slots=True)
class _Line:
    """Something said, and whether the newest handle knows of it."""

    role: str
    text: str
    covered: bool = False


@dataclass(frozen=True, slots=True)
class Opening:
    """What a new link is told first.

    Attributes:
        lines: ``(role, text)`` of what it does not know, oldest first.
        answer: Whether an answer is due.
    """

    lines: list[tuple[str, str]]
    answer: bool


class Dialogue:
    """What is known of one conversation. It sends nothing: what is to be sent is in ``outbox``.

    Audio since the last handle, or the last time the caller was understood, is kept for the
    case that the link is lost: at most 10 seconds of it. A new link goes on from the handle and
    hears it, so that nothing is heard twice and nothing is missed.

    Args:
        now: Seconds of a clock that never goes back.
        rate: Hertz of the caller's audio.
        manual: Whether we say when the caller begins and ends to speak.
        session_id: For logs.
    """

    def __init__(
        self, now: Callable[[], float], rate: int, *, manual: bool, session_id: str
    ) -> None:
        self.outbox: deque[Out] = deque()
        self.handle: str | None = None
        self.leave_at: float | None = None
        self._now = now
        self._manual = manual
        self._most_audio = rate * 2 * _JOURNAL_SECONDS
        self._extra = ids(session_id=session_id)
        self._linked = True
        self._answering = False
        self._speaking = False
        self._cut = False
        self._muted = False
        # An answer is due: to what the caller said, and to what was written.
        self._waiting = False
        self._asked = False
        self._in_activity = False
        self._transcription_buffers: dict[str, str] = {"user": "", "assistant": ""}
        self._calls: dict[str, str] = {}
        # Calls of links that are lost: their results are told in words.
        self._old_calls: dict[str, str] = {}
        self._old_results: list[str] = []
        self._newest_calls: dict[str, tuple[str, dict[str, Any]]] = {}
        self._made_up = 0
        self._history: deque[_Line] = deque(maxlen=_MOST_REMEMBERED)
        self._journal: deque[Out] = deque()
        self._journalled = 0

    # -- what we want --------------------------------------------------------------------

    def hear(self, audio: bytes) -> None:
        """Take a piece of the caller's audio."""
        if self._manual and not self._in_activity:
            self._in_activity = True
            self._take(Out("start"))
        self._take(Out("audio", audio))

    def commit(self) -> None:
        """The caller has said all: end their turn."""
        if not self._manual or self._in_activity:
            self._in_activity = False
            self._take(Out("end"))

    def say(self, role: str, text: str) -> None:
        """Add a written message; an answer is due."""
        self._remember(role, text)
        self._asked = True
        self._send(Out("text", (role, text)))

    def give(self, call_id: str, result: str) -> None:
        """Add the result of a tool; one nobody waits for is dropped."""
        name, old = self._calls.pop(call_id, None), self._old_calls.pop(call_id, None)
        if name is None and old is None:
            logger.debug("a result nobody waits for was dropped", extra=self._extra)
            return
        # A link that is lost takes the call with it: the next one is told in words.
        words = f"The tool {name or old} has answered: {result}"
        self._remember("user", words)
        self._asked = True
        if name is not None:
            self._send(Out("result", (call_id, name, _as_object(result))))
            return
        self._old_results.append(words)
        if not self._old_calls:
            self._send(Out("text", ("user", "\n".join(self._old_results))))
            self._old_results.clear()

    def mute(self) -> None:
        """Pass on no more audio of the answer in flight: the vendor cannot stop it."""
        self._muted = self._answering

    def _take(self, out: Out) -> None:
        self._journal.append(out)
        self._send(out)
        self._journalled += _size(out)
        while self._journalled > self._most_audio or len(self._journal) > _MOST_WAITING:
            self._journalled -= _size(self._journal.popleft())

    def _send(self, out: Out) -> None:
        if not self._linked:
            return  # The next link is told all that was said, and hears the journal.
        if len(self.outbox) >= _MOST_WAITING:
            oldest = next((o for o in self.outbox if o.kind == "audio"), self.outbox[0])
            self.outbox.remove(oldest)
        self.outbox.append(out)

    def _remember(self, role: str, text: str) -> None:
        self._history.append(_Line(role, text[:_LONGEST_REMEMBERED]))

    def _understood(self) -> None:
        """Forget audio that something newer stands for; what was not sent yet is kept."""
        kinds = ("audio", "start", "end")
        self._journal = deque(out for out in self.outbox if out.kind in kinds)
        self._journalled = sum(map(_size, self._journal))

    # -- links ---------------------------------------------------------------------------

    def link_lost(self) -> list[Told]:
        """Forget what belonged to the link; return what is to be told."""
        told = self._flush("assistant", remember=False)
        # The caller's words are heard again by the next link.
        self._transcription_buffers["user"] = ""
        if self._speaking:
            told.append(("speech_end",))
        if self._answering:
            told.append(("response_end",))
        self._answering = self._speaking = self._cut = self._muted = False
        for call_id, name in self._calls.items():
            _keep(self._old_calls, call_id, name)
        self._calls.clear()
        self._old_results.clear()
        self.leave_at = None
        self._linked = False
        self.outbox.clear()
        return told

    def opening(self) -> Opening:
        """Return what a new link is told; what comes from now on waits in ``outbox``."""
        self._linked = True
        if self._manual:
            self._begin_journal()
        self.outbox = deque(self._journal)
        self._old_results.clear()
        known = self.handle is not None
        lines = [(line.role, line.text) for line in self._history if not (known and line.covered)]
        return Opening(lines, self._due and not self._old_calls)

    def _begin_journal(self) -> None:
        """Let a turn whose beginning is known, or was dropped, begin again."""
        journal = self._journal
        while journal and journal[0].kind == "end":
            journal.popleft()
        if journal[0].kind == "audio" if journal else self._in_activity:
            journal.appendleft(Out("start"))

    def drop_handle(self) -> None:
        """Begin anew the next time: the vendor does not take the handle any more."""
        self.handle = None

    @property
    def done(self) -> bool:
        """Whether a link that will be closed soon can be left now."""
        if self.leave_at is None:
            return False
        busy = self._answering or self._calls or self._due
        return not busy or self._now() >= self.leave_at

    @property
    def _due(self) -> bool:
        return self._waiting or self._asked

    # -- what the server says ------------------------------------------------------------

    def take(self, message: Any) -> list[Told]:
        """Return what a message of the server means; unknown ones mean nothing."""
        self._read_link(message)
        told = self._read_activity(message)
        content = getattr(message, "server_content", None)
        if content is not None:
            told += self._read_content(content)
        told += self._read_calls(message)
        if getattr(content, "turn_complete", None):
            told += self._turn_complete(content)
        return told

    def _read_link(self, message: Any) -> None:
        update = getattr(message, "session_resumption_update", None)
        handle = getattr(update, "new_handle", None)
        if handle and getattr(update, "resumable", None):
            self.handle = handle
            for line in self._history:
                line.covered = True
            self._understood()
        leaving = getattr(message, "go_away", None)
        if leaving is not None and self.leave_at is None:
            left = seconds_of(getattr(leaving, "time_left", None)) - _MARGIN_SECONDS
            self.leave_at = self._now() + max(0.0, left)

    def _read_activity(self, message: Any) -> list[Told]:
        activity = activity_of(message)
        if activity == "start":
            return self._begin_speech()
        if activity == "end":
            return self._end_speech()
        return []

    def _begin_speech(self) -> list[Told]:
        if self._speaking:
            return []
        self._speaking = True
        return [("speech_start",)]

    def _end_speech(self) -> list[Told]:
        told = self._flush("user")
        if self._speaking:
            self._speaking = False
            told.append(("speech_end",))
        return told

    def _read_content(self, content: Any) -> list[Told]:
        told: list[Told] = []
        if getattr(content, "interrupted", None):
            told += self._interrupted()
        interim = text_of(getattr(content, "interim_input_transcription", None))
        if interim:
            told.append(("transcription", interim, "user", False))
        told += self._transcribed(getattr(content, "input_transcription", None), "user")
        parts = getattr(getattr(content, "model_turn", None), "parts", None) or ()
        spoken = getattr(content, "output_transcription", None)
        # Transcripts come in their own time, some after their turn: they begin nothing.
        if parts and not self._answering:
            told += self._end_speech()
            self._answering = True
            told.append(("response_start",))
        told += self._audio(audio_of(parts))
        told += self._transcribed(spoken, "assistant")
        for text in texts_of(parts):
            told += self._add("assistant", text)
        return told

    def _audio(self, pieces: list[Audio]) -> list[Told]:
        return [] if self._muted else [("audio", piece) for piece in pieces]

    def _interrupted(self) -> list[Told]:
        told = self._flush("assistant") + self._begin_speech()
        if self._answering:
            told.append(("response_end",))
        self._cut = self._cut or self._answering
        # What is written while the model speaks interrupts it as well, and is still due.
        self._answering = self._muted = self._waiting = False
        return told

    def _turn_complete(self, content: Any) -> list[Told]:
        told = self._flush("user") + self._flush("assistant")
        if self._answering:
            self._answering = False
            told.append(("response_end",))
        if not self._cut:
            self._waiting = self._asked = False
            self._understood()
        self._cut = self._muted = False
        refusal = refusal_of(content)
        if refusal is not None:
            told.append(("error", refusal, "the model gave no whole answer"))
        return told

    def _transcribed(self, transcription: Any, role: str) -> list[Told]:
        text = text_of(transcription)
        finished = bool(getattr(transcription, "finished", None))
        if not finished:
            return self._add(role, text) if text else []
        self._transcription_buffers[role] += text
        return self._flush(role)

    def _add(self, role: str, text: str) -> list[Told]:
        self._transcription_buffers[role] += text
        if len(self._transcription_buffers[role]) > _LONGEST_BUFFER:
            return self._flush(role)
        return [("transcription", text, role, False)]

    def _flush(self, role: str, *, remember: bool = True) -> list[Told]:
        """End what one of both said: it will not change any more."""
        text, self._transcription_buffers[role] = self._transcription_buffers[role], ""
        text = text.strip()
        if not text:
            return []
        if remember:
            self._remember("user" if role == "user" else "model", text)
        if role == "user":
            self._waiting = True
            self._understood()
        return [("transcription", text, role, True)]

    # -- tools ---------------------------------------------------------------------------

    def _read_calls(self, message: Any) -> list[Told]:
        cancelled = getattr(getattr(message, "tool_call_cancellation", None), "ids", None)
        for call_id in cancelled or ():
            self._calls.pop(call_id, None)
        calls = getattr(getattr(message, "tool_call", None), "function_calls", None)
        if not calls:
            return []
        told = self._end_speech()
        for call in calls:
            name = str(getattr(call, "name", None) or "")
            call_id = getattr(call, "id", None) or self._new_id()
            made = (name, dict(getattr(call, "args", None) or {}))
            again = self._newest_calls.get(call_id) == made
            # Said twice: a tool acts once. A new link that says it wants the result itself.
            if not again or self._old_calls.pop(call_id, None) is not None:
                _keep(self._calls, call_id, name)
            if not again:
                _keep(self._newest_calls, call_id, made)
                told.append(("tool_call", call_id, *made))
        return told

    def _new_id(self) -> str:
        self._made_up += 1
        return f"call-{self._made_up}"


def _keep[T](calls: dict[str, T], call_id: str, value: T) -> None:
    """Add a call; the oldest make room."""
    if len(calls) >= _MOST_CALLS and call_id not in calls:
        del calls[next(iter(calls))]
    calls[call_id] = value


def _size(out: Out) -> int:
    return len(out.value) if out.kind == "audio" else 0


def _as_object(result: str) -> dict[str, Any]:
    """Return a result as the object the vendor wants."""
    try:
        value = json.loads(result)
    except (ValueError, RecursionError):
        value = result
    return value if isinstance(value, dict) else {"result": value}
