"""Installs each extra alone and uses it once, and says how long that took.

    .venv/bin/python -m scripts.extras                 the small extras
    .venv/bin/python -m scripts.extras --full          all of them but fastrtc
    .venv/bin/python -m scripts.extras httpx serve     these
    .venv/bin/python -m scripts.extras --resolve       that 'roomkit[all]' fits on every Python

One wheel is built; every extra gets an environment of its own with that wheel and what the extra
names, nothing else. First every program runs in an installation without extras, where it must end
in the error that names its extra. What is done with each is in `scripts/extras_programs.py`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scripts.extras_programs import ERRORS, LARGE, PRELUDE, PROGRAMS, SUMS

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 600
PYTHONS = ("3.12", "3.13")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one extra."""

    extra: str
    packages: int
    install_seconds: float
    use_seconds: float
    problem: str | None


class Failed(Exception):
    """A command did not end with 0; the text is the end of what it printed."""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Return what a command prints.

    Raises:
        Failed: It failed or took longer than ten minutes.
    """
    surroundings = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "UV_SYSTEM_CERTS": "1"}
    surroundings.pop("VIRTUAL_ENV", None)
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=surroundings,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"it took longer than {SECONDS} seconds") from None
    if done.returncode != 0:
        raise Failed((done.stderr.strip() or done.stdout.strip())[-1500:])
    return done.stdout


def program(extra: str) -> str:
    """Return the program of an extra, that of a sum being those of its parts."""
    parts = SUMS.get(extra, (extra,))
    bodies = [
        f"async def use_{number}():\n    pass\n{textwrap.indent(PROGRAMS[part].strip(), '    ')}\n"
        for number, part in enumerate(parts)
    ]
    calls = "".join(f"asyncio.run(use_{number}())\n" for number in range(len(parts)))
    return PRELUDE + "".join(bodies) + calls


def build_wheel(folder: Path) -> Path:
    """Return a wheel of the checkout, built into a folder that has none yet."""
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


class Bench:
    """One wheel, one uv, and a folder for environments that goes away with everything in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uv = run("scripts/bootstrap.sh", "uv").strip()
        self.wheel = build_wheel(folder)

    def environment(self, name: str, extras: str) -> Path:
        """Return the interpreter of a new environment that holds the wheel with some extras."""
        home = self.folder / f"env-{name}"
        run(self.uv, "venv", "--quiet", "--python", sys.executable, home)
        python = home / "bin" / "python"
        run(self.uv, "pip", "install", "--quiet", "--python", python, f"{self.wheel}{extras}")
        return python

    def use(self, python: Path, extra: str) -> None:
        """Run an extra's program; it must end with 0."""
        work = Path(tempfile.mkdtemp(dir=self.folder))
        run(python, "-I", "-c", program(extra), cwd=work)

    def examine(self, extra: str) -> Outcome:
        """Install an extra alone and use it."""
        packages, begun, installed = 0, time.monotonic(), 0.0
        try:
            python = self.environment(extra, f"[{extra}]")
            installed = time.monotonic()
            frozen = run(self.uv, "pip", "freeze", "--python", python)
            packages = len(frozen.splitlines())
            self.use(python, extra)
        except Failed as failed:
            now = time.monotonic()
            seconds = (installed or now) - begun
            return Outcome(extra, packages, seconds, now - (installed or now), str(failed))
        return Outcome(extra, packages, installed - begun, time.monotonic() - installed, None)

    def without(self, extras: list[str], pool: ThreadPoolExecutor) -> list[str]:
        """Return what is wrong with the errors of programs that miss their extra."""
        python = self.environment("bare", "")

        def complaint(extra: str) -> str | None:
            wanted = ERRORS.get(extra, f"roomkit[{extra}]")
            try:
                self.use(python, extra)
            except Failed as failed:
                last = str(failed).splitlines()[-1]
                return None if wanted and wanted in last else f"{extra}: {last}"
            return f"{extra}: worked without the extra" if wanted else None

        return [text for text in pool.map(complaint, extras) if text]

    def resolve(self) -> list[str]:
        """Return how many packages 'roomkit[all]' comes to on each Python, none to be compiled.

        Raises:
            Failed: There is no set of releases that fit together.
        """
        answers = []
        for version in PYTHONS:
            lines = run(
                *(self.uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate"),
                *("--python-version", version, "--only-binary", ":all:"),
                self._wanted("all"),
            )
            answers.append(f"roomkit[all] on {version}: {len(lines.splitlines())} packages")
        return answers

    def _wanted(self, extras: str) -> Path:
        """Return a file of requirements that names the wheel with some extras."""
        path = self.folder / "wanted.in"
        path.write_text(f"roomkit[{extras}] @ {self.wheel.as_uri()}\n", encoding="utf-8")
        return path


def table(outcomes: list[Outcome]) -> str:
    """Return the outcomes as lines."""
    lines = [f"{'extra':20} {'packages':>8} {'install s':>9} {'use s':>6}  outcome"]
    for one in outcomes:
        word = "ok" if one.problem is None else "FAILED"
        lines.append(
            f"{one.extra:20} {one.packages:8} {one.install_seconds:9.1f} "
            f"{one.use_seconds:6.1f}  {word}"
        )
    return "\n".join(lines)


def chosen(options: argparse.Namespace) -> list[str]:
    """Return the extras the command line asks for."""
    known = [*PROGRAMS, *SUMS]
    if options.extras:
        return list(options.extras)
    if options.full:
        return [extra for extra in known if extra != "fastrtc"]
    return [extra for extra in known if extra not in LARGE]


def main(argv: list[str] | None = None) -> int:
    """Run what was asked for; 1 when something does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("extras", nargs="*", metavar="EXTRA", choices=[*PROGRAMS, *SUMS, []])
    parser.add_argument("--full", action="store_true", help="the large ones too, fastrtc apart")
    parser.add_argument("--resolve", action="store_true", help="resolve 'roomkit[all]' only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="how many at once")
    options = parser.parse_args(argv)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="roomkit-extras-") as folder:
        bench = Bench(Path(folder))
        print(*bench.resolve(), sep="\n")
        if options.resolve:
            return 0
        extras = chosen(options)
        with ThreadPoolExecutor(options.jobs) as pool:
            single = [extra for extra in extras if extra not in SUMS]
            complaints = bench.without(single, pool)
            outcomes = list(pool.map(bench.examine, extras))
    print(table(outcomes))
    print(f"{len(outcomes)} extras in {time.monotonic() - begun:.0f} s")
    for complaint in complaints:
        print(f"without its extra: {complaint}", file=sys.stderr)
    failures = [one for one in outcomes if one.problem is not None]
    for one in failures:
        print(f"\n--- {one.extra}\n{one.problem}", file=sys.stderr)
    return 1 if failures or complaints else 0


if __name__ == "__main__":
    sys.exit(main())
