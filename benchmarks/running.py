"""One scenario a process: started by ``run``, measured in it by ``measure_here``."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import asdict

from benchmarks.floors import MessageFloor
from benchmarks.measure import race
from benchmarks.model import CATALOGUE, Row

_YARDSTICK_CALLS = 800
_LONGEST = 300.0


class FailedRunError(RuntimeError):
    """The process of a scenario ended with an error; its output is in the text."""


async def _yardstick() -> float:
    floor = MessageFloor()
    (spent,) = await race(_YARDSTICK_CALLS, floor, rounds=5)
    return spent


async def _measure(name: str) -> Row:
    before = await _yardstick()
    figure = await CATALOGUE[name].run()
    after = await _yardstick()
    return Row(name, figure.value, figure.floor, figure.small, min(before, after))


def measure_here(name: str) -> str:
    """Measure a scenario in this process and return its row as JSON."""
    return json.dumps(asdict(asyncio.run(_measure(name))))


def run(name: str) -> Row:
    """Measure a scenario in a process of its own.

    Raises:
        FailedRunError: The scenario did not do its work.
    """
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--measure", name],
        capture_output=True,
        text=True,
        timeout=_LONGEST,
        check=False,
    )
    if child.returncode != 0:
        raise FailedRunError(f"{name}: {child.stderr.strip()[-2000:]}")
    return Row(**json.loads(child.stdout.splitlines()[-1]))
