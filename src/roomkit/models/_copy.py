"""One shallow copy with changes: the only way a model is changed, used inside models only.

``model_copy`` does the same with more checks; the values here are the library's own, so a
third of its price is enough (design: no re-validation of values we made).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

_new = object.__new__
_set_dict = object.__setattr__
# The slots pydantic keeps beside the fields, set without the checks of its __setattr__.
_set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_set_private = BaseModel.__dict__["__pydantic_private__"].__set__
_set_given = BaseModel.__dict__["__pydantic_fields_set__"].__set__
# One set a class, shared by all copies: it names every field, so nothing can be added to it.
# A set of its own would be the largest part of a stored event.
_full_sets: dict[type, set[str]] = {}


def changed[M: BaseModel](model: M, **changes: Any) -> M:
    """Return a shallow copy of ``model`` with some fields replaced, unvalidated.

    All fields of the copy count as given (``model_dump(exclude_unset=True)`` has them all).
    """
    cls = type(model)
    copy = _new(cls)
    fields = model.__dict__.copy()
    fields.update(changes)
    _set_dict(copy, "__dict__", fields)
    _set_extra(copy, model.__pydantic_extra__)
    _set_private(copy, model.__pydantic_private__)
    full = _full_sets.get(cls)
    if full is None:
        full = _full_sets[cls] = set(fields)
    _set_given(copy, full)
    return copy


def built[M: BaseModel](cls: type[M], fields: dict[str, Any]) -> M:
    """Return a model of ``cls`` made of all its ``fields``, unvalidated."""
    model = _new(cls)
    _set_dict(model, "__dict__", fields)
    _set_extra(model, None)
    _set_private(model, None)
    full = _full_sets.get(cls)
    if full is None:
        full = _full_sets[cls] = set(fields)
    _set_given(model, full)
    return model


class Shared:
    """Mixin of an instance that many callers share: it refuses to be changed."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError(
            f"this {type(self).__name__} is shared by all callers and cannot be changed; "
            "build your own"
        )


class SharedDict(dict[str, Any]):
    """An empty mapping that many callers share: it refuses to be filled."""

    if not TYPE_CHECKING:

        def _refuse(self, *_args: Any, **_values: Any) -> None:
            raise TypeError("this mapping is shared by all callers and cannot be changed")

        __setitem__ = __delitem__ = __ior__ = _refuse
        setdefault = update = pop = popitem = clear = _refuse
