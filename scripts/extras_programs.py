"""What is done with each extra once it is installed alone; `scripts/extras.py` runs it.

A program imports what the extra is for, makes it and uses it as far as one gets without an
account, a model file or a server. Each is the body of a coroutine. In an installation without
extras the same body must end in the error that names the extra; exceptions are in `ERRORS`.
"""

from __future__ import annotations

PRELUDE = """
import asyncio
import time
from roomkit import ProviderError, WebhookRefused, WebhookRequest

async def nobody_there(attempt):
    try:
        await attempt
    except (OSError, EOFError, ProviderError):
        return
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "httpx":
            raise
        return
    raise AssertionError("somebody answered on port 9")

async def refused(handler, **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = WebhookRequest("POST", "https://example.org/webhooks/it", names, {}, b"{}")
    try:
        await handler.verify(request)
    except WebhookRefused:
        return
    raise AssertionError("a signature of nobody counted")

async def emit(message):
    raise AssertionError("a message came from nowhere")

NOW = str(int(time.time()))
KEY_32 = "A" * 43 + "="
SEAL_64 = "A" * 86 + "=="
"""

PROGRAMS: dict[str, str] = {
    # HTTP, crypto and phone numbers
    "httpx": """
from roomkit import HTTPProviderConfig, WebhookHTTPProvider
provider = WebhookHTTPProvider(HTTPProviderConfig(webhook_url="https://example.org/hook"))
await provider.close()
""",
    "phonenumbers": """
from roomkit import normalize_phone
assert normalize_phone("(514) 555-1234", "CA") == "+15145551234"
""",
    "pynacl": """
from roomkit.providers.telnyx.webhook import TelnyxWebhook
await refused(
    TelnyxWebhook([KEY_32]), telnyx_signature_ed25519=SEAL_64, telnyx_timestamp=NOW
)
""",
    "signatures": """
from roomkit import SendGridConfig
from roomkit.providers.sendgrid.webhook import SendGridWebhook
config = SendGridConfig(api_key="key", from_email="a@example.org", webhook_public_key=KEY_32)
await refused(
    SendGridWebhook(config).for_kind("events"),
    x_twilio_email_event_webhook_signature="MAYCAQECAQE=",
    x_twilio_email_event_webhook_timestamp=NOW,
)
""",
    # AI
    "anthropic": """
from roomkit import AnthropicAIProvider, AnthropicConfig
await AnthropicAIProvider(AnthropicConfig(api_key="key")).close()
""",
    "openai": """
from roomkit import OpenAIAIProvider, OpenAIConfig
await OpenAIAIProvider(OpenAIConfig(api_key="key")).close()
""",
    "gemini": """
from roomkit import GeminiAIProvider, GeminiConfig
await GeminiAIProvider(GeminiConfig(api_key="key")).close()
""",
    "vllm": """
from roomkit import VLLMConfig, create_vllm_provider
await create_vllm_provider(VLLMConfig(model="a-model")).close()
""",
    "pydantic-ai": """
from roomkit._lazy import require
agent = require("pydantic_ai", user="PydanticAIProvider", extra="pydantic-ai")
test_model = require("pydantic_ai.models.test", user="PydanticAIProvider", extra="pydantic-ai")
from roomkit import PydanticAIProvider
PydanticAIProvider(agent.Agent(test_model.TestModel()))
""",
    # Messaging
    "twilio": """
from twilio.rest import Client
Client("AC" + "0" * 32, "token")
""",
    "teams": """
from roomkit import BotFrameworkTeamsProvider, TeamsConfig
await BotFrameworkTeamsProvider(TeamsConfig(app_id="bot", app_password="secret")).close()
""",
    "whatsapp-personal": """
from roomkit.exceptions import MissingDependencyError
from roomkit.sources import neonize
if not neonize.HAS_NEONIZE:
    raise MissingDependencyError("neonize", user="NeonizeSource", extra="whatsapp-personal")
neonize.NeonizeSource("wa.db")
""",
    # Event sources
    "websocket": """
from roomkit.sources.websocket import WebSocketSource
await nobody_there(WebSocketSource("ws://127.0.0.1:9", "feed").start(emit))
""",
    "sse": """
from roomkit.sources.sse import SSESource
await nobody_there(SSESource("http://127.0.0.1:9", "feed").start(emit))
""",
    # Stores and the servers behind them
    "postgres": """
from roomkit import PostgresStore
from roomkit.exceptions import StoreUnavailableError
store = PostgresStore("postgresql://127.0.0.1:9/nowhere", reconnect_for=0.1)
try:
    await store.open()
except StoreUnavailableError:
    pass
await store.close()
""",
    "sqlite": """
from roomkit import Room, RoomKit, SQLiteStore
async with RoomKit(store=SQLiteStore("rooms.db")) as kit:
    room = await kit.create_room()
    assert (await kit.get_room(room.id)).id == room.id
""",
    "redis": """
from roomkit import RedisLockManager
await RedisLockManager("redis://127.0.0.1:9").close()
""",
    # Voice
    "fastrtc": """
from roomkit.voice.backends.fastrtc import FastRTCVoiceBackend, mount_fastrtc_voice
try:
    from fastapi import FastAPI
except ImportError:
    FastAPI = object
mount_fastrtc_voice(FastAPI(), FastRTCVoiceBackend())
""",
    "realtime-openai": """
from roomkit import RealtimeSession
from roomkit.providers.openai.realtime import OpenAIRealtimeProvider
provider = OpenAIRealtimeProvider(api_key="key", api_base="http://127.0.0.1:9")
session = RealtimeSession(id="s", room_id="r", participant_id="p", channel_id="c")
await nobody_there(provider.connect(session))
await provider.close()
""",
    "realtime-gemini": """
from roomkit.providers.gemini.realtime import GeminiLiveProvider
await GeminiLiveProvider(api_key="key").close()
""",
    "sherpa-onnx": """
from roomkit.voice.stt.sherpa_onnx import SherpaOnnxSTTConfig, SherpaOnnxSTTProvider
from roomkit.voice.tts.sherpa_onnx import SherpaOnnxTTSConfig, SherpaOnnxTTSProvider
SherpaOnnxSTTProvider(SherpaOnnxSTTConfig(tokens="t", encoder="e", decoder="d", joiner="j"))
SherpaOnnxTTSProvider(SherpaOnnxTTSConfig(model="m", tokens="t"))
""",
    "silero": """
from roomkit import AudioFrame
from roomkit.voice.vad.silero import SileroVADProvider
vad = SileroVADProvider()
vad.process(AudioFrame(data=bytes(640), sample_rate=16000))
""",
    "webrtcvad": """
from roomkit import AudioFrame
from roomkit.voice.vad.webrtc import WebRTCVADProvider
vad = WebRTCVADProvider()
vad.process(AudioFrame(data=bytes(640), sample_rate=16000))
""",
    "moonshine": """
from roomkit import AudioFrame
from roomkit.voice.stt.moonshine import MoonshineSTTProvider
stt = MoonshineSTTProvider()
heard = await stt.transcribe(AudioFrame(data=bytes(32000), sample_rate=16000))
assert getattr(heard, "text", heard) == ""
await stt.close()
""",
    "piper": """
from roomkit.voice.tts.piper import PiperTTSProvider
tts = PiperTTSProvider()
said = await tts.synthesize("Good morning.")
assert said.url.startswith("data:audio/wav;base64,")
await tts.close()
""",
    "apm": """
from roomkit import AudioFrame
from roomkit.voice.apm import WebRTCNoiseSuppressor
assert WebRTCNoiseSuppressor().process(AudioFrame(data=bytes(640), sample_rate=16000))
""",
    # Running and watching
    "serve": """
from roomkit.cli._serving import Settings
from roomkit._lazy import require
require("uvicorn", user="roomkit serve", extra="serve").Config
require("websockets.asyncio.server", user="roomkit serve", extra="serve")
""",
    "simulators": """
from roomkit.simulators import TwilioSimulator
async with TwilioSimulator() as simulator:
    assert simulator.api_base.startswith("http://127.0.0.1:")
""",
    "opentelemetry": """
from opentelemetry import trace
trace.get_tracer("roomkit")
""",
}

SUMS: dict[str, tuple[str, ...]] = {
    "sources": ("websocket", "sse"),
    "providers": ("httpx", "anthropic", "openai", "gemini", "vllm", "twilio", "teams"),
    "all": (
        *("httpx", "phonenumbers", "pynacl", "signatures", "anthropic", "openai", "gemini"),
        *("vllm", "pydantic-ai", "twilio", "teams", "websocket", "sse", "postgres", "sqlite"),
        *("redis", "realtime-openai", "realtime-gemini", "sherpa-onnx", "silero", "webrtcvad"),
        *("apm", "serve", "opentelemetry"),
    ),
    "voice-local": ("sherpa-onnx", "silero", "webrtcvad", "moonshine", "piper", "apm"),
}
"""A sum runs the programs of its parts, one after the other."""

ERRORS = {
    "sqlite": "",  # Python brings what it uses
    "vllm": "roomkit[openai]",
    # The program uses the vendor's package itself, so its absence is Python's own error.
    "twilio": "No module named 'twilio'",
    "opentelemetry": "No module named 'opentelemetry'",
}
"""What the error says without the extra, where it is not ``roomkit[<extra>]``."""

LARGE = {"fastrtc", "moonshine", "piper", "voice-local", "sherpa-onnx", "all", "whatsapp-personal"}
"""Left out unless asked for: minutes of download, or another target's work."""
