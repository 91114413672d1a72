"""The preprocessing half of a BERT module: strings to packed token ids, with the vocabulary inside."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_text as tf_text

DEFAULT_LENGTH = 128  # tokens of a call that names no length, as in TensorFlow Hub's modules


def build_preprocessor(
    vocabulary_file: str | Path, vocabulary: list[str], lower_case: bool, strip_accents: bool
) -> Any:
    """Builds the trackable object that is saved as the preprocessing module, in TensorFlow Hub's form.

    Args:
        vocabulary_file: path of a text file, one token a line; becomes an asset of the saved module.
        vocabulary: the same tokens, a list.
        lower_case: lower-case the text.
        strip_accents: drop its accents; only with `lower_case`.

    Returns:
        An object with
        `__call__(strings (B,))` -> dict of `input_word_ids`, `input_mask`, `input_type_ids`, each `(B, 128)` int32;
        `tokenize(strings (B,))` -> `RaggedTensor` `(B, words, pieces)` int32; `tokenize.get_special_tokens_dict()`;
        `bert_pack_inputs([tokens] or [tokens, tokens], seq_length)` -> the same dict, `(B, seq_length)`: [CLS], each
        segment and a [SEP] after it, cut to fit (two segments give up tokens evenly, the longer one first).
    """
    # Saved objects must be trackable, and what the restored object is asked for must be attributes of it.
    trackable = tf.__internal__.tracking.AutoTrackable
    ids = {token: vocabulary.index(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")}
    initializer = tf.lookup.TextFileInitializer(
        str(vocabulary_file),
        key_dtype=tf.string,
        key_index=tf.lookup.TextFileIndex.WHOLE_LINE,
        value_dtype=tf.int64,
        value_index=tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    table = tf.lookup.StaticVocabularyTable(initializer, num_oov_buckets=1)
    accents_kept = lower_case and not strip_accents
    tokenizer = tf_text.BertTokenizer(
        table,
        lower_case=lower_case,
        token_out_type=tf.int32,
        unknown_token="[UNK]",
        **({"basic_tokenizer_class": tf_text.AccentPreservingBasicTokenizer} if accents_kept else {}),
    )

    def tokenize(strings: tf.Tensor) -> tf.RaggedTensor:
        return tokenizer.tokenize(strings)

    def pack(segments: list[tf.RaggedTensor], seq_length: int | tf.Tensor = DEFAULT_LENGTH) -> dict[str, tf.Tensor]:
        segments = [segment.merge_dims(1, -1) if segment.shape.rank == 3 else segment for segment in segments]
        room = seq_length - len(segments) - 1
        segments = [segments[0][:, :room]] if len(segments) == 1 else tf_text.RoundRobinTrimmer(room).trim(segments)
        tokens, types = tf_text.combine_segments(segments, ids["[CLS]"], ids["[SEP]"])
        word_ids, mask = tf_text.pad_model_inputs(tokens, seq_length, pad_value=ids["[PAD]"])
        type_ids, _ = tf_text.pad_model_inputs(types, seq_length)
        return {
            "input_word_ids": tf.cast(word_ids, tf.int32),
            "input_mask": tf.cast(mask, tf.int32),
            "input_type_ids": tf.cast(type_ids, tf.int32),
        }

    def special_tokens() -> dict[str, tf.Tensor]:
        return {
            "vocab_size": tf.constant(len(vocabulary)),
            "padding_id": tf.constant(ids["[PAD]"]),
            "unknown_id": tf.constant(ids["[UNK]"]),
            "start_of_sequence_id": tf.constant(ids["[CLS]"]),
            "end_of_segment_id": tf.constant(ids["[SEP]"]),
        }

    strings = tf.TensorSpec((None,), tf.string, name="strings")
    module = trackable()
    module.table = table
    module.tokenize = trackable()
    module.tokenize.__call__ = _graph(tokenize, [strings])
    module.tokenize.get_special_tokens_dict = _graph(special_tokens, [])
    module.bert_pack_inputs = _traced_pack(pack)
    module.__call__ = _graph(lambda strings: pack([tokenize(strings)]), [strings])
    return module


def _traced_pack(pack: Callable[..., dict[str, tf.Tensor]]) -> Any:
    function = tf.function(pack, autograph=False)
    length = tf.TensorSpec((), tf.int32, name="seq_length")
    for count in (1, 2):
        for ragged_rank in (1, 2):
            shape = (None,) * (ragged_rank + 1)
            segment = tf.RaggedTensorSpec(shape, tf.int32, ragged_rank=ragged_rank)
            function.get_concrete_function([segment] * count, seq_length=length)
    return function


def _graph(function: Callable[..., Any], signature: list[tf.TensorSpec]) -> Any:
    # There is no Python control flow to convert, and looking for it takes half a minute.
    return tf.function(function, input_signature=signature, autograph=False)
