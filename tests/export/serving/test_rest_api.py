"""TensorFlow Serving's REST API over real sockets, on real SavedModels."""

import base64
import gzip
import json
import math

import numpy as np
import pytest
import serving_models
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_models import ECHO_DTYPES, write_kinds
from served import call, serving_rest

HALF, KINDS = "/v1/models/half", "/v1/models/kinds"


@pytest.fixture(scope="module")
def address(kind, written, tmp_path_factory):
    """Of a server of `half` (versions 1 and 2; 1 is labelled `stable`) and `kinds`, with CORS and monitoring."""
    base = tmp_path_factory.mktemp("rest")
    serving_models.publish(written["half_2"], base / "half", 1)
    serving_models.publish(written["half_3"], base / "half", 2)
    write_kinds(base / "kinds" / "1")
    labels = "version_labels { key: 'stable' value: 1 } version_labels { key: 'a/b' value: 2 }"
    half = f"model_version_policy {{ all {{}} }} {labels}"
    configs = [
        f"config {{ name: '{name}' base_path: '{base / name}' model_platform: 'tensorflow' {more} }}"
        for name, more in (("half", half), ("kinds", ""))
    ]
    (base / "models.config").write_text(f"model_config_list {{ {' '.join(configs)} }}")
    (base / "monitoring.config").write_text("prometheus_config { enable: true path: '/metrics' }")
    with serving_rest(
        kind,
        model_config_file=base / "models.config",
        monitoring_config_file=base / "monitoring.config",
        rest_api_enable_cors_support=True,
        allow_version_labels_for_unavailable_models=True,
    ) as address:
        yield address


def _ok(address, path, body, **headers):
    status, found, content = call(address, "POST", path, body, headers)
    assert status == 200, content
    assert found["content-type"] == "application/json"
    return json.loads(content.decode("utf-8", "replace"))


def _error(address, method, path, body=None, **headers):
    status, found, content = call(address, method, path, body, headers)
    assert found["content-type"] == "application/json"
    answer = json.loads(content)
    assert list(answer) == ["error"]
    return status, answer["error"]


def test_predict_in_row_and_column_form(address):
    assert _ok(address, f"{HALF}:predict", {"instances": [1.0, 2, 5.0]}) == {"predictions": [3.5, 4.0, 5.5]}
    assert _ok(address, f"{HALF}/versions/1:predict", {"inputs": [1, 2]}) == {"outputs": [2.5, 3.0]}
    assert _ok(address, f"{HALF}/labels/stable:predict", {"inputs": [1, 2]}) == {"outputs": [2.5, 3.0]}
    assert _ok(address, f"{HALF}/labels/a%2Fb:predict", {"inputs": [1, 2]}) == {"outputs": [3.5, 4.0]}
    body = {"signature_name": "serving_default", "instances": [{"x": 80.0}]}
    assert _ok(address, f"{HALF}/versions/1:predict", body) == {"predictions": [42.0]}
    assert _ok(address, f"{HALF}/versions/1:predict", {"inputs": {"x": [[1.0, 2.0]]}}) == {"outputs": [[2.5, 3.0]]}
    assert _ok(address, f"{HALF}/versions/001:predict", {"inputs": 2}) == {"outputs": 3.0}


def test_the_answer_is_printed_as_documented(address):
    answer = call(address, "POST", f"{HALF}/versions/1:predict", {"instances": [1.0, 2.0, 5.0]})[2]
    assert answer == b'{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}'


def test_several_inputs_and_outputs(address):
    rows = {"signature_name": "add", "instances": [{"a": 1, "b": [1, 2]}, {"a": 2, "b": [3, 4]}]}
    found = _ok(address, f"{KINDS}:predict", rows)["predictions"]
    assert found == [{"sum": [2.0, 4.0], "first": 1.0}, {"sum": [4.0, 6.0], "first": 2.0}]
    columns = {"signature_name": "add", "inputs": {"a": [1, 2], "b": 10}}
    assert _ok(address, f"{KINDS}:predict", columns) == {"outputs": {"sum": [11.0, 12.0], "first": [1.0, 2.0]}}


def test_classify_and_regress(address):
    path = f"{HALF}/versions/1"
    body = {"signature_name": "classify", "examples": [{"x": 20.0}, {"x": [10.0]}]}
    expected = [[["low", 12.0], ["high", -12.0]], [["low", 7.0], ["high", -7.0]]]
    assert _ok(address, f"{path}:classify", body) == {"results": expected}
    body["signature_name"] = "classify_scores"
    printed = call(address, "POST", f"{path}:classify", body)[2]
    assert printed == b'{\n    "results": [[["", 12.0], ["", -12.0]], [["", 7.0], ["", -7.0]]\n    ]\n}'
    body = {"signature_name": "regress", "examples": [{"x": 20.0}, {"x": [10.0]}, {}], "context": {"x": 4.0}}
    printed = call(address, "POST", f"{path}:regress", body)[2]
    assert printed == b'{\n    "results": [12.0, 7.0, 4.0]\n}'
    assert _ok(address, f"{HALF}/labels/stable:regress", body) == {"results": [12.0, 7.0, 4.0]}


@pytest.mark.parametrize(
    "body, text",
    [
        (b"", "JSON Parse error: The document is empty"),
        ({}, "key 'examples' is expected and was not found"),
        ({"examples": 1}, "to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{}], "context": []}, "Example must be JSON object but got JSON Array"),
        ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
        ({"examples": [{"x": {"a": 1}}]}, "has element with unexpected JSON type: Object"),
        ({"examples": [{"x": [[1]]}]}, "has element with unexpected JSON type: Array"),
        ({"examples": [{"x": [1, 2.0]}]}, "Unexpected element type in feature: x expecting type: int64"),
        ({"examples": [{"x": ["a", True]}]}, "Unexpected element type in feature: x expecting type: bytes"),
        ({"examples": [{"x": 2**63}]}, "Only int64_t is supported."),
        ({"examples": [{"x": {"b64": "a"}}]}, "Unable to base64 decode"),
        ({"examples": [{"x": 2.0}], "signature_name": 7}, "'signature_name' key must be a string value."),
        ({"examples": [{"x": 2.0}], "signature_name": "none"}, "No signature was found with the name: none"),
        (b'{"examples": [{"\xff": 2.0}]}', "not valid UTF-8"),
    ],
)
@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_faults_of_examples(address, verb, body, text):
    status, error = _error(address, "POST", f"{HALF}:{verb}", body)
    assert status == 400 and text in error


def test_a_whole_number_is_no_float_feature(address):
    for verb in ("classify", "regress"):
        body = {"signature_name": verb, "examples": [{"x": 2}]}
        status, error = _error(address, "POST", f"{HALF}:{verb}", body)
        assert status == 400 and "Data types don't match" in error


@pytest.mark.parametrize("dtype", ECHO_DTYPES)
def test_every_dtype_goes_round(address, dtype):
    values = {
        "bool": [True, False],
        "string": ['é\n"', ""],
        "float32": [0.1, -1e30, 3.0],
        "float64": [0.1, 1 / 3, 1e300],
        "uint64": [0, 2**64 - 1],
        "int64": [-(2**63), 2**63 - 1],
        "uint32": [0, 2**32 - 1],
        "int32": [-(2**31), 2**31 - 1],
    }.get(dtype, [0, 1, 127])
    path = f"{KINDS}:predict"
    for value in (values, [values, values], [], [[]], values[0]):
        body = {"signature_name": f"echo_{dtype}", "inputs": value}
        assert _ok(address, path, body) == {"outputs": value}
    rows = {"signature_name": f"echo_{dtype}", "instances": [values, values]}
    assert _ok(address, path, rows) == {"predictions": [values, values]}


def test_not_finite_numbers_go_round(address):
    body = b'{"instances": [NaN, Infinity, -Infinity, Inf, 1e39]}'
    status, _, answer = call(address, "POST", f"{KINDS}:predict", body)
    assert status == 200 and b"[NaN, Infinity, -Infinity, Infinity, Infinity\n" in answer
    assert math.isnan(json.loads(answer)["predictions"][0])


def test_strings_and_bytes(address):
    encoded = base64.b64encode(b"\xff\x00").decode()
    body = {"signature_name": "strings", "instances": ["ab", {"b64": base64.b64encode("é".encode()).decode()}]}
    assert _ok(address, f"{KINDS}:predict", body)["predictions"] == [
        {"text": "ab", "text_bytes": {"b64": base64.b64encode(b"ab!").decode()}, "length": 2},
        {"text": "é", "text_bytes": {"b64": base64.b64encode("é!".encode()).decode()}, "length": 2},
    ]
    body = {"signature_name": "strings", "inputs": [{"b64": encoded}]}
    answer = call(address, "POST", f"{KINDS}:predict", body)[2]
    assert b'"\xff\\u0000"' in answer  # bytes that are no UTF-8 pass as they are


@pytest.mark.parametrize(
    "signature, inputs, text",
    [
        ("no_batch", [1.0], "Tensor name: mean has no shape information"),
        ("other_batch", [1.0], "has inconsistent batch size"),
        ("half", [1.0], "Failed to write JSON value for tensor type: half"),
        ("from_half", [1.0], "Error: UNIMPLEMENTED: Conversion of JSON Value"),
        ("nothing", [1.0], "Failed to get input map for signature: nothing"),
        ("unknown", [1.0], 'Serving signature name: "unknown" not found in signature def'),
        ("strings", [1.0], "not of expected type: string"),
        ("add", [1.0], "instances is a plain list, but expecting list of objects"),
    ],
)
def test_faults_of_predict_in_row_form(address, signature, inputs, text):
    status, error = _error(address, "POST", f"{KINDS}:predict", {"signature_name": signature, "instances": inputs})
    assert status == 400 and text in error


def test_column_form_has_its_own_rules(address):
    assert _ok(address, f"{KINDS}:predict", {"signature_name": "no_batch", "inputs": [1, 3]}) == {"outputs": 2.0}
    body = {"signature_name": "other_batch", "inputs": [1.0]}
    assert _ok(address, f"{KINDS}:predict", body) == {"outputs": {"x": [1.0], "three": [0.0, 0.0, 0.0]}}
    status, error = _error(address, "POST", f"{KINDS}:predict", {"signature_name": "from_half", "inputs": [1]})
    assert status == 501 and "Conversion of JSON Value: 1 to type: half" in error


def test_a_model_that_fails(address):
    status, error = _error(address, "POST", f"{KINDS}:predict", {"signature_name": "positive", "inputs": [-1.0]})
    assert status == 400 and "no negative numbers here" in error
    assert "/tmp" not in error and ".py" not in error


@pytest.mark.parametrize(
    "body, text",
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"instances = [1, 2]", "JSON Parse error: Invalid value. at offset: 0"),
        (b'{"instances": [1e400]}', "JSON Parse error: Number too big"),
        (b"[1, 2]", "Is not object"),
        (b'{"signature_name": 5, "instances": [1]}', "'signature_name' key must be a string value."),
        (b"{}", "Missing 'inputs' or 'instances' key"),
        (b'{"instances": ["x"]}', 'JSON Value: "x" Type: String is not of expected type: float'),
    ],
)
def test_faults_of_a_body(address, body, text):
    status, error = _error(address, "POST", f"{HALF}:predict", body)
    assert status == 400 and text in error


def test_the_order_in_which_faults_are_found(address):
    """JSON, type of the signature's name, model, signature, tensors."""
    wrong = {"signature_name": 5, "instances": "x"}
    assert "JSON Parse error" in _error(address, "POST", "/v1/models/none:predict", b"{")[1]
    assert "must be a string" in _error(address, "POST", "/v1/models/none:predict", wrong)[1]
    wrong["signature_name"] = "none"
    assert _error(address, "POST", "/v1/models/none:predict", wrong) == (
        404,
        "Servable not found for request: Latest(none)",
    )
    assert "not found in signature def" in _error(address, "POST", f"{HALF}:predict", wrong)[1]
    wrong["signature_name"] = ""
    assert "to be an list/array" in _error(address, "POST", f"{HALF}:predict", wrong)[1]


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/v1/"), ("GET", "/v1/foo"), ("POST", "/v1/foo"), ("POST", "/v1/models"), ("GET", "/v1/models/"),
        ("GET", f"{HALF}:predict"), ("GET", f"{HALF}/"), ("GET", f"{HALF}/version/123"), ("GET", f"{HALF}/versions/x"),
        ("GET", f"{HALF}/versions/1/labels/a"), ("GET", f"{HALF}/metadata/"), ("GET", f"{HALF}/metadata?x=1"),
        ("GET", "/v1/models?x=1"), ("POST", HALF), ("POST", f"{HALF}:predict?x=1"), ("POST", f"{HALF}:PREDICT"),
        ("POST", f"{HALF}:unknown"), ("POST", f"{HALF}:predict/"), ("POST", f"{HALF}/version/1:predict"),
        ("POST", f"{HALF}/versions/HELLO:predict"), ("POST", f"{HALF}/versions/1/labels/a:predict"),
        ("PUT", f"{HALF}:predict"), ("DELETE", HALF), ("PATCH", HALF), ("PUT", HALF),
    ],
)  # fmt: skip
def test_malformed_paths(address, method, path):
    assert _error(address, method, path) == (400, f"Malformed request: {method} {path}")


def test_other_paths(address):
    assert _error(address, "GET", "/v1/models") == (400, "Missing model name in request.")
    assert _error(address, "GET", "/v1/models/metadata")[0] == 404
    assert _error(address, "POST", f"{HALF}/labels/x%2Fy:predict", {"instances": [1]}) == (
        400,
        "Unrecognized servable version label: x/y",
    )
    assert _error(address, "POST", f"{HALF}/versions/5:predict", {"instances": [1]}) == (
        404,
        "Servable not found for request: Specific(half, 5)",
    )
    assert _ok(address, "/V1/Models/%68alf/VERSIONS/1:predict", {"instances": [2.0]}) == {"predictions": [3.0]}
    assert call(address, "HEAD", HALF)[::2] == (400, b"")


@pytest.mark.parametrize("method, suffix", [("GET", ""), ("GET", "/metadata"), ("POST", ":predict")])
def test_a_version_that_is_no_number_of_64_bits(address, method, suffix):
    status, _, body = call(address, method, f"{HALF}/versions/18446744073709551615{suffix}", b"{}")
    assert (status, body) == (400, b"")
    status, _, body = call(address, method, f"{HALF}/versions/{'9' * 5000}{suffix}", b"{}")
    assert (status, body) == (400, b"")


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/models", "/statuspage", "/monitoring", "*"])
def test_outside_the_api(address, path):
    status, headers, body = call(address, "GET", path)
    assert status == 404 and b"Not Found" in body and headers["content-type"] == "text/html"


def test_options_and_cors(address):
    cors = "access-control-allow-origin"
    status, headers, body = call(address, "OPTIONS", HALF, headers={"Origin": "https://a.example"})
    assert (status, body, headers[cors]) == (200, b"", "*")
    assert headers["access-control-allow-methods"] == "POST, GET"
    assert headers["access-control-allow-headers"] == "Content-Type"
    assert call(address, "OPTIONS", HALF)[::2] == (400, b"")
    assert call(address, "GET", HALF)[1][cors] == "*"
    assert call(address, "OPTIONS", "/other", headers={"Origin": "https://a.example"})[0] == 404


def test_status(address):
    status, headers, body = call(address, "GET", f"{HALF}/versions/1")
    assert status == 200 and headers["content-type"] == "application/json"
    assert body.decode() == (
        '{\n "model_version_status": [\n  {\n   "version": "1",\n   "state": "AVAILABLE",\n   "status": {\n'
        '    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n'
    )
    found = json.loads(call(address, "GET", HALF)[2])["model_version_status"]
    assert {item["version"] for item in found} == {"1", "2"}
    assert _error(address, "GET", f"{HALF}/versions/9") == (404, "Could not find version 9 of model half")
    unknown = (404, "Could not find any versions of model none?a=b")
    assert _error(address, "GET", "/v1/models/none?a=b") == unknown
    assert call(address, "GET", f"{HALF}/METADATA")[2] == call(address, "GET", HALF)[2]


def test_metadata(address):
    status, _, body = call(address, "GET", f"{HALF}/versions/1/metadata")
    assert status == 200
    assert body.startswith(b'{\n"model_spec":{\n "') and body.endswith(b"}\n}\n}\n") and b'\n}\n,\n"metadata"' in body
    assert json.loads(body)["model_spec"] == {"name": "half", "signature_name": "", "version": "1"}
    found = json.loads(body)["metadata"]["signature_def"]["signature_def"]
    assert set(found) >= {"serving_default", "classify", "regress"}
    x = found["serving_default"]["inputs"]["x"]
    assert x["dtype"] == "DT_FLOAT" and x["name"] == "x:0" and x["tensor_shape"] == {"dim": [], "unknown_rank": True}
    assert found["serving_default"]["method_name"] == "tensorflow/serving/predict"
    assert _error(address, "GET", "/v1/models/none/metadata")[0] == 404


def test_gzip(address):
    body = gzip.compress(b'{"instances": [1.0, 2.0]}')
    headers = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    status, found, answer = call(address, "POST", f"{HALF}:predict", body, headers)
    assert status == 200 and "content-encoding" not in found
    assert json.loads(answer) == {"predictions": [3.5, 4.0]}
    empty = (400, "JSON Parse error: The document is empty")
    for broken in (b"", b"abc", body[:-9], body[:-1], body[:-4] + b"\x01\0\0\0", body + body, b'{"instances": [1.0]}'):
        assert _error(address, "POST", f"{HALF}:predict", broken, **headers) == empty
    assert _error(address, "POST", f"{HALF}:predict", body)[1].startswith("JSON Parse error: Invalid value")


def test_large_bodies_and_answers(address):
    values = np.random.default_rng(0).normal(size=(50, 1000)).astype(np.float32)
    answer = _ok(address, f"{KINDS}:predict", {"instances": values.tolist()})
    np.testing.assert_array_equal(np.array(answer["predictions"], np.float32), values)
    image = np.random.default_rng(0).bytes(300_000)
    body = {"signature_name": "strings", "inputs": [{"b64": base64.b64encode(image).decode()}] * 3}
    answer = _ok(address, f"{KINDS}:predict", body)["outputs"]
    assert base64.b64decode(answer["text_bytes"][2]["b64"]) == image + b"!"


_TEMPLATES = [
    b'{"instances": [1.0, 2.0, 5.0]}',
    b'{"signature_name": "add", "inputs": {"a": [1, 2], "b": [[1.5, 2e3], [NaN, -Infinity]]}}',
    b'{"signature_name": "strings", "instances": ["a", {"b64": "YWJj"}, "\\u00e9\\ud83d\\ude00"]}',
    b'{"signature_name": "echo_int64", "instances": [{"x": 9223372036854775807}, {"x": -1}]}',
    b'{"examples": [{"x": [1.0], "y": true}], "context": {"z": {"b64": "YQ=="}}}',
]
_PIECES = [b"", b"[", b"]", b"{", b"}", b'"', b"\\", b",", b"1e999", b"\xff", b"\0", b"null", b"[[[[", b"-", b"9" * 400]


def test_monitoring(address):
    _ok(address, f"{HALF}:predict", {"instances": [1.0]})
    status, headers, body = call(address, "GET", "/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    assert b':tensorflow:serving:request_count{model_name="half",status="OK"}' in body
    assert b':tensorflow:serving:request_latency_count{model_name="half",API="predict",entrypoint="REST"}' in body
    status, _, body = call(address, "GET", "/metrics?x=1")
    assert (status, body) == (400, b"Unexpected path: /metrics?x=1. Should be /metrics")


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_mutated_bodies(address, data):
    """Whatever is sent, an answer comes that is JSON, names no path of this machine and is no fault of the server."""
    body = bytearray(data.draw(st.sampled_from(_TEMPLATES)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body)))
        length = data.draw(st.integers(0, 12))
        body[place : place + length] = data.draw(st.sampled_from(_PIECES) | st.binary(max_size=4))
    path = data.draw(st.sampled_from([f"{KINDS}:predict", f"{HALF}:predict", f"{HALF}:classify", f"{HALF}:regress"]))
    headers = data.draw(st.sampled_from([{}, {}, {"Content-Encoding": "gzip"}]))
    status, found, answer = call(address, "POST", path, bytes(body), headers, timeout=10)
    assert found["content-type"] == "application/json"
    assert status in (200, 400, 501)
    if status == 200:
        json.loads(answer.decode("utf-8", "replace"))
    else:
        text = json.loads(answer)["error"]
        assert "Traceback" not in text and ".py" not in text and "/tmp" not in text and "/work" not in text
