"""Speech to speech: a live model hears the caller and answers in sound.

A provider is the model's side, a transport the caller's; ``RealtimeVoiceChannel`` joins them.
Nothing is loaded until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit._lazy import lazy_exports

if TYPE_CHECKING:
    from roomkit.voice.realtime.base import RealtimeSession, RealtimeSessionState
    from roomkit.voice.realtime.events import (
        RealtimeErrorEvent,
        RealtimeSpeechEvent,
        RealtimeToolCallEvent,
        RealtimeTranscriptionEvent,
    )
    from roomkit.voice.realtime.mock import MockCall, MockRealtimeProvider, MockRealtimeTransport
    from roomkit.voice.realtime.provider import (
        CallbackRealtimeProvider,
        RealtimeVoiceProvider,
    )
    from roomkit.voice.realtime.transport import (
        CallbackRealtimeTransport,
        RealtimeAudioTransport,
    )
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "CallbackRealtimeProvider": "roomkit.voice.realtime.provider",
            "CallbackRealtimeTransport": "roomkit.voice.realtime.transport",
            "MockCall": "roomkit.voice.realtime.mock",
            "MockRealtimeProvider": "roomkit.voice.realtime.mock",
            "MockRealtimeTransport": "roomkit.voice.realtime.mock",
            "RealtimeAudioTransport": "roomkit.voice.realtime.transport",
            "RealtimeErrorEvent": "roomkit.voice.realtime.events",
            "RealtimeSession": "roomkit.voice.realtime.base",
            "RealtimeSessionState": "roomkit.voice.realtime.base",
            "RealtimeSpeechEvent": "roomkit.voice.realtime.events",
            "RealtimeToolCallEvent": "roomkit.voice.realtime.events",
            "RealtimeTranscriptionEvent": "roomkit.voice.realtime.events",
            "RealtimeVoiceProvider": "roomkit.voice.realtime.provider",
        },
    )

__all__ = [
    "CallbackRealtimeProvider",
    "CallbackRealtimeTransport",
    "MockCall",
    "MockRealtimeProvider",
    "MockRealtimeTransport",
    "RealtimeAudioTransport",
    "RealtimeErrorEvent",
    "RealtimeSession",
    "RealtimeSessionState",
    "RealtimeSpeechEvent",
    "RealtimeToolCallEvent",
    "RealtimeTranscriptionEvent",
    "RealtimeVoiceProvider",
]
