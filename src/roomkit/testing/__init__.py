"""Tools for testing programs built on RoomKit, and stores and channels of one's own.

Everything here works without pytest, except ``roomkit.testing.conformance``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "CallFault",
    "Delivered",
    "FaultStore",
    "ManualClock",
    "MutationError",
    "Outcome",
    "SimpleChannel",
    "StoreWrapper",
    "StrictStore",
    "Violation",
    "assert_invariants",
    "check_invariants",
    "make_binding",
    "make_event",
    "reply",
    "sweep_cancel",
    "sweep_faults",
]

if TYPE_CHECKING:
    from roomkit._clock import ManualClock
    from roomkit.testing.builders import make_binding, make_event
    from roomkit.testing.channel import Delivered, SimpleChannel, reply
    from roomkit.testing.faults import CallFault, FaultStore
    from roomkit.testing.invariants import Violation, assert_invariants, check_invariants
    from roomkit.testing.strict import MutationError, StrictStore
    from roomkit.testing.sweep import Outcome, sweep_cancel, sweep_faults
    from roomkit.testing.wrapper import StoreWrapper
else:
    from roomkit._lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "CallFault": "roomkit.testing.faults",
            "Delivered": "roomkit.testing.channel",
            "FaultStore": "roomkit.testing.faults",
            "ManualClock": "roomkit._clock",
            "MutationError": "roomkit.testing.strict",
            "Outcome": "roomkit.testing.sweep",
            "SimpleChannel": "roomkit.testing.channel",
            "StoreWrapper": "roomkit.testing.wrapper",
            "StrictStore": "roomkit.testing.strict",
            "Violation": "roomkit.testing.invariants",
            "assert_invariants": "roomkit.testing.invariants",
            "check_invariants": "roomkit.testing.invariants",
            "make_binding": "roomkit.testing.builders",
            "make_event": "roomkit.testing.builders",
            "reply": "roomkit.testing.channel",
            "sweep_cancel": "roomkit.testing.sweep",
            "sweep_faults": "roomkit.testing.sweep",
        },
    )
