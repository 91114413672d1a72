"""A version answers its warm-up requests before it takes traffic, or does not take it."""

import calls
import grpc
import numpy as np
import pytest
import tensorflow as tf
from calls import classify_request, example, multi_request, predict_request, regress_request
from serving_models import CLASSIFY, REGRESS, publish
from tensorflow_serving.apis import prediction_log_pb2

code = grpc.StatusCode
FILE = "assets.extra/tf_serving_warmup_requests"


def write(folder, logs):
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log if isinstance(log, bytes) else log.SerializeToString())


def log_of(**kinds):
    log = prediction_log_pb2.PredictionLog()
    for kind, request in kinds.items():
        getattr(log, kind).request.CopyFrom(request)
    return log


def predict_log(value=1.0, signature="", model="tools"):
    return log_of(predict_log=predict_request(model, {"x": np.float32([value])}, signature))


def test_every_kind_of_request_is_replayed(serve, written, tmp_path):
    publish(written["half_2"], tmp_path / "half", 1)
    x = [example(x=1.0)]
    logs = [
        log_of(predict_log=predict_request("half", {"x": np.float32([[1]])})),
        log_of(classify_log=classify_request("half", x, "classify")),
        log_of(regress_log=regress_request("half", x, "regress", context=example())),
        log_of(multi_inference_log=multi_request([("half", "classify", CLASSIFY)], x)),
    ]
    write(tmp_path / "half" / "1", logs)
    assert serve(tmp_path / "half", model_name="half").states("half") == {1: "AVAILABLE"}


@pytest.mark.parametrize("iterations", [1, 3])
def test_it_is_run_as_often_as_asked_for(serve, written, tmp_path, iterations):
    publish(written["tools"], tmp_path / "tools", 1)
    slow = predict_request("tools", {"x": np.float32([1]), "steps": np.int32([1])}, "slow")
    write(tmp_path / "tools" / "1", [log_of(predict_log=slow)] * 2)
    client = serve(tmp_path / "tools", model_name="tools", num_request_iterations_for_warmup=iterations)
    assert client.value("tools", {"x": np.float32([0])}, "runs").tolist() == [2 * iterations]


@pytest.mark.parametrize(
    "logs, expected",
    [
        ([predict_log(-1.0, "positive")], code.INVALID_ARGUMENT),
        ([predict_log(1.0, "no")], code.FAILED_PRECONDITION),
        ([b"no log \xff\xff"], code.INVALID_ARGUMENT),
        ([predict_log()] * 1001, code.INVALID_ARGUMENT),
        (None, code.DATA_LOSS),
        ([log_of(regress_log=regress_request("tools", [], "plus"))], code.INVALID_ARGUMENT),
        (
            [log_of(multi_inference_log=multi_request([("half", "regress", REGRESS)], [example()]))],
            code.INVALID_ARGUMENT,
        ),
    ],
    ids=["fails", "signature", "no log", "too many", "no TFRecord", "no examples", "multi"],
)
def test_a_record_that_fails_fails_the_load_and_the_old_version_goes_on(serve, written, tmp_path, logs, expected):
    base = tmp_path / "tools"
    publish(written["tools"], base, 1)
    client = serve(base, model_name="tools")
    publish(written["tools"], tmp_path / "aside", 2)
    if logs is None:
        write(tmp_path / "aside" / "2", [predict_log()])
        path = tmp_path / "aside" / "2" / FILE
        path.write_bytes(b"junk" + path.read_bytes())
    else:
        write(tmp_path / "aside" / "2", logs)
    (tmp_path / "aside" / "2").rename(base / "2")
    client.wait_for("tools", v1="AVAILABLE", v2="END")
    state, number, text = client.status("tools")[2]
    assert number == expected.value[0] and text
    assert client.predict("tools", {"x": np.float32([1])}).model_spec.version.value == 1


@pytest.mark.parametrize("left", [1, 12, 30])
def test_a_file_that_is_cut_short_fails_the_load(written, tmp_path, left):
    """TensorFlow's reader takes a record without its end for the end of the file."""
    publish(written["tools"], tmp_path / "tools", 1)
    write(tmp_path / "tools" / "1", [predict_log()])
    path = tmp_path / "tools" / "1" / FILE
    path.write_bytes(path.read_bytes() + path.read_bytes()[:left])
    with calls.serving("local", tmp_path / "tools", model_name="tools", max_num_load_retries=0) as client:
        state, number, text = client.status("tools")[1]
    assert (state, number) == ("END", code.DATA_LOSS.value[0]) and "truncated record" in text


def test_it_can_be_switched_off(serve, written, tmp_path):
    publish(written["tools"], tmp_path / "tools", 1)
    write(tmp_path / "tools" / "1", [b"no log \xff"])
    client = serve(tmp_path / "tools", model_name="tools", enable_model_warmup=False)
    assert client.states("tools") == {1: "AVAILABLE"}
