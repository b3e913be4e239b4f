"""Who somebody is across rooms, and what resolving them gave."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from roomkit.models._copy import changed
from roomkit.models.enums import IdentificationStatus
from roomkit.models.hook import InjectedEvent


class Identity(BaseModel, defer_build=True):
    """A person known across rooms and channels.

    Attributes:
        id: Unique.
        organization_id: Whose customer they are, where that matters.
        display_name: What to call them.
        email: Their mail address.
        phone: Their telephone number.
        channel_addresses: Their addresses, by type of channel.
        external_id: Their id in a system of yours.
        external_ids: The same for several systems, by name.
        metadata: Anything JSON can carry.
    """

    id: str
    organization_id: str | None = None
    display_name: str | None = None
    email: str | None = None
    phone: str | None = None
    channel_addresses: dict[str, list[str]] = Field(default_factory=dict)
    external_id: str | None = None
    external_ids: dict[str, str] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)


class IdentityResult(BaseModel, defer_build=True):
    """What an IdentityResolver found out about a sender.

    Attributes:
        status: How sure it is.
        identity: Who it is, when IDENTIFIED.
        candidates: Who it may be, when AMBIGUOUS.
        address: The address that was looked up.
        channel_type: The type of channel the address is of.
        challenge_type: How to ask the sender, such as by a code.
        message: What to ask them.
    """

    status: IdentificationStatus
    identity: Identity | None = None
    candidates: list[Identity] = Field(default_factory=list)
    address: str | None = None
    channel_type: str | None = None
    challenge_type: str | None = None
    message: str | None = None

    def about(self, address: str, channel_type: str) -> IdentityResult:
        """Return this result with the address looked up, where the resolver named none."""
        return changed(
            self,
            address=self.address or address,
            channel_type=self.channel_type or channel_type,
        )


class IdentityHookResult(BaseModel, defer_build=True):
    """What an identity hook decides about an unclear sender.

    Attributes:
        status: What was decided: IDENTIFIED, PENDING, CHALLENGE_SENT or REJECTED.
        identity: Who it is, when IDENTIFIED.
        display_name: What to call them while that is open.
        candidates: Who it may be, when PENDING.
        inject: With CHALLENGE_SENT, what to say to the sender.
        reason: Why they were refused.
        challenge_type: How they were asked.
        message: What they were asked.
    """

    status: IdentificationStatus
    identity: Identity | None = None
    display_name: str | None = None
    candidates: list[Identity] | None = None
    inject: InjectedEvent | None = None
    reason: str | None = None
    challenge_type: str | None = None
    message: str | None = None

    @classmethod
    def resolved(cls, identity: Identity) -> IdentityHookResult:
        """The sender is this person."""
        return cls(status=IdentificationStatus.IDENTIFIED, identity=identity)

    @classmethod
    def pending(
        cls, display_name: str | None = None, candidates: list[Identity] | None = None
    ) -> IdentityHookResult:
        """Let the message in under a pending participant, to be resolved by hand."""
        return cls(
            status=IdentificationStatus.PENDING, display_name=display_name, candidates=candidates
        )

    @classmethod
    def challenge(cls, inject: InjectedEvent, message: str | None = None) -> IdentityHookResult:
        """Withhold the message and send the sender a question."""
        return cls(status=IdentificationStatus.CHALLENGE_SENT, inject=inject, message=message)

    @classmethod
    def reject(cls, reason: str = "Unknown sender") -> IdentityHookResult:
        """Refuse the message."""
        return cls(status=IdentificationStatus.REJECTED, reason=reason)
