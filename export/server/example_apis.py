"""The Classify and Regress APIs of TensorFlow Serving, which take `tf.train.Example`s."""

from collections.abc import Mapping, Sequence

import grpc
import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, input_pb2, regression_pb2

from export.server.servable import DEFAULT_SIGNATURE
from export.server.serving_error import ServingError
from export.server.tensor_protos import array_dtype

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
_METHODS = {CLASSIFY: "classification", REGRESS: "regression"}
INPUTS = "inputs"


def examples_of(proto: input_pb2.Input) -> list[bytes]:
    """The serialized examples of an `Input` message; a context precedes each of them and gives its default features.

    Raises:
        ServingError: INVALID_ARGUMENT; there are no examples.
    """
    kind = proto.WhichOneof("kind")
    examples, context = [], b""
    if kind == "example_list":
        examples = proto.example_list.examples
    elif kind == "example_list_with_context":
        examples = proto.example_list_with_context.examples
        context = proto.example_list_with_context.context.SerializeToString()
    if not examples:
        raise _invalid("Input is empty.")
    return [context + example.SerializeToString() for example in examples]


def check_signature(
    signatures: Mapping[str, meta_graph_pb2.SignatureDef],
    name: str,
    method: str,
    check_method: bool = False,
    missing: str = "No signature was found with the name: ",
) -> tuple[meta_graph_pb2.SignatureDef, tuple[str, ...]]:
    """Finds the signature of a call and the outputs that the response needs.

    Args:
        signatures: dict of name -> `SignatureDef`.
        name: as in the request; empty for `serving_default`.
        method: `CLASSIFY` or `REGRESS`.
        check_method: reject signatures that were not exported for this method.
        missing: start of the error message for an unknown signature.

    Returns:
        `(signature, aliases of the outputs)`.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    name = name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise _invalid(f"{missing}{name}")
    signature, what = signatures[name], _METHODS[method]
    if check_method and signature.method_name != method:
        raise _invalid(f"Expected {what} signature method_name to be {method}. Was: {signature.method_name}")
    if len(signature.inputs) != 1:
        raise _invalid("Expected one input Tensor.")
    count = len(signature.outputs)
    if method == CLASSIFY and count not in (1, 2):
        raise _invalid(f"Expected one or two output Tensors, found {count}")
    if method == REGRESS and count != 1:
        raise _invalid("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise _invalid(f"No {what} inputs found in SignatureDef: {signature}")
    if method == REGRESS:
        if "outputs" not in signature.outputs:
            raise _invalid(f"No regression outputs found in SignatureDef: {signature}")
        return signature, ("outputs",)
    aliases = tuple(alias for alias in ("classes", "scores") if alias in signature.outputs)
    if not aliases:
        raise _invalid(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature '
            f"was: {signature}"
        )
    return signature, aliases


def as_inputs(examples: Sequence[bytes]) -> dict[str, np.ndarray]:
    """The inputs for a signature that takes serialized examples."""
    array = np.empty(len(examples), object)
    array[:] = examples
    return {INPUTS: array}


def classification_result(outputs: Mapping[str, np.ndarray], count: int) -> classification_pb2.ClassificationResult:
    """`ClassificationResult` from `classes` and/or `scores`, each of shape `(count, number of classes)`.

    Raises:
        ServingError: INVALID_ARGUMENT; shape or type are wrong.
    """
    for alias, kind in (("classes", "STRING"), ("scores", "FLOAT")):
        array = outputs.get(alias)
        if array is None:
            continue
        if array.ndim != 2:
            raise _invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape_text(array)}")
        if (array.dtype == object) != (kind == "STRING") or (kind == "FLOAT" and array.dtype != np.float32):
            raise _invalid(f"Expected {alias} Tensor of DT_{kind}. Got: {_dtype_name(array)}")
        if len(array) != count:
            raise _invalid(f"Expected {alias} output batch size of {count}. Got: {len(array)}")
    classes, scores = outputs.get("classes"), outputs.get("scores")
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise _invalid(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    result = classification_pb2.ClassificationResult()
    for row in range(count):
        classifications = result.classifications.add()
        shown = classes if classes is not None else scores
        for column in range(0 if shown is None else shown.shape[1]):
            entry = classifications.classes.add()
            if classes is not None:
                entry.label = classes[row, column].decode("utf-8", "replace")
            if scores is not None:
                entry.score = scores[row, column]
    return result


def regression_result(outputs: Mapping[str, np.ndarray], count: int) -> regression_pb2.RegressionResult:
    """`RegressionResult` from `outputs`, `(count,)` or `(count, 1)` float32.

    Raises:
        ServingError: INVALID_ARGUMENT; shape or type are wrong.
    """
    array = outputs["outputs"]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise _invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape_text(array)}"
        )
    if len(array) != count:
        raise _invalid(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if array.dtype != np.float32:
        raise _invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype_name(array)}")
    result = regression_pb2.RegressionResult()
    for value in array.ravel().tolist():
        result.regressions.add(value=value)
    return result


RESULTS = {CLASSIFY: classification_result, REGRESS: regression_result}


def _shape_text(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _dtype_name(array: np.ndarray) -> str:
    return types_pb2.DataType.Name(array_dtype(array))


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
