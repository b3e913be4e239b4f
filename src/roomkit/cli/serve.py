"""`roomkit serve`: a kit over HTTP and WebSocket, on its own server.

This module is the command line; what it does is in `_serving`, imported when it runs.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from roomkit.cli._command import Command, ExitCode
from roomkit.cli._output import write_error

if TYPE_CHECKING:
    from collections.abc import Callable

_TARGET_HELP = """\
what to serve:
  shop:kit          the RoomKit named kit in shop.py of this folder (or an installed module)
  shop.web:app      what roomkit.asgi.create_app returned; everything can be set there
  shop:make_kit     a function, plain or async, that returns one of these

what is served:
  GET and POST /webhooks/CHANNEL    callbacks of the channel's vendor
  WebSocket /ws/CHANNEL             live clients (needs an app with authenticate=)
  GET /health/live, /health/ready   for supervisors and load balancers

on SIGTERM or SIGINT (Ctrl+C) nothing new is taken, /health/ready says 503, requests and
deliveries in hand end, and the command answers 0. A second signal cuts that short.
"""

_EXIT_CODES = """\
exit codes:
  0  served, and ended in order
  1  cut short by a second signal
  2  it could not be served, told in one line, or the command was called wrongly
"""

_LEVELS = ("debug", "info", "warning", "error", "critical")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `roomkit serve`."""
    parser.add_argument("target", metavar="MODULE:ATTRIBUTE", help="what to serve, see below")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on (default: %(default)s, reached from this machine only)",
    )
    parser.add_argument(
        "--port",
        type=_number(int, 0, 65535),
        default=8000,
        help="the port to listen on; 0 takes a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--public-url",
        metavar="URL",
        help="what vendors call, such as https://hooks.example.org; signatures that cover the "
        "URL are checked against it (default: what the request says)",
    )
    parser.add_argument(
        "--root-path",
        metavar="PATH",
        default="",
        help="the path a proxy in front takes away before it passes requests on",
    )
    parser.add_argument(
        "--log-level",
        choices=_LEVELS,
        default="info",
        help="what is logged to standard error (default: %(default)s)",
    )
    parser.add_argument(
        "--no-access-log",
        action="store_true",
        help="log no line per request; with it, queries, tokens and addresses are left out",
    )
    parser.add_argument(
        "--drain-timeout",
        metavar="SECONDS",
        type=_number(float, 0, 3600),
        default=10.0,
        help="how long requests in hand may take at the end, and then deliveries "
        "(default: %(default)g; an app has a figure of its own for deliveries)",
    )
    parser.add_argument(
        "--leave-for",
        metavar="SECONDS",
        type=_number(float, 0, 3600),
        default=0.0,
        help="after the signal go on serving for so long while /health/ready says 503, so that "
        "a load balancer looks elsewhere first (default: %(default)g)",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until a signal; a typed error of RoomKit becomes one line and exit code 2."""
    from roomkit.cli import _serving as work
    from roomkit.exceptions import RoomKitError

    settings = work.Settings(
        target=options.target,
        host=options.host,
        port=options.port,
        public_url=options.public_url,
        root_path=options.root_path,
        log_level=options.log_level,
        access_log=not options.no_access_log,
        drain_timeout=options.drain_timeout,
        leave_for=options.leave_for,
    )
    try:
        return work.serve(settings)
    except RoomKitError as error:
        write_error(f"roomkit serve: {error}")
        return ExitCode.ERROR


def _number[T: (int, float)](kind: type[T], least: T, most: T) -> Callable[[str], T]:
    """Return what reads an option's number and checks its range."""

    def read(text: str) -> T:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError("not a number") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least} to {most}")
        return value

    return read


COMMAND = Command(
    name="serve",
    summary="serve a kit over HTTP and WebSocket",
    description=(
        "Serve a kit's webhooks, live connections and health over HTTP and WebSocket with\n"
        "uvicorn (the extra 'serve'). Put a proxy that speaks TLS in front of it."
    ),
    add_arguments=add_arguments,
    run=run,
    exit_codes=f"{_TARGET_HELP}\n{_EXIT_CODES}",
)
