"""What a call raises when the server gave no answer."""

from export.errors import ExportError


class CallError(ExportError):
    """A whole request failed; a single bad image never raises, its row has a status.

    Attributes:
        code: name of the gRPC status code, over REST too, e.g. `NOT_FOUND`.
        message: what the server, or the connection, said.
    """

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
