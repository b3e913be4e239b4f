"""What PostgreSQL, asyncpg and the network say, as our errors: one table, no secrets.

Texts of the server may quote stored values and texts about a DSN may quote its password, so
ours are our own; the original is kept as the cause only where it holds neither.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from roomkit._lazy import require
from roomkit.exceptions import (
    InvalidInputError,
    RoomKitError,
    StoreError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from types import ModuleType


class Fault(Enum):
    """What may be done about a failed call."""

    REFUSED = auto()
    """The database has answered: nothing is to be gained by asking again."""

    ROLLED_BACK = auto()
    """It was undone in favour of another transaction: it may be asked again."""

    LOST = auto()
    """The connection broke: what it was doing may or may not have happened."""

    NO_ENTRY = auto()
    """There was no connection to be had just now: it did not begin."""


class TakenError(StoreError):
    """A row of this id exists already (told to the caller with the id in it)."""


class OrphanError(StoreError):
    """What a row belongs to does not exist (told to the caller with its id in it)."""


class BusyError(StoreUnavailableError):
    """A lock was not free within the time a statement waits for one."""


_CURES: Final = {
    "28": "the database refused the user or password: check the DSN",
    "3D": "the database of the DSN does not exist: create it",
    "53": "the database has run out of something (connections, memory or disk): "
    "lower max_size or give it more",
    "25006": "the database is read-only now: point the DSN at the primary server",
    "57014": "the database did not answer within the statement timeout",
    "55P03": "a lock of the database was not free in time: try again",
    "42501": "the user may not do this in the database: grant it the rights on our tables",
    "42P01": "tables of RoomKit are missing: call init(), or run 'roomkit migrate up'",
    "42883": "functions of RoomKit are missing: call init(), or run 'roomkit migrate up'",
}
_LOST_CURE: Final = "the connection to the database was lost: try again"
_AWAY: Final = "the database cannot be reached: check that it runs and that the DSN is right"
_NONE_FREE: Final = "no connection became free in time: raise max_size or acquire_timeout"
_SLOW: Final = "the database did not answer in time: try again, or raise the timeout"

# The server is there but lets nobody in yet, or has no place free.
_NOT_NOW: Final = frozenset({"57P03", "53300"})
# It ended the session: shutdown, crash, a dropped database, an idle timeout.
_ENDED: Final = frozenset({"57P01", "57P02", "57P04", "57P05", "25P03", "25P04"})


def driver() -> ModuleType:
    """Return asyncpg.

    Raises:
        MissingDependencyError: (also an ImportError) It is not installed.
    """
    return require("asyncpg", user="PostgresStore", extra="postgres")


def caught() -> tuple[type[BaseException], ...]:
    """Return the errors a call to the database may end with that ``explain`` knows."""
    asyncpg = driver()
    return (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        OSError,
        TimeoutError,
    )


def fault(error: BaseException, *, begun: bool) -> Fault:
    """Return what may be done about an error.

    Args:
        error: One of ``caught()``.
        begun: Whether there was a connection and the statement may have been sent.
    """
    state = getattr(error, "sqlstate", None) or ""
    if state in _NOT_NOW and not begun:
        return Fault.NO_ENTRY
    if state.startswith("40"):
        return Fault.ROLLED_BACK
    if state in _ENDED or state.startswith("08"):
        return Fault.LOST if begun else Fault.NO_ENTRY
    if state or isinstance(error, TimeoutError | ValueError):
        return Fault.REFUSED
    if isinstance(error, OSError):
        return Fault.LOST if begun else Fault.NO_ENTRY
    # The driver's own word: the connection was gone, or, before any, the pool is closing.
    return Fault.LOST if begun else Fault.REFUSED


def explain(error: Any, what: Fault, *, begun: bool = True) -> RoomKitError:
    """Return the error to raise in place of one of the driver's.

    Args:
        error: One of ``caught()``.
        what: What may be done about it.
        begun: False when no connection of the pool was to be had.
    """
    asyncpg = driver()
    state: str = getattr(error, "sqlstate", None) or ""
    if isinstance(error, asyncpg.UniqueViolationError):
        return TakenError(f"a row of the same id exists already ({error.constraint_name})")
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        return OrphanError("what it belongs to does not exist: create the room first")
    if state.startswith(("22", "23")) or isinstance(error, ValueError):
        return InvalidInputError(
            f"the database cannot keep this value ({type(error).__name__}): NUL characters and "
            "lone surrogates have no place in it"
        )
    if what in (Fault.LOST, Fault.NO_ENTRY) and state not in _NOT_NOW:
        return StoreUnavailableError(_LOST_CURE if what is Fault.LOST else _AWAY)
    if isinstance(error, TimeoutError):
        return StoreUnavailableError(_SLOW if begun else _NONE_FREE)
    if state == "55P03":
        return BusyError(_CURES[state])
    if not state:
        return StoreUnavailableError("the store is being closed, or its pool was closed")
    cure = _CURES.get(state) or _CURES.get(state[:2])
    if cure is not None:
        missing = state.startswith("42")
        return StoreError(cure) if missing else StoreUnavailableError(cure)
    if state in _NOT_NOW or what is Fault.ROLLED_BACK:
        return StoreUnavailableError("the database is busy or still starting: try again")
    return StoreError(f"the database refused ({type(error).__name__} {state})".rstrip())


def cause(error: BaseException) -> BaseException | None:
    """Return an error as the cause of ours; None when its text may quote stored values."""
    state = getattr(error, "sqlstate", None) or ""
    if isinstance(error, ValueError) or state.startswith(("22", "23")):
        return None
    return error
