"""The command line: ``python -m benchmarks [--json] [--only NAME] [--list]``."""

from __future__ import annotations

import argparse
import sys

from benchmarks import table
from benchmarks.model import CATALOGUE, Row
from benchmarks.running import FailedRunError, measure_here, run
from benchmarks.scenarios import load


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="scenarios whose name contains NAME"
    )
    parser.add_argument("--list", action="store_true", help="list the scenarios and stop")
    parser.add_argument("--measure", metavar="NAME", help=argparse.SUPPRESS)
    return parser


def _chosen(only: list[str] | None) -> list[str]:
    if not only:
        return list(CATALOGUE)
    return [name for name in CATALOGUE if any(_means(part, name) for part in only)]


def _means(part: str, name: str) -> bool:
    """Return whether a name asked for is this one, or (where there is no such) part of it."""
    return name == part if part in CATALOGUE else part in name


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks; return 1 when one of them failed to do its work."""
    options = _parser().parse_args(arguments)
    load()
    if options.measure:
        print(measure_here(options.measure))
        return 0
    names = _chosen(options.only)
    if not names:
        print("no such scenario; --list shows all", file=sys.stderr)
        return 2
    if options.list:
        for name in names:
            print(f"{name:24} {CATALOGUE[name].title}")
        return 0
    return _run_all(names, as_json=options.json)


def _run_all(names: list[str], *, as_json: bool) -> int:
    rows: list[Row] = []
    failed = 0
    if not as_json:
        print(table.heading())
    for name in names:
        try:
            row = run(name)
        except FailedRunError as exc:
            failed += 1
            print(exc, file=sys.stderr)
            continue
        rows.append(row)
        if not as_json:
            print(table.line(row), flush=True)
    if as_json:
        print(table.as_json(rows))
    elif rows:
        print(f"\nyardstick {min(row.yardstick for row in rows):.1f} us; see docs/performance.md")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
