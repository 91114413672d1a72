import numpy as np
import pytest
import tensorflow as tf

from vl_keras.losses.caption_loss import CaptionLoss

B, K, L, V = 2, 3, 5, 7


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_the_formula(smoothing):
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(B, K, L, V)), rng.integers(0, V, (B, K, L))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    chosen = np.take_along_axis(log_p, target[..., None], -1)[..., 0]
    expected = -(1 - smoothing) * chosen - smoothing * log_p.mean(-1)
    loss = CaptionLoss(smoothing, reduction="none")(target, logits.astype("float32"))
    np.testing.assert_allclose(loss, expected, atol=1e-5)


def test_weights_that_sum_to_the_number_of_elements_give_the_mean_over_real_tokens():
    rng = np.random.default_rng(1)
    logits, target = rng.normal(size=(B, K, L, V)).astype("float32"), rng.integers(1, V, (B, K, L))
    target[0, 1, 3:] = 0
    target[1, 2] = 0
    real = (target != 0).astype("float32")
    each = CaptionLoss(0.1, reduction="none")(target, logits).numpy()
    loss = CaptionLoss(0.1)(target, logits, sample_weight=tf.constant(real * real.size / real.sum()))
    np.testing.assert_allclose(loss, (each * real).sum() / real.sum(), rtol=1e-5)
