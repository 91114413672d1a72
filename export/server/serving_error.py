"""What the server answers instead of a result."""


class ServingError(Exception):
    """A refused request.

    Attributes:
        code: `grpc.StatusCode`; the REST front end translates it to HTTP.
        message: the text of the answer.
    """

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message
