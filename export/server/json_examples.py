"""Reads the examples of a classify or regress request, like TensorFlow Serving."""

from typing import Any

import grpc
import numpy as np
import tensorflow as tf

from export.server.json_reader import is_double, members, read_double
from export.server.json_tensors import is_base64, json_type, read_bytes
from export.server.json_writer import excerpt
from export.server.serving_error import ServingError


def read_examples(document: dict[str, Any]) -> list[bytes]:
    """The examples of a classify or regress request.

    Whole numbers and booleans become int64 features, decimals float features, strings and `{"b64": …}` bytes features.

    Args:
        document: the body as an object from `read_json`.

    Returns:
        The serialized `tf.train.Example`s; the features of `context` precede those of each example.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    context = _read_example(document["context"]) if "context" in document else b""
    problem = None
    examples: Any = document.get("examples")
    if "examples" not in document:
        problem = "When method is classify, key 'examples' is expected and was not found"
    elif not isinstance(examples, list):
        problem = "Expecting 'examples' value to be an list/array"
    elif not examples:
        problem = "'examples' value is an empty array"
    if problem:
        raise _invalid(f"JSON Value: {excerpt(document)} {problem}")
    return [context + _read_example(example) for example in examples]  # serialized messages merge by concatenation


def _invalid(text: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, text)


def _read_example(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise _invalid(f"Example must be JSON object but got JSON {json_type(value)}")
    features = {}
    for name, content in members(value):
        feature = tf.train.Feature()
        for item in content if isinstance(content, list) else [content]:
            _add_value(item, name, feature)
        features[name] = feature
    example = tf.train.Example()
    for name, feature in features.items():
        try:
            example.features.feature[name].CopyFrom(feature)
        except ValueError:
            raise _invalid("The name of a feature is not valid UTF-8.") from None
    return example.SerializeToString(deterministic=True)


def _add_value(value: Any, name: str, feature: tf.train.Feature) -> None:
    if value is None or isinstance(value, list) or (isinstance(value, dict) and not is_base64(value)):
        raise _invalid(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")
    if isinstance(value, (str, dict)):
        kind = "bytes"
    else:
        kind = "float" if is_double(value) else "int64"
    present = feature.WhichOneof("kind") or f"{kind}_list"
    if present != f"{kind}_list":
        raise _invalid(f"Unexpected element type in feature: {name} expecting type: {present.removesuffix('_list')}")
    if kind == "bytes":
        value = read_bytes(value)
    elif kind == "float":
        with np.errstate(over="ignore"):
            value = float(np.float32(read_double(value)))
    elif value >= 2**63:
        raise _invalid(f"Feature: {name} has uint64 element. Only int64_t is supported.")
    getattr(feature, present).value.append(int(value) if kind == "int64" else value)
