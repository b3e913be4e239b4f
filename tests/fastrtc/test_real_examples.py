"""The two FastRTC examples, where FastRTC is; tests/test_examples.py runs them where it is not.

See test_real_fastrtc.py for the environment this needs.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.fastrtc._clients import NEEDS_FASTRTC, Browser
from tests.test_voice._backend_clients import until

pytestmark = NEEDS_FASTRTC

ROOT = Path(__file__).resolve().parents[2]
OUTCOMES = {
    "voice_fastrtc": [
        "the caller said: When do you open?",
        "the caller spoke over the answer: its playback is dropped",
        "hung up, and the room knows",
    ],
    "realtime_voice_fastrtc": [
        "called: opening_hours {'day': 'Monday'}",
        "the caller hears the answer",
        "in the room: On Monday we open at nine.",
        "hung up, and the room knows",
    ],
}


async def start(name: str, *words: str) -> asyncio.subprocess.Process:
    """Run an example without a vendor's key."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-u", f"examples/{name}.py", *words),
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith("OPENAI")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize("name", sorted(OUTCOMES))
async def test_one_call(name: str) -> None:
    """It plays one call, and prints what its text says it shows."""
    process = await start(name)
    printed, failed = await process.communicate()
    assert process.returncode == 0, failed.decode()
    for text in OUTCOMES[name]:
        assert text in printed.decode()


@pytest.mark.parametrize("name", sorted(OUTCOMES))
async def test_serving(name: str) -> None:
    """A browser finds the page, and its call is taken."""
    import httpx

    process = await start(name, "--serve", "0")
    try:
        assert process.stdout is not None
        url = ""
        async for line in process.stdout:
            if found := re.match(r"open (http://\S+) and call", line.decode()):
                url = found[1]
                break
        async with httpx.AsyncClient(trust_env=False) as http:
            page = (await http.get(url)).text
        routes = re.search(r'fetch\("(.+?)/webrtc/offer"', page)
        assert routes is not None
        browser = Browser()
        await browser.connect(url + routes[1], "b1")
        await until(lambda: browser.state == "connected")
        await browser.close()
    finally:
        process.kill()
        await process.communicate()
