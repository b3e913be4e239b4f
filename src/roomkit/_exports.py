"""Where each name of ``roomkit`` lives: what its loader reads."""

from __future__ import annotations

# fmt: off
BY_MODULE = {
    "roomkit._clock": "Clock ManualClock SystemClock",
    "roomkit._fetch": "FetchedMedia fetch_media",
    "roomkit._scope": "current_delivery",
    "roomkit.ai_docs": "get_agents_md get_ai_context get_llms_full_txt get_llms_txt",
    "roomkit.channels": (
        "EmailChannel HTTPChannel MessengerChannel RCSChannel SMSChannel TeamsChannel "
        "WhatsAppChannel WhatsAppPersonalChannel "
    ),
    "roomkit.channels.ai": "AIChannel",
    "roomkit.channels.base": "Channel",
    "roomkit.channels.realtime_voice": "RealtimeVoiceChannel ToolHandler",
    "roomkit.channels.transport": "TransportChannel",
    "roomkit.channels.voice": "VoiceChannel",
    "roomkit.channels.websocket": "WebSocketChannel",
    "roomkit.core.circuit_breaker": "CircuitBreaker",
    "roomkit.core.event_router": "EventRouter",
    "roomkit.core.framework": "RoomKit",
    "roomkit.core.hooks": "HookEngine HookRegistration",
    "roomkit.core.inbound_router": "DefaultInboundRoomRouter InboundRoomRouter",
    "roomkit.core.locks": "InMemoryLockManager RoomLockManager",
    "roomkit.core.pipeline.desk": "KitStats",
    "roomkit.core.postgres_locks": "PostgresLockManager",
    "roomkit.core.rate_limiter": "TokenBucketRateLimiter",
    "roomkit.core.redis_locks": "RedisLockManager",
    "roomkit.core.router": "ContentTranscoder",
    "roomkit.core.transcoder": "DefaultContentTranscoder",
    "roomkit.exceptions": (
        "ChannelNotFoundError ChannelNotRegisteredError CommitOutcomeUnknown "
        "ConfigurationError ConflictError EventRefusedError ForeignDatabaseError "
        "IdentityNotFoundError InvalidInputError InvalidMetadataError "
        "InvalidReturnError InvalidTransitionError KitClosedError LockCycleError "
        "LockTimeoutError MediaFetchError MissingDependencyError NotFoundError "
        "ParticipantNotFoundError ProviderDeliveryError ProviderError RoomClosedError "
        "RoomKitError RoomNotFoundError SchemaChangedError SchemaTooNewError "
        "SourceAlreadyAttachedError SourceNotFoundError StoreError "
        "StoreUnavailableError UnsafeURLError VoiceBackendNotConfiguredError "
        "VoiceNotConfiguredError WebhookError WebhookRefused WrongLoopError "
    ),
    "roomkit.identity.base": "IdentityResolver",
    "roomkit.identity.mock": "MockIdentityResolver",
    "roomkit.models.channel": (
        "ChannelBinding ChannelCapabilities ChannelOutput RateLimit RetryPolicy "
    ),
    "roomkit.models.context": "RoomContext",
    "roomkit.models.delivery": (
        "AcceptResult DeliveryResult DeliveryStatus InboundMessage InboundResult "
        "ProviderResult "
    ),
    "roomkit.models.enums": (
        "Access ChannelCategory ChannelDirection ChannelMediaType ChannelType "
        "DeleteType DeliveryMode EventStatus EventType HookExecution HookTrigger "
        "IdentificationStatus ParticipantRole ParticipantStatus RoomStatus TaskStatus "
    ),
    "roomkit.models.event": (
        "AudioContent ChannelData CompositeContent DeleteContent EditContent "
        "EventContent EventSource LocationContent MediaContent RichContent RoomEvent "
        "SystemContent TemplateContent TextContent VideoContent "
    ),
    "roomkit.models.framework_event": "FrameworkEvent FrameworkEventType",
    "roomkit.models.hook": "HOOK_SPECS HookResult HookSpec InjectedEvent",
    "roomkit.models.identity": "Identity IdentityHookResult IdentityResult",
    "roomkit.models.participant": "Participant",
    "roomkit.models.reasons": "Reason",
    "roomkit.models.room": "ROOM_TRANSITIONS Room RoomTimers",
    "roomkit.models.streaming": "StreamDelta StreamEnd",
    "roomkit.models.task": "Observation Task",
    "roomkit.providers.ai.base": (
        "AIContext AIImagePart AIMessage AIPart AIProvider AIResponse AITextPart "
        "AIThinkingPart AITool AIToolCall AIToolCallPart AIToolResultPart "
        "StreamCollector StreamDone StreamEvent StreamTextDelta StreamThinkingDelta "
        "StreamToolCall close_stream collect_stream "
    ),
    "roomkit.providers.ai.mock": "MockAIProvider",
    "roomkit.providers.anthropic.ai": "AnthropicAIProvider",
    "roomkit.providers.anthropic.config": "AnthropicConfig",
    "roomkit.providers.elasticemail.config": "ElasticEmailConfig",
    "roomkit.providers.elasticemail.email": "ElasticEmailProvider",
    "roomkit.providers.email.base": "EmailProvider",
    "roomkit.providers.email.mock": "MockEmailProvider",
    "roomkit.providers.gemini.ai": "GeminiAIProvider",
    "roomkit.providers.gemini.config": "GeminiConfig",
    "roomkit.providers.http.base": "HTTPProvider",
    "roomkit.providers.http.config": "HTTPProviderConfig",
    "roomkit.providers.http.mock": "MockHTTPProvider",
    "roomkit.providers.http.provider": "WebhookHTTPProvider",
    "roomkit.providers.http.webhook": "parse_http_webhook verify_http_signature",
    "roomkit.providers.messenger.base": "MessengerProvider",
    "roomkit.providers.messenger.config": "MessengerConfig",
    "roomkit.providers.messenger.facebook": "FacebookMessengerProvider",
    "roomkit.providers.messenger.mock": "MockMessengerProvider",
    "roomkit.providers.messenger.webhook": "parse_messenger_statuses parse_messenger_webhook",
    "roomkit.providers.openai.ai": "OpenAIAIProvider",
    "roomkit.providers.openai.config": "OpenAIConfig",
    "roomkit.providers.pydantic_ai.ai": "PydanticAIProvider",
    "roomkit.providers.pydantic_ai.config": "PydanticAIConfig",
    "roomkit.providers.rcs.base": "RCSDeliveryResult RCSProvider",
    "roomkit.providers.rcs.mock": "MockRCSProvider",
    "roomkit.providers.sendgrid.config": "SendGridConfig",
    "roomkit.providers.sendgrid.email": "SendGridEmailProvider SendGridProvider",
    "roomkit.providers.sendgrid.webhook": "parse_sendgrid_events parse_sendgrid_inbound",
    "roomkit.providers.sinch.config": "SinchConfig",
    "roomkit.providers.sinch.sms": "SinchSMSProvider parse_sinch_webhook",
    "roomkit.providers.sms.base": "SMSProvider",
    "roomkit.providers.sms.keywords": "opt_keyword",
    "roomkit.providers.sms.meta": "WebhookMeta extract_sms_meta",
    "roomkit.providers.sms.mock": "MockSMSProvider",
    "roomkit.providers.sms.phone": "is_valid_phone normalize_phone",
    "roomkit.providers.sms.segments": "SegmentCount count_segments split_segments",
    "roomkit.providers.teams.base": "TeamsProvider",
    "roomkit.providers.teams.bot_framework": "BotFrameworkTeamsProvider",
    "roomkit.providers.teams.config": "TeamsConfig",
    "roomkit.providers.teams.conversation_store": (
        "ConversationReferenceStore InMemoryConversationReferenceStore "
    ),
    "roomkit.providers.teams.mock": "MockTeamsProvider",
    "roomkit.providers.teams.webhook": "is_bot_added parse_teams_activity parse_teams_webhook",
    "roomkit.providers.telnyx.config": "TelnyxConfig",
    "roomkit.providers.telnyx.rcs": (
        "TelnyxRCSConfig TelnyxRCSProvider parse_telnyx_rcs_webhook "
    ),
    "roomkit.providers.telnyx.sms": "TelnyxSMSProvider parse_telnyx_webhook",
    "roomkit.providers.twilio.config": "TwilioConfig",
    "roomkit.providers.twilio.rcs": (
        "TwilioRCSConfig TwilioRCSProvider parse_twilio_rcs_webhook "
    ),
    "roomkit.providers.twilio.sms": "TwilioSMSProvider parse_twilio_webhook",
    "roomkit.providers.vllm": "VLLMConfig create_vllm_provider",
    "roomkit.providers.voicemeup.config": "VoiceMeUpConfig",
    "roomkit.providers.voicemeup.mms": "VoiceMeUpMMSAggregator",
    "roomkit.providers.voicemeup.sms": (
        "VoiceMeUpSMSProvider configure_voicemeup_mms parse_voicemeup_webhook "
    ),
    "roomkit.providers.webhook": "Signal WebhookHandler WebhookRequest WebhookResponse",
    "roomkit.providers.whatsapp.base": "WhatsAppProvider",
    "roomkit.providers.whatsapp.cloud": "WhatsAppCloudProvider",
    "roomkit.providers.whatsapp.config": "WhatsAppCloudConfig",
    "roomkit.providers.whatsapp.mock": "MockWhatsAppProvider",
    "roomkit.providers.whatsapp.personal": "WhatsAppPersonalProvider",
    "roomkit.providers.whatsapp.webhook": "parse_whatsapp_statuses parse_whatsapp_webhook",
    "roomkit.realtime.base": (
        "EphemeralCallback EphemeralEvent EphemeralEventType RealtimeBackend "
    ),
    "roomkit.realtime.memory": "InMemoryRealtime",
    "roomkit.realtime.redis": "RedisRealtime",
    "roomkit.sources.base": (
        "BaseSourceProvider EmitCallback SourceHealth SourceProvider SourceStatus "
    ),
    "roomkit.store.base": "ConversationStore",
    "roomkit.store.durable": "DeadLetter DurableStore QueueStats",
    "roomkit.store.memory": "InMemoryStore",
    "roomkit.store.postgres": "PostgresStore",
    "roomkit.store.sqlite": "SQLiteStore",
    "roomkit.voice.audio_frame": "AudioFrame",
    "roomkit.voice.backends.base": "AudioReceivedCallback VoiceBackend",
    "roomkit.voice.backends.loopback": "LoopbackVoiceBackend",
    "roomkit.voice.backends.mock": "MockVoiceBackend",
    "roomkit.voice.backends.twilio": "TwilioMediaStream",
    "roomkit.voice.backends.websocket": "WebSocketVoiceBackend",
    "roomkit.voice.base": (
        "AudioChunk BargeInCallback TranscriptionResult VoiceCapability VoiceSession "
        "VoiceSessionState "
    ),
    "roomkit.voice.dtmf": "DTMFDetectedEvent",
    "roomkit.voice.events": (
        "BargeInEvent PartialTranscriptionEvent SpeakerChangeEvent TTSCancelledEvent "
        "TurnCompleteEvent TurnIncompleteEvent VADAudioLevelEvent VADSilenceEvent "
    ),
    "roomkit.voice.interruption": "InterruptionConfig InterruptionStrategy",
    "roomkit.voice.pipeline.config": "AudioPipelineConfig",
    "roomkit.voice.pipeline.denoiser_provider": "DenoiserProvider",
    "roomkit.voice.pipeline.diarization_provider": "DiarizationProvider DiarizationResult",
    "roomkit.voice.pipeline.engine": "AudioPipeline",
    "roomkit.voice.pipeline.mock": (
        "MockDenoiserProvider MockDiarizationProvider MockVADProvider "
    ),
    "roomkit.voice.pipeline.postprocessor": "AudioPostProcessor",
    "roomkit.voice.pipeline.vad_provider": "VADConfig VADEvent VADEventType VADProvider",
    "roomkit.voice.realtime.base": "RealtimeSession RealtimeSessionState",
    "roomkit.voice.realtime.events": (
        "RealtimeErrorEvent RealtimeSpeechEvent RealtimeToolCallEvent "
        "RealtimeTranscriptionEvent "
    ),
    "roomkit.voice.realtime.mock": "MockRealtimeProvider MockRealtimeTransport",
    "roomkit.voice.realtime.provider": "RealtimeVoiceProvider",
    "roomkit.voice.realtime.transport": "RealtimeAudioTransport",
    "roomkit.voice.recording": "RecordingStartedEvent RecordingStoppedEvent",
    "roomkit.voice.stt.base": "STTProvider",
    "roomkit.voice.stt.mock": "MockSTTProvider",
    "roomkit.voice.tts.base": "TTSProvider",
    "roomkit.voice.tts.mock": "MockTTSProvider",
    "roomkit.voice.turn_detector": "TurnDetector",
}
# fmt: on
