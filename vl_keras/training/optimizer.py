"""AdamW with warm-up, cosine decay, clipping, and a moving average of the weights."""

import contextlib
import math
import re

import tensorflow as tf
import tf_keras as keras

# Biases, norms and embeddings are not decayed: they set levels, and a rare word's vector would shrink unseen.
_NOT_DECAYED = re.compile(r"(^|/)(bias|gamma|beta|embeddings|positions)(:\d+)?$")


@keras.saving.register_keras_serializable("vl_keras")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak`, then half a cosine down to zero (Loshchilov and Hutter, 2017, equation 5).

    Args:
        peak: highest learning rate.
        warmup_steps: updates until `peak`.
        total_steps: updates until zero.
    """

    def __init__(self, peak, warmup_steps, total_steps):
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        rising = (step + 1.0) / max(self.warmup_steps, 1)
        decay_steps = max(self.total_steps - self.warmup_steps, 1)
        share = tf.clip_by_value((step - self.warmup_steps) / decay_steps, 0.0, 1.0)
        falling = 0.5 * (1.0 + tf.cos(math.pi * share))
        return self.peak * tf.where(step < self.warmup_steps, rising, falling)

    def get_config(self):
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps}


@keras.saving.register_keras_serializable("vl_keras")
class AveragingAdamW(keras.optimizers.AdamW):
    """Keras's AdamW with a weight average that is of use from the first epoch on, and that never enters by itself.

    The average's decay starts low, `min(ema_momentum, (1 + t) / (10 + t))` after `t` updates (as
    `tf.train.ExponentialMovingAverage` with `num_updates`), so that it forgets the random weights it began with. Keras
    would overwrite the weights with their average whenever `fit` returns; here `averaged_weights` puts them in and
    takes them out again.
    """

    def average_of(self, variable):
        """The moving average of a trained variable."""
        return self._model_variables_moving_average[self._index_dict[self._var_key(variable)]]

    def finalize_variable_values(self, var_list):
        pass

    def _update_model_variables_moving_average(self, var_list):
        updates = tf.cast(self.iterations, tf.float32)
        share = 1.0 - tf.minimum(self.ema_momentum, (1.0 + updates) / (10.0 + updates))

        def move(average, variable):
            average.assign_add((variable - average) * tf.cast(share, average.dtype))

        for variable in var_list:
            self._distribution_strategy.extended.update(self.average_of(variable), move, args=(variable,), group=False)


def build_optimizer(variables, learning_rate, *, weight_decay=0.0, clip_norm=0.0, ema_decay=0.0, loss_scaling=False):
    """Makes the optimizer of `variables`, its slots included.

    Args:
        variables: the variables that will be trained.
        learning_rate: number or schedule.
        weight_decay: decoupled (Loshchilov and Hutter, 2019); biases, norms and embeddings are left out.
        clip_norm: largest norm of all gradients together; 0 is off.
        ema_decay: decay of the weights' moving average; 0 is off.
        loss_scaling: dynamic loss scale, which float16 needs.

    Returns:
        A Keras optimizer. To be called under the strategy's scope.
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


def weight_averages(optimizer, variables):
    """The moving averages of `variables` in their order; an empty list where none are kept."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return [optimizer.average_of(variable) for variable in variables] if optimizer.use_ema else []


@contextlib.contextmanager
def averaged_weights(optimizer, variables):
    """While inside, `variables` hold their moving averages, where these are kept; afterwards their own values again."""
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
