"""What can go wrong between two tiers, as the caller sees it."""

from __future__ import annotations

__all__ = ["DeadlineError", "OverloadedError", "RefusedError", "ReplayError", "TransportError", "UnreachableError"]


class TransportError(RuntimeError):
    """There is no answer from the other tier."""


class UnreachableError(TransportError):
    """The peer is dead, the link is down, or the peer does not trust us."""


class OverloadedError(TransportError):
    """The peer's queue is full, or it is about to stop: nothing was begun there."""


class RefusedError(TransportError):
    """The peer does not accept this message or this caller; another try will not help."""


class ReplayError(RefusedError):
    """The peer has seen this message already, or it is too old to tell."""


class DeadlineError(TransportError):
    """The deadline passed without an answer."""
