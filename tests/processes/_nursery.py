"""The nursery: a process that has everything imported and forks workers on request.

Importing takes most of a second of processor time; the tests kill and start workers several
times a second. A request is a worker's configuration and its end of a socket; the answer is
the worker's process id. The nursery does not wait for its children before it ends, so that no
process id is used twice meanwhile.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING

from tests.processes import _worker

if TYPE_CHECKING:
    from tests.processes._worker import Config

_MODULES = (
    "asyncpg",
    "redis.asyncio",
    "roomkit.core.postgres_locks",
    "roomkit.core.redis_locks",
    "roomkit.store.postgres",
    "roomkit.store.sqlite",
)

REQUEST = 1 << 16
"""Bytes a request may have."""


def main() -> None:
    """Fork workers until the other end of the control socket is gone."""
    for name in _MODULES:
        import_module(name)
    gc.freeze()
    control = socket.socket(fileno=int(sys.argv[1]))
    control.send(b"ready")
    while True:
        data, fds, _, _ = socket.recv_fds(control, REQUEST, 1)
        if not data:
            return
        config = json.loads(data)
        pid = os.fork()
        if pid == 0:
            control.close()
            _be_worker(config, fds[0])
        os.close(fds[0])
        control.send(str(pid).encode())


def _be_worker(config: Config, fd: int) -> None:
    log = os.open(config["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 2)
    os.close(log)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = 1
    try:
        _worker.run(config, socket.socket(fileno=fd))
        status = 0
    except BaseException:  # noqa: BLE001 - the end of a process of its own
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
