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
        if (place := _place(draw, payload)) is None:
            break
        holder, step = place
        holder[step] = draw(_STRANGE)
    return payload


@st.composite
def reshaped(draw: st.DrawFn, payloads: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one of the payloads with up to four values replaced, left out or doubled."""
    payload = copy.deepcopy(draw(st.sampled_from(payloads)))
    for _ in range(draw(st.integers(1, 4))):
        if (place := _place(draw, payload)) is None:
            break
        holder, step = place
        what = draw(st.sampled_from(("replace", "leave out", "double")))
        if what == "leave out":
            del holder[step]
        elif what == "double" and isinstance(holder[step], list):
            holder[step] *= 2
        elif what == "double" and isinstance(holder, list):
            holder.insert(step, copy.deepcopy(holder[step]))
        else:
            holder[step] = draw(_STRANGE)
    return payload


def _place(draw: st.DrawFn, payload: Any) -> tuple[Any, Any] | None:
    """Return one of the containers in a payload and a key of it; None when nothing is left."""
    known = list(places(payload))
    if not known:
        return None
    *way, last = draw(st.sampled_from(known))
    holder = payload
    for step in way:
        holder = holder[step]
    return holder, last
