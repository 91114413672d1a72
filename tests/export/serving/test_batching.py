"""Laws of batching, of queues and of deadlines, over a socket."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import calls
import grpc
import numpy as np
import pytest
import served
from calls import predict_request, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_models import edit, publish

from export.errors import ExportError
from export.server import batching
from export.server.batching import BatchingOptions

code = grpc.StatusCode
LONG = 2_000_000


@pytest.fixture
def batched(serve, written, tmp_path):
    """Function of the text of BatchingParameters to `Calls` to a server of `tools`."""

    def start(text, **flags):
        publish(written["tools"], tmp_path / "tools", 1)
        file = tmp_path / "batching.config"
        file.write_text(text)
        flags = {"enable_batching": True, "batching_parameters_file": file, "model_name": "tools", **flags}
        return serve(tmp_path / "tools", **flags)

    return start


@pytest.fixture
def local(written, tmp_path):
    """Function of flags to `Calls` to our server of `tools`, without batching."""
    publish(written["tools"], tmp_path / "tools", 1)
    stack = []

    def start(**flags):
        context = calls.serving("local", tmp_path / "tools", model_name="tools", **flags)
        stack.append(context)
        return context.__enter__()

    yield start
    for context in stack:
        context.__exit__(None, None, None)


def text(max_batch_size=4, timeout=LONG, enqueued=10, threads=1, more=""):
    return (
        f"max_batch_size {{ value: {max_batch_size} }} batch_timeout_micros {{ value: {timeout} }} "
        f"max_enqueued_batches {{ value: {enqueued} }} num_batch_threads {{ value: {threads} }} {more}"
    )


def at_once(client, requests):
    """Answers, or errors, of requests that are all sent before one is waited for."""
    futures = [client.predictions.Predict.future(request, 60) for request in requests]
    return [future.exception() or future.result() for future in futures]


def x(*values):
    return {"x": np.array(values, np.float32)}


def slow(steps, value=1.0):
    return predict_request("tools", {**x(value), "steps": np.int32([steps])}, "slow")


def test_rows_of_several_requests_run_together_and_come_back_to_their_senders(batched):
    client = batched(text(more="allowed_batch_sizes: 2 allowed_batch_sizes: 4"))
    requests = [predict_request("tools", x(*row), "positive") for row in ([1], [2, 3], [4])]
    answers = at_once(client, requests)
    assert [list(answer.outputs["y"].float_val) for answer in answers] == [[2], [4, 6], [8]]
    assert {rows for answer in answers for rows in answer.outputs["rows"].int_val} == {4}


def test_a_lone_request_runs_when_the_time_is_over_padded_to_an_allowed_size(batched):
    client = batched(text(timeout=50_000, more="allowed_batch_sizes: 3 allowed_batch_sizes: 4"))
    answer = client.predict("tools", x(1, 2), "positive")
    assert answer.outputs["y"].float_val == [2, 4]
    assert answer.outputs["rows"].int_val == [3, 3]


def test_one_bad_request_fails_alone(batched):
    client = batched(text())
    values = [[1], [2], [-1], [3]]
    answers = at_once(client, [predict_request("tools", x(*row), "positive") for row in values])
    assert answers[2].code() == code.INVALID_ARGUMENT
    assert [list(answers[i].outputs["y"].float_val) for i in (0, 1, 3)] == [[2], [4], [6]]


def test_signatures_and_shapes_that_differ_do_not_meet(batched):
    client = batched(text(timeout=100_000))
    wide, narrow = np.ones([1, 3], np.float32), np.ones([1, 2], np.float32)
    requests = [predict_request("tools", {"x": each}, "sums") for each in (wide, narrow, wide)]
    answers = at_once(client, [*requests, predict_request("tools", x(1), "plus")])
    assert [list(answer.outputs["sum"].float_val) for answer in answers[:3]] == [[3], [2], [3]]
    assert answers[3].outputs["y"].float_val == [2]


def test_lengths_are_padded_where_asked_for(batched):
    client = batched(text(max_batch_size=2, more="pad_variable_length_inputs: true"))
    requests = [
        predict_request("tools", {"x": np.full([1, width], value, np.float32)}, "sums")
        for width, value in ((2, 1), (5, 2))
    ]
    answers = at_once(client, requests)
    assert [answer.outputs["width"].int_val[0] for answer in answers] == [5, 5]


def test_a_large_request_is_run_in_parts_where_asked_for(batched):
    more = "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 3 }"
    client = batched(text(max_batch_size=8, timeout=0, more=more))
    answer = client.predict("tools", x(*range(8)), "positive")
    assert answer.outputs["y"].float_val == [2 * value for value in range(8)]
    assert max(answer.outputs["rows"].int_val) == 3
    got, details = refused(client.predict, "tools", x(*range(9)), "positive")
    assert got == code.INVALID_ARGUMENT
    assert "Task size 9 is larger than maximum input batch size 8" in details


@pytest.mark.parametrize(
    "inputs, signature, expected, part",
    [
        (x(1, 2, 3, 4, 5), "positive", code.INVALID_ARGUMENT, "Task size 5 is larger than maximum input batch size 4"),
        ({"x": np.float32(1)}, "echo_float32", code.INVALID_ARGUMENT, "at least one dimension"),
        ({**x(1), "steps": np.int32([1, 2])}, "slow", code.INVALID_ARGUMENT, "equal 0th-dimension size"),
        (x(1), "mean", code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions"),
    ],
)
def test_what_cannot_be_batched(batched, inputs, signature, expected, part):
    got, details = refused(batched(text(timeout=0)).predict, "tools", inputs, signature)
    assert got == expected
    assert part in details


def test_a_signature_without_inputs_cannot_be_batched(serve, written, tmp_path):
    publish(written["tools"], tmp_path / "tools", 1)
    edit(tmp_path / "tools" / "1", lambda meta_graph: meta_graph.signature_def["plus"].inputs.clear())
    client = serve(tmp_path / "tools", model_name="tools", enable_batching=True)
    got, details = refused(client.predict, "tools", {}, "plus")
    assert got == code.INVALID_ARGUMENT
    assert "Batching Run() must have at least one input tensor" in details


def test_a_full_batching_queue_refuses_at_once(batched):
    client = batched(text(max_batch_size=1, timeout=0, enqueued=2, threads=1))
    client.predictions.Predict(slow(1))
    first = client.predictions.Predict.future(slow(6_000), 120)
    time.sleep(0.2)
    started = time.monotonic()
    waiting = [client.predictions.Predict.future(slow(1), 60) for _ in range(8)]
    errors = [each for each in waiting if _failed_by(each, started + 0.5)]
    assert time.monotonic() - started < 3
    assert len(errors) >= 5
    assert {each.code() for each in errors} == {code.UNAVAILABLE}
    first.cancel()


def _failed_by(future, when):
    try:
        return future.exception(max(0, when - time.monotonic())) is not None
    except grpc.FutureTimeoutError:
        return False


def test_without_batching_the_queue_has_a_bound_too(local):
    client = local(max_running_requests=1, max_queued_requests=3)
    client.predictions.Predict(slow(1))
    running = client.predictions.Predict.future(slow(5_000), 120)
    time.sleep(0.2)
    others = [client.predictions.Predict.future(slow(1), 60) for _ in range(10)]
    errors = [each.exception() for each in others]
    assert [error.code() for error in errors if error] == [code.UNAVAILABLE] * 7
    assert running.result().outputs["y"].float_val == [1]
    assert client.predict("tools", x(1)).outputs["y"].float_val == [2]


@pytest.fixture(params=["one by one", "batched"])
def one_thread(request, local, tmp_path):
    """`Calls` to a server that runs one thing at a time, and has run `slow`."""
    if request.param == "batched":
        file = tmp_path / "batching.config"
        file.write_text(text(max_batch_size=1, timeout=0))
        client = local(enable_batching=True, batching_parameters_file=file)
    else:
        client = local(max_running_requests=1)
    client.predictions.Predict(slow(1))
    return client


def test_who_has_gone_away_is_never_run(one_thread):
    client = one_thread
    seen = client.value("tools", x(0), "runs")[0]
    running = client.predictions.Predict.future(slow(8_000), 120)
    time.sleep(0.2)
    expired = client.predictions.Predict.future(slow(1), 0.2)
    cancelled = client.predictions.Predict.future(slow(1), 60)
    time.sleep(0.1)
    cancelled.cancel()
    assert expired.exception().code() == code.DEADLINE_EXCEEDED
    assert not running.done(), "the machine is too quick for this test"
    running.result()
    assert client.value("tools", x(0), "runs")[0] == seen + 1


def test_a_run_stops_when_nobody_waits_any_more(one_thread):
    endless = one_thread.predictions.Predict.future(slow(400_000), 0.4)
    assert endless.exception().code() == code.DEADLINE_EXCEEDED
    assert one_thread.predictions.Predict(slow(1), 20).outputs["y"].float_val == [1]


def test_a_run_stops_at_the_timeout_of_rest(written, tmp_path):
    publish(written["tools"], tmp_path / "tools", 1)
    flags = {"model_base_path": str(tmp_path / "tools"), "model_name": "tools", "max_running_requests": 1}

    def ask(steps):
        body = {"signature_name": "slow", "inputs": {"x": [1.0], "steps": [steps]}}
        status, _, answer = served.call(address, "POST", "/v1/models/tools:predict", body)
        return status, json.loads(answer).get("error")

    with served.serving_rest("local", rest_api_timeout_in_ms=2000, **flags) as address:
        assert ask(1) == (200, None)
        assert ask(200_000) == (504, "Timed out waiting for notification")
        assert ask(1) == (200, None)  # the only thread is free


def test_a_run_goes_on_where_runs_know_no_deadline(local):
    client = local(max_running_requests=1, enforce_session_run_timeout=False)
    client.predictions.Predict(slow(1))
    started = time.monotonic()
    assert client.predictions.Predict.future(slow(8_000), 0.1).exception().code() == code.DEADLINE_EXCEEDED
    client.predict("tools", x(1))
    waited = time.monotonic() - started
    client.predictions.Predict(slow(8_000))
    assert waited > 0.5 * (time.monotonic() - started - waited)


def test_a_batch_runs_for_as_long_as_somebody_waits(batched):
    client = batched(text(max_batch_size=2, timeout=100_000))
    client.predictions.Predict(slow(1))
    hasty = client.predictions.Predict.future(slow(8_000, 1), 0.3)
    patient = client.predictions.Predict.future(slow(8_000, 2), 120)
    assert hasty.exception() is not None, "the machine is too quick for this test"
    assert hasty.exception().code() == code.DEADLINE_EXCEEDED
    outputs = patient.result().outputs
    assert (outputs["y"].float_val, outputs["run"].int_val) == ([2], [2])  # its first run, the model's second


def test_answers_find_their_way_under_load(batched):
    client = batched(text(max_batch_size=8, timeout=1000, enqueued=1000, threads=2))

    def ask(seed):
        values = np.random.default_rng(seed).integers(0, 10_000, 1 + seed % 3).astype(np.float32)
        return np.array_equal(client.value("tools", {"x": values}), values + 1)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(400)))


def test_models_do_not_answer_for_each_other(serve, written, tmp_path):
    publish(written["half_2"], tmp_path / "two", 1)
    publish(written["half_3"], tmp_path / "three", 1)
    config = tmp_path / "models.config"
    entries = [
        f"config {{ name: '{name}' base_path: '{tmp_path / name}' model_platform: 'tensorflow' }}"
        for name in ("two", "three")
    ]
    config.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    file = tmp_path / "batching.config"
    file.write_text(text(max_batch_size=8, timeout=2000))
    client = serve(model_config_file=config, enable_batching=True, batching_parameters_file=file)
    wrong = []

    def ask(name, expected):
        for _ in range(50):
            if client.value(name, {"x": np.float32([[2]])}).tolist() != [[expected]]:
                wrong.append(name)

    threads = [threading.Thread(target=ask, args=each) for each in (("two", 3), ("three", 4)) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    allowed=st.sets(st.integers(1, 23), max_size=3),
    lengths=st.lists(st.integers(0, 3), min_size=6, max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_what_is_joined_is_split_again(sizes, allowed, lengths):
    options = BatchingOptions(max_batch_size=24, allowed_sizes=(*sorted(allowed), 24), pad_lengths=True)
    requests = [
        {"a": np.full([size, length], i, np.float32), "s": np.array([b"%d" % i] * size, object)}
        for i, (size, length) in enumerate(zip(sizes, lengths, strict=False))
    ]
    joined, rows = batching.join(requests, options)
    assert rows in options.allowed_sizes and rows >= sum(sizes)
    assert {len(array) for array in joined.values()} == {rows}
    parts = batching.split(joined, sizes, rows)
    for request, part in zip(requests, parts, strict=True):
        assert part["s"].tolist() == request["s"].tolist()
        assert part["a"][:, : request["a"].shape[1]].tolist() == request["a"].tolist()


@pytest.mark.parametrize(
    "parameters, part",
    [
        ("allowed_batch_sizes: 2 allowed_batch_sizes: 3 max_batch_size { value: 4 }", "must match `max_batch_size`"),
        ("allowed_batch_sizes: 4 allowed_batch_sizes: 2 max_batch_size { value: 2 }", "must be ascending"),
        ("num_batch_threads { value: 0 }", "must be at least 1"),
        ("batch_size: 3", 'BatchingParameters" has no field named "batch_size"'),
    ],
)
def test_parameters_that_no_server_would_take(local, tmp_path, parameters, part):
    file = tmp_path / "batching.config"
    file.write_text(parameters)
    with pytest.raises(ExportError, match=part):
        local(enable_batching=True, batching_parameters_file=file)
