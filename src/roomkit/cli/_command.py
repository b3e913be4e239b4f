"""What a subcommand is made of, and the exit codes all of them share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


class ExitCode(IntEnum):
    """What a command answers to the shell."""

    OK = 0
    PROBLEM = 1
    USAGE = 2
    ERROR = 2


EXIT_CODES_HELP = """exit codes:
  0  all is well
  1  a problem was found
  2  the command was called wrongly
"""


class UsageError(Exception):
    """The arguments parse but make no sense; ends the command with `ExitCode.USAGE`."""


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand.

    Attributes:
        name: The word typed after `roomkit`.
        summary: One line for the list of commands.
        description: What the command's own `--help` opens with.
        add_arguments: Declares the command's options on its subparser.
        run: Carries the command out and returns an exit code.
        exit_codes: What its `--help` ends with.
    """

    name: str
    summary: str
    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    exit_codes: str = EXIT_CODES_HELP


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add the `--json` switch, spelled the same in every command that has one."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs to read")
