"""Random mutations of requests, reproducible by seed."""

import builtins
import random
from collections.abc import Sequence
from typing import Any

from tensorflow.core.framework import types_pb2

_TOKENS = (
    *(b'1e999 -1e-999 NaN Infinity -Infinity -0 1.5 null true false {} [] [[]] {{ ]] , : " \\ \\u0000 \\ud800'.split()),
    *(b"9223372036854775808 -9223372036854775809 18446744073709551616 2147483648 0.1e+1 .5 1. 01 +1".split()),
    *(b'"inputs": "instances": "examples": "context": "signature_name": "b64": "x": "text": "y"'.split()),
    *(b'{"b64":"AA=="} {"b64":"!"} {"b64":1} {"b64":"AA==","b64":"AA=="} "echo_string" "classify"'.split()),
    b"[" * 600,
    b'{"a":' * 600,
    b"1" * 400,
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x00",
    b"/*",
    b"%s%n",
    b"../../etc/passwd",
)
_SIZES = (0, 1, 2, 3, 5, 7, 1000, 2**20, -1, -(2**63), 2**31, 2**62, 2**63 - 1)
_NUMBERS = ("float_val", "double_val", "int_val", "int64_val", "uint32_val", "uint64_val", "half_val", "bool_val")
_NAMES = (
    "",
    "x",
    "y",
    "text",
    "inputs",
    "half",
    "ms",
    "\0",
    "a" * 5000,
    "ä/…\n",
    "serving_default",
    "classify",
    "/etc",
)


class Mutator:
    """Creates mutated copies; the mutations depend only on the seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def bytes(self, data: builtins.bytes, others: Sequence[builtins.bytes] = (b"",)) -> builtins.bytes:
        """`data` with one to four changes: flipped bits; deleted, repeated or inserted parts; parts of `others`."""
        data = bytearray(data)
        for _ in range(self.random.choice((1, 1, 2, 4))):
            start = self.random.randrange(len(data) + 1)
            end = min(len(data), start + self.random.choice((1, 2, 8, 40, len(data))))
            how = self.random.randrange(7)
            if how == 0 and data:
                data[start % len(data)] ^= 1 << self.random.randrange(8)
            elif how == 1 and data:
                data[start % len(data)] = self.random.choice((0, 1, 127, 128, 255))
            elif how == 2:
                del data[start:end]
            elif how == 3:
                data[start:start] = data[start:end][:4096]
            elif how == 4:
                data[start : self.random.choice((start, end))] = self.random.choice(_TOKENS)
            elif how == 5:
                other = self.random.choice(others)
                data[start:end] = other[self.random.randrange(len(other) + 1) :]
            else:
                data[start:start] = self.random.randbytes(self.random.choice((1, 4, 300)))
        return bytes(data)

    def predict(self, request: Any) -> Any:
        """A `PredictRequest` with changed tensors, names or model specification."""
        changed = type(request)()
        changed.CopyFrom(request)
        for _ in range(self.random.choice((1, 1, 2, 3))):
            how = self.random.randrange(8)
            if how == 0:
                changed.model_spec.signature_name = self.random.choice(_NAMES)
            elif how == 1:
                changed.model_spec.version.value = self.random.choice(_SIZES)
            elif how == 2:
                changed.model_spec.version_label = self.random.choice(_NAMES)
            elif how == 3:
                changed.output_filter.extend(self.random.choices(_NAMES, k=self.random.randrange(4)))
            elif how == 4 and changed.inputs:
                del changed.inputs[self.random.choice(list(changed.inputs))]
            else:
                self._tensor(changed.inputs[self.random.choice([*changed.inputs, *_NAMES[:3]])])
        return changed

    def _tensor(self, tensor: Any) -> None:
        how = self.random.randrange(6)
        if how == 0:
            tensor.dtype = self.random.choice([*types_pb2.DataType.values(), 999])
        elif how == 1:
            del tensor.tensor_shape.dim[:]
            for _ in range(self.random.choice((0, 1, 2, 3, 300))):
                tensor.tensor_shape.dim.add(size=self.random.choice(_SIZES))
        elif how == 2:
            tensor.tensor_content = self.random.randbytes(self.random.choice((0, 1, 4, 8, 400)))
        elif how == 3:
            field = self.random.choice(_NUMBERS)
            getattr(tensor, field).extend(self.random.choices((0, 1), k=self.random.choice((1, 3, 1000))))
        elif how == 4:
            tensor.string_val.append(self.random.randbytes(self.random.choice((0, 3, 5000))))
        else:
            tensor.tensor_shape.unknown_rank = True
