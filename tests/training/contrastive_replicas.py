"""A few steps of a small dual encoder under a strategy, in its own process.

python contrastive_replicas.py STRATEGY CPUS OUT.npz
"""

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported

import numpy as np  # isort: skip
import tensorflow as tf
import tf_keras as keras
from replicas import development_loss, main

B, K, P, Q, D = 8, 2, 7, 11, 5  # P, Q: features of an image and of a text
GROUP = 3  # batches that are one
LOSSES = ("info_nce", "sigmoid_pairwise", "hardest_triplet")


def batches(num_workers=1, worker=0):
    """The same random batches in every process; the last image has no text, and others lack one."""
    rng = np.random.default_rng(0)
    rows = slice(worker * B // num_workers, (worker + 1) * B // num_workers)

    def generate():
        for _ in range(4 * GROUP):
            image, text = rng.normal(size=(B, P)), rng.normal(size=(B, K, Q))
            weight = np.ones((B, K))
            weight[:3, 1] = weight[-1] = 0
            x = {"image": image[rows].astype(np.float32), "text": text[rows].astype(np.float32)}
            yield x, np.zeros((len(image[rows]), K), np.int32), weight[rows].astype(np.float32)

    size = B // num_workers
    x = {"image": tf.TensorSpec((size, P), tf.float32), "text": tf.TensorSpec((size, K, Q), tf.float32)}
    types = (x, tf.TensorSpec((size, K), tf.int32), tf.TensorSpec((size, K), tf.float32))
    return tf.data.Dataset.from_generator(generate, output_signature=types)


def train(strategy, loss, group):
    """Weights and losses after four updates, as a dict of arrays."""
    from vl_keras.layers.similarity_scale import SimilarityScale
    from vl_keras.losses.contrastive_losses import CONTRASTIVE_LOSSES, INITIAL_SCALE_AND_BIAS
    from vl_keras.models.contrastive_model import ContrastiveModel
    from vl_keras.training.batches import accumulated, distributed
    from vl_keras.training.optimizer import build_optimizer

    with strategy.scope():
        keras.utils.set_random_seed(5)
        inputs = {"image": keras.Input((P,), name="image"), "text": keras.Input((None, Q), name="text")}
        vectors = [keras.layers.UnitNormalization()(keras.layers.Dense(D)(inputs[name])) for name in inputs]
        given = keras.Input((D,))
        scale = keras.Model(given, SimilarityScale(*INITIAL_SCALE_AND_BIAS[loss], name="scale")(given), name="scale")
        model = ContrastiveModel(inputs, (*vectors, *scale(vectors[0])), group)
        optimizer = build_optimizer(model.trainable_variables, 0.01, weight_decay=0.1, clip_norm=0.5)
        model.compile(optimizer, loss=CONTRASTIVE_LOSSES[loss], jit_compile=False)
    data = distributed(lambda *worker: accumulated(batches(*worker), group), strategy, B, batch_axis=int(group > 1))
    losses = model.fit(data, steps_per_epoch=2, epochs=2, verbose=0).history["loss"]
    losses.append(float(development_loss(model, strategy, batches, group)))
    return {"losses": np.array(losses), **{f"weight_{i}": v.numpy() for i, v in enumerate(model.trainable_variables)}}


def everything(strategy_name):
    from vl_keras.runs.strategy import make_strategy

    strategy = make_strategy(strategy_name)  # one: the collectives of a second would be taken for those of the first
    return {
        f"{loss}, {group}/{name}": value
        for loss in LOSSES
        for group in (1, GROUP)
        for name, value in train(strategy, loss, group).items()
    }


if __name__ == "__main__":
    main(everything)
