"""A TensorFlow Hub BERT encoder as a layer that reads only the rows and columns that hold text."""

from typing import Any

import tensorflow as tf
import tensorflow_hub as hub
import tf_keras as keras


@keras.utils.register_keras_serializable("vl_keras")
class HubTextLayer(keras.layers.Layer):
    """Runs a hub BERT encoder on the rows that have a real token, cut to the longest of them; the rest is zeros.

    A batch without any text does not run the encoder at all, so an empty context costs nothing. Tokens at padded places
    are zeros, so that a row's result does not follow from the length of its neighbours.

    Args:
        handle: URL or folder of a hub-format encoder, or such an object already loaded (then there is no config).
        trainable: fine-tune it, with its own dropout in training. A frozen encoder always runs in inference mode.
        fixed_shapes: for XLA, which compiles anew for every shape: the encoder reads the whole batch at full length,
            unless no row holds text. Results are the same.

    Args of call:
        inputs: dict of `input_word_ids`, `input_mask`, `input_type_ids`, each `(B, T)` int32; the mask is 1 on real
            tokens.

    Returns:
        Dict of `text_tokens` `(B, T, D)` (the encoder's `sequence_output`), `text_mask` `(B, T)` bool and `text_vector`
        `(B, D)` (its `pooled_output`), float32 under every precision policy, as the module was saved.
    """

    def __init__(self, handle: Any, trainable: bool = False, fixed_shapes: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(trainable=trainable, **kwargs)
        self.handle = handle
        self.fixed_shapes = fixed_shapes
        self.encoder = hub.KerasLayer(handle, trainable=trainable, name="encoder")
        self.hidden_dim = self._hidden_dim()

    def call(self, inputs: dict[str, tf.Tensor], training: bool | None = None) -> dict[str, tf.Tensor]:
        mask = inputs["input_mask"] > 0
        batch, length = tf.unstack(tf.shape(mask))
        read = self._read_all if self.fixed_shapes else self._read_rows_with_text
        tokens, vector = tf.cond(
            tf.reduce_any(mask),
            lambda: read(inputs, training),
            lambda: (
                tf.zeros(tf.stack([batch, length, self.hidden_dim])),
                tf.zeros(tf.stack([batch, self.hidden_dim])),
            ),
        )
        static_batch, static_length = inputs["input_mask"].shape
        return {
            "text_tokens": tf.ensure_shape(tokens, (static_batch, static_length, self.hidden_dim)),
            "text_mask": mask,
            "text_vector": tf.ensure_shape(vector, (static_batch, self.hidden_dim)),
        }

    def _read_rows_with_text(self, inputs: dict[str, tf.Tensor], training: bool | None) -> tuple[tf.Tensor, tf.Tensor]:
        mask = inputs["input_mask"] > 0
        rows = tf.where(tf.reduce_any(mask, axis=1))
        batch, length = tf.unstack(tf.shape(mask))
        longest = tf.reduce_max(tf.where(mask, tf.range(1, length + 1), 0))
        cut = {name: tf.gather_nd(value, rows)[:, :longest] for name, value in inputs.items()}
        tokens, vector = self._read_all(cut, training)
        tokens = tf.pad(tokens, [(0, 0), (0, length - longest), (0, 0)])
        token_shape = tf.cast(tf.stack([batch, length, self.hidden_dim]), rows.dtype)
        vector_shape = tf.cast(tf.stack([batch, self.hidden_dim]), rows.dtype)
        return tf.scatter_nd(rows, tokens, token_shape), tf.scatter_nd(rows, vector, vector_shape)

    def _read_all(self, inputs: dict[str, tf.Tensor], training: bool | None) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = self.encoder(inputs, training=training)
        real = inputs["input_mask"] > 0
        tokens = tf.where(real[:, :, None], tf.cast(outputs["sequence_output"], tf.float32), 0.0)
        has_text = tf.reduce_any(real, axis=1, keepdims=True)
        return tokens, tf.where(has_text, tf.cast(outputs["pooled_output"], tf.float32), 0.0)

    def get_config(self) -> dict[str, Any]:
        if not isinstance(self.handle, str):
            raise NotImplementedError("A HubTextLayer of a loaded object has no config; give it a handle.")
        return {**super().get_config(), "handle": self.handle, "fixed_shapes": self.fixed_shapes}

    def _hidden_dim(self) -> int:
        spec = {name: tf.TensorSpec((1, 4), tf.int32) for name in ("input_word_ids", "input_mask", "input_type_ids")}
        outputs = (
            tf.function(lambda inputs: self.encoder(inputs), autograph=False)
            .get_concrete_function(spec)
            .structured_outputs
        )
        return int(outputs["pooled_output"].shape[-1])
