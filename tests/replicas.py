"""A few steps of a small model under a strategy, in its own process: `python replicas.py STRATEGY CPUS OUT.npz`."""

import dataclasses
import sys
from types import SimpleNamespace

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported

import numpy as np  # isort: skip
import tensorflow as tf
import tf_keras as keras

B, K, L, V, D = 8, 2, 5, 11, 7
GROUP = 3  # batches that are accumulated


def batches(num_workers=1, worker=0):
    """The same random batches in every process, and of each the rows of one worker."""
    rng = np.random.default_rng(0)
    rows = slice(worker * B // num_workers, (worker + 1) * B // num_workers)

    def generate():
        for _ in range(4 * GROUP):
            ids = rng.integers(1, V, (B, K, L))
            real = np.arange(L) < rng.integers(1, L + 1, (B, K, 1))
            weight = real * (real.size / real.sum())
            ids = (ids * real).astype(np.int32)
            yield {"caption_ids": ids[rows]}, ids[rows], weight[rows].astype(np.float32)

    ids = tf.TensorSpec((B // num_workers, K, None), tf.int32)
    types = ({"caption_ids": ids}, ids, tf.TensorSpec((B // num_workers, K, None), tf.float32))
    return tf.data.Dataset.from_generator(generate, output_signature=types)


def train(strategy_name):
    """Weights, averages and losses after four updates, as a dict of arrays; and the chief's word."""
    from vl_keras.losses.caption_loss import CaptionLoss
    from vl_keras.models.training_model import TrainingModel
    from vl_keras.runs.strategy import from_chief, is_chief, make_strategy, use_jit
    from vl_keras.training.batches import accumulated, distributed
    from vl_keras.training.optimizer import build_optimizer, weight_averages

    strategy = make_strategy(strategy_name)
    said = []
    jit = use_jit("on", strategy, said.append)
    with strategy.scope():
        keras.utils.set_random_seed(5)
        ids = keras.Input((None, None), dtype="int32", name="caption_ids")
        logits = keras.layers.Dense(V)(keras.layers.Embedding(V, D)(ids))
        model = TrainingModel({"caption_ids": ids}, logits, GROUP)
        optimizer = build_optimizer(model.trainable_variables, 0.01, weight_decay=0.1, clip_norm=0.5, ema_decay=0.9)
        model.compile(optimizer, loss=CaptionLoss(0.1), jit_compile=jit)
    data = distributed(lambda *worker: accumulated(batches(*worker), GROUP), strategy, B, batch_axis=1)
    losses = model.fit(data, steps_per_epoch=2, epochs=2, verbose=0).history["loss"]
    values = {f"weight_{i}": v.numpy() for i, v in enumerate(model.trainable_variables)}
    values |= {f"average_{i}": v.numpy() for i, v in enumerate(weight_averages(optimizer, model.trainable_variables))}
    agreed = from_chief(strategy, 3.5 if is_chief(strategy) else -1.0)
    values["development"] = development_loss(model, strategy, batches, GROUP)
    return {**values, "losses": np.array(losses), "agreed": agreed, "said": "".join(said)}


def development_loss(model, strategy, batches, group):
    """The loss of a task whose development split gives these batches."""
    from vl_keras.config import Config, DataConfig
    from vl_keras.training.development_loss import DevelopmentLoss

    task = SimpleNamespace(
        config=dataclasses.replace(Config(), data=DataConfig(batch_size=B)),
        source=lambda split: range(4 * GROUP * B),
        training_data=lambda model, first_step, num_workers, worker: batches(num_workers, worker),
    )
    return np.array(DevelopmentLoss(task, None, model, strategy, group, print)())


def main(train):
    """A script that trains under the strategy, on the logical CPUs and into the `.npz` file of its arguments."""
    name, cpus, out = sys.argv[1:]
    if int(cpus) > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(cpus))
    np.savez(out, **train(name))


if __name__ == "__main__":
    main(train)
