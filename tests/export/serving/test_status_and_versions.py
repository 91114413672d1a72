"""GetModelStatus, GetModelMetadata, version policies, and versions that come and go in a folder."""

import shutil
import time

import grpc
import numpy as np
import pytest
from calls import refused
from serving_models import publish
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

code = grpc.StatusCode
X = {"x": np.array([[2.0]], np.float32)}


def answer(client, **spec):
    """Half of 2 plus the bias that is the version's."""
    return float(client.value("half", X, **spec)[0, 0]) - 1


def test_status_lists_the_versions(served):
    assert served.status("half") == {1: ("AVAILABLE", 0, ""), 2: ("AVAILABLE", 0, "")}
    assert served.status("half", version=1) == {1: ("AVAILABLE", 0, "")}
    assert set(served.status("half", label="stable")) == {1, 2}


def test_status_of_what_is_not_there(served):
    assert refused(served.status, "nobody") == (code.NOT_FOUND, "Could not find any versions of model nobody")
    for model in ("half", "nobody"):
        text = f"Could not find version 7 of model {model}"
        assert refused(served.status, model, version=7) == (code.NOT_FOUND, text)
    request = get_model_status_pb2.GetModelStatusRequest()
    assert refused(served.models.GetModelStatus, request) == (code.INVALID_ARGUMENT, "Missing ModelSpec")


def test_metadata_holds_the_signatures(served):
    found = served.metadata("signature_def", model="half")
    assert (found.model_spec.name, found.model_spec.version.value) == ("half", 2)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert found.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["regress"].method_name == "tensorflow/serving/regress"
    assert signatures.signature_def["serving_default"].inputs["x"].name == "x:0"


@pytest.mark.parametrize(
    "fields, model, expected, text",
    [
        ([], "half", code.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field"),
        (["other"], "half", code.INVALID_ARGUMENT, "Metadata field other is not supported"),
        (["signature_def"], None, code.INVALID_ARGUMENT, "Missing ModelSpec"),
        (["signature_def"], "nobody", code.NOT_FOUND, "Servable not found for request: Latest(nobody)"),
    ],
)
def test_metadata_that_is_refused(served, fields, model, expected, text):
    assert refused(served.metadata, *fields, model=model) == (expected, text)


def test_a_new_version_replaces_the_old_and_a_deleted_one_gives_way(serve, written, tmp_path):
    base = tmp_path / "half"
    publish(written["half_2"], base, 2)
    client = serve(base, model_name="half")
    assert answer(client) == 2
    publish(written["half_3"], base, "003")  # leading zeros are allowed
    (base / "readme").mkdir()
    client.wait_for("half", v2="END", v3="AVAILABLE")
    assert answer(client) == 3
    assert refused(answer, client, version=2)[0] == code.NOT_FOUND
    shutil.rmtree(base / "003")
    client.wait_for("half", v2="AVAILABLE", v3="END")
    assert answer(client) == 2
    shutil.rmtree(base / "2")
    client.wait_for("half", v2="END", v3="END")
    assert refused(answer, client) == (code.NOT_FOUND, "Servable not found for request: Latest(half)")


@pytest.mark.parametrize(
    "policy, expected",
    [
        ("latest { num_versions: 2 }", {2, 3}),
        ("all {}", {1, 2, 3}),
        ("specific { versions: 1 versions: 3 versions: 9 }", {1, 3}),
    ],
)
def test_policies_choose_versions(serve, written, tmp_path, policy, expected):
    for version in (1, 2, 3):
        publish(written["half_2"], tmp_path / "half", version)
    config = tmp_path / "models.config"
    config.write_text(
        f"model_config_list {{ config {{ name: 'half' base_path: '{tmp_path / 'half'}' model_platform: 'tensorflow' "
        f"model_version_policy {{ {policy} }} }} }}"
    )
    client = serve(model_config_file=config)
    client.wait_for("half", **{f"v{version}": "AVAILABLE" for version in expected})
    assert client.states("half") == dict.fromkeys(expected, "AVAILABLE")
    assert client.predict("half", X).model_spec.version.value == max(expected)


@pytest.mark.slow  # waits 20 seconds
def test_a_request_in_flight_keeps_its_version(serve, written, tmp_path):
    publish(written["tools"], tmp_path / "tools", 1)
    client = serve(tmp_path / "tools", model_name="tools")
    inputs = {"x": np.float32([1]), "steps": np.int32([6000])}
    client.predict("tools", {**inputs, "steps": np.int32([1])}, "slow")
    started = time.monotonic()
    client.predict("tools", inputs, "slow")
    alone = time.monotonic() - started
    assert alone > 0.3, "too quick to be in flight during a swap"
    request = client.predictions.Predict.future
    from calls import predict_request

    steps = np.int32([int(6000 * max(1, 20 / alone))])  # longer than a busy machine takes to load version 2
    running = request(predict_request("tools", {**inputs, "steps": steps}, "slow"))
    publish(written["tools"], tmp_path / "tools", 2)
    client.wait_for("tools", v2="AVAILABLE")
    assert client.states("tools")[1] == "UNLOADING"
    assert client.predict("tools", {"x": np.float32([1])}).model_spec.version.value == 2
    assert running.result(120).model_spec.version.value == 1
    client.wait_for("tools", v1="END")
