"""Public names that cost nothing until used, and optional packages that explain themselves.

``lazy_exports`` builds the module ``__getattr__`` of PEP 562; ``require`` imports an optional
dependency or says which extra brings it. Neither imports anything by itself.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType
    from typing import Any


def lazy_exports(
    module: str, origins: Mapping[str, str], extra: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``(__getattr__, __dir__)`` for a package whose names live elsewhere.

    Args:
        module: The package's own ``__name__``.
        origins: Public name to the module that defines it.
        extra: Further names ``dir()`` should list.

    A name is resolved once and then kept in the package's namespace. An unknown name raises
    AttributeError as usual.
    """
    listed = sorted({*origins, *extra})

    def __getattr__(name: str) -> Any:
        origin = origins.get(name)
        if origin is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value = getattr(import_module(origin), name)
        setattr(sys.modules[module], name, value)
        return value

    def __dir__() -> list[str]:
        return listed

    return __getattr__, __dir__


def require(package: str, *, user: str, extra: str, dist: str | None = None) -> ModuleType:
    """Import an optional package on behalf of a class.

    Args:
        package: The module to import, such as ``"httpx"``.
        user: Who needs it, such as ``"WebhookHTTPProvider"``.
        extra: The extra of RoomKit that brings it.
        dist: The distribution's name when it differs from the module's.

    Raises:
        MissingDependencyError: (also an ImportError) with the line that installs it; the
            original error is its cause.
    """
    try:
        return import_module(package)
    except ImportError as exc:
        from roomkit.exceptions import MissingDependencyError

        name = dist or package.partition(".")[0]
        raise MissingDependencyError(name, user=user, extra=extra) from exc
