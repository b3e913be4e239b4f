"""What the package offers: three tables that agree, and imports that cost what they must."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import roomkit
from roomkit._exports import BY_MODULE
from scripts import public_api

_CONTRACT = (
    "AIChannel AIContext AIImagePart AIMessage AIProvider AIResponse AITextPart AITool "
    "AIToolCall Access AnthropicAIProvider AnthropicConfig AudioChunk AudioContent "
    "AudioFrame AudioPipeline AudioPipelineConfig AudioPostProcessor AudioReceivedCallback "
    "BargeInCallback BargeInEvent BaseSourceProvider BotFrameworkTeamsProvider Channel "
    "ChannelBinding ChannelCapabilities ChannelCategory ChannelDirection ChannelMediaType "
    "ChannelNotFoundError ChannelNotRegisteredError ChannelOutput ChannelType "
    "CompositeContent ConversationReferenceStore ConversationStore DefaultInboundRoomRouter "
    "DeleteContent DeleteType DeliveryMode DeliveryResult DeliveryStatus DenoiserProvider "
    "DiarizationProvider DiarizationResult EditContent ElasticEmailConfig "
    "ElasticEmailProvider EmailChannel EmailProvider EmitCallback EphemeralCallback "
    "EphemeralEvent EphemeralEventType EventContent EventSource EventStatus EventType "
    "FacebookMessengerProvider FetchedMedia FrameworkEvent GeminiAIProvider GeminiConfig "
    "HTTPChannel HTTPProvider HTTPProviderConfig HookEngine HookExecution HookRegistration "
    "HookResult HookTrigger IdentificationStatus Identity IdentityHookResult "
    "IdentityNotFoundError IdentityResolver IdentityResult "
    "InMemoryConversationReferenceStore InMemoryLockManager InMemoryRealtime InMemoryStore "
    "InboundMessage InboundResult InboundRoomRouter InjectedEvent InterruptionConfig "
    "InterruptionStrategy LocationContent LoopbackVoiceBackend MediaContent MediaFetchError "
    "MessengerChannel MessengerConfig MessengerProvider MockAIProvider MockDenoiserProvider "
    "MockDiarizationProvider MockEmailProvider MockHTTPProvider MockIdentityResolver "
    "MockMessengerProvider MockRCSProvider MockRealtimeProvider MockRealtimeTransport "
    "MockSMSProvider MockSTTProvider MockTTSProvider MockTeamsProvider MockVADProvider "
    "MockVoiceBackend MockWhatsAppProvider Observation OpenAIAIProvider OpenAIConfig "
    "PartialTranscriptionEvent Participant ParticipantNotFoundError ParticipantRole "
    "ParticipantStatus PostgresStore ProviderError ProviderResult PydanticAIConfig "
    "PydanticAIProvider RCSChannel RCSDeliveryResult RCSProvider RateLimit "
    "RealtimeAudioTransport RealtimeBackend RealtimeErrorEvent RealtimeSession "
    "RealtimeSessionState RealtimeSpeechEvent RealtimeToolCallEvent "
    "RealtimeTranscriptionEvent RealtimeVoiceChannel RealtimeVoiceProvider RetryPolicy "
    "RichContent Room RoomContext RoomEvent RoomKit RoomKitError RoomLockManager "
    "RoomNotFoundError RoomStatus RoomTimers SMSChannel SMSProvider STTProvider "
    "SegmentCount SendGridConfig SendGridEmailProvider SendGridProvider SinchConfig "
    "SinchSMSProvider SourceAlreadyAttachedError SourceHealth SourceNotFoundError "
    "SourceProvider SourceStatus SpeakerChangeEvent SystemContent TTSCancelledEvent "
    "TTSProvider Task TaskStatus TeamsChannel TeamsConfig TeamsProvider TelnyxConfig "
    "TelnyxRCSConfig TelnyxRCSProvider TelnyxSMSProvider TemplateContent TextContent "
    "TranscriptionResult TransportChannel TurnDetector TwilioConfig TwilioMediaStream "
    "TwilioRCSConfig TwilioRCSProvider TwilioSMSProvider UnsafeURLError VADAudioLevelEvent "
    "VADConfig VADEvent VADEventType VADProvider VADSilenceEvent VLLMConfig VideoContent "
    "VoiceBackend VoiceBackendNotConfiguredError VoiceCapability VoiceChannel "
    "VoiceMeUpConfig VoiceMeUpMMSAggregator VoiceMeUpSMSProvider VoiceNotConfiguredError "
    "VoiceSession VoiceSessionState WebSocketChannel WebSocketVoiceBackend "
    "WebhookHTTPProvider WebhookMeta WhatsAppChannel WhatsAppCloudConfig "
    "WhatsAppCloudProvider WhatsAppPersonalChannel WhatsAppPersonalProvider "
    "WhatsAppProvider __version__ configure_voicemeup_mms count_segments "
    "create_vllm_provider extract_sms_meta fetch_media get_agents_md get_ai_context "
    "get_llms_txt is_bot_added is_valid_phone normalize_phone opt_keyword "
    "parse_http_webhook parse_messenger_statuses parse_messenger_webhook "
    "parse_sendgrid_events parse_sendgrid_inbound parse_sinch_webhook parse_teams_activity "
    "parse_teams_webhook parse_telnyx_rcs_webhook parse_telnyx_webhook "
    "parse_twilio_rcs_webhook parse_twilio_webhook parse_voicemeup_webhook "
    "parse_whatsapp_statuses parse_whatsapp_webhook split_segments verify_http_signature "
)
_TREE = ast.parse(Path(str(roomkit.__file__)).read_text(encoding="utf-8"))


def _for_checkers() -> dict[str, str]:
    """Return name to module as the TYPE_CHECKING block imports them."""
    block = next(
        node
        for node in _TREE.body
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and any(isinstance(child, ast.ImportFrom) for child in node.body)
    )
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _for_the_loader() -> dict[str, str]:
    """Return name to module as the lazy loader finds them."""
    return {name: module for module, names in BY_MODULE.items() for name in names.split()}


class TestTables:
    """For checkers, for ``import *`` and for the loader: the same names from the same place."""

    def test_they_agree(self) -> None:
        checkers, loader = _for_checkers(), _for_the_loader()
        assert checkers == loader
        assert set(roomkit.__all__) == {*loader, "__version__"}

    def test_no_name_twice(self) -> None:
        assert len(set(roomkit.__all__)) == len(roomkit.__all__)

    @pytest.mark.parametrize("name", sorted(_for_the_loader()))
    def test_every_name_resolves(self, name: str) -> None:
        home = import_module(_for_the_loader()[name])
        assert getattr(roomkit, name) is getattr(home, name)
        assert name in dir(roomkit)

    def test_an_unknown_name(self) -> None:
        with pytest.raises(AttributeError, match="no_such_name"):
            getattr(roomkit, "no_such_name")  # noqa: B009

    def test_names_that_programs_rely_on(self) -> None:
        assert set(_CONTRACT.split()) <= set(roomkit.__all__)

    def test_models_package(self) -> None:
        models = import_module("roomkit.models")
        for name in models.__all__:
            assert getattr(models, name) is getattr(roomkit, name)

    def test_the_version(self) -> None:
        assert roomkit.__version__ == import_module("roomkit._version").__version__
        assert roomkit.__version__[0].isdigit()


def _loaded(statement: str) -> set[str]:
    """Return the modules a fresh interpreter has after a statement, beyond its own."""
    code = (
        "import sys; before = set(sys.modules)\n"
        f"{statement}\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


class TestImports:
    """Nothing is loaded before it is used, and no vendor's package ever by itself."""

    def test_the_package_alone(self) -> None:
        ours = {name for name in _loaded("import roomkit") if name.startswith("roomkit")}
        assert ours == {"roomkit", "roomkit._exports", "roomkit._lazy", "roomkit._version"}

    def test_the_package_needs_no_third_party(self) -> None:
        assert not {"pydantic", "asyncio", "httpx"} & _loaded("import roomkit")

    @pytest.mark.parametrize(
        "statement",
        [
            "from roomkit import RoomKit",
            "from roomkit import RoomKit; RoomKit()",
            "from roomkit import AIChannel, SMSChannel, WebSocketChannel, MockAIProvider",
            "import roomkit; [getattr(roomkit, name) for name in roomkit.__all__]",
        ],
    )
    def test_no_optional_package(self, statement: str) -> None:
        tops = {name.partition(".")[0] for name in _loaded(statement)}
        assert not tops & {
            "aiosqlite", "anthropic", "asyncpg", "fastrtc", "google", "httpx", "httpx_sse", "jwt",
            "neonize", "numpy", "openai", "phonenumbers", "pydantic_ai", "redis", "twilio",
            "uvicorn", "websockets",
        }  # fmt: skip

    def test_the_kit_loads_no_vendor(self) -> None:
        loaded = _loaded("from roomkit import RoomKit")
        vendors = {"anthropic", "openai", "gemini", "twilio", "telnyx", "sinch", "sendgrid"}
        assert not {name for name in loaded if vendors & set(name.split("."))}


class TestPromise:
    """What programs may use changes on purpose only: tests/data/public_api.txt is the promise."""

    def test_the_package_is_what_is_written_down(self) -> None:
        """No name, parameter, default, field or value came, went or changed unnoticed."""
        found = public_api.differences()
        assert not found, "\n".join(
            [
                "The public API differs from tests/data/public_api.txt.",
                f"If that is meant, run `{public_api.HOW}` and add a note to changes/;",
                "what programs lose goes by the rules of docs/upgrade.md.",
                *found,
            ]
        )

    def test_a_change_is_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A parameter more, a value other: both make a line of the difference."""

        def get_llms_txt(*, short: bool = False) -> str:
            return str(short)

        get_llms_txt.__module__ = "roomkit.ai_docs"
        monkeypatch.setattr("roomkit.ai_docs.get_llms_txt", get_llms_txt)
        assert "+def get_llms_txt(*, short: bool = False) -> str" in public_api.differences()

    def test_what_is_top_level_is_described_somewhere(self) -> None:
        """Each name stands there itself, or its home is a section that has it."""
        text = public_api.written()
        top = text.partition("\n[roomkit]\n")[2]
        named = set(re.findall(r"^(?:class |enum |def |async def )?(\w+)", top, re.MULTILINE))
        assert set(roomkit.__all__) - {"__version__"} <= named
        homes = set(re.findall(r"^\w+ of (\S+)$", top, re.MULTILINE))
        assert {home for home in homes if f"\n[{home}]\n" not in text} == set()
