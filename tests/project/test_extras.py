"""The extras of pyproject.toml against the table people are shown, and against each other."""

from __future__ import annotations

import tomllib
from pathlib import Path

from roomkit.cli.extras import EXTRAS
from roomkit.cli.requirements import normalise, parse_requirement
from scripts.extras import program
from scripts.extras_programs import ERRORS, LARGE, PROGRAMS
from scripts.extras_programs import SUMS as TRIED_SUMS

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DECLARED: dict[str, list[str]] = PROJECT["optional-dependencies"]
SUMS = {"sources", "providers", "all", "voice-local"}
# Large, GPL-licensed, dependent on a system library, or a tool for development.
LEFT_OUT_OF_ALL = {
    *("fastrtc", "piper", "moonshine", "voice-local", "whatsapp-personal", "simulators"),
    *("dev", "docs"),
}


def parts(extra: str) -> set[str]:
    """Return the extra and every extra it is the sum of."""
    found = {extra}
    for line in DECLARED[extra]:
        requirement = parse_requirement(line)
        assert requirement is not None
        if requirement.name == "roomkit":
            found = found.union(*map(parts, requirement.extras))
    return found


class TestTable:
    def test_every_extra_is_described_and_nothing_else(self) -> None:
        """`roomkit doctor` knows each."""
        assert set(EXTRAS) == set(DECLARED)

    def test_every_description_says_something(self) -> None:
        """No two extras are described alike."""
        assert all(len(text.split()) >= 2 for text in EXTRAS.values())
        assert len(set(EXTRAS.values())) == len(EXTRAS)


class TestExtras:
    def test_names_are_in_canonical_spelling(self) -> None:
        """Installers spell them so in what they report."""
        assert [normalise(name) for name in DECLARED] == list(DECLARED)

    def test_all_is_everything_but_the_named_exceptions(self) -> None:
        """A new extra is in it, or left out on purpose."""
        assert parts("all") == set(DECLARED) - LEFT_OUT_OF_ALL

    def test_a_sum_holds_extras_only(self) -> None:
        """Its packages are named in one place."""
        lines = (line for name in SUMS for line in DECLARED[name])
        assert all(line.startswith("roomkit[") for line in lines)

    def test_distributions_shared_by_extras_have_one_range(self) -> None:
        """Two extras never ask for different releases."""
        ranges: dict[str, set[str]] = {}
        for name in set(DECLARED) - {"dev", "docs"}:
            for requirement in filter(None, map(parse_requirement, DECLARED[name])):
                ranges.setdefault(requirement.name, set()).add(requirement.specifier)
        assert {name: found for name, found in ranges.items() if len(found) > 1} == {}

    def test_pydantic_is_the_only_dependency(self) -> None:
        """Everything else is an extra."""
        assert PROJECT["dependencies"] == ["pydantic>=2.9"]


class TestPrograms:
    """`make test-extras` installs each extra alone and uses it: none is forgotten."""

    def test_every_extra_is_used(self) -> None:
        """Those for people who work on RoomKit apart."""
        assert {*PROGRAMS, *TRIED_SUMS} == set(DECLARED) - {"dev", "docs"}

    def test_a_sum_uses_all_its_parts(self) -> None:
        """An extra added to a sum is used with it."""
        assert set(TRIED_SUMS) == SUMS
        for name, used in TRIED_SUMS.items():
            assert set(used) == parts(name) - SUMS, name

    def test_every_program_can_be_read(self) -> None:
        """A mistake in spelling is found here, not after minutes of installing."""
        for extra in [*PROGRAMS, *TRIED_SUMS]:
            compile(program(extra), extra, "exec")

    def test_the_exceptions_are_extras(self) -> None:
        """No entry outlives the extra it is about."""
        assert set(ERRORS) | LARGE <= set(DECLARED)
