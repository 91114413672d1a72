"""The loss of image-text matching with the hardest negatives of the batch."""

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("vl_keras")
class HardestMatchLoss(keras.losses.Loss):
    """Cross-entropy of matching, for each text with its picture and with the two negatives that fool the model most.

    Text k of picture b: `-log σ(s_b,bk)`, and half each of `-log(1 - σ(s))` for the picture other than b that scores
    highest with the text, and for the text of another picture that scores highest with b. Hard negatives in the batch
    are those of VSE++ (Faghri et al., 2018, section 3.2), here of a model that reads pair by pair.

    Args of call:
        y_true: `(B, K, 1)`, not used: which text is whose follows from the order.
        y_pred: logits `(B, B*K, 1)` of every picture with every text. With several replicas, of this replica's.

    Returns:
        `(B, K)`.
    """

    def __init__(self, name="hardest_match_loss", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        logits = tf.cast(y_pred[..., 0], tf.float32)
        pictures = tf.shape(logits)[0]
        texts = tf.shape(logits)[1] // pictures
        own = tf.repeat(tf.eye(pictures, dtype=tf.bool), texts, axis=1)
        positive = tf.reshape(tf.boolean_mask(logits, own), (pictures, texts))
        negative = tf.where(own, logits.dtype.min, logits)
        of_text = tf.reshape(tf.reduce_max(negative, axis=0), (pictures, texts))
        of_picture = tf.reduce_max(negative, axis=1, keepdims=True)
        # softplus(s) is -log(1 - σ(s)); where there is one picture only, the lowest number gives 0.
        return tf.nn.softplus(-positive) + 0.5 * (tf.nn.softplus(of_text) + tf.nn.softplus(of_picture))
