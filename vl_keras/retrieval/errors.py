"""The error that indexes raise."""


class RetrievalError(RuntimeError):
    """An index that is absent, damaged, of another encoder, or cannot be written; the message says what to do."""
