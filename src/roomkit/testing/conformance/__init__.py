"""What every implementation of an abstraction must do, as test classes to inherit.

A suite needs pytest and pytest-asyncio. Inherit it in a test module, under a name that pytest
collects, and say how to make the thing::

    class TestMyStore(StoreConformance):
        async def make_store(self) -> ConversationStore:
            return MyStore()

Each test gets one of its own, closed afterwards.
"""

from __future__ import annotations

from pkgutil import iter_modules
from typing import TYPE_CHECKING

import pytest

# Failed assertions of the suites show their values, as those of test modules do.
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in iter_modules(__path__)))

__all__ = [
    "ChannelConformance",
    "DenoiserConformance",
    "DurableStoreConformance",
    "IdentityResolverConformance",
    "InboundRouterConformance",
    "LockManagerConformance",
    "ProviderConformance",
    "RealtimeClient",
    "RealtimeConformance",
    "RealtimeProviderConformance",
    "RealtimeTransportConformance",
    "STTConformance",
    "Store36Conformance",
    "StoreConformance",
    "TTSConformance",
    "VADConformance",
    "VoiceBackendConformance",
    "WebhookHandlerConformance",
]

if TYPE_CHECKING:
    from roomkit.testing.conformance.channel import ChannelConformance
    from roomkit.testing.conformance.denoiser import DenoiserConformance
    from roomkit.testing.conformance.durable import DurableStoreConformance
    from roomkit.testing.conformance.identity import IdentityResolverConformance
    from roomkit.testing.conformance.locks import LockManagerConformance
    from roomkit.testing.conformance.provider import ProviderConformance
    from roomkit.testing.conformance.realtime import RealtimeConformance
    from roomkit.testing.conformance.realtime_provider import RealtimeProviderConformance
    from roomkit.testing.conformance.realtime_transport import (
        RealtimeClient,
        RealtimeTransportConformance,
    )
    from roomkit.testing.conformance.router import InboundRouterConformance
    from roomkit.testing.conformance.store import StoreConformance
    from roomkit.testing.conformance.store36 import Store36Conformance
    from roomkit.testing.conformance.stt import STTConformance
    from roomkit.testing.conformance.tts import TTSConformance
    from roomkit.testing.conformance.vad import VADConformance
    from roomkit.testing.conformance.voice_backend import VoiceBackendConformance
    from roomkit.testing.conformance.webhook import WebhookHandlerConformance
else:
    from roomkit._lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "RealtimeClient": "roomkit.testing.conformance.realtime_transport",
            "RealtimeTransportConformance": "roomkit.testing.conformance.realtime_transport",
            "RealtimeProviderConformance": "roomkit.testing.conformance.realtime_provider",
            "VoiceBackendConformance": "roomkit.testing.conformance.voice_backend",
            "DenoiserConformance": "roomkit.testing.conformance.denoiser",
            "VADConformance": "roomkit.testing.conformance.vad",
            "TTSConformance": "roomkit.testing.conformance.tts",
            "STTConformance": "roomkit.testing.conformance.stt",
            "ChannelConformance": "roomkit.testing.conformance.channel",
            "DurableStoreConformance": "roomkit.testing.conformance.durable",
            "IdentityResolverConformance": "roomkit.testing.conformance.identity",
            "InboundRouterConformance": "roomkit.testing.conformance.router",
            "LockManagerConformance": "roomkit.testing.conformance.locks",
            "ProviderConformance": "roomkit.testing.conformance.provider",
            "RealtimeConformance": "roomkit.testing.conformance.realtime",
            "Store36Conformance": "roomkit.testing.conformance.store36",
            "StoreConformance": "roomkit.testing.conformance.store",
            "WebhookHandlerConformance": "roomkit.testing.conformance.webhook",
        },
    )
