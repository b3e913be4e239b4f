"""`roomkit sim`: a stand-in for a vendor on this machine, to try a program against."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from roomkit.cli._command import Command, ExitCode, UsageError, add_json_option
from roomkit.cli._output import write_error
from roomkit.exceptions import MissingDependencyError

if TYPE_CHECKING:
    import argparse

    from roomkit.simulators import VendorSimulator
    from roomkit.simulators._live_journal import Journal

_DESCRIPTION = """\
Start a stand-in for a vendor on 127.0.0.1: it takes what a provider sends, as strictly as the
vendor, and answers as the vendor would. The settings to give the provider are printed first; with
--json as one line of JSON, so that a program can read them. What comes in is printed as it comes;
of live conversations: who connects, the first message of each kind, and how many there were.

With --webhook every line typed is sent there as a message of a customer, signed as the vendor
signs. End it with Ctrl-C."""

_EXIT_CODES = """\
exit codes:
  0  it ran and was ended
  1  it could not start: a port in use, a missing extra
  2  the command was called wrongly
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `roomkit sim`."""
    from roomkit.simulators import SIMULATORS

    parser.add_argument("vendor", choices=sorted(SIMULATORS), metavar="VENDOR", help=_vendors())
    parser.add_argument("--port", type=int, default=0, help="the port; 0, the default, is any")
    parser.add_argument("--webhook", metavar="URL", help="where lines typed are sent as messages")
    parser.add_argument("--sender", metavar="ADDRESS", help="who those messages come from")
    add_json_option(parser)


def _vendors() -> str:
    from roomkit.simulators import SIMULATORS

    return "one of " + ", ".join(sorted(SIMULATORS))


def run(options: argparse.Namespace) -> int:
    """Run the simulator until it is interrupted."""
    if not 0 <= options.port <= 65535:
        raise UsageError("--port is a number from 0 to 65535")
    import roomkit.simulators as all_of_them

    kind: type[VendorSimulator] = getattr(all_of_them, all_of_them.SIMULATORS[options.vendor])
    if options.webhook and not hasattr(kind, "receive"):
        raise UsageError(f"{options.vendor} sends no messages to a webhook")
    try:
        return asyncio.run(_serve(kind(port=options.port), options))
    except (MissingDependencyError, OSError) as exc:
        write_error(str(exc))
        return ExitCode.PROBLEM
    except KeyboardInterrupt:
        return ExitCode.OK


async def _serve(sim: VendorSimulator, options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    async with sim:
        _introduce(sim, as_json=options.json)
        journal: Journal | None = getattr(sim, "journal", None)
        watching = _watch(sim) if journal is None else _follow(journal)
        tasks = [asyncio.create_task(watching)]
        if options.webhook:
            tasks.append(asyncio.create_task(_type(sim, options.webhook, options.sender)))
        await stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return ExitCode.OK


def _introduce(sim: VendorSimulator, *, as_json: bool) -> None:
    from pydantic import SecretStr

    settings = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in sim.settings.items()
    }
    if as_json:
        _say(json.dumps({"vendor": sim.vendor, "settings": settings}))
        return
    _say(f"{sim.vendor} at {sim.api_base}")
    for name, value in settings.items():
        _say(f"  {name}={value!r}")


async def _watch(sim: VendorSimulator) -> None:
    """Print requests and messages as they come."""
    told_requests = told_messages = 0
    while True:
        await sim.arrived(told_requests + 1, timeout=365 * 86400.0)
        # The answer first: a message counts as sent once it was accepted.
        await asyncio.sleep(0)
        for request in list(sim.requests)[told_requests:]:
            _say(f"{request.method} {request.path}")
        told_requests = len(sim.requests)
        for message in sim.sent[told_messages:]:
            _say(f"  accepted {message.id} to {message.to}: {message.text}")
        told_messages = len(sim.sent)


async def _follow(journal: Journal) -> None:
    """Print what comes to a simulator of live conversations."""
    told = 0
    while True:
        told, lines = await journal.after(told)
        for line in lines:
            _say(line)


async def _type(sim: Any, url: str, sender: str | None) -> None:
    """Send each line typed to the webhook."""
    who = {} if sender is None else {"sender": sender}
    loop, lines = asyncio.get_running_loop(), asyncio.Queue[str]()

    def read() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)

    # A daemon: nothing can interrupt a thread that waits for a line.
    threading.Thread(target=read, daemon=True).start()
    while True:
        if text := (await lines.get()).strip():
            answer = await sim.receive(url, text=text, **who)
            _say(f"webhook answered {answer.status}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


COMMAND = Command(
    name="sim",
    summary="stand in for a vendor on this machine",
    description=_DESCRIPTION,
    add_arguments=add_arguments,
    run=run,
    exit_codes=_EXIT_CODES,
)
