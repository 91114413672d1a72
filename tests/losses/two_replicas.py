"""One step of a small dual encoder under a strategy, in its own process.

    python two_replicas.py STRATEGY CPUS OUT.npz CASE…

What it writes: for every case its loss and gradients, the latter as an optimizer applies them.
"""

import sys

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported

import numpy as np  # isort: skip
import tensorflow as tf
import tf_keras as keras

B, K, P, Q, D = 8, 2, 7, 11, 5  # P, Q: features of an image and of a text
MISSING = (0, 3, 5)  # texts that some cases lack, all of them of the first replica's images
NAMES = ("image_kernel", "text_kernel", "log_scale", "bias")


def rows():
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(B, P)).astype(np.float32), rng.normal(size=(B * K, Q)).astype(np.float32)
    return image, text, ~np.isin(np.arange(B * K), MISSING)


class Encoders:
    """Weights, made under the strategy's scope; the same in every process."""

    def __init__(self, dropout):
        rng = np.random.default_rng(1)
        values = (rng.normal(size=(P, D)), rng.normal(size=(Q, D)), 0.7, -0.4)
        self.variables = [tf.Variable(v, dtype=tf.float32, name=n) for v, n in zip(values, NAMES, strict=True)]
        self.dropout = keras.layers.Dropout(dropout, seed=3, rng_type="stateful")
        self.dropout.build(None)
        self.generators = [self.dropout._random_generator._generator]
        self.optimizer = keras.optimizers.SGD(1.0)
        self.optimizer.build(self.variables)

    def __call__(self, batch):
        image, text = (self.dropout(part, training=True) for part in batch)
        image_kernel, text_kernel, *_ = self.variables
        return tf.math.l2_normalize(image @ image_kernel, -1), tf.math.l2_normalize(text @ text_kernel, -1)


def step(strategy, loss, gather=True, chunk_size=None, num_chunks=1, cached=False, dropout=0.0, lacking=False):
    """A dict of the loss, reduced over replicas, and of what the optimizer took off each weight."""
    from vl_keras.losses.contrastive_losses import CONTRASTIVE_LOSSES
    from vl_keras.losses.gather_replicas import replica_loss
    from vl_keras.losses.gradient_cache import cached_gradients

    function, replicas = CONTRASTIVE_LOSSES[loss], strategy.num_replicas_in_sync
    with strategy.scope():
        encoders = Encoders(dropout)
    variables = encoders.variables
    before = [variable.numpy() for variable in variables]

    def train_step(image, text, there):
        def loss_of(image, text):
            log_scale, bias = variables[2:]
            owner = tf.repeat(tf.range(B // replicas), K)
            if lacking:
                text, owner = tf.boolean_mask(text, there), tf.boolean_mask(owner, there)
            if gather:
                return replica_loss(function, image, text, owner, log_scale, bias, chunk_size=chunk_size)
            return function(image, text, owner, log_scale, bias) / replicas

        if cached:
            value, gradients = cached_gradients(
                encoders, loss_of, (image, text), num_chunks, variables, encoders.generators
            )
        else:
            with tf.GradientTape() as tape:
                chunks = zip(tf.split(image, num_chunks), tf.split(text, num_chunks), strict=True)
                vectors = zip(*[encoders(chunk) for chunk in chunks], strict=True)
                value = loss_of(*(tf.concat(of_chunks, axis=0) for of_chunks in vectors))
            gradients = tape.gradient(value, variables)
        encoders.optimizer.apply_gradients(
            (gradient, variable)
            for gradient, variable in zip(gradients, variables, strict=True)
            if gradient is not None
        )
        return value

    def part(tensor):
        own = len(tensor) // replicas
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                tensor[context.replica_id_in_sync_group * own : (context.replica_id_in_sync_group + 1) * own]
            )
        )

    value = tf.function(lambda *parts: strategy.run(train_step, parts))(*map(part, rows()))
    loss_value = strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
    taken = {name: old - variable.numpy() for name, old, variable in zip(NAMES, before, variables, strict=True)}
    return {"loss": loss_value.numpy(), **taken}


LOSSES = ("info_nce", "sigmoid_pairwise", "hardest_triplet")
CASES = {
    "info_nce": {"loss": "info_nce"},
    "sigmoid_pairwise": {"loss": "sigmoid_pairwise", "chunk_size": 3},
    "hardest_triplet": {"loss": "hardest_triplet"},
    "not gathered": {"loss": "info_nce", "gather": False},
    **{f"cached {name}": {"loss": name, "cached": True, "num_chunks": 2} for name in LOSSES},
    "lacking": {"loss": "info_nce", "lacking": True},
    "dropout": {"loss": "info_nce", "dropout": 0.3, "num_chunks": 2},
    "cached dropout": {"loss": "info_nce", "cached": True, "dropout": 0.3, "num_chunks": 2},
}


def steps(strategy, cases):
    return {f"{case}/{name}": v for case in cases for name, v in step(strategy, **CASES[case]).items()}


if __name__ == "__main__":
    strategy_name, cpus, out, *chosen = sys.argv[1:]
    if int(cpus) > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(cpus))
    from vl_keras.runs.strategy import make_strategy

    np.savez(out, **steps(make_strategy(strategy_name), chosen))
