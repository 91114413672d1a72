"""The model that `fit` trains towards captions that score well, not only words that are likely."""

import tensorflow as tf
import tf_keras as keras

from vl_keras.models.training_model import TrainingModel


class SelfCriticalModel(TrainingModel):
    """A captioner's training model whose steps follow the reward of its own samples.

    Self-critical sequence training (Rennie et al., 2017, equation 8): `-(r(c) - b) * log p(c)` summed over a caption's
    tokens, mean over captions. The baseline `b` of a sample is the mean reward of the image's other samples (Luo,
    2020, "A Better Variant of Self-Critical Sequence Training", section 3), which needs no second decoding. The
    gradient is taken at the very probabilities that the samples were drawn with: dropout is off, but for features of a
    cached image, which are missing from the samples' image and from the gradient's alike, and the temperature is
    the samples'. The phase's loss adds `cross_entropy` times the loss of the first phase, dropout included (the mixed
    objective of Wu et al., 2016, section 5): the reward alone is soon learned by heart where images are few.

    Args:
        captioner: `Captioner`.
        reward: `CiderReward`.
        num_samples: captions drawn for each image, at least 2.
        settings: arguments of `generate` (`max_length`, `forbidden_ids`, …).
        temperature: of the policy, softmax(logits / temperature). Below 1 the samples stay near what a search writes:
            label smoothing leaves so much probability to all other words that at 1 most samples hold one of them.
        seed: of the samples, with the optimizer's step.
        image_dropout: chance that a feature of `image_tokens` is missing from all R tokens.
        cross_entropy: weight of the first phase's loss, with which the model then has to be compiled.
        region_dropout: share of the R `image_tokens` of each image that a step does not see: other ones each time,
            the same for samples, gradient and cross-entropy.
    """

    def __init__(
        self,
        captioner,
        reward,
        num_samples,
        settings,
        temperature,
        seed,
        image_dropout=0.0,
        cross_entropy=0.0,
        region_dropout=0.0,
        **kwargs,
    ):
        super().__init__(captioner.training_model.input, captioner.training_model.output, **kwargs)
        self._captioner = captioner
        self._reward = reward
        self._num_samples = num_samples
        self._settings = settings
        self._temperature = temperature
        self._seed = seed
        self._image_dropout = image_dropout
        self._cross_entropy = cross_entropy
        self._region_dropout = region_dropout
        self.reward_tracker = keras.metrics.Mean(name="reward")

    @property
    def metrics(self):
        return [self.reward_tracker]

    def train_step(self, data):
        x, references, weight = data
        x = self._drop_regions(x)
        inputs = self._drop_features({name: value for name, value in x.items() if name != "caption_ids"})
        tokens, reward = self._sample(inputs, references)
        others = (tf.reduce_sum(reward, axis=1, keepdims=True) - reward) / (self._num_samples - 1)
        advantage = tf.stop_gradient(reward - others)
        start = tf.fill(tf.shape(tokens[..., :1]), self._settings["start_id"])
        with tf.GradientTape() as tape:
            logits = self({**inputs, "caption_ids": tf.concat([start, tokens[..., :-1]], axis=-1)}, training=False)
            forbidden = tf.reduce_sum(tf.one_hot(self._settings["forbidden_ids"], logits.shape[-1]), axis=0)
            logits = logits / self._temperature - 1e9 * forbidden
            cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, logits)
            written = tf.reduce_sum(tf.where(tokens != 0, cross_entropy, 0.0), axis=-1)
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            loss = tf.reduce_mean(advantage * written) / replicas
            if self._cross_entropy:
                loss += self._cross_entropy * self.compute_loss(x, references, self(x, training=True), weight)
        pairs = self.optimizer.compute_gradients(loss, self.trainable_variables, tape)
        self.optimizer.apply_gradients(pairs)
        self.reward_tracker.update_state(reward)
        return {"reward": self.reward_tracker.result()}

    def _drop_regions(self, inputs):
        if not self._region_dropout or "image_tokens" not in inputs:
            return inputs
        tokens = inputs["image_tokens"]
        images, regions = tf.shape(tokens)[0], tokens.shape[1]
        chance = tf.random.stateless_uniform((images, regions), self._step_seed(2))
        kept = tf.math.top_k(chance, max(1, round(regions * (1.0 - self._region_dropout)))).indices
        dropped = {name: inputs[name] for name in ("image_tokens", "image_mask") if name in inputs}
        return {**inputs, **{name: tf.gather(value, kept, batch_dims=1) for name, value in dropped.items()}}

    def _drop_features(self, inputs):
        if not self._image_dropout or "image_tokens" not in inputs:
            return inputs
        tokens = tf.cast(inputs["image_tokens"], self.compute_dtype)
        images, features = tf.shape(tokens)[0], tokens.shape[2]
        chance = tf.random.stateless_uniform((images, 1, features), self._step_seed(1))
        kept = tf.cast(chance >= self._image_dropout, tokens.dtype) / (1.0 - self._image_dropout)
        return {**inputs, "image_tokens": tokens * kept}

    def _step_seed(self, stream):
        """`(2,)` int32: a replica's own at each step, so that a resumed training draws what it would have drawn."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.stack([self._seed + 7919 * replica + 104729 * stream, tf.cast(self.optimizer.iterations, tf.int32)])

    def _sample(self, inputs, references):
        settings = {
            **self._settings,
            "method": "sample",
            "num_captions": self._num_samples,
            "temperature": self._temperature,
            "top_k": 0,
            "top_p": 1.0,
            "seed": self._step_seed(0),
        }
        tokens = self._captioner.generate(inputs, **settings).tokens
        return tokens, self._reward(tokens, references)
