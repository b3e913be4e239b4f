"""How long it takes until the library is there: CPU time of the import in a fresh process.

Bytecode is cached, as in any installation; the first try fills the cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from benchmarks.model import Figure, check, scenario

_TRIES = 7
_TIMED = "import time; began = time.process_time(); {}; print(time.process_time() - began)"
_PYDANTIC = "import asyncio; from pydantic import BaseModel"


def _milliseconds(*statements: str) -> list[float]:
    """Return the best CPU time of each statement, each try in a process of its own."""
    best = [float("inf")] * len(statements)
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(_TRIES):
            for place, statement in enumerate(statements):
                child = subprocess.run(
                    [sys.executable, "-c", _TIMED.format(statement)],
                    capture_output=True,
                    text=True,
                    check=True,
                    env=environment,
                )
                best[place] = min(best[place], float(child.stdout) * 1000)
    check(all(spent > 0 for spent in best), "an import took no time")
    return best


@scenario(
    "import_package", "import roomkit", unit="ms", target=15.0, scale="floor", page_floor=95.0
)
async def import_package() -> Figure:
    """Import the package: lazy names only."""
    return Figure(*_milliseconds("import roomkit", _PYDANTIC))


@scenario(
    "import_kit",
    "from roomkit import RoomKit",
    unit="ms",
    target=150.0,
    scale="floor",
    page_floor=95.0,
)
async def import_kit() -> Figure:
    """Import the kit with what it needs."""
    return Figure(*_milliseconds("from roomkit import RoomKit", _PYDANTIC))
