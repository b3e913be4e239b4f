"""Where secrets may turn up, and the search for them."""

from __future__ import annotations

import logging
import socket
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from roomkit.asgi import AccessLogFilter

if TYPE_CHECKING:
    from collections.abc import Iterator

SAID = "canary words that somebody says"
LOUD = (
    *("anthropic", "asyncio", "google_genai", "google_genai.models", "httpcore", "httpx"),
    *("httpx2", "httpcore2", "openai", "openai._base_client", "roomkit", "uvicorn", "urllib3"),
    *("uvicorn.access", "uvicorn.error", "websockets", "websockets.client", "websockets.server"),
)


class Evidence(logging.Handler):
    """All that is said, where somebody may read it.

    Attributes:
        records: What was logged.
        texts: Everything else, as text.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self.texts: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def add(self, *things: Any) -> None:
        """Keep things: their representations, and models and errors in full."""
        for thing in things:
            self.texts.append(repr(thing))
            if isinstance(thing, BaseModel):
                self.texts += [str(thing), thing.model_dump_json(), str(thing.model_dump())]
            elif isinstance(thing, BaseException):
                self.texts += [str(thing), *traceback.format_exception(thing)]
                self.add(vars(thing))

    def lines(self, level: int = logging.DEBUG) -> list[str]:
        """Return what was logged at a level and above: text, traceback and extras."""
        return [
            self.format(record) + repr(sorted(map(str, record.__dict__.items())))
            for record in list(self.records)
            if record.levelno >= level
        ]

    def check(self, canaries: tuple[str, ...], quiet: tuple[str, ...] = (SAID,)) -> None:
        """Check that no secret is in anything, and nothing quiet in a log above DEBUG."""
        assert canaries
        for found in [*self.lines(), *self.texts]:
            for secret in canaries:
                assert secret not in found, f"{secret!r} in {found[:2000]}"
        for line in self.lines(logging.INFO):
            for word in quiet:
                assert word not in line, f"{word!r} in {line[:2000]}"


@pytest.fixture
def evidence() -> Iterator[Evidence]:
    """Hears every logger at DEBUG."""
    found = Evidence()
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in LOUD)]
    levels = [logger.level for logger in loggers]
    cleaner = AccessLogFilter()
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    # As docs/webhooks.md tells who runs a uvicorn of their own.
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).addFilter(cleaner)
    loggers[0].addHandler(found)
    yield found
    loggers[0].removeHandler(found)
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).removeFilter(cleaner)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def nobody() -> str:
    """Return the URL of a port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"
