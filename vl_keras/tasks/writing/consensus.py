"""Scores captions by how well they agree with the captions of similar training images."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import tensorflow as tf

from vl_keras.data.text_ops import CaptionTokenizer, tidy_caption
from vl_keras.losses.cider_reward import CiderReward
from vl_keras.models.dual_encoder import build_image_head
from vl_keras.tasks.precision import built_in

if TYPE_CHECKING:
    from vl_keras.models.token_reader import MaskedTokens
    from vl_keras.retrieval.caption_memory import CaptionMemory

_RECALLED = 100  # captions; with 50 to 400 the metrics are equal within their noise
_AT_ONCE = 8  # images whose n-grams are compared at the same time; this bounds the memory use


class Consensus:
    """CIDEr-D of captions against the training captions that are nearest to the image in a `CaptionMemory`.

    The nearest captions are weighted by the softmax of their scaled cosines, as if one of them had to be the caption of
    the image (consensus reranking; Mao et al., 2015, "Deep Captioning with Multimodal Recurrent Neural Networks",
    section 8; there, captions of similar images; here a dual encoder finds captions that are near to the image). All of
    it runs in the graph.

    Args:
        memory: `CaptionMemory`.
        tokenizer: the captioner's `CaptionTokenizer`.
        max_length: number of tokens at which a recalled caption is cut.

    Args of call:
        image: the image's `MaskedTokens`, `(B, R, Dv)`.
        tokens: `(B, K, L)` int32 ids of captions, the end token included, zeros after it.

    Returns:
        `(B, K)` float32, at most 10.

    Raises:
        ValueError: the vocabulary is too large for `CiderReward`.
    """

    def __init__(self, memory: CaptionMemory, tokenizer: CaptionTokenizer, max_length: int) -> None:
        with built_in("float32"):
            self._head = build_image_head(**memory.head)
        self._head.set_weights(memory.head_weights)
        ids = tokenizer.encode(tidy_caption(tf.constant(memory.captions)), max_length).numpy()
        rows = (row[row != CaptionTokenizer.PAD] for row in ids)
        images = itertools.groupby(zip(memory.image_ids, rows, strict=True), key=lambda pair: pair[0])
        self._cider = CiderReward(([row for _, row in own] for _, own in images), tokenizer.vocab_size)
        # In int64, because TensorFlow cannot keep int32 variables on a GPU.
        self._ids = tf.Variable(tf.cast(ids, tf.int64), trainable=False, name="recalled_ids")
        self._vectors = tf.Variable(memory.vectors, trainable=False, name="recalled_vectors")
        self._scale = memory.scale
        self._count = min(_RECALLED, len(memory.captions))

    def __call__(self, image: MaskedTokens, tokens: tf.Tensor) -> tf.Tensor:
        known = {"image_tokens": tf.cast(image.tokens, tf.float32), "image_mask": image.mask}
        vector = self._head(known, training=False)
        nearest, places = tf.math.top_k(tf.matmul(vector, self._vectors, transpose_b=True), self._count)
        recalled, weights = tf.gather(self._ids, places), tf.nn.softmax(self._scale * nearest)
        return tf.map_fn(
            lambda row: self._cider(row[0][None], row[1][None], row[2][None])[0],
            (tokens, recalled, weights),
            parallel_iterations=_AT_ONCE,
            fn_output_signature=tf.TensorSpec((None,), tf.float32),
        )
