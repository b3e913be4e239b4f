"""The environment of programs that tests run as processes of their own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def bytecode_folder(config: pytest.Config, temporary: pytest.TempPathFactory) -> Path:
    """Return where compiled modules are kept, from one run to the next if that may be.

    Args:
        config: The test run's.
        temporary: Where to keep them for this run only, when pytest keeps nothing.
    """
    if config.pluginmanager.hasplugin("cacheprovider"):
        return config.cache.mkdir("bytecode")
    base = temporary.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "bytecode"


def environment(bytecode: Path, *but: str) -> dict[str, str]:
    """Return this process's environment for a child that is to start quickly.

    Where it says that compiled modules are not to be written, each child would compile all it
    imports anew, which takes longer than most programs run: they are written elsewhere.

    Args:
        bytecode: Where to.
        but: How names of variables begin that the child is not to have.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(but)}
    if kept.pop("PYTHONDONTWRITEBYTECODE", None):
        kept["PYTHONPYCACHEPREFIX"] = str(bytecode)
    return kept
