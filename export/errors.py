"""The error of export."""


class ExportError(Exception):
    """A folder, setting or request that cannot be used; the message says why and what to do.

    It is no `VlKerasError`: importing `vl_keras` selects Keras 2 for the whole process, and a program that only sends
    requests to a server may use Keras 3.
    """
