"""What providers of message vendors are made of, beside their kind: a client, parts, callbacks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from roomkit._http import VendorHTTP
from roomkit.providers._parts import PartLedger
from roomkit.providers.webhook import WebhookHandler

if TYPE_CHECKING:
    import httpx

    from roomkit.models.channel import ChannelCapabilities


class VendorClient[C](VendorHTTP):
    """A provider that needs nothing but its vendor's config.

    Args:
        config: The vendor's config.
        client: An ``httpx.AsyncClient`` to use; ``close`` leaves it open.
        transport: What carries our own client's requests, for tests.

    Raises:
        MissingDependencyError: (also an ImportError) httpx is not installed.
    """

    _config: C
    _transport: httpx.AsyncBaseTransport | None
    """For requests that do not go through ``_call``, such as fetching media."""

    def __init__(
        self,
        config: C,
        *,
        client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._open(config, client=client, transport=transport)
        self._transport = transport


class VendorSender[C, W: WebhookHandler](VendorClient[C], ABC):
    """A provider that sends an event as one or several messages, and reads callbacks.

    A subclass sets ``_capabilities`` and makes its reader in ``_reader``; what it sends goes
    through ``_ledger``. The arguments are those of ``VendorClient``.
    """

    _capabilities: ClassVar[ChannelCapabilities]

    def __init__(
        self,
        config: C,
        *,
        client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(config, client=client, transport=transport)
        self._ledger = PartLedger()
        self._webhook = self._reader()

    @abstractmethod
    def _reader(self) -> W:
        """Return a reader of the vendor's callbacks; asked once, when the config is set."""

    def capabilities(self) -> ChannelCapabilities:
        """Return what the vendor carries natively; the same object every time."""
        return self._capabilities

    def webhook(self) -> W:
        """Return the reader of the vendor's callbacks; the same object every time."""
        return self._webhook
