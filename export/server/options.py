"""The flags of the server: those of `tensorflow_model_server` with their defaults, and a few of our own."""

import argparse
import dataclasses
from dataclasses import dataclass, field
from typing import Any, Self

from export.errors import ExportError

# Flags of tensorflow_model_server that have no effect here. They are accepted, so the same command line works.
IGNORED_FLAGS = (
    "enable_grpc_healthcheck_service",
    "enable_per_model_batching_parameters",
    "enable_profiler",
    "flush_filesystem_caches",
    "grpc_max_threads",
    "mixed_precision",
    "num_tflite_interpreters_per_pool",
    "num_tflite_pools",
    "per_process_gpu_memory_fraction",
    "platform_config_file",
    "prefer_tflite_model",
    "remove_unused_fields_from_bundle_metagraph",
    "rest_api_num_threads",
    "skip_initialize_tpu",
    "thread_pool_factory_config_file",
    "total_model_memory_limit_bytes",
    "use_alts_credentials",
    "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled",
)

_VALUE_WORDS = ("port", "file", "path", "name", "seconds", "tags", "address", "bytes")


def _flag(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class ServeOptions:
    """The options of the server, one attribute per flag.

    Raises:
        ExportError: options exclude each other or are out of range.
    """

    port: int = _flag(8500, "gRPC port; 0: no gRPC; (ours) -1: a free port, which is printed")
    grpc_socket_path: str = _flag("", "also listen for gRPC on this UNIX socket")
    rest_api_port: int = _flag(0, "REST port; 0: no REST; (ours) -1: a free port, which is printed")
    rest_api_timeout_in_ms: int = _flag(30000, "time limit of a REST request; 0: no limit")
    rest_api_enable_cors_support: bool = _flag(False, "send CORS headers over REST")
    model_name: str = _flag("default", "name of the model in --model_base_path")
    model_base_path: str = _flag("", "folder of one model, with one folder per version")
    model_config_file: str = _flag("", "text ModelServerConfig; several models, version policies, labels")
    model_config_file_poll_wait_seconds: float = _flag(0, "interval for reading --model_config_file again; 0: never")
    monitoring_config_file: str = _flag("", "text MonitoringConfig; Prometheus metrics over REST")
    enable_batching: bool = _flag(False, "run several requests as one batch")
    batching_parameters_file: str = _flag("", "text BatchingParameters")
    ssl_config_file: str = _flag("", "text SSLConfig; TLS for gRPC")
    file_system_poll_wait_seconds: float = _flag(1, "interval for new versions; 0: check once; negative: never")
    max_num_load_retries: int = _flag(5, "retries for a version that cannot be loaded")
    load_retry_interval_micros: int = _flag(60_000_000, "time between these retries")
    num_load_threads: int = _flag(0, "threads that load versions; 0: one")
    num_unload_threads: int = _flag(0, "threads that unload versions; 0: share the load threads")
    enable_model_warmup: bool = _flag(True, "replay the warm-up requests of a version before it receives requests")
    num_request_iterations_for_warmup: int = _flag(0, "runs of each warm-up request; 0: one")
    tensorflow_session_parallelism: int = _flag(0, "threads within and between ops; 0: TensorFlow decides")
    tensorflow_intra_op_parallelism: int = _flag(0, "threads within an op")
    tensorflow_inter_op_parallelism: int = _flag(0, "threads between ops")
    tensorflow_session_config_file: str = _flag("", "text ConfigProto for the sessions")
    saved_model_tags: str = _flag("serve", "tags of the graph to load, separated by commas")
    grpc_channel_arguments: str = _flag("", "gRPC channel arguments: key=value, separated by commas")
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "allow new labels for versions that are not loaded"
    )
    force_allow_any_version_labels_for_unavailable_models: bool = _flag(False, "allow this for all labels")
    enable_signature_method_name_check: bool = _flag(
        False, "require that the method name of a signature matches the API"
    )
    enforce_session_run_timeout: bool = _flag(True, "stop the run of a gRPC request at its deadline")
    enable_serialization_as_tensor_content: bool = _flag(False, "use tensor_content in Predict responses")
    bind_address: str = _flag("127.0.0.1", "(ours) address to listen on")
    auth_token_file: str = _flag("", "(ours) file with a bearer token that gRPC and REST requests must have")
    refuse_effects: bool = _flag(
        False, "(ours) do not load a version that does more than compute, see `vl-export inspect`; else warn of it"
    )
    max_running_requests: int = _flag(0, "(ours) parallel requests without batching; 0: twice the CPUs")
    max_queued_requests: int = _flag(256, "(ours) waiting requests without batching; more are UNAVAILABLE")
    rest_api_max_body_bytes: int = _flag(2**28, "(ours) largest body of a REST request")
    stop_grace_seconds: float = _flag(30.0, "(ours) time for running requests when the server is stopped")

    def __post_init__(self) -> None:
        if not self.model_base_path and not self.model_config_file:
            raise ExportError("Give --model_base_path or --model_config_file; both are empty.")
        if self.batching_parameters_file and not self.enable_batching:
            raise ExportError("--batching_parameters_file is set without --enable_batching.")
        if not (self.port or self.rest_api_port or self.grpc_socket_path):
            raise ExportError(
                "There is nothing to listen on: --port and --rest_api_port are both 0 and --grpc_socket_path is empty."
            )
        if self.rest_api_port > 0 and self.rest_api_port == self.port:
            raise ExportError(f"--rest_api_port and --port must differ; both are {self.port}.")
        if self.tensorflow_session_parallelism > 0 and (
            self.tensorflow_intra_op_parallelism > 0 and self.tensorflow_inter_op_parallelism > 0
        ):
            raise ExportError(
                "Give either --tensorflow_session_parallelism or --tensorflow_intra_op_parallelism and "
                "--tensorflow_inter_op_parallelism, not all."
            )
        for name in ("max_queued_requests", "rest_api_max_body_bytes"):
            if getattr(self, name) < 1:
                raise ExportError(f"--{name} must be at least 1; got {getattr(self, name)}.")
        for name in ("port", "rest_api_port"):
            if not -1 <= getattr(self, name) <= 65535:
                raise ExportError(f"--{name} must be between 0 and 65535, or be -1; got {getattr(self, name)}.")

    @classmethod
    def from_namespace(cls, namespace: argparse.Namespace) -> Self:
        """From the parsed options of a parser with `add_serve_arguments`."""
        return cls(**{each.name: getattr(namespace, each.name) for each in dataclasses.fields(cls)})


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds all flags to a parser: `--flag=value` or `--flag value`; booleans also as `--flag`."""
    parser.allow_abbrev = False
    parser.set_defaults(ignored_flags=[])
    for each in dataclasses.fields(ServeOptions):
        if each.type is bool:
            _add_switch(parser, each)
        else:
            text = each.metadata["help"]
            if each.default != "":
                text += f" (default: {each.default})"
            parser.add_argument(
                f"--{each.name}", type=each.type, default=each.default, help=text, metavar=_metavar(each.name)
            )
    for name in IGNORED_FLAGS:
        parser.add_argument(f"--{name}", nargs="?", action=_Ignored, help=argparse.SUPPRESS)
    parser.add_argument("--version", nargs="?", action=_Version, help="print the versions and exit")


def _metavar(name: str) -> str:
    """What a flag's value is, in a word: the last word of the flag's name if that says it, else a number."""
    last = name.rsplit("_", 1)[-1]
    return {"ms": "MILLISECONDS", "micros": "MICROSECONDS", "arguments": "KEY=VALUE,…"}.get(
        last, last.upper() if last in _VALUE_WORDS else "N"
    )


def _add_switch(parser: argparse.ArgumentParser, each: dataclasses.Field) -> None:
    text = f"{each.metadata['help']} (default: {str(each.default).lower()})"
    parser.add_argument(
        f"--{each.name}", nargs="?", type=_switch, const=True, default=each.default, help=text, metavar="true|false"
    )


def _switch(text: str) -> bool:
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise argparse.ArgumentTypeError(f"must be true or false; got {text}")


class _Ignored(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        namespace.ignored_flags = [*namespace.ignored_flags, option_string]


class _Version(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        print(
            f"TensorFlow ModelServer: vl-export, speaking tensorflow-serving-api {_installed('tensorflow-serving-api')}"
        )
        print(f"TensorFlow Library: {_installed('tensorflow')}")
        parser.exit(0)


def _installed(package: str) -> str:
    from importlib import metadata  # slow, and needed for --version only

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
