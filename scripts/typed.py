"""Checks the types a user gets: downstream programs, and how much of the API is typed.

    .venv/bin/python -m scripts.typed

The wheel is built and installed with pydantic alone into .tools/typed, beside mypy and pyright.
There both check the programs of tests/data/downstream, strictly, and pyright measures how many of
the public symbols have a type that every checker understands alike.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.extras import ROOT, Failed, build_wheel, run

HOME = ROOT / ".tools" / "typed"
PYTHON = HOME / "bin" / "python"
TOOLS = ("mypy==2.4.1", "pyright[nodejs]==1.1.414")
SOURCES = ROOT / "tests" / "data" / "downstream"
FLOOR = 0.99


def prepare() -> None:
    """Make the environment, or bring it up to date: a new wheel each time, tools when changed."""
    uv = run("scripts/bootstrap.sh", "uv").strip()
    stamp = HOME / ".stamp"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != " ".join(TOOLS):
        shutil.rmtree(HOME, ignore_errors=True)
        run(uv, "venv", "--quiet", "--python", sys.executable, HOME)
        run(uv, "pip", "install", "--quiet", "--python", PYTHON, "pydantic>=2.9", *TOOLS)
        stamp.write_text(" ".join(TOOLS), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        run(
            *(uv, "pip", "install", "--quiet", "--no-deps", "--reinstall-package", "roomkit"),
            *("--python", PYTHON, build_wheel(Path(folder))),
        )


def pyright(folder: Path, *words: str) -> dict[str, Any]:
    """Return what pyright reports, as JSON; it exits with 1 when there is anything to report."""
    path = f"{PYTHON.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        [str(PYTHON), "-m", "pyright", "--outputjson", *words],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if not done.stdout.startswith("{"):
        raise Failed(f"pyright did not answer: {done.stdout[:500]}{done.stderr[:500]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def downstream(folder: Path) -> list[str]:
    """Return what the two checkers find in copies of the programs, away from our sources."""
    for source in SOURCES.glob("*.py"):
        shutil.copy(source, folder)
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.12"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    found = []
    try:
        run(PYTHON, "-m", "mypy", "--strict", "--no-incremental", ".", cwd=folder)
    except Failed as failed:
        found += [f"mypy: {line}" for line in str(failed).splitlines()]
    for one in pyright(folder, ".")["generalDiagnostics"]:
        place = f"{Path(one['file']).name}:{one['range']['start']['line'] + 1}"
        found.append(f"pyright: {place} {one['message']}")
    return found


def completeness(folder: Path) -> tuple[float, list[str]]:
    """Return the share of public symbols that are typed, and the ones that are not."""
    report = pyright(folder, "--verifytypes", "roomkit", "--ignoreexternal")["typeCompleteness"]
    if not report["packageRootDirectory"]:
        raise Failed("pyright did not find the installed package")
    symbols = report["symbols"]
    bad = [one["name"] for one in symbols if one["isExported"] and not one["isTypeKnown"]]
    return float(report["completenessScore"]), bad


def main(argv: list[str] | None = None) -> int:
    """Check everything and say how it went; 1 when something does not hold."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args(argv)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="roomkit-typed-") as folder:
        prepare()
        problems = downstream(Path(folder))
        score, untyped = completeness(Path(folder))
    for problem in problems:
        print(problem)
    print(f"{len(list(SOURCES.glob('*.py')))} programs, {len(problems)} problems")
    print(f"{score:.2%} of the public symbols are typed (at least {FLOOR:.0%} must be)")
    if score < FLOOR:
        for name in untyped:
            print(f"  {name}")
    print(f"{time.monotonic() - begun:.0f} s")
    return 1 if problems or score < FLOOR else 0


if __name__ == "__main__":
    sys.exit(main())
