"""Fixtures for pytest: ``twilio_simulator``, ``whatsapp_simulator`` and so on, one a vendor.

pytest finds them by itself where RoomKit is installed. They are asynchronous and need
pytest-asyncio; without it there are none::

    async def test_a_reply(twilio_simulator: TwilioSimulator) -> None:
        provider = TwilioSMSProvider(TwilioConfig(**twilio_simulator.settings))
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from roomkit.simulators import SIMULATORS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.simulators import VendorSimulator


def _fixture(vendor: str) -> Any:
    """Return the fixture of one vendor; its simulator is stopped when the test ends."""
    import pytest_asyncio

    async def simulator() -> AsyncIterator[VendorSimulator]:
        import roomkit.simulators as all_of_them

        make: type[Any] = getattr(all_of_them, SIMULATORS[vendor])
        async with make() as sim:
            yield sim

    simulator.__doc__ = f"A running stand-in for {vendor}."
    return pytest_asyncio.fixture(name=f"{vendor}_simulator")(simulator)


if find_spec("pytest_asyncio") is not None:
    globals().update({f"{vendor}_simulator": _fixture(vendor) for vendor in SIMULATORS})
