"""Level one of stores: the 36 abstract methods, and the calls composed of them."""

from __future__ import annotations

from roomkit.testing.conformance._store_children import ChildCases
from roomkit.testing.conformance._store_composed import ComposedCases
from roomkit.testing.conformance._store_rooms import RoomCases


class Store36Conformance(RoomCases, ChildCases, ComposedCases):
    """What a store of 36 methods promises, and what the ABC makes of them.

    Such a store is safe under the room lock, in one process. Implement ``make_store``.
    """
