"""HandleReloadConfigRequest and the polled config file."""

import grpc
import numpy as np
import pytest
from calls import refused
from serving_models import publish
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.config import model_server_config_pb2

from export.errors import ExportError
from export.server.local_server import LocalServer

code = grpc.StatusCode
X = {"x": np.array([[2.0]], np.float32)}


@pytest.fixture
def half(written, tmp_path):
    """Folder of `half` with versions 2 and 3."""
    publish(written["half_2"], tmp_path / "half", 2)
    publish(written["half_3"], tmp_path / "half", 3)
    return tmp_path / "half"


def test_new_models_answer_when_the_call_returns_and_others_are_gone(serve, written, half, tmp_path):
    publish(written["tools"], tmp_path / "tools", 1)
    client = serve(half, model_name="half")
    answer = client.reload({"name": "tools", "base_path": str(tmp_path / "tools")})
    assert answer.status.error_code == 0
    assert client.predict("tools", {"x": np.float32([1])}).outputs["y"].float_val == [2]
    client.wait_for("half", v3="END")
    assert refused(client.predict, "half", X)[0] == code.NOT_FOUND


def test_labels_move_between_versions_that_are_available(serve, half):
    client = serve(half, model_name="half")
    model = {"name": "half", "base_path": str(half)}
    both = {**model, "model_version_policy": {"specific": {"versions": [2, 3]}}}
    client.reload(both)
    client.wait_for("half", v2="AVAILABLE", v3="AVAILABLE")
    for version in (2, 3):
        client.reload({**both, "version_labels": {"canary": version}})
        assert client.predict("half", X, label="canary").model_spec.version.value == version
    got, text = refused(client.reload, {**both, "version_labels": {"canary": 9}})
    assert got == code.FAILED_PRECONDITION
    assert text == "Request to assign label to version 9 of model half, which is not currently available for inference"


def test_at_the_start_an_unavailable_label_names_the_flags_that_allow_it(half, tmp_path):
    labels = "version_labels { key: 'canary' value: 9 }"
    config = f"config {{ name: 'half' base_path: '{half}' model_platform: 'tensorflow' {labels} }}"
    (tmp_path / "models.config").write_text(f"model_config_list {{ {config} }}")
    with pytest.raises(ExportError, match="inference. --allow_version_labels_for_unavailable_models allows it"):
        LocalServer(model_config_file=tmp_path / "models.config").close()


@pytest.mark.parametrize(
    "models, text",
    [
        ([{"name": "half"}, {"name": "half"}], "Illegal to list model half multiple times in config list"),
        ([{"name": "other", "base_path": "relative/path"}], "to have an absolute path or URI"),
        ([{"name": "half", "model_platform": "caffe"}], "Illegal to change a model's platform"),
        ([{"name": "other", "model_platform": "caffe"}], "Model other requests unsupported platform caffe"),
        ([{"name": "half", "model_platform": ""}], "Illegal setting neither "),
        ([{"name": "half", "model_type": model_server_config_pb2.TENSORFLOW}], "Illegal setting both "),
    ],
)
def test_what_is_refused(serve, half, models, text):
    client = serve(half, model_name="half")
    got, details = refused(client.reload, *({"base_path": str(half), **model} for model in models))
    assert got == code.INVALID_ARGUMENT
    assert text in details
    assert client.predict("half", X).model_spec.version.value == 3


def test_only_lists_of_models_can_be_reloaded(serve, half):
    client = serve(half, model_name="half")
    request = model_management_pb2.ReloadConfigRequest()
    got, text = refused(client.models.HandleReloadConfigRequest, request)
    assert got == code.INVALID_ARGUMENT
    assert "ServerModelConfig type not supported by HandleReloadConfigRequest" in text


def test_a_new_model_that_cannot_be_loaded_is_told(serve, half, tmp_path):
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "saved_model.pb").write_bytes(b"no graph at all")
    client = serve(half, model_name="half")
    model = {"name": "half", "base_path": str(half)}
    got, text = refused(client.reload, model, {"name": "broken", "base_path": str(tmp_path / "broken")})
    assert got == code.UNKNOWN
    assert text.startswith("1 model(s) did not become available: {{{name: broken version: 1} due to error: DATA_LOSS: ")
    assert text.endswith("}, }")
    assert client.predict("half", X).model_spec.version.value == 3


def test_counters_come_with_their_increase(serve, half):
    client = serve(half, model_name="half")
    name = "/tensorflow/serving/request_count"
    answer = client.reload({"name": "half", "base_path": str(half)}, metric_names=[name])
    assert [(each.name, each.int64_value_increase) for each in answer.metric] == [(name, 0)]


def test_a_changed_config_file_is_taken(serve, written, half, tmp_path):
    publish(written["tools"], tmp_path / "tools", 1)
    config = tmp_path / "models.config"

    def entry(name):
        return f"config {{ name: '{name}' base_path: '{tmp_path / name}' model_platform: 'tensorflow' }}"

    config.write_text(f"model_config_list {{ {entry('half')} }}")
    client = serve(model_config_file=config, model_config_file_poll_wait_seconds=1)
    config.write_text("no config at all {")
    client.wait_for("half", v3="AVAILABLE")
    config.write_text(f"model_config_list {{ {entry('tools')} }}")
    client.wait_for("tools", v1="AVAILABLE")
    client.wait_for("half", v3="END")
