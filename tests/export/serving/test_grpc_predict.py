"""PredictionService.Predict over a socket: what it answers and what it refuses."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from calls import predict_request, refused
from serving_models import KINDS
from tensorflow.core.framework import tensor_pb2

code = grpc.StatusCode
X = np.array([[1.0], [3.0]], np.float32)


def test_values_come_in_the_list_of_their_type_with_the_version_that_answered(served):
    answer = served.predict("half", {"x": X})
    assert list(answer.outputs) == ["y"]
    assert answer.outputs["y"].float_val == [3.5, 4.5]
    assert not answer.outputs["y"].tensor_content
    assert (answer.model_spec.name, answer.model_spec.signature_name) == ("half", "serving_default")
    assert answer.model_spec.version.value == 2


def test_a_version_or_a_label_may_be_asked_for(served):
    for spec in ({"version": 1}, {"label": "stable"}):
        answer = served.predict("half", {"x": X}, **spec)
        assert answer.outputs["y"].float_val == [2.5, 3.5]
        assert answer.model_spec.version.value == 1


def test_the_output_filter_selects(served):
    assert set(served.predict("half", {"x": X}, "two_outputs").outputs) == {"y", "same"}
    assert set(served.predict("half", {"x": X}, "two_outputs", wanted=["same"]).outputs) == {"same"}


def test_classify_and_regress_signatures_answer_predict(served):
    serialized = tf.train.Example().SerializeToString()
    answer = served.predict("half", {"inputs": np.array([serialized], object)}, "regress")
    assert answer.outputs["outputs"].float_val == [3.0]


def test_a_counter_that_lives_in_the_session_counts(served):
    first = served.value("counter", {"by": np.int32(2)})
    assert served.value("counter", {"by": np.int32(5)}) == first + 5


def test_strings_are_bytes(served):
    joined = served.value(
        "tools", {"text": np.array([b"a\0", b"\xff"], object), "end": np.array([b"", b"!"], object)}, "join"
    )
    assert joined.tolist() == [b"a\0", b"\xff!"]


def test_tf_data_runs_inside_the_graph(served):
    assert served.value("tools", {"numbers": np.array([b"1.5", b"junk", b"3"], object)}, "parse").tolist() == [
        1.5,
        -1,
        3,
    ]


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 1, 3)], ids=str)
def test_every_type_and_shape_comes_back_as_it_was_sent(served, dtype, shape):
    random = np.random.default_rng(7)
    numbers = random.integers(0, 100, shape)
    if dtype == "string":
        array = np.array(numbers.astype("S"), object) if shape else np.array(b"7", object)
    elif dtype.startswith("complex"):
        array = (numbers + 1j * random.integers(0, 9, shape)).astype(dtype)
    else:
        array = np.asarray(numbers).astype(tf.dtypes.as_dtype(dtype).as_numpy_dtype)
    sent = tf.make_tensor_proto(array, dtype, shape)
    back = served.predict("tools", {"x": sent}, f"echo_{dtype}").outputs["y"]
    assert back.dtype == tf.dtypes.as_dtype(dtype).as_datatype_enum
    got = tf.make_ndarray(back)
    assert got.shape == shape
    assert got.tolist() == np.asarray(array).tolist()


def test_a_short_list_repeats_its_last_value(served):
    sent = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=[1, 2])
    sent.tensor_shape.dim.add(size=5)
    assert served.value("tools", {"x": sent}, "echo_float32").tolist() == [1, 2, 2, 2, 2]
    words = tensor_pb2.TensorProto(dtype=tf.string.as_datatype_enum, string_val=[b"a"])
    words.tensor_shape.dim.add(size=3)
    assert served.value("tools", {"x": words}, "echo_string").tolist() == [b"a"] * 3


@pytest.mark.parametrize(
    "model, inputs, more, expected, text",
    [
        ("", {"x": X}, {}, code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        ("nobody", {"x": X}, {}, code.NOT_FOUND, "Servable not found for request: Latest(nobody)"),
        ("half", {"x": X}, {"version": 9}, code.NOT_FOUND, "Servable not found for request: Specific(half, 9)"),
        ("half", {"x": X}, {"label": "no"}, code.INVALID_ARGUMENT, "Unrecognized servable version label: no"),
        ("half", {"x": X}, {"signature": "no"}, code.FAILED_PRECONDITION, 'Serving signature key "no" not found.'),
        ("half", {}, {}, code.INVALID_ARGUMENT, "input size does not match signature"),
        ("half", {}, {}, code.INVALID_ARGUMENT, "Missing but required: {x}."),
        ("half", {"x": X, "z": X}, {}, code.INVALID_ARGUMENT, "Sent extra: {z}."),
        ("half", {"z": X}, {}, code.INVALID_ARGUMENT, "Signature input alias: "),
        ("half", {"z": X}, {}, code.INVALID_ARGUMENT, "not found in request and no default value provided"),
        ("half", {"x": ["a"]}, {}, code.INVALID_ARGUMENT, "to be float but string is provided"),
        ("half", {"x": [1]}, {}, code.INVALID_ARGUMENT, "to be float but int32 is provided"),
        ("half", {"x": X}, {"wanted": ["no"]}, code.INVALID_ARGUMENT, "output tensor alias not found in signature: no"),
        ("half", {"x": X}, {"wanted": ["y", "y"]}, code.INVALID_ARGUMENT, "duplicate output tensor alias: y"),
        ("half", {"x": ["a"]}, {"wanted": ["no"]}, code.INVALID_ARGUMENT, "output tensor alias not found in signature"),
        ("tools", {"x": [-1.0]}, {"signature": "positive"}, code.INVALID_ARGUMENT, "no negative numbers here"),
    ],
)
def test_what_is_wrong_is_said(served, model, inputs, more, expected, text):
    got, details = refused(served.predict, model, inputs, **more)
    assert got == expected
    assert text in details
    assert "Traceback" not in details


def test_a_request_without_a_model_spec(served):
    request = predict_request("half", {"x": X})
    request.ClearField("model_spec")
    assert refused(served.predictions.Predict, request) == (code.INVALID_ARGUMENT, "Missing ModelSpec")


def test_a_long_text_is_cut(served):
    _, details = refused(served.predict, "half", {"x": X}, "s" * 5000)
    assert len(details) == 1024 + len("...TRUNCATED")
    assert details.endswith("...TRUNCATED")


@pytest.mark.parametrize(
    "change",
    [
        lambda proto: proto.tensor_shape.dim.add(size=-1),
        lambda proto: setattr(proto, "tensor_content", b"123"),
        lambda proto: setattr(proto, "dtype", 0),
        lambda proto: setattr(proto, "dtype", 99),
        lambda proto: setattr(proto.tensor_shape, "unknown_rank", True),
        lambda proto: [proto.tensor_shape.dim.add(size=1) for _ in range(300)],
        lambda proto: [proto.tensor_shape.dim.add(size=2**62) for _ in range(3)],
    ],
)
def test_what_is_no_tensor_is_refused(served, change):
    proto = tf.make_tensor_proto([1.0])
    change(proto)
    got, details = refused(served.predict, "tools", {"x": proto}, "echo_float32")
    assert got == code.INVALID_ARGUMENT
    assert "tensor parsing error: x" in details


def test_bytes_that_are_no_message_are_refused_without_a_word_of_python(served):
    call = served.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    got, text = refused(call, b"\x0a\xff", 30)
    assert got == code.INTERNAL
    assert "class" not in text
