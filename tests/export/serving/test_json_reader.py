"""JSON is read as RapidJSON 1.1.0 reads it with kParseNanAndInfFlag."""

import json
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from export.server import json_reader
from export.server.json_reader import RepeatedNames, members, read_json
from export.server.json_tensors import read_tensors
from export.server.serving_error import ServingError


def _text(body):
    with pytest.raises(ServingError) as caught:
        read_json(body)
    assert caught.value.code.name == "INVALID_ARGUMENT"
    return caught.value.message.removeprefix("JSON Parse error: ")


@pytest.mark.parametrize(
    "body, text",
    [
        (b"", "The document is empty"),
        (b" \n", "The document is empty. at offset: 2"),
        (b"\0", "The document is empty. at offset: 0"),
        (b"x", "Invalid value. at offset: 0"),
        (b"instances = [1]", "Invalid value. at offset: 0"),
        (b"nul", "Invalid value. at offset: 3"),
        (b'{"a":tru}', "Invalid value. at offset: 8"),
        (b'{"a":-}', "Invalid value. at offset: 6"),
        (b'{"a":Nan}', "Invalid value. at offset: 7"),
        (b'{"a":Infinit}', "Invalid value. at offset: 12"),
        (b'{"a":01}', "Missing a comma or } after an object member. at offset: 6"),
        (b"[1 2]", "Missing a comma or ] after an array element. at offset: 3"),
        (b"[1,]", "Invalid value. at offset: 3"),
        (b'{"a":1,}', "Missing a name for object member. at offset: 7"),
        (b"{a:1}", "Missing a name for object member. at offset: 1"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a":1.}', "Miss fraction part in number. at offset: 7"),
        (b'{"a":1e}', "Miss exponent in number. at offset: 7"),
        (b'{"a":.5}', "Invalid value. at offset: 5"),
        (b'{"a":1e309}', "Number too big to be stored in double. at offset: 5"),
        (b'{"a":-1e400}', "Number too big to be stored in double. at offset: 5"),
        (b"[" + b"9" * 310 + b".0]", "Number too big to be stored in double. at offset: 1"),
        (b"[" + b"9" * 5000 + b"]", "Number too big to be stored in double. at offset: 1"),
        (b'{"a":"', "Missing a closing quotation mark in string. at offset: 6"),
        (b'{"a":"\0"}', "Missing a closing quotation mark in string. at offset: 6"),
        (b'{"a":"\n"}', "Invalid escape character in string. at offset: 6"),
        (b'{"a":"\\x"}', "Invalid escape character in string. at offset: 6"),
        (b'{"a":"\\u12g4"}', "Incorrect hex digit after \\u escape in string. at offset: 6"),
        (b'{"a":"\\ud800"}', "The surrogate pair in string is invalid. at offset: 6"),
        (b'{"a":"\\ud800\\u0041"}', "The surrogate pair in string is invalid. at offset: 6"),
        ("é{".encode(), "Invalid value. at offset: 0"),
    ],
)
def test_errors(body, text):
    assert _text(body) == text


@pytest.mark.parametrize(
    "body, value",
    [
        (b'{"a":1} and more', {"a": 1}),
        (b"\xef\xbb\xbf[1]", [1]),
        (b'[-0, -0.0, 1e2, 0.5E-3, 1E+2, 123456789012345678901234567890, 1e-400, "\\/\\u00e9\\ud83d\\ude00"]',
         [0, -0.0, 100.0, 0.0005, 100.0, 123456789012345678901234567890, 0.0, "/é😀"]),
        (b"[Inf, -Inf, Infinity, -Infinity, 9e308]", [math.inf, -math.inf, math.inf, -math.inf, math.inf]),
        (b"[true, false, null, [], {}]", [True, False, None, [], {}]),
        (b'"text"', "text"),
        (b"2 3", 2),
    ],
)  # fmt: skip
def test_values(body, value):
    found = read_json(body)
    assert found == value
    assert repr(found) == repr(value)


def test_not_a_number():
    assert all(map(math.isnan, read_json(b"[NaN, -NaN]")))


def test_bytes_that_are_no_utf8_are_kept():
    text = read_json(b'["\xff\xc3(\xed\xb2\x80", "\\udc80"]')
    assert [item.encode("utf-8", "surrogateescape") for item in text] == [b"\xff\xc3(\xed\xb2\x80", b"\xed\xb2\x80"]


def test_repeated_names_keep_the_first_and_all():
    for body in (b'{"a":1,"b":2,"a":3}', b'{"a":1,"b":2,"a":3, "c":Inf}'):
        value = read_json(body)
        assert isinstance(value, RepeatedNames) and value["a"] == 1
        assert list(members(value))[:3] == [("a", 1), ("b", 2), ("a", 3)]


@pytest.mark.parametrize(
    "deep", [b"[" * 100_000, b'{"a":' * 100_000, b'{"a":[' * 50_000 + b"x", b"[" * 600 + b"]" * 600]
)
def test_depth_cannot_crash_it(deep):
    start = time.perf_counter()
    try:
        read_json(deep)
    except ServingError as error:
        assert "JSON Parse error" in error.message
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("deep", [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000])
def test_a_deep_value_under_a_key_that_is_not_read_changes_nothing(deep):
    document = read_json(b'{"ignored": %s, "instances": [1.5, 2]}' % deep)
    tensors, _ = read_tensors(document, {"x": TensorInfo(dtype=types_pb2.DT_FLOAT)}, "")
    assert tensors["x"].tolist() == [1.5, 2]
    assert _text(b'{"ignored": %s, "instances": ]}' % deep).startswith("Invalid value. at offset: ")


@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_a_deep_tensor_is_an_error(key):
    document = read_json(b'{"%s": %s}' % (key.encode(), b"[" * 50_000 + b"]" * 50_000))
    with pytest.raises(ServingError, match="more than 254 dimensions"):
        read_tensors(document, {"x": TensorInfo(dtype=types_pb2.DT_FLOAT)}, "")


def test_too_many_containers_are_refused_unread():
    start = time.perf_counter()
    assert "lists and objects" in _text(b"[" + b"[]," * 4_000_000 + b"1]")
    assert time.perf_counter() - start < 2


def test_the_exact_way_does_not_go_on_for_ever():
    start = time.perf_counter()
    assert _text(b"[" + b"1," * 300_000) == "Invalid value. at offset: 600001"
    assert "escaped surrogates" in _text(b'["\\ud83d\\ude00"' + b",1" * 300_000)
    assert time.perf_counter() - start < 10


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_VALUES, st.sampled_from([None, 2]), st.booleans())
@settings(deadline=None)
def test_reads_what_python_writes(value, indent, ascii_only):
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert read_json(body) == value


@given(_VALUES, st.data())
@settings(deadline=None, max_examples=300)
def test_both_ways_of_reading_agree(value, data):
    """The fast way never accepts what the exact one refuses, and gives the same values."""
    body = bytearray(json.dumps({"instances": value}).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b"0", b".", b"e", b'"', b"]"])
        )
    results = []
    for read in (read_json, lambda text: json_reader._read_exactly(text, 0)):
        try:
            results.append(repr(read(bytes(body))))
        except ServingError as error:
            results.append(error.message)
    assert results[0] == results[1]
