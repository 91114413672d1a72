"""The error response of the server."""

import grpc


class ServingError(Exception):
    """A request that fails.

    Attributes:
        code: `grpc.StatusCode`; the REST front end translates it to HTTP.
        message: the text of the response, which is that of TensorFlow Serving.
        hint: what to do, for those who run the server; may be empty.
    """

    def __init__(self, code: grpc.StatusCode, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
