"""Writes the configuration files of TensorFlow Serving, Docker Compose, Kubernetes and KServe."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import text_format

from export.errors import ExportError
from export.serving_protos import BatchingParameters, MonitoringConfig, read_text_proto

SERVER_VERSION = "2.20.0"
IMAGE = f"tensorflow/serving:{SERVER_VERSION}"
GRPC_PORT, REST_PORT = 8500, 8501  # defaults of the published image
METRICS_PATH = "/monitoring/prometheus/metrics"
_MODELS, _CONFIG = "/models", "/config"  # in the container
_MAX_BATCH = 16
_BATCH_TIMEOUT_MICROS = 2000
_BATCH_THREADS = 2
_MOST_ENQUEUED = 64  # batches; beyond that the server returns UNAVAILABLE at once
_STOP_SECONDS = 40
_USER = 1000
_RESOURCES = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
_REPLICAS = (2, 8)
_CPU_PERCENT = 70


def write_serving_config(models: Iterable[str | Path], out: str | Path, claim: str = "models") -> list[Path]:
    """Writes the configuration files for a server of these models.

    `models.config`, `batching.config` and `monitoring.config` configure TensorFlow Serving; `docker-compose.yaml`,
    `kubernetes.yaml` and `kserve.yaml` run its published image. The files for the server are parsed again to check
    them.

    Args:
        models: folders of models, each with one folder per version; the name of the folder is the name of the model.
        out: folder to write to.
        claim: name of the PersistentVolumeClaim that contains these folders in a cluster.

    Returns:
        The written paths.

    Raises:
        ExportError: a folder contains no version, or two folders have the same name.
    """
    folders: dict[str, Path] = {}
    for folder in map(Path, models):
        folder = folder.expanduser().resolve()
        if folder.name in folders:
            raise ExportError(f"Two models have the name {folder.name}: `{folders[folder.name]}` and `{folder}`.")
        folders[folder.name] = folder
    if not folders:
        raise ExportError("Give the folder of at least one model.")
    services: dict[str, str] = {}
    for model in folders:
        other = services.setdefault(_kubernetes_name(model), model)
        if other != model:
            raise ExportError(
                f"{other} and {model} would have the same name {_kubernetes_name(model)} in Kubernetes; rename one "
                "folder."
            )
    max_batch = max(_max_batch(folder) for folder in folders.values())
    out = Path(out).expanduser()
    out.mkdir(parents=True, exist_ok=True)
    texts = {
        "models.config": _text(_models(folders)),
        "batching.config": _text(_batching(max_batch)),
        "monitoring.config": _text(MonitoringConfig(prometheus_config={"enable": True, "path": METRICS_PATH})),
    }
    name = _kubernetes_name(next(iter(folders)) if len(folders) == 1 else "models")
    texts |= {
        "docker-compose.yaml": _yaml("docker compose up", [_compose(name, folders, out.resolve())]),
        "kubernetes.yaml": _yaml("kubectl apply -f kubernetes.yaml", _kubernetes(name, folders, dict(texts), claim)),
        "kserve.yaml": _yaml("kubectl apply -f kserve.yaml", [_kserve(model, claim) for model in folders]),
    }
    for file, text in texts.items():
        (out / file).write_text(text, encoding="utf-8")
    _check(out)
    return [out / file for file in texts]


def _check(out: Path) -> None:
    from tensorflow_serving.config import model_server_config_pb2

    read_text_proto(out / "models.config", model_server_config_pb2.ModelServerConfig())
    read_text_proto(out / "batching.config", BatchingParameters())
    read_text_proto(out / "monitoring.config", MonitoringConfig())


def _max_batch(folder: Path) -> int:
    """The largest batch size of the warm-up requests of the newest version."""
    found = [path for path in folder.iterdir() if path.name.isdecimal()] if folder.is_dir() else []
    versions = sorted(found, key=lambda path: int(path.name))
    if not versions:
        raise ExportError(
            f"`{folder}` is not the folder of a model: it contains no version. Give e.g. models/captioner, which "
            "contains models/captioner/1."
        )
    try:
        manifest = json.loads((versions[-1] / "manifest.json").read_text(encoding="utf-8"))
        return max(manifest["warmup"]["batch_sizes"])
    except (OSError, ValueError, KeyError):
        return _MAX_BATCH  # exported by another program


def _text(message: Any) -> str:
    return text_format.MessageToString(message)


def _models(folders: Mapping[str, Path]) -> Any:
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    for name in folders:
        # Without a platform, every later reload of this file fails.
        model = config.model_config_list.config.add(
            name=name, base_path=f"{_MODELS}/{name}", model_platform="tensorflow"
        )
        model.model_version_policy.latest.num_versions = 1
    return config


def _batching(max_batch: int) -> Any:
    # No `allowed_batch_sizes`: the image runs on CPUs, which gain nothing from padded batches.
    parameters = BatchingParameters()
    parameters.max_batch_size.value = max_batch
    parameters.batch_timeout_micros.value = _BATCH_TIMEOUT_MICROS
    parameters.max_enqueued_batches.value = _MOST_ENQUEUED
    parameters.num_batch_threads.value = _BATCH_THREADS
    return parameters


def server_flags(config_dir: str = _CONFIG) -> list[str]:
    """Flags with which a server reads the written files in `config_dir`."""
    return [
        f"--model_config_file={config_dir}/models.config",
        "--model_config_file_poll_wait_seconds=30",
        "--enable_batching=true",
        f"--batching_parameters_file={config_dir}/batching.config",
        f"--monitoring_config_file={config_dir}/monitoring.config",
    ]


def health_command(model: str, port: int = REST_PORT) -> list[str]:
    """Command that succeeds if the model is available; it uses only programs of the published image."""
    return [
        "bash",
        "-c",
        f"exec 3<>/dev/tcp/127.0.0.1/{port} && "
        rf"printf 'GET /v1/models/{model} HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3 && grep -q AVAILABLE <&3",
    ]


def _compose(name: str, folders: Mapping[str, Path], out: Path) -> dict[str, Any]:
    mounts = {f"./{os.path.relpath(folder, out)}": f"{_MODELS}/{model}" for model, folder in folders.items()}
    files = ("models.config", "batching.config", "monitoring.config")
    mounts |= {f"./{file}": f"{_CONFIG}/{file}" for file in files}
    service = {
        "image": IMAGE,
        "command": server_flags(),
        "ports": [f"127.0.0.1:{port}:{port}" for port in (GRPC_PORT, REST_PORT)],
        "volumes": [
            {"type": "bind", "source": source, "target": target, "read_only": True} for source, target in mounts.items()
        ],
        "healthcheck": {
            "test": ["CMD", *health_command(next(iter(folders)))],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "120s",
        },
        "restart": "unless-stopped",
        "stop_grace_period": f"{_STOP_SECONDS}s",
    }
    return {"services": {name: service}}


def _kubernetes(name: str, folders: Mapping[str, Path], configs: Mapping[str, str], claim: str) -> list[dict[str, Any]]:
    labels = {"app.kubernetes.io/name": name}
    metadata = {"name": name, "labels": labels}
    ports = {"grpc": GRPC_PORT, "http": REST_PORT}
    # The server opens its ports once all models are loaded, so checking one model is enough.
    available = {"httpGet": {"path": f"/v1/models/{next(iter(folders))}", "port": "http"}}
    container = {
        "name": "tensorflow-serving",
        "image": IMAGE,
        "args": server_flags(),
        "ports": [{"name": key, "containerPort": port} for key, port in ports.items()],
        "startupProbe": {**available, "periodSeconds": 5, "failureThreshold": 60},
        "readinessProbe": {**available, "periodSeconds": 5, "timeoutSeconds": 3, "failureThreshold": 3},
        # Liveness needs less than readiness: an unloaded model is no reason to restart the server.
        "livenessProbe": {
            "tcpSocket": {"port": "http"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        # Gives the Service time to stop routing requests before the server stops.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "10"]}}},
        "resources": _RESOURCES,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "models", "mountPath": _MODELS, "readOnly": True},
            {"name": "config", "mountPath": _CONFIG, "readOnly": True},
        ],
    }
    pod = {
        "metadata": {
            "labels": labels,
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": str(REST_PORT),
                "prometheus.io/path": METRICS_PATH,
            },
        },
        "spec": {
            "securityContext": {"runAsNonRoot": True, "runAsUser": _USER, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": _STOP_SECONDS,
            "containers": [container],
            "volumes": [
                {"name": "models", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}},
                {"name": "config", "configMap": {"name": name}},
            ],
        },
    }
    service_ports = [
        {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc", "appProtocol": "grpc"},
        {"name": "http", "port": REST_PORT, "targetPort": "http", "appProtocol": "http"},
    ]
    metrics = [
        {
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": _CPU_PERCENT}},
        }
    ]
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": configs},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                # No `replicas`: the HorizontalPodAutoscaler sets it.
                "selector": {"matchLabels": labels},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": pod,
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": service_ports},
        },
        # A gRPC connection stays with one pod. This headless Service lets a client balance over all pods.
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"{name}-pods", "labels": labels},
            "spec": {"clusterIP": "None", "selector": labels, "ports": service_ports},
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": metadata,
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": _REPLICAS[0],
                "maxReplicas": _REPLICAS[1],
                "metrics": metrics,
            },
        },
    ]


def _kserve(model: str, claim: str) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": _kubernetes_name(model)},
        "spec": {
            "predictor": {
                "minReplicas": _REPLICAS[0],
                "maxReplicas": _REPLICAS[1],
                "model": {
                    "modelFormat": {"name": "tensorflow", "version": "2"},
                    "protocolVersion": "v1",
                    "runtimeVersion": SERVER_VERSION,  # the default of the runtime is older
                    "storageUri": f"pvc://{claim}/{model}",
                    "resources": _RESOURCES,
                },
            }
        },
    }


def _kubernetes_name(name: str) -> str:
    """A valid Kubernetes name: lower-case letters, digits and hyphens, starting with a letter."""
    name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "models"
    return (name if name[0].isalpha() else f"model-{name}")[:50].rstrip("-")


def _yaml(use: str, documents: Sequence[dict[str, Any]]) -> str:
    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def literal(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)

    Dumper.add_representer(str, literal)
    body = yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, width=120, explicit_start=len(documents) > 1)
    return f"# {use}\n{body}"
