"""AdamW with warm-up, cosine decay, clipping, and a moving average of the weights."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

# Biases, norms and embeddings get no weight decay: biases and norms set levels, and the vector of a rare word would
# shrink while it does not occur.
_NOT_DECAYED = re.compile(r"(^|/)(bias|gamma|beta|embeddings|positions)(:\d+)?$")


@keras.saving.register_keras_serializable("vl_keras")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak`, then half a cosine down to zero (Loshchilov and Hutter, 2017, equation 5).

    Args:
        peak: highest learning rate.
        warmup_steps: updates until `peak`.
        total_steps: updates until zero.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int) -> None:
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        rising = (step + 1.0) / max(self.warmup_steps, 1)
        decay_steps = max(self.total_steps - self.warmup_steps, 1)
        share = tf.clip_by_value((step - self.warmup_steps) / decay_steps, 0.0, 1.0)
        falling = 0.5 * (1.0 + tf.cos(math.pi * share))
        return self.peak * tf.where(step < self.warmup_steps, rising, falling)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps}


@keras.saving.register_keras_serializable("vl_keras")
class AveragingAdamW(keras.optimizers.AdamW):
    """Keras's AdamW with a moving average of the weights that is useful from the first epoch on.

    The average's decay is `min(ema_momentum, (1 + t) / (10 + t))` after `t` updates (as in
    `tf.train.ExponentialMovingAverage` with `num_updates`), so that the average forgets the random initial weights.
    Keras overwrites the weights with their average whenever `fit` returns; this class does not: `averaged_weights`
    swaps the averages in and out again.
    """

    def average_of(self, variable: tf.Variable) -> tf.Variable:
        """The moving average of a trained variable."""
        return self._model_variables_moving_average[self._index_dict[self._var_key(variable)]]

    def finalize_variable_values(self, var_list: Sequence[tf.Variable]) -> None:
        """Keeps the weights as they are; Keras's own would overwrite them with their averages."""

    def _update_model_variables_moving_average(self, var_list: Sequence[tf.Variable]) -> None:
        updates = tf.cast(self.iterations, tf.float32)
        share = 1.0 - tf.minimum(self.ema_momentum, (1.0 + updates) / (10.0 + updates))

        def move(average: tf.Variable, variable: tf.Variable) -> None:
            average.assign_add((variable - average) * tf.cast(share, average.dtype))

        for variable in var_list:
            self._distribution_strategy.extended.update(self.average_of(variable), move, args=(variable,), group=False)


def build_optimizer(
    variables: Sequence[tf.Variable],
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    *,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    ema_decay: float = 0.0,
    loss_scaling: bool = False,
) -> keras.optimizers.Optimizer:
    """Makes the optimizer of `variables` with its slot variables; call it under the strategy's scope.

    Args:
        variables: the variables that will be trained.
        learning_rate: number or schedule.
        weight_decay: decoupled weight decay (Loshchilov and Hutter, 2019); not applied to biases, norms and embeddings.
        clip_norm: largest norm of all gradients together; 0: no clipping.
        ema_decay: decay of the weights' moving average; 0: no average.
        loss_scaling: use a dynamic loss scale, which float16 needs.

    Returns:
        A Keras optimizer.
    """
    optimizer = AveragingAdamW(
        learning_rate,
        weight_decay=weight_decay,
        global_clipnorm=clip_norm or None,
        use_ema=ema_decay > 0,
        ema_momentum=ema_decay,
    )
    optimizer.exclude_from_weight_decay([v for v in variables if _NOT_DECAYED.search(v.name)])
    if loss_scaling:
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


def weight_averages(optimizer: keras.optimizers.Optimizer, variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    """The moving averages of `variables`, in their order; an empty list if the optimizer keeps none."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return [optimizer.average_of(variable) for variable in variables] if optimizer.use_ema else []


@contextlib.contextmanager
def averaged_weights(optimizer: keras.optimizers.Optimizer, variables: Sequence[tf.Variable]) -> Iterator[None]:
    """Inside, `variables` hold their moving averages, if there are any; afterwards their own values again."""
    averages = weight_averages(optimizer, variables)
    if not averages:
        yield
        return
    own = [variable.numpy() for variable in variables]
    try:
        for variable, average in zip(variables, averages, strict=True):
            variable.assign(average)
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
