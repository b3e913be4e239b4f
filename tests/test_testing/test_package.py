"""The testing package itself."""

from __future__ import annotations

import subprocess
import sys

import roomkit.testing
from roomkit._clock import ManualClock

CODE = """
import sys
import roomkit.testing
assert not [m for m in sys.modules if m.startswith("roomkit.testing.")], "not lazy"
for name in roomkit.testing.__all__:
    getattr(roomkit.testing, name)
assert not {"pytest", "hypothesis", "_pytest"} & set(sys.modules), "needs a test tool"
"""


class TestPackage:
    """Light to import, and free of test frameworks."""

    def test_names_are_lazy_and_need_no_pytest(self) -> None:
        """In a process of its own, where nothing else has been imported."""
        done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
        assert done.stderr == ""
        assert done.returncode == 0

    def test_every_name_resolves(self) -> None:
        """The list, the directory and the attributes agree."""
        assert dir(roomkit.testing) == sorted(roomkit.testing.__all__)
        assert roomkit.testing.ManualClock is ManualClock
        assert all(hasattr(roomkit.testing, name) for name in roomkit.testing.__all__)
