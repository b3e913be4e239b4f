"""What the providers of SMS and RCS through Telnyx share: keys, requests, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._http import base_url
from roomkit.providers._sender import VendorSender
from roomkit.providers.telnyx import _api
from roomkit.providers.telnyx.config import TelnyxAccount
from roomkit.providers.telnyx.webhook import TelnyxWebhook

if TYPE_CHECKING:
    import httpx

    from roomkit._http import Refusal, Reply


class TelnyxSender[C: TelnyxAccount](VendorSender[C, TelnyxWebhook]):
    """The half of a provider that knows the account; the subclasses explain the arguments."""

    _code_prefix: ClassVar[str | None] = None
    """See ``_api.refusal``."""

    def __init__(
        self,
        config: C,
        public_key: str | None = None,
        *,
        tolerance_seconds: float | None = None,
        client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._keys = [key for key in (public_key, *config.previous_public_keys) if key]
        self._tolerance = tolerance_seconds
        super().__init__(config, client=client, transport=transport)

    def verify_signature(
        self, payload: bytes, signature: str, timestamp: str | None = None
    ) -> bool:
        """Tell whether Telnyx signed ``payload`` (Ed25519 over ``<timestamp>|<payload>``).

        Args:
            payload: The raw body.
            signature: The header ``telnyx-signature-ed25519``.
            timestamp: The header ``telnyx-timestamp``; without it the answer is False.

        Raises:
            ValueError: (an InvalidInputError) The provider has no public key.
            ImportError: (a MissingDependencyError) Neither PyNaCl nor cryptography is
                installed.
        """
        keys = _api.require_keys(self._keys, type(self).__name__)
        return _api.verify(keys, payload, signature, timestamp, tolerance=self._tolerance)

    async def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        part_key: str | None = None,
    ) -> Reply:
        """Ask Telnyx and return its answer.

        Args:
            method: The method of HTTP.
            path: Such as ``/v2/messages``.
            body: The request's JSON; the messaging profile is added. None sends none.
            part_key: The key by which Telnyx knows a repeat; None sends none.

        Raises:
            ProviderDeliveryError: Telnyx refused it or could not be reached.
        """
        headers = _api.bearer(self._config.api_key)
        if part_key is not None:
            headers["Idempotency-Key"] = _api.idempotency_key(part_key)
        options: dict[str, Any] = {"headers": headers}
        if body is not None:
            profile = self._config.messaging_profile_id
            options["json"] = {**body, "messaging_profile_id": profile} if profile else body
        url = f"{base_url(self._config.api_base, _api.API)}{path}"
        return await self._call(method, url, **options)

    def _refusal(self, reply: Reply) -> Refusal:
        return _api.refusal(reply, prefix=self._code_prefix)
