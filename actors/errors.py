"""Errors of the actor floor."""


class ActorError(Exception):
    """Base of every error raised in ``actors``."""


class ComputeLost(ActorError):
    """The actors died and could not be started again; the message says what to check."""
