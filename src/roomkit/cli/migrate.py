"""`roomkit migrate`: bring a database to the schema of this RoomKit, or show what that takes.

This module is the command line; what it does is in `_migrations`, imported when it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.cli._command import Command, ExitCode, add_json_option
from roomkit.cli._output import write_error

if TYPE_CHECKING:
    import argparse

_DSN_HELP = """\
how a DSN is written:
  postgresql://user@host:5432/database   PostgreSQL; leave the password to PGPASSWORD or
                                         ~/.pgpass, so that no list of processes shows it
  sqlite:///file.db                      an SQLite file in this folder
  sqlite:////srv/data/file.db            an SQLite file by its full path
  file.db                                the same, as a plain path
"""

_EXIT_CODES = """\
exit codes:
  0  the database is up to date (up: now; sql: the SQL was printed)
  1  status only: migrations are pending
  2  an error, told in one line, or the command was called wrongly
"""

_EPILOG = f"{_DSN_HELP}\n{_EXIT_CODES}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions of `roomkit migrate` and their options."""
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", dest="action", required=True
    )

    def add(name: str, summary: str, description: str) -> argparse.ArgumentParser:
        return actions.add_parser(
            name,
            help=summary,
            description=description,
            epilog=_EPILOG,
            formatter_class=parser.formatter_class,
        )

    status = add(
        "status",
        "list the migrations, applied and pending",
        "List the migrations this RoomKit carries and say which of them the database has.\n"
        "Nothing is written, and a file that is not there is not made.",
    )
    status.add_argument("dsn", metavar="DSN", help="the database")
    add_json_option(status)

    up = add(
        "up",
        "apply what is pending",
        "Apply the pending migrations in order, each in a transaction of its own. It may run in\n"
        "many places at once, and again after a failure: it goes on where it stopped.",
    )
    up.add_argument("dsn", metavar="DSN", help="the database; an SQLite file is made if needed")

    sql = add(
        "sql",
        "print the SQL, to be run by hand",
        "Print the SQL of the pending migrations with all bookkeeping, for those who change\n"
        "databases by hand: psql -v ON_ERROR_STOP=1 -f FILE, or sqlite3 -bail DATABASE < FILE.",
    )
    source = sql.add_mutually_exclusive_group(required=True)
    source.add_argument("dsn", metavar="DSN", nargs="?", help="print what this database lacks")
    source.add_argument(
        "--dialect",
        choices=("postgres", "sqlite"),
        help="print every migration; no database is needed",
    )
    sql.add_argument(
        "--all",
        action="store_true",
        help="print every migration, also applied ones; the database is not asked",
    )


def run(options: argparse.Namespace) -> int:
    """Carry out the action; a typed error of RoomKit becomes one line and exit code 2."""
    from roomkit.cli import _migrations as work
    from roomkit.exceptions import RoomKitError

    try:
        if options.action == "status":
            return work.print_status(work.parse_dsn(options.dsn), as_json=options.json)
        if options.action == "up":
            return work.migrate_up(work.parse_dsn(options.dsn))
        if options.dialect is not None:
            return work.print_every_migration(options.dialect)
        target = work.parse_dsn(options.dsn)
        if options.all:
            return work.print_every_migration(target.dialect)
        return work.print_pending(target)
    except RoomKitError as error:
        write_error(f"roomkit migrate: {error}")
        return ExitCode.ERROR


COMMAND = Command(
    name="migrate",
    summary="bring a database to the schema of this RoomKit",
    description=(
        "Show, apply or print the numbered migrations of a database that keeps conversations.\n"
        "A store does the same when it opens; this is for those who want to do it beforehand,\n"
        "as another user, or by hand. 'roomkit migrate ACTION --help' tells more."
    ),
    add_arguments=add_arguments,
    run=run,
    exit_codes=_EPILOG,
)
