"""How well a caption agrees with what people said of images like the one it describes."""

import itertools

import tensorflow as tf

from vl_keras.data.text_ops import CaptionTokenizer, tidy_caption
from vl_keras.losses.cider_reward import CiderReward
from vl_keras.models.dual_encoder import build_image_head
from vl_keras.tasks.precision import built_in

_RECALLED = 100  # captions; with 50 to 400 the measures are the same within their noise
_AT_ONCE = 8  # images whose n-grams are compared side by side, which bounds the memory that takes


class Consensus:
    """CIDEr-D of captions with those that an image recalls from a `CaptionMemory`.

    The captions of training images that lie nearest to the image are weighted by the softmax of their scaled
    cosines, as if one of them had to be its own (consensus reranking; Mao et al., 2015, "Deep Captioning with
    Multimodal Recurrent Neural Networks", section 8; here a dual encoder finds captions near to the image in place
    of images that look like it). All of it runs in the graph.

    Args:
        memory: `CaptionMemory`.
        tokenizer: the captioner's `CaptionTokenizer`.
        max_length: tokens that a recalled caption is cut at.

    Args of call:
        image: `MaskedTokens` `(B, R, Dv)` of the image.
        tokens: `(B, K, L)` int32 ids of captions, the end token included, zeros after it.

    Returns:
        `(B, K)` float32; 10 is the most.

    Raises:
        ValueError: the vocabulary is too large for `CiderReward`.
    """

    def __init__(self, memory, tokenizer, max_length):
        with built_in("float32"):
            self._head = build_image_head(**memory.head)
        self._head.set_weights(memory.head_weights)
        ids = tokenizer.encode(tidy_caption(tf.constant(memory.captions)), max_length).numpy()
        rows = (row[row != CaptionTokenizer.PAD] for row in ids)
        images = itertools.groupby(zip(memory.image_ids, rows, strict=True), key=lambda pair: pair[0])
        self._cider = CiderReward(([row for _, row in own] for _, own in images), tokenizer.vocab_size)
        # In int64, since a GPU keeps no int32 variables.
        self._ids = tf.Variable(tf.cast(ids, tf.int64), trainable=False, name="recalled_ids")
        self._vectors = tf.Variable(memory.vectors, trainable=False, name="recalled_vectors")
        self._scale = memory.scale
        self._count = min(_RECALLED, len(memory.captions))

    def __call__(self, image, tokens):
        known = {"image_tokens": tf.cast(image.tokens, tf.float32), "image_mask": image.mask}
        image = self._head(known, training=False)
        nearest, places = tf.math.top_k(tf.matmul(image, self._vectors, transpose_b=True), self._count)
        recalled, weights = tf.gather(self._ids, places), tf.nn.softmax(self._scale * nearest)
        return tf.map_fn(
            lambda row: self._cider(row[0][None], row[1][None], row[2][None])[0],
            (tokens, recalled, weights),
            parallel_iterations=_AT_ONCE,
            fn_output_signature=tf.TensorSpec((None,), tf.float32),
        )
