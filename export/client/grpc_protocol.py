"""The requests and responses of the gRPC services of TensorFlow Serving."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from export.client import messages
from export.client.call import Call
from export.client.results import Metadata, Signature, TensorInfo, VersionStatus
from export.client.tensors import dtype_name, from_proto, to_proto

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
# Names of google.rpc.Code by number; TensorFlow uses the same codes.
CODES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)


class GrpcProtocol:
    """Creates the requests and reads the responses.

    Args:
        model: name of the model.
        version: number of the version to use; None: the newest.
        label: label of the version to use, instead of its number.
    """

    def __init__(self, model: str, version: int | None = None, label: str | None = None) -> None:
        self._model, self._version, self._label = model, version, label

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> Call:
        """`Call` that returns a dict of output name -> array; `outputs`: the names to return, None for all."""
        request = messages.PredictRequest(model_spec=self._spec(signature), output_filter=outputs or [])
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(to_proto(array))
        return Call(_PREDICTION + "Predict", request, messages.PredictResponse, _read_predict)

    def status(self) -> Call:
        """`Call` that returns a list of `VersionStatus`, newest first."""
        request = messages.GetModelStatusRequest(model_spec=self._spec())
        return Call(_MODEL + "GetModelStatus", request, messages.GetModelStatusResponse, _read_status)

    def metadata(self) -> Call:
        """`Call` that returns `Metadata`."""
        request = messages.GetModelMetadataRequest(model_spec=self._spec(), metadata_field=["signature_def"])
        return Call(_PREDICTION + "GetModelMetadata", request, messages.GetModelMetadataResponse, _read_metadata)

    def _spec(self, signature: str = "") -> Any:
        spec = messages.ModelSpec(name=self._model, signature_name=signature)
        if self._version is not None:
            spec.version.value = self._version
        elif self._label is not None:
            spec.version_label = self._label
        return spec


def _read_predict(response: Any) -> dict[str, np.ndarray]:
    return {name: from_proto(proto) for name, proto in response.outputs.items()}


def _read_status(response: Any) -> list[VersionStatus]:
    found = [
        VersionStatus(
            each.version,
            _STATES.get(each.state, str(each.state)),
            CODES[each.status.error_code] if each.status.error_code < len(CODES) else str(each.status.error_code),
            each.status.error_message,
        )
        for each in response.model_version_status
    ]
    return sorted(found, reverse=True)


def _read_metadata(response: Any) -> Metadata:
    signatures = messages.SignatureDefMap.FromString(response.metadata["signature_def"].value)
    return Metadata(
        response.model_spec.name,
        response.model_spec.version.value,
        {
            name: Signature(value.method_name, _infos(value.inputs), _infos(value.outputs))
            for name, value in sorted(signatures.signature_def.items())
            if not name.startswith("__")
        },
    )


def _infos(tensors: Any) -> dict[str, TensorInfo]:
    return {name: (dtype_name(info.dtype), _shape(info.tensor_shape)) for name, info in sorted(tensors.items())}


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    return None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
