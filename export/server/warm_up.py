"""Replays the warm-up requests of a version before it receives requests."""

from pathlib import Path

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import input_pb2, model_pb2, prediction_log_pb2

from export.server import example_apis
from export.server.servable import Servable
from export.server.serving_error import ServingError
from export.server.tensor_protos import to_array

WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"
MOST_RECORDS = 1000
_FRAME = 16  # bytes per record for length and checksums in a TFRecord file


def warm_up(servable: Servable, path: str | Path, iterations: int = 1) -> int:
    """Replays the warm-up requests in the folder of a version.

    Args:
        servable: the loaded version.
        path: its folder.
        iterations: number of runs of each request.

    Returns:
        The number of records; 0 without a file.

    Raises:
        ServingError: a request failed, there are more than 1000, or the file is not a complete TFRecord (DATA_LOSS).
    """
    file = Path(path) / WARM_UP_FILE
    if not file.is_file():
        return 0
    count = read = 0
    try:
        for record in tf.compat.v1.io.tf_record_iterator(str(file)):
            count += 1
            read += _FRAME + len(record)
            if count > MOST_RECORDS:
                raise ServingError(
                    grpc.StatusCode.INVALID_ARGUMENT, f"Number of warmup records exceeds the maximum ({MOST_RECORDS})"
                )
            try:
                log = prediction_log_pb2.PredictionLog.FromString(record)
            except DecodeError as error:
                raise ServingError(
                    grpc.StatusCode.INVALID_ARGUMENT, f"Failed to parse warmup record {count}: {error}"
                ) from error
            for _ in range(max(1, iterations)):
                _replay(servable, log)
        if read != file.stat().st_size:  # the reader silently stops at a truncated record
            raise tf.errors.DataLossError(None, None, f"truncated record at {read} in {WARM_UP_FILE}")
    except tf.errors.DataLossError as error:
        text = error.message.replace(str(file), WARM_UP_FILE)
        raise ServingError(
            grpc.StatusCode.DATA_LOSS, f"{text}. Please verify your warmup data is in TFRecord format."
        ) from error
    except ServingError as error:
        raise ServingError(error.code, f"Warm-up request {count} failed: {error.message}") from error
    return count


def _replay(servable: Servable, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = {alias: to_array(tensor, alias) for alias, tensor in request.inputs.items()}
        servable.execute(request.model_spec.signature_name, inputs, list(request.output_filter))
    elif kind == "classify_log":
        request = log.classify_log.request
        _replay_examples(servable, request.model_spec, example_apis.CLASSIFY, request.input)
    elif kind == "regress_log":
        request = log.regress_log.request
        _replay_examples(servable, request.model_spec, example_apis.REGRESS, request.input)
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        for task in request.tasks:
            if task.method_name not in example_apis.RESULTS:
                raise ServingError(
                    grpc.StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}"
                )
            _replay_examples(servable, task.model_spec, task.method_name, request.input)
    else:
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")


def _replay_examples(servable: Servable, model_spec: model_pb2.ModelSpec, method: str, proto: input_pb2.Input) -> None:
    _, aliases = example_apis.check_signature(servable.signatures, model_spec.signature_name, method)
    examples = example_apis.examples_of(proto)
    outputs = servable.execute(model_spec.signature_name, example_apis.as_inputs(examples), aliases)
    example_apis.RESULTS[method](outputs, len(examples))
