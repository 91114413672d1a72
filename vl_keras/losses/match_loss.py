"""The loss of image-text matching with the negatives of the batch."""

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("vl_keras")
class MatchLoss(keras.losses.Loss):
    """Cross-entropy of matching, of every text with its picture and with others of the batch.

    Text k of picture b: `-log σ(s_b,bk)`, and the mean of `-log(1 - σ(s))` over the other pictures, so that matches and
    non-matches count alike. With `hardest`, in the mean's place, half each of the picture that scores highest with the
    text, and of the text of another picture that scores highest with b: the hard negatives of VSE++ (Faghri et al.,
    2018, section 3.2), here of a model that reads pair by pair.

    Args:
        hardest: see above.

    Args of call:
        y_true: not used: which text is whose follows from the order.
        y_pred: logits `(B, B*K, 1)` of every picture with every text. With several replicas, of this replica's.

    Returns:
        `(B, K)`.
    """

    def __init__(self, hardest=False, name="match_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.hardest = hardest

    def call(self, y_true, y_pred):
        logits = tf.cast(y_pred[..., 0], tf.float32)
        pictures = tf.shape(logits)[0]
        texts = tf.shape(logits)[1] // pictures
        own = tf.repeat(tf.eye(pictures, dtype=tf.bool), texts, axis=1)
        positive = tf.reshape(tf.boolean_mask(logits, own), (pictures, texts))
        # softplus(s) is -log(1 - σ(s)), and 0 for the lowest number, which stands where there is no negative.
        negative = tf.where(own, logits.dtype.min, logits)
        if self.hardest:
            of_text = tf.nn.softplus(tf.reduce_max(negative, axis=0))
            of_picture = tf.nn.softplus(tf.reduce_max(negative, axis=1, keepdims=True))
            others = 0.5 * (tf.reshape(of_text, (pictures, texts)) + of_picture)
        else:
            total = tf.reduce_sum(tf.nn.softplus(negative), axis=0)
            others = tf.reshape(total, (pictures, texts)) / tf.cast(tf.maximum(pictures - 1, 1), tf.float32)
        return tf.nn.softplus(-positive) + others

    def get_config(self):
        return {**super().get_config(), "hardest": self.hardest}
