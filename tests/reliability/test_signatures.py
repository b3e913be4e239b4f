"""T9: what is signed is believed, and nothing else is; for every vendor that signs."""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest

from roomkit import RoomKit
from roomkit.asgi import create_app
from roomkit.exceptions import WebhookRefused
from roomkit.providers.webhook import WebhookHandler
from roomkit.testing import ManualClock
from tests.reliability._callbacks import CALLBACKS, ORIGIN, URL, Callback
from tests.reliability._samples import NOW
from tests.reliability._seals import APP_ID, rsa_key, teams_public, teams_token
from tests.test_asgi._driver import Client
from tests.test_asgi._vendor import VendorChannel
from tests.test_asgi.test_webhooks import said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roomkit.providers.webhook import WebhookItem, WebhookRequest, WebhookResponse

TEAMS = next(one for one in CALLBACKS if one.name == "teams")
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
NAMED = {one.name: one for one in CALLBACKS}

every = pytest.mark.parametrize("callback", CALLBACKS, ids=str)
timed = pytest.mark.parametrize("callback", [c for c in CALLBACKS if c.moment], ids=str)
with_body = pytest.mark.parametrize("callback", [c for c in CALLBACKS if c.covers_body], ids=str)
with_json = pytest.mark.parametrize(
    "callback", [c for c in CALLBACKS if c.covers_body and "json" in c.kind_of_body], ids=str
)


async def believed(reader: WebhookHandler, request: WebhookRequest) -> bool:
    """Return whether a request is; anything but a refusal is an error of the test."""
    try:
        await reader.verify(request)
    except WebhookRefused:
        return False
    return True


class Spy(WebhookHandler):
    """A vendor's reader that tells what was done with it.

    Attributes:
        done: ``verify``, ``read`` and ``response``, as they began.
    """

    def __init__(self, inner: WebhookHandler) -> None:
        self.inner = inner
        self.done: list[str] = []
        self.methods = inner.methods  # type: ignore[misc]
        self.content_types = inner.content_types  # type: ignore[misc]
        self.max_body = inner.max_body  # type: ignore[misc]

    @property
    def signed(self) -> bool:
        return self.inner.signed

    async def verify(self, request: WebhookRequest) -> None:
        self.done.append("verify")
        await self.inner.verify(request)

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        self.done.append("read")
        return self.inner.read(request)

    def response(self, request: WebhookRequest) -> WebhookResponse:
        self.done.append("response")
        return self.inner.response(request)


class Served(Client):
    """An endpoint with one reader, at the moment ``NOW``."""

    def __init__(self, reader: WebhookHandler, **options: Any) -> None:
        self.kit = RoomKit()
        self.spy = Spy(reader)
        self.kit.register_channel(VendorChannel("ch", self.spy))
        clock = ManualClock(datetime.fromtimestamp(NOW, UTC))
        super().__init__(create_app(self.kit, public_url=ORIGIN, clock=clock, **options))

    async def call(
        self, callback: Callback, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> int:
        """Send a callback, and return the status it is answered with."""
        made = callback.headers() if headers is None else headers
        answered = await self.request(
            callback.method,
            callback.url.removeprefix(ORIGIN),
            callback.body if body is None else body,
            headers=made.items(),
        )
        return answered.status


def flipped(data: bytes) -> Iterator[bytes]:
    """Yield data with one bit changed, each byte in turn."""
    for place in range(len(data)):
        yield data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]


def near(callback: Callback) -> Iterator[str]:
    """Yield secrets that are nearly ours."""
    ours = callback.secrets[0]
    if callback.name.startswith("sendgrid"):
        yield from (format(int(ours, 16) ^ 1 << bit, "x") for bit in range(0, 200, 25))
    elif callback.name.startswith(("telnyx", "standard")):
        prefix, _, text = ours.rpartition("_")
        raw = base64.b64decode(text)
        yield from (
            f"{prefix}_{base64.b64encode(one).decode()}"
            if prefix
            else base64.b64encode(one).decode()
            for one in flipped(raw)
        )
    elif callback is not TEAMS:
        yield from (one.decode("latin-1") for one in flipped(ours.encode()))
        yield from (ours[:-1], ours + "x", ours.swapcase() + "x", "", " ")


def mangled(callback: Callback) -> Iterator[str]:
    """Yield signatures that are nearly the good one."""
    good = callback.headers()[callback.header]
    if callback is TEAMS:
        # The last character of a base64 text has bits that mean nothing.
        yield from (one.decode("latin-1") for one in list(flipped(good.encode()))[7:-1])
    elif callback.asymmetric:
        yield from (base64.b64encode(one).decode() for one in flipped(base64.b64decode(good)))
    else:
        yield from (one.decode("latin-1") for one in flipped(good.encode()))


class TestGood:
    """What the vendor signed is believed."""

    @every
    async def test_it_is_believed_and_read(self, callback: Callback) -> None:
        """Text with emoji and all; the reader says that it can tell."""
        assert callback.reader.signed
        request = callback.request()
        assert await believed(callback.reader, request)
        assert len(callback.reader.read(request)) == 1

    @every
    async def test_the_endpoint(self, callback: Callback) -> None:
        """It is answered 200 or 204, again too, and is one message; names in any case."""
        served = Served(callback.reader)
        for _ in range(2):
            assert await served.call(callback) in (200, 204)
        assert served.spy.done[:3] == ["verify", "read", "response"]
        shouted = {name.upper(): value for name, value in callback.headers().items()}
        scope_headers = [(n.encode(), v.encode("latin-1")) for n, v in shouted.items()]
        answered = await served.request(
            callback.method,
            callback.url.removeprefix(ORIGIN),
            callback.body,
            scope={"headers": [(b"HOST", b"hooks.test"), *scope_headers]},
        )
        assert answered.status in (200, 204)
        assert len(await said(served.kit)) == (0 if callback.kind == "events" else 1)


class TestHeaders:
    """Without a good signature there is no way in."""

    @every
    async def test_missing_or_empty(self, callback: Callback) -> None:
        """Nor without the signed time, nonce or id."""
        good = callback.headers()
        optional = {"content-type", "x-hub-signature", "x-sinch-webhook-signature-algorithm"}
        for name in set(good) - optional - {"x-twilio-webhooks-signature-settings"}:
            without = {key: value for key, value in good.items() if key != name}
            for headers in (without, {**without, name: ""}):
                assert not await believed(callback.reader, callback.request(headers)), name
                assert await Served(callback.reader).call(callback, headers) == 401

    @every
    async def test_nearly_the_right_signature(self, callback: Callback) -> None:
        """One bit of it is wrong."""
        good, reader = callback.headers(), callback.reader
        for wrong in mangled(callback):
            request = callback.request({**good, callback.header: wrong})
            assert not await believed(reader, request), wrong

    @every
    async def test_too_short_or_too_long(self, callback: Callback) -> None:
        """Cut, padded, twice, of another alphabet, of a million characters."""
        good, reader = callback.headers(), callback.reader
        seal = good[callback.header]
        wrong = [seal[:cut] for cut in (-2, -4, -20, len(seal) // 2, 1)]
        if not callback.asymmetric:
            wrong += [seal[:-1], *(seal + more for more in ("A", "=", "==", "\n", "\0", "\u00e9"))]
            wrong += [f"{junk}{seal}" for junk in ("A", "=", "\0", "\u00e9")]
        wrong += [seal + "AAAA", seal + seal]
        junk = (" ", "\0", "\u00e9", "\u2603", "\ud800", "=", "null", "v1,", "sha256=", "Bearer")
        wrong += [*junk, "Bearer .", "Bearer a.b.c", "v1,=", "sha256=\u0661", "A" * 10**6]
        wrong += [
            "A" * 88,
            "A" * 86 + "==",
            "0" * 64,
            f"sha256={'0' * 64}",
            "Bearer " + "." * 10**5,
        ]
        for one in wrong:
            assert not await believed(reader, callback.request({**good, callback.header: one}))

    @pytest.mark.parametrize("name", ["telnyx", "telnyx-rcs", "sendgrid-events", "sendgrid-mail"])
    async def test_base64_is_written_in_one_way(self, name: str) -> None:
        """Padding too much, bits behind the last byte, other letters: not what was sent."""
        callback = NAMED[name]
        for moment in range(NOW, NOW + 20):
            good = callback.headers(moment=str(moment))
            seal = good[callback.header]
            wrong = [f"{seal}=", f"{seal}\n", f" {seal}", f"{seal}A", seal.rstrip("=") + "===="]
            if seal.endswith("="):
                bare = seal.rstrip("=")
                after = _ALPHABET[_ALPHABET.index(bare[-1]) + 1]
                wrong += [bare, f"{bare[:-1]}{after}{'=' * (len(seal) - len(bare))}"]
            for one in wrong:
                request = callback.request({**good, callback.header: one}, at=moment)
                assert not await believed(callback.reader, request), one

    @every
    async def test_strange_companions(self, callback: Callback) -> None:
        """Whatever stands in the other headers, nothing but a refusal comes of it."""
        good = callback.headers()
        strange = (
            "",
            "\0",
            "\ud800",
            "\u2603",
            "9" * 5000,
            "x" * 10**5,
            ",=,=",
            "key=,algorithm=",
        )
        for name in good:
            for value in strange:
                await believed(callback.reader, callback.request({**good, name: value}))

    @every
    async def test_two_signatures(self, callback: Callback) -> None:
        """A second header beside the good one makes it no good one."""
        good = [*callback.headers().items(), (callback.header, "forged")]
        answered = await Served(callback.reader).request(
            callback.method, callback.url.removeprefix(ORIGIN), callback.body, headers=good
        )
        assert answered.status == 401


class TestChanged:
    """What was signed is what counts, to the bit."""

    @with_body
    async def test_one_bit_of_the_body(self, callback: Callback) -> None:
        """Each byte in turn; a form may be escaped otherwise as long as it says the same."""
        headers, reader = callback.headers(), callback.reader
        form = parse_qsl(callback.body.decode(), keep_blank_values=True)
        for body in flipped(callback.body):
            same = "form-url" in callback.kind_of_body and form == parse_qsl(
                body.decode(errors="replace"), keep_blank_values=True
            )
            found = await believed(reader, callback.request(headers, body=body))
            assert found is same, body

    @with_body
    async def test_other_bodies(self, callback: Callback) -> None:
        """Longer, shorter, empty, of somebody else."""
        headers, reader = callback.headers(), callback.reader
        body = callback.body
        for other in (body + b" ", body + b"&x=y", body[:-9], b"", b"\0", b"\xff" * 9, b"{}"):
            assert not await believed(reader, callback.request(headers, body=other))

    @with_json
    async def test_json_written_again(self, callback: Callback) -> None:
        """The same document in other bytes was not signed."""
        headers, data = callback.headers(), json.loads(callback.body)
        for options in ({"indent": 1}, {"sort_keys": True, "indent": 2}):
            body = json.dumps(data, **options).encode()  # type: ignore[arg-type]
            assert not await believed(callback.reader, callback.request(headers, body=body))

    @pytest.mark.parametrize("callback", [c for c in CALLBACKS if c.covers_url], ids=str)
    async def test_the_url(self, callback: Callback) -> None:
        """Every part of a signed URL counts, but its port: Twilio leaves it out, or does not."""
        headers, reader = callback.headers(), callback.reader
        tail = callback.url.removeprefix(URL)
        others = [
            f"http://hooks.example.org/webhooks/ch{tail}",
            f"https://hooks.example.net/webhooks/ch{tail}",
            f"https://hooks.example.org/webhooks/cg{tail}",
            f"https://hooks.example.org/webhooks/ch/{tail}",
            f"https://hooks.example.org:x/webhooks/ch{tail}",
            f"https://u@hooks.example.org/webhooks/ch{tail}",
            f"{callback.url}{'&' if tail else '?'}x=y",
            f"{callback.url}#f",
        ]
        for url in others:
            assert not await believed(reader, callback.request(headers, url=url)), url
        named = callback.url.replace("hooks.example.org", "hooks.example.org:443")
        assert await believed(reader, callback.request(headers, url=named))
        own_port = callback.url.replace("hooks.example.org", "hooks.example.org:8443")
        assert await believed(reader, callback.request(headers, url=own_port))
        by_named = callback.headers(url=named)
        assert await believed(reader, callback.request(by_named, url=callback.url))

    @every
    async def test_another_secret(self, callback: Callback) -> None:
        """That of another tenant, and ours with one bit wrong."""
        for secret in (callback.secrets[2], *near(callback)):
            if secret == callback.secrets[0]:
                continue
            headers = callback.headers(secret)
            assert not await believed(callback.reader, callback.request(headers)), secret

    @pytest.mark.parametrize("callback", [c for c in CALLBACKS if c.rotates], ids=str)
    async def test_rotation(self, callback: Callback) -> None:
        """Old and new secret count as long as both are configured, others never."""
        new, old, other = callback.secrets
        both = callback.handler(new, (old,))
        for secret, expected in ((new, True), (old, True), (other, False)):
            assert await believed(both, callback.request(callback.headers(secret))) is expected
        assert not await believed(callback.reader, callback.request(callback.headers(old)))


class TestTime:
    """A signed request counts for five minutes, either way."""

    @timed
    @pytest.mark.parametrize(
        ("offset", "expected"),
        [(0, True), (299, True), (-299, True), (301, False), (-301, False), (10**6, False)],
    )
    async def test_age(self, callback: Callback, offset: int, expected: bool) -> None:
        """By the endpoint's clock; from the future is as bad as stale."""
        headers = callback.headers(moment=str(NOW + offset))
        assert await believed(callback.reader, callback.request(headers)) is expected
        status = await Served(callback.reader).call(callback, headers)
        assert (status in (200, 204)) if expected else status == 401

    @timed
    async def test_no_time(self, callback: Callback) -> None:
        """Signed, but not a time: negative, no digits, other digits, milliseconds."""
        now = str(NOW)
        fullwidth = "".join(chr(ord(digit) - ord("0") + 0xFF10) for digit in now)
        strange = ["-1", f"-{now}", f"+{now}", f" {now}", f"{now} ", f"{now}.0", "1.79e9", "now"]
        strange += [hex(NOW), f"{now}000", "9" * 400, fullwidth, f"{now}\n", "\0", "nan", "inf"]
        for moment in strange:
            headers = callback.headers(moment=moment)
            assert not await believed(callback.reader, callback.request(headers)), moment

    @timed
    async def test_another_time_than_the_signed(self, callback: Callback) -> None:
        """A stale request does not become fresh by a new time."""
        assert callback.moment is not None
        headers = callback.headers(moment=str(NOW - 5000))
        request = callback.request({**headers, callback.moment: str(NOW)})
        assert not await believed(callback.reader, request)


class TestAlgorithms:
    """Only the vendor's own algorithm counts."""

    async def refused(self, callback: Callback, **changes: str) -> None:
        """Check that a good request is not believed with some headers changed."""
        changed = {name.replace("_", "-"): value for name, value in changes.items()}
        headers = {**callback.headers(), **changed}
        assert not await believed(callback.reader, callback.request(headers))

    @pytest.mark.parametrize("name", ["HmacSHA1", "HmacMD5", "none", "HmacSHA256x"])
    async def test_sinch(self, name: str) -> None:
        """Another name in the header."""
        await self.refused(NAMED["sinch"], x_sinch_webhook_signature_algorithm=name)

    @pytest.mark.parametrize("said", ["algorithm=HMAC_MD5", "algorithm=none", "key=K2", "key=K1"])
    async def test_twilio(self, said: str) -> None:
        """Another algorithm, or a key nobody gave us."""
        await self.refused(NAMED["twilio"], x_twilio_webhooks_signature_settings=said)

    @pytest.mark.parametrize("name", ["messenger", "whatsapp"])
    async def test_meta(self, name: str) -> None:
        """The older header is no substitute."""
        callback = NAMED[name]
        older = callback.headers()["x-hub-signature"]
        await self.refused(callback, x_hub_signature_256=older)
        await self.refused(callback, x_hub_signature_256="")

    async def test_standard_webhooks(self) -> None:
        """One good signature of several is enough; one of another version is none."""
        callback = NAMED["standard-webhooks"]
        seal = callback.headers()["webhook-signature"].removeprefix("v1,")
        for version in ("v1a", "v2", "V1", "", "v1 "):
            await self.refused(callback, webhook_signature=f"{version},{seal}")
        several = {**callback.headers(), "webhook-signature": f"v2,x v1,AAAA v1,{seal}"}
        assert await believed(callback.reader, callback.request(several))

    @pytest.mark.parametrize("algorithm", ["none", "HS256", "ES256"])
    async def test_teams(self, algorithm: str) -> None:
        """A token without signature, or made with what everybody may know."""
        key = json.dumps(teams_public()).encode()
        head = {"alg": algorithm, "typ": "JWT", "kid": "k1"}
        claims = teams_token("ours").split(".")[1]
        signed = f"{_part(head)}.{claims}"
        digest = hmac.new(key, signed.encode(), sha256).digest()
        seal = "" if algorithm == "none" else base64.urlsafe_b64encode(digest).decode().rstrip("=")
        await self.refused(TEAMS, authorization=f"Bearer {signed}.{seal}")

    @pytest.mark.parametrize(
        "claims",
        [
            {"aud": "another-bot"},
            {"aud": None},
            {"iss": "https://api.botframework.com.evil.example"},
            {"exp": 1},
            {"exp": None},
            {"exp": "never"},
            {"nbf": 4_000_000_000},
            {"serviceurl": "https://teams.test.evil.example/amer/"},
            {"serviceurl": None},
        ],
        ids=str,
    )
    async def test_claims_of_teams(self, claims: dict[str, Any]) -> None:
        """A good signature under claims that are not for us, or not for now."""
        token = teams_token("ours", **claims)
        await self.refused(TEAMS, authorization=f"Bearer {token}")

    async def test_an_unknown_key_of_teams(self) -> None:
        """A key id nobody published, and none at all."""
        assert rsa_key("ours") is not rsa_key("another")
        for key_id in ("k2", "", "\u2603", "x" * 5000):
            token = teams_token("ours", {"kid": key_id})
            await self.refused(TEAMS, authorization=f"Bearer {token}")
        assert APP_ID in teams_claims(teams_token("ours"))


def _part(data: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")


def teams_claims(token: str) -> str:
    """Return a token's claims, unverified."""
    part = token.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()


class TestOrder:
    """Nothing is read of what is not believed."""

    GARBAGE = (b"\xff\xfe{[", b"{" * 10_000, b"", b"[1,2", b"%%%===&&&")

    @every
    async def test_garbage_is_refused_before_it_is_read(self, callback: Callback) -> None:
        """401 for garbage with a bad signature, whatever the reader would say of it."""
        headers = {**callback.headers(), callback.header: "AAAA"}
        for body in self.GARBAGE:
            served = Served(callback.reader)
            assert await served.call(callback, headers, body) == 401
            assert served.spy.done == ["verify"]

    @with_body
    async def test_believed_garbage_is_malformed(self, callback: Callback) -> None:
        """400 for garbage the vendor signed, never 500."""
        for body in self.GARBAGE:
            if callback.name == "twilio-json":
                callback = replace(callback, url=f"{URL}?bodySHA256={sha256(body).hexdigest()}")
            elif body.startswith(b"\xff") and "form-url" in callback.kind_of_body:
                continue  # no form, so nothing a vendor of forms could have signed
            served = Served(callback.reader)
            assert await served.call(callback, callback.headers(body=body), body) == 400

    async def test_a_long_body_is_hashed_once_a_secret(self) -> None:
        """A megabyte with a wrong signature costs no reading."""
        callback = NAMED["http"]
        served = Served(callback.reader)
        body = b'{"sender_id":"' + b"x" * 900_000 + b'"}'
        assert await served.call(callback, callback.headers(), body) == 401
        assert served.spy.done == ["verify"]
