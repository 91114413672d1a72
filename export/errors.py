"""The error of export."""

try:
    from vl_keras.errors import VlKerasError
except ImportError:  # the process already runs TensorFlow with Keras 3; the client and the server work there too
    VlKerasError = Exception  # type: ignore[assignment,misc]


class ExportError(VlKerasError):
    """A folder, setting or request that cannot be used; the message says why and what to do."""
