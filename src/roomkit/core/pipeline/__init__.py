"""The path of a message: prepare, admit, commit, deliver in lanes, report."""

from __future__ import annotations
