"""What vendors share: split sends that resume, signatures, tolerant reading, cutting text."""

from __future__ import annotations

import base64
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from roomkit import ProviderResult
from roomkit._http import retry_after
from roomkit._scope import Delivery, delivery_scope
from roomkit.exceptions import ProviderDeliveryError, WebhookError, WebhookRefused
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    EditContent,
    LocationContent,
    MediaContent,
    TemplateContent,
    TextContent,
)
from roomkit.providers._parts import PartLedger
from roomkit.providers._signature import (
    ed25519_valid,
    fresh,
    from_base64,
    hmac_base64,
    hmac_hex,
    matches_any,
    same,
    secrets_of,
    sha256_hex,
)
from roomkit.providers._text import media_of, plain_text, split_text
from roomkit.providers._webhook import (
    count_at,
    header,
    iso_time,
    items,
    object_at,
    objects_at,
    optional_text_at,
    read_form,
    read_json,
    require_signature,
    sender_at,
    text_at,
    unix_time,
    value_at,
)
from roomkit.providers.webhook import WebhookRequest


class Vendor:
    """Takes parts; fails at those it is told to."""

    def __init__(self, *failing: str) -> None:
        self.failing = list(failing)
        self.taken: list[tuple[str, str | None]] = []

    async def send(self, part: str, key: str | None) -> ProviderResult:
        if part in self.failing:
            self.failing.remove(part)
            return ProviderResult(success=False, error="timeout", metadata={"ambiguous": True})
        if part == "raise":
            raise ProviderDeliveryError("broken")
        self.taken.append((part, key))
        return ProviderResult(success=True, provider_message_id=f"id-{part}")


class TestPartLedger:
    """Several calls for one event."""

    async def test_one_part_is_its_own_answer(self) -> None:
        """Nothing is added to it."""
        result = await PartLedger().send(["a"], Vendor().send)
        assert result == ProviderResult(success=True, provider_message_id="id-a")

    async def test_several_parts(self) -> None:
        """The first id, and all of them in the metadata."""
        result = await PartLedger().send(["a", "b"], Vendor().send, ids_key="segment_ids")
        assert result.provider_message_id == "id-a"
        assert result.metadata == {"segment_ids": ["id-a", "id-b"]}

    async def test_the_next_attempt_resumes(self) -> None:
        """What has arrived is not sent again; keys stay the same over attempts."""
        ledger, vendor = PartLedger(), Vendor("b")
        token = delivery_scope.set(Delivery("d-1"))
        try:
            first = await ledger.send(["a", "b", "c"], vendor.send)
            assert (first.success, first.error) == (False, "timeout")
            assert first.metadata == {
                "ambiguous": True,
                "parts_sent": 1,
                "message_ids": ["id-a"],
            }
            second = await ledger.send(["a", "b", "c"], vendor.send)
        finally:
            delivery_scope.reset(token)
        assert second.metadata["message_ids"] == ["id-a", "id-b", "id-c"]
        assert second.provider_message_id == "id-a"
        assert vendor.taken == [("a", "d-1:0"), ("b", "d-1:1"), ("c", "d-1:2")]
        assert len(ledger) == 0

    async def test_outside_of_a_delivery_nothing_is_remembered(self) -> None:
        """A call by hand begins at the first part each time."""
        ledger, vendor = PartLedger(), Vendor("b")
        await ledger.send(["a", "b"], vendor.send)
        await ledger.send(["a", "b"], vendor.send)
        assert vendor.taken == [("a", None), ("a", None), ("b", None)]
        assert len(ledger) == 0

    async def test_an_error_is_remembered_and_passed(self) -> None:
        """Parts that arrived before an error of ours count as well."""
        ledger, vendor = PartLedger(), Vendor()
        token = delivery_scope.set(Delivery("d-1"))
        try:
            with pytest.raises(ProviderDeliveryError):
                await ledger.send(["a", "raise"], vendor.send)
            assert len(ledger) == 1
            await ledger.send(["a", "b"], vendor.send)
        finally:
            delivery_scope.reset(token)
        assert [part for part, _ in vendor.taken] == ["a", "b"]

    async def test_it_is_bounded(self) -> None:
        """The oldest broken deliveries are forgotten."""
        ledger = PartLedger()
        for n in range(1100):
            token = delivery_scope.set(Delivery(f"d-{n}"))
            await ledger.send(["a", "b"], Vendor("b").send)
            delivery_scope.reset(token)
        assert len(ledger) == 1024


class TestSignatures:
    """The arithmetic of signatures."""

    def test_comparison(self) -> None:
        """Equal or not, whatever the characters; one of several is enough."""
        assert same("abc", b"abc")
        assert not same("abc", "ab\u00e9")
        assert not same("", "x")
        assert not same("\ud800", "x")
        assert matches_any(["a", "b"], "b")
        assert not matches_any([], "")

    def test_digests(self) -> None:
        """HMAC as in RFC 4231, case 2, and SHA-256 of nothing."""
        digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        data = b"what do ya want for nothing?"
        assert hmac_hex("Jefe", data) == digest
        assert hmac_base64("Jefe", data) == base64.b64encode(bytes.fromhex(digest)).decode()
        assert sha256_hex(b"").startswith("e3b0c44298fc1c149afbf4c8996fb924")

    @pytest.mark.parametrize("text", ["", "a", "\u00e9", "YQ==\n", "Y Q==", "YQ=", "*"])
    def test_what_is_no_base64(self, text: str) -> None:
        """Such text says nothing, or nothing of the wanted length."""
        assert from_base64(text, 1) is None

    def test_secrets(self) -> None:
        """The current one first, empty ones left out."""
        assert secrets_of(SecretStr("new"), [SecretStr("old"), SecretStr("")]) == ["new", "old"]
        assert secrets_of(None) == []

    @pytest.mark.parametrize(
        ("timestamp", "good"),
        [
            ("1000", True),
            ("701", True),
            ("1299", True),
            ("1300", True),
            ("699", False),
            ("1301", False),
            ("-1000", False),
            ("1e3", False),
            ("\u0661\u0660\u0660\u0660", False),
            ("", False),
            (None, False),
            ("9" * 5000, False),
        ],
    )
    def test_freshness(self, timestamp: str | None, good: bool) -> None:
        """Neither stale nor from the future, and digits only."""
        assert fresh(timestamp, 300.0, now=1000.0) is good

    def test_freshness_not_asked_for(self) -> None:
        """Then any readable time will do."""
        assert fresh(1, None)
        assert not fresh("x", None)

    @pytest.mark.parametrize("without", [(), ("nacl.signing",), ("nacl.signing", "cryptography")])
    def test_ed25519(self, without: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
        """With either library; None when there is neither."""
        import sys

        for name in without:
            monkeypatch.setitem(sys.modules, name, None)
            if name == "cryptography":
                for module in list(sys.modules):
                    if module.startswith("cryptography"):
                        monkeypatch.setitem(sys.modules, module, None)
        key = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
        seal = (
            "W+x+D7FLBUhbeVgBhDzdGZXCcCiJayUxgp7/vd4qH1f3sca9oliGsbPPD58TMTImy1TqL7HRCoPTzR+tLXkpCQ"
            "=="
        )
        message = b'1735689600|{"data":{}}'
        good = ed25519_valid(key, seal, message)
        assert good is (None if len(without) == 2 else True)
        if good:
            assert ed25519_valid(key, seal, message + b" ") is False
            assert ed25519_valid(key, seal[:-4] + "AAA=", message) is False
            assert ed25519_valid("AAAA", seal, message) is False
            assert ed25519_valid(base64.b64encode(b"\xff" * 32).decode(), seal, message) is False


class TestReading:
    """Absent is empty, the wrong type is an error that names the field."""

    payload: ClassVar[dict[str, Any]] = {
        "a": {"b": [{"c": "x"}, {"c": 5}]},
        "n": None,
        "t": True,
        "f": 1.5,
    }

    def test_paths(self) -> None:
        """Values are found, or empty where the way ends."""
        assert text_at(self.payload, "a", "b", 0, "c") == "x"
        assert text_at(self.payload, "a", "b", 1, "c") == "5"
        assert text_at(self.payload, "f") == "1.5"
        assert text_at(self.payload, "n", "x", "y") == ""
        assert text_at(self.payload, "a", "b", 9, "c", default="?") == "?"
        assert optional_text_at(self.payload, "n") is None
        assert object_at(self.payload, "n") == {}
        assert objects_at(self.payload, "nothing") == []
        assert len(objects_at(self.payload, "a", "b")) == 2
        assert value_at(self.payload) is self.payload
        assert list(items(None)) == []
        assert list(items("x")) == ["x"]
        assert list(items([1, 2])) == [1, 2]

    @pytest.mark.parametrize(
        ("read", "path", "named"),
        [
            (text_at, ("a",), "a is an object"),
            (text_at, ("t",), "t is a truth value"),
            (text_at, ("a", 0), "a is an object, not a list"),
            (text_at, ("t", "x"), "t is a truth value, not an object"),
            (object_at, ("a", "b"), r"a\.b is a list"),
            (objects_at, ("a",), "a is an object"),
            (objects_at, ("l",), r"l\.0 is a number"),
            (sender_at, ("n",), "n is missing"),
            (text_at, ("big",), "big is too long"),
        ],
    )
    def test_wrong_types(self, read: Any, path: tuple[Any, ...], named: str) -> None:
        """The error says where."""
        with pytest.raises(WebhookError, match=named):
            read({**self.payload, "l": [1], "big": 10**5000}, *path)

    def test_nul_and_surrogates_are_cleaned(self) -> None:
        """What no store keeps is gone from the start."""
        assert text_at({"x": "a\x00b"}, "x") == "ab"

    @pytest.mark.parametrize(
        ("value", "count"),
        [
            *[(3, 3), ("3", 3), (" 2 ", 2), ("", 0), (None, 0), ("x", 0), (-1, 0), (10**9, 20)],
            *[("9" * 5000, 20), (True, 0), (1.5, 0)],
        ],
    )
    def test_counts(self, value: Any, count: int) -> None:
        """A number is believed up to a limit; what is none is 0."""
        assert count_at({"n": value}, "n") == count

    @pytest.mark.parametrize(
        "body",
        [
            *[b"", b"x", b"[1]", b"NaN", b'{"a": Infinity}', b"\xff", b"[" * 100_000],
            *[b"1" * 5000, b'{"a":' * 100_000],
        ],
        ids=range(9),
    )
    def test_no_json_object(self, body: bytes) -> None:
        """Whatever it is, it is a WebhookError."""
        with pytest.raises(WebhookError):
            read_json(body)

    def test_json(self) -> None:
        """An object, or a list where one is expected."""
        assert read_json(b'{"a": 1}') == {"a": 1}
        assert read_json(b"[1]", expect=list) == [1]

    def test_forms(self) -> None:
        """Decoded, blanks kept, the last of a repeated name; bounded."""
        assert read_form(b"a=1&b=&a=caf%C3%A9+x") == {"a": "caf\u00e9 x", "b": ""}
        for body in (b"\xff=1", b"&".join(b"a=1" for _ in range(1001))):
            with pytest.raises(WebhookError):
                read_form(body)

    def test_times(self) -> None:
        """Unix seconds, milliseconds and ISO 8601; anything else is None."""
        moment = "2025-01-01T00:00:00+00:00"
        assert (found := unix_time("1735689600"))
        assert found.isoformat() == moment
        assert unix_time(1735689600000, milliseconds=True) == found
        assert iso_time("2025-01-01T00:00:00Z") == found
        for strange in (None, True, "x", 1e300, "nan", [], "9" * 400):
            assert unix_time(strange) is None
            assert iso_time(strange) is None

    def test_headers(self) -> None:
        """A missing header is a refusal that names it."""
        request = WebhookRequest("POST", "u", {"x-a": "1"}, {}, b"")
        assert header(request, "x-a") == "1"
        with pytest.raises(WebhookRefused, match="x-b is missing"):
            header(request, "x-b")
        require_signature(True)
        with pytest.raises(WebhookRefused):
            require_signature(False)


class TestText:
    """Content as one text, and text in pieces."""

    def test_plain_text(self) -> None:
        """Every leaf with words, in order."""
        media = MediaContent(url="https://x.example/a", mime_type="image/png", caption="look")
        sound = AudioContent(url="https://x.example/b", mime_type="audio/ogg", transcript="hm")
        place = LocationContent(latitude=1.5, longitude=-2.0, label="Home", address="Road 1")
        parts = [TextContent(body="one"), media, sound, place, TemplateContent(template_id="t")]
        content = CompositeContent(parts=parts)
        assert plain_text(content) == "one\nlook\nhm\nHome \u2013 Road 1 \u2013 1.5,-2"
        edit = EditContent(target_event_id="e", new_content=content)
        assert plain_text(edit, separator=" ").startswith("one look")
        assert media_of(edit) == [media, sound]

    @pytest.mark.parametrize(
        ("text", "pieces"),
        [
            ("", []),
            ("  ", []),
            ("short", ["short"]),
            ("one two three", ["one two", "three"]),
            ("line1\nline2 x", ["line1", "line2 x"]),
            ("abcdefghijklm", ["abcdefgh", "ijklm"]),
            ("abcdefg\U0001f44d\U0001f3fdx", ["abcdefg", "\U0001f44d\U0001f3fdx"]),
        ],
    )
    def test_cutting(self, text: str, pieces: list[str]) -> None:
        """At blanks where possible, never inside what people see as one character."""
        assert split_text(text, 8) == pieces

    @given(st.text(max_size=200), st.integers(min_value=2, max_value=40))
    def test_nothing_but_blanks_is_lost(self, text: str, limit: int) -> None:
        """All pieces fit, none is empty, and together they are the text."""
        pieces = split_text(text, limit)
        assert all(0 < len(piece) <= limit for piece in pieces)
        assert "".join("".join(pieces).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("soon", None),
        ("nan", None),
        ("", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """Seconds or a date; what cannot be read says nothing."""
    assert retry_after({"retry-after": value}, now=1445412480.0) == seconds
    assert retry_after({}) is None
