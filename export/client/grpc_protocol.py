"""Calls of TensorFlow Serving's gRPC services."""

from export.client import messages
from export.client.call import Call
from export.client.results import Metadata, Signature, VersionStatus
from export.client.tensors import dtype_name, from_proto, to_proto

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
# Numbers of google.rpc.Code, which TensorFlow's codes are too.
CODES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)


class GrpcProtocol:
    """Makes and reads the messages.

    Args:
        model: name of the model.
        version: number of the one that shall answer; None: the newest.
        label: of the version that shall answer, instead of a number.
    """

    names_single_outputs = True

    def __init__(self, model, version=None, label=None):
        self._model, self._version, self._label = model, version, label

    def predict(self, signature, inputs, outputs):
        """`Call` that gives a dict of output name -> array; `outputs`: the names wanted, None for all."""
        request = messages.PredictRequest(model_spec=self._spec(signature), output_filter=outputs or [])
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(to_proto(array))
        return Call(_PREDICTION + "Predict", request, messages.PredictResponse, _read_predict)

    def status(self):
        """`Call` that gives a list of `VersionStatus`, the newest first."""
        request = messages.GetModelStatusRequest(model_spec=self._spec())
        return Call(_MODEL + "GetModelStatus", request, messages.GetModelStatusResponse, _read_status)

    def metadata(self):
        """`Call` that gives `Metadata`."""
        request = messages.GetModelMetadataRequest(model_spec=self._spec(), metadata_field=["signature_def"])
        return Call(_PREDICTION + "GetModelMetadata", request, messages.GetModelMetadataResponse, _read_metadata)

    def _spec(self, signature=""):
        spec = messages.ModelSpec(name=self._model, signature_name=signature)
        if self._version is not None:
            spec.version.value = self._version
        elif self._label is not None:
            spec.version_label = self._label
        return spec


def _read_predict(response):
    return {name: from_proto(proto) for name, proto in response.outputs.items()}


def _read_status(response):
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


def _read_metadata(response):
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


def _infos(tensors):
    return {name: (dtype_name(info.dtype), _shape(info.tensor_shape)) for name, info in sorted(tensors.items())}


def _shape(shape):
    return None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
