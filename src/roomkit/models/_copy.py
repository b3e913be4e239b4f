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
    """Mixin of an instance that many callers share: it refuses to be changed.

    The class that mixes it in stands right before the model's own. The instance equals one of
    that model with the same values, and a copy of it is one.
    """

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None:
            raise TypeError(
                f"this {type(self).__name__} is shared by all callers and cannot be changed; "
                "build your own"
            )

        def __eq__(self, other: object) -> bool:
            if not isinstance(other, type(self).__bases__[1]):
                return NotImplemented
            return self.__dict__ == other.__dict__

        __hash__ = None

        def __copy__(self) -> Any:
            fields = {name: _plain(value) for name, value in self.__dict__.items()}
            return built(type(self).__bases__[1], fields)

        def __deepcopy__(self, memo: Any = None) -> Any:
            return self.__copy__()


def _plain(value: Any) -> Any:
    """Return an empty container of one's own for a shared one."""
    if isinstance(value, SharedList):
        return []
    return {} if isinstance(value, SharedDict) else value


class SharedList(list[Any]):
    """An empty list that many callers share: it refuses to be filled."""

    if not TYPE_CHECKING:

        def _refuse(self, *_args: Any, **_values: Any) -> None:
            raise TypeError("this list is shared by all callers and cannot be changed")

        __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
        append = extend = insert = remove = pop = clear = sort = reverse = _refuse


class SharedDict(dict[str, Any]):
    """An empty mapping that many callers share: it refuses to be filled."""

    if not TYPE_CHECKING:

        def _refuse(self, *_args: Any, **_values: Any) -> None:
            raise TypeError("this mapping is shared by all callers and cannot be changed")

        __setitem__ = __delitem__ = __ior__ = _refuse
        setdefault = update = pop = popitem = clear = _refuse
