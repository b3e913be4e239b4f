"""What SQLite's errors mean to a caller: ours, with the cause and the cure."""

from __future__ import annotations

import sqlite3
from typing import Final

from roomkit.exceptions import (
    ForeignDatabaseError,
    InvalidInputError,
    StoreError,
    StoreUnavailableError,
)

_PRIMARY: Final = 0xFF  # the low byte of an extended result code

_UNAVAILABLE: Final = {
    sqlite3.SQLITE_BUSY: (
        "another process kept it locked for too long: try again, or give busy_timeout more seconds"
    ),
    sqlite3.SQLITE_LOCKED: "another connection keeps it locked: try again",
    sqlite3.SQLITE_READONLY: (
        "it cannot be written: let this user write the file and its folder, or mount the disk "
        "for writing"
    ),
    sqlite3.SQLITE_PERM: "access was denied: check the rights of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened: check that its folder exists and that this user may write there"
    ),
    sqlite3.SQLITE_FULL: "the disk is full: make room and try again",
    sqlite3.SQLITE_IOERR: "reading or writing it failed: check the disk",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore it from a backup",
    sqlite3.SQLITE_INTERRUPT: "the store was closed before the call was done",
    sqlite3.SQLITE_NOMEM: "there is not enough memory: free some and try again",
}

# After these a connection is not to be trusted; a new one may do better.
_BROKEN: Final = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)


def code_of(error: sqlite3.Error) -> int:
    """Return the primary result code; ``SQLITE_MISUSE`` for errors of the driver itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return sqlite3.SQLITE_MISUSE if code is None else code & _PRIMARY


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether waiting may help."""
    return code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_broken(error: BaseException) -> bool:
    """Return whether the connection should be replaced."""
    return isinstance(error, sqlite3.Error) and code_of(error) in _BROKEN


def explain(error: BaseException, name: str) -> BaseException:
    """Return what a caller is told about an error.

    Args:
        error: What was raised; errors that are not SQLite's are returned as they are.
        name: The database's file name.
    """
    if isinstance(error, UnicodeError):
        # The cause quotes the text it failed on.
        told: BaseException = InvalidInputError(
            f"the database {name!r} cannot hold a text with lone surrogates: clean it first"
        )
        return told
    if isinstance(error, OverflowError):
        return InvalidInputError(f"the database {name!r} cannot hold a number beyond 64 bits")
    if not isinstance(error, sqlite3.Error):
        return error
    code = code_of(error)
    if code == sqlite3.SQLITE_NOTADB:
        told = ForeignDatabaseError(
            f"the file {name!r} is not an SQLite database; nothing was changed: give RoomKit a "
            "file of its own"
        )
    elif code in _UNAVAILABLE:
        told = StoreUnavailableError(
            f"the database {name!r} cannot be used now, nothing was written: {_UNAVAILABLE[code]}"
        )
    elif code == sqlite3.SQLITE_CONSTRAINT:
        # SQLite names the columns, never their values.
        told = StoreError(f"the database {name!r} refused a row, nothing was written: {error}")
    else:
        told = StoreError(
            f"the database {name!r} failed, nothing was written "
            f"({getattr(error, 'sqlite_errorname', type(error).__name__)})"
        )
    told.__cause__ = error
    return told
