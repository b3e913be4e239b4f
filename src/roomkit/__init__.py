"""RoomKit: conversations over many channels, in rooms. Pure async, one dependency.

Nothing is loaded before it is used: every public name below resolves on first access
(PEP 562) and is typed for checkers and editors. The three tables say the same thing, once for
type checkers, once for ``import *`` and once for the loader (``_exports``); a test compares
them.
"""

from __future__ import annotations

from roomkit._version import __version__

TYPE_CHECKING = False
# ruff: noqa: RUF022
# fmt: off
# isort: off
if TYPE_CHECKING:
    from roomkit._clock import Clock, ManualClock, SystemClock
    from roomkit._fetch import FetchedMedia, fetch_media
    from roomkit._scope import current_delivery
    from roomkit.ai_docs import get_agents_md, get_ai_context, get_llms_full_txt, get_llms_txt
    from roomkit.channels import (
        EmailChannel, HTTPChannel, MessengerChannel, RCSChannel, SMSChannel, TeamsChannel,
        WhatsAppChannel, WhatsAppPersonalChannel,
    )
    from roomkit.channels.ai import AIChannel
    from roomkit.channels.base import Channel
    from roomkit.channels.realtime_voice import RealtimeVoiceChannel, ToolHandler
    from roomkit.channels.transport import TransportChannel
    from roomkit.channels.voice import VoiceChannel
    from roomkit.channels.websocket import WebSocketChannel
    from roomkit.core.circuit_breaker import CircuitBreaker
    from roomkit.core.event_router import EventRouter
    from roomkit.core.framework import RoomKit
    from roomkit.core.hooks import HookEngine, HookRegistration
    from roomkit.core.inbound_router import DefaultInboundRoomRouter, InboundRoomRouter
    from roomkit.core.locks import InMemoryLockManager, RoomLockManager
    from roomkit.core.pipeline.desk import KitStats
    from roomkit.core.postgres_locks import PostgresLockManager
    from roomkit.core.rate_limiter import TokenBucketRateLimiter
    from roomkit.core.redis_locks import RedisLockManager
    from roomkit.core.router import ContentTranscoder
    from roomkit.core.transcoder import DefaultContentTranscoder
    from roomkit.exceptions import (
        ChannelNotFoundError, ChannelNotRegisteredError, CommitOutcomeUnknown,
        ConfigurationError, ConflictError, EventRefusedError, ForeignDatabaseError,
        IdentityNotFoundError, InvalidInputError, InvalidMetadataError, InvalidReturnError,
        InvalidTransitionError, KitClosedError, LockCycleError, LockTimeoutError,
        MediaFetchError, MissingDependencyError, NotFoundError, ParticipantNotFoundError,
        ProviderDeliveryError, ProviderError, RoomClosedError, RoomKitError, RoomNotFoundError,
        SchemaChangedError, SchemaTooNewError, SourceAlreadyAttachedError, SourceNotFoundError,
        StoreError, StoreUnavailableError, UnsafeURLError, VoiceBackendNotConfiguredError,
        VoiceNotConfiguredError, WebhookError, WebhookRefused, WrongLoopError,
    )
    from roomkit.identity.base import IdentityResolver
    from roomkit.identity.mock import MockIdentityResolver
    from roomkit.models.channel import (
        ChannelBinding, ChannelCapabilities, ChannelOutput, RateLimit, RetryPolicy,
    )
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import (
        AcceptResult, DeliveryResult, DeliveryStatus, InboundMessage, InboundResult,
        ProviderResult,
    )
    from roomkit.models.enums import (
        Access, ChannelCategory, ChannelDirection, ChannelMediaType, ChannelType, DeleteType,
        DeliveryMode, EventStatus, EventType, HookExecution, HookTrigger, IdentificationStatus,
        ParticipantRole, ParticipantStatus, RoomStatus, TaskStatus,
    )
    from roomkit.models.event import (
        AudioContent, ChannelData, CompositeContent, DeleteContent, EditContent, EventContent,
        EventSource, LocationContent, MediaContent, RichContent, RoomEvent, SystemContent,
        TemplateContent, TextContent, VideoContent,
    )
    from roomkit.models.framework_event import FrameworkEvent, FrameworkEventType
    from roomkit.models.hook import HOOK_SPECS, HookResult, HookSpec, InjectedEvent
    from roomkit.models.identity import Identity, IdentityHookResult, IdentityResult
    from roomkit.models.participant import Participant
    from roomkit.models.reasons import Reason
    from roomkit.models.room import ROOM_TRANSITIONS, Room, RoomTimers
    from roomkit.models.streaming import StreamDelta, StreamEnd
    from roomkit.models.task import Observation, Task
    from roomkit.providers.ai.base import (
        AIContext, AIImagePart, AIMessage, AIPart, AIProvider, AIResponse, AITextPart,
        AIThinkingPart, AITool, AIToolCall, AIToolCallPart, AIToolResultPart, StreamCollector,
        StreamDone, StreamEvent, StreamTextDelta, StreamThinkingDelta, StreamToolCall,
        close_stream, collect_stream,
    )
    from roomkit.providers.ai.mock import MockAIProvider
    from roomkit.providers.anthropic.ai import AnthropicAIProvider
    from roomkit.providers.anthropic.config import AnthropicConfig
    from roomkit.providers.elasticemail.config import ElasticEmailConfig
    from roomkit.providers.elasticemail.email import ElasticEmailProvider
    from roomkit.providers.email.base import EmailProvider
    from roomkit.providers.email.mock import MockEmailProvider
    from roomkit.providers.gemini.ai import GeminiAIProvider
    from roomkit.providers.gemini.config import GeminiConfig
    from roomkit.providers.http.base import HTTPProvider
    from roomkit.providers.http.config import HTTPProviderConfig
    from roomkit.providers.http.mock import MockHTTPProvider
    from roomkit.providers.http.provider import WebhookHTTPProvider
    from roomkit.providers.http.webhook import parse_http_webhook, verify_http_signature
    from roomkit.providers.messenger.base import MessengerProvider
    from roomkit.providers.messenger.config import MessengerConfig
    from roomkit.providers.messenger.facebook import FacebookMessengerProvider
    from roomkit.providers.messenger.mock import MockMessengerProvider
    from roomkit.providers.messenger.webhook import (
        parse_messenger_statuses, parse_messenger_webhook,
    )
    from roomkit.providers.openai.ai import OpenAIAIProvider
    from roomkit.providers.openai.config import OpenAIConfig
    from roomkit.providers.pydantic_ai.ai import PydanticAIProvider
    from roomkit.providers.pydantic_ai.config import PydanticAIConfig
    from roomkit.providers.rcs.base import RCSDeliveryResult, RCSProvider
    from roomkit.providers.rcs.mock import MockRCSProvider
    from roomkit.providers.sendgrid.config import SendGridConfig
    from roomkit.providers.sendgrid.email import SendGridEmailProvider, SendGridProvider
    from roomkit.providers.sendgrid.webhook import (
        parse_sendgrid_events, parse_sendgrid_inbound,
    )
    from roomkit.providers.sinch.config import SinchConfig
    from roomkit.providers.sinch.sms import SinchSMSProvider, parse_sinch_webhook
    from roomkit.providers.sms.base import SMSProvider
    from roomkit.providers.sms.keywords import opt_keyword
    from roomkit.providers.sms.meta import WebhookMeta, extract_sms_meta
    from roomkit.providers.sms.mock import MockSMSProvider
    from roomkit.providers.sms.phone import is_valid_phone, normalize_phone
    from roomkit.providers.sms.segments import SegmentCount, count_segments, split_segments
    from roomkit.providers.teams.base import TeamsProvider
    from roomkit.providers.teams.bot_framework import BotFrameworkTeamsProvider
    from roomkit.providers.teams.config import TeamsConfig
    from roomkit.providers.teams.conversation_store import (
        ConversationReferenceStore, InMemoryConversationReferenceStore,
    )
    from roomkit.providers.teams.mock import MockTeamsProvider
    from roomkit.providers.teams.webhook import (
        is_bot_added, parse_teams_activity, parse_teams_webhook,
    )
    from roomkit.providers.telnyx.config import TelnyxConfig
    from roomkit.providers.telnyx.rcs import (
        TelnyxRCSConfig, TelnyxRCSProvider, parse_telnyx_rcs_webhook,
    )
    from roomkit.providers.telnyx.sms import TelnyxSMSProvider, parse_telnyx_webhook
    from roomkit.providers.twilio.config import TwilioConfig
    from roomkit.providers.twilio.rcs import (
        TwilioRCSConfig, TwilioRCSProvider, parse_twilio_rcs_webhook,
    )
    from roomkit.providers.twilio.sms import TwilioSMSProvider, parse_twilio_webhook
    from roomkit.providers.vllm import VLLMConfig, create_vllm_provider
    from roomkit.providers.voicemeup.config import VoiceMeUpConfig
    from roomkit.providers.voicemeup.mms import VoiceMeUpMMSAggregator
    from roomkit.providers.voicemeup.sms import (
        VoiceMeUpSMSProvider, configure_voicemeup_mms, parse_voicemeup_webhook,
    )
    from roomkit.providers.webhook import (
        Signal, WebhookHandler, WebhookRequest, WebhookResponse,
    )
    from roomkit.providers.whatsapp.base import WhatsAppProvider
    from roomkit.providers.whatsapp.cloud import WhatsAppCloudProvider
    from roomkit.providers.whatsapp.config import WhatsAppCloudConfig
    from roomkit.providers.whatsapp.mock import MockWhatsAppProvider
    from roomkit.providers.whatsapp.personal import WhatsAppPersonalProvider
    from roomkit.providers.whatsapp.webhook import (
        parse_whatsapp_statuses, parse_whatsapp_webhook,
    )
    from roomkit.realtime.base import (
        EphemeralCallback, EphemeralEvent, EphemeralEventType, RealtimeBackend,
    )
    from roomkit.realtime.memory import InMemoryRealtime
    from roomkit.realtime.redis import RedisRealtime
    from roomkit.sources.base import (
        BaseSourceProvider, EmitCallback, SourceHealth, SourceProvider, SourceStatus,
    )
    from roomkit.store.base import ConversationStore
    from roomkit.store.durable import DeadLetter, DurableStore, QueueStats
    from roomkit.store.memory import InMemoryStore
    from roomkit.store.postgres import PostgresStore
    from roomkit.store.sqlite import SQLiteStore
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.backends.base import AudioReceivedCallback, VoiceBackend
    from roomkit.voice.backends.loopback import LoopbackVoiceBackend
    from roomkit.voice.backends.mock import MockVoiceBackend
    from roomkit.voice.backends.twilio import TwilioMediaStream
    from roomkit.voice.backends.websocket import WebSocketVoiceBackend
    from roomkit.voice.base import (
        AudioChunk, BargeInCallback, TranscriptionResult, VoiceCapability, VoiceSession,
        VoiceSessionState,
    )
    from roomkit.voice.dtmf import DTMFDetectedEvent
    from roomkit.voice.events import (
        BargeInEvent, PartialTranscriptionEvent, SpeakerChangeEvent, TTSCancelledEvent,
        TurnCompleteEvent, TurnIncompleteEvent, VADAudioLevelEvent, VADSilenceEvent,
    )
    from roomkit.voice.interruption import InterruptionConfig, InterruptionStrategy
    from roomkit.voice.pipeline.config import AudioPipelineConfig
    from roomkit.voice.pipeline.denoiser_provider import DenoiserProvider
    from roomkit.voice.pipeline.diarization_provider import (
        DiarizationProvider, DiarizationResult,
    )
    from roomkit.voice.pipeline.engine import AudioPipeline
    from roomkit.voice.pipeline.mock import (
        MockDenoiserProvider, MockDiarizationProvider, MockVADProvider,
    )
    from roomkit.voice.pipeline.postprocessor import AudioPostProcessor
    from roomkit.voice.pipeline.vad_provider import (
        VADConfig, VADEvent, VADEventType, VADProvider,
    )
    from roomkit.voice.realtime.base import RealtimeSession, RealtimeSessionState
    from roomkit.voice.realtime.events import (
        RealtimeErrorEvent, RealtimeSpeechEvent, RealtimeToolCallEvent,
        RealtimeTranscriptionEvent,
    )
    from roomkit.voice.realtime.mock import MockRealtimeProvider, MockRealtimeTransport
    from roomkit.voice.realtime.provider import RealtimeVoiceProvider
    from roomkit.voice.realtime.transport import RealtimeAudioTransport
    from roomkit.voice.recording import RecordingStartedEvent, RecordingStoppedEvent
    from roomkit.voice.stt.base import STTProvider
    from roomkit.voice.stt.mock import MockSTTProvider
    from roomkit.voice.tts.base import TTSProvider
    from roomkit.voice.tts.mock import MockTTSProvider
    from roomkit.voice.turn_detector import TurnDetector

__all__ = [
    "AIChannel", "AIContext", "AIImagePart", "AIMessage", "AIPart", "AIProvider", "AIResponse",
    "AITextPart", "AIThinkingPart", "AITool", "AIToolCall", "AIToolCallPart",
    "AIToolResultPart", "AcceptResult", "Access", "AnthropicAIProvider", "AnthropicConfig",
    "AudioChunk", "AudioContent", "AudioFrame", "AudioPipeline", "AudioPipelineConfig",
    "AudioPostProcessor", "AudioReceivedCallback", "BargeInCallback", "BargeInEvent",
    "BaseSourceProvider", "BotFrameworkTeamsProvider", "Channel", "ChannelBinding",
    "ChannelCapabilities", "ChannelCategory", "ChannelData", "ChannelDirection",
    "ChannelMediaType", "ChannelNotFoundError", "ChannelNotRegisteredError", "ChannelOutput",
    "ChannelType", "CircuitBreaker", "Clock", "CommitOutcomeUnknown", "CompositeContent",
    "ConfigurationError", "ConflictError", "ContentTranscoder", "ConversationReferenceStore",
    "ConversationStore", "DTMFDetectedEvent", "DeadLetter", "DefaultContentTranscoder",
    "DefaultInboundRoomRouter", "DeleteContent", "DeleteType", "DeliveryMode",
    "DeliveryResult", "DeliveryStatus", "DenoiserProvider", "DiarizationProvider",
    "DiarizationResult", "DurableStore", "EditContent", "ElasticEmailConfig",
    "ElasticEmailProvider", "EmailChannel", "EmailProvider", "EmitCallback",
    "EphemeralCallback", "EphemeralEvent", "EphemeralEventType", "EventContent",
    "EventRefusedError", "EventRouter", "EventSource", "EventStatus", "EventType",
    "FacebookMessengerProvider", "FetchedMedia", "ForeignDatabaseError", "FrameworkEvent",
    "FrameworkEventType", "GeminiAIProvider", "GeminiConfig", "HOOK_SPECS", "HTTPChannel",
    "HTTPProvider", "HTTPProviderConfig", "HookEngine", "HookExecution", "HookRegistration",
    "HookResult", "HookSpec", "HookTrigger", "IdentificationStatus", "Identity",
    "IdentityHookResult", "IdentityNotFoundError", "IdentityResolver", "IdentityResult",
    "InMemoryConversationReferenceStore", "InMemoryLockManager", "InMemoryRealtime",
    "InMemoryStore", "InboundMessage", "InboundResult", "InboundRoomRouter", "InjectedEvent",
    "InterruptionConfig", "InterruptionStrategy", "InvalidInputError", "InvalidMetadataError",
    "InvalidReturnError", "InvalidTransitionError", "KitClosedError", "KitStats",
    "LocationContent", "LockCycleError", "LockTimeoutError", "LoopbackVoiceBackend",
    "ManualClock", "MediaContent", "MediaFetchError", "MessengerChannel", "MessengerConfig",
    "MessengerProvider", "MissingDependencyError", "MockAIProvider", "MockDenoiserProvider",
    "MockDiarizationProvider", "MockEmailProvider", "MockHTTPProvider", "MockIdentityResolver",
    "MockMessengerProvider", "MockRCSProvider", "MockRealtimeProvider",
    "MockRealtimeTransport", "MockSMSProvider", "MockSTTProvider", "MockTTSProvider",
    "MockTeamsProvider", "MockVADProvider", "MockVoiceBackend", "MockWhatsAppProvider",
    "NotFoundError", "Observation", "OpenAIAIProvider", "OpenAIConfig",
    "PartialTranscriptionEvent", "Participant", "ParticipantNotFoundError", "ParticipantRole",
    "ParticipantStatus", "PostgresLockManager", "PostgresStore", "ProviderDeliveryError",
    "ProviderError", "ProviderResult", "PydanticAIConfig", "PydanticAIProvider", "QueueStats",
    "RCSChannel", "RCSDeliveryResult", "RCSProvider", "ROOM_TRANSITIONS", "RateLimit",
    "RealtimeAudioTransport", "RealtimeBackend", "RealtimeErrorEvent", "RealtimeSession",
    "RealtimeSessionState", "RealtimeSpeechEvent", "RealtimeToolCallEvent",
    "RealtimeTranscriptionEvent", "RealtimeVoiceChannel", "RealtimeVoiceProvider", "Reason",
    "RecordingStartedEvent", "RecordingStoppedEvent", "RedisLockManager", "RedisRealtime",
    "RetryPolicy", "RichContent", "Room", "RoomClosedError", "RoomContext", "RoomEvent",
    "RoomKit", "RoomKitError", "RoomLockManager", "RoomNotFoundError", "RoomStatus",
    "RoomTimers", "SMSChannel", "SMSProvider", "SQLiteStore", "STTProvider",
    "SchemaChangedError", "SchemaTooNewError", "SegmentCount", "SendGridConfig",
    "SendGridEmailProvider", "SendGridProvider", "Signal", "SinchConfig", "SinchSMSProvider",
    "SourceAlreadyAttachedError", "SourceHealth", "SourceNotFoundError", "SourceProvider",
    "SourceStatus", "SpeakerChangeEvent", "StoreError", "StoreUnavailableError",
    "StreamCollector", "StreamDelta", "StreamDone", "StreamEnd", "StreamEvent",
    "StreamTextDelta", "StreamThinkingDelta", "StreamToolCall", "SystemClock", "SystemContent",
    "TTSCancelledEvent", "TTSProvider", "Task", "TaskStatus", "TeamsChannel", "TeamsConfig",
    "TeamsProvider", "TelnyxConfig", "TelnyxRCSConfig", "TelnyxRCSProvider",
    "TelnyxSMSProvider", "TemplateContent", "TextContent", "TokenBucketRateLimiter",
    "ToolHandler", "TranscriptionResult", "TransportChannel", "TurnCompleteEvent",
    "TurnDetector", "TurnIncompleteEvent", "TwilioConfig", "TwilioMediaStream",
    "TwilioRCSConfig", "TwilioRCSProvider", "TwilioSMSProvider", "UnsafeURLError",
    "VADAudioLevelEvent", "VADConfig", "VADEvent", "VADEventType", "VADProvider",
    "VADSilenceEvent", "VLLMConfig", "VideoContent", "VoiceBackend",
    "VoiceBackendNotConfiguredError", "VoiceCapability", "VoiceChannel", "VoiceMeUpConfig",
    "VoiceMeUpMMSAggregator", "VoiceMeUpSMSProvider", "VoiceNotConfiguredError",
    "VoiceSession", "VoiceSessionState", "WebSocketChannel", "WebSocketVoiceBackend",
    "WebhookError", "WebhookHTTPProvider", "WebhookHandler", "WebhookMeta", "WebhookRefused",
    "WebhookRequest", "WebhookResponse", "WhatsAppChannel", "WhatsAppCloudConfig",
    "WhatsAppCloudProvider", "WhatsAppPersonalChannel", "WhatsAppPersonalProvider",
    "WhatsAppProvider", "WrongLoopError", "__version__", "close_stream", "collect_stream",
    "configure_voicemeup_mms", "count_segments", "create_vllm_provider", "current_delivery",
    "extract_sms_meta", "fetch_media", "get_agents_md", "get_ai_context", "get_llms_full_txt",
    "get_llms_txt", "is_bot_added", "is_valid_phone", "normalize_phone", "opt_keyword",
    "parse_http_webhook", "parse_messenger_statuses", "parse_messenger_webhook",
    "parse_sendgrid_events", "parse_sendgrid_inbound", "parse_sinch_webhook",
    "parse_teams_activity", "parse_teams_webhook", "parse_telnyx_rcs_webhook",
    "parse_telnyx_webhook", "parse_twilio_rcs_webhook", "parse_twilio_webhook",
    "parse_voicemeup_webhook", "parse_whatsapp_statuses", "parse_whatsapp_webhook",
    "split_segments", "verify_http_signature",
]

# isort: on
# fmt: on
if not TYPE_CHECKING:
    from roomkit._exports import BY_MODULE
    from roomkit._lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {name: module for module, names in BY_MODULE.items() for name in names.split()},
        extra=["__version__"],
    )
