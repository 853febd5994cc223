"""Errors of the science floor. Each says what to do next."""


class ModelError(Exception):
    """Base of every error raised in ``models``."""


class SpaceError(ModelError):
    """A design space is ill-defined or empty; the message names the field to change."""


class DataError(ModelError):
    """Data given by the user cannot be used; the message names the column or row."""


class NotFittedError(ModelError):
    """A model was asked to predict before ``fit`` was called."""


class UnknownNameError(ModelError):
    """A plug-in, prototype, property or element name is not known; the message lists what is."""
