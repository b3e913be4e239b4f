"""Whole conversations, as programs have them."""

from __future__ import annotations
