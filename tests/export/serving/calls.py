"""Requests as a client of TensorFlow Serving makes them, with the stubs of tensorflow-serving-api."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from export.server.local_server import LocalServer

ROOT = Path(__file__).resolve().parents[3]
ORIGINAL = shutil.which("tensorflow_model_server")


class Calls:
    """A client of one server.

    Attributes:
        port: of the server.
        predictions: stub of the PredictionService.
        models: stub of the ModelService.
    """

    def __init__(self, port, credentials=None, options=()):
        self.port = port
        address = f"localhost:{port}"
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), *options]
        make = grpc.insecure_channel if credentials is None else grpc.secure_channel
        self.channel = make(address, *([] if credentials is None else [credentials]), options=options)
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, model, inputs, signature="", timeout=30, metadata=None, wanted=(), **spec):
        """`PredictResponse`; inputs are arrays or `TensorProto`s."""
        return self.predictions.Predict(predict_request(model, inputs, signature, wanted, **spec), timeout, metadata)

    def value(self, model, inputs, signature="", **more):
        """Array of the only output."""
        (tensor,) = self.predict(model, inputs, signature, **more).outputs.values()
        return tf.make_ndarray(tensor)

    def status(self, model, **spec):
        """dict of version -> `(state name, error code, error text)`."""
        request = get_model_status_pb2.GetModelStatusRequest()
        fill_spec(request.model_spec, model, **spec)
        answer = self.models.GetModelStatus(request, 30)
        names = get_model_status_pb2.ModelVersionStatus.State.Name
        return {
            each.version: (names(each.state), each.status.error_code, each.status.error_message)
            for each in answer.model_version_status
        }

    def states(self, model):
        """dict of version -> state name; empty for a model that is not there."""
        with contextlib.suppress(grpc.RpcError):
            return {version: state for version, (state, _, _) in self.status(model).items()}
        return {}

    def wait_for(self, model, **states):
        """Waits until versions, given as `v1="AVAILABLE"`, are in these states."""
        expected = {int(key[1:]): state for key, state in states.items()}
        until = time.monotonic() + 30
        while not expected.items() <= (found := self.states(model)).items():
            assert time.monotonic() < until, f"{found} never became {expected}"
            time.sleep(0.02)

    def reload(self, *models, timeout=30, metric_names=()):
        """HandleReloadConfigRequest with dicts of `ModelConfig` fields."""
        request = model_management_pb2.ReloadConfigRequest(metric_names=metric_names)
        request.config.model_config_list.SetInParent()
        for each in models:
            request.config.model_config_list.config.add(**{"model_platform": "tensorflow", **each})
        return self.models.HandleReloadConfigRequest(request, timeout)

    def metadata(self, *fields, model=None, **spec):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        if model is not None:
            fill_spec(request.model_spec, model, **spec)
        return self.predictions.GetModelMetadata(request, 30)


def predict_request(model, inputs, signature="", wanted=(), **spec):
    request = predict_pb2.PredictRequest(output_filter=wanted)
    fill_spec(request.model_spec, model, signature, **spec)
    for alias, value in inputs.items():
        proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        request.inputs[alias].CopyFrom(proto)
    return request


def classify_request(model, examples, signature="", context=None, **spec):
    return _fill_examples(classification_pb2.ClassificationRequest(), model, examples, signature, context, **spec)


def regress_request(model, examples, signature="", context=None, **spec):
    return _fill_examples(regression_pb2.RegressionRequest(), model, examples, signature, context, **spec)


def multi_request(tasks, examples):
    """`tasks`: `(model, signature, method)` each."""
    request = inference_pb2.MultiInferenceRequest()
    for model, signature, method in tasks:
        fill_spec(request.tasks.add(method_name=method).model_spec, model, signature)
    request.input.example_list.examples.extend(examples)
    return request


def example(**features):
    """`tf.train.Example` of float features."""
    values = {name: tf.train.Feature(float_list=tf.train.FloatList(value=[v])) for name, v in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=values))


def fill_spec(model_spec, model, signature="", version=None, label=None):
    model_spec.name, model_spec.signature_name = model, signature
    if version is not None:
        model_spec.version.value = version
    if label is not None:
        model_spec.version_label = label


def refused(call, *args, **kwargs):
    """`(code, text)` of a call that must fail."""
    try:
        call(*args, **kwargs)
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("the call was answered")


def _fill_examples(request, model, examples, signature, context, **spec):
    fill_spec(request.model_spec, model, signature, **spec)
    if context is None:
        request.input.example_list.examples.extend(examples)
    else:
        request.input.example_list_with_context.context.CopyFrom(context)
        request.input.example_list_with_context.examples.extend(examples)
    return request


@contextlib.contextmanager
def serving(kind, model_base_path="", **flags):
    """Gives `Calls` to a server: `local` is ours, on a thread; `original` is `tensorflow_model_server`."""
    if kind == "local":
        with LocalServer(model_base_path, rest_api_port=0, **flags) as server:
            calls = Calls(server.grpc_port)
            calls.server = server
            yield calls
        return
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    if model_base_path:
        flags["model_base_path"] = model_base_path
    arguments = [f"--{name}={str(value).lower() if value in (True, False) else value}" for name, value in flags.items()]
    process = subprocess.Popen([ORIGINAL, f"--port={port}", *arguments])
    calls = Calls(port)
    try:
        grpc.channel_ready_future(calls.channel).result(60)
        yield calls
    finally:
        process.terminate()
        process.wait()


class Process:
    """`python -m export.server` as a process of its own; a context manager.

    Attributes:
        ports: dict of `grpc` and `rest` -> port, from the lines that it prints.
        lines: what it has printed.
    """

    def __init__(self, *arguments):
        self.lines, self.ports = [], {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "export.server", *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if line.startswith("Running gRPC ModelServer at ") and "UNIX" not in line:
                self.ports["grpc"] = int(line.split()[4].rsplit(":", 1)[1])
            if line.startswith("Exporting HTTP/REST API at:"):
                self.ports["rest"] = int(line.split()[3].rsplit(":", 1)[1])
            if line.startswith("All models are available"):
                break
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self.process.stdout.close()
        self.process.stderr.close()
