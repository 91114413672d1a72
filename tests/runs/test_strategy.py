"""Replicas give the loss and the gradients of one."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import replicas
import tensorflow as tf

from vl_keras.errors import RunError
from vl_keras.runs.join_workers import described_workers
from vl_keras.runs.strategy import check_batch_size, is_chief, keras_settings, make_strategy, use_jit


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def worker_settings(ports, index):
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})


def run_replicas(tmp_path, strategy, cpus, tasks=(None,)):
    """Runs `replicas.py` in one process a task; what each wrote."""
    processes = []
    for index, task in enumerate(tasks):
        out = tmp_path / f"{index}.npz"
        root = Path(__file__).resolve().parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root), **({"TF_CONFIG": task} if task else {})}
        command = [sys.executable, replicas.__file__, strategy, str(cpus), str(out)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        processes.append((out, subprocess.Popen(command, env=environment, **pipes)))
    results = []
    for out, process in processes:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        results.append(dict(np.load(out)))
    return results


@pytest.fixture(scope="module")
def of_one_replica():
    return replicas.train("none")


def assert_equal(result, expected):
    for name, value in expected.items():
        if name not in ("said", "agreed"):
            np.testing.assert_allclose(result[name], value, atol=2e-6, err_msg=name)
    assert float(result["agreed"]) == 3.5
    assert "XLA cannot compile" in str(result["said"]) and "off" in str(result["said"])


def test_two_cpus_are_one_replica(tmp_path, of_one_replica):
    (result,) = run_replicas(tmp_path, "mirrored", 2)
    assert_equal(result, of_one_replica)


def test_two_machines_are_one_replica(tmp_path, of_one_replica):
    ports = free_ports(2)
    for result in run_replicas(tmp_path, "multi_worker", 1, [worker_settings(ports, index) for index in (0, 1)]):
        assert_equal(result, of_one_replica)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["mirrored", "multi_worker"])
def test_a_whole_training_on_replicas(strategy, tmp_path, start_training, checkpoint_values):
    plain = ["model.dropout=0", "model.image_dropout=0", "model.word_dropout=0"]
    alone = start_training(tmp_path / "alone", overrides=plain)
    plain = [*plain, f"training.strategy={strategy}"]
    if strategy == "mirrored":
        shared = [start_training(tmp_path / "shared", "--cpus", "2", overrides=plain)]
    else:
        ports = free_ports(2)
        shared = [
            start_training(tmp_path / "shared", overrides=plain, TF_CONFIG=worker_settings(ports, index))
            for index in (0, 1)
        ]
    for process in (alone, *shared):
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0, output
    ours, theirs = checkpoint_values(tmp_path / "shared"), checkpoint_values(tmp_path / "alone")
    for name, value in theirs.items():
        if name.startswith(("weights/", "averages/", "optimizer/")):
            np.testing.assert_allclose(ours[name], value, atol=1e-4, err_msg=name)


def test_auto_is_one_device_without_two_gpus():
    assert make_strategy("auto").num_replicas_in_sync == make_strategy("none").num_replicas_in_sync == 1
    assert is_chief(make_strategy("none"))


def test_workers_that_cannot_be_joined(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "driver", "index": 0}}')
    with pytest.raises(RunError, match="TF_CONFIG"):
        make_strategy("multi_worker")


def test_a_batch_that_replicas_cannot_share():
    class Three:
        num_replicas_in_sync = 3

    with pytest.raises(RunError, match="`data.batch_size` must be divisible by the number of replicas; got 8 and 3"):
        check_batch_size(8, Three)


def test_compilation_without_a_gpu():
    one = make_strategy("none")
    assert use_jit("on", one) and not use_jit("off", one)
    assert use_jit("auto", one) == bool(tf.config.list_logical_devices("GPU"))


def test_settings_are_given_back():
    import tf_keras as keras

    before = keras.mixed_precision.global_policy().name
    with keras_settings("mixed_bfloat16", seed=2):
        assert keras.mixed_precision.global_policy().name == "mixed_bfloat16"
        first = keras.layers.Dense(3).kernel_initializer((2, 3)).numpy()
    assert keras.mixed_precision.global_policy().name == before
    assert not keras.backend.experimental.is_tf_random_generator_enabled()
    with keras_settings("float32", seed=2):
        np.testing.assert_array_equal(keras.layers.Dense(3).kernel_initializer((2, 3)).numpy(), first)


def test_a_tf_config_beside_auto_is_said_not_to_count(monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", worker_settings([1, 2], 0))
    assert make_strategy("auto").num_replicas_in_sync == 1
    assert (
        "TF_CONFIG names other workers, but `training.strategy` auto trains on this machine alone"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"cluster": {}}', '{"cluster": 3, "task": {"type": "worker", "index": 0}}']
)
def test_a_tf_config_without_workers_names_none(text):
    assert described_workers(text) == ("", {})


def wait_for_workers(work, limit):
    """A process that waits for a worker that never comes, once it has said so."""
    ports = free_ports(2)
    code = f"import sys; from vl_keras.cli.errors import run_command\nsys.exit(run_command('x', lambda: {work}))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    environment["TF_CONFIG"] = worker_settings(ports, 0)
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes)
    said = next(line for line in process.stderr if "waits for" in line)
    assert said == f"worker 0 waits for worker 1 (127.0.0.1:{ports[1]}); it gives up after {limit} s.\n"
    return process


def test_a_signal_ends_the_wait_for_a_worker():
    process = wait_for_workers("__import__('vl_keras.runs.strategy').runs.strategy.make_strategy('multi_worker')", 600)
    process.send_signal(signal.SIGTERM)
    assert "x: stopped." in process.communicate(timeout=120)[1]
    assert process.returncode == 143


def test_a_worker_that_never_comes_is_given_up():
    process = wait_for_workers("__import__('vl_keras.runs.join_workers').runs.join_workers.await_workers(1)", 1)
    assert "of TF_CONFIG did not come within 1 s" in process.communicate(timeout=120)[1]
    assert process.returncode == 2
