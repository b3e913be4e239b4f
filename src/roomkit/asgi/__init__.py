"""A kit over HTTP and WebSocket: one ASGI callable that needs no web framework.

``create_app(kit)`` gives the app: vendors' webhooks, live connections of browsers, health for
supervisors. Mount it in FastAPI, Starlette or Litestar, or serve it alone with
``roomkit serve module:kit``. See ``docs/webhooks.md`` and ``docs/websocket-protocol.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["AccessLogFilter", "App", "Principal", "create_app"]

if TYPE_CHECKING:
    from roomkit.asgi._access import AccessLogFilter
    from roomkit.asgi._app import App, create_app
    from roomkit.asgi.principal import Principal
else:
    from roomkit._lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "AccessLogFilter": "roomkit.asgi._access",
            "App": "roomkit.asgi._app",
            "Principal": "roomkit.asgi.principal",
            "create_app": "roomkit.asgi._app",
        },
    )
