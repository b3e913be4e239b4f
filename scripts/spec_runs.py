"""Keeps fingerprints of texts that our own must not repeat, without keeping the texts.

    .venv/bin/python -m scripts.spec_runs FILE...

reads the documents RoomKit was specified by and writes tests/data/spec_runs.bin: for every run of
twelve words in them five bytes of its hash, sorted. `tests/project/test_own_words.py` looks for
the same runs in what we wrote.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).resolve().parents[1] / "tests" / "data" / "spec_runs.bin"
LENGTH = 12
BYTES = 5


def runs(text: str) -> Iterator[tuple[bytes, str]]:
    """Yield the fingerprint and the words of each run; a name counts as one word.

    Case, punctuation and markup do not count.
    """
    words = re.findall(r"[a-z0-9]+(?:_+[a-z0-9]+)*", text.lower())
    for start in range(len(words) - LENGTH + 1):
        run = " ".join(words[start : start + LENGTH])
        yield blake2b(run.encode(), digest_size=BYTES).digest(), run


def prose(source: str) -> str:
    """Return the docstrings and comments of a Python file, in order of their kind."""
    parts = [
        text
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (text := ast.get_docstring(node))
    ]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    parts += [token.string for token in tokens if token.type == tokenize.COMMENT]
    return "\n".join(parts)


def known(path: Path = FILE) -> frozenset[bytes]:
    """Return the fingerprints that were kept."""
    data = path.read_bytes()
    return frozenset(data[at : at + BYTES] for at in range(0, len(data), BYTES))


def main(argv: list[str] | None = None) -> int:
    """Write the fingerprints of the named documents."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="FILE", type=Path)
    texts = [path.read_text(encoding="utf-8") for path in parser.parse_args(argv).files]
    found = sorted({mark for text in texts for mark, _ in runs(text)})
    FILE.write_bytes(b"".join(found))
    print(f"{len(found)} runs of {LENGTH} words in {FILE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
