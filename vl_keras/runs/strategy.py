"""Where training runs: devices, replicas, compilation and precision."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

import tensorflow as tf
import tf_keras as keras

from vl_keras.errors import RunError
from vl_keras.progress import say
from vl_keras.runs.join_workers import await_workers, described_workers


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The distribution strategy that `training.strategy` names.

    Args:
        name: `none`: one device. `mirrored`: all GPUs of this machine, or all logical CPUs if it has none. `auto`:
            `mirrored` if there are two or more GPUs, else `none`. `multi_worker`: the machines that `TF_CONFIG` lists;
            TensorFlow requires that nothing else has used it before.

    Raises:
        RunError: the workers cannot be joined, or one of them does not come.
    """
    gpus = tf.config.list_logical_devices("GPU") if name != "multi_worker" else []
    if name == "auto":
        name = "mirrored" if len(gpus) > 1 else "none"
        if len(described_workers(os.environ.get("TF_CONFIG", ""))[1]) > 1:
            say(
                "TF_CONFIG names other workers, but `training.strategy` auto trains on this machine alone; "
                "training.strategy=multi_worker trains with them."
            )
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
        return tf.distribute.MirroredStrategy(devices)
    try:
        await_workers()
        with _own_handlers():
            return tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise RunError(
            f"The workers could not be joined: {error} `training.strategy` multi_worker needs the environment variable "
            "TF_CONFIG on each, with the addresses of all workers and the worker's own index."
        ) from error


@contextlib.contextmanager
def _own_handlers() -> Iterator[None]:
    """Puts Python's handler of SIGTERM back, in whose place TensorFlow puts one that only notes it."""
    try:
        yield
    finally:
        handler = signal.getsignal(signal.SIGTERM)
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes the run directory."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    return resolver.task_type == "chief" or (
        resolver.task_type == "worker" and resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs
    )


def use_jit(setting: str, strategy: tf.distribute.Strategy, log: Callable[[str], None] = print) -> bool:
    """Whether the train step is compiled with XLA: what `training.jit_compile` asks for, if XLA can do it.

    `auto` compiles on one GPU. TensorFlow cannot compile a step that several CPU replicas or several machines share.

    Args:
        setting: `on`, `off` or `auto`.
        strategy: that the step runs under.
        log: called with a line if `on` cannot be followed.
    """
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    alone = strategy.num_replicas_in_sync == 1
    shared_cpus = not alone and (not on_gpu or isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy))
    if setting == "on" and shared_cpus:
        log("`training.jit_compile` is on, but XLA cannot compile a step of several CPU replicas or machines: off.")
        return False
    return setting == "on" or (setting == "auto" and on_gpu and alone)


def check_batch_size(batch_size: int, strategy: tf.distribute.Strategy) -> None:
    """Raises `RunError` if the replicas cannot share a batch evenly."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise RunError(
            f"`data.batch_size` must be divisible by the number of replicas; got {batch_size} and {replicas}."
        )


def from_chief(strategy: tf.distribute.Strategy, value: float) -> float:
    """Returns the chief's `value` in every worker, so that all decide alike; the workers wait for each other here."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return value
    own = tf.constant(value if is_chief(strategy) else 0.0, tf.float64)
    total = strategy.run(lambda: tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, own))
    of_replicas = strategy.experimental_local_results(total)
    return float(of_replicas[0]) / len(of_replicas)  # each of the chief's replicas has added the value


@contextlib.contextmanager
def keras_settings(precision: str, seed: int | None = None) -> Iterator[None]:
    """Inside, layers are made with a precision policy and, given a seed, with dropout generators that can be saved."""
    policy = keras.mixed_precision.global_policy()
    generators = keras.backend.experimental.is_tf_random_generator_enabled()
    keras.mixed_precision.set_global_policy(precision)
    if seed is not None:
        keras.backend.experimental.enable_tf_random_generator()
        keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(policy)
        if not generators:
            keras.backend.experimental.disable_tf_random_generator()
