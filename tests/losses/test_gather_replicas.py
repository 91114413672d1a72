"""Contrastive losses on two replicas are those of one device with the whole batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import two_replicas

from vl_keras.losses.gather_replicas import gather_replicas

LOSSES = two_replicas.LOSSES
CACHED = [f"cached {name}" for name in LOSSES]


def run_replicas(tmp_path, strategy, cpus, cases, tasks=(None,)):
    """Runs `two_replicas.py` in one process a task; what each wrote."""
    processes = []
    for index, task in enumerate(tasks):
        out = tmp_path / f"{index}.npz"
        root = Path(__file__).resolve().parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root), **({"TF_CONFIG": task} if task else {})}
        command = [sys.executable, two_replicas.__file__, strategy, str(cpus), str(out), *cases]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        processes.append((out, subprocess.Popen(command, env=environment, **pipes)))
    results = []
    for out, process in processes:
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0, output
        results.append(dict(np.load(out)))
    return results


def assert_equal(result, case, expected, expected_case):
    for name in ("loss", *two_replicas.NAMES):
        value = expected[f"{expected_case}/{name}"]
        np.testing.assert_allclose(result[f"{case}/{name}"], value, atol=1e-6, err_msg=f"{case}/{name}")


@pytest.fixture(scope="module")
def of_one_device():
    return two_replicas.steps(tf.distribute.get_strategy(), [*LOSSES, "lacking"])


@pytest.mark.slow  # trains in a process of two replicas, 15 seconds
def test_two_replicas_are_one_device(tmp_path, of_one_device):
    (result,) = run_replicas(tmp_path, "mirrored", 2, [*LOSSES, *CACHED, "not gathered", "lacking"])
    for case in LOSSES:
        assert abs(of_one_device[f"{case}/image_kernel"]).max() > 0.01
        assert_equal(result, case, of_one_device, case)
        assert_equal(result, f"cached {case}", of_one_device, case)
    # Replicas need not have as many texts.
    assert_equal(result, "lacking", of_one_device, "lacking")
    # Without gathering each replica has only its own negatives: an easier task, so a lower loss.
    assert result["not gathered/loss"] < of_one_device["info_nce/loss"] - 0.1
    difference = result["not gathered/image_kernel"] - of_one_device["info_nce/image_kernel"]
    assert abs(difference).max() > 0.01


@pytest.mark.slow
def test_the_gradient_cache_repeats_each_replicas_own_dropout(tmp_path):
    (result,) = run_replicas(tmp_path, "mirrored", 2, ["dropout", "cached dropout"])
    assert_equal(result, "cached dropout", result, "dropout")


@pytest.mark.slow
def test_two_machines_are_one_device(tmp_path, of_one_device):
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    cluster = {"worker": [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]}
    for each in sockets:
        each.close()
    tasks = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}) for index in (0, 1)]
    for result in run_replicas(tmp_path, "multi_worker", 1, [*LOSSES, *CACHED, "lacking"], tasks):
        for case in LOSSES:
            assert_equal(result, case, of_one_device, case)
            assert_equal(result, f"cached {case}", of_one_device, case)
        assert_equal(result, "lacking", of_one_device, "lacking")


def test_alone_it_is_the_tensor_itself():
    tensor = tf.ones((2, 3))
    assert gather_replicas(tensor) is tensor


def test_outside_of_a_replica_it_says_where_to_call_it():
    class TwoReplicas:
        num_replicas_in_sync = 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.distribute, "get_strategy", TwoReplicas)
        patch.setattr(tf.distribute, "get_replica_context", lambda: None)
        with pytest.raises(RuntimeError, match="inside `strategy.run`"):
            gather_replicas(tf.ones((2, 3)))
