"""A small BERT checkpoint in Hugging Face's form."""

import json

import numpy as np
from bert_reference import random_checkpoint

WORDS = [
    "a",
    "man",
    "in",
    "red",
    "shirt",
    "dog",
    "run",
    "##s",
    "##ning",
    ".",
    ",",
    "-",
    "'",
    "cafe",
    "tri",
    "color",
    "##ed",
]
CONFIG = {
    "model_type": "bert",
    "vocab_size": 29,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 17,
    "type_vocab_size": 4,
    "layer_norm_eps": 1e-5,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.5,
}


def write_checkpoint(folder, config=None, tensors=None, words=WORDS):
    """Writes a checkpoint folder as Hugging Face does; returns its tensors."""
    from safetensors.numpy import save_file

    config = {**CONFIG, **(config or {})}
    tensors = random_checkpoint(config, seed=3) if tensors is None else tensors
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n")
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / "model.safetensors")
    return tensors
