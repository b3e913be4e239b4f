"""SMS: the base class, the mock and phone numbers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from roomkit.exceptions import InvalidInputError, MissingDependencyError
from roomkit.models.delivery import ProviderResult
from roomkit.providers.sms import (
    MockSMSProvider,
    SMSProvider,
    is_valid_phone,
    normalize_phone,
)
from tests.test_providers._events import an_event

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent


class PigeonSMSProvider(SMSProvider):
    """The least an SMS provider must be."""

    @property
    def from_number(self) -> str:
        return "+15145550111"

    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        return ProviderResult(success=True, metadata={"from": from_ or self.from_number})


class TestSMSProvider:
    """A vendor fills in number and ``send``; the rest has documented answers."""

    async def test_the_optional_parts_say_that_they_are_missing(self) -> None:
        provider = PigeonSMSProvider()
        with pytest.raises(NotImplementedError):
            await provider.parse_webhook({})
        with pytest.raises(NotImplementedError, match="PigeonSMSProvider does not support"):
            provider.verify_signature(b"", "", "0")
        result = await provider.send(an_event(), to="+15145550100")
        assert result.metadata["from"] == provider.from_number


class TestMockSMSProvider:
    """``sent`` has event, recipient and sender."""

    async def test_the_sender_is_what_send_was_told(self) -> None:
        provider = MockSMSProvider()
        event = an_event()
        await provider.send(event, to="+15145550100")
        await provider.send(event, to="+15145550100", from_="+15145550199")
        assert provider.sent == [
            {"event": event, "to": "+15145550100", "from": ""},
            {"event": event, "to": "+15145550100", "from": "+15145550199"},
        ]
        assert provider.from_number == "+15550001234"


class TestNormalizePhone:
    """Numbers come out in E.164, read first as numbers of the given region."""

    @pytest.mark.parametrize(
        ("number", "region", "expected"),
        [
            ("418-555-1234", "CA", "+14185551234"),
            ("14185551234", "US", "+14185551234"),
            ("+1 (418) 555-1234", "US", "+14185551234"),
            ("  +1 (418) 555-1234\n", "FR", "+14185551234"),
            ("(514) 555-1234", "CA", "+15145551234"),
            ("06 12 34 56 78", "FR", "+33612345678"),
            ("07911 123456", "GB", "+447911123456"),
            ("4915112345678", "DE", "+4915112345678"),
            ("33612345678", "US", "+33612345678"),
            ("418-555-1234", "ca", "+14185551234"),
        ],
    )
    def test_samples(self, number: str, region: str, expected: str) -> None:
        assert normalize_phone(number, region) == expected

    @pytest.mark.parametrize(
        ("number", "expected"),
        [("2015551234", "+12015551234"), ("323-555-1234", "+13235551234")],
    )
    def test_us_numbers_are_not_read_as_egyptian_or_belgian(
        self, number: str, expected: str
    ) -> None:
        """Defect of the reference: national numbers became foreign ones."""
        assert normalize_phone(number) == expected
        assert normalize_phone(number, "US") == expected

    def test_no_us_area_code_leaves_the_country(self) -> None:
        """A valid national number of the region stays in the region."""
        for area in range(200, 1000):
            number = f"{area}5551234"
            if is_valid_phone(f"+1{number}"):
                assert normalize_phone(number) == f"+1{number}"

    def test_an_e164_number_is_its_own_normal_form(self) -> None:
        for number in ("+14185551234", "+33612345678", "+447911123456", "+12015551234"):
            assert normalize_phone(number, "DE") == number

    @pytest.mark.parametrize("number", ["123", "+1 123", "00000000000"])
    def test_a_number_that_cannot_exist_is_invalid(self, number: str) -> None:
        with pytest.raises(ValueError, match="Invalid phone number") as caught:
            normalize_phone(number)
        assert isinstance(caught.value, InvalidInputError)

    @pytest.mark.parametrize("number", ["not-a-number", "", "   ", "+"])
    def test_text_is_no_number(self, number: str) -> None:
        with pytest.raises(ValueError, match="Cannot parse phone number"):
            normalize_phone(number)

    def test_an_unknown_region_leaves_international_numbers_readable(self) -> None:
        assert normalize_phone("33612345678", "ZZ") == "+33612345678"
        assert normalize_phone("+33612345678", "ZZ") == "+33612345678"
        with pytest.raises(ValueError, match="Cannot parse"):
            normalize_phone("418-555-1234", "ZZ")

    def test_without_the_package_the_error_names_the_extra(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "phonenumbers", None)
        with pytest.raises(ImportError) as caught:
            normalize_phone("+14185551234")
        assert isinstance(caught.value, MissingDependencyError)
        assert "phonenumbers is required for phone normalization" in str(caught.value)
        assert "roomkit[phonenumbers]" in str(caught.value)
        assert isinstance(caught.value.__cause__, ImportError)


class TestIsValidPhone:
    """A question, so never an error."""

    def test_it_agrees_with_normalize_phone(self) -> None:
        assert is_valid_phone("418-555-1234", "CA")
        assert is_valid_phone("2015551234")
        assert not is_valid_phone("123")
        assert not is_valid_phone("not-a-number")

    def test_without_the_package_nothing_is_valid(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "phonenumbers", None)
        assert not is_valid_phone("+14185551234")
