"""Access logs without what must not be in them: query strings, URL tokens, addresses."""

from __future__ import annotations

import logging
import re
from typing import Any

_BELOW_WEBHOOK = re.compile(r"(/webhooks/[^/?]+)/[^?]*")


class AccessLogFilter(logging.Filter):
    """Takes queries, URL tokens and client addresses out of a server's access log.

    It knows the records of uvicorn. ``roomkit serve`` uses it; who runs uvicorn otherwise adds
    it to both of its loggers::

        for name in ("uvicorn.access", "uvicorn.error"):
            logging.getLogger(name).addFilter(AccessLogFilter())
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean a record; every one is kept."""
        args = record.args
        if isinstance(args, tuple) and any(_is_path(one) for one in args):
            # The client's address comes first in every line that has a path.
            client = args[0] if _is_path(args[0]) else "-"
            record.args = tuple(_without_secrets(one) for one in (client, *args[1:]))
        return True


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/")


def _without_secrets(value: Any) -> Any:
    if not _is_path(value):
        return value
    return _BELOW_WEBHOOK.sub(r"\1/...", value.partition("?")[0])
