"""X-Twilio-Signature: the worked vectors, and everything that is not quite them."""

from __future__ import annotations

import ast
import base64
from pathlib import Path
from urllib.parse import parse_qsl

import httpx
import pytest

from roomkit.providers.twilio import (
    TwilioConfig,
    TwilioRCSConfig,
    TwilioRCSProvider,
    TwilioSMSProvider,
    _signature,
)
from roomkit.simulators.twilio import sign

TOKEN = "tw_auth_token_0123456789abcdef01"
URL = "https://hooks.example.org/sms/twilio?tenant=42"
BODY = (
    b"AccountSid=AC00000000000000000000000000000001&Body=Caf%C3%A9+%26+cr%C3%A8me+%2B+50%25"
    b"&From=%2B14155550100&MessageSid=SM00000000000000000000000000000001&NumMedia=0"
    b"&To=%2B14155550199"
)
HASHED = (
    "https://hooks.example.org/json?bodySHA256="
    "519fc2b588347bac1152bde011188f69b00767d44fdd33f765daff96ba3e7f1e"
)
NOWHERE = httpx.MockTransport(lambda request: httpx.Response(500))
SEAL = "xue+9WmLf+XOZeANfdYX4ZTtXrA="
SHA1 = "HMAC_SHA1"
SHA256 = "HMAC_SHA256"

VECTORS = {
    "T1": (TOKEN, SHA1, URL, BODY, SEAL),
    "T2": (TOKEN, SHA1, URL, BODY, "J4FFl35s73n96pv3tM5gifbqCLM="),
    "T3": (
        TOKEN,
        SHA1,
        "https://hooks.example.org/dup",
        b"Tag=b&Digits=2&Tag=a&Tag=b&Empty=",
        "c3f7plKds0bb9PBpduQiSzY1/hA=",
    ),
    "T4": (
        TOKEN,
        SHA1,
        "https://hooks.example.org/keys",
        b"Parameters%5Bcity%5D=Qu%C3%A9bec&From=%2B14155550100",
        "07aWJ29CnoArnZUE+jXLRqK/PSo=",
    ),
    "T5": (
        TOKEN,
        SHA1,
        HASHED,
        b'{"status":"delivered","sid":"SM1"}',
        "oLyh8vILfFa6nosroG3oUKR9lzI=",
    ),
    "T6": (
        "shared_key_secret_abc",
        SHA256,
        URL,
        BODY,
        "8vlavyhAwtZmHN9Xo9h0epOUmyMnH+1yyMw2VGFZXr8=",
    ),
}


def provider(token: str = TOKEN, *previous: str, **more: object) -> TwilioSMSProvider:
    settings = {"account_sid": "AC1", "from_number": "+1555", "auth_token": token, **more}
    config = TwilioConfig.model_validate({**settings, "previous_secrets": list(previous)})
    return TwilioSMSProvider(config, transport=NOWHERE)


class TestVectors:
    """Worked by hand, and accepted by the vendor's own validator."""

    @pytest.mark.parametrize("name", VECTORS)
    def test_each_is_true(self, name: str) -> None:
        """By SMS and by RCS: it is one account's token."""
        token, algorithm, url, body, seal = VECTORS[name]
        assert provider(token).verify_signature(body, seal, url=url, algorithm=algorithm) is True
        config = TwilioRCSConfig.model_validate(
            {"account_sid": "AC1", "auth_token": token, "messaging_service_sid": "MG1"}
        )
        by_rcs = TwilioRCSProvider(config, transport=NOWHERE)
        assert by_rcs.verify_signature(body, seal, url=url, algorithm=algorithm) is True

    @pytest.mark.parametrize("name", VECTORS)
    def test_one_byte_of_the_body_makes_it_false(self, name: str) -> None:
        """At any place; T5 too, whose body stands in the URL as a hash."""
        token, algorithm, url, body, seal = VECTORS[name]
        checked = provider(token)
        for place in range(len(body)):
            changed = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
            if parse_qsl(changed.decode("latin-1")) == parse_qsl(body.decode("latin-1")):
                continue  # another spelling of the same fields, such as %c3 for %C3
            assert not checked.verify_signature(changed, seal, url=url, algorithm=algorithm)

    @pytest.mark.parametrize("name", VECTORS)
    def test_one_character_of_the_rest_makes_it_false(self, name: str) -> None:
        """Of the URL, the token and the signature."""
        token, algorithm, url, body, seal = VECTORS[name]
        for place in range(len(url)):
            other = url[:place] + chr(ord(url[place]) ^ 1) + url[place + 1 :]
            assert not provider(token).verify_signature(body, seal, url=other, algorithm=algorithm)
        for place in range(len(token)):
            other = token[:place] + chr(ord(token[place]) ^ 1) + token[place + 1 :]
            assert not provider(other).verify_signature(body, seal, url=url, algorithm=algorithm)
        for place in range(len(seal)):
            other = seal[:place] + chr(ord(seal[place]) ^ 1) + seal[place + 1 :]
            assert not provider(token).verify_signature(body, other, url=url, algorithm=algorithm)

    @pytest.mark.parametrize("name", ["T1", "T3", "T4", "T6"])
    def test_the_simulator_signs_the_same(self, name: str) -> None:
        """Its arithmetic is its own."""
        token, algorithm, url, body, seal = VECTORS[name]
        fields = parse_qsl(body.decode(), keep_blank_values=True)
        assert sign(url, fields, token, algorithm=algorithm) == seal

    def test_the_simulator_signs_a_hashed_body(self) -> None:
        """Then the URL alone is signed."""
        assert sign(HASHED, [], TOKEN) == VECTORS["T5"][4]


class TestURL:
    """Proxies and ports."""

    def test_without_a_url(self) -> None:
        """Nothing can be said."""
        assert provider().verify_signature(BODY, SEAL) is False
        assert provider().verify_signature(BODY, SEAL, "1700000000", URL) is True

    @pytest.mark.parametrize(
        ("signed", "seen"),
        [
            ("https://hooks.example.org/a", "https://hooks.example.org:443/a"),
            ("https://hooks.example.org:443/a", "https://hooks.example.org/a"),
            ("http://hooks.example.org:80", "http://hooks.example.org"),
            ("https://hooks.example.org/a", "https://hooks.example.org:8443/a"),
            ("https://me:pw@hooks.example.org/a", "https://me:pw@hooks.example.org:443/a"),
            ("https://[2001:db8::1]/a?b", "https://[2001:db8::1]:443/a?b"),
        ],
    )
    def test_a_port_may_be_there_or_not(self, signed: str, seen: str) -> None:
        """[V] Twilio signs now one form, now the other."""
        assert provider().verify_signature(b"A=1", sign(signed, [("A", "1")], TOKEN), url=seen)

    @pytest.mark.parametrize(
        "seen",
        [
            "https://hooks.example.org:444/a",
            "http://hooks.example.org/a",
            "https://hooks.example.com/a",
            "https://hooks.example.org/a?",
            "https://hooks.example.org/A",
            "hooks.example.org/a",
            "",
            "https://[bad/a",
            "https://hooks.example.org:99999999/a",
        ],
    )
    def test_any_other_url_is_not_it(self, seen: str) -> None:
        """Another port than the default is no other spelling; nothing strange raises."""
        seal = sign("https://hooks.example.org:443/a", [("A", "1")], TOKEN)
        assert not provider().verify_signature(b"A=1", seal, url=seen)


class TestMatrix:
    """What a stranger may send."""

    @pytest.mark.parametrize(
        "seal",
        [
            "",
            "\u00e9",
            "\ud800",
            SEAL[:-1],
            SEAL + "=",
            SEAL * 1000,
            SEAL.lower(),
            " " + SEAL,
            base64.b64encode(b"\0" * 20).decode(),
            "sha1=" + SEAL,
        ],
    )
    def test_signatures_that_are_none(self, seal: str) -> None:
        """[V] Non-ASCII, truncated, over-long, re-cased: False, never an exception."""
        assert provider().verify_signature(BODY, seal, url=URL) is False

    @pytest.mark.parametrize(
        "body", [b"", b"\xff\xfe", b"a" * 100_000, b"&" * 5_000, b"a=1&" * 1_001, b"%zz=%"]
    )
    def test_bodies_that_are_none(self, body: bytes) -> None:
        """Malformed or endless bodies are no match."""
        assert provider().verify_signature(body, SEAL, url=URL) is False

    def test_a_tampered_json_body(self) -> None:
        """[V] The hash in the URL is compared with the body, not believed."""
        seal = VECTORS["T5"][4]
        assert not provider().verify_signature(
            b'{"status":"delivered","sid":"SM2"}', seal, url=HASHED
        )
        spaced = b'{"status": "delivered", "sid": "SM1"}'
        assert not provider().verify_signature(spaced, seal, url=HASHED)

    def test_a_hash_cannot_be_left_out(self) -> None:
        """With the parameter cut off, or empty, the signature is of another URL."""
        body, seal = VECTORS["T5"][3:]
        bare = HASHED.partition("?")[0]
        for url in (bare, f"{bare}?bodySHA256=", HASHED.upper()):
            assert not provider().verify_signature(body, seal, url=url)

    def test_emoji_and_repeated_names(self) -> None:
        """Any text can be signed; a name with the same value twice counts once."""
        body = b"Body=%F0%9F%98%80&Tag=a&Tag=a"
        seal = sign(URL, [("Body", "\U0001f600"), ("Tag", "a")], TOKEN)
        assert provider().verify_signature(body, seal, url=URL)
        assert not provider().verify_signature(body + b"&Tag=b", seal, url=URL)

    def test_tokens_in_rotation(self) -> None:
        """Old and new count, another tenant's does not."""
        assert provider("new-token", TOKEN).verify_signature(BODY, SEAL, url=URL)
        assert not provider("new-token", "older").verify_signature(BODY, SEAL, url=URL)
        assert not provider("").verify_signature(BODY, sign(URL, [], ""), url=URL)

    def test_algorithms(self) -> None:
        """The right one only, and none that is unknown."""
        for algorithm in (SHA256, "", "none", "sha1", "HMAC_MD5"):
            assert not provider().verify_signature(BODY, SEAL, url=URL, algorithm=algorithm)

    def test_signing_keys(self) -> None:
        """Shared keys count for their own algorithm, not for the token's."""
        keyed = provider("token", signing_keys={"K1": TOKEN})
        by_sha256 = sign(URL, parse_qsl(BODY.decode()), TOKEN, algorithm=SHA256)
        assert keyed.verify_signature(BODY, by_sha256, url=URL, algorithm=SHA256)
        assert not keyed.verify_signature(BODY, SEAL, url=URL)

    def test_comparison_is_in_constant_time(self) -> None:
        """No ``==`` on anything secret: the module has only the shared comparison."""
        tree = ast.parse(Path(_signature.__file__).read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        compared = {
            type(op) for node in ast.walk(tree) if isinstance(node, ast.Compare) for op in node.ops
        }
        assert {"same", "matches_any"} <= names
        assert compared <= {ast.Is, ast.IsNot, ast.NotEq}
