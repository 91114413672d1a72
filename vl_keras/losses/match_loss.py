"""The loss of image-text matching with the negatives of the batch."""

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("vl_keras")
class MatchLoss(keras.losses.Loss):
    """Cross-entropy of matching, of every text with its image and with others of the batch.

    Text k of image b: `-log σ(s_b,bk)`, and the mean of `-log(1 - σ(s))` over the other images, so that matches and
    non-matches count alike. With `hardest`, in the mean's place, half each of the image that scores highest with the
    text, and of the text of another image that scores highest with b: the hard negatives of VSE++ (Faghri et al.,
    2018, section 3.2), here of a model that reads pair by pair.

    Args:
        hardest: see above.

    Args of call:
        y_true: `(B, K, 1)`, 1 where there is a text and its image could be read, else 0: neither such a text nor an
            image without texts is a negative. Which text is whose follows from the order.
        y_pred: logits `(B, B*K, 1)` of every image with every text. With several replicas, of this replica's.

    Returns:
        `(B, K)`; where `y_true` is 0, of no meaning.
    """

    def __init__(self, hardest=False, name="match_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.hardest = hardest

    def call(self, y_true, y_pred):
        logits = tf.cast(y_pred[..., 0], tf.float32)
        images = tf.shape(logits)[0]
        texts = tf.shape(logits)[1] // images
        own = tf.repeat(tf.eye(images, dtype=tf.bool), texts, axis=1)
        positive = tf.reshape(tf.boolean_mask(logits, own), (images, texts))
        there = tf.cast(y_true[..., 0], tf.bool)
        shown = tf.reduce_any(there, axis=1)
        usable = ~own & shown[:, tf.newaxis] & tf.reshape(there, (1, -1))
        # softplus(s) is -log(1 - σ(s)), and 0 for the lowest number, which stands where there is no negative.
        negative = tf.where(usable, logits, logits.dtype.min)
        if self.hardest:
            of_text = tf.nn.softplus(tf.reduce_max(negative, axis=0))
            of_image = tf.nn.softplus(tf.reduce_max(negative, axis=1, keepdims=True))
            others = 0.5 * (tf.reshape(of_text, (images, texts)) + of_image)
        else:
            total = tf.reduce_sum(tf.nn.softplus(negative), axis=0)
            count = tf.reduce_sum(tf.cast(shown, tf.float32)) - 1.0
            others = tf.reshape(total, (images, texts)) / tf.maximum(count, 1.0)
        return tf.nn.softplus(-positive) + others

    def get_config(self):
        return {**super().get_config(), "hardest": self.hardest}
