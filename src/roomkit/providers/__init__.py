"""Vendors that carry messages out and AI models that answer them, one folder a kind or vendor.

A kind (``sms``, ``email``, ...) holds the base class and the mock; a vendor holds its config,
its provider and its webhook reader. Import from those folders; nothing is exported here.
"""

from __future__ import annotations
