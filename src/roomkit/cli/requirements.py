"""Which distributions an extra consists of, and whether they are installed.

Works from the metadata of installed distributions and imports none of them. It reads the part of
the requirement grammar that RoomKit's own metadata uses: names, extras, plain comparisons, and
`extra == "..."` as the whole marker. A requirement with any other marker is left out, since
whether it applies cannot be told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType

_REQUIREMENT = re.compile(
    r"^(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*"
    r"(?:\[(?P<extras>[^\]]*)\])?\s*"
    r"(?P<specifier>[^;]*?)\s*"
    r"(?:;\s*(?P<marker>.*))?$"
)
_EXTRA_MARKER = re.compile(
    r"""^\(?\s*extra\s*==\s*(?P<quote>['"])(?P<extra>[^'"]+)(?P=quote)\s*\)?$"""
)
_COMPARISON = re.compile(r"^(?P<operator>>=|<=|==|!=|>|<)\s*v?(?P<release>\d+(?:\.\d+)*)$")
_RELEASE = re.compile(r"^v?(\d+(?:\.\d+)*)")
# For each comparison, on which side of the named version the installed one may lie.
_SIDES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {">=": (0, 1), "<=": (-1, 0), "==": (0,), "!=": (-1, 1), ">": (1,), "<": (-1,)}
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of `Requires-Dist`, taken apart.

    Attributes:
        name: The distribution, normalised: lower case with single dashes.
        extras: The extras asked of that distribution.
        specifier: The accepted versions, such as `>=0.27`; empty when any will do.
        extra: The extra of the requiring distribution that this line belongs to, if any.
    """

    name: str
    extras: tuple[str, ...] = ()
    specifier: str = ""
    extra: str | None = None


@dataclass(frozen=True, slots=True)
class Distribution:
    """What is known of an installed distribution."""

    version: str
    requires: tuple[Requirement, ...] = ()
    extras: tuple[str, ...] = ()


type Lookup = Callable[[str], Distribution | None]


@dataclass(frozen=True, slots=True)
class RequirementState:
    """A requirement against what is installed: `version` is None when nothing is."""

    name: str
    specifier: str
    version: str | None

    @property
    def satisfied(self) -> bool:
        """Whether the distribution is installed in an accepted version."""
        return self.version is not None and accepts(self.specifier, self.version)


def installed(name: str) -> Distribution | None:
    """Return an installed distribution, or None."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    lines = map(parse_requirement, found.requires or ())
    return Distribution(
        version=found.version,
        requires=tuple(line for line in lines if line is not None),
        extras=tuple(found.metadata.get_all("Provides-Extra") or ()),
    )


def parse_requirement(line: str) -> Requirement | None:
    """Return the parts of a `Requires-Dist` line, None when whether it applies is unknown."""
    match = _REQUIREMENT.match(line.strip())
    if match is None:
        return None
    extra = None
    if marker := match["marker"]:
        condition = _EXTRA_MARKER.match(marker.strip())
        if condition is None:
            return None
        extra = normalise(condition["extra"])
    extras = (part.strip() for part in (match["extras"] or "").split(","))
    return Requirement(
        name=normalise(match["name"]),
        extras=tuple(normalise(part) for part in extras if part),
        specifier=match["specifier"].strip("() ").replace(" ", ""),
        extra=extra,
    )


def requirement_states(name: str, extra: str, lookup: Lookup) -> tuple[RequirementState, ...]:
    """Return every distribution an extra asks for and what is installed of it, by name.

    Extras of the required distributions are followed: `pyjwt[crypto]` also asks for what the
    `crypto` extra of pyjwt needs. A distribution named twice appears once, with both conditions.
    """
    specifiers: dict[str, list[str]] = {}
    pending = [(normalise(name), normalise(extra))]
    seen = set(pending)
    while pending:
        owner, wanted = pending.pop()
        for requirement in _requirements_of(owner, wanted, lookup):
            if requirement.name != owner:
                specifiers.setdefault(requirement.name, []).append(requirement.specifier)
            nested = {(requirement.name, inner) for inner in requirement.extras} - seen
            seen |= nested
            pending.extend(sorted(nested))
    return tuple(
        _state(required, _join(parts), lookup) for required, parts in sorted(specifiers.items())
    )


def core_states(name: str, lookup: Lookup) -> tuple[RequirementState, ...]:
    """Return what a distribution needs whatever its extras, and what is installed of it."""
    found = lookup(name)
    core = [line for line in found.requires if line.extra is None] if found else []
    return tuple(_state(line.name, line.specifier, lookup) for line in core)


def accepts(specifier: str, version: str) -> bool:
    """Whether a version fits a specifier, compared by its release numbers.

    Pre-releases count as the release they lead to. A comparison that cannot be read, such as
    `~=1.0` or `==1.*`, is taken as fulfilled: a report must not cry wolf.
    """
    release = _RELEASE.match(version)
    if release is None:
        return True
    have = _numbers(release[1])
    return all(_holds(part, have) for part in specifier.split(",") if part)


def normalise(name: str) -> str:
    """Return a distribution's or an extra's name in its canonical spelling."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _requirements_of(name: str, extra: str, lookup: Lookup) -> Iterable[Requirement]:
    found = lookup(name)
    return [line for line in found.requires if line.extra == extra] if found else []


def _state(name: str, specifier: str, lookup: Lookup) -> RequirementState:
    found = lookup(name)
    return RequirementState(name, specifier, found.version if found else None)


def _join(specifiers: Sequence[str]) -> str:
    return ",".join(dict.fromkeys(part for part in specifiers if part))


def _holds(comparison: str, have: tuple[int, ...]) -> bool:
    match = _COMPARISON.match(comparison.strip())
    if match is None:
        return True
    want = _numbers(match["release"])
    return (have > want) - (have < want) in _SIDES[match["operator"]]


def _numbers(release: str) -> tuple[int, ...]:
    """Return a release's numbers without trailing zeros, so that 2 and 2.0 are equal."""
    numbers = [int(part) for part in release.split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
