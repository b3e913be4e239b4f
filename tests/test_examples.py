"""Every example runs offline, ends by itself and prints what its text says it shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SECONDS = 50

OUTCOMES = {
    "ai_tools_function_calling": [
        'weather -> {"city": "Brest", "sky": "clear"}',
        "tides -> the tool failed (LookupError)",
        "answer: The sky over Brest is clear; I have no tides.",
    ],
    "channel_mute_unmute": [
        "the browser saw: Answer 1, Answer 3",
        "the model was asked 3 times",
    ],
    "circuit_breaker_retry": ["retry: sent after 3 attempts", "then the probe was sent"],
    "composite_messages": ["browser: text, media, location", "[Location: Harbour (43.29, 5.37)]"],
    "custom_identity_resolver": ["unknown number: identity_challenge_sent", "-> +15550199"],
    "delivery_status_webhook": ["heard: delivered, sent", "stored: delivered"],
    "demo": [
        "carol: This is about another order.",
        "9  blocked    alice      My password is hunter2.  [by moderation]",
        "10  delivered  carol      Charge [card number] please.",
        "checks passed.",
    ],
    "edit_delete_messages": [
        "Correction: See you at 9 | [Message deleted]",
        "somebody else's edit: not_original_author",
    ],
    "hook_inject_welcome": ["Hello? | Welcome! A person answers within the hour. | Anybody"],
    "hook_logging_analytics": ["13  words", "1  refused: no shouting"],
    "hook_moderation": ["bob saw: Hello | Write to [address]", "refused by: spam"],
    "location_sharing": ["WhatsApp got: location", "SMS got: [Location: Eiffel Tower"],
    "multichannel_bridge": ["mail     hello from web | hello from sms | hello from whatsapp"],
    "presence_tracking": ["online: bob"],
    "quickstart": ["to ana's browser: We open at nine.", "3  delivered  assistant"],
    "rate_limiting": ["sent in order: text 0, text 1, text 2", "paced: True"],
    "reactions": ["score: {'party': 2}"],
    "read_receipts": ["unread: [3, 1, 0]", "receipt: bob read message 1"],
    "rich_content_buttons": ["buttons in the browser: Yes, No", "Answer YES or NO."],
    "room_lifecycle": [
        "statuses: paused, closed, active, archived",
        "a message to the closed room: room_closed",
    ],
    "typing_indicators": ["ana: typing_start, ana: typing_stop", "channel_attached, message"],
}


def run(script: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a script by itself, every warning an error, and return how it ended."""
    return subprocess.run(
        [sys.executable, "-W", "error", *options, str(script)],
        cwd=EXAMPLES.parent,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


class TestExamples:
    """Each program in examples/ does what it says."""

    def test_none_is_forgotten_here(self) -> None:
        assert sorted(OUTCOMES) == sorted(path.stem for path in EXAMPLES.glob("*.py"))

    @pytest.mark.parametrize("name", sorted(OUTCOMES))
    def test_it_prints_its_outcome(self, name: str) -> None:
        done = run(EXAMPLES / f"{name}.py")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        for text in OUTCOMES[name]:
            assert text in done.stdout


class TestDemo:
    """The demo notices when something is not as it should be."""

    def test_a_gate_that_lets_everything_through_is_noticed(self, tmp_path: Path) -> None:
        broken = tmp_path / "demo.py"
        text = (EXAMPLES / "demo.py").read_text(encoding="utf-8")
        assert "        gates.install(kit)\n" in text
        broken.write_text(text.replace("        gates.install(kit)\n", ""), encoding="utf-8")
        (tmp_path / "_demo").symlink_to(EXAMPLES / "_demo", target_is_directory=True)
        done = run(broken)
        assert done.returncode == 1
        assert "Charge 4111 1111 1111 1111 please." in done.stdout + done.stderr
