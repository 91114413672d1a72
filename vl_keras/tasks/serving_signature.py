"""What a task answers when it is served."""

from typing import NamedTuple


class ServingSignature(NamedTuple):
    """One question that a trained model answers.

    Attributes:
        function: dict of inputs, with as many rows each, to dict of outputs `(B, …)`; in graph operations only. `image`
            is `(B, height, width, 3)` float32 of 0 to 255, every other input `(B,)` UTF-8 strings.
        inputs: names of the inputs.
    """

    function: object
    inputs: tuple
