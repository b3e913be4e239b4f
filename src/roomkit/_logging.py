"""Logging helpers: the quiet root logger, and one line for a contained failure.

Library rule: no message text, address or secret above DEBUG. What goes into a line are ids.
"""

from __future__ import annotations

import logging
from typing import Any

logging.getLogger("roomkit").addHandler(logging.NullHandler())


def ids(**values: Any) -> dict[str, Any]:
    """Return the given ids as an ``extra`` mapping for a log record, without the empty ones."""
    return {key: value for key, value in values.items() if value is not None}


def log_failure(
    logger: logging.Logger,
    error: BaseException,
    message: str,
    *args: object,
    extra: dict[str, Any] | None = None,
) -> None:
    """Log a failure by its kind, and at DEBUG with its traceback and text.

    The text of foreign errors may quote what was said, an address or a secret.
    """
    logger.error(f"{message}: %s", *args, type(error).__name__, extra=extra)  # noqa: G004
    logger.debug(message, *args, exc_info=error, extra=extra)


def brief(error: BaseException) -> str:
    """Return an error's text, or its class name when the text is empty."""
    return str(error) or type(error).__name__
