"""People, pre-commit, CI and the documents all run the same make targets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "AGENTS.md"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def public_targets() -> set[str]:
    """Return the targets of the Makefile."""
    (line,) = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    return set(line.replace("\\\n", " ").split())


def prerequisites(target: str) -> list[str]:
    """Return what a target waits for."""
    (line,) = re.findall(rf"^{re.escape(target)}:([^#\n]*)", MAKEFILE, re.MULTILINE)
    return str(line).split()


def targets_of(command: str) -> set[str]:
    """Return the targets a `make ...` command names; fail on any other command."""
    program, *words = command.split()
    assert program == "make", f"not a make target: {command}"
    return {word for word in words if "=" not in word}


def workflow_commands() -> list[str]:
    """Return what the workflow of GitHub runs."""
    workflow: dict[str, Any] = yaml.safe_load(
        (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    )
    commands: list[str] = []
    for job in workflow["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {}).get("include", [])
        for step in job["steps"]:
            match step.get("run"):
                case None:
                    continue
                case "${{ matrix.command }}":
                    commands += [entry["command"] for entry in matrix]
                case command:
                    commands.append(command)
    return commands


def hook_commands() -> list[str]:
    """Return what pre-commit runs."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    return [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]


def ci_run_commands() -> list[str]:
    """Return the steps of the CI script."""
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    return re.findall(r"^\s*step (.+)$", script, re.MULTILINE)


def expanded(commands: list[str]) -> set[str]:
    """Return the targets of commands, `checks` taken apart."""
    targets = set().union(*map(targets_of, commands))
    return targets - {"checks"} | (set(prerequisites("checks")) if "checks" in targets else set())


def run(*command: str) -> str:
    """Return what a command prints, run apart from the make that may run these tests."""
    surroundings = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=True
    )
    return done.stdout


@cache
def dry_run(command: str) -> str:
    """Return the commands a make command would run, without running them."""
    return run(*command.split(), "--dry-run")


class TestMakefile:
    def test_every_target_explains_itself(self) -> None:
        """`make` has a line for each."""
        explained = set(re.findall(r"^([a-z0-9.-]+):.*## \S", MAKEFILE, re.MULTILINE))
        assert explained == public_targets()

    @needs_make
    def test_make_alone_lists_every_target(self) -> None:
        """Whoever types it sees what there is."""
        listed = {line.split()[0] for line in run("make").splitlines()}
        assert listed == public_targets()

    @needs_make
    def test_all_checks_everything_and_measures_the_tests_once(self) -> None:
        """Each tool is called, and the tests are run with coverage."""
        commands = dry_run("make all")
        for tool in ("ruff check", "ruff format --check", "mypy", "lint-imports", "bandit"):
            assert tool in commands
        (tests,) = (line for line in commands.splitlines() if "-m pytest" in line)
        assert "--cov" in tests

    @needs_make
    def test_plain_tests_are_not_measured(self) -> None:
        """They are faster so."""
        assert "--cov" not in dry_run("make test")


class TestAgreement:
    @pytest.mark.parametrize("commands", [workflow_commands, hook_commands, ci_run_commands])
    def test_only_targets_of_the_makefile_are_run(self, commands: Callable[[], list[str]]) -> None:
        """By the workflow, by pre-commit, by the CI script."""
        found = commands()
        assert found
        assert set().union(*map(targets_of, found)) <= public_targets()

    def test_the_workflow_and_the_ci_script_run_the_same(self) -> None:
        """Who is green here is green there, the pages aside."""
        assert expanded(workflow_commands()) - {"docs"} == expanded(ci_run_commands())

    def test_the_hooks_run_every_check(self) -> None:
        """They also mend what can be mended."""
        hooks = expanded(hook_commands())
        assert hooks - {"fix"} | {"lint", "format-check"} == set(prerequisites("checks"))
        assert "fix" in hooks

    @needs_make
    def test_the_ci_script_runs_the_tests_once_on_each_python(self) -> None:
        """No version is left out, none tested twice."""
        runs = [
            line.split()[0]
            for command in ci_run_commands()
            for line in dry_run(command).splitlines()
            if "-m pytest" in line
        ]
        assert sorted(runs) == [".venv/bin/python", ".venv313/bin/python"]

    @pytest.mark.parametrize("name", DOCUMENTS)
    def test_the_documents_name_targets_that_exist(self, name: str) -> None:
        """A reader who types one gets no error."""
        text = (ROOT / name).read_text(encoding="utf-8")
        named = re.findall(r"(?:`|^)make ([a-z][a-z0-9.-]*)", text, re.MULTILINE)
        assert set(named) <= public_targets()
