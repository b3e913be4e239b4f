"""Speech to speech with OpenAI's Realtime API, over a WebSocket.

The vendor ends a session after 60 minutes, and networks end them earlier: a link that is lost
is opened again, a bounded number of times, and told what was said so far.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from roomkit._aio import bounded
from roomkit._http import quiet_loggers
from roomkit._lazy import require
from roomkit.exceptions import InvalidInputError, ProviderError
from roomkit.providers.openai._realtime_events import (
    RATE,
    Dialogue,
    Event,
    Protocol,
    Settings,
    session_update,
)
from roomkit.voice.audio.pcm import SampleCarry
from roomkit.voice.realtime._links import MAX_RECONNECTS, LinkedRealtimeProvider, SessionLink
from roomkit.voice.realtime._rates import converter
from roomkit.voice.realtime.base import RealtimeSession, RealtimeSessionState

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.asyncio.client import ClientConnection

    from roomkit._clock import Clock
    from roomkit.voice.realtime._links import Attempts, Told

logger: logging.Logger = logging.getLogger("roomkit.providers.openai.realtime")

DEFAULT_REALTIME_MODEL = "gpt-realtime-2.1"
"""The model of a provider that was given none; the vendor's current family."""

_ENDPOINT = "wss://api.openai.com/v1/realtime"
_BASE = re.compile(r"(https?|wss?)://[^/?#@\s]+/?", re.ASCII | re.IGNORECASE)
_PERMANENT = frozenset({400, 401, 403, 404})
_LONGEST_FRAME = 16 * 1024 * 1024
_CLOSE_SECONDS = 1.0
_SPREAD = (0.5, 1.0)


class _Link(SessionLink[Dialogue]):
    """One session's way to the server, and what its audio goes through."""

    def __init__(
        self, session: RealtimeSession, dialogue: Dialogue, attempts: Attempts, settings: Settings
    ) -> None:
        super().__init__(session, dialogue, attempts)
        self.settings = settings
        self.ws: ClientConnection | None = None
        self.ready = False
        # Pieces may end in the middle of a sample: one lost byte makes noise of all that follows.
        self.hear: Callable[[bytes], bytes] = SampleCarry().push
        self.speak: Callable[[bytes], bytes] = SampleCarry().push
        self.garbage = 0
        self.answer: asyncio.Future[ProviderError | None] | None = None

    def settle(self, error: ProviderError | None) -> bool:
        """Answer who waits for the server to take the settings; False when nobody does."""
        waiting, self.answer = self.answer, None
        if waiting is None or waiting.done():
            return False
        waiting.set_result(error)
        return True


class OpenAIRealtimeProvider(LinkedRealtimeProvider[_Link]):
    """A GPT that hears and speaks.

    Audio is converted between the session's rates and the vendor's 24 kHz. A link that is lost
    is opened again up to ``max_reconnects`` times, after at most 0.5, 1, 2 and then 4 seconds,
    of which a random part of up to half is left out; the state is CONNECTING meanwhile, what
    was said is told again (the newest 20 messages), and an answer that was cut off is asked for
    again. When that fails ``on_error`` is told ``connection_closed`` and the state is ENDED.

    ``provider_config`` may hold ``turn_detection`` (the vendor's object, or its type),
    ``transcription_model``, ``transcription_language``, ``noise_reduction``, ``speed``,
    ``max_output_tokens``, ``tool_choice``, and ``session``, which is merged in last.

    Args:
        api_key: The key from the vendor's console.
        model: The model.
        base_url: The whole URL of another server's endpoint, without the model.
        api_base: Scheme, host and port to use instead; the path stays.
        protocol: ``beta`` for servers that still speak the older form; the vendor's does not.
        max_reconnects: Attempts to open a lost link again; a link that lasted a minute starts
            the count anew. 0: none.
        keepalive_seconds: How often the server is asked whether it is there, and how long it has.
        send_timeout: Seconds one message may take to be sent; then the link is lost.
        open_timeout: Seconds a connection may take to be opened.
        confirm_timeout: Seconds ``connect`` waits for the server to say that it took the
            settings; one that never says so is believed.
        clock: What pauses and positions are measured with.

    Raises:
        InvalidInputError: A URL, the protocol, the count or a time makes no sense.
    """

    _log: ClassVar = logger

    def __init__(
        self,
        *,
        api_key: str,
        model: str = DEFAULT_REALTIME_MODEL,
        base_url: str | None = None,
        api_base: str | None = None,
        protocol: Protocol = "ga",
        max_reconnects: int = MAX_RECONNECTS,
        keepalive_seconds: float = 20.0,
        send_timeout: float = 10.0,
        open_timeout: float = 10.0,
        confirm_timeout: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            "openai_rt",
            max_reconnects=max_reconnects,
            send_timeout=send_timeout,
            close_timeout=_CLOSE_SECONDS,
            spread=_SPREAD,
            clock=clock,
        )
        if protocol not in ("ga", "beta"):
            raise InvalidInputError("protocol is 'ga' or 'beta'")
        if min(keepalive_seconds, open_timeout, confirm_timeout) <= 0:
            raise InvalidInputError("keepalive_seconds and the timeouts are more than 0")
        self._api_key = api_key
        self._url = endpoint(base_url, api_base, model)
        self._protocol: Protocol = protocol
        self._keepalive = keepalive_seconds
        self._open_timeout = open_timeout
        self._confirm_timeout = confirm_timeout
        self._connections = self._links

    @property
    def name(self) -> str:
        """``OpenAIRealtimeProvider``."""
        return "OpenAIRealtimeProvider"

    async def connect(
        self,
        session: RealtimeSession,
        *,
        system_prompt: str | None = None,
        voice: str | None = None,
        tools: list[dict[str, Any]] | None = None,
        temperature: float | None = None,
        input_sample_rate: int = 16000,
        output_sample_rate: int = 24000,
        server_vad: bool = True,
        provider_config: dict[str, Any] | None = None,
    ) -> None:
        """Open the session's link and configure it; see ``RealtimeVoiceProvider.connect``.

        Raises:
            MissingDependencyError: websockets is not installed.
            InvalidInputError: The session is connected already.
            ProviderError: The server cannot be reached, or refuses the key, the model or a
                setting.
        """
        require("websockets.asyncio.client", user=self.name, extra="realtime-openai",
                dist="websockets")  # fmt: skip
        if session.id in self._connections:
            raise InvalidInputError(f"session {session.id!r} is connected already")
        settings = Settings(
            system_prompt, voice, tools, temperature, server_vad, dict(provider_config or {})
        )
        dialogue = Dialogue(self._clock.monotonic, settings, self._protocol, session.id)
        link = _Link(session, dialogue, self._attempts(), settings)
        self._connections[session.id] = link
        if input_sample_rate != RATE:
            link.hear = converter(input_sample_rate, RATE)
        if output_sample_rate != RATE:
            link.speak = converter(RATE, output_sample_rate)
        try:
            await self._open(link)
            link.ready = True
            answer = link.answer = asyncio.get_running_loop().create_future()
            link.runner = self._tasks.start(self._run(link), name=f"openai_rt_recv:{session.id}")
            await asyncio.wait((answer,), timeout=self._confirm_timeout)
            # A server that never says it took the settings is believed.
            link.answer = None
            if answer.done() and (error := answer.result()) is not None:
                raise error
        except BaseException:
            await self._shut(link)
            session.state = RealtimeSessionState.ENDED
            raise
        if session.id in self._connections:
            session.state = RealtimeSessionState.ACTIVE

    # -- the link ------------------------------------------------------------------------

    async def _open(self, link: _Link) -> None:
        """Open a connection and send the settings."""
        quiet_loggers()
        client = require("websockets.asyncio.client", user=self.name, extra="realtime-openai")
        headers = {"Authorization": f"Bearer {self._api_key}"}
        if self._protocol == "beta":
            headers["OpenAI-Beta"] = "realtime=v1"
        try:
            ws = await client.connect(
                self._url,
                additional_headers=headers,
                compression=None,
                max_size=_LONGEST_FRAME,
                open_timeout=self._open_timeout,
                ping_interval=self._keepalive,
                ping_timeout=self._keepalive,
                close_timeout=_CLOSE_SECONDS,
            )
        except Exception as exc:  # noqa: BLE001 - whatever the library raises: there is no link
            raise self._unreachable(exc) from None
        if link.closing:
            await self._close_ws(ws)
            return
        link.ws, link.since = ws, self._clock.monotonic()
        # A server that closes at once says why before it does: the listener hears it.
        await self._send(link, session_update(link.settings, self._protocol))

    def _unreachable(self, exc: Exception) -> ProviderError:
        """Return what a failed handshake comes to; its own text may quote the key."""
        logger.debug("no link: %s", type(exc).__name__)
        status = getattr(getattr(exc, "response", None), "status_code", None)
        what = type(exc).__name__ if status is None else f"HTTP {status}"
        return ProviderError(
            f"OpenAI's Realtime API cannot be reached ({what}); check key, model and network",
            retryable=status not in _PERMANENT,
            provider="openai",
            status_code=status,
        )

    async def _run(self, link: _Link) -> None:
        """Listen until the session ends, over as many connections as it takes."""
        while True:
            await self._receive(link)
            if link.closing:
                return
            lost = ProviderError(
                "OpenAI closed the connection at once", retryable=True, provider="openai"
            )
            if link.settle(lost):
                return
            if not await self._reopen(link):
                await self._lost(link, "connection_closed")
                return
            await self._flush(link)

    async def _receive(self, link: _Link) -> None:
        ws = link.ws
        if ws is None:
            return
        try:
            async for frame in ws:
                event = _parsed(frame, link)
                if event is not None:
                    await self._handle_server_event(link.session, event)
                if link.dialogue.expired:
                    break
        except Exception as exc:
            logger.debug("the link broke", exc_info=exc)
        link.ws, link.ready = None, False
        await self._close_ws(ws)

    async def _handle_server_event(self, session: RealtimeSession, event: Event) -> None:
        """Tell the callbacks what an event means, and send what it makes necessary."""
        link = self._connections.get(session.id)
        if link is None:
            return
        dialogue = link.dialogue
        told = dialogue.take(event)
        session.provider_session_id = dialogue.vendor_id or session.provider_session_id
        if dialogue.configured:
            link.settle(None)
        await self._flush(link)
        for what in told:
            await self._pass_on(link, what)

    async def _pass_on(self, link: _Link, told: Told) -> None:
        kind, *values = told
        if link.closing:
            return
        if kind == "error":
            refused = ProviderError(
                f"OpenAI refuses the session ({values[0]}); check its settings",
                provider="openai",
                error_type=values[0],
            )
            if link.settle(refused):
                logger.debug("the settings were refused: %s", values[1])
                return
        if kind == "audio":
            values = [link.speak(values[0])]
            if not values[0]:
                return
        await self._tell(kind, link.session, *values)

    async def _restore(self, link: _Link) -> bool:
        await self._open(link)
        await self._send_all(link, link.dialogue.opening())
        link.ready = link.ws is not None
        return link.ready

    async def _flush(self, link: _Link) -> None:
        """Send what the dialogue wants to say; without a connection it waits."""
        outbox = link.dialogue.outbox
        # A new link is first told the conversation so far.
        while outbox and link.ready:
            await self._send(link, outbox.popleft())

    async def _send_all(self, link: _Link, events: list[Event]) -> None:
        for event in events:
            await self._send(link, event)

    async def _send(self, link: _Link, event: Event) -> None:
        ws = link.ws
        if ws is None:
            return
        try:
            async with asyncio.timeout(self._send_timeout):
                await ws.send(json.dumps(event))
        except TimeoutError:
            # A server that reads nothing is not found out by keepalives: they wait behind this.
            logger.warning("a server takes nothing", extra=link.extra)
            ws.transport.abort()
        except Exception as exc:
            # The listener finds out as well, and opens a new link.
            logger.debug("sending failed", exc_info=exc)

    async def _close_ws(self, ws: ClientConnection) -> None:
        try:
            await bounded(ws.close(), _CLOSE_SECONDS)
        except Exception as exc:
            logger.debug("a link was not closed properly", exc_info=exc)
        finally:
            ws.transport.abort()

    async def _close_link(self, link: _Link) -> None:
        link.settle(None)
        ws, link.ws = link.ws, None
        if ws is not None:
            await self._close_ws(ws)

    # -- what we say ---------------------------------------------------------------------

    async def send_audio(self, session: RealtimeSession, audio: bytes) -> None:
        """Let the model hear PCM at the session's input rate; without a link it is dropped."""
        link = self._connections.get(session.id)
        if link is None or not link.ready:
            return
        heard = link.hear(audio)
        if heard:
            data = base64.b64encode(heard).decode("ascii")
            await self._send(link, {"type": "input_audio_buffer.append", "audio": data})

    async def commit_audio(self, session: RealtimeSession) -> None:
        """End the caller's turn, for sessions without turn detection; the model answers."""
        link = self._connections.get(session.id)
        if link is not None and link.ready:
            await self._send(link, {"type": "input_audio_buffer.commit"})
            link.dialogue.ask()
            await self._flush(link)

    async def inject_text(
        self, session: RealtimeSession, text: str, *, role: str = "user"
    ) -> None:
        """Tell the model something in writing; it answers after the answer in flight."""
        link = self._connections.get(session.id)
        if link is not None:
            link.dialogue.say(role if role == "system" else "user", text)
            await self._flush(link)

    async def submit_tool_result(
        self, session: RealtimeSession, call_id: str, result: str
    ) -> None:
        """Give the model a result; with the last one of several it answers."""
        link = self._connections.get(session.id)
        if link is not None:
            link.dialogue.give(call_id, result)
            await self._flush(link)

    async def interrupt(self, session: RealtimeSession) -> None:
        """Stop the answer in flight, and tell the server how much of it was heard."""
        link = self._connections.get(session.id)
        if link is not None:
            link.dialogue.stop()
            await self._flush(link)


def endpoint(base_url: str | None, api_base: str | None, model: str) -> str:
    """Return the URL to connect to.

    Raises:
        InvalidInputError: It would be none.
    """
    if api_base is not None and _BASE.fullmatch(api_base) is None:
        raise InvalidInputError("api_base is scheme, host and port, such as https://proxy:8443")
    parts = urlsplit(base_url or _ENDPOINT)
    scheme, host = parts.scheme, parts.netloc
    if api_base is not None:
        given = urlsplit(api_base)
        scheme, host = given.scheme, given.netloc
    scheme = {"http": "ws", "https": "wss"}.get(scheme, scheme)
    if scheme not in ("ws", "wss") or not host:
        raise InvalidInputError("base_url must be a ws:// or wss:// URL")
    query = parts.query
    if "model" not in dict(parse_qsl(query)):
        query = "&".join(filter(None, (query, f"model={quote(model, safe='')}")))
    return urlunsplit((scheme, host, parts.path, query, ""))


def _parsed(frame: str | bytes, link: _Link) -> Event | None:
    """Return an event of the server; None, told once a session, for a frame that is none."""
    try:
        event = json.loads(frame)
    except (ValueError, RecursionError):
        event = None
    if isinstance(event, dict):
        return event
    link.garbage += 1
    if link.garbage == 1:
        logger.warning(
            "a frame of the server is no event; such frames are ignored", extra=link.extra
        )
    return None
