"""Level three of stores: what survives the process, and the queues of work."""

from __future__ import annotations

from roomkit.testing.conformance._durable_claims import ClaimCases
from roomkit.testing.conformance._durable_commit import CommitCases
from roomkit.testing.conformance._durable_finish import FinishCases
from roomkit.testing.conformance._durable_inbox import InboxCases
from roomkit.testing.conformance._durable_letters import LetterCases
from roomkit.testing.conformance._durable_rows import RowCases
from roomkit.testing.conformance._durable_shared import SharedCases


class DurableStoreConformance(
    CommitCases, FinishCases, ClaimCases, InboxCases, LetterCases, SharedCases, RowCases
):
    """What a ``DurableStore`` promises besides ``StoreConformance``; run both.

    Implement ``make_store`` and ``advance``, and ``another`` where the store can be opened
    twice. Time must pass for the store only when ``advance`` is called, or by the few
    milliseconds a test takes.
    """
