"""One event that a vendor takes as several messages: sent in order, resumed where it broke.

A long text, or a text with media, may need several calls. When one fails the delivery is
tried again later, and what has arrived must not arrive twice: a ``PartLedger`` remembers,
by delivery id, which parts are through. It lives in the process; after a crash the parts of
a delivery are sent anew (delivery is at least once).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from roomkit._scope import current_delivery
from roomkit.exceptions import ProviderDeliveryError
from roomkit.models.delivery import ProviderResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_DELIVERIES = 1024


class PartLedger:
    """Which parts of deliveries are through; the newest 1,024 broken ones are remembered."""

    def __init__(self) -> None:
        self._sent: OrderedDict[str, list[str | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sent)

    async def send[P](
        self,
        parts: Sequence[P],
        send_part: Callable[[P, str | None], Awaitable[ProviderResult]],
        *,
        ids_key: str = "message_ids",
    ) -> ProviderResult:
        """Send the parts one after the other and return one answer for all.

        Args:
            parts: At least one.
            send_part: Sends one; its second argument is an idempotency key that stays the
                same over attempts, None outside of a delivery. It may answer with a failed
                result or raise ProviderDeliveryError with one.
            ids_key: Where the metadata holds the vendor's ids, when there are several parts.

        Returns:
            The first part's id, all ids in the metadata; or the failed part's answer, with
            ``parts_sent`` in its metadata when earlier ones are through.
        """
        delivery = current_delivery()
        key = delivery.id if delivery is not None else None
        ids = list(self._sent.pop(key, ())) if key is not None else []
        result = ProviderResult(success=True)
        for place in range(len(ids), len(parts)):
            part_key = None if key is None else key if len(parts) == 1 else f"{key}:{place}"
            result = await self._one(parts[place], send_part, part_key, key, ids)
            if not result.success:
                return self._broken(result, key, ids, ids_key)
            ids.append(result.provider_message_id)
        if len(parts) == 1:
            return result
        metadata: dict[str, Any] = {**result.metadata, ids_key: [i for i in ids if i is not None]}
        return ProviderResult(success=True, provider_message_id=ids[0], metadata=metadata)

    async def _one[P](
        self,
        part: P,
        send_part: Callable[[P, str | None], Awaitable[ProviderResult]],
        part_key: str | None,
        key: str | None,
        ids: list[str | None],
    ) -> ProviderResult:
        """Send one part; what went before is remembered, however this one ends."""
        try:
            return await send_part(part, part_key)
        except ProviderDeliveryError as exc:
            if exc.result is None:
                self._remember(key, ids)
                raise
            return exc.result
        except BaseException:
            self._remember(key, ids)
            raise

    def _broken(
        self, result: ProviderResult, key: str | None, ids: list[str | None], ids_key: str
    ) -> ProviderResult:
        self._remember(key, ids)
        if not ids:
            return result
        metadata = {
            **result.metadata,
            "parts_sent": len(ids),
            ids_key: [i for i in ids if i is not None],
        }
        return ProviderResult(success=False, error=result.error, metadata=metadata)

    def _remember(self, key: str | None, ids: list[str | None]) -> None:
        if key is None or not ids:
            return
        self._sent[key] = list(ids)
        while len(self._sent) > _DELIVERIES:
            self._sent.popitem(last=False)


def others_apart(result: ProviderResult, ids_key: str = "message_ids") -> ProviderResult:
    """Return a ledger's answer with all ids but the first as ``additional_message_ids``.

    A failed one keeps its list: there it says which parts are through.
    """
    if not result.success or ids_key not in result.metadata:
        return result
    metadata = dict(result.metadata)
    metadata["additional_message_ids"] = metadata.pop(ids_key)[1:]
    return ProviderResult(
        success=True, provider_message_id=result.provider_message_id, metadata=metadata
    )
