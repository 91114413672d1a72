"""Initialises the word vectors of a caption vocabulary from a BERT."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from vl_keras.encoders.text_encoder import load_text_encoder
from vl_keras.encoders.word_vectors import word_vectors

if TYPE_CHECKING:
    from vl_keras.models.captioner import Captioner
    from vl_keras.tasks.captioning import CaptioningTask

_WORD_PIECES = 16  # most word pieces of a word


def start_word_vectors(task: CaptioningTask, captioner: Captioner, log: Callable[[str], None]) -> None:
    """Fills the word vectors of a captioner from the BERT that `text.word_vectors` names.

    Pieces that continue a word and words that the BERT does not know keep their random vectors.
    """
    handles = task.config.text.word_vectors
    reader = load_text_encoder(
        handles.encoder, handles.preprocessor, max_length=_WORD_PIECES, section="text.word_vectors"
    )
    decoders = getattr(captioner.decoder, "members", [captioner.decoder])
    tables = [decoder.model.get_layer("embedding").embeddings for decoder in decoders]
    vocabulary = task.tokenizer.vocab
    places = [i for i, token in enumerate(vocabulary) if token not in task.tokenizer.SPECIALS and token[:2] != "##"]
    vectors, known = word_vectors([vocabulary[i] for i in places], reader, tables[0].shape[1])
    for table in tables:
        value = table.numpy()
        value[np.array(places)[known], : vectors.shape[1]] = vectors[known]
        table.assign(value)
    log(f"{known.sum()} of {len(vocabulary)} word vectors start from {handles.encoder}.")
