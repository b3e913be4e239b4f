"""What Deepgram says while somebody speaks, put together to utterances. Pure.

Protocol: the vendor's pages "Live Audio", "Endpointing & Interim Results", "Utterance End".
A result closes a *segment* (``is_final``); an utterance is every segment up to the one with
``speech_final``, or up to an ``UtteranceEnd``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from roomkit._http import number
from roomkit.voice.base import TranscriptionResult

_MOST_CHARACTERS = 20_000
_MOST_WORDS = 4_000
_MOST_CHANNELS = 32


@dataclass(frozen=True, slots=True)
class Segment:
    """One ``Results`` message; what is missing or of a wrong type counts as empty.

    Attributes:
        channel: Which of the audio's channels.
        text: What is said in it.
        confidence: 0 to 1.
        language: When it was detected.
        words: As the vendor gives them, times in seconds of the whole stream.
        closed: Whether its words will not change any more.
        ends: Whether the utterance ends with it.
        until: Seconds of the connection's audio that it, and all before it, covers.
    """

    channel: int
    text: str
    confidence: float | None
    language: str | None
    words: list[dict[str, Any]]
    closed: bool
    ends: bool
    until: float


def read_segment(data: dict[str, Any], offset: float = 0.0) -> Segment:
    """Return what a ``Results`` message says.

    Args:
        data: The message.
        offset: Seconds of the stream before the connection's first audio.
    """
    channel = _object(data.get("channel"))
    alternatives = channel.get("alternatives")
    best = _object(alternatives[0]) if isinstance(alternatives, list) and alternatives else {}
    text, language = best.get("transcript"), channel.get("detected_language")
    words = best.get("words")
    ends = data.get("speech_final") is True
    return Segment(
        channel=channel_of(data.get("channel_index")),
        text=text.strip() if isinstance(text, str) else "",
        confidence=number(best.get("confidence")),
        language=language if isinstance(language, str) else None,
        words=[_moved(word, offset) for word in words if isinstance(word, dict)]
        if isinstance(words, list)
        else [],
        closed=ends or data.get("is_final") is True or data.get("from_finalize") is True,
        ends=ends,
        until=(number(data.get("start")) or 0.0) + (number(data.get("duration")) or 0.0),
    )


def channel_of(index: Any) -> int:
    """Return the channel of a ``channel_index`` such as ``[0, 1]``; 0 when it says none."""
    first = index[0] if isinstance(index, list) and index else 0
    return first if isinstance(first, int) and 0 <= first < _MOST_CHANNELS else 0


@dataclass(slots=True)
class _Open:
    """An utterance that has not ended."""

    texts: list[str] = field(default_factory=list)
    words: list[dict[str, Any]] = field(default_factory=list)
    confidences: list[tuple[float, int]] = field(default_factory=list)
    language: str | None = None

    def add(self, segment: Segment) -> None:
        if not segment.text:
            return
        self.texts.append(segment.text)
        self.words.extend(segment.words)
        self.language = segment.language or self.language
        if segment.confidence is not None:
            self.confidences.append((segment.confidence, max(1, len(segment.words))))

    @property
    def full(self) -> bool:
        size = sum(map(len, self.texts))
        return size >= _MOST_CHARACTERS or len(self.words) >= _MOST_WORDS

    def result(self, interim: Segment | None = None) -> TranscriptionResult:
        """Return everything so far; final unless something that may change comes last."""
        last = interim or Segment(0, "", None, None, [], False, False, 0.0)
        texts = [*self.texts, last.text] if last.text else self.texts
        confidence = last.confidence if interim is not None else None
        if confidence is None and self.confidences:
            weight = sum(words for _, words in self.confidences)
            confidence = sum(each * words for each, words in self.confidences) / weight
        return TranscriptionResult(
            text=" ".join(texts),
            is_final=interim is None,
            confidence=confidence,
            language=last.language or self.language,
            words=[*self.words, *last.words],
        )


class Utterances:
    """Puts segments together, each channel by itself.

    A result carries the whole utterance so far; the one with ``is_final`` is its last. An
    utterance without an end is given out as final after 20,000 characters or 4,000 words.
    """

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}

    def add(self, segment: Segment) -> TranscriptionResult | None:
        """Take a segment; return what is to be told now, if anything."""
        utterance = self._open.setdefault(segment.channel, _Open())
        if not segment.closed:
            return utterance.result(segment) if segment.text else None
        utterance.add(segment)
        if segment.ends or utterance.full:
            return self.end(segment.channel)
        if not segment.text:
            return None
        result = utterance.result()
        result.is_final = False
        return result

    def end(self, channel: int) -> TranscriptionResult | None:
        """Return the utterance of a channel as final; None when there is none."""
        utterance = self._open.pop(channel, None)
        return utterance.result() if utterance is not None and utterance.texts else None

    def end_all(self) -> list[TranscriptionResult]:
        """Return every utterance that has not ended, as final."""
        ended = [self.end(channel) for channel in sorted(self._open)]
        return [result for result in ended if result is not None]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _moved(word: dict[str, Any], offset: float) -> dict[str, Any]:
    """Return a word with the times of the whole stream."""
    if not offset:
        return dict(word)
    times = {key: number(word.get(key)) for key in ("start", "end")}
    return word | {key: time + offset for key, time in times.items() if time is not None}
