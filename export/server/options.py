"""The flags of the server: `tensorflow_model_server`'s own names and defaults, and a few of ours."""

import argparse
import dataclasses
from dataclasses import dataclass, field
from importlib import metadata

from export.errors import ExportError

# Flags of the original that mean nothing here; a command line that has them starts this server too.
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


def _flag(default, help):
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class ServeOptions:
    """How to serve; an attribute a flag.

    Raises:
        ExportError: settings that exclude each other or are out of range.
    """

    port: int = _flag(8500, "port of gRPC; 0: none; (ours) -1 takes a free one and prints it")
    grpc_socket_path: str = _flag("", "also listen for gRPC on this UNIX socket")
    rest_api_port: int = _flag(0, "port of REST; 0: none; (ours) -1 takes a free one and prints it")
    rest_api_timeout_in_ms: int = _flag(30000, "time limit of a REST request; 0: none")
    rest_api_enable_cors_support: bool = _flag(False, "send CORS headers over REST")
    model_name: str = _flag("default", "name of the model in --model_base_path")
    model_base_path: str = _flag("", "folder of one model; holds a folder for each version")
    model_config_file: str = _flag("", "text ModelServerConfig; several models, version policies, labels")
    model_config_file_poll_wait_seconds: float = _flag(0, "read --model_config_file again this often; 0: never")
    monitoring_config_file: str = _flag("", "text MonitoringConfig; Prometheus metrics over REST")
    enable_batching: bool = _flag(False, "run the rows of several requests at once")
    batching_parameters_file: str = _flag("", "text BatchingParameters")
    ssl_config_file: str = _flag("", "text SSLConfig; TLS for gRPC")
    file_system_poll_wait_seconds: float = _flag(1, "look for new versions this often; 0: once; negative: never")
    max_num_load_retries: int = _flag(5, "further attempts to load a version that could not be loaded")
    load_retry_interval_micros: int = _flag(60_000_000, "time between these attempts")
    num_load_threads: int = _flag(0, "threads that load versions; 0 is one")
    num_unload_threads: int = _flag(0, "threads that unload versions; 0: those that load")
    enable_model_warmup: bool = _flag(True, "replay the warm-up requests of a version before it takes traffic")
    num_request_iterations_for_warmup: int = _flag(0, "times each warm-up request is run; 0 is once")
    tensorflow_session_parallelism: int = _flag(0, "threads within and between ops; 0: as TensorFlow likes")
    tensorflow_intra_op_parallelism: int = _flag(0, "threads within an op")
    tensorflow_inter_op_parallelism: int = _flag(0, "threads between ops")
    tensorflow_session_config_file: str = _flag("", "text ConfigProto of the sessions")
    saved_model_tags: str = _flag("serve", "tags, with commas between, of the graph to load")
    grpc_channel_arguments: str = _flag("", "arguments of gRPC: key=value, with commas between")
    allow_version_labels_for_unavailable_models: bool = _flag(False, "let new labels name versions not loaded yet")
    force_allow_any_version_labels_for_unavailable_models: bool = _flag(False, "let any label do so")
    enable_signature_method_name_check: bool = _flag(False, "use signatures only as their method names say")
    enforce_session_run_timeout: bool = _flag(True, "stop what a gRPC request has started at its deadline")
    enable_serialization_as_tensor_content: bool = _flag(False, "answer Predict with tensor_content")
    bind_address: str = _flag("127.0.0.1", "(ours) address to listen on")
    auth_token_file: str = _flag("", "(ours) file with a token that requests must bear; gRPC and REST alike")
    max_running_requests: int = _flag(0, "(ours) requests run at once without batching; 0: twice the processors")
    max_queued_requests: int = _flag(256, "(ours) requests that may wait without batching; the next is UNAVAILABLE")
    rest_api_max_body_bytes: int = _flag(2**28, "(ours) largest body of a REST request")
    stop_grace_seconds: float = _flag(30.0, "(ours) time that running requests get when the server is stopped")

    def __post_init__(self):
        if not self.model_base_path and not self.model_config_file:
            raise ExportError("Give --model_base_path or --model_config_file; both are empty.")
        if self.batching_parameters_file and not self.enable_batching:
            raise ExportError("--batching_parameters_file is set without --enable_batching.")
        if not (self.port or self.rest_api_port or self.grpc_socket_path):
            raise ExportError("There is nothing to listen on: --port and --rest_api_port are both 0.")
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
                raise ExportError(f"--{name} must lie between 0 and 65535, or be -1; got {getattr(self, name)}.")

    @classmethod
    def from_namespace(cls, namespace):
        """From what a parser that `add_serve_arguments` prepared has parsed."""
        return cls(**{each.name: getattr(namespace, each.name) for each in dataclasses.fields(cls)})


def add_serve_arguments(parser):
    """Adds every flag to a parser: `--flag=value`, `--flag value`, and `--flag` alone for a switch."""
    parser.allow_abbrev = False
    parser.set_defaults(ignored_flags=[])
    for each in dataclasses.fields(ServeOptions):
        if each.type is bool:
            _add_switch(parser, each)
        else:
            text = each.metadata["help"]
            if each.default != "":
                text += f" (default: {each.default})"
            parser.add_argument(f"--{each.name}", type=each.type, default=each.default, help=text, metavar="…")
    for name in IGNORED_FLAGS:
        parser.add_argument(f"--{name}", nargs="?", action=_Ignored, help=argparse.SUPPRESS)
    parser.add_argument("--version", nargs="?", action=_Version, help="print the versions and stop")


def _add_switch(parser, each):
    text = f"{each.metadata['help']} (default: {str(each.default).lower()})"
    parser.add_argument(
        f"--{each.name}", nargs="?", type=_switch, const=True, default=each.default, help=text, metavar="true|false"
    )


def _switch(text):
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise argparse.ArgumentTypeError(f"must be true or false; got {text}")


class _Ignored(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        namespace.ignored_flags = [*namespace.ignored_flags, option_string]


class _Version(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        print(
            f"TensorFlow ModelServer: vl-export, speaking tensorflow-serving-api {_installed('tensorflow-serving-api')}"
        )
        print(f"TensorFlow Library: {_installed('tensorflow')}")
        parser.exit(0)


def _installed(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
