"""What a client sends and reads is what TensorFlow sends and reads, and it needs no TensorFlow for it."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from export.client import Client
from export.client.address import parse_address
from export.client.messages import MESSAGES, TensorProto
from export.client.tensors import from_proto, to_array, to_proto
from export.errors import ExportError

ROOT = Path(__file__).resolve().parents[3]


def test_messages_have_the_published_names_numbers_and_types():
    published = {
        "tensorflow.TensorDim": ("tensorflow.core.framework.tensor_shape_pb2", "TensorShapeProto.Dim"),
        "tensorflow.TensorShapeProto": ("tensorflow.core.framework.tensor_shape_pb2", "TensorShapeProto"),
        "tensorflow.TensorProto": ("tensorflow.core.framework.tensor_pb2", "TensorProto"),
        "tensorflow.TensorInfo": ("tensorflow.core.protobuf.meta_graph_pb2", "TensorInfo"),
        "tensorflow.SignatureDef": ("tensorflow.core.protobuf.meta_graph_pb2", "SignatureDef"),
        "tensorflow.serving.ModelSpec": ("tensorflow_serving.apis.model_pb2", "ModelSpec"),
        "tensorflow.serving.StatusProto": ("tensorflow_serving.apis.status_pb2", "StatusProto"),
    }
    places = {
        "Predict": "predict_pb2",
        "ModelVersion": "get_model_status_pb2",
        "GetModelStatus": "get_model_status_pb2",
    }
    places |= {"GetModelMetadata": "get_model_metadata_pb2", "SignatureDefMap": "get_model_metadata_pb2"}
    for full_name, fields in MESSAGES.items():
        name = full_name.rpartition(".")[2]
        place = next((file for start, file in places.items() if name.startswith(start)), None)
        module, path = published.get(full_name, (f"tensorflow_serving.apis.{place}", name))
        message = import_module(module)
        for part in path.split("."):
            message = getattr(message, part)
        for field, (number, kind) in fields.items():
            theirs = message.DESCRIPTOR.fields_by_name[field]
            assert theirs.number == number, (full_name, field)
            assert theirs.is_repeated == (kind[0] in "*@"), (full_name, field)
            kind = kind.lstrip("*@")
            if theirs.message_type is None:
                names = {theirs.TYPE_ENUM: "int32", theirs.TYPE_STRING: "string", theirs.TYPE_BYTES: "bytes"}
                spelled = (
                    names.get(theirs.type)
                    or next(
                        name
                        for name in dir(theirs)
                        if name.startswith("TYPE_") and getattr(theirs, name) == theirs.type
                    )
                    .removeprefix("TYPE_")
                    .lower()
                )
                assert spelled == kind, (full_name, field)
            elif theirs.message_type.GetOptions().map_entry:
                assert theirs.message_type.fields_by_name["key"].type == theirs.TYPE_STRING
                assert "." + theirs.message_type.fields_by_name["value"].message_type.full_name == kind
            else:
                expected = kind.replace(".TensorDim", ".TensorShapeProto.Dim")
                assert "." + theirs.message_type.full_name == expected, (full_name, field)


_KINDS = (
    "float32",
    "float64",
    "int32",
    "int64",
    "uint8",
    "int8",
    "int16",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "float16",
)
_KINDS += ("complex64", "complex128")
ARRAYS = st.sampled_from(_KINDS).flatmap(
    lambda kind: npst.arrays(kind, npst.array_shapes(min_dims=0, max_dims=3, min_side=0))
)


@settings(max_examples=100, deadline=None)
@given(ARRAYS)
def test_arrays_are_what_tensorflow_reads_and_writes(array):
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    sent = tensor_pb2.TensorProto.FromString(to_proto(array).SerializeToString())
    np.testing.assert_array_equal(tf.make_ndarray(sent), array)
    for as_list in (False, True):
        theirs = tf.make_tensor_proto(array)
        if as_list:  # value fields, as the server writes them
            from export.server.tensor_protos import to_proto as as_the_server

            theirs = as_the_server(array, theirs.dtype)
        read = from_proto(TensorProto.FromString(theirs.SerializeToString()))
        assert read.dtype == array.dtype and read.shape == array.shape
        np.testing.assert_array_equal(read, array)


def test_strings_keep_every_byte():
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    values = [b"\x00zero\x00", "Hündin".encode(), b"", b"\xff\xd8"]
    sent = tensor_pb2.TensorProto.FromString(to_proto(to_array(values)).SerializeToString())
    assert tf.make_ndarray(sent).tolist() == values
    assert from_proto(TensorProto.FromString(tf.make_tensor_proto(values).SerializeToString())).tolist() == values
    assert to_array("Hündin")[()] == "Hündin".encode()
    assert to_array(np.array(["ab", "c"])).tolist() == [b"ab", b"c"]


def test_values_cut_short_and_bfloat16():
    short = TensorProto(dtype=1, float_val=[1.0, 2.0])
    short.tensor_shape.dim.add(size=4)
    assert from_proto(short).tolist() == [1, 2, 2, 2]
    half = TensorProto(dtype=14, half_val=[0x3FC0])
    half.tensor_shape.dim.add(size=1)
    assert from_proto(half).tolist() == [1.5]


@pytest.mark.parametrize("value", [[{}], [["a"], [1]], [object()]], ids=["dict", "mixed", "object"])
def test_what_cannot_be_sent_is_said(value):
    with pytest.raises(TypeError):
        to_array(value)


def test_addresses():
    assert parse_address("grpc://host")[1:3] == ("host", 8500)
    assert parse_address("http://[::1]:9")[1:3] == ("[::1]", 9)
    assert parse_address("https://host/gateway/")[1:] == ("host", 443, "/gateway")
    for wrong in ("host:8500", "ftp://host", "grpc://", "http://host:port", "grpc://host/path", "http://host?x=1"):
        with pytest.raises(ExportError, match="URL"):
            parse_address(wrong)
    for host in ("a..b", ".host", "my host", "a%b", "a" * 64):
        with pytest.raises(ExportError, match="URL"):
            parse_address(f"http://{host}")


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e10])
@pytest.mark.parametrize("url", ["grpc://host", "http://host"])
def test_what_no_connection_can_use_is_said(url, timeout):
    with pytest.raises(ExportError, match="`timeout_s` above 0"):
        Client(url, timeout_s=timeout)
    with pytest.raises(ExportError, match="`token` must be one line") as said:
        Client(url, token="secret\nline")
    assert "secret" not in str(said.value)
    Client(url, timeout_s=2_000_000, token="a.b-c==").close()


def test_the_client_needs_no_tensorflow():
    code = (
        "import sys; from export.client import Client, AsyncClient\n"
        "Client('grpc://127.0.0.1:1').close(); Client('http://127.0.0.1:1').close()\n"
        "from export.client import grpc_connection, http_connection\n"
        "print([name for name in ('tensorflow', 'tensorflow_serving', 'vl_keras', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
