"""The error that encoders raise."""


class EncoderError(ValueError):
    """A backbone, weights file, checkpoint or module that cannot be used; the message says what is wanted instead."""
