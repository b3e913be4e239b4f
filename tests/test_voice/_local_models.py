"""Stand-ins for the packages that recognise and speak on this machine.

Each behaves as the real one was seen to: where it blocks, what it returns, what it needs to be
told. ``heard`` is what every recogniser understands in sound that is not silent.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass
class Engine:
    """What a stand-in is told to do, and what it was asked.

    Attributes:
        heard: What is understood.
        calls: Names and arguments, in order.
        threads: The threads that work was done in.
        gate: Work waits for it.
        fault: Raised by the next piece of work.
        open: Streams that were opened and not closed.
        taken: How many samples the streams of Moonshine have taken in.
        freed: Whether the model was let go, and how many streams were open then.
    """

    heard: str = "hello"
    calls: list[tuple[str, Any]] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)
    fault: Exception | None = None
    open: int = 0
    freed: list[int] = field(default_factory=list)
    taken: int = 0
    _busy: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def work(self, name: str, what: Any = None) -> None:
        """Do a piece of work: note it, wait, perhaps fail."""
        self.calls.append((name, what))
        self.threads.add(threading.current_thread().name)
        if not self.gate.is_set():
            self._busy.set()
        self.gate.wait(10)
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault

    async def stuck(self) -> None:
        """Return when work waits at the gate."""
        assert await asyncio.to_thread(self._busy.wait, 10)

    def count(self, name: str) -> int:
        """Return how often something was asked."""
        return sum(1 for called, _ in self.calls if called == name)

    def said(self, samples: list[float]) -> str:
        """Return what is understood in samples."""
        assert all(-1.0 <= sample <= 1.0 for sample in samples[:1000])
        return self.heard if any(abs(sample) > 0.01 for sample in samples) else ""


# -- sherpa-onnx ---------------------------------------------------------------------------------


@dataclass
class SherpaStream:
    """Audio of one recognition."""

    samples: list[float] = field(default_factory=list)
    rate: int = 0
    new: bool = False
    done: bool = False
    silence: int = 0
    result: Any = None

    def accept_waveform(self, rate: int, samples: list[float]) -> None:
        assert not self.done
        self.rate = rate
        self.samples += samples
        self.new = True
        loud = any(abs(sample) > 0.01 for sample in samples)
        self.silence = 0 if loud else self.silence + len(samples)

    def input_finished(self) -> None:
        self.done = True


class _Recogniser:
    def __init__(self, engine: Engine, made: str, settings: dict[str, Any]) -> None:
        self.engine = engine
        engine.work(made, settings)

    def create_stream(self) -> SherpaStream:
        return SherpaStream()


class Offline(_Recogniser):
    """Takes whole recordings."""

    def decode_stream(self, stream: SherpaStream) -> None:
        self.engine.work("decode", len(stream.samples))
        stream.result = SimpleNamespace(text=f" {self.engine.said(stream.samples)} ")


class Online(_Recogniser):
    """Takes pieces; a word comes out with every one until the silence after them."""

    def is_ready(self, stream: SherpaStream) -> bool:
        return stream.new

    def decode_stream(self, stream: SherpaStream) -> None:
        stream.new = False
        self.engine.work("decode", len(stream.samples))

    def get_result(self, stream: SherpaStream) -> str:
        words = self.engine.said(stream.samples).split()
        seconds = len(stream.samples) / (stream.rate or 16000)
        return " ".join(words[: max(1, int(seconds * 10))])

    def is_endpoint(self, stream: SherpaStream) -> bool:
        return stream.silence > stream.rate

    def reset(self, stream: SherpaStream) -> None:
        stream.samples.clear()
        stream.silence = 0


def sherpa(engine: Engine) -> Any:
    """Return a module like sherpa_onnx."""

    def maker(kind: type[_Recogniser], made: str) -> Callable[..., _Recogniser]:
        return lambda **settings: kind(engine, made, settings)

    def generate(text: str, *, sid: int, speed: float, callback: Any) -> None:
        for number, phrase in enumerate(text.split(",")):
            engine.work("generate", phrase.strip())
            if not callback([0.5, -2.0, 2.0] * 300, number / 10):
                engine.calls.append(("stopped", phrase.strip()))
                return

    def tts(config: Any) -> Any:
        engine.work("load", config)
        return SimpleNamespace(sample_rate=24000, num_speakers=3, generate=generate)

    def plain(**settings: Any) -> Any:
        return SimpleNamespace(**settings)

    return SimpleNamespace(
        OfflineRecognizer=SimpleNamespace(
            from_whisper=maker(Offline, "whisper"),
            from_moonshine_v2=maker(Offline, "moonshine"),
            from_transducer=maker(Offline, "offline transducer"),
        ),
        OnlineRecognizer=SimpleNamespace(from_transducer=maker(Online, "online transducer")),
        OfflineTts=tts,
        OfflineTtsConfig=plain,
        OfflineTtsModelConfig=plain,
        OfflineTtsVitsModelConfig=plain,
    )


# -- Moonshine -----------------------------------------------------------------------------------


class MoonshineStream:
    """Lines that grow with each look and are complete after half a second of silence."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.samples: list[float] = []
        self.lines: list[Any] = []
        self.begin = 0
        engine.open += 1

    def start(self) -> None:
        self.engine.work("start")

    def add_audio(self, samples: list[float], rate: int) -> None:
        assert rate == 16000
        self.engine.work("add", len(samples))
        self.samples += samples
        self.engine.taken += len(samples)

    def update_transcription(self, flags: int = 0) -> Any:
        self.engine.work("look", flags)
        part = self.samples[self.begin :]
        text = self.engine.said(part)
        if text:
            if not self.lines or self.lines[-1].is_complete:
                self.lines.append(SimpleNamespace(text="", line_id=len(self.lines)))
            words = text.split()
            line = self.lines[-1]
            line.text = f" {' '.join(words[: max(1, len(part) // 8000)])} "
            line.is_complete = not self.engine.said(part[-8000:])
            if line.is_complete:
                line.text = text
                self.begin = len(self.samples)
        return SimpleNamespace(lines=list(self.lines))

    def stop(self) -> Any:
        self.engine.work("stop")
        for line in self.lines:
            line.is_complete = True
        # The real one fails to end a stream when there is nothing new.
        return SimpleNamespace(lines=list(self.lines)) if self.lines else None

    def close(self) -> None:
        self.engine.open -= 1


class MoonshineTranscriber:
    """A model."""

    MOONSHINE_FLAG_FORCE_UPDATE = 1

    def __init__(self, engine: Engine, path: str, arch: str, options: dict[str, str]) -> None:
        self.engine = engine
        engine.work("load", (path, arch))

    def create_stream(self, update_interval: float) -> MoonshineStream:
        return MoonshineStream(self.engine)

    def close(self) -> None:
        self.engine.freed.append(self.engine.open)


def moonshine(engine: Engine, package: Path) -> Any:
    """Return a module like moonshine_voice, whose files are below a folder."""
    return SimpleNamespace(
        __file__=str(package / "__init__.py"),
        string_to_model_arch=lambda name: name,
        Transcriber=lambda path, arch, options: MoonshineTranscriber(engine, path, arch, options),
    )


# -- Piper ---------------------------------------------------------------------------------------


def piper(engine: Engine, *, speakers: dict[str, int] | None = None) -> Any:
    """Return a module like piper: 50 ms of sound at 22,050 Hz for each sentence."""
    voices = speakers or {}
    settings = SimpleNamespace(
        sample_rate=22050, speaker_id_map=voices, num_speakers=max(1, len(voices))
    )

    def synthesize(text: str, manner: Any) -> Iterator[Any]:
        for sentence in text.replace("?", ".").split("."):
            if sentence.strip():
                engine.work("sentence", (sentence.strip(), manner.speaker_id))
                yield SimpleNamespace(sample_rate=22050, audio_int16_bytes=b"\1\2" * 1102)

    def load(model: str, config_path: str) -> Any:
        engine.work("load", (model, config_path))
        return SimpleNamespace(config=settings, synthesize=synthesize)

    return SimpleNamespace(
        PiperVoice=SimpleNamespace(load=load),
        SynthesisConfig=lambda **manner: SimpleNamespace(**manner),
    )


def files(folder: Path, *names: str) -> list[str]:
    """Make empty files; return their paths."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [str(folder / name) for name in names]
