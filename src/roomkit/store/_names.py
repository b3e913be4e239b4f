"""How addresses are compared, and whom a binding is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.enums import ChannelCategory

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding


def normalized_address(address: str) -> str:
    """Return an address in the form in which addresses are compared.

    Case, surrounding space and the punctuation of phone numbers do not count, nor does the plus:
    some vendors leave it out.
    """
    text = address.strip().casefold()
    digits = text.translate(_PUNCTUATION)
    number = digits.lstrip("+")
    return number if number.isdigit() else text


_PUNCTUATION = str.maketrans("", "", " -().\u00a0")


def names_person(binding: ChannelBinding, recipient_key: str | None) -> set[str]:
    """Return the normalised persons a transport binding names; empty: it is for everybody."""
    if binding.category != ChannelCategory.TRANSPORT:
        return set()
    names = set()
    if binding.participant_id:
        names.add(normalized_address(binding.participant_id))
    recipient = binding.metadata.get(recipient_key) if recipient_key else None
    if isinstance(recipient, str) and recipient:
        names.add(normalized_address(recipient))
    return names
