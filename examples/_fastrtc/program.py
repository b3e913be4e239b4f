"""The program around an example: serve the page, or let one call be played."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import warnings
from typing import TYPE_CHECKING, Any

from roomkit.simulators import served

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

from _fastrtc.page import page


def make_app(path: str) -> Any:
    """Return a FastAPI app whose only own route is the page.

    Args:
        path: Where FastRTC's routes will be.
    """
    with warnings.catch_warnings():
        # Packages below FastRTC warn of each other when they are imported.
        warnings.simplefilter("ignore")
        import fastrtc  # noqa: F401
        from fastapi import FastAPI
        from fastapi.responses import HTMLResponse

        app = FastAPI()

        @app.get("/", response_class=HTMLResponse)
        async def show() -> str:
            return page(path)

        return app


def run(
    text: str,
    build: Callable[[], Awaitable[tuple[Any, Callable[[], Awaitable[None]]]]],
    play: Callable[[str], Awaitable[None]],
) -> None:
    """Run an example, if FastRTC is there.

    Args:
        text: What the example is.
        build: Makes the app, and what ends everything behind it.
        play: Plays one call at a URL.
    """
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--serve", type=int, metavar="PORT", help="serve a page with a microphone")
    port = parser.parse_args().serve
    if importlib.util.find_spec("fastrtc") is None:
        print("This example needs FastRTC, which wants an environment of its own:")
        print("    pip install 'roomkit[fastrtc]' uvicorn websockets")
        return
    try:
        asyncio.run(_serve(build, play, port))
    except KeyboardInterrupt:
        print("ended")


async def _serve(
    build: Callable[[], Awaitable[tuple[Any, Callable[[], Awaitable[None]]]]],
    play: Callable[[str], Awaitable[None]],
    port: int | None,
) -> None:
    app, close = await build()
    try:
        async with served(app, port=port or 0) as url:
            if port is None:
                await play(url)
                return
            print(f"open {url} and call; end with Ctrl-C")
            await asyncio.Event().wait()
    finally:
        await close()
