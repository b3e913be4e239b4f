"""Listening in between stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio import parse_wav
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.debug_taps import PipelineDebugTaps
from tests.test_voice._signals import frames, tone

if TYPE_CHECKING:
    from pathlib import Path

PCM = tone(300, 200)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): parse_wav(path.read_bytes()).data
        for path in sorted(folder.rglob("*.wav"))
    }


class TestTaps:
    async def test_a_file_a_stage(self, tmp_path: Path) -> None:
        """Each tapped stage of each session has its file; names cannot leave the folder."""
        taps = PipelineDebugTaps(tmp_path)
        for frame in frames(PCM):
            taps.tap("../s1", "denoiser", frame)
            taps.tap("s2", "denoiser", frame)
        taps.close()
        taps.close()
        await taps.settle()
        assert files(tmp_path) == {
            "_s1/001-denoiser-16000.wav": PCM,
            "s2/002-denoiser-16000.wav": PCM,
        }

    async def test_chosen_stages(self, tmp_path: Path) -> None:
        """Other stages are not tapped."""
        taps = PipelineDebugTaps(str(tmp_path), ["vad"], session_scoped=False)
        taps.tap("s", "vad", AudioFrame(PCM))
        taps.tap("s", "aec", AudioFrame(PCM))
        assert taps.wants("vad")
        assert not taps.wants("aec")
        await taps.settle()
        assert files(tmp_path) == {"001-vad-16000.wav": PCM}
        taps.close()
        await taps.settle()

    async def test_format_changes(self, tmp_path: Path) -> None:
        """Another format begins another file."""
        taps = PipelineDebugTaps(tmp_path)
        taps.tap("s", "in", AudioFrame(PCM))
        taps.tap("s", "in", AudioFrame(PCM, 8000))
        taps.close_session("s")
        await taps.settle()
        assert files(tmp_path) == {"s/001-in-16000.wav": PCM, "s/002-in-8000.wav": PCM}

    async def test_bound(self, tmp_path: Path) -> None:
        """After 512 files nothing more is opened, and what is lost is counted."""
        taps = PipelineDebugTaps(tmp_path)
        for number in range(515):
            taps.tap("s", f"stage{number}", AudioFrame(b"\x00\x00"))
        assert taps.dropped == 3
        taps.close()
        await taps.settle()
        assert len(files(tmp_path)) == 512

    def test_refused(self) -> None:
        """Tapping nothing is a mistake."""
        with pytest.raises(InvalidInputError, match="all"):
            PipelineDebugTaps(stages=[])
