"""Who may speak over a playback, and when that is known."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from roomkit.exceptions import InvalidInputError
from roomkit.voice.backchannel import (
    BackchannelContext,
    BackchannelDecision,
    BackchannelDetector,
    WordListBackchannelDetector,
)
from roomkit.voice.interruption import (
    InterruptionConfig,
    InterruptionDecision,
    InterruptionHandler,
    InterruptionStrategy,
)

if TYPE_CHECKING:
    from roomkit._clock import ManualClock

S = InterruptionStrategy


class TestBackchannel:
    """WordListBackchannelDetector."""

    @pytest.mark.parametrize(
        "text", ["Uh-huh.", "mm-hmm", "OK", "okay, right!", "I see.", "Yeah yeah.", "Ja, genau"]
    )
    def test_signs_of_listening(self, text: str) -> None:
        """Whatever the case and the punctuation."""
        decision = WordListBackchannelDetector().classify(BackchannelContext(text))
        assert decision == BackchannelDecision(True, 1.0, "acknowledgement")

    @pytest.mark.parametrize(
        "text", ["", "...", "stop", "ok but wait", "yeah yeah yeah yeah yeah", "no", "3"]
    )
    def test_words_that_want_the_floor(self, text: str) -> None:
        """Any word off the list, too many of them, or none."""
        decision = WordListBackchannelDetector().classify(BackchannelContext(text))
        assert not decision.is_backchannel

    def test_long_speech_wants_the_floor(self) -> None:
        """Also when the recogniser understood only "ok"."""
        detector = WordListBackchannelDetector()
        assert detector.classify(BackchannelContext("ok", 2000.0)).is_backchannel
        assert not detector.classify(BackchannelContext("ok", 2001.0)).is_backchannel

    def test_a_list_of_ones_own(self) -> None:
        """It takes the place of ours."""
        detector = WordListBackchannelDetector(["Roger"])
        assert detector.classify(BackchannelContext("roger!")).is_backchannel
        assert not detector.classify(BackchannelContext("ok")).is_backchannel
        with pytest.raises(InvalidInputError, match="several strings"):
            WordListBackchannelDetector("ok")


def decide(config: InterruptionConfig, position: int, speech: int = 0, text: str = "") -> str:
    decision = InterruptionHandler(config).evaluate(
        playback_position_ms=position, speech_duration_ms=speech, speech_text=text
    )
    assert decision.is_backchannel == (decision.reason == "backchannel")
    return f"{decision.reason}{'!' if decision.should_interrupt else ''}"


class TestDecision:
    """InterruptionHandler.evaluate."""

    def test_the_defaults(self) -> None:
        """Those of the contract."""
        assert InterruptionConfig() == InterruptionConfig(
            strategy=S.CONFIRMED,
            min_speech_ms=300,
            allow_during_first_ms=0,
            flush_partial_tts=True,
            keep_partial_transcript=True,
            backchannel_detector=None,
        )
        assert InterruptionDecision(True) == InterruptionDecision(True, False, "")
        assert [s.value for s in S] == ["immediate", "confirmed", "semantic", "disabled"]

    def test_settings_are_checked(self) -> None:
        """A name stands for its strategy; what means nothing is refused with its reason."""
        assert InterruptionConfig(strategy="semantic").strategy is S.SEMANTIC  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="'soon' is none of immediate, confirmed"):
            InterruptionConfig(strategy="soon")  # type: ignore[arg-type]
        for name in ("min_speech_ms", "allow_during_first_ms"):
            for value in (-1, float("nan")):
                with pytest.raises(InvalidInputError, match=name):
                    InterruptionConfig(**{name: value})

    @pytest.mark.parametrize(
        ("strategy", "speech", "text", "answer"),
        [
            (S.DISABLED, 9000, "stop", "disabled"),
            (S.IMMEDIATE, 0, "", "immediate!"),
            (S.IMMEDIATE, 0, "ok", "immediate!"),
            (S.CONFIRMED, 0, "", "too_short"),
            (S.CONFIRMED, 299, "stop", "too_short"),
            (S.CONFIRMED, 300, "", "confirmed!"),
            (S.CONFIRMED, 300, "ok", "confirmed!"),
            (S.SEMANTIC, 0, "", "too_short"),
            (S.SEMANTIC, 10, "stop", "semantic!"),
            (S.SEMANTIC, 10, "uh-huh", "backchannel"),
            (S.SEMANTIC, 900, "uh-huh", "backchannel"),
            (S.SEMANTIC, 300, "", "confirmed!"),
        ],
    )
    def test_each_strategy(self, strategy: S, speech: int, text: str, answer: str) -> None:
        """What it takes with each."""
        assert decide(InterruptionConfig(strategy=strategy), 1000, speech, text) == answer

    def test_the_start_may_be_protected(self) -> None:
        """Whatever is said meanwhile."""
        config = InterruptionConfig(strategy=S.IMMEDIATE, allow_during_first_ms=500)
        assert decide(config, 499) == "protected_start"
        assert decide(config, 500) == "immediate!"

    def test_a_given_detector_is_asked_with_confirmed_too(self) -> None:
        """The handler's own goes before the config's."""

        class Never(BackchannelDetector):
            def classify(self, context: BackchannelContext) -> BackchannelDecision:
                return BackchannelDecision(is_backchannel=False)

        config = InterruptionConfig(backchannel_detector=WordListBackchannelDetector())
        assert decide(config, 0, 400, "ok") == "backchannel"
        handler = InterruptionHandler(config, backchannel_detector=Never())
        assert handler.evaluate(
            playback_position_ms=0, speech_duration_ms=400, speech_text="ok"
        ).should_interrupt

    def test_a_broken_detector_decides_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        """The words count as words; they are not in the log."""

        class Broken(BackchannelDetector):
            def classify(self, context: BackchannelContext) -> BackchannelDecision:
                raise ValueError(context.transcript)

        config = InterruptionConfig(strategy=S.SEMANTIC, backchannel_detector=Broken())
        with caplog.at_level(logging.INFO, "roomkit.voice"):
            assert decide(config, 0, 0, "my secret") == "semantic!"
        assert "Broken" in caplog.text
        assert "my secret" not in caplog.text

    def test_what_older_arguments_mean(self) -> None:
        """``enable_barge_in`` and ``barge_in_threshold_ms`` of a voice channel."""
        assert decide(InterruptionConfig.from_barge_in(False, 0), 9999, 9999) == "disabled"
        config = InterruptionConfig.from_barge_in(True, 200)
        assert decide(config, 199) == "protected_start"
        assert decide(config, 200) == "immediate!"

    def test_when_to_look_again(self) -> None:
        """As soon as time alone can change the answer, and never when it cannot."""

        def look(config: InterruptionConfig, position: int, speech: int) -> int | None:
            return InterruptionHandler(config).next_look_ms(
                playback_position_ms=position, speech_duration_ms=speech
            )

        assert look(InterruptionConfig(strategy=S.DISABLED), 0, 0) is None
        assert look(InterruptionConfig(), 0, 100) == 200
        assert look(InterruptionConfig(), 0, 295) == 20
        assert look(InterruptionConfig(), 0, 300) is None
        assert look(InterruptionConfig(allow_during_first_ms=900), 100, 100) == 800
        immediate = InterruptionConfig(strategy=S.IMMEDIATE, allow_during_first_ms=900)
        assert look(immediate, 600, 0) == 300


class TestWatch:
    """InterruptionWatch: the decision while speech lasts."""

    async def test_confirmed_speech_interrupts_while_it_lasts(self, clock: ManualClock) -> None:
        """After 300 ms of it, not at its start and not at its end."""
        watch = InterruptionHandler(InterruptionConfig()).watch(lambda: 1000, clock=clock)
        task = asyncio.create_task(watch.decided())
        await clock.advance(0.299)
        assert not task.done()
        await clock.advance(0.001)
        assert (await task).reason == "confirmed"
        assert watch.speech_duration_ms == 300
        assert clock.sleepers == 0

    async def test_short_speech_does_not(self, clock: ManualClock) -> None:
        """It is decided when the speech ends; its length is kept."""
        watch = InterruptionHandler(InterruptionConfig()).watch(lambda: 1000, clock=clock)
        task = asyncio.create_task(watch.decided())
        await clock.advance(0.2)
        watch.ended()
        decision = await task
        assert (decision.should_interrupt, decision.reason) == (False, "too_short")
        await clock.advance(5)
        assert watch.speech_duration_ms == 200
        assert clock.sleepers == 0

    async def test_words_decide_at_once(self, clock: ManualClock) -> None:
        """With SEMANTIC, without any time passing."""
        config = InterruptionConfig(strategy=S.SEMANTIC)
        watch = InterruptionHandler(config).watch(lambda: 1000, clock=clock)
        task = asyncio.create_task(watch.decided())
        await clock.advance(0)
        watch.heard("please stop")
        assert (await task).reason == "semantic"
        assert clock.monotonic() == 0

    async def test_a_sign_of_listening_that_goes_on_interrupts(self, clock: ManualClock) -> None:
        """ "Ok" alone does not, however long it is thought about; "ok but" does."""
        config = InterruptionConfig(strategy=S.SEMANTIC)
        watch = InterruptionHandler(config).watch(lambda: 1000, clock=clock)
        task = asyncio.create_task(watch.decided())
        watch.heard("ok")
        await clock.advance(1.5)
        assert not task.done()
        watch.heard("ok but")
        assert (await task).reason == "semantic"

    async def test_a_protected_start_is_waited_for(self, clock: ManualClock) -> None:
        """Speech that goes on interrupts as soon as the start has been heard."""
        config = InterruptionConfig(strategy=S.IMMEDIATE, allow_during_first_ms=500)
        watch = InterruptionHandler(config).watch(
            lambda: round(clock.monotonic() * 1000), clock=clock
        )
        task = asyncio.create_task(watch.decided())
        await clock.advance(0.49)
        assert not task.done()
        await clock.advance(0.05)
        assert (await task).reason == "immediate"

    async def test_nothing_interrupts_when_disabled(self, clock: ManualClock) -> None:
        """No timer is set for it either."""
        config = InterruptionConfig(strategy=S.DISABLED)
        watch = InterruptionHandler(config).watch(lambda: 1000, clock=clock)
        task = asyncio.create_task(watch.decided())
        await clock.advance(60)
        assert clock.sleepers == 0
        watch.ended()
        watch.ended()
        assert (await task).reason == "disabled"

    async def test_cancelling_leaves_nothing(self, clock: ManualClock) -> None:
        """No task and no sleeper."""
        before = asyncio.all_tasks()
        watch = InterruptionHandler(InterruptionConfig()).watch(lambda: 0, clock=clock)
        task = asyncio.create_task(watch.decided())
        await clock.advance(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == before
        assert clock.sleepers == 0

    async def test_measured_speech_counts_and_time_does_not(self, clock: ManualClock) -> None:
        """Once the VAD has said how long was spoken, silence does not make it longer."""
        watch = InterruptionHandler(InterruptionConfig()).watch(lambda: 1000, clock=clock)
        task = asyncio.create_task(watch.decided())
        watch.spoken(100)
        await clock.advance(10)
        assert not task.done()
        assert clock.sleepers == 0
        assert watch.speech_duration_ms == 100
        watch.spoken(320)
        assert (await task).reason == "confirmed"

    async def test_the_last_word_on_its_length(self, clock: ManualClock) -> None:
        """What the VAD says at the end holds, and nothing said later changes it."""
        watch = InterruptionHandler(InterruptionConfig()).watch(lambda: 1000, clock=clock)
        task = asyncio.create_task(watch.decided())
        await clock.advance(0.25)
        watch.ended(180)
        watch.ended(900)
        watch.spoken(900)
        assert (await task).reason == "too_short"
        assert watch.speech_duration_ms == 180

    async def test_a_burst_is_judged_at_its_end(self, clock: ManualClock) -> None:
        """Speech whose frames came all at once interrupts as well, if it was long enough."""
        watch = InterruptionHandler(InterruptionConfig()).watch(lambda: 1000, clock=clock)
        task = asyncio.create_task(watch.decided())
        watch.ended(400)
        assert (await task).reason == "confirmed"

    async def test_measured_speech_waits_for_the_protected_start(self, clock: ManualClock) -> None:
        """Long enough already, it interrupts as soon as it may."""
        config = InterruptionConfig(min_speech_ms=100, allow_during_first_ms=500)
        watch = InterruptionHandler(config).watch(
            lambda: round(clock.monotonic() * 1000), clock=clock
        )
        task = asyncio.create_task(watch.decided())
        watch.spoken(150)
        await clock.advance(0.45)
        assert not task.done()
        await clock.advance(0.1)
        assert (await task).reason == "confirmed"
