"""The identities of the in-memory store and the addresses that lead to them."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.models.identity import Identity


class IdentityBook:
    """Identities by id and by address; copies on the way in and out."""

    def __init__(self) -> None:
        self._identities: dict[str, Identity] = {}
        self._addresses: dict[tuple[str, str], str] = {}

    def put(self, identity: Identity) -> None:
        """Store an identity; its addresses resolve to it from now on."""
        self._identities[identity.id] = _with_addresses(identity)
        for channel_type, addresses in identity.channel_addresses.items():
            for address in addresses:
                self._addresses[channel_type, address] = identity.id

    def get(self, identity_id: str) -> Identity | None:
        """Return an identity, or None."""
        identity = self._identities.get(identity_id)
        return None if identity is None else copy(identity)

    def resolve(self, channel_type: str, address: str) -> Identity | None:
        """Return whom an address belongs to, or None."""
        identity_id = self._addresses.get((channel_type, address))
        return None if identity_id is None else self.get(identity_id)

    def link(self, identity_id: str, channel_type: str, address: str) -> None:
        """Give an identity an address, once; nothing happens when it is unknown."""
        identity = self._identities.get(identity_id)
        if identity is None:
            return
        if address not in identity.channel_addresses.get(channel_type, ()):
            self._identities[identity_id] = _with_addresses(identity, channel_type, address)
        self._addresses[channel_type, address] = identity_id


def _with_addresses(
    identity: Identity, channel_type: str | None = None, address: str | None = None
) -> Identity:
    """Return a copy of an identity with addresses of its own, one more if given."""
    addresses = {kind: list(known) for kind, known in identity.channel_addresses.items()}
    if channel_type is not None and address is not None:
        addresses.setdefault(channel_type, []).append(address)
    return type(identity)(**{**dict(identity), "channel_addresses": addresses})
