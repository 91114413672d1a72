"""A small BERT, made once: the checkpoint in Hugging Face's form and the pair of modules made from it."""

from types import SimpleNamespace

import pytest
from bert_files import CONFIG, write_checkpoint


@pytest.fixture(scope="session")
def small_bert(tmp_path_factory):
    """`source` (a checkpoint folder), `config`, `tensors`, `vocabulary` (token -> id), and the modules' paths."""
    from vl_keras.encoders.bert_module import make_bert

    folder = tmp_path_factory.mktemp("bert")
    tensors = write_checkpoint(folder / "checkpoint")
    made = make_bert(folder / "checkpoint", folder / "module")
    tokens = (folder / "checkpoint" / "vocab.txt").read_text().splitlines()
    return SimpleNamespace(
        source=folder / "checkpoint",
        config=CONFIG,
        tensors=tensors,
        vocabulary={token: index for index, token in enumerate(tokens)},
        encoder=made["encoder"],
        preprocessor=made["preprocessor"],
    )


@pytest.fixture(scope="session")
def small_text_encoder(small_bert):
    """The small BERT loaded, frozen, 9 tokens."""
    from vl_keras.encoders.text_encoder import load_text_encoder

    return load_text_encoder(small_bert.encoder, small_bert.preprocessor, max_length=9)
