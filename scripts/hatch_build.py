"""Puts llms-full.txt into the wheel; hatchling calls it.

The text is made by `roomkit.ai_docs`, which is loaded by its path: the package itself need not be
importable while it is built.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface[Any]):
    """Adds one made file; it goes away again when the wheel is closed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the file and have it included, unless the wheel is only a link to the checkout."""
        if version == "editable":
            return
        self._folder = Path(tempfile.mkdtemp(prefix="roomkit-build-"))
        made = self._folder / "llms-full.txt"
        made.write_text(_assemble(Path(self.root)), encoding="utf-8")
        build_data["force_include"][str(made)] = "roomkit/llms-full.txt"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Take the made file away."""
        if version != "editable":
            shutil.rmtree(self._folder)


def _assemble(root: Path) -> str:
    """Return the text, by the code of the checkout that is being built."""
    place = root / "src" / "roomkit" / "ai_docs.py"
    spec = importlib.util.spec_from_file_location("roomkit_ai_docs", place)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{place} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.assemble(root))
