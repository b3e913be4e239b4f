"""What goes wrong in voice sessions: counted by kind, logged once a session."""

from __future__ import annotations

import logging
from enum import StrEnum, unique
from typing import TYPE_CHECKING

from roomkit._logging import ids, log_failure

if TYPE_CHECKING:
    from collections import Counter

    from roomkit.voice.base import VoiceSession

logger = logging.getLogger("roomkit.voice")


@unique
class Fault(StrEnum):
    """The kinds; a session goes on after each of them."""

    STT_FAILED = "stt_failed"
    """A recogniser raised: the utterance is lost."""
    STT_TIMEOUT = "stt_timeout"
    """A recogniser took too long: the utterance is lost."""
    STT_GARBAGE = "stt_garbage"
    """A recogniser returned no text: the utterance is lost."""
    STT_STREAM_FAILED = "stt_stream_failed"
    """A recogniser's stream broke or ended late: the utterance is sent to it in one piece."""
    TTS_FAILED = "tts_failed"
    """A synthesiser or the backend raised, or gave what is no audio, or no end of it: the rest
    of the text is not said."""
    TTS_TIMEOUT = "tts_timeout"
    """A synthesiser took too long: the rest of the text is not said."""
    TTS_FORMAT = "tts_format"
    """A synthesiser gave audio that cannot be played: that is left out."""
    UTTERANCE_CUT = "utterance_cut"
    """Somebody spoke longer than max_utterance_seconds: the rest is left out."""
    UTTERANCE_DROPPED = "utterance_dropped"
    """Too many utterances waited for the recogniser: one is lost."""
    HOOK_DROPPED = "hook_dropped"
    """Too many hooks waited, since one is slow: one is not told."""
    SPEECH_DROPPED = "speech_dropped"
    """Too many texts waited to be said: one is not said."""
    SPEECH_ENDLESS = "speech_endless"
    """Speech began again although its end had not been reported: what came before is lost."""


class Faults:
    """The faults of one session.

    Args:
        session: Whose.
        counts: Of the whole channel.
    """

    __slots__ = ("_counts", "_seen", "_session")

    def __init__(self, session: VoiceSession, counts: Counter[str]) -> None:
        self._session = session
        self._counts = counts
        self._seen: set[Fault] = set()

    def note(self, fault: Fault, what: str, error: BaseException | None = None) -> None:
        """Count a fault; the first of its kind in a session is logged, the rest at DEBUG.

        Args:
            fault: The kind.
            what: What happened, and what follows, for people.
            error: What was raised.
        """
        self._counts[fault.value] += 1
        extra = ids(session_id=self._session.id, room_id=self._session.room_id)
        if fault in self._seen:
            logger.debug("%s, again", what, extra=extra)
            return
        self._seen.add(fault)
        if error is None:
            logger.warning("%s", what, extra=extra)
        else:
            log_failure(logger, error, "%s", what, extra=extra)
