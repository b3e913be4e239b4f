"""The shapes of ASGI 3, as its specification names them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

type Scope = MutableMapping[str, Any]
"""What a server says about one connection."""

type Message = MutableMapping[str, Any]
"""One event of a connection."""

type Receive = Callable[[], Awaitable[Message]]
"""Gives the next event of the client."""

type Send = Callable[[Message], Awaitable[None]]
"""Takes an event for the client."""
