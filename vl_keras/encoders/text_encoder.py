"""Strings to token states, with a TensorFlow Hub BERT: a preprocessing module and an encoder module."""

from pathlib import Path

import tensorflow as tf
import tensorflow_hub as hub
import tensorflow_text  # noqa: F401  registers the ops that preprocessing modules are made of
import tf_keras as keras

from vl_keras.encoders.hub_text_layer import HubTextLayer
from vl_keras.errors import EncoderError

INPUT_NAMES = ("input_word_ids", "input_mask", "input_type_ids")


class TextEncoder(tf.Module):
    """A hub BERT's two halves; made by `load_text_encoder`.

    A `tf.Module`, so that a SavedModel that tracks it carries the vocabulary and the weights along.

    Attributes:
        model: functional `keras.Model`: `input_word_ids`, `input_mask`, `input_type_ids`, each `(B, T)` int32 ->
            dict of `text_tokens` `(B, T, D)` and `text_vector` `(B, D)`; see `HubTextLayer`.
        max_length: T of what `preprocess` gives.
        preprocessor: the loaded preprocessing module.
    """

    def __init__(self, model, preprocessor, max_length):
        super().__init__(name="text_encoder")
        self.model = model
        self.preprocessor = preprocessor
        self.max_length = max_length

    def preprocess(self, strings):
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
    encoder, preprocessor, trainable=False, max_length=32, fixed_shapes=False, section="text_encoder"
):
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


def module_path(handle):
    """Where the module of a handle lies, for TensorFlow Hub: a URL as it is, a folder with its `~` expanded."""
    return handle if _is_url(handle) else str(Path(handle).expanduser())


def _is_url(handle):
    return "://" in handle


def _load(handle, key, load):
    path = module_path(handle)
    if not _is_url(handle) and not (Path(path) / "saved_model.pb").is_file():
        raise EncoderError(
            f"`{key}` is `{handle}`, where there is no module (a folder with saved_model.pb). It takes a URL or a "
            "folder; `vl-keras make-bert` makes a pair of modules from a BERT checkpoint."
        )
    try:
        return load(path)
    except (OSError, RuntimeError) as error:  # URLError is an OSError
        raise EncoderError(
            f"`{key}`: the module `{handle}` could not be loaded: {error}. Where it cannot be downloaded, unpack it on "
            f"this machine and set `{key}` to its folder, or make a pair of modules with `vl-keras make-bert`."
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderError(
            f"`{key}`: `{handle}` does not keep the contract of BERT encoders (input_word_ids, input_mask, "
            f"input_type_ids -> pooled_output, sequence_output): {error}"
        ) from error
