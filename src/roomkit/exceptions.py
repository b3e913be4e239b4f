"""Every public error of RoomKit, and nothing else.

    RoomKitError
      NotFoundError            RoomNotFoundError  ChannelNotFoundError
                               ChannelNotRegisteredError  ParticipantNotFoundError
                               IdentityNotFoundError  SourceNotFoundError
      ConflictError            SourceAlreadyAttachedError  RoomClosedError
                               InvalidTransitionError  LockCycleError
                               LockTimeoutError (also TimeoutError)  EventRefusedError
      StoreError               StoreUnavailableError  SchemaTooNewError
                               SchemaChangedError  ForeignDatabaseError
                               CommitOutcomeUnknown
      ConfigurationError       VoiceNotConfiguredError  VoiceBackendNotConfiguredError
                               MissingDependencyError (also ImportError)
                               WrongLoopError  KitClosedError
      InvalidInputError        (also ValueError)  InvalidMetadataError  UnsafeURLError
      InvalidReturnError       (also TypeError)
      ProviderError            ProviderDeliveryError  MediaFetchError
      WebhookError             (also ValueError)
      WebhookRefused

They live on a floor of their own so that every layer may raise them without importing
another. Texts carry ids, never message text, addresses or secrets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult


class RoomKitError(Exception):
    """Base of every error RoomKit raises on purpose."""


class NotFoundError(RoomKitError):
    """Something was named that is not there."""


class RoomNotFoundError(NotFoundError):
    """No room has this id."""


class ChannelNotFoundError(NotFoundError):
    """The channel is not attached to the room."""


class ChannelNotRegisteredError(NotFoundError):
    """No channel of this id is registered, or it is of another kind than needed."""


class ParticipantNotFoundError(NotFoundError):
    """The room has no participant of this id."""


class IdentityNotFoundError(NotFoundError):
    """The store has no identity of this id."""


class SourceNotFoundError(NotFoundError):
    """No source is attached to this channel id."""


class ConflictError(RoomKitError):
    """The request contradicts the present state."""


class SourceAlreadyAttachedError(ConflictError):
    """A living source is already attached to this channel id."""


class RoomClosedError(ConflictError):
    """The room is closed or archived and takes no new events."""


class InvalidTransitionError(ConflictError):
    """A room cannot move from its status to the wanted one."""


class LockCycleError(ConflictError):
    """Two tasks hold one room each and each waits for the other's."""


class LockTimeoutError(ConflictError, TimeoutError):
    """A room's lock was not free within its bound."""


class EventRefusedError(ConflictError):
    """An event was refused before it was stored; nothing was written.

    Attributes:
        reason: Why, such as ``overloaded`` or ``target_event_not_found``.
    """

    def __init__(self, reason: str, room_id: str) -> None:
        self.reason = reason
        self.room_id = room_id
        super().__init__(f"the event was refused by room {room_id!r}: {reason}")


class StoreError(RoomKitError):
    """The store could not do what was asked."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached now; nothing was written."""


class SchemaTooNewError(StoreError):
    """The database was migrated by a newer RoomKit than this one."""


class SchemaChangedError(StoreError):
    """A migration that was applied is not the one this RoomKit carries."""


class ForeignDatabaseError(StoreError):
    """The database holds tables of another program; nothing was changed in it."""


class CommitOutcomeUnknown(StoreError):
    """The commit did not answer in time: it may or may not have been written.

    Repeat the message with the same idempotency key: it is then stored exactly once.
    """


class ConfigurationError(RoomKitError):
    """RoomKit was put together in a way that cannot work."""


class VoiceNotConfiguredError(ConfigurationError):
    """``RoomKit(stt=..., tts=...)`` was not given what this call needs."""


class VoiceBackendNotConfiguredError(ConfigurationError):
    """``RoomKit(voice=...)`` was not given a backend."""


class WrongLoopError(ConfigurationError):
    """A kit was used on a second event loop, or in a forked child."""


class KitClosedError(ConfigurationError):
    """The kit was closed; make a new one."""


class MissingDependencyError(ConfigurationError, ImportError):
    """An optional package is not installed.

    Args:
        package: The distribution that is missing.
        user: The class that needs it.
        extra: The extra of RoomKit that brings it.
    """

    def __init__(self, package: str, *, user: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f"{package} is required for {user}. Install it with: pip install 'roomkit[{extra}]'"
        )


class InvalidInputError(RoomKitError, ValueError):
    """A value given to RoomKit cannot be used; the text names the field."""


class UnsafeURLError(InvalidInputError):
    """A URL that came from outside leads somewhere it must not; it was not fetched."""


class InvalidMetadataError(InvalidInputError):
    """Metadata holds something JSON cannot carry; the text names its path."""


class InvalidReturnError(RoomKitError, TypeError):
    """Foreign code returned something of the wrong type."""


class ProviderError(RoomKitError):
    """A vendor, or what stands between us and it, failed.

    Attributes:
        retryable: Whether the same call may succeed later.
        provider: The provider's name.
        status_code: The HTTP status, when there was one.
        retry_after: Seconds the vendor asked to wait, when it did.
        error_type: The vendor's own class of error, when it named one.
        request_id: The vendor's id of the failed request, for its support.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        provider: str = "",
        status_code: int | None = None,
        retry_after: float | None = None,
        error_type: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.provider = provider
        self.status_code = status_code
        self.retry_after = retry_after
        self.error_type = error_type
        self.request_id = request_id


class ProviderDeliveryError(ProviderError):
    """A provider answered that it did not take the message.

    Attributes:
        code: The provider's error code, such as ``"rate_limit"``.
        result: The provider's whole answer.
        ambiguous: The vendor may have taken the message all the same.
    """

    def __init__(
        self,
        code: str,
        *,
        provider: str = "",
        retryable: bool = True,
        retry_after: float | None = None,
        status_code: int | None = None,
        ambiguous: bool = False,
        result: ProviderResult | None = None,
    ) -> None:
        super().__init__(
            code,
            retryable=retryable,
            provider=provider,
            status_code=status_code,
            retry_after=retry_after,
        )
        self.code = code
        self.ambiguous = ambiguous
        self.result = result


class MediaFetchError(ProviderError):
    """What a message refers to could not be fetched."""


class WebhookError(RoomKitError, ValueError):
    """A webhook body has the wrong shape; the text names the field."""


class WebhookRefused(RoomKitError):
    """A webhook request is not to be believed: its signature, age or token is wrong.

    Attributes:
        status: The HTTP status to answer with: 401 for a signature, 403 for a challenge.
    """

    def __init__(self, message: str, *, status: int = 401) -> None:
        super().__init__(message)
        self.status = status
