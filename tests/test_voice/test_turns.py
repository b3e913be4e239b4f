"""Utterances and turns."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from roomkit.exceptions import InvalidInputError
from roomkit.voice.turn_detector import (
    PunctuationTurnDetector,
    TurnCollector,
    TurnContext,
    TurnDecision,
    TurnDetector,
    TurnEntry,
)

if TYPE_CHECKING:
    from roomkit._clock import ManualClock


def judge(text: str, silence_ms: float = 500.0, *, is_final: bool = True) -> TurnDecision:
    return PunctuationTurnDetector().evaluate(
        TurnContext(transcript=text, silence_duration_ms=silence_ms, is_final=is_final)
    )


class TestHeuristic:
    """PunctuationTurnDetector."""

    @pytest.mark.parametrize(
        "text", ["Stop.", "Really?", 'He said "no!"', "\u597d\u3002", "I did that. "]
    )
    def test_a_sentence_is_a_turn(self, text: str) -> None:
        """Whatever the pause."""
        assert judge(text, 0.0) == TurnDecision(True, 0.9, "punctuation")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("First,", "open_punctuation"),
            ("Well...", "open_punctuation"),
            ("Well\u2026", "open_punctuation"),
            ("I mean -", "open_punctuation"),
            ("I would like to", "open_word"),
            ("and then, um", "open_word"),
            ("ich komme weil", "open_word"),
        ],
    )
    def test_what_sounds_unfinished_waits_long(self, text: str, reason: str) -> None:
        """Two seconds of silence, of which half a second is over."""
        assert judge(text) == TurnDecision(False, 0.8, reason, 1500.0)
        assert judge(text, 2000.0).is_complete

    def test_without_punctuation_the_pause_decides(self) -> None:
        """0.7 s."""
        assert judge("hello there") == TurnDecision(False, 0.6, "no_punctuation", 200.0)
        assert judge("hello there", 700.0) == TurnDecision(True, 0.6, "pause")

    def test_times_are_checked(self) -> None:
        """Negative ones are refused; a short wait for the unfinished is made longer."""
        for name in ("pause_ms", "unfinished_ms"):
            with pytest.raises(InvalidInputError, match=name):
                PunctuationTurnDetector(**{name: -1.0})
        hasty = PunctuationTurnDetector(pause_ms=900, unfinished_ms=100)
        assert hasty.evaluate(TurnContext(transcript="and")).suggested_wait_ms == 900

    def test_what_may_still_change_is_no_turn(self) -> None:
        """Nor is nothing at all."""
        assert judge("Stop.", 9000.0, is_final=False).reason == "not_final"
        assert judge(" ", 9000.0) == TurnDecision(False, 1.0, "empty", 2000.0)


class Scripted(TurnDetector):
    """Says what a test tells it, and keeps what it was asked."""

    def __init__(self, *decisions: TurnDecision) -> None:
        self.decisions = list(decisions)
        self.asked: list[TurnContext] = []

    def evaluate(self, context: TurnContext) -> TurnDecision:
        self.asked.append(context)
        return self.decisions.pop(0)


class Collected:
    """A collector and what it said."""

    def __init__(self, detector: TurnDetector, clock: ManualClock) -> None:
        self.said: list[tuple[str, str]] = []
        self.collector = TurnCollector(
            detector,
            self._complete,
            on_incomplete=self._incomplete,
            clock=clock,
            session_id="one",
        )

    async def _complete(self, text: str, decision: TurnDecision) -> None:
        self.said.append((text, f"complete: {decision.reason}"))

    async def _incomplete(self, text: str, decision: TurnDecision) -> None:
        self.said.append((text, f"incomplete: {decision.reason}"))


class TestCollector:
    """TurnCollector."""

    async def test_a_whole_turn_passes_at_once(self, clock: ManualClock) -> None:
        """Nothing waits afterwards."""
        turns = Collected(PunctuationTurnDetector(), clock)
        assert (await turns.collector.add("Hello.")).is_complete
        assert turns.said == [("Hello.", "complete: punctuation")]
        assert (turns.collector.text, clock.sleepers) == ("", 0)

    async def test_pieces_are_joined(self, clock: ManualClock) -> None:
        """What is there is reported while it waits; the detector sees the whole turn."""
        wait = TurnDecision(False, reason="more", suggested_wait_ms=1000)
        detector = Scripted(wait, TurnDecision(True, reason="done"))
        turns = Collected(detector, clock)
        history = [TurnEntry("How are you?", "assistant")]
        await turns.collector.add("I am", speech_duration_ms=300, history=history)
        await clock.advance(0.9)
        await turns.collector.add(" fine ", speech_duration_ms=200, silence_duration_ms=500)
        assert turns.said == [("I am", "incomplete: more"), ("I am fine", "complete: done")]
        assert detector.asked[0].conversation_history == history
        assert detector.asked[1] == TurnContext(
            silence_duration_ms=500,
            transcript="I am fine",
            speech_duration_ms=500,
            session_id="one",
        )
        await clock.advance(10)
        assert len(turns.said) == 2

    async def test_silence_ends_an_unfinished_turn(self, clock: ManualClock) -> None:
        """After the wait the detector suggests, though nobody speaks again."""
        wait = TurnDecision(False, reason="more", suggested_wait_ms=1000)
        turns = Collected(Scripted(wait), clock)
        await turns.collector.add("I am")
        await clock.advance(0.999)
        assert len(turns.said) == 1
        await clock.advance(0.001)
        assert turns.said[1] == ("I am", "complete: waited")
        assert turns.collector.text == ""

    async def test_a_detector_without_a_suggestion(self, clock: ManualClock) -> None:
        """A second and a half."""
        turns = Collected(Scripted(TurnDecision(False)), clock)
        await turns.collector.add("I am")
        await clock.advance(1.499)
        assert len(turns.said) == 1
        await clock.advance(0.001)
        assert len(turns.said) == 2

    async def test_new_speech_stops_the_wait(self, clock: ManualClock) -> None:
        """Until it is known; a noise lets the wait begin anew."""
        wait = TurnDecision(False, reason="more", suggested_wait_ms=1000)
        turns = Collected(Scripted(wait), clock)
        await turns.collector.add("I am")
        turns.collector.hold()
        await clock.advance(10)
        assert len(turns.said) == 1
        turns.collector.resume()
        await clock.advance(1)
        assert turns.said[1] == ("I am", "complete: waited")
        turns.collector.resume()
        assert clock.sleepers == 0

    async def test_blank_text_is_no_turn(self, clock: ManualClock) -> None:
        """Alone it leads to nothing and sets no timer."""
        turns = Collected(PunctuationTurnDetector(), clock)
        assert not (await turns.collector.add("  ")).is_complete
        assert (turns.said, clock.sleepers) == ([], 0)

    async def test_a_broken_detector_ends_the_turn(
        self, clock: ManualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Better an early answer than none; the words stay out of the log."""

        class Broken(TurnDetector):
            def evaluate(self, context: TurnContext) -> TurnDecision:
                raise ValueError(context.transcript)

        turns = Collected(Broken(), clock)
        with caplog.at_level(logging.INFO, "roomkit.voice"):
            await turns.collector.add("my secret")
        assert turns.said == [("my secret", "complete: detector_failed")]
        assert "Broken" in caplog.text
        assert "my secret" not in caplog.text

    async def test_a_turn_cannot_grow_for_ever(self, clock: ManualClock) -> None:
        """After 20,000 characters it is over."""

        class Never(TurnDetector):
            def evaluate(self, context: TurnContext) -> TurnDecision:
                return TurnDecision(is_complete=False)

        turns = Collected(Never(), clock)
        for _ in range(20):
            await turns.collector.add("x" * 1000)
        assert turns.said[-1][1] == "complete: too_long"
        assert turns.collector.text == ""
        await turns.collector.close()

    async def test_closing(self, clock: ManualClock) -> None:
        """What was said in the open turn comes back; no task is left; again does nothing."""
        before = asyncio.all_tasks()
        turns = Collected(Scripted(TurnDecision(False)), clock)
        await turns.collector.add("I am")
        assert await turns.collector.close() == "I am"
        assert await turns.collector.close() == ""
        assert asyncio.all_tasks() == before
        await clock.advance(10)
        assert len(turns.said) == 1

    async def test_a_turn_that_is_being_told_is_not_stopped(self, clock: ManualClock) -> None:
        """Speech that begins while ``on_complete`` runs after a wait leaves it alone."""
        gate, done = asyncio.Event(), asyncio.Event()

        async def complete(text: str, decision: TurnDecision) -> None:
            await gate.wait()
            done.set()

        collector = TurnCollector(Scripted(TurnDecision(False)), complete, clock=clock)
        await collector.add("I am")
        await clock.advance(2)
        collector.hold()
        gate.set()
        async with asyncio.timeout(5):
            await done.wait()
        await collector.close()
