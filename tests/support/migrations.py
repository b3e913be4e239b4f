"""Small migrations, and processes that all migrate one database at the same moment."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

from roomkit.store._sql.migrations import Migration

FIRST = Migration(1, "first", "CREATE TABLE rooms (id text PRIMARY KEY);")
SECOND = Migration(2, "second", "CREATE TABLE events (id text);\nCREATE TABLE tasks (id text);")
BROKEN_SECOND = Migration(
    2, "second", "CREATE TABLE events (id text);\nCREATE TABLE rooms (x text);"
)

_READY = "print('ready', flush=True); input();"


def migrate_at_once(work: str, *, processes: int = 8, patience: float = 40.0) -> list[str]:
    """Run Python code in many processes at one moment and return what each printed.

    Args:
        work: The code; it starts when all processes are ready.
        processes: How many.
        patience: Seconds each may take.
    """
    before, _, after = work.partition("# go\n")
    code = f"{before}\n{_READY}\n{after}"
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", code],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            for _ in range(processes)
        ]
        for process in running:
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return [process.communicate(timeout=patience)[0] for process in running]
