"""The protobuf messages that a client of TensorFlow Serving needs.

tensorflow-serving-api has them too, but importing it imports TensorFlow, which takes many seconds. Names and numbers of
the fields are those of the published `.proto` files; enums are plain numbers.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    name: getattr(_FIELD, f"TYPE_{name.upper()}")
    for name in ("string", "bytes", "bool", "int32", "int64", "uint32", "uint64", "float", "double")
}

# Message -> field -> (number, type). A type with a dot is a message; `*` means repeated, `@` a map with string keys.
MESSAGES = {
    "tensorflow.TensorDim": {"size": (1, "int64"), "name": (2, "string")},
    "tensorflow.TensorShapeProto": {"dim": (2, "*.tensorflow.TensorDim"), "unknown_rank": (3, "bool")},
    "tensorflow.TensorProto": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, ".tensorflow.TensorShapeProto"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "*float"),
        "double_val": (6, "*double"),
        "int_val": (7, "*int32"),
        "string_val": (8, "*bytes"),
        "scomplex_val": (9, "*float"),
        "int64_val": (10, "*int64"),
        "bool_val": (11, "*bool"),
        "dcomplex_val": (12, "*double"),
        "half_val": (13, "*int32"),
        "uint32_val": (16, "*uint32"),
        "uint64_val": (17, "*uint64"),
    },
    "tensorflow.TensorInfo": {
        "name": (1, "string"),
        "dtype": (2, "int32"),
        "tensor_shape": (3, ".tensorflow.TensorShapeProto"),
    },
    "tensorflow.SignatureDef": {
        "inputs": (1, "@.tensorflow.TensorInfo"),
        "outputs": (2, "@.tensorflow.TensorInfo"),
        "method_name": (3, "string"),
    },
    "tensorflow.serving.ModelSpec": {
        "name": (1, "string"),
        "version": (2, ".google.protobuf.Int64Value"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    "tensorflow.serving.PredictRequest": {
        "model_spec": (1, ".tensorflow.serving.ModelSpec"),
        "inputs": (2, "@.tensorflow.TensorProto"),
        "output_filter": (3, "*string"),
    },
    "tensorflow.serving.PredictResponse": {
        "outputs": (1, "@.tensorflow.TensorProto"),
        "model_spec": (2, ".tensorflow.serving.ModelSpec"),
    },
    "tensorflow.serving.StatusProto": {"error_code": (1, "int32"), "error_message": (2, "string")},
    "tensorflow.serving.ModelVersionStatus": {
        "version": (1, "int64"),
        "state": (2, "int32"),
        "status": (3, ".tensorflow.serving.StatusProto"),
    },
    "tensorflow.serving.GetModelStatusRequest": {"model_spec": (1, ".tensorflow.serving.ModelSpec")},
    "tensorflow.serving.GetModelStatusResponse": {
        "model_version_status": (1, "*.tensorflow.serving.ModelVersionStatus")
    },
    "tensorflow.serving.GetModelMetadataRequest": {
        "model_spec": (1, ".tensorflow.serving.ModelSpec"),
        "metadata_field": (2, "*string"),
    },
    "tensorflow.serving.GetModelMetadataResponse": {
        "model_spec": (1, ".tensorflow.serving.ModelSpec"),
        "metadata": (2, "@.google.protobuf.Any"),
    },
    "tensorflow.serving.SignatureDefMap": {"signature_def": (1, "@.tensorflow.SignatureDef")},
}


def _build() -> dict[str, Any]:
    pool = (
        descriptor_pool.DescriptorPool()
    )  # not the default pool: TensorFlow registers messages with the same names there
    for known in (any_pb2, wrappers_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    for package in ("tensorflow", "tensorflow.serving"):
        file = descriptor_pb2.FileDescriptorProto(name=f"export/{package}.proto", package=package, syntax="proto3")
        file.dependency.extend([any_pb2.DESCRIPTOR.name, wrappers_pb2.DESCRIPTOR.name])
        if package == "tensorflow.serving":
            file.dependency.append("export/tensorflow.proto")
        for full_name, fields in MESSAGES.items():
            prefix, _, name = full_name.rpartition(".")
            if prefix == package:
                _add(file.message_type.add(name=name), full_name, fields)
        pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in MESSAGES}


def _add(message: descriptor_pb2.DescriptorProto, full_name: str, fields: Mapping[str, tuple[int, str]]) -> None:
    for name, (number, kind) in fields.items():
        field = message.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL)
        if kind[0] in "*@":
            field.label = _FIELD.LABEL_REPEATED
        if kind[0] == "@":
            entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_STRING)
            _set_type(entry.field.add(name="value", number=2, label=_FIELD.LABEL_OPTIONAL), kind[1:])
            _set_type(field, f".{full_name}.{entry.name}")
        else:
            _set_type(field, kind.lstrip("*"))


def _set_type(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    if kind.startswith("."):
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, kind
    else:
        field.type = _TYPES[kind]


CLASSES = _build()
TensorProto = CLASSES["tensorflow.TensorProto"]
ModelSpec = CLASSES["tensorflow.serving.ModelSpec"]
PredictRequest = CLASSES["tensorflow.serving.PredictRequest"]
PredictResponse = CLASSES["tensorflow.serving.PredictResponse"]
GetModelStatusRequest = CLASSES["tensorflow.serving.GetModelStatusRequest"]
GetModelStatusResponse = CLASSES["tensorflow.serving.GetModelStatusResponse"]
GetModelMetadataRequest = CLASSES["tensorflow.serving.GetModelMetadataRequest"]
GetModelMetadataResponse = CLASSES["tensorflow.serving.GetModelMetadataResponse"]
SignatureDefMap = CLASSES["tensorflow.serving.SignatureDefMap"]
