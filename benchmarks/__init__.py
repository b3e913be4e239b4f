"""What RoomKit costs: one scenario a process, CPU time, beside a floor measured in the same run.

``python -m benchmarks`` prints a table; see ``docs/performance.md`` for how to read it. Not a
gate: budgets that must hold are tests, and count instead of timing.
"""

from __future__ import annotations
