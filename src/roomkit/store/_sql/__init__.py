"""What the SQL stores are made of: rows to models and back, schemas, queries and migrations."""

from __future__ import annotations
