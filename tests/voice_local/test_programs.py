"""The programs people start from, with real models: they end well and say what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from roomkit.voice.audio import level_dbfs, parse_wav
from tests.voice_local._models import NEEDS_MODELS

pytestmark = NEEDS_MODELS

ROOT = Path(__file__).resolve().parents[2]


def run(program: Path, folder: Path, *words: str) -> list[str]:
    """Run a program in a folder; return the lines it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def loud(path: Path) -> bool:
    """Return whether there is anything to hear in a WAV file."""
    return level_dbfs(parse_wav(path.read_bytes()).data) > -45


class TestPrograms:
    """Each in a process of its own, every warning an error."""

    def test_the_demo(self, tmp_path: Path) -> None:
        """It checks itself; the call is where it says."""
        lines = run(ROOT / "examples" / "demo_voice.py", tmp_path)
        assert lines[-1] == "all checks passed"
        found = re.search(r"what the caller heard: (.*)", "\n".join(lines))
        assert found is not None
        path = Path(found[1])
        assert loud(path)
        path.unlink()
        path.parent.rmdir()

    def test_the_starting_point(self, tmp_path: Path) -> None:
        """With a question of its own, and then with the answer as a question."""
        program = ROOT / "examples" / "voice_offline.py"
        lines = run(program, tmp_path)
        assert "assistant: We open at nine, every day but Sunday." in lines
        run(program, tmp_path, str(self.question(tmp_path)), "answer.wav")
        assert loud(tmp_path / "answer.wav")

    def question(self, folder: Path) -> Path:
        """Return the quick start's answer: it has the word the clerk waits for."""
        page = (ROOT / "docs" / "voice-offline.md").read_text(encoding="utf-8")
        block = re.search(r'```python title="assistant.py"\n(.*?)```', page, re.DOTALL)
        assert block is not None
        program = folder / "assistant.py"
        program.write_text(block[1], encoding="utf-8")
        lines = run(program, folder)
        assert lines[-1] == "assistant: We open at nine."
        recording = folder / "answer.wav"
        assert loud(recording)
        return recording.rename(folder / "question.wav")
