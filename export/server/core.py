"""The core of the server, which the gRPC and REST front ends call."""

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import grpc
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    regression_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from export.effects import find_effects
from export.server import example_apis
from export.server.batching import BatchingOptions
from export.server.graph import Graph
from export.server.metrics import Metrics
from export.server.model_config import single_model_config
from export.server.model_manager import ModelManager
from export.server.options import ServeOptions
from export.server.run_scheduler import RunScheduler
from export.server.servable import DEFAULT_SIGNATURE, Servable
from export.server.serving_error import ServingError
from export.server.text_operations import load_text_operations
from export.server.warm_up import warm_up
from export.serving_protos import BatchingParameters, read_text_proto

_log = logging.getLogger("export.server")


class ServerCore:
    """The served models and the calls of the TensorFlow Serving APIs, independent of the transport.

    Create and use it on one event loop.

    Attributes:
        metrics: `Metrics` to which the front ends report.
        models: `ModelManager`.
    """

    def __init__(self, options: ServeOptions, metrics: Metrics | None = None) -> None:
        """Args:
        options: `ServeOptions`.
        metrics: `Metrics`; None: new ones.

        Raises:
            ExportError: a configuration file is invalid.
        """
        self.options = options
        self.metrics = metrics or Metrics()
        self._session_config = session_config(options)
        batching = _batching_options(options)
        threads = batching.num_threads if batching else options.max_running_requests or 2 * max(2, os.cpu_count() or 1)
        self._scheduler = RunScheduler(threads, batching, options.max_queued_requests)
        self.models = ModelManager(self._load, options)

    async def start(self) -> None:
        """Loads the configured models; returns when each version has loaded or failed once.

        Raises:
            ExportError: the model config file cannot be read.
            ServingError: the configuration is rejected.
        """
        load_text_operations()
        await self.models.start(self.read_config())

    def read_config(self) -> model_server_config_pb2.ModelServerConfig:
        """The `ModelServerConfig` of the options.

        Raises:
            ExportError: the file cannot be read.
        """
        if not self.options.model_config_file:
            return single_model_config(self.options.model_name, self.options.model_base_path)
        return read_text_proto(self.options.model_config_file, model_server_config_pb2.ModelServerConfig())

    async def close(self) -> None:
        """Unloads all models. Stop the front ends first."""
        await self.models.close()
        self._scheduler.close()

    def servable(self, model_spec: model_pb2.ModelSpec) -> AbstractContextManager[Servable]:
        """Context manager that yields the `Servable` of a `ModelSpec` and keeps it loaded.

        Raises:
            ServingError: the name is missing, or the model, version or label is unknown.
        """
        return self.models.hold(model_spec)

    def check_examples(self, servable: Servable, signature_name: str, method: str) -> tuple[str, ...]:
        """Checks that a signature can classify or regress.

        Args:
            servable: `Servable`.
            signature_name: empty for `serving_default`.
            method: `example_apis.CLASSIFY` or `REGRESS`.

        Raises:
            ServingError: INVALID_ARGUMENT.

        Returns:
            Aliases of the outputs that the response needs.
        """
        check = self.options.enable_signature_method_name_check
        return example_apis.check_signature(servable.signatures, signature_name, method, check)[1]

    async def run_examples(
        self,
        servable: Servable,
        signature_name: str,
        method: str,
        examples: Sequence[bytes],
        deadline: float | None = None,
    ) -> classification_pb2.ClassificationResult | regression_pb2.RegressionResult:
        """Runs a classification or regression.

        Args:
            servable: `Servable`.
            signature_name: empty for `serving_default`.
            method: `example_apis.CLASSIFY` or `REGRESS`.
            examples: serialized `tf.train.Example`s; at least one.
            deadline: see `Servable.run`.

        Returns:
            `ClassificationResult` or `RegressionResult`.

        Raises:
            ServingError: the signature has another purpose, or the run failed.
        """
        aliases = self.check_examples(servable, signature_name, method)
        outputs = await servable.run(signature_name, example_apis.as_inputs(examples), aliases, deadline)
        return example_apis.RESULTS[method](outputs, len(examples))

    async def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, deadline: float | None = None
    ) -> inference_pb2.MultiInferenceResponse:
        """`MultiInferenceResponse` to a `MultiInferenceRequest`; all tasks read the same examples.

        Raises:
            ServingError: there are no tasks, they use several models or repeat a signature, or one of them failed.
        """
        spec = request.tasks[0].model_spec if request.tasks else None
        if spec is None or not spec.name:
            raise _invalid("ModelSpec has no name specified.")
        with self.servable(spec) as servable:
            self._check_tasks(servable, request.tasks)
            examples = example_apis.examples_of(request.input)
            response = inference_pb2.MultiInferenceResponse()
            results = await asyncio.gather(
                *(
                    self.run_examples(servable, task.model_spec.signature_name, task.method_name, examples, deadline)
                    for task in request.tasks
                )
            )
            for task, result in zip(request.tasks, results, strict=True):
                entry = response.results.add()
                fill_model_spec(entry.model_spec, servable, task.model_spec.signature_name)
                if task.method_name == example_apis.CLASSIFY:
                    entry.classification_result.CopyFrom(result)
                else:
                    entry.regression_result.CopyFrom(result)
            return response

    def model_status(self, model_spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
        """`GetModelStatusResponse`; a label in the request is ignored.

        Raises:
            ServingError: NOT_FOUND; the model or version is unknown.
        """
        name = model_spec.name
        versions, wanted = self.models.versions(name), "any versions"
        if model_spec.WhichOneof("version_choice") == "version":
            number = model_spec.version.value
            versions, wanted = [each for each in versions if each.version == number], f"version {number}"
        if not versions:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Could not find {wanted} of model {name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for each in versions:
            entry = response.model_version_status.add(version=each.version, state=int(each.state))
            entry.status.error_code = each.error.code.value[0] if each.error else 0
            entry.status.error_message = each.error.message if each.error else ""
        return response

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """`GetModelMetadataResponse` to a `GetModelMetadataRequest`.

        Raises:
            ServingError: INVALID_ARGUMENT; a field other than `signature_def` is requested. NOT_FOUND.
        """
        if not request.HasField("model_spec"):
            raise _invalid("Missing ModelSpec")
        if not request.metadata_field:
            raise _invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise _invalid(f"Metadata field {field} is not supported")
        with self.servable(request.model_spec) as servable:
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = servable.name
            response.model_spec.version.value = servable.version
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
            response.metadata["signature_def"].Pack(signatures)
            return response

    async def reload(
        self, request: model_management_pb2.ReloadConfigRequest
    ) -> model_management_pb2.ReloadConfigResponse:
        """`ReloadConfigResponse` to a `ReloadConfigRequest`, once the new models are available.

        Raises:
            ServingError: the configuration is rejected, or a new model cannot be loaded.
        """
        if request.config.WhichOneof("config") != "model_config_list":
            raise _invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        before = self.metrics.counters()
        await self.models.reload(request.config)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        after = self.metrics.counters()
        for name in request.metric_names:
            response.metric.add(name=name, int64_value_increase=after.get(name, 0) - before.get(name, 0))
        return response

    def _check_tasks(self, servable: Servable, tasks: Sequence[Any]) -> None:
        seen, inputs = set(), set()
        for task in tasks:
            spec = task.model_spec
            if not spec.name:
                raise _invalid("Found ModelSpec with an empty model name.")
            if spec.name != servable.name:
                raise _invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
            name = spec.signature_name or DEFAULT_SIGNATURE
            if name in seen:
                raise _invalid(f"Duplicate evaluation of signature: {name}")
            seen.add(name)
            missing = "Requested signature not found in model graph: "
            if name not in servable.signatures:
                raise _invalid(f"{missing}{name}")
            if task.method_name not in example_apis.RESULTS:
                raise ServingError(
                    grpc.StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}"
                )
            signature, _ = example_apis.check_signature(
                servable.signatures,
                name,
                task.method_name,
                self.options.enable_signature_method_name_check,
                missing,
            )
            inputs.add(signature.inputs[example_apis.INPUTS].name)
            if len(inputs) > 1:
                raise _invalid("Input tensor must be the same for all Signatures.")

    def _check_effects(self, name: str, version: int, path: str, graph: Any) -> None:
        """Warns of a SavedModel that does more than compute, or refuses it."""
        effects = find_effects(graph, path)
        if effects and self.options.refuse_effects:
            raise ServingError(
                grpc.StatusCode.PERMISSION_DENIED,
                f"The SavedModel does more than compute, which --refuse_effects forbids: {'; '.join(effects)}",
            )
        if effects:
            text = "%s version %d does more than compute: %s. Serve it only if you trust who made it."
            _log.warning(text, name, version, "; ".join(effects))

    def _load(self, name: str, version: int, path: str) -> Servable:
        tags = self.options.saved_model_tags.split(",")
        graph = Graph.load(
            path, tags, self._session_config, lambda found: self._check_effects(name, version, path, found)
        )
        try:
            check_methods = self.options.enable_signature_method_name_check
            servable = Servable(name, version, graph, self._scheduler, self.metrics, check_methods)
            if self.options.enable_model_warmup:
                warm_up(servable, path, self.options.num_request_iterations_for_warmup)
            return servable
        except BaseException:
            graph.close()
            raise


def fill_model_spec(model_spec: model_pb2.ModelSpec, servable: Servable, signature_name: str) -> None:
    """Fills the `ModelSpec` of a response: model, signature and version."""
    model_spec.name = servable.name
    model_spec.signature_name = signature_name or DEFAULT_SIGNATURE
    model_spec.version.value = servable.version


def session_config(options: ServeOptions) -> config_pb2.ConfigProto:
    """The configuration of the sessions.

    Raises:
        ExportError: the configuration file is invalid.
    """
    config = config_pb2.ConfigProto()
    if options.tensorflow_session_config_file:
        read_text_proto(options.tensorflow_session_config_file, config)
    intra, inter = options.tensorflow_intra_op_parallelism, options.tensorflow_inter_op_parallelism
    if not (intra or inter):
        intra = inter = options.tensorflow_session_parallelism
    config.intra_op_parallelism_threads = intra or config.intra_op_parallelism_threads
    config.inter_op_parallelism_threads = inter or config.inter_op_parallelism_threads
    return config


def _batching_options(options: ServeOptions) -> BatchingOptions | None:
    if not options.enable_batching:
        return None
    parameters = BatchingParameters()
    if options.batching_parameters_file:
        read_text_proto(options.batching_parameters_file, parameters)
    return BatchingOptions.from_proto(parameters)


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
