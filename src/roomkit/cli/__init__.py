"""The `roomkit` command: one module per subcommand, listed in `COMMANDS`.

It uses the standard library only, so it works in an installation without extras. A subcommand that
needs more imports it when it runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from roomkit._version import __version__
from roomkit.cli import doctor, migrate, serve, sim, version
from roomkit.cli._command import EXIT_CODES_HELP, Command, ExitCode, UsageError
from roomkit.cli._output import without_addresses

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

__all__ = ["COMMANDS", "build_parser", "main"]

COMMANDS: tuple[Command, ...] = (
    version.COMMAND,
    doctor.COMMAND,
    migrate.COMMAND,
    serve.COMMAND,
    sim.COMMAND,
)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors do not repeat addresses: a DSN may hold a password."""

    def error(self, message: str) -> NoReturn:
        super().error(without_addresses(message))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line, one subparser per entry of `COMMANDS`."""
    parser = _Parser(
        prog="roomkit",
        description="Tools around the RoomKit library.",
        epilog=EXIT_CODES_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"roomkit {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.name,
            help=command.summary,
            description=command.description,
            epilog=command.exit_codes,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
        subparser.set_defaults(command=command, subparser=subparser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never raises SystemExit.

    Args:
        argv: The arguments after the program's name; those of the process when None.
    """
    try:
        options = build_parser().parse_args(argv)
        return _run(options)
    except SystemExit as stop:  # argparse: help, version and usage errors
        return stop.code if isinstance(stop.code, int) else ExitCode.OK
    except BrokenPipeError:  # the reader left, as in `roomkit doctor | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK


def _run(options: argparse.Namespace) -> int:
    command: Command = options.command
    subparser: argparse.ArgumentParser = options.subparser
    try:
        code = command.run(options)
    except UsageError as error:
        subparser.error(str(error))
    sys.stdout.flush()
    return code
