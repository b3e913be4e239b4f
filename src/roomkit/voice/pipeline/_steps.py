"""Steps of a pipeline: a stage, bound to what it does with a frame."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from roomkit._logging import log_failure
from roomkit.exceptions import InvalidReturnError
from roomkit.voice.audio_frame import AudioFrame

if TYPE_CHECKING:
    from roomkit.voice.apm import AECProvider
    from roomkit.voice.audio.resample import ResamplerProvider
    from roomkit.voice.pipeline.contract import AudioFormat
    from roomkit.voice.pipeline.denoiser_provider import DenoiserProvider
    from roomkit.voice.pipeline.vad_provider import VADConfig, VADProvider

logger = logging.getLogger("roomkit.voice.pipeline")

Step = Callable[[AudioFrame], AudioFrame]


def stage_name(stage: object) -> str:
    """Return what a stage calls itself."""
    return str(getattr(stage, "name", None) or type(stage).__name__)


def guarded(stage: object, method: str, what: str, *args: object) -> None:
    """Call a method of a stage that has it; a failure is logged and goes no further."""
    call = getattr(stage, method, None)
    if call is None:
        return
    try:
        call(*args)
    except Exception as exc:  # noqa: BLE001 - the other stages go on
        log_failure(logger, exc, "%s of the stage %s failed", what, stage_name(stage))


def configure(vad: VADProvider, config: VADConfig | None) -> None:
    """Tell a VAD how to cut utterances, if there is a config and it wants to know.

    Raises:
        Exception: What it says about settings it cannot use.
    """
    tell = getattr(vad, "configure", None)
    if tell is not None and config is not None:
        tell(config)


def carry(frame: AudioFrame, out: AudioFrame) -> None:
    """Keep what earlier stages found out when a stage made a new frame."""
    if out is not frame:
        for key, value in frame.metadata.items():
            out.metadata.setdefault(key, value)


def denoise(stage: DenoiserProvider) -> Step:
    """Take noise out, and say who did."""
    name = stage.name

    def step(frame: AudioFrame) -> AudioFrame:
        out = stage.process(frame)
        if out is not frame:
            check(out, stage)
            carry(frame, out)
        out.metadata["denoiser"] = name
        return out

    return step


def transform(stage: Any) -> Step:
    """Change frames."""

    def step(frame: AudioFrame) -> AudioFrame:
        out: AudioFrame = stage.process(frame)
        if out is not frame:
            check(out, stage)
            carry(frame, out)
        return out

    return step


def reference(stage: AECProvider, echo: ResamplerProvider | None, target: AudioFormat) -> Step:
    """Tell the canceller what is played, in the format in which it will hear it again."""

    def step(frame: AudioFrame) -> AudioFrame:
        heard = frame
        if echo is not None:
            heard = echo.resample(frame, target.sample_rate, target.channels, target.sample_width)
        stage.feed_reference(heard)
        return frame

    return step


def check(out: AudioFrame | None, stage: object) -> None:
    """Refuse a stage that returned nothing.

    Raises:
        InvalidReturnError: It did.
    """
    if out is None:
        raise InvalidReturnError(
            f"the stage {stage_name(stage)} returned None; process() must return a frame"
        )


def convert(stage: ResamplerProvider, target: Callable[[AudioFrame], AudioFormat]) -> Step:
    """Bring frames to a format, and say what they were."""

    def step(frame: AudioFrame) -> AudioFrame:
        rate, channels = frame.sample_rate, frame.channels
        wanted = target(frame)
        out = stage.resample(frame, wanted.sample_rate, wanted.channels, wanted.sample_width)
        if out is not frame:
            check(out, stage)
            carry(frame, out)
            if rate != out.sample_rate or channels != out.channels:
                out.metadata.setdefault("original_sample_rate", rate)
                out.metadata.setdefault("original_channels", channels)
        return out

    return step
