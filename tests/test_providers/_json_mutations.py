"""Valid JSON payloads with something wrong somewhere in them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["\x00", "\ud800", "9" * 5000, 10**400, -(10**30), "1e400", "x" * 100_000]),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of everything in a JSON value."""
    steps: Any = ()
    if isinstance(value, dict):
        steps = value.items()
    elif isinstance(value, list):
        steps = enumerate(value)
    for step, inner in steps:
        yield (*path, step)
        yield from places(inner, (*path, step))


@st.composite
def mutated(draw: st.DrawFn, payloads: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one of the payloads with up to four of its values replaced."""
    payload = copy.deepcopy(draw(st.sampled_from(payloads)))
    for _ in range(draw(st.integers(1, 4))):
        known = list(places(payload))
        if not known:
            break
        *way, last = draw(st.sampled_from(known))
        holder: Any = payload
        for step in way:
            holder = holder[step]
        holder[last] = draw(_STRANGE)
    return payload
