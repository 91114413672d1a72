"""The error that indexes and memories raise."""


class RetrievalError(RuntimeError):
    """An index or a memory that is absent, damaged, of another encoder, or cannot be written; the message says what to
    do."""
