"""One loaded version of one model."""


class Servable:
    """One loaded version of one model.

    Attributes:
        name: of its model.
        version: its number.
        signatures: dict of name -> `SignatureDef`.
    """

    def __init__(self, name, version, signatures):
        self.name = name
        self.version = version
        self.signatures = signatures

    async def run(self, signature_name, inputs, outputs=None, deadline=None):
        """Runs a signature.

        Args:
            signature_name: key of `signatures`.
            inputs: dict of alias -> `np.ndarray`; strings as object arrays of bytes.
            outputs: aliases wanted; None for all.
            deadline: time of the event loop (`loop.time()`) after which the request is not executed; None for none.

        Returns:
            Dict of alias -> `np.ndarray`.

        Raises:
            ServingError: the request does not fit the signature, the model failed, the queue is full, the deadline
                has passed.
        """
        raise NotImplementedError
