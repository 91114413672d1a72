"""Strings to token states, with a TensorFlow Hub BERT: a preprocessing module and an encoder module."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_hub as hub
import tensorflow_text  # noqa: F401  registers the ops that preprocessing modules are made of
import tf_keras as keras

from vl_keras.encoders.hub_modules import load_module
from vl_keras.encoders.hub_text_layer import HubTextLayer
from vl_keras.errors import EncoderError

INPUT_NAMES = ("input_word_ids", "input_mask", "input_type_ids")


class TextEncoder(tf.Module):
    """A hub BERT's two halves; made by `load_text_encoder`.

    A `tf.Module`, so that a SavedModel that tracks it carries the vocabulary and the weights along.

    Attributes:
        model: functional `keras.Model`: `input_word_ids`, `input_mask`, `input_type_ids`, each `(B, T)` int32 ->
            dict of `text_tokens` `(B, T, D)`, `text_mask` `(B, T)` bool and `text_vector` `(B, D)`; see `HubTextLayer`.
        max_length: T of what `preprocess` gives.
        preprocessor: the loaded preprocessing module.
    """

    def __init__(self, model: keras.Model, preprocessor: Any, max_length: int) -> None:
        super().__init__(name="text_encoder")
        self.model = model
        self.preprocessor = preprocessor
        self.max_length = max_length

    def preprocess(self, strings: tf.Tensor | list[str]) -> dict[str, tf.Tensor]:
        """Tokenizes and packs, in graph (also inside `tf.data`).

        Args:
            strings: `(B,)` UTF-8 strings; broken bytes are read as U+FFFD.

        Returns:
            Dict of `input_word_ids`, `input_mask`, `input_type_ids`, each `(B, max_length)` int32. A string without any
            token (empty, white space) is a row of zeros, mask included, where BERT's packing would give `[CLS] [SEP]`:
            `model` reads such rows for nothing.
        """
        strings = tf.strings.unicode_transcode(tf.convert_to_tensor(strings, tf.string), "UTF-8", "UTF-8")
        tokens = self.preprocessor.tokenize(strings)
        packed = self.preprocessor.bert_pack_inputs([tokens], seq_length=self.max_length)
        pieces = tokens.merge_dims(1, -1) if tokens.shape.rank == 3 else tokens
        real = tf.cast(pieces.row_lengths() > 0, tf.int32)[:, None]
        return {name: tf.ensure_shape(packed[name] * real, (strings.shape[0], self.max_length)) for name in INPUT_NAMES}


def load_text_encoder(
    encoder: str,
    preprocessor: str,
    trainable: bool = False,
    max_length: int = 32,
    fixed_shapes: bool = False,
    section: str = "text_encoder",
) -> TextEncoder:
    """Loads a hub BERT.

    Args:
        encoder: handle (URL or folder) of the encoder module, in the standard contract.
        preprocessor: handle of the preprocessing module that belongs to it.
        trainable: fine-tune the encoder.
        max_length: tokens of a text, [CLS] and [SEP] included; longer texts are cut.
        fixed_shapes: set it where the model is compiled with XLA; see `HubTextLayer`.
        section: of the settings, for errors.

    Returns:
        `TextEncoder`.

    Raises:
        EncoderError: a module cannot be found, downloaded or loaded, or does not keep the contract.
    """
    loaded = _load(preprocessor, f"{section}.preprocessor", hub.load)
    lacking = [name for name in ("tokenize", "bert_pack_inputs") if not hasattr(loaded, name)]
    if lacking:
        raise EncoderError(
            f"`{section}.preprocessor` `{preprocessor}` has no {' and no '.join(lacking)}: it is no BERT "
            "preprocessing module."
        )
    layer = _load(
        encoder, f"{section}.encoder", lambda handle: HubTextLayer(handle, trainable, fixed_shapes, name="bert")
    )
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in INPUT_NAMES}
    return TextEncoder(keras.Model(inputs, layer(inputs), name="text_encoder"), loaded, max_length)


def _load(handle: str, key: str, load: Callable[[str], Any]) -> Any:
    contract = "BERT encoders (input_word_ids, input_mask, input_type_ids -> pooled_output, sequence_output)"
    advice = "`vl-keras make-bert` makes a pair of modules from a BERT checkpoint."
    return load_module(handle, key, contract, advice, load)
