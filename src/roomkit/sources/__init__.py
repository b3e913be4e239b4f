"""Event sources: connections we open, whose messages flow into rooms.

Each source lives in a module of its own that knows its optional package; naming it here loads
nothing until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit._lazy import lazy_exports

if TYPE_CHECKING:
    from roomkit.sources.base import (
        BaseSourceProvider,
        EmitCallback,
        SourceHealth,
        SourceProvider,
        SourceStatus,
    )
    from roomkit.sources.neonize import NeonizeSource, WhatsAppPersonalSourceProvider
    from roomkit.sources.sse import SSESource
    from roomkit.sources.websocket import WebSocketSource
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "BaseSourceProvider": "roomkit.sources.base",
            "EmitCallback": "roomkit.sources.base",
            "NeonizeSource": "roomkit.sources.neonize",
            "SSESource": "roomkit.sources.sse",
            "SourceHealth": "roomkit.sources.base",
            "SourceProvider": "roomkit.sources.base",
            "SourceStatus": "roomkit.sources.base",
            "WebSocketSource": "roomkit.sources.websocket",
            "WhatsAppPersonalSourceProvider": "roomkit.sources.neonize",
        },
    )

__all__ = [
    "BaseSourceProvider",
    "EmitCallback",
    "NeonizeSource",
    "SSESource",
    "SourceHealth",
    "SourceProvider",
    "SourceStatus",
    "WebSocketSource",
    "WhatsAppPersonalSourceProvider",
]
