"""Speech to speech with Google's Gemini Live API, through the google-genai SDK.

The vendor ends each connection after about 10 minutes, and an audio session after 15: a link
that is lost, or soon will be, is opened again, goes on from the vendor's newest handle, and is
told what that handle does not know.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._aio import DeadlineExceeded, bounded
from roomkit._http import quiet_loggers
from roomkit._lazy import require
from roomkit.exceptions import InvalidInputError, ProviderError
from roomkit.providers.ai._sdk import close_sdk, open_stream
from roomkit.providers.gemini._realtime_config import Settings
from roomkit.providers.gemini._realtime_dialogue import Dialogue
from roomkit.providers.gemini._realtime_link import (
    MOST_BROKEN,
    Link,
    describe,
    link_error,
    make_client,
)
from roomkit.voice.realtime._links import MAX_RECONNECTS, LinkedRealtimeProvider
from roomkit.voice.realtime._rates import converter
from roomkit.voice.realtime.base import RealtimeSession, RealtimeSessionState

if TYPE_CHECKING:
    from roomkit._clock import Clock
    from roomkit.providers.gemini._realtime_parts import Audio
    from roomkit.voice.realtime._links import Told

logger: logging.Logger = logging.getLogger("roomkit.providers.gemini.realtime")

DEFAULT_LIVE_MODEL = "gemini-2.5-flash-native-audio-preview-12-2025"
"""The model of a provider that was given none; ``gemini-3.8-live`` is the vendor's stable one."""

_CLOSE_SECONDS = 2.0
_MAX_RECONNECTS = MAX_RECONNECTS
_SPREAD = (0.75, 1.25)


class GeminiLiveProvider(LinkedRealtimeProvider[Link]):
    """A Gemini that hears and speaks.

    A link that is lost is opened again up to ``max_reconnects`` times, after about 0.5, 1, 2
    and then 4 seconds; the state is CONNECTING meanwhile. When the vendor says beforehand that
    it will close one (``goAway``), that is done between two turns, and the state stays ACTIVE.
    The new link goes on from the vendor's newest handle, is told what was said since (without
    a handle: the newest 20 messages), and hears the caller's audio since (at most 10 seconds);
    an answer that was cut off is asked for again. When all fails ``on_error`` is told
    ``connection_lost`` and the state is ENDED.

    ``provider_config`` may hold ``language``, ``top_p``, ``top_k``, ``max_output_tokens``,
    ``seed``, ``enable_affective_dialog``, ``proactive_audio``, ``thinking_budget``,
    ``thinking_level``, ``start_of_speech_sensitivity`` and ``end_of_speech_sensitivity``
    (``high`` or ``low``), ``silence_duration_ms``, ``prefix_padding_ms``, ``no_interruption``,
    ``session_resumption`` (default True), ``context_window_compression`` (True, or the SDK's
    object), ``explicit_vad_signal``, ``response_modalities``, and ``raw``: fields of the SDK's
    ``LiveConnectConfig``, merged in last.

    Args:
        api_key: The key of Google AI Studio.
        model: The model.
        http_options: What the SDK's client is told of the connection, its ``HttpOptions`` or a
            mapping; ``async_client_args`` reach the WebSocket (``ssl``, ``ping_interval``).
        api_base: Scheme, host and port to use instead; always spoken to over TLS.
        ca_file: A file of certificates to trust instead of the usual ones.
        max_reconnects: Attempts to open a lost link again; a link that lasted a minute starts
            the count anew. 0: none.
        send_timeout: Seconds after which a server that takes nothing counts as lost.
        open_timeout: Seconds a connection may take to be opened and its settings to be taken.
        clock: What pauses are measured with.

    Raises:
        MissingDependencyError: google-genai is not installed.
        InvalidInputError: A URL, a number or an option makes no sense.
        OSError: ``ca_file`` cannot be read.
    """

    _log: ClassVar = logger

    def __init__(
        self,
        *,
        api_key: str,
        model: str = DEFAULT_LIVE_MODEL,
        http_options: Any = None,
        api_base: str | None = None,
        ca_file: str | None = None,
        max_reconnects: int = _MAX_RECONNECTS,
        send_timeout: float = 5.0,
        open_timeout: float = 15.0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            "gemini_live",
            max_reconnects=max_reconnects,
            send_timeout=send_timeout,
            close_timeout=_CLOSE_SECONDS,
            spread=_SPREAD,
            clock=clock,
        )
        if open_timeout <= 0:
            raise InvalidInputError("open_timeout is more than 0")
        genai = require("google.genai", user=self.name, extra="realtime-gemini",
                        dist="google-genai")  # fmt: skip
        self._types = genai.types
        self._api_key = api_key
        self._model = model
        self._client = make_client(genai, api_key, http_options, api_base, ca_file)
        self._open_timeout = open_timeout
        self._live_sessions = self._links

    @property
    def name(self) -> str:
        """``GeminiLiveProvider``."""
        return "GeminiLiveProvider"

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
        """Open the session's link; see ``RealtimeVoiceProvider.connect``.

        Without ``server_vad`` the caller's turn begins with their audio and ends with
        ``commit_audio``.

        Raises:
            InvalidInputError: The session is connected already, or a setting makes no sense.
            ProviderError: The server cannot be reached, or refuses the key, the model or a
                setting.
        """
        if session.id in self._live_sessions:
            raise InvalidInputError(f"session {session.id!r} is connected already")
        settings = Settings(
            system_prompt, voice, tools, temperature, server_vad, dict(provider_config or {})
        )
        dialogue = Dialogue(
            self._clock.monotonic, input_sample_rate, manual=not server_vad, session_id=session.id
        )
        link = Link(
            session,
            dialogue,
            self._attempts(),
            settings=settings,
            model=self._model,
            types=self._types,
            rates=(input_sample_rate, output_sample_rate),
        )
        self._live_sessions[session.id] = link
        try:
            await self._open(link)
        except BaseException:
            await self._shut(link)
            session.state = RealtimeSessionState.ENDED
            raise
        if link.closing:
            session.state = RealtimeSessionState.ENDED
            return
        session.state = RealtimeSessionState.ACTIVE
        link.runner = self._tasks.start(self._run(link), name=f"gemini_live:{session.id}")

    # -- the link ------------------------------------------------------------------------

    async def _open(self, link: Link) -> None:
        """Open a connection and tell it what it must know.

        Raises:
            InvalidInputError: The SDK does not take the settings.
            ProviderError: There is none.
        """
        quiet_loggers()
        opening = link.dialogue.opening()
        config = link.config(opening)
        context = self._client.aio.live.connect(model=self._model, config=config)
        async with link.lock:
            try:
                link.live = await bounded(_entered(context), self._open_timeout)
            except Exception as exc:  # noqa: BLE001 - whatever it is: there is no link
                raise self._unreachable(exc) from None
            link.context = context
            if link.closing:
                await self._close_link(link)
                return
            link.since = self._clock.monotonic()
            link.session.provider_session_id = (
                getattr(link.live, "session_id", None) or link.session.provider_session_id
            )
            try:
                await bounded(link.tell(opening), self._send_timeout)
            except Exception as exc:
                # The listener finds out as well, and opens a new link.
                logger.debug("the opening failed", exc_info=exc)
        await self._flush(link)

    def _unreachable(self, exc: Exception) -> ProviderError:
        """Return what a failed opening comes to; its own text may quote the key."""
        logger.debug("no link: %s", type(exc).__name__)
        return link_error(exc, self._api_key)

    async def _run(self, link: Link) -> None:
        """Listen until the session ends, over as many connections as it takes."""
        while True:
            await self._receive(link)
            planned = link.dialogue.leave_at is not None
            await self._close_link(link)
            if link.closing:
                return
            if not await self._reopen(link, planned=planned):
                await self._lost(link, "connection_lost", f" ({link.why})")
                return

    async def _receive(self, link: Link) -> None:
        """Listen until the connection is lost, or should be left."""
        live, broken = link.live, 0
        while live is not None and broken < MOST_BROKEN and not link.closing:
            # What the SDK cannot read counts; so does a turn without a single message.
            broken += 1
            try:
                async with open_stream(live.receive()) as messages:
                    async for message in messages:
                        broken = 0
                        await self._handle_server_response(link.session, message)
                        if link.closing or self._leaves(link):
                            return
            except Exception as exc:
                logger.debug("listening failed: %s", type(exc).__name__, exc_info=exc)
                if link.is_over(exc):
                    link.why = describe(exc, self._api_key)
                    return
                logger.warning("a message of the server cannot be read", extra=link.extra)
            await asyncio.sleep(0)

    async def _handle_server_response(self, session: RealtimeSession, response: Any) -> None:
        """Tell the callbacks what a message of the server means."""
        link = self._live_sessions.get(session.id)
        if link is None:
            return
        for told in link.dialogue.take(response):
            await self._pass_on(link, told)

    async def _pass_on(self, link: Link, told: Told) -> None:
        kind, *values = told
        if link.closing:
            return
        if kind == "audio":
            values = [self._spoken(link, values[0])]
            if not values[0]:
                return
        await self._tell(kind, link.session, *values)

    @staticmethod
    def _spoken(link: Link, audio: Audio) -> bytes:
        """Return audio of the model at the session's rate."""
        if audio.rate == link.output_rate:
            return audio.data
        if link.speak is None or link.speak[0] != audio.rate:
            link.speak = (audio.rate, converter(audio.rate, link.output_rate))
        return link.speak[1](audio.data)

    def _leaves(self, link: Link) -> bool:
        """Return whether a connection the server will close is left now."""
        dialogue = link.dialogue
        if dialogue.leave_at is None or not self._max_reconnects:
            return False
        if dialogue.done:
            return True
        if link.leaving is None:
            logger.debug("the server will close the connection", extra=link.extra)
            seconds = dialogue.leave_at - self._clock.monotonic()
            link.leaving = self._tasks.start(self._leave(link, seconds))
        return False

    async def _leave(self, link: Link, seconds: float) -> None:
        """End a connection in time; its listener finds out."""
        live = link.live
        await self._clock.sleep(seconds)
        if live is not None and link.live is live:
            await self._hang_up(link)

    async def _restore(self, link: Link) -> bool:
        await self._open(link)
        return True

    def _worth_another(self, link: Link, exc: ProviderError | InvalidInputError) -> bool:
        link.dialogue.link_lost()
        if super()._worth_another(link, exc):
            return True
        # The handle may be what was refused: it lives two hours, and not every model's is kept.
        known = link.dialogue.handle is not None and getattr(exc, "status_code", None) is None
        link.dialogue.drop_handle()
        return known

    async def _flush(self, link: Link) -> None:
        """Send what waits, in its order; without a connection it goes on waiting."""
        async with link.lock:
            outbox = link.dialogue.outbox
            while outbox and link.live is not None and not link.closing:
                out = outbox.popleft()
                try:
                    await bounded(link.send(out), self._send_timeout)
                except DeadlineExceeded:
                    logger.warning("the server takes nothing any more", extra=link.extra)
                    await self._hang_up(link)
                    return
                except Exception as exc:
                    # The listener finds out as well, and opens a new link.
                    logger.debug("sending failed", exc_info=exc)
                    return
                outbox = link.dialogue.outbox

    async def _hang_up(self, link: Link) -> None:
        """Close a connection under its listener, which then looks for a new one."""
        live = link.live
        try:
            await bounded(_closed(live), 2 * _CLOSE_SECONDS)
        except Exception as exc:
            logger.debug("a connection was not closed properly", exc_info=exc)

    async def _close_link(self, link: Link) -> None:
        """Leave a connection for good."""
        link.live, context = None, link.context
        link.context = None
        leaving, link.leaving = link.leaving, None
        try:
            if context is not None:
                await bounded(_left(context), 2 * _CLOSE_SECONDS)
        except Exception as exc:
            logger.debug("a link was not closed properly", exc_info=exc)
        finally:
            if leaving is not None:
                leaving.cancel()

    # -- what we say ---------------------------------------------------------------------

    async def send_audio(self, session: RealtimeSession, audio: bytes) -> None:
        """Let the model hear PCM at the session's input rate; unless ACTIVE it is dropped."""
        link = self._live_sessions.get(session.id)
        if link is None or session.state is not RealtimeSessionState.ACTIVE:
            return
        whole = link.carry.push(audio)
        if whole:
            link.dialogue.hear(whole)
            await self._flush(link)

    async def commit_audio(self, session: RealtimeSession) -> None:
        """End the caller's turn, for sessions without turn detection; the model answers.

        With turn detection it says that no audio will come for a while.
        """
        link = self._live_sessions.get(session.id)
        if link is not None and session.state is RealtimeSessionState.ACTIVE:
            link.dialogue.commit()
            await self._flush(link)

    async def inject_text(
        self, session: RealtimeSession, text: str, *, role: str = "user"
    ) -> None:
        """Tell the model something in writing; it answers at once.

        Roles are ``user`` and ``model``; others count as ``user``.
        """
        link = self._live_sessions.get(session.id)
        if link is not None:
            link.dialogue.say(role if role == "model" else "user", text)
            await self._flush(link)

    async def submit_tool_result(
        self, session: RealtimeSession, call_id: str, result: str
    ) -> None:
        """Give the model a result; one of a call it has cancelled is dropped."""
        link = self._live_sessions.get(session.id)
        if link is not None:
            link.dialogue.give(call_id, result)
            await self._flush(link)

    async def interrupt(self, session: RealtimeSession) -> None:
        """Pass on nothing more of the answer in flight: the vendor itself cannot stop it."""
        link = self._live_sessions.get(session.id)
        if link is not None:
            link.dialogue.mute()

    async def close(self) -> None:
        """End every link. Idempotent."""
        await super().close()
        client = self._client
        try:
            await close_sdk(getattr(client, "aio", None))
        finally:
            await close_sdk(client)


async def _entered(context: Any) -> Any:
    return await context.__aenter__()


async def _left(context: Any) -> None:
    await context.__aexit__(None, None, None)


async def _closed(live: Any) -> None:
    await close_sdk(live)
