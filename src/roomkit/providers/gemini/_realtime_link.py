"""One session's way to the Live API, over however many connections: what is sent, what failed."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from roomkit._http import without_urls
from roomkit.exceptions import InvalidInputError, ProviderError
from roomkit.providers.ai._sdk import clean_api_base
from roomkit.providers.gemini._realtime_config import live_config, takes_history
from roomkit.providers.gemini._realtime_dialogue import Dialogue
from roomkit.voice.audio.pcm import SampleCarry
from roomkit.voice.realtime._links import SessionLink

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.providers.gemini._realtime_config import Settings
    from roomkit.providers.gemini._realtime_dialogue import Opening, Out
    from roomkit.voice.realtime._links import Attempts
    from roomkit.voice.realtime.base import RealtimeSession

logger = logging.getLogger("roomkit.providers.gemini.realtime")

MOST_BROKEN = 20
"""Messages in a row that cannot be read, after which a connection is worth nothing."""

_PERMANENT = frozenset({400, 401, 403, 404, 1003, 1007, 1008, 1010})
_LOWEST_CLOSE_CODE = 1000
_LONGEST_FRAME = 16 * 1024 * 1024
_LONGEST_REASON = 200
_SHORTEST_SECRET = 8
_HIDDEN = "[secret]"
# Half-open connections are found out after 20 seconds.
_SOCKET = {
    "max_size": _LONGEST_FRAME,
    "open_timeout": 10.0,
    "close_timeout": 2.0,
    "ping_interval": 10.0,
    "ping_timeout": 10.0,
    "compression": None,
}
# They take content of the client before the conversation only; later text is realtime input.
_WRITTEN_AS_REALTIME = "gemini-3.1-"


class Link(SessionLink[Dialogue]):
    """One session's way to the server.

    Args:
        session: Whose.
        dialogue: What is known of the conversation.
        attempts: To open it again.
        settings: What every connection of it is asked for.
        model: Who is spoken to.
        types: The SDK's module ``google.genai.types``.
        rates: Hertz of what the caller says, and of what they want to hear.
    """

    def __init__(
        self,
        session: RealtimeSession,
        dialogue: Dialogue,
        attempts: Attempts,
        *,
        settings: Settings,
        model: str,
        types: Any,
        rates: tuple[int, int],
    ) -> None:
        super().__init__(session, dialogue, attempts)
        self.lock = asyncio.Lock()
        self.live: Any = None
        self.context: Any = None
        self.leaving: asyncio.Task[Any] | None = None
        self.why = "no reason given"
        self.carry = SampleCarry()
        self.output_rate = rates[1]
        self.speak: tuple[int, Callable[[bytes], bytes]] | None = None
        self._settings = settings
        self._types = types
        self._mime_type = f"audio/pcm;rate={rates[0]}"
        self._realtime_text = model.removeprefix("models/").startswith(_WRITTEN_AS_REALTIME)

    def config(self, opening: Opening) -> Any:
        """Return the SDK's config of the next connection.

        Raises:
            InvalidInputError: The SDK does not take the settings.
        """
        told = bool(self._seed(opening))
        return live_config(self._types, self._settings, self.dialogue.handle, told=told)

    async def tell(self, opening: Opening) -> None:
        """Tell a new connection what it does not know, and ask for the answer that is due."""
        lines, answer = opening.lines, opening.answer
        if not self._realtime_text:
            if lines or answer:
                turns = [self._turn(role, text) for role, text in lines]
                await self.live.send_client_content(turns=turns or None, turn_complete=answer)
            return
        seed = self._seed(opening)
        if seed:
            turns = [self._turn(role, text) for role, text in seed]
            await self.live.send_client_content(turns=turns, turn_complete=True)
        asked = [text for role, text in self._question(opening) if role == "user"]
        if asked:
            await self.live.send_realtime_input(text="\n".join(asked))

    @staticmethod
    def _question(opening: Opening) -> list[tuple[str, str]]:
        """Return the newest lines, those an answer is due to."""
        if not opening.answer:
            return []
        said = [at for at, (role, _) in enumerate(opening.lines) if role == "model"]
        return opening.lines[said[-1] + 1 if said else 0 :]

    def _seed(self, opening: Opening) -> list[tuple[str, str]]:
        """Return what is told before the conversation, to models that take nothing later."""
        if not self._realtime_text or self.dialogue.handle or not takes_history(self._types):
            return []
        return opening.lines[: len(opening.lines) - len(self._question(opening))]

    def _turn(self, role: str, text: str) -> Any:
        return self._types.Content(role=role, parts=[self._types.Part(text=text)])

    async def send(self, out: Out) -> None:
        """Send something that waited."""
        live, types = self.live, self._types
        if live is None:
            return
        if out.kind == "audio":
            blob = types.Blob(data=out.value, mime_type=self._mime_type)
            await live.send_realtime_input(audio=blob)
        elif out.kind == "start":
            await live.send_realtime_input(activity_start=types.ActivityStart())
        elif out.kind == "end" and self._settings.server_vad:
            await live.send_realtime_input(audio_stream_end=True)
        elif out.kind == "end":
            await live.send_realtime_input(activity_end=types.ActivityEnd())
        elif out.kind == "result":
            call_id, name, response = out.value
            answer = types.FunctionResponse(id=call_id, name=name, response=response)
            await live.send_tool_response(function_responses=answer)
        elif self._realtime_text:
            await live.send_realtime_input(text=out.value[1])
        else:
            await live.send_client_content(turns=self._turn(*out.value), turn_complete=True)

    def is_over(self, exc: Exception) -> bool:
        """Return whether a connection is lost, given what listening to it raised."""
        kinds = {cls.__name__ for cls in type(exc).__mro__}
        if not kinds.isdisjoint({"ConnectionClosed", "OSError", "EOFError"}):
            return True
        code = getattr(exc, "code", None)
        return "APIError" in kinds and isinstance(code, int) and code >= _LOWEST_CLOSE_CODE


def make_client(
    genai: Any,
    api_key: str,
    given: Mapping[str, Any] | Any,
    api_base: str | None,
    ca_file: str | None,
) -> Any:
    """Return the SDK's client.

    Raises:
        InvalidInputError: The SDK does not take the options.
        OSError: ``ca_file`` cannot be read.
    """
    trusted = None if ca_file is None else ssl.create_default_context(cafile=ca_file)
    try:
        options = _http_options(given, clean_api_base(api_base), trusted)
        return genai.Client(api_key=api_key, http_options=genai.types.HttpOptions(**options))
    except ValueError as exc:
        raise InvalidInputError(
            f"api_key, api_base or http_options make no sense ({type(exc).__name__}): api_base "
            "is scheme, host and port, and http_options what google-genai documents"
        ) from None


def _http_options(
    given: Mapping[str, Any] | Any, api_base: str | None, trusted: ssl.SSLContext | None
) -> dict[str, Any]:
    """Return what the SDK's client is told of the connection."""
    if given is None or isinstance(given, Mapping):
        options = dict(given or {})
    else:
        fields = {name: getattr(given, name) for name in type(given).model_fields}
        options = {name: value for name, value in fields.items() if value is not None}
    if api_base is not None:
        options["base_url"] = api_base
    socket: dict[str, Any] = {**_SOCKET, **(options.get("async_client_args") or {})}
    if trusted is not None:
        socket["ssl"] = trusted
    options["async_client_args"] = socket
    return options


def link_error(exc: Exception, secret: str) -> ProviderError:
    """Return what a failed opening comes to; ``secret`` is never repeated."""
    status, closed = _status(exc), _close_code(exc)
    # Before anything is sent the SDK refuses what it cannot express.
    unsendable = type(exc).__name__ in ("ValueError", "TypeError")
    return ProviderError(
        f"Gemini's Live API cannot be reached ({describe(exc, secret)}); check key, model, "
        "settings and network",
        retryable=not unsendable and not _PERMANENT & {status, closed},
        provider="gemini",
        status_code=status,
    )


def describe(exc: Exception, secret: str) -> str:
    """Return why there is no connection, in a few words and without the secret."""
    status, closed = _status(exc), _close_code(exc)
    if status is not None:
        return f"HTTP {status}"
    if closed is not None:
        return f"closed with {closed}{_reason(exc, secret)}"
    return type(exc).__name__


def _status(exc: Exception) -> int | None:
    """Return the HTTP status a handshake was refused with."""
    status = getattr(getattr(exc, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _close_code(exc: Exception) -> int | None:
    """Return the close code of a connection that was opened and then refused."""
    code = getattr(exc, "code", None)
    if not isinstance(code, int):
        code = getattr(getattr(exc, "rcvd", None), "code", None)
    return code if isinstance(code, int) and code >= _LOWEST_CLOSE_CODE else None


def _reason(exc: Exception, secret: str) -> str:
    """Return the server's own words, without secrets."""
    words = getattr(exc, "details", None) or getattr(getattr(exc, "rcvd", None), "reason", None)
    if not isinstance(words, str) or not words:
        return ""
    if len(secret) >= _SHORTEST_SECRET:
        words = words.replace(secret, _HIDDEN)
    return f": {without_urls(words)[:_LONGEST_REASON]}"
