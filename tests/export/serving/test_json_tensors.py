"""Tensors in JSON: TensorFlow Serving's documented rules, texts and formats."""

import base64
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from export.server import json_tensors
from export.server.json_reader import read_json
from export.server.json_responses import write_tensors
from export.server.json_tensors import read_signature_name, read_tensors
from export.server.json_writer import excerpt, write_decimals, write_string
from export.server.serving_error import ServingError


def _infos(**dtypes):
    signature = meta_graph_pb2.SignatureDef()
    for alias, dtype in dtypes.items():
        signature.inputs[alias].dtype = types_pb2.DataType.Value(f"DT_{dtype.upper()}")
    return signature.inputs


def _read(body, **dtypes):
    document = read_json(body if isinstance(body, bytes) else body.encode())
    return read_tensors(document, _infos(**dtypes), read_signature_name(document))[0]


def _error(body, code="INVALID_ARGUMENT", **dtypes):
    with pytest.raises(ServingError) as caught:
        _read(body, **dtypes)
    assert caught.value.code.name == code
    return caught.value.message


@pytest.mark.parametrize(
    "body, dtypes, text",
    [
        ("[1]", {"x": "float"}, "Is not object"),
        ('{"signature_name": 5}', {"x": "float"}, "'signature_name' key must be a string value."),
        ("{}", {}, "Failed to get input map for signature: DEFAULT"),
        ('{"signature_name": "s"}', {}, "Failed to get input map for signature: s"),
        ("{}", {"x": "float"}, "Missing 'inputs' or 'instances' key"),
        ('{"instances": [1], "inputs": [1]}', {"x": "float"},
         "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"),
        ('{"instances": 1}', {"x": "float"}, "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', {"x": "float"}, "No values in 'instances' array"),
        ('{"instances": [1]}', {"a": "float", "b": "float"},
         "instances is a plain list, but expecting list of objects as multiple input tensors required"),
        ('{"instances": [{"a": 1, "k": 2}]}', {"a": "float", "b": "float"},
         "Failed to process element: 0 key: k of 'instances' list. Error: INVALID_ARGUMENT: "
         "JSON object: does not have named input: k"),
        ('{"instances": [{"a": 1}]}', {"b": "float", "a": "float"}, "keys must be equal to: a,b"),
        ('{"instances": [[1, 2], [3, 4, 5]]}', {"x": "int32"}, "Expecting tensor size: 2 but got: 3"),
        ('{"instances": [[1, 2], [[3, 4]]]}', {"x": "int32"}, "Expecting shape [2] but got: [1,2]"),
        ('{"instances": [{"x": 1}, [1]]}', {"x": "int32"}, "Expecting object but got list at item 1"),
        ('{"instances": [[1], {"x": 1}]}', {"x": "int32"}, "Expecting value/list but got object at item 1"),
        ('{"inputs": [[1, 2], [3]]}', {"x": "int32"},
         "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ('{"inputs": [[1], 2]}', {"x": "int32"},
         "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ('{"inputs": [1, [2]]}', {"x": "int32"}, "Encountered list at unexpected level: 1 expected < 1"),
        ('{"inputs": [[], [1]]}', {"x": "int32"},
         "Encountered list at unexpected size: 1 at level: 1 expected size: 0"),
        ('{"inputs": {"a": [1]}}', {"a": "int32", "b": "int32"}, "Missing named input: b in 'inputs' object."),
        ('{"inputs": [1]}', {"a": "int32", "b": "int32"}, "inputs is a plain value/list, but expecting an object"),
        ('{"inputs": "1"}', {"x": "float"}, 'JSON Value: "1" Type: String is not of expected type: float'),
        ('{"inputs": 1.5}', {"x": "int32"}, "JSON Value: 1.5 Type: Number is not of expected type: int32"),
        ('{"inputs": NaN}', {"x": "int64"}, "JSON Value: NaN Type: Number is not of expected type: int64"),
        ('{"inputs": true}', {"x": "int32"}, "JSON Value: true Type: True is not of expected type: int32"),
        ('{"inputs": null}', {"x": "string"}, "JSON Value: null Type: Null is not of expected type: string"),
        ('{"inputs": 1}', {"x": "string"}, "JSON Value: 1 Type: Number is not of expected type: string"),
        ('{"inputs": 1}', {"x": "bool"}, "JSON Value: 1 Type: Number is not of expected type: bool"),
        ('{"inputs": {"b64": "aa=="}}', {"x": "float"}, "Type: Object is not of expected type: float"),
        ('{"instances": [[{"b64": 1}]]}', {"x": "string"}, "not formatted correctly for base64 data"),
        ('{"instances": [[{"b64": "YQ==", "c": 1}]]}', {"x": "string"}, "not formatted correctly for base64 data"),
        ('{"instances": [{"b64": "a"}]}', {"x": "string"}, "Unable to base64 decode"),
        ('{"inputs": {"b64": "YQ="}}', {"x": "string"}, "Unable to base64 decode"),
        ('{"inputs": {"b64": "Y-_="}}', {"x": "string"}, "Unable to base64 decode"),
        ('{"instances": [1]}', {"x": "half"},
         "Error: UNIMPLEMENTED: Conversion of JSON Value: 1 to type: half"),
        ('{"inputs": ' + "[" * 300 + "1" + "]" * 300 + "}", {"x": "float"}, "254 dimensions"),
        ('{"inputs": ' + "9" * 400 + "}", {"x": "float"}, "Number too big"),
        ('{"inputs": [[' + "9" * 400 + "], [1]]}", {"x": "int32"}, "Number too big"),
    ],
)  # fmt: skip
def test_errors(body, dtypes, text):
    assert text in _error(body, **dtypes)


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "complex64", "uint16", "qint8"])
def test_dtypes_that_json_cannot_give(dtype):
    text = f"Conversion of JSON Value: 1 to type: {dtype}"
    assert text in _error('{"inputs": [1]}', "UNIMPLEMENTED", x=dtype)


@pytest.mark.parametrize(
    "dtype, fits, too_much",
    [
        ("int32", [-(2**31), 2**31 - 1], [-(2**31) - 1, 2**31, 2**64]),
        ("int16", [-(2**31), 2**31 - 1], [2**31]),
        ("uint8", [-(2**31), 2**31 - 1], [2**31]),
        ("int64", [-(2**63), 2**63 - 1], [-(2**63) - 1, 2**63]),
        ("uint32", [0, 2**32 - 1], [-1, 2**32]),
        ("uint64", [0, 2**64 - 1], [-1, 2**64]),
    ],
)
def test_ranges_of_integers(dtype, fits, too_much):
    found = _read(json.dumps({"inputs": fits}), x=dtype)["x"]
    assert found.dtype == dtype
    if "32" in dtype or "64" in dtype:
        assert found.tolist() == fits
    for value in too_much:
        assert f"not of expected type: {dtype}" in _error(json.dumps({"inputs": [value]}), x=dtype)
        assert f"not of expected type: {dtype}" in _error(json.dumps({"instances": [value]}), x=dtype)


def test_narrow_integers_wrap():
    assert _read('{"inputs": [256, -1, 300]}', x="uint8")["x"].tolist() == [0, 255, 44]


def test_floats_take_any_number():
    found = _read('{"inputs": [1, -2.5, 1e300, NaN, -Infinity, 123456789012345678901, -0]}', x="float")["x"]
    expected = np.array([1, -2.5, math.inf, math.nan, -math.inf, 123456789012345678901.0, 0], np.float32)
    np.testing.assert_array_equal(found, expected)


def test_zero_sizes():
    assert _read('{"instances": [[], []]}', x="float")["x"].shape == (2, 0)
    assert _read('{"inputs": []}', x="string")["x"].shape == (0,)
    assert _read('{"inputs": [[], []]}', x="int64")["x"].shape == (2, 0)


def test_strings_and_bytes():
    found = _read('{"instances": ["é", {"b64": "/w=="}, {"b64": "YQ"}, {"b64": " Y Q.. "}, ""]}', x="string")["x"]
    assert found.tolist() == ["é".encode(), b"\xff", b"a", b"a", b""]
    assert _read('{"inputs": {"b64": "YQ=="}}', x="string")["x"].tolist() == b"a"
    assert _read(b'{"inputs": "\xff"}', x="string")["x"].tolist() == b"\xff"


def test_rows_of_objects_and_columns_give_the_same():
    rows = '{"instances": [{"a": 1, "b": [1, 2]}, {"b": [3, 4], "a": 2}]}'
    columns = '{"inputs": {"a": [1, 2], "b": [[1, 2], [3, 4]], "other": "ignored"}}'
    for body in (rows, columns):
        found = _read(body, a="float", b="int64")
        assert found["a"].tolist() == [1, 2] and found["b"].tolist() == [[1, 2], [3, 4]]


def test_an_input_called_b64_cannot_be_given_by_name():
    assert _read('{"instances": [{"b64": "YQ=="}]}', b64="string")["b64"].tolist() == [b"a"]


def test_repeated_names_in_a_row_give_the_first_values():
    assert _read('{"instances": [{"x": 1, "x": 2}, {"x": 3}]}', x="float")["x"].tolist() == [1, 2]
    assert _read('{"inputs": {"x": [1], "x": [2]}}', x="float")["x"].tolist() == [1]


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_a_fault_in_a_large_tensor_is_found(form):
    values = [1] * 9000
    values[8999] = "x"
    message = _error(json.dumps({form: [[1] * 9000, values]}), x="int32")
    assert 'JSON Value: "x" Type: String' in message


def test_quotes_are_cut_at_256_bytes():
    message = _error(json.dumps({"inputs": "x" * 5000}), x="float")
    assert len(message) < 400 and '"' + "x" * 255 in message
    assert len(excerpt({"a": [[{"b": "é" * 999}]] * 99}).encode()) in (255, 256)


_ONE_OF_EACH = [
    ([2.5, 3.0, 1e-7, 1 / 3, 1e6, 123456, 1234567, math.nan, -math.inf, -0.0, 16777216, 0.1],
     np.float32,
     "2.5 3.0 1e-07 0.333333343 1e+06 123456.0 1234567.0 NaN -Infinity -0.0 16777216.0 0.1"),
    ([2.5, 1 / 3, 0.1, 1e300, 123456789, 1e22, math.inf, 5e-324],
     np.float64,
     "2.5 0.33333333333333331 0.1 1e+300 123456789.0 1e+22 Infinity 4.94066e-324"),
]  # fmt: skip


@pytest.mark.parametrize("values, dtype, expected", _ONE_OF_EACH)
def test_decimals(values, dtype, expected):
    assert b" ".join(write_decimals(np.array(values, dtype))).decode() == expected


@given(st.lists(st.floats(width=32)), st.sampled_from([np.float32, np.float64]))
def test_decimals_come_back(values, dtype):
    values = np.array(values, dtype)
    back = np.array(read_json(b"[" + b",".join(write_decimals(values)) + b"]"), np.float64).astype(dtype)
    np.testing.assert_array_equal(back, values)


def test_strings_are_escaped():
    assert write_string(b'"\\/\b\f\n\r\t\x00\x1f\x7f\xff') == b'"\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001F\x7f\xff"'


def test_row_form_as_it_is_printed():
    assert write_tensors({"y": np.array([2.5, 3, 4.5], np.float32)}, True) == (
        b'{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}'
    )
    named = {"b": np.array([[1, 2], [3, 4]], np.int32), "a_bytes": np.array([b"x", b"y"], object)}
    assert write_tensors(named, True).decode() == (
        '{\n    "predictions": [\n        {\n            "a_bytes": {\n                "b64": "eA=="\n            },\n'
        '            "b": [1, 2]\n        },\n        {\n            "a_bytes": {\n                "b64": "eQ=="\n'
        '            },\n            "b": [3, 4]\n        }\n    ]\n}'
    )
    assert write_tensors({"y": np.zeros([2, 0], np.int64)}, True) == b'{\n    "predictions": [[], []\n    ]\n}'
    assert write_tensors({"y": np.zeros([0, 2], np.int64)}, True) == b'{\n    "predictions": []\n}'


def test_column_form_as_it_is_printed():
    assert write_tensors({"y": np.array([2.5, 3], np.float32)}, False) == (
        b'{\n    "outputs": [\n        2.5,\n        3.0\n    ]\n}'
    )
    named = {"y": np.array([[True], [False]]), "n": np.array(-3)}
    assert write_tensors(named, False).decode() == (
        '{\n    "outputs": {\n        "n": -3,\n        "y": [\n            [\n                true\n            ],\n'
        "            [\n                false\n            ]\n        ]\n    }\n}"
    )
    assert write_tensors({"y": np.zeros([1, 0], bool)}, False) == b'{\n    "outputs": [\n        []\n    ]\n}'


@pytest.mark.parametrize(
    "tensors, is_row_form, text",
    [
        ({"y": np.float32(1)}, True, "Tensor name: y has no shape information"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, True, "has inconsistent batch size: 3 expecting: 2"),
        ({"y": np.zeros(2, np.float16)}, True, "Failed to write JSON value for tensor type: half"),
        ({"y": np.zeros(2, np.complex64)}, False, "Failed to write JSON value for tensor type: complex64"),
        ({"y": np.zeros(2, np.uint16)}, False, "Failed to write JSON value for tensor type: uint16"),
        ({}, False, "Cannot convert empty tensor map to JSON"),
    ],
)
def test_outputs_that_json_cannot_hold(tensors, is_row_form, text):
    tensors = {alias: np.asarray(tensor) for alias, tensor in tensors.items()}
    with pytest.raises(ServingError, match=text):
        write_tensors(tensors, is_row_form)


_DTYPES = ["float32", "float64", "int32", "int16", "int8", "uint8", "int64", "uint32", "uint64", "bool"]
_ARRAYS = st.sampled_from(_DTYPES).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3))
)


@given(_ARRAYS, st.booleans())
@settings(deadline=None)
def test_what_is_written_reads_back(array, is_row_form):
    if is_row_form and not len(array):
        return
    names = {"float32": "float", "float64": "double"}
    document = read_json(write_tensors({"y": array}, is_row_form))
    document = {"instances" if is_row_form else "inputs": document["predictions" if is_row_form else "outputs"]}
    dtype = names.get(array.dtype.name, array.dtype.name)
    found = read_tensors(document, _infos(x=dtype), "")[0]["x"]
    if array.size:  # of an array with no values, JSON cannot show the sizes after the first zero
        assert found.shape == array.shape
        np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


@given(st.lists(st.binary()), st.booleans())
@settings(deadline=None)
def test_bytes_come_back(values, is_row_form):
    tensors = {"y_bytes": np.array([*values, None], object)[:-1]}
    written = json.loads(write_tensors(tensors, is_row_form))
    found = next(iter(written.values()))
    assert [base64.b64decode(item["b64"]) for item in found] == values


@given(st.recursive(st.integers(0, 3) | st.text(max_size=1), lambda inner: st.lists(inner, max_size=3), max_leaves=8))
@settings(deadline=None, max_examples=300)
def test_the_bulk_way_and_the_careful_way_agree(value):
    for dtype in (types_pb2.DT_INT32, types_pb2.DT_STRING, types_pb2.DT_FLOAT):
        bulk = json_tensors._in_bulk(value, dtype)
        try:
            shape, values = json_tensors._value_by_value(value, "x", dtype)
        except ServingError:
            assert bulk is None
            continue
        if bulk is not None:
            assert bulk.tolist() == json_tensors._array(values, dtype, shape).tolist()
        else:
            assert not isinstance(value, list)
