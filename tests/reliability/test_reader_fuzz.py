"""T8: whatever a stranger posts, a reader gives what it holds or says what is wrong with it."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import pkgutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit import DeliveryStatus, InboundMessage, RoomKit, Signal
from roomkit import providers as all_providers
from roomkit.asgi import create_app
from roomkit.exceptions import WebhookError
from roomkit.providers.voicemeup.sms import _mms_buffer
from roomkit.providers.webhook import WebhookHandler, WebhookRequest
from tests.reliability._readers import READERS, Reader, caught, encoded, payload_of
from tests.test_asgi._driver import Client
from tests.test_asgi._vendor import VendorChannel
from tests.test_providers._json_mutations import mutated, places

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024 * 1024
SLOW = 10.0
"""CPU seconds no reader may need for a megabyte, however busy the machine."""

every = pytest.mark.parametrize("reader", READERS, ids=str)


def check_items(items: Any) -> None:
    """Check that what was read is what an endpoint can take."""
    for item in items:
        assert isinstance(item, InboundMessage | DeliveryStatus | Signal)
        repr(item)


@functools.cache
def _handler(name: str) -> WebhookHandler:
    """Return a reader's handler, made once."""
    return next(one for one in READERS if one.name == name).handler()


def attempt(reader: Reader, payload: Any) -> None:
    """Give a payload to each public function; only documented errors come of it."""
    for parse in reader.parse:
        with suppress(WebhookError, *reader.errors):
            parse(payload)


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    _mms_buffer.clear()


class TestMutations:
    """Valid callbacks with something wrong in them."""

    @every
    @settings(max_examples=200, deadline=None)
    @given(data=st.data())
    def test_payloads(self, reader: Reader, data: st.DataObject) -> None:
        """Values of other types, lengths and alphabets, lists for objects, nulls."""
        payloads = [{"it": payload_of(one)} for one in caught(reader.name)]
        payload = data.draw(mutated(payloads))["it"]
        if isinstance(payload, type(payloads[0]["it"])):
            attempt(reader, payload)

    @every
    @settings(max_examples=200, deadline=None)
    @given(data=st.data())
    def test_bodies(self, reader: Reader, data: st.DataObject) -> None:
        """Bytes cut out, put in and replaced, of any body the vendor sends."""
        one = data.draw(st.sampled_from(caught(reader.name)))
        body = bytearray(one.body or one.url.partition("?")[2].encode())
        for _ in range(data.draw(st.integers(1, 6))):
            start = data.draw(st.integers(0, len(body)))
            end = data.draw(st.integers(start, min(len(body), start + 40)))
            body[start:end] = data.draw(st.one_of(st.binary(max_size=12), st.sampled_from(_BITS)))
        if one.method == "GET":
            request = one.request(query=body.decode("latin-1"))
        else:
            request = one.request(body=bytes(body))
        with suppress(WebhookError):
            check_items(_handler(reader.name).read(request))

    @every
    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_the_endpoint(self, reader: Reader, data: st.DataObject) -> None:
        """Mutated callbacks a vendor signed are taken or refused with 400, never 500."""
        if reader.name == "sendgrid-mail":
            one = data.draw(st.sampled_from(caught(reader.name)))
            extra = data.draw(st.binary(max_size=30))
            place = data.draw(st.integers(0, len(one.body)))
            request = one.request(body=one.body[:place] + extra + one.body[place:])
        else:
            one = data.draw(st.sampled_from(caught(reader.name)))
            payload = data.draw(mutated([{"it": payload_of(one)}]))["it"]
            if not isinstance(payload, dict) and "json" not in one.headers.get("content-type", ""):
                return
            request = encoded(one, payload)
        with asyncio.Runner() as runner:
            runner.run(_serve(reader, request))


_BITS = (b"\x00", b"\xff", b"{", b"]", b'"', b"\\ud800", b"\r\n", b"--", b"=?utf-8?B?", b"&", b"%")


class Believing(WebhookHandler):
    """A vendor's reader that believes everything: what it reads is under test."""

    def __init__(self, inner: WebhookHandler) -> None:
        self.inner = inner
        self.methods = inner.methods  # type: ignore[misc]

    async def verify(self, request: WebhookRequest) -> None:
        pass

    def read(self, request: WebhookRequest) -> Any:
        return self.inner.read(request)

    def response(self, request: WebhookRequest) -> Any:
        return self.inner.response(request)


async def _serve(reader: Reader, request: WebhookRequest) -> None:
    kit = RoomKit()
    kit.register_channel(VendorChannel("ch", Believing(_handler(reader.name))))
    client = Client(create_app(kit))
    query = urlencode(dict(request.query), errors="surrogatepass")
    answered = await client.request(
        request.method,
        f"/webhooks/ch?{query}" if request.method == "GET" else "/webhooks/ch",
        request.body,
        headers=request.headers.items(),
    )
    assert answered.status in (200, 204, 400), answered
    await kit.close()


def deep(levels: int = 100_000) -> Any:
    """Return lists in lists."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


MONSTERS: dict[str, Any] = {
    "nan": float("nan"),
    "infinity": float("inf"),
    "digits": 10**5000,
    "digits as text": "9" * 5000,
    "a thousand million": 10**9,
    "the same as text": "1000000000",
    "negative": "-1",
    "nul": "\x00" * 100,
    "surrogates": "\ud800\udfff" * 50,
    "bad base64": "data:image/png;base64,%%%=",
    "null": None,
    "true": True,
    "list": [],
    "lists": [[]],
    "object": {},
    "objects": [{}, {}],
    "bytes": b"\xff",
    "markup": "<at>" * 1000,
}


def within(payload: Any) -> list[tuple[str | int, ...]]:
    """Return the places in ``{"it": payload}``, but for the payload itself."""
    return [path for path in places({"it": payload}) if len(path) > 1]


def replaced(payload: Any, value: Any) -> Any:
    """Return a payload with all its leaves replaced."""
    if isinstance(payload, dict):
        return {key: replaced(item, value) for key, item in payload.items()}
    if isinstance(payload, list):
        return [replaced(item, value) for item in payload]
    return value


class TestMonsters:
    """What nobody sends by mistake."""

    @every
    @pytest.mark.parametrize("name", list(MONSTERS))
    def test_everywhere(self, reader: Reader, name: str) -> None:
        """All leaves at once, then each value in turn."""
        for one in caught(reader.name):
            payload = payload_of(one)
            attempt(reader, replaced(payload, MONSTERS[name]))
            for path in within(payload):
                changed = _put({"it": payload}, path, MONSTERS[name])["it"]
                attempt(reader, changed)
                if name in ("bytes", "digits") or reader.name == "sendgrid-mail":
                    continue
                with suppress(WebhookError):
                    check_items(_handler(reader.name).read(encoded(one, changed)))

    @every
    def test_no_mapping(self, reader: Reader) -> None:
        """Something else altogether than a payload."""
        for payload in (None, [], "text", 5, True, [None], [[]], [("From", "1")]):
            attempt(reader, payload)

    @every
    def test_depth(self, reader: Reader) -> None:
        """A hundred thousand levels, in each value and as the body itself."""
        nested = deep()
        for one in caught(reader.name):
            payload = payload_of(one)
            for path in within(payload):
                attempt(reader, _put({"it": payload}, path, nested)["it"])
            for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b'{"data":[', b"]}")):
                body = opening * 100_000 + b"1" + closing * 100_000
                for text in (body, body[: len(body) // 2]):
                    with suppress(WebhookError):
                        reader.handler().read(one.request(body=text, query=text.decode()))

    @every
    def test_megabytes(self, reader: Reader) -> None:
        """A megabyte in a field costs no more than its length."""
        for fill in ("x", "<", "\n> ", "@", "\x00", "=?utf-8?Q?"):
            monster = (fill * (MIB // len(fill) + 1))[:MIB]
            for one in caught(reader.name)[:2]:
                payload = payload_of(one)
                leaves = [path for path in within(payload) if _is_text(payload, path)]
                for path in leaves[:: max(1, len(leaves) // 4)]:
                    changed = _put({"it": payload}, path, monster)["it"]
                    began = time.process_time()
                    attempt(reader, changed)
                    assert time.process_time() - began < SLOW, (fill, path)

    @every
    def test_megabytes_of_body(self, reader: Reader) -> None:
        """A megabyte of whatever, where the vendor's document should be."""
        for fill in (
            b"\x00",
            b"[",
            b"{",
            b'"',
            b"\\",
            b"=",
            b"&",
            b"%",
            b"--xYzZY-sim\r\n",
            b"\r\n",
        ):
            body = fill * (MIB // len(fill))
            one = caught(reader.name)[0]
            handler = reader.handler()
            began = time.process_time()
            with suppress(WebhookError):
                handler.read(one.request(body=body, query=""))
            with suppress(WebhookError):
                handler.read(one.request(body=one.body[: len(one.body) // 2] + body, query=""))
            assert time.process_time() - began < SLOW, fill


def _put(payload: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """Return a payload with one value replaced; the rest is shared."""
    step, *rest = path
    inner = value if not rest else _put(payload[step], tuple(rest), value)
    if isinstance(payload, list):
        return [inner if place == step else item for place, item in enumerate(payload)]
    return {**payload, step: inner}


def _is_text(payload: Any, path: tuple[str | int, ...]) -> bool:
    found: Any = {"it": payload}
    for step in path:
        found = found[step]
    return isinstance(found, str)


def test_every_public_reader_is_in_the_table() -> None:
    """A parse function that is added must be added here."""
    known = {_name(parse) for reader in READERS for parse in reader.parse}
    public = set()
    for info in pkgutil.iter_modules(all_providers.__path__):
        if info.ispkg:
            module = importlib.import_module(f"{all_providers.__name__}.{info.name}")
            names = getattr(module, "__all__", ())
            public |= {name for name in names if name.startswith("parse_")}
    assert public
    assert public - known == set()


def test_every_handler_is_in_the_table() -> None:
    """A webhook handler that is added must be added here."""
    known = {type(reader.handler()) for reader in READERS}
    found = {
        one
        for one in _subclasses(WebhookHandler)
        if one.__module__.startswith("roomkit.") and not inspect.isabstract(one)
    }
    assert found == known


def _name(parse: Any) -> str:
    inner = parse.args[0] if isinstance(parse, functools.partial) else parse
    return str(getattr(inner, "__name__", ""))


def _subclasses(kind: type) -> set[type]:
    return {one for sub in kind.__subclasses__() for one in {sub, *_subclasses(sub)}}
