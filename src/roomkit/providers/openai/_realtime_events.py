"""The events of OpenAI's Realtime API: what we send, and what the server's mean.

Shapes follow the vendor's reference "Realtime client events" and "Realtime server events", in
their general form; the beta's differ in the session and in some names.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections import deque
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from roomkit._logging import ids
from roomkit.voice.realtime._links import LinkSettings, Told, merge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger("roomkit.providers.openai.realtime")

Protocol = Literal["ga", "beta"]
Event = dict[str, Any]
RATE = 24000
"""Hertz of the vendor's PCM, in and out."""
TRANSCRIPTION_MODEL = "gpt-transcribe"
"""What writes down the caller; the older names end on 26 February 2027."""

_MOST_REMEMBERED = 20
_LONGEST_REMEMBERED = 2000
_MOST_CALLS = 64
_ASK_SECONDS = 10.0
"""After so long without any answer a wish for one counts as lost."""
_KEYS = ("max_output_tokens", "tool_choice")


@dataclass(frozen=True, slots=True)
class Settings(LinkSettings):
    """What a session was connected with, as this vendor reads it."""

    @property
    def turn_detection(self) -> dict[str, Any] | None:
        """The vendor's object; None when nobody but us says who speaks when."""
        default = {"type": "server_vad"} if self.server_vad else None
        given = self.config.get("turn_detection", default)
        return {"type": given} if isinstance(given, str) else given

    @property
    def interrupts(self) -> bool:
        """Whether the server stops its answer when the caller speaks."""
        turns = self.turn_detection
        return turns is not None and turns.get("interrupt_response", True) is not False


def session_update(settings: Settings, protocol: Protocol) -> Event:
    """Return the event that configures a session."""
    session = _beta_session(settings) if protocol == "beta" else _session(settings)
    raw = settings.config.get("session")
    if isinstance(raw, dict):
        merge(session, deepcopy(raw))
    return {"type": "session.update", "session": session}


def _session(settings: Settings) -> dict[str, Any]:
    config = settings.config
    if settings.temperature is not None:
        logger.debug("the Realtime API takes no temperature any more; it is left out")
    form = {"type": "audio/pcm", "rate": RATE}
    heard: dict[str, Any] = {
        "format": form,
        "transcription": _transcription(config, TRANSCRIPTION_MODEL),
        "turn_detection": settings.turn_detection,
    }
    noise = config.get("noise_reduction")
    if noise is not None:
        heard["noise_reduction"] = {"type": noise} if isinstance(noise, str) else noise
    spoken: dict[str, Any] = {"format": dict(form)}
    if settings.voice is not None:
        spoken["voice"] = settings.voice
    if "speed" in config:
        spoken["speed"] = config["speed"]
    session: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {"input": heard, "output": spoken},
    }
    _add_common(session, settings)
    return session


def _beta_session(settings: Settings) -> dict[str, Any]:
    session: dict[str, Any] = {
        "modalities": ["text", "audio"],
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "input_audio_transcription": _transcription(settings.config, "whisper-1"),
        "turn_detection": settings.turn_detection,
    }
    if settings.voice is not None:
        session["voice"] = settings.voice
    if settings.temperature is not None:
        session["temperature"] = settings.temperature
    _add_common(session, settings)
    if "max_output_tokens" in session:
        session["max_response_output_tokens"] = session.pop("max_output_tokens")
    return session


def _transcription(config: Mapping[str, Any], default: str) -> dict[str, Any] | None:
    model = config.get("transcription_model", default)
    if model is None:
        return None
    language = config.get("transcription_language")
    return {"model": model} if language is None else {"model": model, "language": language}


def _add_common(session: dict[str, Any], settings: Settings) -> None:
    if settings.system_prompt is not None:
        session["instructions"] = settings.system_prompt
    if settings.tools is not None:
        session["tools"] = [{"type": "function", **tool} for tool in settings.tools]
    session.update({key: settings.config[key] for key in _KEYS if key in settings.config})


def text_item(role: str, text: str, protocol: Protocol = "ga") -> Event:
    """Return the event that adds a written message to the conversation."""
    if role == "assistant":
        kind = "text" if protocol == "beta" else "output_text"
    else:
        role, kind = role if role == "system" else "user", "input_text"
    item = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
    return {"type": "conversation.item.create", "item": item}


def result_item(call_id: str, output: str) -> Event:
    """Return the event that adds the result of a tool."""
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return {"type": "conversation.item.create", "item": item}


@dataclass(slots=True)
class _Playback:
    """How much of an answer's item the caller was sent, and since when."""

    item_id: str
    started: float
    sent_ms: float = 0.0


class Dialogue:
    """What is known of one conversation: it turns server events into callbacks and answers.

    It sends nothing itself: events for the server gather in ``outbox``.

    Args:
        now: Seconds of a clock that never goes back.
        settings: The session's.
        protocol: Which form our events have.
        session_id: For logs.
    """

    def __init__(
        self, now: Callable[[], float], settings: Settings, protocol: Protocol, session_id: str
    ) -> None:
        self.outbox: deque[Event] = deque(maxlen=4 * _MOST_CALLS)
        self.vendor_id: str | None = None
        self.expired = False
        self.configured = False
        self._now = now
        self._settings = settings
        self._protocol: Protocol = protocol
        self._extra = ids(session_id=session_id)
        self._active: str | None = None
        self._asked: str | None = None
        self._asked_count = 0
        self._asked_at = 0.0
        self._wanted = False
        self._muted: str | None = None
        self._bad_audio = 0
        self._names: dict[str, str] = {}
        self._calls: dict[str, Event] = {}
        self._newest_calls: dict[str, Event] = {}
        # Results no answer has followed yet: a new link must be told them again.
        self._results: dict[str, Event] = {}
        self._playback: _Playback | None = None
        self._said: deque[tuple[str, str]] = deque(maxlen=_MOST_REMEMBERED)
        self._handlers: dict[str, Callable[[Event], list[Told]]] = {
            "session.created": self._session_created,
            "session.updated": self._session_updated,
            "input_audio_buffer.speech_started": self._speech_started,
            "input_audio_buffer.speech_stopped": lambda _: [("speech_end",)],
            "conversation.item.input_audio_transcription.delta": self._heard_delta,
            "conversation.item.input_audio_transcription.completed": self._heard,
            "conversation.item.input_audio_transcription.failed": self._not_heard,
            "response.created": self._response_created,
            "response.done": self._response_done,
            "response.output_item.added": self._item,
            "response.output_item.done": self._item,
            "response.function_call_arguments.done": self._call,
            "error": self._error,
        }
        for name in ("response.output_audio", "response.audio"):
            self._handlers[f"{name}.delta"] = self._audio
            self._handlers[f"{name}_transcript.delta"] = self._said_delta
            self._handlers[f"{name}_transcript.done"] = self._said_whole
        for name in ("response.output_text", "response.text"):
            self._handlers[f"{name}.delta"] = self._said_delta
            self._handlers[f"{name}.done"] = self._said_whole

    @property
    def answering(self) -> bool:
        """Whether a response is in flight."""
        return self._active is not None

    # -- what we want --------------------------------------------------------------------

    def say(self, role: str, text: str) -> None:
        """Add a written message and ask for an answer."""
        self.outbox.append(text_item(role, text, self._protocol))
        self._remember(role, text)
        self.ask()

    def give(self, call_id: str, output: str) -> None:
        """Add the result of a tool; once the last one is there, ask for an answer."""
        self._calls.pop(call_id, None)
        self._results.pop(call_id, None)
        if len(self._results) >= _MOST_CALLS:
            del self._results[next(iter(self._results))]
        self._results[call_id] = result_item(call_id, output)
        self.outbox.append(self._results[call_id])
        if not self._calls:
            self.ask()

    def ask(self) -> None:
        """Ask for an answer; while one is in flight, as soon as it has ended."""
        now = self._now()
        unanswered = self._asked is not None and now - self._asked_at < _ASK_SECONDS
        if self._active is not None or unanswered:
            self._wanted = True
            return
        self._wanted, self._asked_at = False, now
        self._asked_count += 1
        self._asked = f"roomkit_{self._asked_count}"
        self.outbox.append({"type": "response.create", "event_id": self._asked})

    def stop(self) -> None:
        """Stop the answer in flight, and what is being played of it."""
        self._wanted = False
        if self._active is not None:
            self.outbox.append({"type": "response.cancel"})
            self._muted = self._active
        self._truncate()

    def link_lost(self) -> list[Told]:
        """Forget what belonged to the link; return what is to be told."""
        told: list[Told] = [("response_end",)] if self._active is not None else []
        # An answer that was asked for or cut off is asked for again.
        self._wanted = self._wanted or self._active is not None or self._asked is not None
        self._active = self._asked = self._muted = self._playback = None
        self._names.clear()
        self.expired = self.configured = False
        return told

    def opening(self) -> list[Event]:
        """Return what a new link is told of the conversation so far, then what waited."""
        events = [text_item(role, text, self._protocol) for role, text in self._said]
        # A result needs its call, which the new link has never heard of.
        calls = {**self._calls}
        calls.update((i, self._newest_calls[i]) for i in self._results if i in self._newest_calls)
        events += [{"type": "conversation.item.create", "item": call} for call in calls.values()]
        events += [event for i, event in self._results.items() if i in calls]
        self.outbox.clear()
        self._wanted, self._asked = self._wanted or self._asked is not None, None
        if self._wanted and not self._calls:
            self.ask()
        return events

    def _remember(self, role: str, text: str) -> None:
        self._said.append((role, text[:_LONGEST_REMEMBERED]))

    # -- what the server says ------------------------------------------------------------

    def take(self, event: Event) -> list[Told]:
        """Return what an event of the server means; unknown ones mean nothing."""
        handler = self._handlers.get(_text(event, "type"))
        return [] if handler is None else handler(event)

    def _session_created(self, event: Event) -> list[Told]:
        self.vendor_id = _text(_part(event, "session"), "id") or self.vendor_id
        return []

    def _session_updated(self, event: Event) -> list[Told]:
        self.configured = True
        return []

    def _speech_started(self, event: Event) -> list[Told]:
        if self._settings.interrupts:
            self._muted = self._active
            self._truncate()
        return [("speech_start",)]

    def _truncate(self) -> None:
        """Tell the server how much of its answer was heard, when that was not all of it."""
        playback, self._playback = self._playback, None
        if playback is None:
            return
        heard_ms = (self._now() - playback.started) * 1000
        if heard_ms < playback.sent_ms:
            self.outbox.append(
                {
                    "type": "conversation.item.truncate",
                    "item_id": playback.item_id,
                    "content_index": 0,
                    "audio_end_ms": max(0, int(heard_ms)),
                }
            )

    def _heard_delta(self, event: Event) -> list[Told]:
        delta = _text(event, "delta")
        return [("transcription", delta, "user", False)] if delta else []

    def _heard(self, event: Event) -> list[Told]:
        transcript = _text(event, "transcript")
        if not transcript.strip():
            return []
        self._remember("user", transcript)
        return [("transcription", transcript, "user", True)]

    def _not_heard(self, event: Event) -> list[Told]:
        return [_as_error(_part(event, "error"), "transcription_failed")]

    def _said_delta(self, event: Event) -> list[Told]:
        delta = _text(event, "delta")
        return [("transcription", delta, "assistant", False)] if delta else []

    def _said_whole(self, event: Event) -> list[Told]:
        text = _text(event, "transcript") or _text(event, "text")
        if not text.strip():
            return []
        self._remember("assistant", text)
        return [("transcription", text, "assistant", True)]

    def _audio(self, event: Event) -> list[Told]:
        if self._muted is not None and _text(event, "response_id") == self._muted:
            return []
        try:
            audio = base64.b64decode(_text(event, "delta"), validate=True)
        except (ValueError, binascii.Error):
            if not self._bad_audio:
                logger.warning("the server's audio is not base64", extra=self._extra)
            self._bad_audio += 1
            return []
        item_id = _text(event, "item_id")
        if item_id:
            self._count_playback(item_id, len(audio))
        return [("audio", audio)] if audio else []

    def _count_playback(self, item_id: str, size: int) -> None:
        playback = self._playback
        if playback is None or playback.item_id != item_id:
            now = self._now()
            begins = now
            if playback is not None:
                # What was sent before is still being played.
                begins = max(now, playback.started + playback.sent_ms / 1000)
            playback = self._playback = _Playback(item_id, begins)
        playback.sent_ms += size / 2 / RATE * 1000

    def _response_created(self, event: Event) -> list[Told]:
        self._asked = None
        self._results.clear()
        self._active = _text(_part(event, "response"), "id") or "unnamed"
        return [("response_start",)]

    def _response_done(self, event: Event) -> list[Told]:
        response = _part(event, "response")
        told: list[Told] = [("response_end",)]
        details = _part(response, "status_details")
        if response.get("status") == "failed":
            told.append(_as_error(_part(details, "error"), "response_failed"))
        elif response.get("status") == "incomplete":
            reason = _text(details, "reason") or "unknown"
            told.append(("error", "response_incomplete", f"the answer is incomplete: {reason}"))
        self._active = self._muted = None
        self._names.clear()
        if self._wanted and not self._calls:
            self.ask()
        return told

    def _item(self, event: Event) -> list[Told]:
        item = _part(event, "item")
        if item.get("type") == "function_call" and len(self._names) < _MOST_CALLS:
            name = _text(item, "name")
            for key in (_text(item, "call_id"), _text(item, "id")):
                if key and name:
                    self._names[key] = name
        return []

    def _call(self, event: Event) -> list[Told]:
        call_id, raw = _text(event, "call_id"), _text(event, "arguments")
        known = self._names.get(call_id) or self._names.get(_text(event, "item_id"))
        name = _text(event, "name") or known or "unknown"
        cut_off = self._muted is not None and _text(event, "response_id") == self._muted
        try:
            arguments = json.loads(raw) if raw else {}
        except (ValueError, RecursionError):
            if cut_off:
                # The caller spoke while the model was still writing the call.
                return []
            arguments = {"raw": raw}
        if not isinstance(arguments, dict):
            arguments = {"raw": raw}
        item = {"type": "function_call", "call_id": call_id, "name": name, "arguments": raw}
        if call_id and self._newest_calls.get(call_id) == item:
            # Said twice: a tool acts once.
            return []
        for calls in (self._calls, self._newest_calls):
            if len(calls) >= _MOST_CALLS:
                del calls[next(iter(calls))]
            calls[call_id] = item
        return [("tool_call", call_id, name, arguments)]

    def _error(self, event: Event) -> list[Told]:
        error = _part(event, "error")
        code = _text(error, "code")
        if self._asked is not None and _text(error, "event_id") == self._asked:
            self._asked = None
        if code == "conversation_already_has_active_response":
            # The server was faster; ours follows when that one has ended.
            self._asked, self._wanted = None, True
            return []
        if code == "response_cancel_not_active":
            return []
        if code == "session_expired":
            self.expired = True
            return []
        return [_as_error(error, "unknown")]


def _as_error(error: Event, code: str) -> Told:
    return ("error", _text(error, "code") or code, _text(error, "message") or "no details")


def _text(event: Event, key: str) -> str:
    value = event.get(key)
    return value if isinstance(value, str) else ""


def _part(event: Event, key: str) -> Event:
    value = event.get(key)
    return value if isinstance(value, dict) else {}
