"""`roomkit doctor`: what is installed, what each missing extra would bring and how to get it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roomkit._version import __version__
from roomkit.cli._command import Command, ExitCode, UsageError, add_json_option
from roomkit.cli._output import write_json, write_line
from roomkit.cli.extras import EXTRAS, install_command
from roomkit.cli.requirements import (
    Lookup,
    RequirementState,
    core_states,
    installed,
    normalise,
    requirement_states,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_DISTRIBUTION = "roomkit"
_OWN_WORK = frozenset({"dev", "docs"})


@dataclass(frozen=True, slots=True)
class ExtraReport:
    """One extra: what it brings and which of its distributions are there."""

    name: str
    enables: str
    distributions: tuple[RequirementState, ...]

    @property
    def installed(self) -> bool:
        """Whether every distribution of the extra is there in an accepted version."""
        return all(state.satisfied for state in self.distributions)


@dataclass(frozen=True, slots=True)
class Report:
    """The state of one installation."""

    core: tuple[RequirementState, ...]
    extras: tuple[ExtraReport, ...]
    problems: tuple[str, ...]


def examine(lookup: Lookup, selected: Sequence[str] = (), required: Sequence[str] = ()) -> Report:
    """Return the state of the installation.

    Args:
        lookup: Finds an installed distribution by name.
        selected: The extras to report on; when empty, all but those for work on RoomKit itself.
        required: The extras whose absence is a problem; reported on in any case.

    Raises:
        UsageError: A name among `selected` or `required` is not an extra of RoomKit.
    """
    own = lookup(_DISTRIBUTION)
    if own is None:
        problem = f"{_DISTRIBUTION} runs from source without being installed: extras are unknown"
        return Report(core=(), extras=(), problems=(problem,))
    known = {normalise(name): name for name in own.extras}
    must = [_resolve(name, known) for name in required]
    asked = {_resolve(name, known) for name in selected} | set(must)
    shown = asked if selected else (set(known.values()) - _OWN_WORK) | asked
    # The table gives the order, from the everyday to the special.
    order = {name: place for place, name in enumerate(EXTRAS)}
    extras = tuple(
        ExtraReport(name, EXTRAS.get(name, ""), requirement_states(_DISTRIBUTION, name, lookup))
        for name in sorted(shown, key=lambda name: (order.get(name, len(order)), name))
    )
    core = core_states(_DISTRIBUTION, lookup)
    problems = [f"{_describe(state)}" for state in core if not state.satisfied]
    problems += [
        f"required extra '{extra.name}' is not installed: {install_command(extra.name)}"
        for extra in extras
        if extra.name in must and not extra.installed
    ]
    return Report(core=core, extras=extras, problems=tuple(problems))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `roomkit doctor`."""
    add_json_option(parser)
    parser.add_argument(
        "--extra",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="report on these extras only",
    )
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="NAME",
        help="exit with 1 when this extra is not installed (may be repeated)",
    )


def run(options: argparse.Namespace) -> int:
    """Print the report; a problem found makes the exit code 1."""
    report = examine(installed, selected=options.extra, required=options.require)
    if options.json:
        write_json(_as_json(report))
    else:
        _write_text(report)
    return ExitCode.PROBLEM if report.problems else ExitCode.OK


def _resolve(name: str, known: dict[str, str]) -> str:
    try:
        return known[normalise(name)]
    except KeyError:
        names = ", ".join(sorted(known.values()))
        raise UsageError(f"'{name}' is not an extra of RoomKit; the extras are: {names}") from None


def _as_json(report: Report) -> dict[str, object]:
    return {
        "ok": not report.problems,
        "problems": list(report.problems),
        "roomkit": __version__,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "core": [_state_json(state) for state in report.core],
        "extras": [
            {
                "name": extra.name,
                "installed": extra.installed,
                "enables": extra.enables,
                "install": install_command(extra.name),
                "distributions": [_state_json(state) for state in extra.distributions],
            }
            for extra in report.extras
        ],
    }


def _state_json(state: RequirementState) -> dict[str, object]:
    return {
        "name": state.name,
        "requires": state.specifier,
        "version": state.version,
        "satisfied": state.satisfied,
    }


def _write_text(report: Report) -> None:
    write_line(f"roomkit   {__version__}")
    write_line(f"python    {platform.python_version()} ({platform.python_implementation()})")
    write_line(f"platform  {platform.platform()}")
    for state in report.core:
        write_line(f"{state.name:<9} {state.version or 'missing'}")
    _write_installed([extra for extra in report.extras if extra.installed])
    _write_missing([extra for extra in report.extras if not extra.installed])
    for problem in report.problems:
        write_line()
        write_line(f"problem: {problem}")


def _write_installed(extras: Sequence[ExtraReport]) -> None:
    if not extras:
        return
    write_line()
    write_line("Installed extras")
    width = max(len(extra.name) for extra in extras)
    for extra in extras:
        versions = ", ".join(f"{state.name} {state.version}" for state in extra.distributions)
        write_line(f"  {extra.name:<{width}}  {versions}".rstrip())


def _write_missing(extras: Sequence[ExtraReport]) -> None:
    if not extras:
        return
    write_line()
    write_line("Missing extras")
    for extra in extras:
        lacking = (state for state in extra.distributions if not state.satisfied)
        write_line(f"  {extra.name}: {extra.enables}")
        write_line(f"    needs    {', '.join(_describe(state) for state in lacking)}")
        write_line(f"    install  {install_command(extra.name)}")


def _describe(state: RequirementState) -> str:
    wanted = f"{state.name}{state.specifier}"
    if state.version is None:
        return wanted
    return wanted if state.satisfied else f"{wanted} (found {state.version})"


COMMAND = Command(
    name="doctor",
    summary="tell what is installed and what is missing",
    description=(
        "List the extras of RoomKit: which are installed and in what versions, what each missing\n"
        "one would bring and how to install it. Nothing is imported and nothing is changed."
    ),
    add_arguments=add_arguments,
    run=run,
)
