"""What the failures of an agent mean: the model's, the framework's, and those of its tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.exceptions import ProviderError
from roomkit.providers.ai._sdk import CONNECTION_ERRORS, ErrorRules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PROVIDER = "pydantic-ai"

_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
_PASSING = CONNECTION_ERRORS | {
    "ModelConnectionError",
    "ModelRateLimitError",
    "ModelUnavailableError",
    "ModelServerError",
    "ModelRequestTimeout",
    "RunTimedOut",
}
_QUOTA = "ModelQuotaExceededError"


class AgentErrors:
    """Makes a ProviderError of whatever a run raises.

    Args:
        secrets: Gives what must not stand in an error text.
    """

    def __init__(self, secrets: Callable[[], Sequence[str]]) -> None:
        self._rules = ErrorRules(
            provider=PROVIDER,
            statuses=_STATUSES,
            permanent=frozenset({"insufficient_quota"}),
            names=("provider_error_type", "provider_error_code", "type", "code", "status"),
            connection=_PASSING,
            secrets=secrets,
        )

    def error(self, exc: BaseException) -> ProviderError:
        """Return what an exception means; raise it ``from`` that.

        Of exceptions that are not the framework's, such as those of an agent's tools, only
        the kind is told: their texts may quote anything.
        """
        if isinstance(exc, ProviderError):
            return exc
        if isinstance(exc, BaseExceptionGroup):
            return self._of_group(exc)
        kind = type(exc).__name__
        if not type(exc).__module__.startswith("pydantic_ai"):
            return ProviderError(f"the agent failed ({kind})", provider=PROVIDER)
        error = self._rules.error(exc)
        if kind == "ModelAPIError" and error.status_code is None:
            # Older releases have no other name for a connection that failed.
            error.retryable = True
        if _QUOTA in {cls.__name__ for cls in type(exc).__mro__}:
            error.retryable = False
        self._add_cause(error, exc)
        if kind in ("UnexpectedModelBehavior", "ContentFilterError"):
            # Their full texts hold what the model said.
            error.args = (getattr(exc, "message", kind),)
        return error

    def _add_cause(self, error: ProviderError, exc: BaseException) -> None:
        """Add what only the error of the model's SDK tells."""
        wait = getattr(exc, "retry_after", None)
        if isinstance(wait, int | float):
            error.retry_after = float(wait)
        if exc.__cause__ is None:
            return
        inner = self._rules.error(exc.__cause__)
        if error.retry_after is None:
            error.retry_after = inner.retry_after
        error.request_id = error.request_id or inner.request_id

    def _of_group(self, group: BaseExceptionGroup[BaseException]) -> ProviderError:
        """Return what several failures together mean: one that may pass is enough."""
        errors = [self.error(exc) for exc in group.exceptions]
        telling = next((error for error in errors if error.retryable), errors[-1])
        return ProviderError(
            "; ".join(dict.fromkeys(str(error) for error in errors)),
            retryable=telling.retryable,
            provider=PROVIDER,
            status_code=telling.status_code,
            retry_after=telling.retry_after,
            error_type=telling.error_type,
            request_id=telling.request_id,
        )
