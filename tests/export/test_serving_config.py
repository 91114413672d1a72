"""The written files are what TensorFlow Serving, Compose, Kubernetes and KServe read, and a server starts from them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from export.cli import main
from export.errors import ExportError
from export.serving_config import METRICS_PATH, health_command, server_flags, write_serving_config
from export.serving_protos import BatchingParameters, MonitoringConfig, read_text_proto

sys.path.insert(0, str(Path(__file__).parent / "clients"))


@pytest.fixture
def models(tmp_path):
    """Two folders of models, one with a manifest."""
    first, second = tmp_path / "models/captioner", tmp_path / "models/image_ranker"
    (first / "3").mkdir(parents=True)
    (first / "12").mkdir()
    (first / "12/manifest.json").write_text(json.dumps({"warmup": {"batch_sizes": [2, 8]}}))
    (second / "1").mkdir(parents=True)
    return [first, second]


def _documents(path):
    return list(yaml.safe_load_all(path.read_text()))


def test_the_servers_own_files(models, tmp_path):
    from tensorflow_serving.config import model_server_config_pb2

    out = tmp_path / "deploy"
    write_serving_config(models[:1], out)
    config = read_text_proto(out / "models.config", model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("captioner", "/models/captioner", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 1
    batching = read_text_proto(out / "batching.config", BatchingParameters())
    assert batching.max_batch_size.value == 8  # the largest of the warm-up
    assert not batching.allowed_batch_sizes
    monitoring = read_text_proto(out / "monitoring.config", MonitoringConfig())
    assert monitoring.prometheus_config.enable and monitoring.prometheus_config.path == METRICS_PATH


def test_several_models(models, tmp_path, capsys):
    out = tmp_path / "deploy"
    assert main(["deploy", *map(str, models), "--out", str(out), "--claim", "store"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert (out / "models.config").read_text().count("base_path") == 2
    assert "max_batch_size {\n  value: 16\n}" in (out / "batching.config").read_text()
    names = [each["metadata"]["name"] for each in _documents(out / "kserve.yaml")]
    assert names == ["captioner", "image-ranker"]
    uris = [each["spec"]["predictor"]["model"]["storageUri"] for each in _documents(out / "kserve.yaml")]
    assert uris == ["pvc://store/captioner", "pvc://store/image_ranker"]


def test_compose_finds_every_file(models, tmp_path):
    out = tmp_path / "deploy" / "here"
    write_serving_config(models, out)
    (document,) = _documents(out / "docker-compose.yaml")
    (service,) = document["services"].values()
    targets = {mount["target"]: out / mount["source"] for mount in service["volumes"]}
    assert all(mount["type"] == "bind" and mount["read_only"] for mount in service["volumes"])
    assert targets["/models/captioner"].resolve() == models[0]
    for flag in service["command"]:
        name, _, value = flag.partition("=")
        if name.endswith("_file"):
            assert targets[value].is_file()
    assert service["image"] == "tensorflow/serving:2.20.0"
    assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]


def test_kubernetes_parts_fit_together(models, tmp_path):
    write_serving_config(models, tmp_path, "store")
    documents = _documents(tmp_path / "kubernetes.yaml")
    kinds = {each["kind"]: each for each in documents}
    versions = {kind: each["apiVersion"] for kind, each in kinds.items()}
    assert versions == {
        "ConfigMap": "v1",
        "Deployment": "apps/v1",
        "Service": "v1",
        "HorizontalPodAutoscaler": "autoscaling/v2",
    }
    template = kinds["Deployment"]["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    selectors = [kinds["Deployment"]["spec"]["selector"]["matchLabels"]]
    selectors += [each["spec"]["selector"] for each in documents if each["kind"] == "Service"]
    assert len(selectors) == 3 and all(selector.items() <= labels for selector in selectors)
    (container,) = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "http": 8501}
    for each in documents:
        if each["kind"] == "Service":
            assert {port["targetPort"] for port in each["spec"]["ports"]} == set(ports)
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/v1/models/captioner", "port": "http"}
    assert container["livenessProbe"]["tcpSocket"]["port"] == "http"
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert mounts["/models"]["persistentVolumeClaim"]["claimName"] == "store"
    config = kinds["ConfigMap"]
    assert mounts["/config"]["configMap"]["name"] == config["metadata"]["name"]
    for flag in container["args"]:
        name, _, value = flag.partition("=")
        if name.endswith("_file"):
            file = value.removeprefix("/config/")
            assert config["data"][file] == (tmp_path / file).read_text()
    target = kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target["name"] == kinds["Deployment"]["metadata"]["name"]
    assert "cpu" in container["resources"]["requests"]  # without it the autoscaler has nothing to measure


def test_kserve(models, tmp_path):
    write_serving_config(models[:1], tmp_path)
    (service,) = _documents(tmp_path / "kserve.yaml")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    model = service["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "tensorflow", "version": "2"}
    assert (model["protocolVersion"], model["runtimeVersion"]) == ("v1", "2.20.0")


@pytest.mark.parametrize("model", ["8k_captioner", "-", f"{'a' * 49}_bcd", "Zwölf"])
def test_names_are_those_that_kubernetes_allows(model, tmp_path):
    (tmp_path / model / "1").mkdir(parents=True)
    write_serving_config([tmp_path / model], tmp_path)
    for each in [*_documents(tmp_path / "kubernetes.yaml"), *_documents(tmp_path / "kserve.yaml")]:
        name = each["metadata"]["name"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) and len(name) <= 63  # RFC 1035, of a Service


def test_a_server_starts_from_them_and_is_healthy(tmp_path):
    """The written flags and files, only the folders of the container replaced by real ones."""
    import requests
    from tiny_captioner import write_tiny_captioner

    from export.server.local_server import LocalServer

    write_tiny_captioner(tmp_path / "models/captioner/1")
    write_serving_config([tmp_path / "models/captioner"], tmp_path)
    config = tmp_path / "models.config"
    config.write_text(config.read_text().replace('"/models/', f'"{tmp_path}/models/'))
    options = dict(flag.removeprefix("--").split("=") for flag in server_flags(tmp_path))
    options["enable_batching"] = options["enable_batching"] == "true"
    options["model_config_file_poll_wait_seconds"] = float(options["model_config_file_poll_wait_seconds"])
    with LocalServer(**options) as server:
        url = f"http://127.0.0.1:{server.rest_port}"
        assert requests.get(f"{url}/v1/models/captioner", timeout=10).status_code == 200
        assert "request_count" in requests.get(url + METRICS_PATH, timeout=10).text
        subprocess.run(health_command("captioner", server.rest_port), check=True, timeout=10)
        assert subprocess.run(health_command("nobody", server.rest_port), timeout=10).returncode != 0


def test_what_is_no_model_is_said(models, tmp_path):
    with pytest.raises(ExportError, match="contains no version"):
        write_serving_config([models[0] / "12"], tmp_path)
    with pytest.raises(ExportError, match="contains no version"):
        write_serving_config([tmp_path / "missing"], tmp_path)
    (tmp_path / "other/captioner/1").mkdir(parents=True)
    with pytest.raises(ExportError, match="Two models have the name captioner"):
        write_serving_config([models[0], tmp_path / "other/captioner"], tmp_path)
    for name in ("cat_dog", "Cat-Dog"):
        (tmp_path / name / "1").mkdir(parents=True)
    with pytest.raises(ExportError, match="cat_dog and Cat-Dog would have the same name cat-dog in Kubernetes"):
        write_serving_config([tmp_path / "cat_dog", tmp_path / "Cat-Dog"], tmp_path)


def test_a_folder_that_cannot_be_written_costs_one_line(models, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["deploy", str(models[0]), "--out", str(tmp_path / "file/deploy")]) == 1
    assert capsys.readouterr().err == f"vl-export deploy: {tmp_path}/file/deploy: Not a directory\n"
