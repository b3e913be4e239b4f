"""`roomkit version`: which RoomKit, Python and pydantic this is."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING

from roomkit._version import __version__
from roomkit.cli._command import Command, ExitCode, add_json_option
from roomkit.cli._output import write_json, write_line

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Print the version, or with `--json` also those of Python and pydantic."""
    if options.json:
        write_json(
            {
                "roomkit": __version__,
                "python": platform.python_version(),
                "pydantic": metadata.version("pydantic"),
            }
        )
    else:
        write_line(f"roomkit {__version__}")
    return ExitCode.OK


COMMAND = Command(
    name="version",
    summary="print the version",
    description="Print the version of RoomKit; with --json also of Python and pydantic.",
    add_arguments=add_json_option,
    run=run,
)
