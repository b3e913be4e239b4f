"""One shallow copy with changes: the only way a model is changed, used inside models only.

``model_copy`` does the same with more checks; the values here are the library's own, so a
third of its price is enough (design: no re-validation of values we made).
"""

from __future__ import annotations

from typing import Any, Protocol, cast


class _ModelLike(Protocol):
    __pydantic_fields_set__: set[str]


_new = object.__new__
_set = object.__setattr__
_full_sets: dict[type, set[str]] = {}


def changed[M](model: M, **changes: Any) -> M:
    """Return a shallow copy of ``model`` with some fields replaced, unvalidated."""
    cls = type(model)
    copy = _new(cls)
    fields = model.__dict__.copy()
    fields.update(changes)
    _set(copy, "__dict__", fields)
    _set(copy, "__pydantic_extra__", None)
    _set(copy, "__pydantic_private__", None)
    given = cast("_ModelLike", model).__pydantic_fields_set__
    _set(copy, "__pydantic_fields_set__", given | changes.keys() if changes else given.copy())
    return copy


def built[M](cls: type[M], fields: dict[str, Any]) -> M:
    """Return a model of ``cls`` made of all its ``fields``, unvalidated."""
    model = _new(cls)
    _set(model, "__dict__", fields)
    _set(model, "__pydantic_extra__", None)
    _set(model, "__pydantic_private__", None)
    full = _full_sets.get(cls)
    if full is None:
        # Shared by all such models: it names every field, so nothing can be added to it.
        full = _full_sets[cls] = set(fields)
    _set(model, "__pydantic_fields_set__", full)
    return model


class Shared:
    """Mixin of an instance that many callers share: it refuses to be changed."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError(
            f"this {type(self).__name__} is shared by all callers and cannot be changed; "
            "build your own"
        )
