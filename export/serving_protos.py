"""The configuration messages of TensorFlow Serving that its Python package lacks.

Names and numbers of the fields are those of the published `ssl_config.proto`, `monitoring_config.proto` and
`session_bundle_config.proto`; the messages are read and written as text.
"""

from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message

from export.errors import ExportError

_Message = TypeVar("_Message", bound=Message)
_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tensorflow.serving"
_TYPES = {"string": _FIELD.TYPE_STRING, "bool": _FIELD.TYPE_BOOL, "int64": _FIELD.TYPE_INT64}

# Message -> field -> (number, type). A type with a dot is a message; a leading * means repeated.
_MESSAGES = {
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, f".{_PACKAGE}.PrometheusConfig")},
    "BatchingParameters": {
        "max_batch_size": (1, ".google.protobuf.Int64Value"),
        "batch_timeout_micros": (2, ".google.protobuf.Int64Value"),
        "max_enqueued_batches": (3, ".google.protobuf.Int64Value"),
        "num_batch_threads": (4, ".google.protobuf.Int64Value"),
        "thread_pool_name": (5, ".google.protobuf.StringValue"),
        "allowed_batch_sizes": (6, "*int64"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (
            8,
            ".google.protobuf.BoolValue",
        ),  # in the text format only the names of these two matter
        "max_execution_batch_size": (9, ".google.protobuf.Int64Value"),
    },
}


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="export/serving_configs.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            added = message.field.add(name=field, number=number, label=_FIELD.LABEL_OPTIONAL)
            if kind.startswith("*"):
                added.label = _FIELD.LABEL_REPEATED
                kind = kind[1:]
            if kind.startswith("."):
                added.type, added.type_name = _FIELD.TYPE_MESSAGE, kind
            else:
                added.type = _TYPES[kind]
    pool = (
        descriptor_pool.DescriptorPool()
    )  # not the default pool: a later version of the package may define the same messages
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES = _build()
SslConfig = _CLASSES["SSLConfig"]
MonitoringConfig = _CLASSES["MonitoringConfig"]
BatchingParameters = _CLASSES["BatchingParameters"]


def read_text_proto(path: str | Path, message: _Message) -> _Message:
    """Parses a text file into a message.

    Args:
        path: file in protobuf text format.
        message: empty message of the expected type.

    Returns:
        The message.

    Raises:
        ExportError: the file cannot be read or parsed.
    """
    kind = message.DESCRIPTOR.name
    try:
        with open(path, encoding="utf-8") as file:
            return text_format.Parse(file.read(), message)
    except OSError as error:
        raise ExportError(f"Cannot read the {kind} in `{path}`: {error.strerror}.") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        reason = f"Error parsing text-format {message.DESCRIPTOR.full_name}: {str(error).rstrip('.')}."
        raise ExportError(f"Invalid protobuf file: '{path}'. {reason}") from error
