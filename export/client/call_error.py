"""The error of a failed request."""

from export.errors import ExportError


class CallError(ExportError):
    """A whole request failed. A single bad image does not raise: its row has a `status`.

    Attributes:
        code: name of the gRPC status code, also over REST, e.g. `NOT_FOUND`.
        message: error message of the server or the connection.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
