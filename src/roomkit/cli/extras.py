"""What each extra of RoomKit makes possible.

The names are those of `[project.optional-dependencies]`; a test keeps the two in step. Which
distributions an extra consists of is read from the installed metadata, never repeated here.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "httpx": "SMS, email, Messenger, WhatsApp and webhook providers over HTTP",
        "phonenumbers": "phone numbers of any country in their international form",
        "pynacl": "Ed25519 signatures on incoming Telnyx webhooks",
        "signatures": "every kind of webhook signature, RSA and ECDSA ones too",
        "anthropic": "Claude models as AI participants",
        "openai": "OpenAI models as AI participants",
        "gemini": "Gemini models as AI participants",
        "vllm": "self-hosted models behind an OpenAI-compatible server",
        "pydantic-ai": "Pydantic AI agents as participants",
        "twilio": "Twilio's own client library beside our HTTP providers",
        "teams": "Microsoft Teams conversations, with checked tokens",
        "whatsapp-personal": "a personal WhatsApp account as a source",
        "websocket": "events pulled from a WebSocket server",
        "sse": "events pulled from a server-sent event stream",
        "postgres": "conversations kept in PostgreSQL",
        "sqlite": "conversations kept in an SQLite file",
        "redis": "locks and ephemeral events shared between processes through Redis",
        "fastrtc": "voice from browsers over WebRTC",
        "realtime-openai": "speech-to-speech with OpenAI",
        "realtime-gemini": "speech-to-speech with Gemini",
        "sherpa-onnx": "speech recognition and synthesis on this machine",
        "silero": "neural detection of speech in audio",
        "webrtcvad": "light detection of speech in audio",
        "moonshine": "English speech recognition on this machine, model included",
        "piper": "speech synthesis on this machine (the engine is GPL)",
        "apm": "echo cancelling, noise suppression and gain control",
        "voice-local": "a whole voice loop without a cloud service",
        "serve": "HTTP and WebSocket endpoints for RoomKit",
        "simulators": "local stand-ins for vendors, to try providers without accounts",
        "opentelemetry": "traces and metrics",
        "sources": "every event source that needs no system library",
        "providers": "every AI and messaging provider",
        "all": "everything but the large, GPL-licensed or system-dependent extras",
        "dev": "tools to work on RoomKit itself",
        "docs": "tools to build the documentation",
    }
)


def install_command(extra: str) -> str:
    """Return the shell line that installs an extra."""
    return f"pip install 'roomkit[{extra}]'"
