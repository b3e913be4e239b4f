"""Telephone calls through Twilio Media Streams.

TwiML ``<Connect><Stream url="wss://...">`` makes Twilio open a WebSocket for a call. It differs
from ``WebSocketVoiceBackend`` in its messages only.

Source: Twilio's pages "Media Streams - WebSocket messages" and "Webhooks security".
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio.g711 import mulaw_to_pcm16, pcm16_to_mulaw
from roomkit.voice.backends._wire import (
    MULAW,
    Heard,
    Key,
    Signal,
    Sound,
    Started,
    Stopped,
    Wire,
    WireError,
    optional_text,
    read_object,
    required_text,
)
from roomkit.voice.backends.websocket import WebSocketVoiceBackend
from roomkit.voice.base import VoiceCapability

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.voice.backends._socket import Socket

__all__ = ["TwilioMediaStream", "is_twilio_stream", "twilio_stream_signature"]

logger: logging.Logger = logging.getLogger("roomkit.voice.backends")

_RATE = 8000
_MAX_PARAMETERS = 50
_DEFAULT_PORTS = {"ws": "80", "wss": "443", "http": "80", "https": "443"}
_URL = re.compile(r"([a-z]+)://([^/?#]+)(/[^?#]*)?(\?[^#]*)?")
_PORT = re.compile(r":[0-9]{1,5}\Z")
_DIGITS = frozenset("0123456789*#ABCD")


def twilio_stream_signature(auth_token: str, url: str) -> str:
    """Return the ``X-Twilio-Signature`` of the upgrade request of a stream.

    Args:
        auth_token: Of the account that started the call.
        url: The stream's URL as the TwiML has it, ``wss`` included.
    """
    # Prescribed by Twilio; a keyed hash does not need resistance to collisions.
    digest = hmac.new(auth_token.encode(), url.encode("utf-8", "surrogatepass"), "sha1")
    return base64.b64encode(digest.digest()).decode()


def is_twilio_stream(auth_tokens: str | Sequence[str], url: str, signature: str | None) -> bool:
    """Tell whether an upgrade request comes from Twilio; never raises.

    Args:
        auth_tokens: The account's token, or several while it is being replaced.
        url: The stream's URL as the TwiML has it. Its default port and a slash at the end may
            be there or not: Twilio signs now one form, now the other.
        signature: The header ``X-Twilio-Signature``.
    """
    if not signature:
        return False
    tokens = [auth_tokens] if isinstance(auth_tokens, str) else list(auth_tokens)
    given = signature.encode("utf-8", "surrogatepass")
    found = False
    for token in tokens:
        for form in _forms(url):
            expected = twilio_stream_signature(token, form).encode()
            found |= bool(token) and hmac.compare_digest(expected, given)
    return found


def _forms(url: str) -> list[str]:
    """Return the URL with and without its port, with and without a slash at the end."""
    match = _URL.fullmatch(url)
    if match is None:
        return [url]
    scheme, host, path, query = (part or "" for part in match.groups())
    bare = _PORT.sub("", host)
    hosts = [host, bare if bare != host else f"{host}:{_DEFAULT_PORTS.get(scheme, '443')}"]
    paths = [path, path[:-1] if path.endswith("/") else f"{path}/"]
    return [f"{scheme}://{each}{way}{query}" for each in hosts for way in paths]


class TwilioWire(Wire):
    """Twilio's messages: JSON both ways, audio as base64 of mu-law at 8 kHz."""

    input_rate = _RATE
    output_rate = _RATE

    def __init__(self) -> None:
        self._stream_id = ""

    def read(self, message: str | bytes) -> Signal | None:
        """Return what a message means; see ``Wire.read``."""
        if not isinstance(message, str):
            raise WireError("binary")
        fields = read_object(message)
        match fields.get("event"):
            case "start":
                return self._start(fields)
            case "media":
                return self._sound(_object(fields, "media"))
            case "mark":
                return Heard(required_text(_object(fields, "mark"), "name"))
            case "dtmf":
                digit = required_text(_object(fields, "dtmf"), "digit")
                if digit not in _DIGITS:
                    raise WireError("bad_digit")
                return Key(digit)
            case "stop":
                return Stopped()
        return None

    def _start(self, fields: Mapping[str, Any]) -> Started:
        if self._stream_id:
            raise WireError("already_started")
        start = _object(fields, "start")
        form = start.get("mediaFormat", {})
        if not isinstance(form, Mapping):
            raise WireError("bad_mediaFormat")
        if form.get("encoding", "audio/x-mulaw") != "audio/x-mulaw":
            raise WireError("unsupported_codec")
        if form.get("sampleRate", _RATE) != _RATE or form.get("channels", 1) != 1:
            raise WireError("unsupported_sample_rate")
        stream_id = optional_text(start, "streamSid") or required_text(fields, "streamSid")
        parameters = _parameters(start.get("customParameters"))
        started = Started(
            codec=MULAW,
            sample_rate=_RATE,
            room=parameters.get("room") or None,
            token=parameters.get("token") or None,
            parameters=parameters,
            call_id=optional_text(start, "callSid"),
            stream_id=stream_id,
        )
        self._stream_id = stream_id
        return started

    def _sound(self, media: Mapping[str, Any]) -> Signal | None:
        if not self._stream_id:
            raise WireError("not_started")
        if media.get("track", "inbound") != "inbound":
            return None  # our own voice, played back to us
        payload = media.get("payload")
        if not isinstance(payload, str):
            raise WireError("bad_payload")
        try:
            data = base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise WireError("bad_payload") from exc
        return Sound(mulaw_to_pcm16(data), _milliseconds(media.get("timestamp")))

    def audio(self, pcm: bytes) -> str:
        """Return a ``media`` message."""
        payload = base64.b64encode(pcm16_to_mulaw(pcm)).decode()
        return self._message("media", media={"payload": payload})

    def mark(self, name: str) -> str:
        """Return a ``mark`` message."""
        return self._message("mark", mark={"name": name})

    def clear(self) -> str:
        """Return a ``clear`` message."""
        return self._message("clear")

    def _message(self, event: str, **fields: Any) -> str:
        return json.dumps({"event": event, "streamSid": self._stream_id, **fields})


class TwilioMediaStream(WebSocketVoiceBackend):
    """Voice sessions of telephone calls through Twilio Media Streams.

    Give each socket of the stream's URL to ``serve``. ``authenticate`` gets the call's id as
    ``call_id`` and the ``<Parameter>`` elements as ``parameters``; one named ``room`` is also
    ``room``. Keys are reported to ``on_dtmf``. The stream ends with the session, and Twilio
    goes on with the TwiML behind ``<Connect>``.

    Args:
        auth_token: The account's auth token, or several: an upgrade request that is not signed
            with one is refused. None lets everybody in who knows the URL.
        public_url: The stream's URL as Twilio knows it, such as ``wss://host/calls``; needed
            with ``auth_token``. It is not taken from the request, which anybody can write.
        options: As of ``WebSocketVoiceBackend``; its ``authenticate`` says whose call it is and
            which room it speaks in.

    Raises:
        InvalidInputError: ``auth_token`` is empty or without ``public_url``, or a bound makes
            no sense.
    """

    _wire: ClassVar[type[Wire]] = TwilioWire

    def __init__(
        self,
        *,
        auth_token: str | Sequence[str] | None,
        public_url: str | None = None,
        **options: Any,
    ) -> None:
        if auth_token is not None and not (auth_token and public_url):
            raise InvalidInputError(
                "auth_token must not be empty and needs public_url, the wss:// URL of the "
                "stream; auth_token=None takes calls of anybody"
            )
        super().__init__(**options)
        self._auth_token = auth_token
        self._public_url = public_url or ""

    @property
    def name(self) -> str:
        """``TwilioMediaStream``."""
        return "TwilioMediaStream"

    @property
    def capabilities(self) -> VoiceCapability:
        """Playback can be stopped, and keys are reported beside the audio."""
        return VoiceCapability.INTERRUPTION | VoiceCapability.DTMF_SIGNALING

    def _allowed(self, socket: Socket) -> bool:
        if self._auth_token is None:
            return True
        signature = socket.headers.get("x-twilio-signature")
        if is_twilio_stream(self._auth_token, self._public_url, signature):
            return True
        logger.warning("a stream without Twilio's signature was refused")
        return False


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    if not isinstance(value, Mapping):
        raise WireError(f"bad_{name}")
    return value


def _parameters(value: Any) -> dict[str, str]:
    """Return the custom parameters; what is no text is left out."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or len(value) > _MAX_PARAMETERS:
        raise WireError("bad_customParameters")
    return {name: text for name, text in value.items() if isinstance(text, str)}


def _milliseconds(value: Any) -> float | None:
    """Return a timestamp, which Twilio writes as text; None for what is none."""
    try:
        found = int(value) if isinstance(value, str | int) and len(str(value)) < 16 else None
    except ValueError:
        return None
    return None if found is None or found < 0 else float(found)
